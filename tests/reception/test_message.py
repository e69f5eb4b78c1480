"""A message taken apart as it comes: however it is cut, the same header, the same body, numbered pieces."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.mail.glance import BodyGlance
from relay.mail.header import split_header
from relay.mail.ports import SpoolFull, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE, NewMessage, make_message_id
from relay.reception.message import HEADER_LIMIT, IncomingMessage

T = TypeVar("T")

MESSAGE_ID = "1AAAAA-BBBBBB-CC"


def answer(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a port did not answer at once")


@dataclass
class Shelf:
    """An intake that keeps the pieces of one message in order and refuses everything out of order."""

    pieces: list[bytes] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    trouble: SpoolUnavailable | None = None

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        assert (message_id, number) == (MESSAGE_ID, len(self.pieces))
        if self.trouble is not None:
            raise self.trouble
        self.pieces.append(chunk)

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        raise AssertionError("a message that is still coming is not to be accepted")

    async def abandon(self, message_id: str) -> None:
        self.abandoned.append(message_id)


@dataclass(frozen=True)
class Taken:
    """What came of a message."""

    header: tuple[bytes, ...]
    body: bytes
    body_size: int
    size: int
    too_big: bool


def take(parts: Iterable[bytes], limit: int = HEADER_LIMIT) -> Taken:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf, limit)
    for part in parts:
        answer(incoming.add(part))
    if incoming.header_too_big:
        return Taken((), b"", 0, 0, True)
    number, tail = answer(incoming.finish())
    assert number == len(shelf.pieces)
    body = b"".join((*shelf.pieces, tail))
    return Taken(tuple(each.raw for each in incoming.fields), body, incoming.body_size, incoming.size, False)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    starts = [0, *ends]
    return [part for start, end in zip(starts, ends, strict=False) if (part := data[start:end])]


LINES = st.lists(
    st.sampled_from(
        [
            b"From: a@b\r\n",
            b"X: 1\r\n",
            b" folded\r\n",
            b"\t\r\n",
            b"\r\n",
            b"text\r\n",
            b".\r\n",
            b"no field:\r\n",
            b":\r\n",
        ]
    ),
    max_size=12,
).map(b"".join)


# The same, however it is cut


@given(LINES, st.lists(st.integers(0, 60), max_size=8))
@example(b"\r\nbody\r\n", [1])
@example(b"A: b\r\n\r\nbody\r\n", [5, 7])
def test_every_split_gives_the_same(message: bytes, places: list[int]) -> None:
    assert take(cut(message, places)) == take([message])


@given(LINES)
def test_octet_by_octet_as_well(message: bytes) -> None:
    assert take(bytes([octet]) for octet in message) == take([message])


@given(LINES, st.lists(st.integers(0, 60), max_size=8), st.integers(1, 30))
@example(b"A: b\r\n\r\nbody\r\n", [7], 5)
@example(b"text\r\nA: b\r\n\r\nbody\r\n", [6], 8)
@example(b"\r\n\r\n", [], 1)
def test_a_header_is_too_big_however_it_is_cut(message: bytes, places: list[int], limit: int) -> None:
    assert take(cut(message, places), limit) == take([message], limit)


@given(LINES)
def test_nothing_is_lost_and_nothing_is_added(message: bytes) -> None:
    """Header, the empty line that ended it (if there was one) and body are the message."""
    taken = take([message])
    header = b"".join(taken.header)
    assert message in (header + taken.body, header + b"\r\n" + taken.body)
    assert taken.body_size == len(taken.body)
    assert taken.size == len(message.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize(
    "message, header, body",
    [
        (b"A: b\r\nC: d\r\n\r\nbody\r\n", (b"A: b\r\n", b"C: d\r\n"), b"body\r\n"),
        (b"A: b\r\n folded\r\n\r\nbody\r\n", (b"A: b\r\n folded\r\n",), b"body\r\n"),
        (b"\r\nA: is body\r\n", (), b"A: is body\r\n"),
        (b"", (), b""),
        (b"\r\n", (), b""),
        (b"A: b\r\n", (b"A: b\r\n",), b""),
        (b"A: b\r\n\r\n", (b"A: b\r\n",), b""),
        (b"A: b\r\nno field here\r\n", (b"A: b\r\n",), b"no field here\r\n"),
        (b"no field here\r\nA: b\r\n\r\nmore\r\n", (), b"no field here\r\nA: b\r\n\r\nmore\r\n"),
        (b" leading\r\nA: b\r\n\r\n", (), b" leading\r\nA: b\r\n\r\n"),
        (b"A: b\r\n\r\nC: d\r\n\r\nx", (b"A: b\r\n",), b"C: d\r\n\r\nx"),
    ],
    ids=[
        "usual",
        "folded",
        "empty line first",
        "nothing",
        "an empty line",
        "no blank line",
        "no body",
        "text without a blank line",
        "no header",
        "white space first",
        "two blank lines",
    ],
)
def test_where_the_header_ends(message: bytes, header: tuple[bytes, ...], body: bytes) -> None:
    taken = take([message])
    assert (taken.header, taken.body) == (header, body)


# Bounds


@pytest.mark.parametrize("size, too_big", [(98, False), (99, True)])
@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "octet by octet"])
def test_the_limit_of_the_header(size: int, too_big: bool, whole: bool) -> None:
    """It counts the header section with the empty line that ends it."""
    message = b"A: " + b"x" * (size - 5) + b"\r\n\r\nbody\r\n"
    parts = [message] if whole else [bytes([octet]) for octet in message]
    assert take(parts, 100).too_big is too_big


def test_of_a_header_too_big_nothing_more_is_kept() -> None:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf, 100)
    answer(incoming.add(b"A: " + b"x" * 200))
    assert incoming.header_too_big
    answer(incoming.add(b"\r\n\r\n" + b"y" * 3 * CHUNK_SIZE))
    assert (shelf.pieces, incoming.body_size, incoming.fields) == ([], 0, ())


def test_a_long_body_is_no_long_header() -> None:
    assert not take([b"A: b\r\n\r\n", b"x" * 200], 100).too_big


# Pieces of the body


@pytest.mark.parametrize(
    "size, pieces, last",
    [(0, 0, 0), (1, 0, 1), (CHUNK_SIZE, 0, CHUNK_SIZE), (CHUNK_SIZE + 1, 1, 1), (2 * CHUNK_SIZE + 5, 2, 5)],
)
@pytest.mark.parametrize("step", [4096, 10 * CHUNK_SIZE])
def test_a_body_goes_into_the_queue_in_numbered_pieces(size: int, pieces: int, last: int, step: int) -> None:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf)
    message = b"A: b\r\n\r\n" + bytes(range(256)) * (size // 256 + 1)
    message = message[: 8 + size]
    for part in cut(message, range(0, len(message), step)):
        answer(incoming.add(part))
    number, tail = answer(incoming.finish())
    assert (number, len(tail)) == (pieces, last)
    assert [len(piece) for piece in shelf.pieces] == [CHUNK_SIZE] * pieces
    assert b"".join((*shelf.pieces, tail)) == message[8:]


def test_text_without_a_blank_line_comes_in_pieces_as_well() -> None:
    """What is no header is body, and no piece of a body is longer than a chunk."""
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf)
    text = b"no field here\r\n" * (3 * CHUNK_SIZE // 15)
    answer(incoming.add(text))
    number, tail = answer(incoming.finish())
    assert b"".join((*shelf.pieces, tail)) == text
    assert number == len(shelf.pieces)
    assert max(len(piece) for piece in (*shelf.pieces, tail)) <= CHUNK_SIZE


# Trouble with the queue


def test_what_the_queue_refuses_is_said() -> None:
    incoming = IncomingMessage(MESSAGE_ID, Shelf(trouble=SpoolFull("no room")))
    with pytest.raises(SpoolFull):
        answer(incoming.add(b"A: b\r\n\r\n" + bytes(CHUNK_SIZE + 1)))


def test_a_spoiled_message_takes_nothing_more() -> None:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf)
    answer(incoming.add(b"A: b\r\n\r\n" + bytes(CHUNK_SIZE + 1)))
    trouble = SpoolUnavailable("away")
    incoming.spoil(trouble)
    answer(incoming.add(bytes(3 * CHUNK_SIZE)))
    assert incoming.trouble is trouble
    assert len(shelf.pieces) == 1


def test_a_message_spoiled_in_its_header_takes_nothing_more() -> None:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf)
    answer(incoming.add(b"A: b\r\n"))
    incoming.spoil(SpoolUnavailable("away"))
    answer(incoming.add(b"\r\n" + bytes(3 * CHUNK_SIZE)))
    assert shelf.pieces == []


def test_only_what_has_gone_into_the_queue_is_taken_back() -> None:
    shelf = Shelf()
    incoming = IncomingMessage(MESSAGE_ID, shelf)
    answer(incoming.add(b"A: b\r\n\r\nshort"))
    answer(incoming.abandon())
    assert shelf.abandoned == []
    answer(incoming.add(bytes(CHUNK_SIZE)))
    answer(incoming.abandon())
    assert shelf.abandoned == [MESSAGE_ID]


# What is asked about the header


def test_fields_are_counted_and_read_whatever_their_case() -> None:
    incoming = IncomingMessage(MESSAGE_ID, Shelf())
    answer(incoming.add(b"Received: one\r\nRECEIVED: two\r\nsubject: a\r\n  b\r\nSubject: second\r\n\r\n"))
    assert incoming.count_fields("received") == 2
    assert incoming.count_fields("Receive") == 0
    assert incoming.first_value("Subject") == "a  b"
    assert incoming.first_value("Message-ID") == ""


def test_fields_are_kept_octet_for_octet() -> None:
    header = b"x-ODD  :\xff value \t\r\n\tfolded \r\n"
    incoming = IncomingMessage(MESSAGE_ID, Shelf())
    answer(incoming.add(header + b"\r\n"))
    assert incoming.fields == split_header(header)[0]
    assert incoming.fields[0].raw == header


# What variables may show of the body


def glance(*pieces: bytes, room: int = 10) -> BodyGlance:
    body = BodyGlance(room)
    for piece in pieces:
        body.look(piece)
    return body


def test_both_ends_of_a_body_are_kept_and_no_more() -> None:
    body = glance(b"0123456", b"789abc", b"defghijklmnop", b"q\r\n")
    assert (body.start, body.end) == (b"0123456789", b"jklmnopq\r\n")
    assert glance(b"x" * 5, room=0).start == b""
    assert glance(b"x" * 5, room=0).end == b""


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(0, 40))
def test_how_a_body_is_cut_makes_no_difference(pieces: list[bytes], room: int) -> None:
    whole = b"".join(pieces)
    body = glance(*pieces, room=room)
    assert (body.start, body.end) == (whole[:room], whole[-room:] if room else b"")
    assert (body.lines, body.zeros) == (whole.count(b"\n"), whole.count(b"\0"))


@pytest.mark.parametrize(("data", "lines"), [(b"A: b\r\n\r\none\r\n", 3), (b"one\r\ntwo\r\n", 3), (b"\r\none\r\n", 2)])
def test_a_line_of_text_that_ends_the_header_is_counted_twice(data: bytes, lines: int) -> None:
    incoming = IncomingMessage(MESSAGE_ID, Shelf())
    answer(incoming.add(data))
    answer(incoming.finish())
    assert incoming.lines == lines


def test_ids_stand_in_the_order_of_arrival() -> None:
    source = random.Random(1)
    times = [1_700_000_000 + step / 1000 for step in (0, 1, 2, 500, 999, 1000, 1001)]
    ids = [make_message_id(each, source) for each in times]
    assert sorted(ids) == ids
    assert len({make_message_id(times[0], source) for _ in range(100)}) == 100
    assert {len(each) for each in ids} == {len("tttttt-rrrrrrrrrrr-ffff")}
