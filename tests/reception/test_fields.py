"""The header section that goes into the queue: in its order, and with no field that a peer has smuggled in."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.facts import Endpoint, Hello, SessionFacts, TLSFacts
from relay.mail.header import Field, join_fields, make_field, split_header
from relay.policy.acl_values import AddedField, Effects, Place
from relay.reception.fields import added_fields, change_header, received_field

T = TypeVar("T")

NOW = 1_790_000_000.0
TRACE = make_field("Received", "from laptop by relay.test; now")
HOSTILE = st.text(
    st.one_of(st.sampled_from("\r\n\t \0:;()X\x0b\x0c\x85\u2028\udc80\udcff"), st.characters()), max_size=30
)


def answer(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a port did not answer at once")


def fields(*lines: str) -> tuple[Field, ...]:
    return tuple(make_field(*line.split(": ", 1)) for line in lines)


def shown(header: tuple[Field, ...]) -> list[str]:
    return [each.raw.decode().removesuffix("\r\n") for each in header]


def session(helo: str, sni: str = "") -> SessionFacts:
    layer = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, sni=sni)
    return SessionFacts(peer=Endpoint("192.0.2.7", 4000), hello=Hello(helo, True), tls=layer)


def is_one_field(field: Field) -> bool:
    """Whether the octets are one field to whoever reads them: every line but the first goes on, each ends with CRLF."""
    lines = field.raw.split(b"\r\n")
    return (
        lines[-1] == b""
        and all(line[:1] in (b" ", b"\t") and line.strip() for line in lines[1:-1])
        and not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
    )


# Our trace field


def test_the_trace_field() -> None:
    template = compile_expansion("Received: from $sender_helo_name\n\tby relay.test")
    field = answer(received_field(template, Scope(session("laptop")), NOW))
    lines = field.raw.decode().split("\r\n")
    assert lines[:2] == ["Received: from laptop", "\tby relay.test;"]
    assert lines[2].startswith("\tMon, 21 Sep 2026 ")
    assert lines[3:] == [""]


def test_a_template_may_leave_the_name_out() -> None:
    field = answer(received_field(compile_expansion("by relay.test"), Scope(), NOW))
    assert field.raw.startswith(b"Received: by relay.test;\r\n\t")


@given(HOSTILE, HOSTILE)
def test_no_peer_writes_a_field_into_our_trace_field(helo: str, sni: str) -> None:
    template = compile_expansion("Received: from $sender_helo_name ($tls_in_sni)\n\tby relay.test")
    field = answer(received_field(template, Scope(session(helo, sni)), NOW))
    assert is_one_field(field)
    assert split_header(field.raw) == ((field,), b"")


@pytest.mark.parametrize(
    "sni", ["x\r\nX-Trusted: yes", "x\nX-Trusted: yes", "x\n\nbody", "x\r\n\r\nbody", "\n\n\n", "\x0bX: y"]
)
def test_line_ends_of_a_peer_fold(sni: str) -> None:
    field = answer(received_field(compile_expansion("by relay.test ($tls_in_sni)"), Scope(session("x", sni)), NOW))
    assert is_one_field(field)


def test_a_template_that_can_not_be_expanded_says_so() -> None:
    with pytest.raises(ExpansionFailed):
        answer(received_field(compile_expansion("${if eq{1}{1}{${expand:\\${bad}}}}"), Scope(), NOW))


# The order of things


def changed(came: tuple[Field, ...], effects: Effects) -> list[str]:
    return shown(change_header((TRACE, *came), TRACE, effects))


def test_a_relayed_message_keeps_its_header_below_our_trace_field() -> None:
    came = split_header(b"x-ODD : \xff\r\nFrom: a\r\n b\r\nReceived: before\r\n")[0]
    assert change_header((TRACE, *came), TRACE, Effects()) == (TRACE, *came)


def test_fields_are_removed_whatever_their_case_and_ours_is_not() -> None:
    came = fields("Received: before", "X-Secret: 1", "Subject: hello", "x-secret: 2")
    effects = Effects(removed=["X-SECRET", "Received"])
    assert changed(came, effects) == [*shown((TRACE,)), "Subject: hello"]


def test_a_pattern_removes_by_the_whole_field() -> None:
    came = fields("X-Spam: yes", "X-Spam: no", "X-Other: yes")
    effects = Effects(removed=["^X-Spam: y"])
    assert changed(came, effects)[1:] == ["X-Spam: no", "X-Other: yes"]


def test_a_pattern_that_is_none_is_a_failed_expansion() -> None:
    with pytest.raises(ExpansionFailed, match="remove_header"):
        changed(fields("Subject: hello"), Effects(removed=["^("]))


def test_what_acls_add_goes_to_its_place() -> None:
    came = fields("Received: before", "Return-Path: <>", "From: a", "Received: behind")
    effects = Effects(added=[AddedField(f"X-{place.name}: 1", place) for place in Place])
    assert changed(came, effects) == [
        "X-START: 1",
        *shown((TRACE,)),
        "Received: before",
        "X-START_RFC: 1",
        "X-AFTER_RECEIVED: 1",
        "Return-Path: <>",
        "From: a",
        "Received: behind",
        "X-END: 1",
    ]


def test_a_block_that_says_how_it_was_resent_stays_on_top() -> None:
    came = fields("Received: before", "Resent-To: b", "From: a", "Received: behind")
    effects = Effects(added=[AddedField("X: 1", Place.START_RFC)])
    assert changed(came, effects)[1:] == ["Received: before", "Resent-To: b", "X: 1", "From: a", "Received: behind"]


@pytest.mark.parametrize("place", [Place.START, Place.AFTER_RECEIVED, Place.START_RFC])
def test_of_two_fields_for_one_place_the_last_comes_first(place: Place) -> None:
    effects = Effects(added=[AddedField("X-A: 1", place), AddedField("X-B: 1", place)])
    found = [line for line in changed(fields("Subject: hello"), effects) if line.startswith("X-")]
    assert found == ["X-B: 1", "X-A: 1"]


def test_fields_at_the_end_keep_their_order() -> None:
    effects = Effects(added=[AddedField("X-A: 1"), AddedField("X-B: 1")])
    assert changed(fields("Subject: hello"), effects)[-2:] == ["X-A: 1", "X-B: 1"]


def test_what_is_added_behind_nothing_but_trace_fields() -> None:
    effects = Effects(added=[AddedField("X: 1", Place.START_RFC)])
    assert changed(fields("Received: before"), effects)[1:] == ["Received: before", "X: 1"]


def test_what_is_added_is_not_removed() -> None:
    """Exim removes from what came with the message."""
    effects = Effects(added=[AddedField("X-Checked: ours")], removed=["X-Checked"])
    assert changed(fields("X-Checked: theirs"), effects)[1:] == ["X-Checked: ours"]


# Added fields


@pytest.mark.parametrize(
    "text, expected",
    [
        ("X-A: 1", ["X-A: 1"]),
        ("X-A: 1\n\tfolded", ["X-A: 1\r\n\tfolded"]),
        ("X-A: 1\n\n\tfolded", ["X-A: 1\r\n\tfolded"]),
        ("no field", ["X-ACL-Warn: no field"]),
        ("X-A: 1\r", ["X-A: 1?"]),
        ("X-A: 1\rX-B: 2", ["X-A: 1?X-B: 2"]),
        ("X-A: \0", ["X-A: ?"]),
        ("", []),
        (" \n", []),
    ],
)
def test_the_text_of_an_added_field(text: str, expected: list[str]) -> None:
    assert shown(tuple(added_fields(AddedField(text)))) == expected


@given(HOSTILE)
def test_whatever_is_added_is_a_header(text: str) -> None:
    added = added_fields(AddedField(f"X-Seen: {text}"))
    assert all(map(is_one_field, added))
    assert split_header(join_fields(tuple(added))) == (tuple(added), b"")


def test_a_peers_control_characters_are_not_in_our_trace_field() -> None:
    """An escape sequence would move the cursor of whoever reads the message on a terminal."""
    greeting = Hello("x\x1b[2J\x00\x7f.test", True)
    scope = Scope(session=SessionFacts(hello=greeting))
    field = answer(received_field(compile_expansion("Received: from $sender_helo_name"), scope, 0.0))
    assert b"from x?[2J??.test" in field.raw


@pytest.mark.parametrize("text", ["", "${if eq{a}{b}{by relay.test}}", "Received: "])
def test_without_a_text_there_is_no_received_field(text: str) -> None:
    field = answer(received_field(compile_expansion(text), Scope(), NOW))
    assert (field.raw, field.value) == (b"", b"")
