"""Requests, answers and frames of a hand-over."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.reception.request import (
    END_OF_FRAMES,
    FRAME_LIMIT,
    BadRequest,
    DeliveryMode,
    FrameReader,
    Status,
    SubmissionAnswer,
    SubmissionRequest,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    frames,
)

REQUESTS = st.builds(
    SubmissionRequest,
    recipients=st.lists(st.text(), max_size=3).map(tuple),
    sender=st.none() | st.text(),
    full_name=st.none() | st.text(),
    extract_recipients=st.booleans(),
    delivery=st.sampled_from(DeliveryMode),
    fix_header=st.booleans(),
    qualify=st.booleans(),
    deliver_really=st.booleans(),
)


@settings(max_examples=100)
@given(REQUESTS)
def test_a_request_is_one_line_and_comes_back(request: SubmissionRequest) -> None:
    line = encode_request(request)
    assert line.count(b"\n") == 1
    assert decode_request(line) == request


def test_bytes_of_an_argument_that_are_no_text_come_back() -> None:
    request = SubmissionRequest(recipients=("a\udcff@b",))
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize("status", Status)
def test_an_answer_comes_back(status: Status) -> None:
    answer = SubmissionAnswer(status, "id", "text\nof two lines")
    assert encode_answer(answer).count(b"\n") == 1
    assert decode_answer(encode_answer(answer)) == answer


@settings(max_examples=100)
@given(st.binary(max_size=80))
def test_anything_else_is_a_bad_request(line: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_request(line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("recipients", "a@b"),
        ("recipients", [1]),
        ("sender", 1),
        ("extract_recipients", 1),
        ("delivery", "soon"),
        ("delivery", []),
        ("qualify", None),
    ],
)
def test_a_field_of_the_wrong_kind(field: str, value: object) -> None:
    row = json.loads(encode_request(SubmissionRequest()))
    with pytest.raises(BadRequest):
        decode_request(json.dumps({**row, field: value}).encode())


def test_deep_nesting_is_only_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        decode_request(b"[" * 100_000)


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=4), st.integers(1, 30))
def test_frames_come_back_for_every_split(pieces: list[bytes], step: int) -> None:
    wire = b"".join(frame for piece in pieces for frame in frames(piece)) + END_OF_FRAMES
    reader = FrameReader()
    found = [piece for start in range(0, len(wire), step) for piece in reader.feed(wire[start : start + step])]
    assert found == pieces
    assert reader.ended


def test_a_long_piece_is_several_frames() -> None:
    reader = FrameReader()
    assert [len(each) for each in reader.feed(b"".join(frames(bytes(FRAME_LIMIT + 1))))] == [FRAME_LIMIT, 1]
    assert not reader.ended


@pytest.mark.parametrize("wire", [(FRAME_LIMIT + 1).to_bytes(4, "big"), b"\xff" * 4, END_OF_FRAMES + b"x"])
def test_frames_that_are_none(wire: bytes) -> None:
    with pytest.raises(BadRequest):
        FrameReader().feed(wire)
