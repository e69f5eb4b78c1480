"""Expressions from a seed: mostly such as somebody could write, and some that are broken on purpose."""

import random
from collections.abc import Callable, Sequence

WORDS = (
    "",
    "a",
    "b",
    "abc",
    "ABC",
    "a b",
    "0",
    "1",
    "-1",
    "7",
    "12",
    "1k",
    "x@y.test",
    "äö",
    "a=1 b=2",
    "10.1.2.3",
    "::1",
)
WORDS += (
    "Ann <ann@relay.test>",
    "relay.test",
    "YWJj",
    "true",
    "no",
    "1d2h",
    "616263",
    "a.b_c",
    '"q"',
    "2+3*4",
    "(1+2)%2",
)
# fmt: off
PLAIN_OPERATORS = (
    "address", "addresses", "base32", "base32d", "base62", "base62d", "base64", "base64d", "domain", "escape",
    "escape8bit", "eval", "eval10", "from_utf8", "hash_3", "hash_2_20", "hex2b64", "hexquote", "ipv6denorm",
    "ipv6norm", "lc", "length_2", "listcount", "local_part", "mask", "md5", "nhash_7", "nhash_7_9", "quote",
    "quote_local_part", "reverse_ip", "rfc2047", "rxquote", "sha1", "sha256", "sha3", "str2b64", "strlen", "substr_1",
    "substr_-2_1", "substr_1_2", "time_eval", "time_interval", "uc", "utf8clean", "l_1", "s_1", "expand",
    "rfc2047d", "stat", "utf8_domain_from_alabel", "utf8_domain_to_alabel", "utf8_localpart_from_alabel",
    "utf8_localpart_to_alabel", "quote_lsearch", "quote_sqlite",
)
# fmt: on
PATHS = ("/etc/passwd", "$spool_directory/known", "/nonexistent", "/")
HASHES = ("\\{md5\\}CY9rzUYh03PK3k6DJie09g==", "\\{sha1\\}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "FPxSb.KTPSd5E")
HASHES += ("\\{x\\}y", "a")
LINE_ENDS = ("", "{}", "{,}", "{\\n }")
VARIABLES = ("primary_hostname", "{primary_hostname}", "h_subject:", "h_x-twice:", "item", "value", "1", "message_body")
VARIABLES += ("body_linecount", "prvscheck_result", "smtp_active_hostname")
SIGNED = ("${prvs{ann@relay.test}{a}{1}}", "prvs=1234abcdef=ann@relay.test", "${prvs{x@y.test}{b}}")
PATTERNS = ("a", "^a", "[a-c]", "(a)(b)?", "b|c", ".", "^x*", "a+", "(?i)ABC", "[[:alpha:]]+", "\\N\\d\\N", "^\\$", "z")
ITEM_LISTS = ("a:b:c", "c:a:b", "", "a", "3:1:2", "<, a,b,c", "<; 1;2;3", " a : b ", "a::b:c", "10:9:b", "a: :b")
SHORT_LISTS = (
    "relay.test : *.test",
    "!relay.test : *",
    "a : b : abc",
    "*",
    "",
    "!a",
    "^a",
    "+ours",
    "!+ours : a",
    "*c",
)
HOST_LISTS = ("10.0.0.0/8", "!10.1.0.0/16 : 10.0.0.0/8", "<; ::1 ; 10.1.2.3", "*", "", "+near", "!11.0.0.0/8")
ADDRESS_LISTS = ("x@y.test", "*@y.test", "y.test", "!x@y.test : *", "+people", "", "^x", "x@*", "*@+ours")
REPLACEMENTS = ("", "-", "[\\$0]", "\\$1", "$0")
COMPARISONS = ("=", "==", "<", "<=", ">", ">=")
TEXT_COMPARISONS = ("eq", "eqi", "lt", "lti", "le", "lei", "gt", "gti", "ge", "gei")
PARTS = "{}$:,<> \\a1!"


class Grammar:
    """One stream of expressions."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def expressions(self, count: int) -> list[str]:
        """`count` different ones, one in eight of them broken."""
        found: dict[str, None] = {}
        while len(found) < count:
            text = self.text(3)
            if self.random.random() < 0.125:
                text = self.broken(text)
            text = text.strip()
            if "$" in text and not text.endswith("\\"):
                found[text] = None
        return list(found)

    def one(self, choices: Sequence[str]) -> str:
        return self.random.choice(choices)

    def broken(self, text: str) -> str:
        """One character is taken out, put in, or doubled."""
        place = self.random.randrange(len(text) + 1)
        put = self.one(("", self.one(PARTS), text[place : place + 1] * 2))
        return text[:place] + put + text[place + 1 :]

    def text(self, depth: int) -> str:
        """Something to expand, with words around it now and then."""
        if depth <= 0:
            return self.one(WORDS)
        made = self.expansion(depth)
        if self.random.random() < 0.15:
            made = self.one(("a", "1", " ", "x:")) + made
        return made

    def argument(self, depth: int) -> str:
        """The inside of an argument: mostly a word."""
        return self.text(depth - 1) if self.random.random() < 0.35 else self.one(WORDS)

    def expansion(self, depth: int) -> str:
        kinds: tuple[Callable[[int], str], ...] = (
            self.condition_item,
            self.condition_item,
            self.operator,
            self.operator,
            self.extract,
            self.loop,
            self.call,
            self.variable,
        )
        return self.random.choice(kinds)(depth)

    def operator(self, depth: int) -> str:
        return f"${{{self.one(PLAIN_OPERATORS)}:{self.argument(depth)}}}"

    def variable(self, _depth: int) -> str:
        return "$" + self.one(VARIABLES)

    def branches(self, depth: int, shown: str) -> str:
        yes = f"{{[{self.one((shown, self.argument(depth)))}]}}"
        return self.one((f"{yes}{{{self.argument(depth)}}}", yes, "", f"{yes}fail", f" {yes} {{no}} "))

    def condition_item(self, depth: int) -> str:
        return f"${{if {self.condition(depth)}{self.branches(depth, '$0')}}}"

    def condition(self, depth: int) -> str:
        sign = "!" if self.random.random() < 0.2 else ""
        return sign + self.bare_condition(depth)

    def bare_condition(self, depth: int) -> str:
        one, other = self.argument(depth), self.argument(depth)
        match self.random.randrange(15):
            case 0:
                return f"{self.one(COMPARISONS)}{{{one}}}{{{other}}}"
            case 1 | 2:
                return f"{self.one(TEXT_COMPARISONS)}{{{one}}}{{{other}}}"
            case 3:
                return f"{self.one(('bool', 'bool_lax', 'isip', 'isip4', 'isip6'))}{{{one}}}"
            case 4:
                return f"match{{{one}}}{{{self.one(PATTERNS)}}}"
            case 5:
                return f"{self.one(('inlist', 'inlisti'))}{{{one}}}{{{self.one(ITEM_LISTS)}}}"
            case 6 if depth > 0:
                members = "".join(f"{{{self.condition(depth - 1)}}}" for _ in range(self.random.randrange(1, 4)))
                return f"{self.one(('and', 'or'))}{{{members}}}"
            case 7 if depth > 0:
                inner = self.one((f"eq{{$item}}{{{one}}}", "match{$item}{[ab]}", self.condition(depth - 1)))
                return f"{self.one(('forany', 'forall'))}{{{self.one(ITEM_LISTS)}}}{{{inner}}}"
            case 8:
                return f"match_domain{{{one}}}{{{self.one(SHORT_LISTS)}}}"
            case 9:
                return f"match_local_part{{{one}}}{{{self.one(SHORT_LISTS[:7])}}}"
            case 10:
                return f"match_ip{{{self.one(('10.1.2.3', '::1', '11.0.0.1', one))}}}{{{self.one(HOST_LISTS)}}}"
            case 11:
                return f"match_address{{{self.one(('x@y.test', one))}}}{{{self.one(ADDRESS_LISTS)}}}"
            case 12:
                return f"exists{{{self.one(PATHS)}}}"
            case 13:
                return f"crypteq{{{self.one(('test', 'abc', 'fingerpost', one))}}}{{{self.one(HASHES)}}}"
        return "def:" + self.one(
            ("primary_hostname", "h_subject:", "h_nosuch:", "sender_host_address", "item", "message_body", "runrc")
        )

    def extract(self, depth: int) -> str:
        branches = self.branches(depth, "$value")
        number = self.one(("1", "2", "-1", "0", "9", "-9", " 1 "))
        match self.random.randrange(4):
            case 0:
                return f"${{extract{{{number}}}{{{self.one((':', ',', ': '))}}}{{{self.argument(depth)}}}{branches}}}"
            case 1:
                fields = self.one(("a=1 b=2", 'a="x y" b', "A = 3", "", self.argument(depth)))
                return f"${{extract{{{self.one(('a', 'b', 'A', 'x y'))}}}{{{fields}}}{branches}}}"
            case 2:
                return f'${{extract json{{{self.one(("1", "2", "5"))}}}{{[1, 2,"a"]}}{branches}}}'
        return f"${{listextract{{{number}}}{{{self.one(ITEM_LISTS)}}}{branches}}}"

    def loop(self, depth: int) -> str:
        items = self.one(ITEM_LISTS)
        body = self.one(("$item", f"<$item>{self.argument(depth)}", self.argument(depth), "${uc:$item}"))
        match self.random.randrange(4):
            case 0:
                return f"${{map{{{items}}}{{{body}}}}}"
            case 1:
                return f"${{filter{{{items}}}{{{self.one(('!eq{$item}{b}', self.condition(depth - 1)))}}}}}"
            case 2:
                return f"${{reduce{{{items}}}{{{self.argument(depth)}}}{{{self.one(('$value$item', body))}}}}}"
        return f"${{sort{{{items}}}{{{self.one((*COMPARISONS[2:], *TEXT_COMPARISONS[2:]))}}}{{$item}}}}"

    def call(self, depth: int) -> str:
        text = self.argument(depth)
        match self.random.randrange(11):
            case 7:
                address, number = self.one(("ann@relay.test", text)), self.one(("", "{1}", "{x}"))
                return f"${{prvs{{{address}}}{{{self.argument(depth)}}}{number}}}"
            case 8:
                shown = self.one(("", "{}", "{<$prvscheck_result|$prvscheck_keynum|$prvscheck_address>}"))
                return f"${{prvscheck{{{self.one((*SIGNED, text))}}}{{{self.one(('a', 'b', text))}}}{shown}}}"
            case 9:
                return f"${{readfile{{{self.one(PATHS[1:3])}}}{self.one(LINE_ENDS)}}}"
            case 10:
                specials = self.one(("", "{/}", "{.}", "{/}{+}", "{.}{/}", "{}"))
                return f"${{imapfolder{{{self.one(('a/b', 'ä/ö', 'a.b', '/a//', 'a&b', text))}}}{specials}}}"
            case 0:
                return f"${{sg{{{text}}}{{{self.one(PATTERNS)}}}{{{self.one(REPLACEMENTS)}}}}}"
            case 1:
                return f"${{substr{{{self.one(('0', '1', '-2', '9'))}}}{{{self.one(('0', '1', '5'))}}}{{{text}}}}}"
            case 2:
                return f"${{tr{{{text}}}{{{self.one(('ab', 'a', '1'))}}}{{{self.one(('xy', 'x', ''))}}}}}"
            case 3:
                return f"${{length{{{self.one(('1', '3'))}}}{{{text}}}}}"
            case 4:
                return f"${{hmac{{{self.one(('md5', 'sha1'))}}}{{key}}{{{text}}}}}"
            case 5:
                return f"${{listquote{{:}}{{{text}}}}}"
        return f"${{{self.one(('hash{2}', 'nhash{7}', 'nhash{7}{9}'))}{{{text}}}}}"
