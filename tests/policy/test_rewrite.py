"""Rewriting rules: read as Exim reads them, and what they make of addresses and of header fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import run
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.expand.scope import MessageView, Scope
from relay.mail.address import NULL_SENDER, Address, address_from_text
from relay.mail.events import Event, MessageNote, Trouble
from relay.mail.header import Field, split_header
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError, Location
from relay.policy.rewrite import (
    Flag,
    RewriteContext,
    RewriteRule,
    parse_rewrite_rules,
    rewrite_address,
    rewrite_header,
    rewrite_path,
)

NAMED = NamedLists.of(
    NamedList(ListKind.DOMAIN, "ours", "hitch.test : *.hitch.test"),
    NamedList(ListKind.ADDRESS, "staff", "ford@hitch.test : arthur@hitch.test"),
)


@dataclass
class Events:
    recorded: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.recorded.append(event)

    def texts(self) -> list[str]:
        return [each.text for each in self.recorded if isinstance(each, Trouble | MessageNote)]


class Files:
    """Lookups in these files; `*` as a file's name can't be read. Every key is kept."""

    def __init__(self, files: Mapping[str, Mapping[str, str]]) -> None:
        self.files = files
        self.keys: list[str] = []

    async def find(self, kind: str, key: str, source: str) -> str | None:
        self.keys.append(key)
        if source not in self.files:
            raise TemporaryFailure(f"{source} is away")
        return self.files[source].get(key)


def rules_of(*lines: str) -> tuple[RewriteRule, ...]:
    return parse_rewrite_rules([(Location("relay.conf", number), line) for number, line in enumerate(lines, 1)], NAMED)


def context(journal: Events | None = None, domain: str = "", **scope: object) -> RewriteContext:
    seen = Scope(named_lists=NAMED, message=MessageView(message_id="1abc")).child(**scope)
    return RewriteContext(seen, journal or Events(), "here.test", domain)


def rewritten(address: str, *lines: str, which: Flag = Flag.ENVELOPE_TO, journal: Events | None = None) -> str:
    given_ = address_from_text(address)
    return str(run(rewrite_address(given_, which, rules_of(*lines), context(journal))))


def header(raw: bytes, *lines: str, domain: str = "", journal: Events | None = None) -> bytes:
    fields, rest = split_header(raw)
    assert rest == b""
    found = run(rewrite_header(fields, rules_of(*lines), context(journal, domain)))
    return b"".join(each.raw for each in found)


# Patterns


@pytest.mark.parametrize(
    ("rule", "address", "result"),
    [
        ("fp42@hitch.test ford@hitch.test", "fp42@hitch.test", "ford@hitch.test"),
        ("fp42@hitch.test ford@hitch.test", "fp42@HITCH.test", "ford@hitch.test"),
        ("fp42@hitch.test ford@hitch.test", "FP42@hitch.test", "FP42@hitch.test"),
        ("fp42@hitch.test ford@hitch.test", "fp43@hitch.test", "fp43@hitch.test"),
        ("*@hitch.test $1@guide.test", "Ford@hitch.test", "Ford@guide.test"),
        ("*queen@*.fict.test $2.$1x@out.test", "hearts-queen@wonder.fict.test", "wonder.hearts-x@out.test"),
        ("ford@*.hitch.test $1@out.test", "ford@Cafe.hitch.test", "cafe@out.test"),
        ("*@*.hitch.test $1@hitch.test", "ford@a.b.hitch.test", "ford@hitch.test"),
        (r"*pqr@\N^qu(.*)$\N 1=$1@zz$2", "nopqr@quince", "1=no@zzince"),
        ("*.hitch.test $1@out.test", "ford@cafe.hitch.test", "cafe@out.test"),
        ("*.hitch.test $1@out.test", "ford@hitch.test", "ford@hitch.test"),
        ("hitch.test $local_part@out.test", "ford@hitch.test", "ford@out.test"),
        (r"\N^(.+)\+.*@hitch\.test$\N $1@hitch.test", "ford+towel@hitch.test", "ford@hitch.test"),
        (r"\N^FORD@\N x@y.test", "ford@hitch.test", "ford@hitch.test"),
        (r"\N^(?i)FORD@\N x@y.test", "ford@hitch.test", "x@y.test"),
        (r"\N^([^!]+)!(.*)@here\.test$\N $2@$1", "far.test!user@here.test", "user@far.test"),
        (r'"\\N^f.*d@\\N" x@y.test', "ford@hitch.test", "x@y.test"),
        ("*@+ours ${lc:$1}@out.test", "FORD@cafe.hitch.test", "ford@out.test"),
        ("*@+ours $1@out.test", "ford@else.test", "ford@else.test"),
        ("+staff staff@hitch.test", "ford@hitch.test", "staff@hitch.test"),
        ("+staff staff@hitch.test", "zaphod@hitch.test", "zaphod@hitch.test"),
        ("!+staff others@hitch.test", "zaphod@hitch.test", "others@hitch.test"),
        ("*@* $local_part.$domain@gate.test", "Ford@Hitch.test", "Ford.Hitch.test@gate.test"),
        ("*@* ${sg{$0}{@}{=}}@gate.test", "Ford@Hitch.test", "Ford=Hitch.test@gate.test"),
        ("*@* $local_part@out.test", '"a b"@hitch.test', '"a b"@out.test'),
        ('*@* "Somebody <$1@out.test>" wE', "ford@hitch.test", "ford@out.test"),
    ],
)
def test_patterns(rule: str, address: str, result: str) -> None:
    assert rewritten(address, rule) == result


def test_a_pattern_is_expanded_when_it_is_asked() -> None:
    rules = rules_of("*@$primary_hostname $1@out.test")
    seen = context(main={"primary_hostname": "hitch.test"})
    assert run(rewrite_address(Address("a", "hitch.test"), Flag.ENVELOPE_TO, rules, seen)) == Address("a", "out.test")


def test_lookups_in_pattern_and_replacement() -> None:
    files = Files({"/names": {"fp42": "Ford.Prefect"}, "/all": {"a@hitch.test": ""}})
    rules = rules_of(
        "*@hitch.test ${lookup{$1}lsearch{/names}{$value}fail}@hitch.test", "lsearch;/all found@hitch.test"
    )
    seen = context(lookups=files)

    def asked(local_part: str) -> str:
        return str(run(rewrite_address(Address(local_part, "hitch.test"), Flag.ENVELOPE_TO, rules, seen)))

    assert asked("fp42") == "Ford.Prefect@hitch.test"
    assert asked("zb") == "zb@hitch.test"
    assert asked("a") == "found@hitch.test"


# The order of rules


@pytest.mark.parametrize(
    ("lines", "result"),
    [
        (("a@x.test b@x.test", "b@x.test c@x.test"), "c@x.test"),
        (("a@x.test b@x.test q", "b@x.test c@x.test"), "b@x.test"),
        (('a@x.test "${if eq{a}{b}{z@x.test}fail}"', "a@x.test c@x.test"), "c@x.test"),
        (('a@x.test "${if eq{a}{b}{z@x.test}fail}" q', "a@x.test c@x.test"), "a@x.test"),
        (("b@x.test d@x.test q", "a@x.test c@x.test"), "c@x.test"),
        (("a@x.test *", "a@x.test c@x.test"), "a@x.test"),
        (("a@x.test * F", "a@x.test c@x.test"), "c@x.test"),
        (("b@x.test *", "a@x.test c@x.test"), "c@x.test"),
        (("*@x.test b@y.test", "b@y.test *", "b@y.test c@x.test"), "b@y.test"),
    ],
)
def test_order(lines: tuple[str, ...], result: str) -> None:
    journal = Events()
    assert rewritten("a@x.test", *lines, journal=journal) == result
    assert journal.recorded == []


def test_a_rule_that_repeats() -> None:
    journal = Events()
    peel = r"\N^(.*)\.x@y\.test$\N $1@y.test R"
    assert rewritten("a.x.x.x@y.test", peel, "a@y.test b@y.test", journal=journal) == "b@y.test"
    assert rewritten("a.x.x.x@y.test", peel + "q", "a@y.test b@y.test", journal=journal) == "a@y.test"
    assert rewritten("a@y.test", peel + "q", "a@y.test b@y.test", journal=journal) == "b@y.test"
    assert journal.recorded == []
    assert rewritten("a" + ".x" * 20 + "@y.test", peel, journal=journal) == "a" + ".x" * 9 + "@y.test"
    assert journal.texts() == ["relay.conf:1: rewrite rule repeat ignored after 10 times"]


# What goes wrong leaves the address as it was


@pytest.mark.parametrize(
    ("replacement", "trouble"),
    [
        ("plain", 'yielded unqualified address "plain"'),
        ("$local_part@", "unparseable address"),
        ('"a@x.test, b@x.test"', "not one address"),
        ('"a@x.test (open"', "unparseable address"),
        ('"group: a@x.test;"', "not one address"),
        ("${lookup{a}lsearch{/away}}@x.test", "/away is away"),
        ("${extract{x}{y}{z}{${expand:\\${bad}}}}@x.test", "failed while rewriting"),
    ],
)
def test_a_replacement_that_gives_no_address(replacement: str, trouble: str) -> None:
    journal = Events()
    rules = rules_of("a@x.test b@x.test", f"*@* {replacement}", "*@* never@x.test")
    found = run(rewrite_address(Address("a", "x.test"), Flag.ENVELOPE_TO, rules, context(journal, lookups=Files({}))))
    assert str(found) == "b@x.test"
    (text,) = journal.texts()
    assert text.startswith("relay.conf:2: ")
    assert trouble in text
    assert isinstance(journal.recorded[0], Trouble)
    assert journal.recorded[0].message_id == "1abc"


def test_a_pattern_that_can_not_be_asked_now_is_passed_over() -> None:
    journal = Events()
    rules = rules_of("lsearch;/away b@x.test", "*@* c@x.test")
    seen = context(journal, lookups=Files({}))
    assert str(run(rewrite_address(Address("a", "x.test"), Flag.ENVELOPE_TO, rules, seen))) == "c@x.test"
    assert journal.texts()[0].startswith("relay.conf:1: the pattern can't be matched")


def test_unqualified_results_with_q() -> None:
    assert rewritten("a@x.test", "*@* $1-new Q") == "a-new@here.test"


def test_only_senders_become_null() -> None:
    journal = Events()
    rule = '*@* "<>"'
    assert rewritten("a@x.test", rule, "*@* b@x.test", which=Flag.ENVELOPE_FROM) == ""
    assert rewritten("a@x.test", rule, journal=journal) == "a@x.test"
    assert len(journal.recorded) == 1
    rules = rules_of("^ never@x.test", "*@* never@x.test")
    assert run(rewrite_address(NULL_SENDER, Flag.ENVELOPE_FROM, rules, context())) == NULL_SENDER


# Flags for places


ALL = ("From", "To", "Cc", "Bcc", "Reply-To", "Sender")
PLACES = {
    "": {*ALL, "F", "T"},
    "q": {*ALL, "F", "T"},
    "h": {*ALL},
    "E": {"F", "T"},
    "F": {"F"},
    "T": {"T"},
    "f": {"From"},
    "t": {"To"},
    "c": {"Cc"},
    "b": {"Bcc"},
    "r": {"Reply-To"},
    "s": {"Sender"},
    "b c t frF": {"Bcc", "Cc", "To", "From", "Reply-To", "F"},
}


@pytest.mark.parametrize("flags", PLACES)
def test_where_a_rule_applies(flags: str) -> None:
    rule = f"a@x.test b@x.test {flags}"
    changed = {name for name in ALL if header(b"%b: a@x.test\r\n" % name.encode(), rule).endswith(b" b@x.test\r\n")}
    for letter, which in (("F", Flag.ENVELOPE_FROM), ("T", Flag.ENVELOPE_TO)):
        if rewritten("a@x.test", rule, which=which) == "b@x.test":
            changed.add(letter)
    assert changed == PLACES[flags]


def test_other_fields_are_left_and_resent_ones_are_not() -> None:
    raw = b"Subject: a@x.test\r\nX-To: a@x.test\r\nReceived: for a@x.test\r\n"
    assert header(raw, "*@* b@x.test") == raw
    assert header(b"Resent-From: a@x.test\r\n", "*@* b@x.test f") == b"Resent-From: b@x.test\r\n"


# S


@pytest.mark.parametrize(
    ("address", "sender", "lines", "result"),
    [
        ("far.test!user@here.test", False, (r"\N^<([^!]+)!([^@]*)@here\.test>$\N $2@$1 S",), "user@far.test"),
        ("far.test!user", True, (r"\N^<([^!]+)!([^@]*)>$\N $2@$1 S",), "user@far.test"),
        ("a@x.test", False, ("*@* b@x.test", "^<a@ c@x.test S"), "c@x.test"),
        ("a@x.test", False, ("^<a@ b@x.test S", "^b@ c@x.test S"), "c@x.test"),
        ("a@x.test", False, (r"\N^<(.*)@.*>\N $1 SQ",), "a@here.test"),
        ("a@x.test", False, (r"\N^<(.*)@.*>\N [$local_part$domain]@x S",), "a@x.test"),
        ("a@x.test", True, ('^<a@ "<>" S',), ""),
        ("a@x.test", False, ('^<a@ "<>" S',), "a@x.test"),
        ("", True, (r"\N^<>$\N bounces@x.test S",), "bounces@x.test"),
    ],
)
def test_at_smtp_time(address: str, sender: bool, lines: tuple[str, ...], result: str) -> None:
    given_ = address_from_text(address)
    assert str(run(rewrite_path(given_, sender, rules_of(*lines), context()))) == result


def test_a_rule_with_s_alone_is_for_nothing_else() -> None:
    assert rewritten("a@x.test", "^a@ b@x.test S") == "a@x.test"
    assert rewritten("a@x.test", "^a@ b@x.test ST") == "b@x.test"


# Header fields


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"From: Ford Prefect <fp42@hitch.test>\r\n", b"From: Ford Prefect <new@hitch.test>\r\n"),
        (
            b'from : "P, Ford" (fp42@hitch.test) <fp42@hitch.test> (x)\r\n',
            b'from : "P, Ford" (fp42@hitch.test) <new@hitch.test> (x)\r\n',
        ),
        (
            b"To: a@x.test,\r\n fp42@hitch.test,\r\n\tb@x.test\r\n",
            b"To: a@x.test,\r\n new@hitch.test,\r\n\tb@x.test\r\n",
        ),
        (b"To: fp42@hitch.test,fp42@hitch.test\r\n", b"To: new@hitch.test,new@hitch.test\r\n"),
        (
            b"To: crew: fp42@hitch.test, b@x.test; , fp42@hitch.test\r\n",
            b"To: crew: new@hitch.test, b@x.test; , new@hitch.test\r\n",
        ),
        (b"To: <@r.test,@s.test:fp42@hitch.test>\r\n", b"To: <new@hitch.test>\r\n"),
        (b"To: fp42 (c) @ (d) hitch.test (e)\r\n", b"To: new@hitch.test (e)\r\n"),
        (b"To: undisclosed-recipients:;\r\n", b"To: undisclosed-recipients:;\r\n"),
        (b"To: \xff\xfe <fp42@hitch.test>\r\n", b"To: \xff\xfe <new@hitch.test>\r\n"),
        (b"To: fp42\r\n", b"To: fp42\r\n"),
        (b"To: fp42@hitch.test,", b"To: new@hitch.test,"),
        (b"To: x@[192.0.2.1], fp42@hitch.test", b"To: x@[192.0.2.1], new@hitch.test"),
    ],
)
def test_only_the_address_changes(old: bytes, new: bytes) -> None:
    journal = Events()
    assert header(old, "fp42@hitch.test new@hitch.test", journal=journal) == new
    assert journal.recorded == []


def test_what_can_not_be_read_stays_and_the_others_change() -> None:
    journal = Events()
    raw = b"To: a b c, fp42@hitch.test, <open@x.test\r\n"
    assert header(raw, "*@hitch.test new@hitch.test", journal=journal) == raw.replace(b"fp42", b"new")
    (note,) = journal.recorded
    assert isinstance(note, MessageNote)
    assert note.text.startswith("qualify/rewrite: missing or malformed local part")


def test_what_can_not_be_read_is_noted_where_no_rule_is_for_it() -> None:
    journal = Events()
    raw = b"To: <open@x.test\r\n"
    assert header(raw, "*@hitch.test new@hitch.test f", journal=journal) == raw
    assert [each.text for each in journal.recorded if isinstance(each, MessageNote)] == [
        "qualify/rewrite: '>' missing at end of address"
    ]


def test_a_long_header_leaves_others_their_turn() -> None:
    turns = []

    class Pauses:
        async def sleep(self, seconds: float) -> None:
            turns.append(seconds)

    seen = replace(context(), concurrency=Pauses())
    rules = rules_of("*@* b@y.test")
    for raw, count in ((b"To: " + b"a@x.test," * 149, 2), (b"To: a@x.test\r\n" * 40, 2), (b"To: a@x.test\r\n", 0)):
        turns.clear()
        run(rewrite_header(split_header(raw)[0], rules, seen))
        assert len(turns) == count


def test_unqualified_addresses_of_local_messages_get_a_domain() -> None:
    rule = "*@office.test $1@public.test"
    assert header(b"From: Anne <anne>\r\n", rule, domain="office.test") == b"From: Anne <anne@public.test>\r\n"
    assert header(b"To: bert, c@x\r\n", rule, domain="office.test") == b"To: bert@here.test, c@x\r\n"
    assert header(b"From: anne\r\n", rule) == b"From: anne\r\n"


def test_a_field_that_grows_is_folded_behind_the_comma() -> None:
    old = b"To: first@hitch.test, secondly@hitch.test, third@hitch.test\r\n"
    new = header(old, "*@hitch.test $1@a-much-longer-name.hitch.test")
    assert new == (
        b"To: first@a-much-longer-name.hitch.test, \r\n\tsecondly@a-much-longer-name.hitch.test, "
        b"\r\n\tthird@a-much-longer-name.hitch.test\r\n"
    )
    assert header(new, "*@* $1@x.test").count(b"\r\n\t") == 2


@pytest.mark.parametrize(
    ("replacement", "new"),
    [
        ('"Ford <$1@out.test> (guide)"', b"Ford <fp42@out.test> (guide)"),
        ('"<$1@out.test>"', b"<fp42@out.test>"),
        ('"$1@out.test (Ford)"', b"fp42@out.test (Ford)"),
        ('"Ford Q. Prefect <$1@out.test>"', b'"Ford Q. Prefect" <fp42@out.test>'),
        ('"\\"Prefect, Ford\\" <$1@out.test>"', b'"Prefect, Ford" <fp42@out.test>'),
        ('"Förd <$1@out.test>"', b"=?utf-8?b?RsO2cmQ=?= <fp42@out.test>"),
        ('"<$1@out.test> (Förd)"', b"<fp42@out.test> =?utf-8?b?KEbDtnJkKQ==?="),
        ('"Ford\\n (x\\r\\ny) <$1@out.test>"', b"Ford (x y) <fp42@out.test>"),
    ],
)
def test_w_replaces_the_whole_item(replacement: str, new: bytes) -> None:
    journal = Events()
    found = header(b"To: a@x.test, Old Name <fp42@hitch.test>\r\n", f"*@hitch.test {replacement} w", journal=journal)
    assert found == b"To: a@x.test, " + new + b"\r\n"
    assert journal.recorded == []


def test_a_later_rule_without_w_keeps_the_new_surroundings() -> None:
    found = header(b"To: Old <a@x.test>\r\n", '*@x.test "New <b@x.test>" w', "b@x.test c@x.test")
    assert found == b"To: New <c@x.test>\r\n"


def test_a_rule_sees_the_message() -> None:
    rules = rules_of("*@* ${local_part:$sender_address}@x.test f")
    seen = context(message=MessageView(sender=Address("env", "y.test")))
    found = run(rewrite_header((Field("From", b"From: a@x.test\r\n"),), rules, seen))
    assert found[0].raw == b"From: env@x.test\r\n"


# Text from outside


ATTACKS = [
    "${readfile{/etc/passwd}}",
    "$primary_hostname",
    "${run{/bin/true}}",
    "\\N^",
    "*",
    "+staff",
    "lsearch;/x",
    "$1",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_address_is_never_program(attack: str) -> None:
    journal = Events()
    rules = rules_of("*@* $1@out.test", r"\N^(.*)@out\.test$\N $1@end.test", "*@$domain never@x.test")
    seen = context(journal, main={"primary_hostname": "secret.test"}, lookups=Files({}))
    assert run(rewrite_address(Address(attack, "x.test"), Flag.ENVELOPE_TO, rules, seen)) == Address(attack, "end.test")
    assert journal.recorded == []


def test_an_address_can_not_be_expanded_nor_name_a_file() -> None:
    for replacement in (
        "${expand:$local_part}@x.test",
        "${expand:$0}",
        "${expand:$1}@x.test",
        "${lookup{a}lsearch{/$1}}@x.test",
    ):
        journal = Events()
        files = Files({"/etc": {"a": "found"}})
        rules = rules_of(f"*@* {replacement}")
        seen = context(journal, lookups=files)
        address = Address("etc", "x.test")
        assert run(rewrite_address(address, Flag.ENVELOPE_TO, rules, seen)) == address
        assert files.keys == []
        assert "taint" in journal.texts()[0]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["", "here.test"]))
def test_any_field_stays_one_field(body: bytes, domain: str) -> None:
    fields, _ = split_header(b"To: " + body.replace(b"\n", b"\r\n ") + b"\r\n")
    rules = rules_of("*@* ${local_part:$0}@out.test", '*@out.test "$h_to: <$1@end.test>" w')
    seen = context(Events(), domain, message=MessageView(header=fields))
    found = run(rewrite_header(fields, rules, seen))
    assert len(split_header(b"".join(each.raw for each in found))[0]) == len(fields)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('ab@.,:;<>()"\\[] \r\n\t'), max_size=40))
def test_a_rule_that_changes_nothing_changes_no_octet(body: str) -> None:
    raw = Field("To", b"To:" + body.encode() + b"\r\n")
    assert run(rewrite_header((raw,), rules_of("*@* $0"), context())) == (raw,)


# Reading


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a@x.test", "rewrite rule: missing rewrite replacement string"),
        ("a@x.test b@x.test X", 'rewrite rule: unknown rewrite flag character "X" (could be missing quotes round'),
        ("a@x.test b@x.test S", "rewrite rule: rewrite rule has the S flag but is not a regular expression"),
        ("a@x.test ${if", "rewrite rule: "),
        ("^( b@x.test", "rewrite rule: "),
        ("+nosuch b@x.test", 'rewrite rule: unknown named address list "+nosuch"'),
        ('a@x.test "b@x.test', "rewrite rule: missing quote"),
    ],
)
def test_mistakes_are_found_when_the_rules_are_read(line: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules_of("*@* $1@y.test", line)
    assert str(caught.value).startswith(f"relay.conf:2: {complaint}")


def test_every_mistake_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules_of("a", "*@* b@x.test", "c d Z")
    assert [problem.location.line for problem in caught.value.problems] == [1, 3]


def test_quoted_words() -> None:
    assert rewritten("a@x.test", r'"a@\x78.test" "${if eq{\164}{t} {b@x.test} fail}" T') == "b@x.test"
