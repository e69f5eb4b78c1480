"""The listening side of `submit.sock`: local programs hand messages over here (edge).

A connection is one message: the request line, the message in frames, one line in answer. Who calls is what
the kernel says of the socket. Reading stops while a few frames wait for the queue, so a fast program fills
its own pipe and not our memory; one that stands still holds a connection and a small buffer, nothing in the
queue is locked for it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections import deque
from collections.abc import Callable
from typing import Protocol as Port
from typing import cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IReactorTime, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from relay.daemon.callers import TrustedCallers, peer_credentials
from relay.mail.events import Trouble
from relay.mail.ports import Cancelled, Journal
from relay.reception.request import (
    REQUEST_LIMIT,
    SOCKET_NAME,
    BadRequest,
    FrameReader,
    Status,
    SubmissionAnswer,
    SubmissionRequest,
    decode_request,
    encode_answer,
)
from relay.reception.submission import Drop, Originator, Pieces

REQUEST_TIMEOUT = 30.0
"""Seconds until the request line must be there."""
WAITING_PIECES = 4
"""Frames that may wait before reading pauses."""


class Wire(Port):
    """What a connection's transport can do; Twisted has these in several interfaces."""

    def getHandle(self) -> socket.socket: ...
    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


class Submit(Port):
    """What takes a message: `Submission.submit`."""

    async def __call__(
        self, request: SubmissionRequest, originator: Originator, pieces: Pieces, drop: Drop | None = None
    ) -> SubmissionAnswer: ...


class _Arriving:
    """The pieces of a message between the connection and whoever pulls them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._waiting: deque[bytes] = deque()
        self._wanted: Deferred[None] | None = None
        self._ended = False
        self._lost = False
        self._changed = changed

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, pieces: list[bytes]) -> None:
        self._waiting.extend(pieces)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def lose(self) -> None:
        """The program is gone before its message was whole: who pulls gets `Cancelled`."""
        self._lost = not self._ended
        self._wake()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(None)

    async def next(self) -> bytes:
        while True:
            if self._lost:
                raise Cancelled
            if self._waiting:
                piece = self._waiting.popleft()
                self._changed()
                return piece
            if self._ended:
                return b""
            self._wanted = Deferred()
            await self._wanted


class SubmissionProtocol(Protocol):
    """One program at `submit.sock`."""

    def __init__(self, factory: SubmissionFactory) -> None:
        self._factory = factory
        self._wire: Wire | None = None
        self._line = bytearray()
        self._originator: Originator | None = None
        self._frames: FrameReader | None = None
        self._pieces = _Arriving(self._resume_if_room)
        self._submitting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._paused = False
        self._answered = False

    def connectionMade(self) -> None:
        """Asks the kernel who calls, and gives a limited time for the request."""
        self._wire = cast(Wire, self.transport)
        try:
            self._originator = self._factory.identify(self._wire)
        except OSError as error:
            self._answer(SubmissionAnswer(Status.DEFERRED, text=f"can't tell who calls: {error.strerror}"))
            return
        self._timer = self._factory.reactor.callLater(REQUEST_TIMEOUT, self._request_is_late)
        self._factory.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        """The request line first, frames behind it."""
        if self._answered:
            return
        try:
            if self._frames is None:
                rest = self._request(data)
                if rest is None:
                    return
                data = rest
            assert self._frames is not None
            self._set_timer(self._factory.receive_timeout)
            self._pieces.put(self._frames.feed(data))
        except BadRequest as error:
            self._pieces.lose()
            self._answer(SubmissionAnswer(Status.REFUSED, text=str(error)))
            return
        if self._frames.ended:
            self._set_timer(0)
            self._pieces.end()
        elif len(self._pieces) > WAITING_PIECES and not self._paused and self._wire is not None:
            self._paused = True
            self._set_timer(0)
            self._wire.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A program that leaves before its message is whole has handed over nothing."""
        self._set_timer(0)
        self._pieces.lose()
        self._factory.connections.discard(self)

    def _request(self, data: bytes) -> bytes | None:
        """Takes the request line off; returns what followed it, or None while it is not whole."""
        self._line += data
        end = self._line.find(b"\n")
        if end < 0:
            if len(self._line) > REQUEST_LIMIT:
                raise BadRequest("request too long")
            return None
        request = decode_request(bytes(self._line[:end]))
        rest = bytes(self._line[end + 1 :])
        self._line.clear()
        self._frames = FrameReader()
        assert self._originator is not None
        self._submitting = ensureDeferred(self._submit(request, self._originator))
        return rest

    def _resume_if_room(self) -> None:
        if self._paused and len(self._pieces) <= WAITING_PIECES // 2 and self._wire is not None:
            self._paused = False
            self._set_timer(self._factory.receive_timeout)
            self._wire.resumeProducing()

    async def _submit(self, request: SubmissionRequest, originator: Originator) -> None:
        try:
            answer = await self._factory.submit(request, originator, self._pieces)
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - a fault of ours is logged, and the program is not left waiting
            name = type(error).__name__
            self._factory.journal.record(
                Trouble(f"taking a message from {originator.caller.login} failed: {name}: {error}")
            )
            answer = SubmissionAnswer(Status.DEFERRED, text="internal trouble, see the log")
        self._answer(answer)

    def _answer(self, answer: SubmissionAnswer) -> None:
        """Says how it went and ends the connection, whatever of the message is still under way."""
        if self._answered or self._wire is None:
            return
        self._answered = True
        self._set_timer(0)
        self._wire.write(encode_answer(answer))
        self._wire.loseConnection()
        if self._paused:
            # A paused transport would not notice that the program closes.
            self._wire.resumeProducing()

    def _request_is_late(self) -> None:
        self._timer = None
        self._pieces.lose()
        self._answer(SubmissionAnswer(Status.REFUSED, text="no message came in time"))

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds > 0:
            self._timer = self._factory.reactor.callLater(seconds, self._request_is_late)

    def abort(self) -> None:
        """Ends the connection at once, for the stop of the daemon."""
        if self._wire is not None:
            self._wire.abortConnection()


class SubmissionFactory(Factory):
    """Makes a protocol for each program that connects, up to a number of them at a time."""

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        submit: Submit,
        callers: TrustedCallers,
        journal: Journal,
        *,
        receive_timeout: float = 0.0,
        connections_max: int = 200,
    ) -> None:
        """`receive_timeout` is Exim's option: seconds between two pieces of a message, 0 for no limit, since
        a long job's output is a message too."""
        self.reactor = reactor
        self.submit = submit
        self.journal = journal
        self.receive_timeout = receive_timeout
        self.connections: set[SubmissionProtocol] = set()
        self._callers = callers
        self._connections_max = connections_max

    def buildProtocol(self, addr: IAddress | None) -> SubmissionProtocol | None:
        """None, which closes the connection, where there are too many; the program then uses the maildrop."""
        if len(self.connections) >= self._connections_max:
            return None
        return SubmissionProtocol(self)

    def identify(self, wire: Wire) -> Originator:
        """The caller at the other end. Raises OSError."""
        return self._callers.identify(peer_credentials(wire.getHandle()))

    def stopFactory(self) -> None:
        """Nobody is left behind when listening stops."""
        for connection in list(self.connections):
            connection.abort()


def listen_for_submissions(reactor: IReactorUNIX, spool_directory: str, factory: SubmissionFactory) -> IListeningPort:
    """Listens on `submit.sock`, which everybody may write to. A socket that a dead daemon left is replaced.

    Raises OSError: EADDRINUSE where a daemon answers there.
    """
    path = os.path.join(spool_directory, SOCKET_NAME)
    remove_stale_socket(path)
    return reactor.listenUNIX(path, factory, mode=0o666)


def open_socket(spool_directory: str, name: str = SOCKET_NAME) -> socket.socket:
    """The same for a parent that takes in nobody: its workers inherit it. Raises OSError."""
    path = os.path.join(spool_directory, name)
    remove_stale_socket(path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        listening.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - everybody may hand a message over; who calls is asked of the kernel
        listening.listen(50)
    except OSError:
        listening.close()
        raise
    return listening


def remove_stale_socket(path: str) -> None:
    """Removes a socket that nobody listens on; raises OSError (EADDRINUSE) for one that is served."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "is in the way of the socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "another daemon serves this spool directory", path)
