"""Reads the text of an expansion into its tree (machine).

A recursive descent with one method for each rule of the language. What decides is what Exim's own reader does: a brace
counts only where an argument is read, a backslash escapes everywhere, header names run to their colon. All of the text
is read, also what will never be evaluated. How a name is written is in
`forms.py`; unknown variables and operators are found when the tree is compiled.
"""

from __future__ import annotations

import re

from relay.expand.errors import ExpansionError, NotServed
from relay.expand.escapes import unescape
from relay.expand.forms import (
    BARE_CONDITIONS,
    CALLS,
    CHOICES,
    GROUPS,
    LIST_MEMBERSHIP,
    LITERAL_LISTS,
    ONE_TEXT,
    QUANTIFIERS,
    REFUSED_CONDITIONS,
    REFUSED_ITEMS,
    SORT_COMPARISONS,
    TWO_TEXTS,
    Arity,
)
from relay.expand.tree import (
    Branches,
    Call,
    Capture,
    Check,
    Choice,
    Condition,
    Defined,
    Extract,
    Filter,
    Forced,
    Group,
    HeaderForm,
    HeaderVariable,
    If,
    InList,
    ListExtract,
    ListTemplate,
    Literal,
    LookUp,
    Map,
    Node,
    Operator,
    Quantified,
    Reduce,
    Sort,
    Template,
    Variable,
)
from relay.expand.values import from_octets, octets

# How deep braces may be nested. Every level costs several frames of Python's stack, here and when it is evaluated.
NESTING_LIMIT = 150

_SPACE = re.compile(r"[ \t\n\v\f\r]*")
_NAME = re.compile(r"[A-Za-z0-9_]*")
_ITEM_NAME = re.compile(r"[A-Za-z0-9_-]*")
_NUMBER = re.compile(r"[0-9]+")
_FAIL = re.compile(r"(?:fail(?=[} \t]|$))?")
_HEADER_NAME = re.compile(r"[!-9;-~]*")
_HEADER_START = re.compile(r"(h|rh|bh|lh)(?:_|eader_)")
_LOOKUP_TYPE = re.compile(r"[^{ \t\n\v\f\r]*")
_PLAIN = re.compile(r"[^$}\\]*")
_SEPARATOR = re.compile(r"[!-/:-@\[-`{-~\x00-\x1f\x7f]")
_COMPARISON = re.compile(r"==|=|<=|<|>=|>")

TOO_DEEP = "expansion is nested too deeply"
MISPLACED = "missing or misplaced { or }"
_COLON_HINT = " - could be header name not terminated by colon"


def parse(text: str) -> Template:
    """Reads a whole string. Raises ExpansionError."""
    parser = _Parser(text)
    try:
        return parser.whole()
    except RecursionError:  # whoever asks is deep inside of something else already
        raise parser.error(TOO_DEEP) from None


def parse_condition(text: str) -> Condition:
    """Reads a condition that stands alone, as `and` has them in its braces. Raises ExpansionError."""
    return _Parser(text).lone_condition()


class _Parser:
    """One reading of one text. Methods are named for the rule that they read; each leaves `position` behind it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0
        self.colon_missing = False

    # Small steps

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def skip_space(self) -> str:
        """Skips white space; gives the character that is there now, "" at the end."""
        match = _SPACE.match(self.text, self.position)
        if match:
            self.position = match.end()
        return self.peek()

    def take(self, pattern: re.Pattern[str]) -> str:
        """Takes what a pattern (that may match nothing) matches."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match.group()

    def expect(self, character: str, message: str = MISPLACED) -> None:
        """Takes one character, or raises with `message`."""
        if self.peek() != character:
            raise self.error(message)
        self.position += 1

    def error(self, message: str, start: int | None = None) -> ExpansionError:
        if message == MISPLACED and self.colon_missing:
            message += _COLON_HINT
        begin = self.position if start is None else start
        end = max(self.position, begin + 1)
        return ExpansionError(message, (min(begin, len(self.text)), min(end, max(len(self.text), begin))))

    def enter(self) -> None:
        self.depth += 1
        if self.depth > NESTING_LIMIT:
            raise self.error(TOO_DEEP)

    # text ::= (literal | escape | "$" …)*

    def whole(self) -> Template:
        """The whole text; a closing brace is nothing special."""
        return self.template(braced=False, dollar=True)

    def argument(self, dollar: bool = True) -> Template:
        """What stands behind an opening brace, and the closing brace."""
        self.enter()
        found = self.template(braced=True, dollar=dollar)
        self.position += 1
        self.depth -= 1
        return found

    def template(self, braced: bool, dollar: bool) -> Template:
        """Text up to its end, or up to (not with) the closing brace."""
        start = self.position
        nodes: list[Node] = []
        literal: list[str] = []
        literal_start = start

        def flush() -> None:
            if literal:
                text = "".join(literal)
                if not text.isascii():
                    text = from_octets(octets(text))
                nodes.append(Literal(text, (literal_start, self.position)))
                literal.clear()

        while character := self.peek():
            if character == "}" and braced:
                break
            if character == "$" and dollar:
                flush()
                nodes.append(self.dollar())
                continue
            if not literal:
                literal_start = self.position
            if character == "\\":
                literal.append(self.escape())
            else:
                self.position += 1
                literal.append(character + self.take(_PLAIN))
        flush()
        if braced and not self.peek():
            hint = _COLON_HINT if self.colon_missing else ""
            raise self.error(f"missing }} at end of string{hint}", start)
        return Template(tuple(nodes), (start, self.position))

    def escape(self) -> str:
        r"""`\…`; `\N…\N` protects everything between."""
        following = self.text[self.position + 1 : self.position + 2]
        if not following:
            raise self.error("\\ at end of string")
        if following != "N":
            character, self.position = unescape(self.text, self.position)
            return character
        start = self.position + 2
        end = self.text.find("\\N", start)
        if end < 0:
            self.position = len(self.text)
            return self.text[start:]
        self.position = end + 2
        return self.text[start:end]

    # "$" ::= name | number | header | "{" …

    def dollar(self) -> Node:
        """Whatever begins with a dollar sign."""
        start = self.position
        self.position += 1
        character = self.peek()
        if character.isascii() and character.isalpha():
            name = self.take(_NAME)
            return self.header(name, start) or Variable(name, False, (start, self.position))
        if number := self.take(_NUMBER):
            return Capture(_small(number), (start, self.position))
        if character != "{":
            raise self.error("$ not followed by letter, digit, or {", start)
        self.position += 1
        if number := self.take(_NUMBER):
            self.expect("}", "} expected after number")
            return Capture(_small(number), (start, self.position))
        if not (self.peek().isascii() and self.peek().isalpha()):
            raise self.error("letter or digit expected after ${", start)
        return self.braced(start)

    def header(self, name: str, start: int) -> HeaderVariable | None:
        """The rest of `$h_name:` if `name` begins one."""
        match = _HEADER_START.match(name)
        if match is None:
            return None
        whole = name[match.end() :] + self.take(_HEADER_NAME)
        if self.peek() == ":":
            self.position += 1
        elif "}" in whole:
            self.colon_missing = True
        return HeaderVariable(whole, HeaderForm(match.group(1)), (start, self.position))

    def braced(self, start: int) -> Node:
        """`${name …`: an item, an operator or a variable, tried in this order as Exim does."""
        name_start = self.position
        name = self.take(_ITEM_NAME)
        self.enter()
        node = self.item(name, start)
        if node is None and self.peek() == ":":
            self.position += 1
            argument = self.template(braced=True, dollar=True)
            self.position += 1
            node = Operator(name, argument, (start, self.position))
        if node is None:
            if self.peek() != "}":
                self.position = max(self.position, name_start + 1)
                what = f'"${{{name}" is not a known operator (or a }} is missing in a variable reference)'
                raise self.error(what, start)
            self.position += 1
            node = Variable(name, True, (start, self.position))
        self.depth -= 1
        return node

    def item(self, name: str, start: int) -> Node | None:
        """One of the items; None if `name` is none."""
        if name == "if":
            condition = self.condition()
            return If(condition, self.branches("if"), (start, self.position))
        if name in REFUSED_ITEMS:
            raise NotServed(REFUSED_ITEMS[name], (start, self.position))
        if arity := CALLS.get(name):
            arguments = self.arguments(name, arity)
            if self.skip_space() != "}":
                if self.peek() == "{":
                    raise self.error(f"Too many arguments for '{name}' (max is {arity.most})")
                raise self.error(f"missing '}}' after '{name}'")
            self.position += 1
            return Call(name, arguments, (start, self.position))
        if arity := CHOICES.get(name):
            arguments = self.certificate_field() if name == "certextract" else self.arguments(name, arity)
            return Choice(name, arguments, self.branches(name), (start, self.position))
        match name:
            case "extract":
                return self.extract(start)
            case "listextract":
                return self.list_extract(start)
            case "lookup":
                return self.lookup(start)
            case "filter" | "map" | "reduce":
                return self.loop(name, start)
            case "sort":
                return self.sort(start)
        return None

    def arguments(self, name: str, arity: Arity) -> tuple[Template, ...]:
        """`{…}{…}`, as many as there are up to the most that `name` takes."""
        found: list[Template] = []
        while len(found) < arity.most and self.skip_space() == "{":
            self.position += 1
            found.append(self.argument())
        if len(found) < arity.least:
            raise self.error(f"Not enough arguments for '{name}' (min is {arity.least})")
        return tuple(found)

    def list_argument(self, what: str) -> ListTemplate:
        """A list in braces, with its change of separator."""
        if self.skip_space() != "{":
            raise self.error(f"missing '{{' for {what}")
        self.position += 1
        separator = ""
        here = self.position
        if self.skip_space() == "<":
            character, end = self.peek_behind()
            if character in ("}", "$") and self.text[self.position + 1] == character:
                character = ""  # the end of the argument, the beginning of an expansion
            if _SEPARATOR.fullmatch(character):
                separator, self.position = character, end
        if not separator:
            self.position = here
        return ListTemplate(separator, self.argument())

    def peek_behind(self) -> tuple[str, int]:
        """The character behind this one, escapes read, and where it ends."""
        position = self.position + 1
        if self.text[position : position + 1] == "\\" and position + 1 < len(self.text):
            return unescape(self.text, position)
        return self.text[position : position + 1], position + 1

    def branches(self, name: str) -> Branches:
        """`{yes}{no}}`, `{yes} fail}`, `{yes}}` or `}`, with the brace that closes the item."""
        if self.skip_space() == "}":
            self.position += 1
            return Branches()
        self.expect("{", self.branch_problem("'yes' part did not start with '{'"))
        positive = self.argument()
        negative: Template | Forced | None = None
        if self.skip_space() == "{":
            self.position += 1
            negative = self.argument()
        elif self.peek() != "}":
            negative = self.fail(name)
        self.skip_space()
        self.expect("}", self.branch_problem("did not close with '}'"))
        return Branches(positive, negative)

    def branch_problem(self, where: str) -> str:
        if self.colon_missing:
            return MISPLACED
        rest = self.text[self.position :]
        return f"curly-bracket problem in conditional yes/no parsing: {where}\n remaining string is '{rest}'"

    def fail(self, name: str) -> Forced:
        """The word `fail`."""
        start = self.position
        if self.take(_NAME) != "fail":
            raise self.error(f'syntax error in "{name}" item - "fail" expected', start)
        return Forced((start, self.position))

    # The items that have a form of their own

    def extract(self, start: int) -> Extract:
        """`extract{key}{text}…` or `extract{number}{separators}{text}…`, `extract json {…}{…}…`."""
        form = ""
        if self.skip_space() != "{":
            form = self.take(_NAME)
            if form not in ("json", "jsons"):
                raise self.error("missing '{' for arg 1 of extract")
        arguments: list[Template] = []
        while len(arguments) < 5 and self.skip_space() == "{":
            self.position += 1
            arguments.append(self.argument())
        forced = None
        self.skip_space()
        here = self.position
        if self.take(_FAIL):
            forced = Forced((here, self.position))
            self.skip_space()
        self.expect("}", "missing '}' closing extract")
        if len(arguments) < 2:
            raise self.error(f"missing '{{' for arg {len(arguments) + 1} of extract", start)
        if arguments[0].constant is not None and not (arguments[0].constant or "").strip():
            raise self.error('first argument of "extract" must not be empty', start)
        return Extract(form, tuple(arguments), forced, (start, self.position))

    def list_extract(self, start: int) -> ListExtract:
        """`listextract{number}{list}…`."""
        if self.skip_space() != "{":
            raise self.error("missing '{' for arg 1 of listextract")
        self.position += 1
        number = self.argument()
        source = self.list_argument("arg 2 of listextract")
        return ListExtract(number, source, self.branches("listextract"), (start, self.position))

    def certificate_field(self) -> tuple[Template, ...]:
        """`{field}{$variable}`."""
        if self.skip_space() != "{":
            raise self.error("missing '{' for field arg of certextract")
        self.position += 1
        field = self.argument()
        if self.skip_space() != "{":
            raise self.error("missing '{' for cert variable arg of certextract")
        self.position += 1
        if self.peek() != "$":
            raise self.error('second argument of "certextract" must be a certificate variable')
        return field, self.argument()

    def lookup(self, start: int) -> LookUp:
        """`lookup{key} type {file}…` or `lookup type {query}…`."""
        key = None
        if self.skip_space() == "{":
            self.position += 1
            key = self.argument()
            self.skip_space()
        if not (self.peek().isascii() and self.peek().isalpha()):
            raise self.error("missing lookup type")
        kind = self.take(_LOOKUP_TYPE)
        self.skip_space()
        self.expect("{", "missing '{' for lookup file-or-query arg")
        source = self.argument()
        return LookUp(key, kind, source, self.branches("lookup"), (start, self.position))

    def loop(self, name: str, start: int) -> Node:
        """`filter{list}{condition}`, `map{list}{text}`, `reduce{list}{initial}{text}`."""
        source = self.list_argument(f"first arg of {name}")
        initial = body = Template((), (start, start))
        if name == "reduce":
            self.skip_space()
            self.expect("{", "missing '{' for second arg of reduce")
            initial = self.argument()
        self.skip_space()
        self.expect("{", f"missing '{{' for last arg of {name}")
        inside = f'missing }} at end of condition or expression inside "{name}"; could be an unquoted }} in the content'
        condition = None
        if name == "filter":
            condition = self.inside(name, "item")
            self.skip_space()
            self.expect("}", inside)
        else:
            body = self.argument()
        self.skip_space()
        self.expect("}", f'missing }} at end of "{name}"')
        span = (start, self.position)
        if condition is not None:
            return Filter(source, condition, span)
        return Map(source, body, span) if name == "map" else Reduce(source, initial, body, span)

    def sort(self, start: int) -> Sort:
        """`sort{list}{comparison}{key}`."""
        source = self.list_argument("list arg of sort")
        self.skip_space()
        self.expect("{", "missing '{' for comparator arg of sort")
        here = self.position
        comparison = (self.argument(dollar=False).constant or "").strip()
        if comparison not in SORT_COMPARISONS:
            raise self.error("comparator not handled for sort", here)
        self.skip_space()
        self.expect("{", "missing '{' for extractor arg of sort")
        key = self.argument()
        self.skip_space()
        self.expect("}", 'missing } at end of "sort"')
        return Sort(source, comparison, key, (start, self.position))

    # condition ::= "!"* name …

    def lone_condition(self) -> Condition:
        condition = self.condition()
        if self.skip_space():
            raise self.error(MISPLACED)
        return condition

    def condition(self) -> Condition:
        """One condition with its negations."""
        self.enter()
        negated = False
        while self.skip_space() == "!":
            negated = not negated
            self.position += 1
        start = self.position
        name = self.take(_COMPARISON) or self.take(_NAME)
        if not name:
            raise self.error(f'condition name expected, but found "{self.text[start : start + 16]}"')
        condition = self.named_condition(name, negated, start)
        self.depth -= 1
        return condition

    def named_condition(self, name: str, negated: bool, start: int) -> Condition:
        """What follows the name."""
        if name == "def":
            return self.defined(negated, start)
        if name in GROUPS:
            return self.group(name, negated, start)
        if name in QUANTIFIERS:
            return self.quantified(name, negated, start)
        if name in LIST_MEMBERSHIP:
            subject = self.first_text(name)
            source = self.list_argument_of(name)
            return InList(name, subject, source, negated, (start, self.position))
        if name in BARE_CONDITIONS:
            arguments: tuple[Template, ...] = ()
        elif name in ONE_TEXT:
            arguments = (self.first_text(name),)
        elif name in TWO_TEXTS or name in LITERAL_LISTS:
            arguments = (self.first_text(name), self.second_text(name))
        elif name == "acl":
            arguments = self.acl_arguments()
        elif name in REFUSED_CONDITIONS:
            raise NotServed(f'support for "{name}" not compiled', (start, self.position))
        else:
            raise self.error(f'unknown condition "{name}"', start)
        return Check(name, arguments, negated, (start, self.position))

    def first_text(self, name: str) -> Template:
        if self.skip_space() != "{":
            raise self.error(f'missing {{ after "{name}"')
        self.position += 1
        return self.argument()

    def second_text(self, name: str) -> Template:
        if self.skip_space() != "{":
            raise self.error(f'missing 2nd string in {{}} after "{name}"')
        self.position += 1
        return self.argument(dollar=name not in LITERAL_LISTS)

    def list_argument_of(self, name: str) -> ListTemplate:
        if self.skip_space() != "{":
            raise self.error(f'missing 2nd string in {{}} after "{name}"')
        return self.list_argument(name)

    def acl_arguments(self) -> tuple[Template, ...]:
        """`{{name}{argument}…}`."""
        if self.skip_space() != "{":
            raise self.error('missing { after "acl"')
        self.position += 1
        arguments = self.arguments("acl", CALLS["acl"])
        self.skip_space()
        self.expect("}", "missing '}' after 'acl'")
        return arguments

    def defined(self, negated: bool, start: int) -> Defined:
        """`def:name`, `def:h_name:`."""
        self.expect(":", '":" expected after "def"')
        here = self.position
        name = self.take(_NAME)
        if not name:
            raise self.error('variable name omitted after "def:"')
        what = self.header(name, here) or Variable(name, False, (here, self.position))
        return Defined(what, negated, (start, self.position))

    def group(self, name: str, negated: bool, start: int) -> Group:
        """`and{{…}{…}}`."""
        if self.skip_space() != "{":
            raise self.error(f'missing {{ after "{name}"')
        self.position += 1
        members: list[Condition] = []
        while self.skip_space() != "}":
            if self.peek() != "{":
                raise self.error(f'each subcondition inside an "{name}{{...}}" condition must be in its own {{}}')
            self.position += 1
            members.append(self.inside(f"{name}{{...}}"))
            self.skip_space()
            self.expect("}", f'missing }} at end of condition inside "{name}" group')
        self.position += 1
        return Group(name, tuple(members), negated, (start, self.position))

    def quantified(self, name: str, negated: bool, start: int) -> Quantified:
        """`forany{list}{condition}`."""
        if self.skip_space() != "{":
            raise self.error(f'missing {{ after "{name}"')
        source = self.list_argument(name)
        if self.skip_space() != "{":
            raise self.error(f'missing {{ after "{name}"')
        self.position += 1
        condition = self.inside(name)
        self.skip_space()
        self.expect("}", f'missing }} at end of condition inside "{name}"')
        return Quantified(name, source, condition, negated, (start, self.position))

    def inside(self, name: str, what: str = "condition") -> Condition:
        """A condition that is part of another one or of an item; errors say so."""
        try:
            return self.condition()
        except ExpansionError as error:
            raise type(error)(f'{error.message} inside "{name}" {what}', error.span) from None


def _small(digits: str) -> int:
    """A number that is out of every range stays small."""
    return int(digits) if len(digits) < 6 else 999999
