"""The message in the stream: dots, true ends, bare line ends, sizes, any split."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.esmtp.data import DataFault, DataReader, DataWriter, LocalDataReader

# Everything that matters to the reader, in short texts that meet often.
STREAMS = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"bc"]), max_size=12).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    points = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(points)] or [b""]


def read(reader: DataReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What came out of the reader, and what was left behind the end."""
    got = []
    rest = b""
    for piece in pieces:
        if reader.ended:
            rest += piece
        else:
            got.append(reader.feed(piece))
            rest = reader.rest
    return b"".join(got), rest


@pytest.mark.parametrize(
    "stream, message, rest",
    [
        (b".\r\n", b"", b""),
        (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.b\r\n.\r\n.\r\n", b"a\r\nb\r\n", b".\r\n"),
        (b"a.\r\nb\r\n.\r\n", b"a.\r\nb\r\n", b""),
        (b"\r\n\r\n...\r\n.\r\nMAIL", b"\r\n\r\n..\r\n", b"MAIL"),
        (b"\x00\xff\r\n.\r\n", b"\x00\xff\r\n", b""),
    ],
)
def test_reads_a_message_to_its_end(stream: bytes, message: bytes, rest: bytes) -> None:
    for pieces in ([stream], [bytes([octet]) for octet in stream]):
        reader = DataReader()
        assert read(reader, pieces) == (message, rest)
        assert reader.ended
        assert reader.fault is None
        assert reader.size == len(message)


# Published ends of data that one server of a chain sees and another does not.
@pytest.mark.parametrize(
    "odd",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\n.\r",
        b"\r\n\x00.\r\n\n",
        b"\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\n..\r\n",
        b"\r\r\n..\r\n",
    ],
)
def test_an_odd_end_is_no_end_and_spoils_the_message(odd: bytes) -> None:
    stream = b"one" + odd + b"MAIL FROM:<evil@example>\r\n.\r\nRSET\r\n"
    for pieces in ([stream], [bytes([octet]) for octet in stream]):
        reader = DataReader()
        _, rest = read(reader, pieces)
        assert reader.ended
        assert rest == b"RSET\r\n"
        assert reader.fault is DataFault.BARE_LINE_END


def test_a_cr_before_the_true_end_spoils_but_does_not_hide_it() -> None:
    reader = DataReader()
    assert reader.feed(b"a\r\r\n.\r\nQUIT") == b""
    assert (reader.ended, reader.rest, reader.fault) == (True, b"QUIT", DataFault.BARE_LINE_END)


def test_nothing_comes_out_behind_the_fault() -> None:
    reader = DataReader()
    assert reader.feed(b"good\r\n\r\n") == b"good\r\n"
    assert reader.feed(b"a\nb\r\n") == b""
    assert reader.feed(b"c\r\n.\r\n") == b""
    assert reader.fault is DataFault.BARE_LINE_END


def test_what_is_over_the_limit_is_read_to_its_end() -> None:
    reader = DataReader(size_limit=4)
    assert reader.feed(b"ab\r\n\r\n") == b"ab\r\n"
    assert reader.feed(b"cd\r\n") == b""
    assert reader.feed(b".\r\nNOOP\r\n") == b""
    assert (reader.ended, reader.rest, reader.fault) == (True, b"NOOP\r\n", DataFault.TOO_BIG)


def test_a_message_of_just_the_limit_passes() -> None:
    reader = DataReader(size_limit=4)
    assert reader.feed(b"ab\r\n.\r\n") == b"ab\r\n"
    assert reader.fault is None


@settings(max_examples=200)
@given(STREAMS, st.lists(st.integers(0, 30)), st.sampled_from([DataReader, LocalDataReader]))
def test_every_split_reads_the_same(body: bytes, places: list[int], kind: type[DataReader]) -> None:
    stream = body + b"\r\n.\r\nNOOP\r\n"
    whole, parted = kind(9), kind(9)
    message, rest = read(whole, [stream])
    again, rest_again = read(parted, cut(stream, places))
    assert (rest, whole.size, whole.fault) == (rest_again, parted.size, parted.fault)
    if whole.fault is None:
        assert message == again


def test_by_the_definition_of_rfc_5321() -> None:
    """The reader against the plain reading of the text, for all short streams."""
    parts = [b"\r\n", b".", b"a"]
    streams = [b""]
    for _ in range(6):
        streams = [stream + part for stream in streams for part in parts]
    for body in streams:
        stream = body + b"\r\n.\r\n"
        lines = stream.split(b"\r\n")
        end = lines.index(b".")
        expected = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
        assert DataReader().feed(stream) == expected


@pytest.mark.parametrize(
    "stream, message, rest",
    [
        (b".\n", b"", b""),
        (b"a\n.\nQUIT\n", b"a\r\n", b"QUIT\n"),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"..a\nb\r\n.\r\n", b".a\r\nb\r\n", b""),
        (b"a\rb\n.\n", b"a\r\nb\r\n", b""),
        (b"a\r.\rb\n.\n", b"a\r\n.\r\nb\r\n", b""),
        (b"\n\n.\n", b"\r\n\r\n", b""),
    ],
)
def test_on_a_pipe_lf_ends_a_line(stream: bytes, message: bytes, rest: bytes) -> None:
    for pieces in ([stream], [bytes([octet]) for octet in stream]):
        reader = LocalDataReader()
        assert read(reader, pieces) == (message, rest)
        assert reader.ended
        assert reader.fault is None


@pytest.mark.parametrize(
    "message, wire",
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n"),
        (b"a\n.\nb\r.\rc\r", b"a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n"),
        (b"\n", b"\r\n.\r\n"),
        (b"a\r\r\n", b"a\r\n\r\n.\r\n"),
    ],
)
def test_writes_a_message_with_its_dots_and_its_end(message: bytes, wire: bytes) -> None:
    for pieces in ([message], [bytes([octet]) for octet in message]):
        writer = DataWriter()
        assert b"".join(map(writer.encode, pieces)) + writer.end() == wire


@settings(max_examples=200)
@given(STREAMS, st.lists(st.integers(0, 30)), st.lists(st.integers(0, 40)))
@example(b"\r\n.\r\n", [2], [])
def test_what_is_written_is_read_again(message: bytes, cuts: list[int], recuts: list[int]) -> None:
    writer = DataWriter()
    wire = b"".join(map(writer.encode, cut(message, cuts))) + writer.end()
    bare_free = wire.replace(b"\r\n", b"")
    assert b"\r" not in bare_free
    assert b"\n" not in bare_free
    assert wire.find(b"\r\n.\r\n") in (-1, len(wire) - 5)
    reader = DataReader()
    got, rest = read(reader, cut(wire, recuts))
    assert reader.ended
    assert rest == b""
    assert reader.fault is None
    if b"\r" not in (plain := message.replace(b"\r\n", b"")) and b"\n" not in plain:
        assert got in (message, message + b"\r\n")
