"""What one who watches is told of lists."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from relay.expand.lists import HostSubject, ListAnswer, ListKind, NamedList, NamedLists, compile_list, confirmed_names
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure

NAMED = NamedLists.of(
    NamedList(ListKind.DOMAIN, "ours", "here.test : *.here.test"),
    NamedList(ListKind.DOMAIN, "asked", "$domain"),
    NamedList(ListKind.HOST, "relays", "10.0.0.0/8"),
)


def answer(question: Coroutine[Any, Any, ListAnswer]) -> None:
    with pytest.raises(StopIteration):
        question.send(None)


def told(kind: ListKind, text: str, *subjects: Any, title: str = "") -> list[str]:
    lines: list[str] = []
    scope = Scope(named_lists=NAMED, notes=Notes(lines.append))
    for subject in subjects:
        compiled = compile_list(kind, text, NAMED)
        compiled.title = title
        answer(compiled.decide(subject, scope))
    return lines


def test_each_item_is_told_until_one_decides() -> None:
    assert told(ListKind.DOMAIN, "a.test : ! b.test : c.test", "b.test") == [
        '>>> b.test in "a.test : ! b.test : c.test"?',
        ">>>  list element: a.test",
        ">>>  list element: !░b.test",
        '>>>  b.test in "a.test : ! b.test : c.test"? no (matched "! b.test")',
    ]


def test_the_end_of_a_list_is_told_a_step_further_out() -> None:
    assert told(ListKind.HOST, "10.0.0.1", HostSubject("192.0.2.1"), title="host_lookup") == [
        ">>> host in host_lookup?",
        ">>>  list element: 10.0.0.1",
        ">>> host in host_lookup? no (end of list)",
    ]


def test_a_named_list_is_told_once() -> None:
    first, second = told(ListKind.DOMAIN, "+ours", "x.here.test"), told(ListKind.DOMAIN, "+ours", *["x.here.test"] * 2)
    assert first == [
        '>>> x.here.test in "+ours"?',
        ">>>  list element: +ours",
        ">>>   start sublist ours",
        '>>>    x.here.test in "here.test : *.here.test"?',
        ">>>    ╎list element: here.test",
        ">>>    ╎list element: *.here.test",
        '>>>    ╎x.here.test in "here.test : *.here.test"? yes (matched "*.here.test")',
        ">>>   end sublist ours",
        ">>>  data from lookup saved for cache for +ours: key 'x.here.test' value '*.here.test'",
        '>>>  x.here.test in "+ours"? yes (matched "+ours")',
    ]
    assert second[len(first) :] == [
        '>>> x.here.test in "+ours"?',
        ">>>  list element: +ours",
        ">>>   start sublist ours",
        ">>>  cached yes match for +ours",
        ">>>  cached lookup data = *.here.test",
        '>>>  x.here.test in "+ours"? yes (matched "+ours" - cached)',
    ]


def test_what_has_to_be_expanded_is_told_again() -> None:
    once = told(ListKind.DOMAIN, "+asked", "x.test")
    assert told(ListKind.DOMAIN, "+asked", "x.test", "x.test") == once * 2
    assert not any("cache" in line for line in once)


def test_the_domain_of_an_address_is_a_list_of_its_own() -> None:
    assert told(ListKind.ADDRESS, "+caseful : me@X.test : *@x.test", Address("me", "X.test"))[1:-1] == [
        ">>>  list element: +caseful",
        ">>>  list element: me@X.test",
        '>>>  x.test in "X.test"?',
        ">>>   list element: X.test",
        '>>>  x.test in "X.test"? no (end of list)',
        ">>>  list element: *@x.test",
        '>>>  x.test in "x.test"?',
        ">>>   list element: x.test",
        '>>>   x.test in "x.test"? yes (matched "x.test")',
    ]


def test_a_name_that_is_not_found_is_told_with_its_reason() -> None:
    assert told(ListKind.HOST, "10.2.3", HostSubject("10.2.3.4"))[-1] == (
        '>>>  host in "10.2.3"? no (malformed IP address or address mask: 10.2.3)'
    )
    assert told(ListKind.HOST, "+ignore_unknown : 10.2.3", HostSubject("10.2.3.4"))[-2:] == [
        ">>>  malformed IP address or address mask: 10.2.3: item ignored by +ignore_unknown",
        '>>> host in "+ignore_unknown : 10.2.3"? no (end of list)',
    ]


def test_an_answer_that_has_to_wait_is_told() -> None:
    lines: list[str] = []
    question = compile_list(ListKind.HOST, "there.test").decide(
        HostSubject("10.2.3.4"), Scope(notes=Notes(lines.append))
    )
    with pytest.raises(TemporaryFailure):
        question.send(None)
    assert lines[-1] == '>>> host in "there.test"? list match deferred for there.test'


def test_another_address_makes_lists_be_tried_again() -> None:
    notes = Notes(lambda line: None)
    notes.results = {("domain", "ours", "x"): None, ("host", "relays", "y"): None}
    notes.forget("domain", "local part")
    assert list(notes.results) == [("host", "relays", "y")]


class _Names:
    async def names(self, address: str) -> tuple[str, ...]:
        return ("one.TEST", "two.test")

    async def addresses(self, name: str) -> tuple[str, ...]:
        return ("192.0.2.9", "10.2.3.4") if name == "one.test" else ("192.0.2.9",)


def test_how_the_name_of_a_client_is_found_is_told() -> None:
    lines: list[str] = []
    notes = Notes(lines.append)

    async def client_names() -> tuple[str, ...]:
        return await confirmed_names("10.2.3.4", _Names(), notes)  # type: ignore[arg-type]

    scope = Scope(notes=notes, client_names=client_names)
    for _ in range(2):
        answer(compile_list(ListKind.HOST, "*.here.test").decide(HostSubject("10.2.3.4"), scope))
    unsigned = "not in empty list (option unset? cannot trace name)"
    assert lines[2:16] == [
        ">>>  sender host name required, to match against *.here.test",
        ">>>   looking up host name for 10.2.3.4",
        '>>>    IP address lookup yielded "one.test"',
        '>>>      alias "two.test"',
        ">>>    check dnssec require list",
        f">>>    ╎one.test {unsigned}",
        ">>>    check dnssec request list",
        f">>>    ╎one.test {unsigned}",
        ">>>    checking addresses for one.test",
        ">>>      192.0.2.9",
        ">>>      10.2.3.4 OK",
        ">>>    check dnssec require list",
        f">>>    ╎two.test {unsigned}",
        ">>>    check dnssec request list",
    ]
    assert sum("sender host name required" in line for line in lines) == 1


def test_blanks_before_a_list_are_not_told() -> None:
    assert told(ListKind.DOMAIN, "<; a.test", "a.test")[0] == '>>> a.test in "a.test"?'


def test_what_is_found_aside_is_forgotten() -> None:
    notes = Notes(lambda _: None)
    notes.results["domain", "mine", "a.test"] = "known"
    with notes.aside():
        notes.results["domain", "mine", "b.test"] = "found"
        notes.forget("domain")
        assert notes.results == {}
    assert notes.results == {("domain", "mine", "a.test"): "known"}


def test_what_an_item_with_a_not_has_found_is_told_too() -> None:
    lines: list[str] = []
    notes = Notes(lines.append)
    named = NamedLists.of(NamedList(ListKind.DOMAIN, "ours", "a.test : !*"))
    ours = compile_list(ListKind.DOMAIN, "+ours", named)
    for _ in range(2):
        answer(ours.decide("b.test", Scope(named_lists=named, notes=notes)))
    assert ">>>  data from lookup saved for cache for +ours: key 'b.test' value '*'" in lines
    assert ">>>  cached lookup data = *" in lines
