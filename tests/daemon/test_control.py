"""The listening side of submit.sock: on real sockets, and with transports in memory where time passes."""

import os
import pwd
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from reception.local_mail import Events, Office
from relay.cli.handover import HandOverFailed, MessageInput, hand_over
from relay.daemon.callers import TrustedCallers
from relay.daemon.control import (
    REQUEST_TIMEOUT,
    SubmissionFactory,
    SubmissionProtocol,
    listen_for_submissions,
)
from relay.mail.events import Trouble
from relay.mail.ports import Cancelled
from relay.reception.request import (
    END_OF_FRAMES,
    REQUEST_LIMIT,
    Status,
    SubmissionAnswer,
    SubmissionRequest,
    decode_answer,
    encode_request,
    frames,
)

TO_BOB = SubmissionRequest(recipients=("bob@there.example",))
LINE = encode_request(TO_BOB)


class MemoryWire:
    """A transport whose other end is this process."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = ""
        self.paused = False
        self._pair = socket.socketpair()

    def getHandle(self) -> socket.socket:
        return self._pair[0]

    def write(self, data: bytes) -> None:
        self.written += data

    def loseConnection(self) -> None:
        self.closed = "lost"

    def abortConnection(self) -> None:
        self.closed = "aborted"

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def release(self) -> None:
        for each in self._pair:
            each.close()


class Taker:
    """A submission that collects pieces as far as it is let, and answers what it was told to."""

    def __init__(self) -> None:
        self.text = b""
        self.callers: list[str] = []
        self.cancelled = 0
        self.error: Exception | None = None
        self.gate: Any = None

    async def __call__(self, request: Any, originator: Any, pieces: Any, drop: Any = None) -> SubmissionAnswer:
        self.callers.append(originator.caller.login)
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate
        try:
            while piece := await pieces.next():
                self.text += piece
        except Cancelled:
            self.cancelled += 1
            raise
        return SubmissionAnswer(Status.ACCEPTED, "1xUfyz-0002Cc-2k")


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def wire() -> Iterator[MemoryWire]:
    wire = MemoryWire()
    yield wire
    wire.release()


@pytest.fixture
def connect(taker: Taker, clock: Clock, events: Events, wire: MemoryWire) -> Callable[..., SubmissionProtocol]:
    def make(**options: Any) -> SubmissionProtocol:
        factory = SubmissionFactory(clock, taker, TrustedCallers(), events, **options)
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(wire)
        return protocol

    return make


def test_a_message_octet_by_octet(connect, taker: Taker, wire: MemoryWire) -> None:
    protocol = connect()
    for octet in LINE + b"".join(frames(b"Hello\n")) + END_OF_FRAMES:
        protocol.dataReceived(bytes([octet]))
    assert taker.text == b"Hello\n"
    assert taker.callers == [pwd.getpwuid(os.getuid()).pw_name]
    assert decode_answer(wire.written) == SubmissionAnswer(Status.ACCEPTED, "1xUfyz-0002Cc-2k")
    assert wire.closed == "lost"


def test_a_client_that_leaves_half_way_cancels(connect, taker: Taker, wire: MemoryWire) -> None:
    protocol = connect()
    protocol.dataReceived(LINE + b"".join(frames(b"Hel")))
    protocol.connectionLost()
    assert taker.cancelled == 1
    assert wire.written == b""


def test_an_end_that_was_seen_counts_though_the_client_has_gone(connect, taker: Taker) -> None:
    protocol = connect()
    protocol.dataReceived(LINE + b"".join(frames(b"Hello\n")) + END_OF_FRAMES)
    protocol.connectionLost()
    assert (taker.text, taker.cancelled) == (b"Hello\n", 0)


@pytest.mark.parametrize(
    "octets",
    [b"EHLO x\r\n", b"x" * (REQUEST_LIMIT + 1), LINE + b"\xff\xff\xff\xff", LINE + END_OF_FRAMES + b"more"],
)
def test_nonsense_is_refused_in_one_line(connect, wire: MemoryWire, taker: Taker, octets: bytes) -> None:
    protocol = connect()
    protocol.dataReceived(octets)
    protocol.dataReceived(b"and more")
    assert wire.written.count(b"\n") == 1
    assert wire.closed == "lost"


def test_a_late_request_ends_the_connection(connect, wire: MemoryWire, clock: Clock) -> None:
    connect().dataReceived(LINE[:-1])
    clock.advance(REQUEST_TIMEOUT - 1)
    assert not wire.closed
    clock.advance(1)
    assert decode_answer(wire.written).status is Status.REFUSED
    assert wire.closed == "lost"


def test_a_slow_message_has_no_limit_unless_it_is_set(connect, wire: MemoryWire, clock: Clock, taker: Taker) -> None:
    protocol = connect()
    protocol.dataReceived(LINE)
    clock.advance(86400)
    assert not wire.closed
    assert clock.getDelayedCalls() == []


def test_a_limit_that_is_set_begins_again_with_each_piece(connect, wire, clock: Clock, taker: Taker) -> None:
    protocol = connect(receive_timeout=10)
    protocol.dataReceived(LINE)
    for _ in range(5):
        clock.advance(9)
        protocol.dataReceived(b"".join(frames(b"x")))
    assert not wire.closed
    clock.advance(10)
    assert wire.closed == "lost"
    assert taker.cancelled == 1


def test_reading_pauses_while_the_queue_is_slow(connect, wire: MemoryWire, taker: Taker) -> None:
    taker.gate = Deferred()
    protocol = connect()
    protocol.dataReceived(LINE)
    for _ in range(5):
        assert not wire.paused
        protocol.dataReceived(b"".join(frames(b"x" * 1000)))
    assert wire.paused
    taker.gate.callback(None)
    assert not wire.paused
    protocol.dataReceived(END_OF_FRAMES)
    assert len(taker.text) == 5000


def test_a_fault_of_ours_is_logged_and_the_program_is_told(connect, wire, taker: Taker, events: Events) -> None:
    taker.error = ZeroDivisionError("oh")
    connect().dataReceived(LINE)
    assert decode_answer(wire.written).status is Status.DEFERRED
    assert isinstance(events.recorded[0], Trouble)


def test_there_is_a_limit_of_connections(taker: Taker, clock: Clock, events: Events, wire: MemoryWire) -> None:
    factory = SubmissionFactory(clock, taker, TrustedCallers(), events, connections_max=1)
    first = factory.buildProtocol(None)
    first.makeConnection(wire)
    assert factory.buildProtocol(None) is None
    first.connectionLost()
    assert factory.buildProtocol(None) is not None


def test_stopping_ends_what_is_under_way(connect, wire: MemoryWire, taker: Taker) -> None:
    protocol = connect()
    protocol._factory.stopFactory()
    assert wire.closed == "aborted"


# On real sockets.


@pytest.fixture
def spool() -> Iterator[Path]:
    """A short path: the name of a Unix socket has about a hundred octets."""
    with tempfile.TemporaryDirectory(prefix="fp") as path:
        yield Path(path)


@pytest.fixture
def office(spool: Path) -> Iterator[Office]:
    office = Office()
    factory = SubmissionFactory(reactor, office.submission.submit, TrustedCallers(), office.events)
    port = listen_for_submissions(reactor, str(spool), factory)
    yield office
    pytest_twisted.blockon(port.stopListening())


def reader(text: bytes) -> Callable[[int], bytes]:
    pieces = [text[start : start + 65536] for start in range(0, len(text), 65536)]
    return lambda size: pieces.pop(0) if pieces else b""


def give(spool: Path, text: bytes, request: SubmissionRequest = TO_BOB) -> Any:
    return deferToThread(hand_over, str(spool), request, MessageInput(reader(text), dot_ends=True))


@pytest_twisted.ensureDeferred
async def test_a_message_through_the_socket(spool: Path, office: Office) -> None:
    answer = await give(spool, b"Subject: x\n\nHello\n.\nnot this\n")
    assert answer.status is Status.ACCEPTED
    assert answer.message_id == office.queue.accepted[0].message_id
    assert office.queue.body() == b"Hello\r\n"
    assert (spool / "submit.sock").stat().st_mode & 0o777 == 0o666


@pytest_twisted.ensureDeferred
async def test_a_long_message_streams_through(spool: Path, office: Office) -> None:
    text = b"Subject: x\n\n" + b"0123456789abcde\n" * 200_000
    answer = await give(spool, text)
    assert answer.status is Status.ACCEPTED
    assert office.queue.body() == b"0123456789abcde\r\n" * 200_000


@pytest_twisted.ensureDeferred
async def test_an_early_refusal_reaches_a_program_that_still_writes(spool: Path, office: Office) -> None:
    answer = await give(spool, b"x\n" * 2_000_000, SubmissionRequest())
    assert (answer.status, answer.text) == (Status.REFUSED, "no recipients given")


@pytest_twisted.ensureDeferred
async def test_several_programs_at_once(spool: Path, office: Office) -> None:
    waiting = [give(spool, b"Subject: %d\n\n" % number) for number in range(8)]
    answers = [await each for each in waiting]
    assert len({answer.message_id for answer in answers}) == 8


@pytest_twisted.ensureDeferred
async def test_a_second_daemon_is_refused_and_a_stale_socket_is_replaced(spool: Path, office: Office) -> None:
    factory = SubmissionFactory(reactor, office.submission.submit, TrustedCallers(), office.events)
    with pytest.raises(OSError, match="another daemon"):
        listen_for_submissions(reactor, str(spool), factory)
    (spool / "other").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(spool / "other" / "submit.sock"))
    port = listen_for_submissions(reactor, str(spool / "other"), factory)
    assert (await give(spool / "other", b"\n")).status is Status.ACCEPTED
    await port.stopListening()


def test_a_file_in_the_way_is_left_alone(spool: Path, events: Events, taker: Taker, clock: Clock) -> None:
    (spool / "submit.sock").write_text("precious")
    with pytest.raises(FileExistsError):
        listen_for_submissions(reactor, str(spool), SubmissionFactory(clock, taker, TrustedCallers(), events))
    assert (spool / "submit.sock").read_text() == "precious"


def test_a_daemon_that_answers_nothing(spool: Path) -> None:
    """What may have been accepted is not left in the maildrop as well."""
    (spool / "maildrop").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(spool / "submit.sock"))
    listener.listen()

    def take_and_go() -> None:
        connection, _ = listener.accept()
        with connection:
            while not connection.recv(65536).endswith(END_OF_FRAMES):
                pass

    thread = threading.Thread(target=take_and_go)
    thread.start()
    with pytest.raises(HandOverFailed, match="may or may not"):
        hand_over(str(spool), TO_BOB, MessageInput(reader(b"Hello\n"), dot_ends=True))
    thread.join()
    listener.close()
    assert list((spool / "maildrop").iterdir()) == []
