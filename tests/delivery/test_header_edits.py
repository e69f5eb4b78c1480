"""The header of a delivered copy."""

from __future__ import annotations

import pytest

from delivery.post import HEADER, NOW, Notebook, run
from relay.delivery.header_edits import HeaderEdits, HeaderFailed, edited_header
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView, Scope
from relay.mail.address import Address, address_from_text
from relay.mail.source import Location
from relay.policy.rewrite import RewriteRule, parse_rewrite_rules

ANNA, BERT = address_from_text("anna@laptop.test"), address_from_text("bert@far.test")


def edited(
    header: bytes = HEADER,
    *,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    sender: Address = ANNA,
    scope: Scope | None = None,
    routers_add: tuple[str, ...] = (),
    routers_remove: tuple[str, ...] = (),
    rewrite: tuple[RewriteRule, ...] = (),
    **flags: bool,
) -> bytes:
    edits = HeaderEdits(
        headers_add=tuple(map(compile_expansion, add)),
        headers_remove=tuple(map(compile_expansion, remove)),
        headers_rewrite=rewrite,
        **flags,
    )
    question = edited_header(
        header,
        edits,
        scope or Scope(),
        return_path=sender,
        recipients=[BERT, BERT, ANNA],
        now=NOW,
        journal=Notebook(),
        routers_add=routers_add,
        routers_remove=routers_remove,
    )
    return run(question)


def test_nothing_asked_for_nothing_changed() -> None:
    header = b"Return-Path: <x@y.test>\r\n" + HEADER
    assert edited(header) == header


def test_fields_of_the_delivery_come_first_and_older_ones_go() -> None:
    header = edited(
        b"Return-Path: <forged@x.test>\r\n" + HEADER,
        return_path_add=True,
        envelope_to_add=True,
        delivery_date_add=True,
    )
    first, second, third, fourth, rest = header.split(b"\r\n", 4)
    assert first == b"Return-path: <anna@laptop.test>"
    assert second + fourth[:0] == b"Envelope-to: bert@far.test,"
    assert third == b" anna@laptop.test"
    assert fourth.startswith(b"Delivery-date: ")
    assert rest == HEADER


def test_a_bounce_has_an_empty_return_path() -> None:
    assert edited(sender=Address("", ""), return_path_add=True).startswith(b"Return-path: <>\r\n")


def test_fields_are_removed_by_name() -> None:
    assert b"Subject" not in edited(remove=("subject",))
    assert edited(remove=("Subj", "From2:")) == HEADER
    kept = edited(remove=("${if eq{1}{1}{FROM}} : mess*:received",))
    assert kept == b"Subject: hello\r\n"
    assert edited(routers_remove=("Subject",)) == edited(remove=("Subject",))


def test_fields_are_added_behind_the_others_the_routers_first() -> None:
    header = edited(add=("X-A: 1\nX-B: 2\n\t3", "X-C: 4"), routers_add=("X-R: 0",))
    assert header == HEADER + b"X-R: 0\r\nX-A: 1\r\nX-B: 2\r\n\t3\r\nX-C: 4\r\n"


def test_what_is_removed_may_be_added_anew() -> None:
    header = edited(add=("Subject: new",), remove=("Subject",))
    assert header.endswith(b"\r\nSubject: new\r\n")
    assert header.count(b"Subject") == 1


def test_forced_failures_and_empty_texts_add_nothing() -> None:
    assert edited(add=("${if eq{1}{2}{x}fail}", "", "\n\n"), remove=("${if eq{1}{2}{x}fail}", "")) == HEADER


def test_no_peer_begins_a_line() -> None:
    scope = Scope(address=AddressView(local_part="a\r\nX-Forged: yes\n\nbody"))
    header = edited(add=("X-For: $local_part",), scope=scope)
    assert header.startswith(HEADER + b"X-For: a")
    assert header.count(b"\n") == HEADER.count(b"\n") + 1


def test_a_failure_is_told() -> None:
    with pytest.raises(HeaderFailed, match="headers_add or headers_remove"):
        edited(add=("X: ${if >{x}{1}{a}}",))


def test_what_follows_the_fields_stays_behind_them() -> None:
    assert edited(b"A: 1\r\nno field\r\n", add=("X: 2",)) == b"A: 1\r\nX: 2\r\nno field\r\n"


def test_addresses_of_the_messages_own_fields_are_rewritten() -> None:
    rules = parse_rewrite_rules([(Location("test", 1), "*@laptop.test $local_part@far.test f")])
    assert b"From: anna@laptop.test\r\n" in HEADER
    header = edited(add=("From: anna@laptop.test",), rewrite=rules)
    assert header.count(b"From: anna@far.test\r\n") == 1
    assert header.endswith(b"\r\nFrom: anna@laptop.test\r\n"), "what is added stays as it is"
    assert b"Message-ID: <one@laptop.test>" in header
    rules = parse_rewrite_rules([(Location("test", 1), "*@laptop.test $local_part@far.test t")])
    assert edited(rewrite=rules) == HEADER
