"""The program's side of a hand-over: to the daemon's socket, or into the maildrop where nobody listens
(edge).

The message streams: a first stretch is read before anything is begun, so that a usual message is whole in
memory and finds its way whatever the daemon does, and what is longer than that goes through piece by piece.
This module is what a program waits for when it sends mail, so it imports little.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping

from relay.reception.request import (
    ANSWER_LIMIT,
    END_OF_FRAMES,
    FRAME_LIMIT,
    MAILDROP_NAME,
    SOCKET_NAME,
    STARTED_NAME,
    BadRequest,
    Status,
    SubmissionAnswer,
    SubmissionRequest,
    decode_answer,
    encode_request,
    frames,
    started_with,
)

PREFETCH = 262144
FILE_MODE = 0o644  # the daemon is not the owner; others can't list the folder and don't know the name
_DOT_LINE = re.compile(rb"\n\.\r?\n")
_DOT_LINE_FIRST = re.compile(rb"(?:\A|\n)\.\r?\n")


class HandOverFailed(Exception):
    """The message was not taken; the text is the one line that the user gets."""


class MessageInput:
    """A message from a pipe. `dot_ends`: a line with nothing but a dot ends it, as without -i."""

    def __init__(self, read: Callable[[int], bytes], *, dot_ends: bool) -> None:
        self._read = read
        self._dot_ends = dot_ends
        self._held = b""
        self._at_line_start = True
        self.ended = False

    def next(self) -> bytes:
        """The next octets, b"" at the end. Raises OSError."""
        while not self.ended:
            chunk = self._read(FRAME_LIMIT)
            text = self._held + chunk
            self._held = b""
            if not chunk:
                self.ended = True
            elif self._dot_ends:
                text = self._up_to_dot(text)
            if text:
                self._at_line_start = text.endswith(b"\n")
                return text
        return b""

    def _up_to_dot(self, text: bytes) -> bytes:
        """The text before a dot line, or all of it but a last line that may become one."""
        pattern = _DOT_LINE_FIRST if self._at_line_start else _DOT_LINE
        found = pattern.search(text)
        if found is not None:
            self.ended = True
            return text[: found.start() + found.group().startswith(b"\n")]
        newline = text.rfind(b"\n")
        is_line = newline >= 0 or self._at_line_start
        if is_line and text[newline + 1 :] in (b".", b".\r"):
            self._held = text[newline + 1 :]
            return text[: newline + 1]
        return text


Alone = Callable[[SubmissionRequest, Callable[[], bytes]], SubmissionAnswer]
"""Takes a message where no daemon does: the request, and what gives its octets (b"" at the end)."""


def hand_over(
    spool_directory: str,
    request: SubmissionRequest,
    message: MessageInput,
    alone: Alone | None = None,
    *,
    beside: bool = False,
) -> SubmissionAnswer:
    """Hands one message over: to the daemon, else to `alone`, else (where that is None) into the maildrop.

    `beside`: to `alone`, whether there is a daemon or not.

    ACCEPTED comes with an empty id where it waits in the maildrop. Raises HandOverFailed.
    """
    start: list[bytes] = []
    size = 0
    try:
        while size < PREFETCH and (piece := message.next()):
            start.append(piece)
            size += len(piece)
    except OSError as error:
        raise HandOverFailed(f"can't read the message: {error.strerror}") from None
    connection = None if beside and alone is not None else _connect(spool_directory)
    if connection is None and alone is not None:
        pieces = _pieces(start, message)
        return alone(request, lambda: next(pieces, b""))
    if connection is None:
        return _drop(spool_directory, request, start, message)
    with connection:
        answer = _submit(connection, request, start, message)
    if message.ended and (answer is None or answer.status is Status.DEFERRED):
        # It is still whole in our hands. Later will do, and nobody has to send it again.
        return _drop(spool_directory, request, start, message)
    if answer is None:
        raise HandOverFailed("the daemon ended the connection in the middle of the message; it was not accepted")
    return answer


def _connect(spool_directory: str) -> socket.socket | None:
    """A connection to the daemon; None where none is running."""
    path = os.path.join(spool_directory, SOCKET_NAME)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise HandOverFailed(f"can't reach the daemon at {path}: {error.strerror or error}") from None
    return connection


def _submit(
    connection: socket.socket, request: SubmissionRequest, start: list[bytes], message: MessageInput
) -> SubmissionAnswer | None:
    """The daemon's answer; None where it went before it had the whole message."""
    try:
        connection.sendall(encode_request(request))
        for piece in _pieces(start, message):
            connection.sendall(b"".join(frames(piece)))
        connection.sendall(END_OF_FRAMES)
    except (BrokenPipeError, ConnectionResetError):
        # An early refusal: the answer may stand there already.
        return _answer(connection)
    answer = _answer(connection)
    if answer is None:
        raise HandOverFailed(
            "the daemon ended the connection without an answer; the message may or may not have been accepted"
        )
    return answer


def _pieces(start: list[bytes], message: MessageInput) -> Iterator[bytes]:
    """The message from its beginning."""
    yield from start
    try:
        while piece := message.next():
            yield piece
    except OSError as error:
        raise HandOverFailed(f"can't read the message: {error.strerror}") from None


def _answer(connection: socket.socket) -> SubmissionAnswer | None:
    line = bytearray()
    try:
        while b"\n" not in line:
            piece = connection.recv(4096)
            if not piece or len(line) > ANSWER_LIMIT:
                return None
            line += piece
    except OSError:
        return None
    try:
        return decode_answer(bytes(line).split(b"\n", 1)[0])
    except BadRequest as error:
        raise HandOverFailed(f"the daemon's answer can't be read: {error}") from None


def _drop(
    spool_directory: str, request: SubmissionRequest, start: list[bytes], message: MessageInput
) -> SubmissionAnswer:
    """Leaves the message in the maildrop, on disk and synced, under its final name."""
    folder = os.path.join(spool_directory, MAILDROP_NAME)
    name = os.urandom(16).hex()
    half = os.path.join(folder, f"tmp.{name}")
    whole = os.path.join(folder, f"new.{name}")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, encode_request(request))
            for piece in _pieces(start, message):
                _write_all(descriptor, piece)
            os.fchmod(descriptor, FILE_MODE)
            os.fsync(descriptor)
            os.rename(half, whole)
            _sync_folder(folder, descriptor)
        except BaseException:
            _forget(half)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HandOverFailed(
            f"no daemon takes the message, and it can't be left in {folder}: {reason} (is the daemon set up? relay run)"
        ) from None
    return SubmissionAnswer(Status.ACCEPTED, text="the daemon is down; the message waits in the maildrop")


def _forget(path: str) -> None:
    """Removes what was begun; the daemon removes what is left even so."""
    try:
        os.unlink(path)
    except OSError:
        pass


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: str, descriptor: int) -> None:
    """Makes the rename durable. Who may not read the folder can't open it; syncing the renamed file again
    then makes the file systems in use write their journal, rename included."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        os.fsync(descriptor)
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_set_up_otherwise(spool_directory: str, configuration: str, macros: Mapping[str, str]) -> bool:
    """Whether the daemon of this queue was started with another configuration or macros, if we may know."""
    try:
        with open(os.path.join(spool_directory, STARTED_NAME), "rb") as file:
            return file.read() != started_with(configuration, macros)
    except OSError:
        return False


def may_open_queue(spool_directory: str) -> bool:
    """Whether this process may do the daemon's work: it is root's, or of the user whom the queue belongs to."""
    user = os.geteuid()
    if user == 0:
        return True
    for path in (os.path.join(spool_directory, "queue"), spool_directory):
        try:
            return os.stat(path).st_uid == user
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return False
