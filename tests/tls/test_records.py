"""Cutting a stream into TLS records: every split, what is no record, and what follows the last one."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tls.records import (
    FIRST_TYPE,
    FRAGMENT_LIMIT,
    HEADER_SIZE,
    LAST_TYPE,
    NotTLS,
    RecordCutter,
    is_record_start,
)


def record(kind: int, fragment: bytes, minor: int = 3) -> bytes:
    return bytes([kind, 3, minor]) + len(fragment).to_bytes(2, "big") + fragment


RECORDS = [
    record(22, b"hello", minor=1),
    record(20, b"\x01"),
    record(23, b""),  # legal as application data, RFC 8446 5.1
    record(23, bytes(range(256))),
    record(21, b"\x01\x00"),
]
STREAM = b"".join(RECORDS)


def cut(pieces: Iterable[bytes]) -> list[bytes]:
    """All records that come out, asked for after each piece."""
    cutter, found = RecordCutter(), []
    for piece in pieces:
        cutter.feed(piece)
        while (each := cutter.next_record()) is not None:
            found.append(each)
    assert len(cutter) == 0
    return found


def test_cut_in_two_at_every_octet() -> None:
    for position in range(len(STREAM) + 1):
        assert cut([STREAM[:position], STREAM[position:]]) == RECORDS


def test_whole_and_octet_by_octet() -> None:
    assert cut([STREAM]) == RECORDS
    assert cut(STREAM[position : position + 1] for position in range(len(STREAM))) == RECORDS


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_records(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert cut(STREAM[begin:end] for begin, end in pairwise(edges)) == RECORDS


def test_a_record_is_given_out_with_its_last_octet_and_not_before() -> None:
    cutter, whole = RecordCutter(), record(22, b"abc")
    assert cutter.next_record() is None
    for position in range(len(whole) - 1):
        cutter.feed(whole[position : position + 1])
        assert cutter.next_record() is None
    cutter.feed(whole[-1:])
    assert cutter.next_record() == whole
    assert cutter.next_record() is None


def test_what_follows_a_record_is_left_alone_and_comes_back_unchanged() -> None:
    cutter, clear = RecordCutter(), b"EHLO laptop.test\r\n\x16\x03"
    cutter.feed(record(21, b"\x01\x00") + clear)
    assert cutter.next_record() == record(21, b"\x01\x00")
    assert cutter.first_octet() == ord("E")
    assert len(cutter) == len(clear)
    assert cutter.take_rest() == clear
    assert cutter.take_rest() == b""
    assert cutter.first_octet() is None
    assert cutter.next_record() is None


@pytest.mark.parametrize("octet", sorted(set(range(256)) - set(range(FIRST_TYPE, LAST_TYPE + 1))))
def test_one_octet_tells_clear_text(octet: int) -> None:
    assert not is_record_start(octet)
    cutter = RecordCutter()
    cutter.feed(bytes([octet]))
    with pytest.raises(NotTLS):
        cutter.next_record()


@pytest.mark.parametrize("kind", [20, 21, 22, 23])
def test_the_four_kinds_of_record(kind: int) -> None:
    assert is_record_start(kind)
    assert cut([record(kind, b"x")]) == [record(kind, b"x")]


@pytest.mark.parametrize("major", [0, 2, 4, 254, 255])
def test_a_wrong_major_version_is_told_by_the_second_octet(major: int) -> None:
    cutter = RecordCutter()
    cutter.feed(bytes([22, major]))
    with pytest.raises(NotTLS):
        cutter.next_record()


def test_the_longest_record_passes() -> None:
    longest = record(23, b"x" * FRAGMENT_LIMIT)
    assert cut([longest]) == [longest]


@pytest.mark.parametrize("length", [FRAGMENT_LIMIT + 1, 65535])
def test_an_over_long_record_is_refused_by_its_header_alone(length: int) -> None:
    """Otherwise a peer could have 64 kB held for it before anybody says no."""
    cutter = RecordCutter()
    cutter.feed(b"\x17\x03\x03" + length.to_bytes(2, "big"))
    with pytest.raises(NotTLS, match=str(length)):
        cutter.next_record()


def test_no_command_and_no_reply_begins_like_a_record() -> None:
    for line in (b"EHLO", b"QUIT", b"220 ", b"\r\n", b"\n", b"\x80\x2e\x01\x03\x01"):  # the last one: an SSLv2 hello
        assert not is_record_start(line[0])


@given(noise=st.binary(max_size=400) | st.binary(max_size=80).map(lambda rest: b"\x16\x03" + rest))
def test_noise_gives_records_or_not_tls_and_loses_nothing(noise: bytes) -> None:
    cutter, given_out = RecordCutter(), b""
    cutter.feed(noise)
    try:
        while (each := cutter.next_record()) is not None:
            assert len(each) >= HEADER_SIZE
            given_out += each
    except NotTLS:
        pass
    assert given_out + cutter.take_rest() == noise
