"""Chunks: what comes out is what went in, in every split; text is text however it travels."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.chunks import Chunk, ChunkReader, ChunkWriter, read_chunk
from relay.esmtp.data import DataFault

SCRAPS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b".", b"\0\xff"]), max_size=20).map(b"".join)
TEXT = st.lists(st.sampled_from([b"\r\n", b"a", b".", b"\xff", b"\r\n\r\n"]), max_size=20).map(b"".join)


@pytest.mark.parametrize(
    "argument, chunk",
    [
        ("0", Chunk(0)),
        ("86", Chunk(86)),
        ("86 LAST", Chunk(86, True)),
        ("86   last", Chunk(86, True)),
        ("86 FIRST", Chunk(86, False, False)),
        ("", None),
        ("LAST", None),
        ("-1", None),
        ("0x10", None),
        ("1.5", None),
        ("\u0661", None),
        ("9" * 19, None),
    ],
)
def test_the_argument_of_bdat(argument: str, chunk: Chunk | None) -> None:
    assert read_chunk(argument) == chunk


def read(reader: ChunkReader, *chunks: bytes) -> bytes:
    text = b""
    for number, data in enumerate(chunks):
        reader.begin(Chunk(len(data), number == len(chunks) - 1))
        if data:
            text += reader.feed(data)
        assert reader.left == 0
    return text + reader.end()


@given(SCRAPS, st.integers(1, 5))
def test_bare_line_ends_are_found_in_every_split(data: bytes, step: int) -> None:
    reader = ChunkReader()
    text = read(reader, *(data[start : start + step] for start in range(0, len(data), step)))
    is_bare = re.search(rb"\r(?!\n)|(?<!\r)\n", data) is not None
    assert (reader.fault is DataFault.BARE_LINE_END) is is_bare
    if not is_bare:
        assert text == data + b"\r\n" * (bool(data) and not data.endswith(b"\r\n"))
    assert reader.size == len(data)


@given(SCRAPS, st.integers(1, 5))
def test_the_body_of_a_binary_message_is_kept_as_it_is(data: bytes, step: int) -> None:
    whole = b"Subject: x\r\n\r\n" + data
    reader = ChunkReader(binary=True)
    text = read(reader, *(whole[start : start + step] for start in range(0, len(whole), step)))
    assert reader.fault is None
    assert text == whole


@given(SCRAPS, st.integers(1, 5))
def test_the_header_section_of_a_binary_message_is_text(data: bytes, step: int) -> None:
    header, empty, _ = (b"\r\n" + data).partition(b"\r\n\r\n")
    reader = ChunkReader(binary=True)
    read(reader, *(data[start : start + step] for start in range(0, len(data), step)))
    is_bare = re.search(rb"\r(?!\n)|(?<!\r)\n", header + empty) is not None
    assert (reader.fault is DataFault.BARE_LINE_END) is is_bare


def test_over_the_limit_nothing_comes_out() -> None:
    reader = ChunkReader(size_limit=5)
    assert read(reader, b"ab\r\n") == b"ab\r\n"
    assert reader.fault is None
    reader.begin(Chunk(2))
    assert reader.feed(b"cd") == b""
    assert reader.fault is DataFault.TOO_BIG


def chunks_of(wire: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while wire:
        command, _, wire = wire.partition(b"\r\n")
        size = int(command.split()[1])
        found.append((command, wire[:size]))
        wire = wire[size:]
    return found


@given(st.lists(TEXT, max_size=5), st.integers(1, 9))
def test_what_is_written_is_text_in_chunks(pieces: list[bytes], size: int) -> None:
    writer = ChunkWriter(size)
    found = chunks_of(b"".join(map(writer.encode, pieces)) + writer.end())
    text = b"".join(pieces)
    assert b"".join(data for _, data in found) == text + b"\r\n" * (bool(text) and not text.endswith(b"\r\n"))
    assert [command.endswith(b" LAST") for command, _ in found] == [False] * (len(found) - 1) + [True]
    assert all(len(data) >= size for _, data in found[:-1])


@given(st.lists(SCRAPS, max_size=5), st.integers(1, 9))
def test_no_bare_line_end_is_written_unless_the_message_is_binary(pieces: list[bytes], size: int) -> None:
    writer = ChunkWriter(size)
    found = chunks_of(b"".join(map(writer.encode, pieces)) + writer.end())
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", b"".join(data for _, data in found))
    writer = ChunkWriter(size, binary=True)
    found = chunks_of(b"".join(map(writer.encode, pieces)) + writer.end())
    assert b"".join(data for _, data in found) == b"".join(pieces)
