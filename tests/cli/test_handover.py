"""Where a message from a pipe ends, and what is left in the maildrop."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.handover import PREFETCH, HandOverFailed, MessageInput, hand_over
from relay.reception.request import SOCKET_NAME, Status, SubmissionAnswer, SubmissionRequest, encode_request

REQUEST = SubmissionRequest(recipients=("bob@there.example",))


def message(*pieces: bytes, dot_ends: bool = True) -> MessageInput:
    left = [piece for piece in pieces if piece]
    return MessageInput(lambda size: left.pop(0) if left else b"", dot_ends=dot_ends)


def read(source: MessageInput) -> bytes:
    return b"".join(iter(source.next, b""))


@pytest.mark.parametrize(
    ("text", "read_until"),
    [
        (b"", b""),
        (b".\n", b""),
        (b".\r\nx", b""),
        (b"a\n.\nb", b"a\n"),
        (b"a\r\n.\r\nb", b"a\r\n"),
        (b"a\n..\n.b\n", b"a\n..\n.b\n"),
        (b"a.\nb", b"a.\nb"),
        (b"a\n.", b"a\n."),
        (b"a\n.\r", b"a\n.\r"),
        (b"a\n.\rb\n", b"a\n.\rb\n"),
        (b"a\r.\nb", b"a\r.\nb"),
        (b"\n.\n", b"\n"),
        (b"a\n\n.\n.\n", b"a\n\n"),
    ],
)
def test_a_line_with_a_dot_ends_the_message_for_every_split(text: bytes, read_until: bytes) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert read(message(text[:first], text[first:second], text[second:])) == read_until
    assert read(message(text, dot_ends=False)) == text


@settings(max_examples=100)
@given(st.lists(st.sampled_from([b".", b"\n", b"\r", b"a", b"\n.\n", b"\r\n.\r\n"]), max_size=8))
def test_splits_never_matter(parts: list[bytes]) -> None:
    assert read(message(*parts)) == read(message(b"".join(parts)))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "maildrop").mkdir()
    return tmp_path


def test_without_a_daemon_the_message_waits_in_the_maildrop(spool: Path) -> None:
    hand_over(str(spool), REQUEST, message(b"Subject: x\n\nHello\n"))
    (left,) = (spool / "maildrop").iterdir()
    assert left.name.startswith("new.")
    assert left.read_bytes() == encode_request(REQUEST) + b"Subject: x\n\nHello\n"


def test_a_long_message_streams_into_the_maildrop(spool: Path) -> None:
    size = 0

    def endless(count: int) -> bytes:
        nonlocal size
        size += count
        return b"x" * count if size < 3 * PREFETCH else b""

    hand_over(str(spool), REQUEST, MessageInput(endless, dot_ends=True))
    (left,) = (spool / "maildrop").iterdir()
    assert left.stat().st_size > 2 * PREFETCH


def test_a_pipe_that_breaks_leaves_nothing(spool: Path) -> None:
    calls = 0

    def breaking(count: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 10:
            raise OSError(5, "Input/output error")
        return b"x" * count

    with pytest.raises(HandOverFailed, match="can't read the message"):
        hand_over(str(spool), REQUEST, MessageInput(breaking, dot_ends=True))
    assert list((spool / "maildrop").iterdir()) == []


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "fchmod"])
def test_each_step_that_fails_leaves_nothing(spool: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(HandOverFailed, match="No space left"):
        hand_over(str(spool), REQUEST, message(b"x\n"))
    monkeypatch.undo()
    assert list((spool / "maildrop").iterdir()) == []


def test_nothing_is_set_up(tmp_path: Path) -> None:
    with pytest.raises(HandOverFailed, match="No such file"):
        hand_over(str(tmp_path), REQUEST, message(b"x\n"))


def test_a_folder_that_may_only_be_written_to_is_enough(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for others than the daemon's user: the folder can't be opened to be synced."""
    really_open, synced = os.open, []

    def open_no_folder(path, flags, *rest, **named):
        if flags & os.O_DIRECTORY:
            raise PermissionError(13, "Permission denied")
        return really_open(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", open_no_folder)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    hand_over(str(spool), REQUEST, message(b"x\n"))
    assert len(synced) == 2


def test_beside_a_daemon_it_is_not_asked(spool: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(spool / SOCKET_NAME))
    listener.listen()
    listener.setblocking(False)
    taken: list[bytes] = []

    def alone(_request: SubmissionRequest, next_piece: Callable[[], bytes]) -> SubmissionAnswer:
        taken.extend(iter(next_piece, b""))
        return SubmissionAnswer(Status.ACCEPTED, "id")

    with listener:
        assert hand_over(str(spool), REQUEST, message(b"x\n"), alone, beside=True).message_id == "id"
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert b"".join(taken) == b"x\n"
