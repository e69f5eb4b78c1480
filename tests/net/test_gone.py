"""A client that goes away while its message's fate is decided: told while it matters, and only where it is sure."""

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
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


class Slow(MailboxSession):
    """Decides on a message when it is told to."""

    def __init__(self) -> None:
        super().__init__("relay.test", Endpoint("192.0.2.7", 40000), Endpoint("192.0.2.1", 25), 0.0)
        self.waits: Deferred[None] = Deferred()
        self.told = 0

    async def decide(self, question: questions.Question) -> Answer:
        if isinstance(question, questions.MessageEnded):
            await self.waits
        return await super().decide(question)

    async def accepts(self, recipient: Address) -> bool:
        return True

    async def deliver(self, envelope: Envelope, message: bytes) -> Reply:
        return reply.MESSAGE_ACCEPTED

    def gone(self) -> None:
        self.told += 1


class Wire(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


def at_the_dot(behind: bytes = b"") -> tuple[ESMTPServer, Slow]:
    session = Slow()
    settings = ServerSettings(enforce_sync=False)
    protocol = ESMTPServerFactory(Clock(), lambda *_: session, settings).buildProtocol(None)
    protocol.makeConnection(Wire())
    for each in (b"EHLO laptop.test", b"MAIL FROM:<a@laptop.test>", b"RCPT TO:<b@relay.test>", b"DATA"):
        protocol.dataReceived(each + b"\r\n")
    protocol.dataReceived(b"Subject: x\r\n\r\n.\r\n" + behind)
    return protocol, session


ENDS: list[Callable[[ESMTPServer], object]] = [ESMTPServer.readConnectionLost, ESMTPServer.connectionLost]


@pytest.mark.parametrize("end", ENDS)
def test_who_has_said_nothing_behind_its_message_is_gone(end: Callable[[ESMTPServer], object]) -> None:
    protocol, session = at_the_dot()
    end(protocol)
    assert session.told == 1
    session.waits.callback(None)


@pytest.mark.parametrize("end", ENDS)
def test_who_has_said_quit_may_go(end: Callable[[ESMTPServer], object]) -> None:
    """Exim ends its direction behind its last command, and some clients do not wait for the last replies."""
    for behind, later in ((b"QUIT\r\n", b""), (b"", b"QUIT\r\n")):
        protocol, session = at_the_dot(behind)
        protocol.dataReceived(later)
        end(protocol)
        assert session.told == 0
        session.waits.callback(None)


@pytest.mark.parametrize("end", ENDS)
def test_when_all_is_decided_nobody_is_told(end: Callable[[ESMTPServer], object]) -> None:
    protocol, session = at_the_dot()
    session.waits.callback(None)
    end(protocol)
    assert session.told == 0
