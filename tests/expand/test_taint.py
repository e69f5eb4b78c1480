"""Text from outside: what is made of it stays marked, and it is never program, list, file, query or ACL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.list_items import ListKind
from relay.expand.list_scan import ListMatch
from relay.expand.lists import compile_list
from relay.expand.operators import OPERATORS
from relay.expand.scope import ACLAnswer, MessageView, Scope
from relay.expand.values import Tainted, is_tainted
from relay.mail.header import Field
from relay.mail.ports import TemporaryFailure

Run = Callable[..., Any]

# Operators whose results are numbers, digests, or addresses that were read and written anew (as in Exim): no choice of
# characters is left to the peer.
MAKES_ITS_OWN = frozenset(
    {"base32", "base32d", "base62", "base62d", "eval", "eval10", "ipv6denorm", "ipv6norm", "listcount", "listnamed"}
    | {
        "mask",
        "md5",
        "nh",
        "nhash",
        "randint",
        "reverse_ip",
        "sha1",
        "sha2",
        "sha256",
        "sha3",
        "spki",
        "stat",
        "strlen",
    }
    | {"time_eval", "time_interval"}
)
WITH_NUMBERS = {
    "h": "_3",
    "hash": "_3",
    "nh": "_9",
    "nhash": "_9",
    "l": "_2",
    "length": "_2",
    "s": "_1",
    "substr": "_1",
}
OUTSIDE = ["abc", "a@b.test", "A.B", "x:y:z", "12", "Y2Fj", "a=b c=d", "=?utf-8?q?caf=C3=A9?=", "abcd12", "é", "../x"]


def scope(text: str, **more: Any) -> Scope:
    return Scope(acl_variables={"acl_m_in": Tainted(text)}, **more)


def values(run: Run, expression: str, **more: Any) -> list[Any]:
    """What an expression gives for each text from outside that it takes."""
    found = []
    for text in OUTSIDE:
        try:
            found.append(run(compile_expansion(expression).value(scope(text, **more))))
        except (ExpansionFailed, TemporaryFailure):
            continue
    return found


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_hands_the_mark_on(run: Run, name: str) -> None:
    found = [value for value in values(run, f"${{{name}{WITH_NUMBERS.get(name, '')}:$acl_m_in}}") if value]
    if name in MAKES_ITS_OWN:
        return
    assert all(is_tainted(value) for value in found), [value for value in found if not is_tainted(value)]


def test_the_operators_that_do_not_are_a_short_list(run: Run) -> None:
    """Whoever adds an operator has to think about it here."""
    assert {name for name, rule in OPERATORS.items() if not rule.keeps_taint} <= MAKES_ITS_OWN


ITEMS = [
    "x$acl_m_in",
    "${extract{1}{:}{$acl_m_in}}",
    "${extract{a}{$acl_m_in}}",
    '${extract json{1}{["$acl_m_in"]}}',
    '${extract jsons{1}{["$acl_m_in"]}}',
    "${filter{$acl_m_in}{eq{a}{a}}}",
    "${hash{3}{26}{$acl_m_in}}",
    "${if eq{a}{a}{$acl_m_in}}",
    "${if eq{a}{b}{}{$acl_m_in}}",
    "${if match{$acl_m_in}{^(.*)\\$}{$1}}",
    "${if match{$acl_m_in}{^(.*)\\$}{$0}}",
    "${if match{z}{z}{${if match{$acl_m_in}{(.)}{$1}}}}",
    "${if forany{$acl_m_in}{match{$item}{.*}}{$0}}",
    '${if forany_json{["$acl_m_in"]}{match{$item}{.*}}{$0}}',
    '${if forany_jsons{["$acl_m_in"]}{match{$item}{.*}}{$0}}',
    '${if forall_jsons{["$acl_m_in"]}{match{$item}{(.*)}}{$1}}',
    "${if match_domain{$acl_m_in}{^(.*)\\$}{$1}}",
    "${if match_domain{b.$acl_m_in}{*$acl_m_in:*}{$0}}",
    "${if match_local_part{$acl_m_in}{*}{$0}}",
    "${length{2}{$acl_m_in}}",
    "${listextract{1}{$acl_m_in}}",
    "${listextract{1}{$acl_m_in}{x$value}}",
    "${listquote{:}{$acl_m_in}}",
    "${map{$acl_m_in}{$item}}",
    "${map{a:b}{$item$acl_m_in}}",
    "${reduce{$acl_m_in}{}{$value$item}}",
    "${reduce{a}{$acl_m_in}{$value}}",
    "${sg{$acl_m_in}{x}{y}}",
    "${sg{xyz}{x}{${lc:$acl_m_in}}}",
    "${sg{xyz}{x}{\\$acl_m_in}}",
    "${sort{$acl_m_in}{lt}{x$item}}",
    "${substr{0}{2}{$acl_m_in}}",
    "${tr{$acl_m_in}{a}{b}}",
    "${tr{abc}{a}{$acl_m_in}}",
    "${expand:\\$acl_m_in}",
]


@pytest.mark.parametrize("expression", ITEMS)
def test_every_item_hands_the_mark_on(run: Run, expression: str) -> None:
    found = [value for value in values(run, expression) if value]
    assert found
    assert all(is_tainted(value) for value in found), [value for value in found if not is_tainted(value)]


_WRAPS = st.sampled_from(
    [
        "${{lc:{}}}",
        "x{}",
        "{}y",
        "${{sg{{{}}}{{q}}{{r}}}}",
        "${{if eq{{1}}{{1}}{{{}}}}}",
        "${{quote:{}}}",
        "${{length_90:{}}}",
        "${{map{{<\n {}}}{{$item}}}}",
        "${{base64d:${{base64:{}}}}}",
        "${{reduce{{a}}{{{}}}{{$value}}}}",
        "${{escape:{}}}",
        "${{listextract{{1}}{{<\n {}}}}}",
        "${{filter{{<\n {}}}{{!eq{{$item}}{{}}}}}}",
        "${{if match{{{}}}{{.*}}{{$0}}}}",
        "${{rxquote:{}}}",
        "${{sort{{<\n {}}}{{lt}}{{x$item}}}}",
        "${{if forany{{<\n {}}}{{match{{$item}}{{.*}}}}{{$0}}}}",
    ]
)


@given(st.lists(_WRAPS, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_way_through_the_language_washes_it(run: Run, wraps: list[str]) -> None:
    expression = "${acl_m_in}"
    for wrap in wraps:
        expression = wrap.format(expression)
    value = run(compile_expansion(expression).value(scope("Abc")))
    assert value
    assert is_tainted(value)


def test_a_header_is_from_outside(run: Run) -> None:
    message = MessageView(header=(Field("Subject", b"Subject: ${lc:X}\r\n"),))
    for variable in ("$h_subject:", "$rh_subject:", "$bh_subject:", "$lh_subject:"):
        value = run(compile_expansion(variable).value(Scope(message=message)))
        assert value
        assert is_tainted(value)


# What it must not become. Each of these has a guard of its own in the code.

PROGRAM = "${lc:OPENED}"


@pytest.mark.parametrize(
    "expression",
    [
        "${expand:$acl_m_in}",
        "${expand:x${lc:$acl_m_in}}",
        "${sg{x}{x}{$acl_m_in}}",
        "${map{a}{${expand:$acl_m_in}}}",
        '${if forany_json{["$acl_m_in"]}{eq{${expand:$item}}{"opened"}}{opened}{}}',
        "${if match{$acl_m_in}{.*}{${expand:$0}}}",
    ],
)
def test_it_is_never_expanded(run: Run, expression: str) -> None:
    with pytest.raises(ExpansionFailed, match="tainted"):
        run(compile_expansion(expression).text(scope(PROGRAM)))


def test_it_is_never_compiled() -> None:
    with pytest.raises(ExpansionError, match="tainted"):
        compile_expansion(Tainted("x"))


@dataclass
class Watching:
    """Ports that must not be asked, or only with text of our own; everything they are asked is kept."""

    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def find(self, kind: str, key: str, source: str) -> str | None:
        self.asked.append((kind, key, source))
        return "found"

    async def lines(self, path: str) -> tuple[str, ...]:
        self.asked.append(("file", path))
        return ("*",)

    async def run(self, name: str, arguments: tuple[str, ...], scope: Scope) -> ACLAnswer:
        self.asked.append(("acl", name))
        assert is_tainted(name), "the runner is who refuses it, and can't if the mark is lost"
        return ACLAnswer(accepted=False)


@pytest.mark.parametrize(
    "expression",
    [
        "${lookup{x}lsearch{$acl_m_in}}",
        "${lookup{x}lsearch{/etc/$acl_m_in}}",
        "${lookup{x}lsearch{${lc:/etc/$acl_m_in}}}",
        "${lookup{x}dsearch{/${sg{$acl_m_in}{q}{}}}}",
        "${lookup{x}partial-lsearch*{${map{$acl_m_in}{/$item}}}}",
    ],
)
def test_it_is_never_a_lookup_file(run: Run, expression: str) -> None:
    ports = Watching()
    with pytest.raises(ExpansionFailed, match="tainted"):
        run(compile_expansion(expression).text(scope("passwd", lookups=ports)))
    assert ports.asked == []


def test_what_the_dns_says_is_from_outside(run: Run) -> None:
    value = run(compile_expansion("${lookup dnsdb {txt=peer.test}}").value(Scope(lookups=Watching())))
    assert value == "found"
    assert is_tainted(value)
    ours = run(compile_expansion("${lookup{x}lsearch{/f}}").value(Scope(lookups=Watching())))
    assert ours == "found"
    assert not is_tainted(ours)


def test_a_query_gets_it_with_its_mark(run: Run) -> None:
    """What was not quoted for its kind is refused; what was keeps its mark."""
    ports = Watching()
    with pytest.raises(TemporaryFailure, match="not properly quoted"):
        run(compile_expansion("${lookup sqlite {select ${lc:$acl_m_in}}}").text(scope("X", lookups=ports)))
    assert ports.asked == []
    run(compile_expansion("${lookup sqlite {select ${quote_sqlite:$acl_m_in}}}").text(scope("X", lookups=ports)))
    run(compile_expansion("${lookup dnsdb {${lc:$acl_m_in}}}").text(scope("X", lookups=ports)))
    assert [is_tainted(query) for _, query, _ in ports.asked] == [True, True]


@pytest.mark.parametrize("kind", list(ListKind))
@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "+trusted",
        "lsearch;/etc/passwd",
        "!/etc/passwd",
        "! +trusted",
        "net-lsearch;/f",
        "@@lsearch;/f",
        "partial-dsearch;/",
    ],
)
def test_it_brings_no_file_lookup_or_named_list_into_a_list(run: Run, kind: ListKind, text: str) -> None:
    ports = Watching()
    compiled = compile_list(kind, "$acl_m_in : *")
    subject = "10.0.0.1" if kind is ListKind.HOST else "a@b"
    try:
        answer = run(compiled.decide(subject, scope(text, lookups=ports, files=ports)))
    except TemporaryFailure:
        answer = None
    assert ports.asked == []
    assert not isinstance(answer, ListMatch) or answer.decided_by != text


def test_it_changes_no_separator_of_a_list(run: Run) -> None:
    found = run(compile_expansion("${map{$acl_m_in}{[$item]}}").text(scope("<; a;b")))
    assert found == "[<; a;b]"


def test_an_acl_name_keeps_its_mark(run: Run) -> None:
    for expression in ("${acl{$acl_m_in}}", "${if acl{{$acl_m_in}}{y}}", "${if acl{{x$acl_m_in}{a}}{y}}"):
        ports = Watching()
        run(compile_expansion(expression).text(scope("check", acl_runner=ports)))
        assert len(ports.asked) == 1


def test_cuts_do_not_take_it_for_a_number(run: Run) -> None:
    with pytest.raises(ExpansionFailed, match="tainted"):
        run(compile_expansion("${substr{$acl_m_in}{1}{abc}}").text(scope("1")))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\\n$h_x:", "a\nb c"),
        ("a${if def:h_x:{\\n$h_x:}}", "a\nb c"),
        ("a${if !def:h_x:{no}{${if eq{1}{1}{\\n$h_x:\\nd}}}}", "a\nb c\nd"),
        ("a${if def:h_x:{${uc:\\n$h_x:}}}", "a B C"),
    ],
)
def test_line_breaks_are_the_configurations_own(text: str, lines: str) -> None:
    scope = Scope(message=MessageView(header=(Field("X", b"X: b\x0bc\r\n"),)))
    coroutine = compile_expansion(text).lines(scope)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == lines
    assert is_tainted(stop.value.value)


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"X: a,\r\n b\r\n", "a,\n b"),
        (b"X: a,\r\n\tb\r\n  c\r\n", "a,\n\tb\n  c"),
        (b"X: a\r\n \r\n b\r\n", "a    b"),
        (b"X: a\r\n b\x0bEvil: c\r\n", "a  b Evil: c"),
        (b"X: =?utf-8?q?a=0AEvil:_b?=\r\n", "a Evil: b"),
        (b"X: a\r\nX: Evil: b\r\n", "a Evil: b"),
    ],
)
def test_folds_of_a_field_are_kept(raw: bytes, lines: str) -> None:
    fields = tuple(Field("X", b"X:" + each) for each in raw.split(b"X:")[1:])
    coroutine = compile_expansion("$h_x:").lines(Scope(message=MessageView(header=fields)))
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == lines
    assert is_tainted(stop.value.value)
