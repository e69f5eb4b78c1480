"""A ready-made session for small Twisted programs that want to receive mail (edge).

Subclass `MailboxSession`, say which recipients are welcome (`accepts`) and take messages (`deliver`); everything else
(order of commands, limits, STARTTLS, dot-stuffing) is done. The relay itself uses `reception.session` instead, which
asks Exim's ACLs and writes to the queue.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from relay.esmtp import questions
from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers, declared_body
from relay.mail import reply
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.facts import Endpoint, Hello, SessionFacts, TLSFacts
from relay.mail.reply import Reply
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.hello import ClientHello
from relay.tls.policy import CertificateRequest
from relay.trust.certificate import judge_client

# Octets of a message that are held in memory; a longer one gets 552.
SIZE_LIMIT = 10 * 1024 * 1024


class MailboxSession:
    """One connection. `facts` tells who is there: address, greeting, TLS layer, certificate and whether it verified.

    `tls` is a context of `relay.tls.contexts.make_server_context`, None for a server without STARTTLS. `now` is the
    wall clock, by which certificates are judged.
    """

    must_end = ""

    def __init__(
        self, hostname: str, peer: Endpoint, local: Endpoint, now: float, tls: TLSContext | None = None
    ) -> None:
        self.hostname = hostname
        self.facts = SessionFacts(peer=peer, local=local)
        self._now = now
        self._tls = tls
        self._envelope: Envelope | None = None
        self._data = bytearray()

    # What a program brings

    async def accepts(self, recipient: Address) -> bool:
        """Whether mail for this recipient is welcome from this client. The default: from nobody."""
        return False

    async def deliver(self, envelope: Envelope, message: bytes) -> Reply:
        """Takes a whole message, header and body with CRLF line ends; the reply is what the client is told.

        The default takes none, for the time being.
        """
        return reply.LOCAL_PROBLEM

    # The ServerSession port

    async def decide(self, question: questions.Question) -> Answer:
        """Answers every question of the server machine."""
        match question:
            case questions.Connected():
                return Answer(reply.SERVICE_READY.with_text(f"{self.hostname} ESMTP"))
            case questions.HelloGiven(name, extended):
                self.facts = replace(self.facts, hello=Hello(name, extended))
                return Answer(reply.OK.with_text(f"{self.hostname} Hello {name}"), self._offers() if extended else None)
            case questions.TLSAsked():
                return Answer(reply.TLS_GO_AHEAD if self._tls is not None else reply.TLS_NOT_AVAILABLE)
            case questions.SenderGiven(sender, parameters):
                self._envelope = Envelope(sender, (), declared_body(parameters), parameters=parameters)
                return Answer(reply.SENDER_OK)
            case questions.RecipientGiven(address, parameters):
                return await self._recipient(Recipient(address, parameters))
            case questions.DataAsked():
                return Answer(reply.SEND_DATA)
            case questions.MessageEnded():
                return await self._message()
            case questions.QuitGiven():
                return Answer(reply.CLOSING)
            case questions.VrfyAsked():
                return Answer(reply.CANNOT_VERIFY)
            case questions.ExpnAsked() | questions.EtrnAsked() | questions.AuthAsked():
                return Answer(reply.NOT_IMPLEMENTED)
            case questions.AuthResponse() | questions.AuthAborted() | questions.XclientGiven():
                return Answer(reply.NOT_IMPLEMENTED)
            case _ as never:
                assert_never(never)

    def _offers(self) -> Offers:
        items = [("SIZE", str(SIZE_LIMIT)), ("8BITMIME", ""), ("PIPELINING", ""), ("ENHANCEDSTATUSCODES", "")]
        if self._tls is not None and self.facts.tls is None:
            items.append(("STARTTLS", ""))
        return Offers(tuple(items))

    async def _recipient(self, recipient: Recipient) -> Answer:
        assert self._envelope is not None
        if not await self.accepts(recipient.address):
            return Answer(reply.RELAY_NOT_PERMITTED)
        self._envelope = replace(self._envelope, recipients=(*self._envelope.recipients, recipient))
        return Answer(reply.RECIPIENT_OK)

    async def _message(self) -> Answer:
        envelope, message = self._envelope, bytes(self._data)
        self.reset()
        assert envelope is not None
        if len(message) > SIZE_LIMIT:
            return Answer(reply.MESSAGE_TOO_BIG)
        return Answer(await self.deliver(envelope, message))

    async def body(self, data: bytes) -> None:
        """Gathers the message; what is beyond the limit is dropped, the reply says so."""
        if len(self._data) <= SIZE_LIMIT:
            self._data += data

    async def tls_context(self, hello: ClientHello) -> TLSContext:
        """The one context that there is."""
        assert self._tls is not None
        return self._tls

    def layer_up(self, handshake: Handshake, hello: ClientHello) -> None:
        """A TLS layer: everything known before is forgotten, its certificate is judged."""
        assert self._tls is not None
        self.reset()
        facts = TLSFacts(
            version=handshake.version,
            suite=handshake.suite,
            bits=handshake.bits,
            sni=hello.server_name,
            peer=handshake.peer,
            verification=judge_client(handshake, self._tls.anchors, CertificateRequest.TRY, self._now),
        )
        self.facts = replace(self.facts, tls=facts, hello=None)

    def layer_down(self) -> None:
        """The layer is gone, and with it whatever it stood for."""
        self.reset()
        self.facts = replace(self.facts, tls=None, hello=None)

    def reset(self) -> None:
        """Forgets the transaction."""
        self._envelope = None
        self._data.clear()

    async def abandon(self) -> None:
        """Forgets the transaction."""
        self.reset()

    def heard(self, command: questions.CommandRead) -> None:
        """A command was read; a program may log it."""

    def violated(self, what: str, text: str, *, is_syntax: bool = False) -> None:
        """The client broke the protocol; a program may log it."""

    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None:
        """A TLS handshake did not come about; a program may log it."""

    async def left(self, how: str) -> None:
        """Nobody takes note."""

    def gone(self) -> None:
        """The client will not hear what `deliver` says; a program that can still turn back may."""

    def closed(self, how: str) -> None:
        """The connection has ended; a program may log it."""
