"""Lines out of a stream: strict ends, limits, faults in step, any split."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.lines import LineEnd, LineFault, LineReader

LIMIT = 8


def lines_of(pieces: list[bytes], line_end: LineEnd = LineEnd.CRLF) -> list[bytes | LineFault]:
    reader = LineReader(LIMIT, line_end)
    found: list[bytes | LineFault] = []
    for piece in pieces:
        reader.receive(piece)
        while (line := reader.next_line()) is not None:
            found.append(line)
        assert len(reader) <= LIMIT
    return found


@pytest.mark.parametrize(
    "stream, expected",
    [
        (b"a\r\n", [b"a"]),
        (b"\r\n\r\n", [b"", b""]),
        (b"a", []),
        (b"a\nb\r\nc\r\n", [LineFault.BARE_LINE_END, b"c"]),
        (b"a\rb\r\nc\r\n", [LineFault.BARE_LINE_END, b"c"]),
        (b"a\r\r\nc\r\n", [LineFault.BARE_LINE_END, b"c"]),
        (b"\na\r\n", [LineFault.BARE_LINE_END]),
        (b"a\0\r\nc\r\n", [LineFault.NUL, b"c"]),
        (b"123456\r\n", [b"123456"]),
        (b"1234567\r\nc\r\n", [LineFault.TOO_LONG, b"c"]),
        (b"1234567890123456789\r\nc\r\n", [LineFault.TOO_LONG, b"c"]),
        (b"12345678\n9\0\r0\r\nc\r\n", [LineFault.TOO_LONG, b"c"]),
    ],
)
def test_lines_and_faults(stream: bytes, expected: list[bytes | LineFault]) -> None:
    assert lines_of([stream]) == expected
    assert lines_of([bytes([octet]) for octet in stream]) == expected


def test_on_a_pipe_lf_ends_a_line() -> None:
    assert lines_of([b"a\nb\r\nc\rd\n"], LineEnd.LOCAL) == [b"a", b"b", LineFault.BARE_LINE_END]


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"abc", b"x", b"\0"])).map(b"".join)),
    st.sampled_from(LineEnd),
)
def test_every_split_gives_the_same(pieces: list[bytes], line_end: LineEnd) -> None:
    stream = b"".join(pieces)
    reader = LineReader(LIMIT, line_end)
    reader.receive(stream)
    whole = list(iter(reader.next_line, None))
    assert lines_of(pieces, line_end) == whole


def test_take_leaves_nothing() -> None:
    reader = LineReader(LIMIT)
    reader.receive(b"STLS\r\n\x16\x03\x01")
    assert reader.next_line() == b"STLS"
    assert reader.take() == b"\x16\x03\x01"
    assert len(reader) == 0
    assert reader.next_line() is None


def test_take_ends_the_skipping_of_a_long_line() -> None:
    reader = LineReader(LIMIT)
    reader.receive(b"123456789")
    assert reader.next_line() is None
    reader.take()
    reader.receive(b"a\r\n")
    assert reader.next_line() == b"a"
