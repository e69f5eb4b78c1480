"""Server and client edges against each other over loopback: STARTTLS, TLS on connect, order of replies."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from relay.esmtp import questions
from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers
from relay.esmtp.server import ServerSettings
from relay.mail import reply
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.facts import Endpoint, SessionFacts, TLSFacts
from relay.mail.outcome import Delivered
from relay.net.client import ESMTPClient, ESMTPClientFactory
from relay.net.server import ESMTPServerFactory
from relay.tls.contexts import TLSContext, make_server_context
from relay.tls.engine import Handshake
from relay.tls.hello import ClientHello
from relay.tls.policy import CertificateRequest, ClientTLS, ServerTLS

from certs import self_signed


@dataclass
class Collected:
    """What all sessions of a test saw."""

    messages: list[tuple[str, tuple[str, ...], bytes, bool]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class Sink:
    """A session that takes everything from a client with a certificate, and nothing from others."""

    must_end = ""

    def __init__(
        self, context: TLSContext, collected: Collected, peer: Endpoint, local: Endpoint, on_connect: bool
    ) -> None:
        self.facts = SessionFacts(peer=peer, local=local, tls_on_connect=on_connect)
        self.context = context
        self.collected = collected
        self.sender = ""
        self.recipients: list[str] = []
        self.data = b""

    async def decide(self, question: questions.Question) -> Answer:
        match question:
            case questions.Connected():
                return Answer(reply.SERVICE_READY)
            case questions.HelloGiven(_, extended):
                items = (
                    (("PIPELINING", ""), ("8BITMIME", ""), ("STARTTLS", ""))
                    if self.facts.tls is None
                    else (("PIPELINING", ""),)
                )
                return Answer(reply.OK, Offers(items if extended else ()))
            case questions.TLSAsked():
                return Answer(reply.TLS_GO_AHEAD)
            case questions.SenderGiven(sender, _):
                self.sender = str(sender)
                return Answer(reply.SENDER_OK)
            case questions.RecipientGiven(address, _):
                if self.facts.tls is None or self.facts.tls.peer is None:
                    return Answer(reply.RELAY_NOT_PERMITTED)
                self.recipients.append(str(address))
                return Answer(reply.RECIPIENT_OK)
            case questions.DataAsked():
                return Answer(reply.SEND_DATA)
            case questions.MessageEnded():
                self.collected.messages.append(
                    (self.sender, tuple(self.recipients), self.data, self.facts.tls is not None)
                )
                return Answer(reply.MESSAGE_ACCEPTED)
            case questions.QuitGiven():
                return Answer(reply.CLOSING)
            case _:
                return Answer(reply.NOT_IMPLEMENTED)

    async def body(self, data: bytes) -> None:
        self.data += data

    async def tls_context(self, hello: ClientHello) -> TLSContext:
        return self.context

    def layer_up(self, handshake: Handshake, hello: ClientHello) -> None:
        self.collected.events.append("up")
        self.facts = replace(
            self.facts, tls=TLSFacts(handshake.version, handshake.suite, handshake.bits, peer=handshake.peer)
        )

    def layer_down(self) -> None:
        self.collected.events.append("down")
        self.facts = replace(self.facts, tls=None)

    def reset(self) -> None:
        self.recipients, self.data = [], b""

    async def abandon(self) -> None:
        self.reset()

    def heard(self, command: object) -> None:
        pass

    def violated(self, what: str, text: str, *, is_syntax: bool = False) -> None:
        self.collected.events.append(f"violation: {what}")

    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None:
        self.collected.events.append(f"handshake failed: {reason}")

    async def left(self, how: str) -> None:
        pass

    def closed(self, how: str) -> None:
        self.collected.events.append(f"closed {how}")


class Text:
    """A body in memory."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def piece(self, number: int) -> bytes:
        return self.pieces[number] if number < len(self.pieces) else b""


@dataclass
class Stand:
    collected: Collected
    port: int
    secure_port: int
    client: ClientTLS


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    relay, laptop = self_signed("relay.test", sans=["relay.test"]), self_signed("laptop.test")
    relay_cert, relay_key = relay.write(tmp_path, "relay")
    laptop_cert, laptop_key = laptop.write(tmp_path, "laptop")
    context = make_server_context(
        ServerTLS(str(relay_cert), str(relay_key), str(laptop_cert), request=CertificateRequest.TRY)
    )
    collected = Collected()

    def make(peer: Endpoint, local: Endpoint, on_connect: bool) -> Sink:
        return Sink(context, collected, peer, local, on_connect)

    settings = ServerSettings(enforce_sync=False)
    plain = reactor.listenTCP(0, ESMTPServerFactory(reactor, make, settings), interface="127.0.0.1")  # type: ignore[attr-defined]  # the reactor is chosen at run time
    secure = reactor.listenTCP(  # type: ignore[attr-defined]  # as above
        0, ESMTPServerFactory(reactor, make, tls_on_connect=True), interface="127.0.0.1"
    )
    client = ClientTLS(certificate=str(laptop_cert), privatekey=str(laptop_key), verify_certificates=str(relay_cert))
    yield Stand(collected, plain.getHost().port, secure.getHost().port, client)
    pytest_twisted.blockon(plain.stopListening())
    pytest_twisted.blockon(secure.stopListening())


async def connect(port: int, *, on_connect: bool = False) -> ESMTPClient:
    factory = ESMTPClientFactory(reactor, "laptop.test", lambda: 0.0, tls_on_connect=on_connect)
    client = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    assert isinstance(client, ESMTPClient)
    return client


def envelope(*recipients: str) -> Envelope:
    return Envelope(Address("me", "laptop.test"), tuple(Recipient(Address(name, "example.org")) for name in recipients))


@pytest_twisted.ensureDeferred
async def test_a_message_over_starttls(stand: Stand) -> None:
    client = await connect(stand.port)
    assert "STARTTLS" in await client.hello()
    handshake, _ = await client.start_tls(stand.client, on_connect=False)
    assert handshake.version == "TLS1.3"
    assert "STARTTLS" not in await client.hello()
    outcomes = await client.send(envelope("a", "b"), b"Subject: x\r\n", Text(b".dot\r\n" * 20000, b"end\r\n"))
    await client.quit()
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    sender, recipients, data, in_tls = stand.collected.messages[0]
    assert (sender, recipients, in_tls) == ("me@laptop.test", ("a@example.org", "b@example.org"), True)
    assert data == b"Subject: x\r\n\r\n" + b".dot\r\n" * 20000 + b"end\r\n"


@pytest_twisted.ensureDeferred
async def test_tls_on_connect(stand: Stand) -> None:
    client = await connect(stand.secure_port, on_connect=True)
    await client.start_tls(stand.client, on_connect=True)
    await client.hello()
    outcomes = await client.send(envelope("a"), b"Subject: x\r\n", Text(b"hello\r\n"))
    await client.quit()
    assert isinstance(outcomes[0], Delivered)


@pytest_twisted.ensureDeferred
async def test_a_client_in_clear_is_not_let_through(stand: Stand) -> None:
    client = await connect(stand.port)
    await client.hello()
    outcomes = await client.send(envelope("a"), b"Subject: x\r\n", Text(b"hello\r\n"))
    await client.quit()
    assert not isinstance(outcomes[0], Delivered)
    assert stand.collected.messages == []


def talk(port: int, *lines: bytes) -> bytes:
    """Sends everything at once behind the greeting and reads to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        greeting = connection.recv(1000)
        connection.sendall(b"".join(lines))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(10000):
            answer += piece
    return greeting + answer


@pytest_twisted.ensureDeferred
async def test_commands_behind_starttls_are_never_obeyed(stand: Stand) -> None:
    answer = await deferToThread(
        talk,
        stand.port,
        b"EHLO evil.test\r\nSTARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<a@evil.test>\r\n",
    )
    assert answer.count(b"250") == 4  # one EHLO, four lines
    assert any(event.startswith("handshake failed") for event in stand.collected.events)


@pytest_twisted.ensureDeferred
async def test_an_impatient_client_gets_its_replies_in_order(stand: Stand) -> None:
    answer = await deferToThread(
        talk, stand.port, b"EHLO x.test\r\n", b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nQUIT\r\n"
    )
    codes = [line[:3] for line in answer.splitlines() if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"550", b"503", b"221"]


def test_nothing_here_is_left_pending() -> None:
    """ensureDeferred is what runs the coroutines above; a name that goes would let them pass unrun."""
    assert Any is not None
    assert callable(ensureDeferred)
