"""A client that does not wait for replies, and one that does not read them: neither costs memory without bound."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.esmtp import questions
from relay.esmtp.answers import Answer
from relay.esmtp.server import ServerSettings
from relay.mail import reply
from relay.mail.address import Address
from relay.mail.envelope import Envelope
from relay.mail.facts import Endpoint
from relay.mail.reply import Reply
from relay.net.mailbox import MailboxSession
from relay.net.server import ESMTPServer, ESMTPServerFactory


class Wire(StringTransport):
    """A transport that can be told to be full."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getPeer(self):
        return type("Address", (), {"host": "192.0.2.7", "port": 40000})()

    def getHost(self):
        return type("Address", (), {"host": "192.0.2.1", "port": 25})()


class Slow(MailboxSession):
    """Decides on a sender when it is told to."""

    waiting: list[Deferred[None]] = []  # noqa: RUF012 - one session a test

    async def decide(self, question: questions.Question) -> Answer:
        if isinstance(question, questions.SenderGiven):
            wait: Deferred[None] = Deferred()
            self.waiting.append(wait)
            await wait
        return await super().decide(question)

    async def accepts(self, recipient: Address) -> bool:
        return True

    async def deliver(self, envelope: Envelope, message: bytes) -> Reply:
        return reply.MESSAGE_ACCEPTED


def connected() -> tuple[ESMTPServer, Wire, Clock]:
    clock = Clock()
    Slow.waiting = []

    def make(peer: Endpoint, local: Endpoint, _: bool) -> Slow:
        return Slow("relay.test", peer, local, 0.0)

    # These clients run ahead; how far they may is the machine's affair.
    settings = ServerSettings(enforce_sync=False)
    protocol = ESMTPServerFactory(clock, make, settings).buildProtocol(None)
    wire = Wire()
    protocol.makeConnection(wire)
    protocol.dataReceived(b"EHLO laptop.test\r\n")
    return protocol, wire, clock


def test_reading_pauses_while_a_decision_is_open_and_more_comes() -> None:
    protocol, wire, _ = connected()
    protocol.dataReceived(b"MAIL FROM:<a@laptop.test>\r\n")
    assert wire.producerState == "producing"  # a client that waits is not worth a system call
    protocol.dataReceived(b"RCPT TO:<b@relay.test>\r\n")
    assert wire.producerState == "paused"
    assert b"250 2.1.5" not in wire.value()
    Slow.waiting[0].callback(None)
    assert wire.producerState == "producing"
    assert b"250 2.1.0 OK\r\n250 2.1.5 Accepted\r\n" in wire.value()


def test_a_client_that_reads_no_replies_is_not_read_from_either() -> None:
    protocol, wire, _ = connected()
    protocol.pauseProducing()  # what a transport says when its buffer is full
    said = len(wire.value())
    protocol.dataReceived(b"NOOP\r\n" * 10)
    assert wire.producerState == "paused"
    assert len(wire.value()) == said
    protocol.resumeProducing()
    assert wire.producerState == "producing"
    assert wire.value()[said:].startswith(b"250 2.0.0 OK\r\n")


def test_a_client_that_never_reads_is_cut_off() -> None:
    """It would hold one of the connections that are served at once, for ever."""
    protocol, wire, clock = connected()
    protocol.dataReceived(b"NOOP\r\n")
    protocol.pauseProducing()
    protocol.dataReceived(b"NOOP\r\n" * 3)
    clock.pump([10.0] * 29)
    assert not wire.aborted
    clock.pump([10.0] * 3)
    assert wire.aborted


def test_a_client_that_reads_on_in_time_is_not() -> None:
    protocol, wire, clock = connected()
    protocol.pauseProducing()
    clock.pump([10.0] * 29)
    protocol.resumeProducing()
    protocol.dataReceived(b"NOOP\r\n")
    clock.pump([10.0] * 20)
    assert not wire.aborted


def test_a_message_in_the_commit_goes_on_without_its_client() -> None:
    """Cancelling it could leave a message that nobody delivers."""
    protocol, _, _ = connected()
    protocol.dataReceived(b"MAIL FROM:<a@laptop.test>\r\n")
    Slow.waiting[0].callback(None)
    committed: Deferred[None] = Deferred()
    session = protocol.session
    ended: list[str] = []

    async def deliver(envelope: Envelope, message: bytes) -> Reply:
        try:
            await committed
        except BaseException:
            ended.append("cancelled")
            raise
        ended.append("committed")
        return reply.MESSAGE_ACCEPTED

    session.deliver = deliver  # type: ignore[attr-defined]  # a method of this one session
    protocol.dataReceived(b"RCPT TO:<b@relay.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n")
    protocol.connectionLost()
    committed.callback(None)
    assert ended == ["committed"]


def in_commit() -> tuple[ESMTPServer, Wire, Clock, Deferred[None]]:
    """A client that has sent a whole message and QUIT, while the queue is still writing."""
    protocol, wire, clock = connected()
    protocol.dataReceived(b"MAIL FROM:<a@laptop.test>\r\n")
    Slow.waiting[0].callback(None)
    committed: Deferred[None] = Deferred()

    async def deliver(envelope: Envelope, message: bytes) -> Reply:
        await committed
        return reply.MESSAGE_ACCEPTED

    protocol.session.deliver = deliver  # type: ignore[attr-defined]  # a method of this one session
    protocol.dataReceived(b"RCPT TO:<b@relay.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
    return protocol, wire, clock, committed


def test_a_client_that_ends_its_direction_gets_the_replies_that_are_due() -> None:
    """Exim does so behind its last command; without its reply it would send the message again."""
    protocol, wire, _, committed = in_commit()
    assert IHalfCloseableProtocol.providedBy(protocol)
    protocol.readConnectionLost()
    assert not wire.disconnecting
    committed.callback(None)
    assert wire.value().endswith(b"250 2.0.0 OK\r\n221 2.0.0 closing connection\r\n")
    assert wire.disconnecting


def test_a_client_that_ends_its_direction_without_a_word_is_let_go() -> None:
    protocol, wire, _ = connected()
    protocol.readConnectionLost()
    assert wire.disconnecting


def test_an_answer_that_comes_after_its_layer_answers_nothing_else() -> None:
    """The decision of a layer that is gone must not be given to the question that is open now."""
    protocol, wire, _, committed = in_commit()
    protocol._leave_decision_behind()
    said = len(wire.value())
    protocol.dataReceived(b"EHLO laptop.test\r\n")
    protocol.dataReceived(b"MAIL FROM:<a@laptop.test>\r\n")
    committed.callback(None)
    assert b"OK\r\n221" not in wire.value()[said:]
    assert wire.value()[said:].count(b"\r\n250 ") == 1  # the greeting; MAIL is still being decided
    Slow.waiting[1].callback(None)
    assert wire.value().endswith(b"250 2.1.0 OK\r\n")


def test_what_came_before_the_end_of_input_is_obeyed() -> None:
    """A client that says all it has to say and closes its direction, while we still think about its first command."""
    protocol, wire, _ = connected()
    protocol.dataReceived(b"MAIL FROM:<a@laptop.test>\r\n")
    protocol.dataReceived(b"RCPT TO:<b@relay.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n")
    protocol.dataReceived(b"QUIT\r\n")
    protocol.readConnectionLost()
    Slow.waiting[0].callback(None)
    assert [line[:3] for line in wire.value().splitlines()[-5:]] == [b"250", b"250", b"354", b"250", b"221"]
