"""Orders and answers as lines: what goes in comes out, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from delivery.post import make_message, make_recipient
from relay.daemon.orders import (
    Answer,
    BadOrder,
    CountWish,
    EntriesWish,
    MessageWish,
    Order,
    Outcome,
    PieceWish,
    Progress,
    Run,
    Selection,
    Verb,
    Wish,
    decode_answer,
    decode_entries,
    decode_line,
    decode_message,
    decode_piece,
    decode_progress,
    decode_wish,
    encode_answer,
    encode_entries,
    encode_line,
    encode_message,
    encode_piece,
    encode_progress,
    encode_wish,
)
from relay.mail.address import address_from_text
from relay.mail.queue import QueuedRecipient, QueueEntry, RecipientState

ID = "1aaaaa-aaaaaa-01"


def entry(
    *recipients: QueuedRecipient, sender: str = "anna@laptop.test", frozen: bool = False, at: float = 100.0
) -> QueueEntry:
    return QueueEntry(ID, address_from_text(sender), at, 10, frozen, 200.0, recipients, "anna")


@pytest.mark.parametrize(
    "wish",
    [
        Order(Verb.FREEZE, ID),
        Order(Verb.ADD_RECIPIENTS, ID, ("bert@far.test", "ümlaut\udcff")),
        Run(),
        Run(Selection("a", "b", "c", "d", True, 12.5, ID, True, True), True, True, True),
        EntriesWish(ID, 7),
        MessageWish(ID),
        PieceWish(ID, 3),
        CountWish(),
    ],
)
def test_a_wish_is_one_line_and_comes_back(wish: Wish) -> None:
    line = encode_wish(wish)
    assert line.count(b"\n") == 1
    assert decode_wish(line) == wish


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"ask":"all"}',
        b'{"ask":"order","verb":"burn","message_id":"x","addresses":[]}',
        b'{"ask":"order","verb":"freeze"}',
        b'{"ask":"message"}',
        b'{"ask":"piece","message_id":"x","number":1,"more":2}',
        b'{"ask":"piece","message_id":"x","number":"1"}',
        b'{"ask":"entries","after":"","limit":"many"}',
        b'{"ask":"message","message_id":{}}',
        b'{"ask":"run","selection":[]}',
        b'{"ask":"run","selection":{"recipient":1}}',
    ],
)
def test_what_is_no_wish_is_refused(line: bytes) -> None:
    with pytest.raises(BadOrder):
        decode_wish(line)


def test_answers_come_back() -> None:
    answer = Answer(Outcome.REFUSED, "is already frozen")
    assert decode_answer(decode_line(encode_answer(answer))) == answer
    progress = Progress(3, 9, 1, is_over=True)
    assert decode_progress(decode_line(encode_progress(progress))) == progress
    assert decode_piece(decode_line(encode_piece(b"\0\xff\r\n", is_last=True))) == (b"\0\xff\r\n", True)


def test_a_page_comes_back() -> None:
    done = replace(
        make_recipient("bert@far.test", 1, attempts=2, first_failed=5.0),
        state=RecipientState.DELIVERED,
        last_error='"quoted" \udcff',
        done=("a@b", "c@d/transport"),
    )
    page = (entry(make_recipient("a@far.test"), done), replace(entry(frozen=True, sender=""), frozen_at=7.5))
    line = encode_entries(page)
    assert line.count(b"\n") == 1
    assert decode_entries(decode_line(line)) == page


def test_a_message_comes_back() -> None:
    message = make_message("a@far.test", make_recipient("b@far.test", 1), parameters={"RET": "HDRS"})
    message = replace(message, warnings=2)
    assert decode_message(decode_line(encode_message(message))) == message
    assert decode_message(decode_line(encode_message(None))) is None


@pytest.mark.parametrize("decode", [decode_answer, decode_progress, decode_piece, decode_entries, decode_message])
@pytest.mark.parametrize("fields", [{}, {"entries": 1, "message": {}, "data": 1, "outcome": "x", "run": {}}])
def test_an_answer_that_is_none_is_said_to_be(decode, fields) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadOrder):
        decode(decode_line(encode_line(fields)))


FAILED = replace(make_recipient("Bert@Far.test"), last_error="host mx.far.test said no")
DONE = replace(make_recipient("carl@near.test", 1), state=RecipientState.DELIVERED, last_error="mx.near.test")


@pytest.mark.parametrize(
    "selection, taken",
    [
        (Selection(), True),
        (Selection(recipient="bert@"), True),
        (Selection(recipient="carl"), False),
        (Selection(recipient="^bert@.ar", recipient_is_pattern=True), True),
        (Selection(recipient="^ert", recipient_is_pattern=True), False),
        (Selection(sender="LAPTOP"), True),
        (Selection(sender="l.ptop"), False),
        (Selection(sender="l.ptop", sender_is_pattern=True), True),
        (Selection(domain="far.TEST"), True),
        (Selection(domain="ar.test"), False),
        (Selection(host="MX.FAR"), True),
        (Selection(host="mx.near"), False),
        (Selection(frozen=True), False),
        (Selection(before=100.0), False),
        (Selection(before=101.0), True),
        (Selection(message_id=ID), True),
        (Selection(message_id="other"), False),
        (Selection(recipient="bert", sender="nobody"), False),
    ],
)
def test_a_selection_takes(selection: Selection, taken: bool) -> None:
    assert selection.takes(entry(FAILED, DONE)) is taken


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(BadOrder, match="regular expression"):
        Selection(sender="(", sender_is_pattern=True).check()
    Selection(sender="(").check()


def test_lines_are_ascii() -> None:
    line = encode_wish(Order(Verb.SET_SENDER, ID, ("ü@x\r\ny",)))
    assert line.isascii()
    assert json.loads(line)["addresses"] == ["ü@x\r\ny"]
