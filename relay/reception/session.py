"""One client's session: every question of the server machine is answered here (decision).

The session holds what is known of the client (`facts`) and the transaction under way. It asks policy for an opinion,
trust for the worth of a certificate, and the queue to keep a message; it says 250 to a message when the queue has it
on disk, never earlier. A change of the TLS layer in either direction forgets everything but the two endpoints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from relay.esmtp import questions as esmtp
from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers, declared_body, declared_size
from relay.esmtp.limits import ServerSettings
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.mail import events, reply
from relay.mail.envelope import Envelope, Recipient
from relay.mail.facts import Endpoint, Hello, SessionFacts, TLSFacts, Unverified
from relay.mail.ports import SpoolFull, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import make_message_id
from relay.mail.text import printable
from relay.policy.acl_values import Accepted, Deferred, Discarded, Switch, Where
from relay.policy.hosts import matches_client
from relay.policy.tls import NoCertificateConfigured, UnsafeName, offers_tls, server_policy
from relay.reception.admission import Admission
from relay.reception.asked import Inquirer
from relay.reception.client import Client, Transaction
from relay.reception.message import IncomingMessage
from relay.reception.message_end import MessageEnd, give_up
from relay.reception.rewriting import rewrite_at_smtp_time
from relay.reception.rules import Ports, Rules
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.faults import explain
from relay.tls.files import TLSFileError
from relay.tls.hello import ClientHello, protocol_fault, resumption
from relay.tls.policy import CertificateRequest, ServerTLS
from relay.tls.stack import ACCESS_DENIED, NO_APPLICATION_PROTOCOL, UNRECOGNIZED_NAME, HandshakeRefused
from relay.trust.certificate import judge_client


class TLSRefused(HandshakeRefused):
    """No context for this handshake; the text is for the log."""


class Session:
    """The decisions of one SMTP connection. `decide` is called by the edge with one question at a time."""

    def __init__(self, rules: Rules, ports: Ports, facts: SessionFacts) -> None:
        self._rules = rules
        self._ports = ports
        self._client = Client(rules, ports, facts)
        self._admission = Admission(self._client, rules, ports)
        self._message_end = MessageEnd(self._client, self._admission, rules, ports)
        self._inquirer = Inquirer(self._client, self._admission, rules, ports)
        self._context: TLSContext | None = None
        self._policy = ServerTLS("")
        self._has_quit = False

    @property
    def facts(self) -> SessionFacts:
        """What is known of the client."""
        return self._client.facts

    @facts.setter
    def facts(self, facts: SessionFacts) -> None:
        self._client.facts = facts

    def scope(self) -> Scope:
        """What expansions see at this moment."""
        return self._client.scope()

    # Questions

    async def decide(self, question: esmtp.Question) -> Answer:
        """The answer to a question of the machine. Never raises for anything a peer or a file can cause."""
        try:
            return await self._dispatch(question)
        except SpoolFull as error:
            return self._admission.trouble(reply.NO_SPACE, str(error))
        except TemporaryFailure as error:
            return self._admission.trouble(reply.LOCAL_PROBLEM, str(error))
        except ExpansionFailed as error:
            return self._admission.trouble(reply.LOCAL_PROBLEM, f"an option can't be expanded: {error}")

    async def _dispatch(self, question: esmtp.Question) -> Answer:
        match question:
            case esmtp.Connected():
                return await self._connected()
            case esmtp.HelloGiven(name, extended):
                return await self._hello(name, extended)
            case esmtp.TLSAsked():
                return await self._starttls()
            case esmtp.SenderGiven(sender, parameters):
                sender = await rewrite_at_smtp_time(sender, True, self._rules, self._client.scope, self._ports)
                return await self._sender(
                    Envelope(sender, (), declared_body(parameters), declared_size(parameters), parameters)
                )
            case esmtp.RecipientGiven(address, parameters):
                address = await rewrite_at_smtp_time(address, False, self._rules, self._client.scope, self._ports)
                return await self._recipient(Recipient(address, parameters))
            case esmtp.DataAsked(transfer):
                return await self._data(transfer)
            case esmtp.MessageEnded():
                return await self._message()
            case esmtp.QuitGiven():
                return await self._quit()
            case esmtp.VrfyAsked(text):
                return await self._inquirer.vrfy(text)
            case esmtp.ExpnAsked(text):
                return await self._inquirer.expn(text)
            case esmtp.EtrnAsked(text):
                return await self._inquirer.etrn(text)
            case esmtp.AuthAsked(mechanism):
                return await self._inquirer.auth(mechanism)
            case esmtp.AuthResponse() | esmtp.AuthAborted() | esmtp.XclientGiven():
                return Answer(reply.NOT_IMPLEMENTED)
            case _ as never:
                assert_never(never)

    async def _connected(self) -> Answer:
        verdict = await self._admission.verdict(Where.CONNECT)
        refusal = self._admission.refusal(verdict, "connection")
        if refusal is not None:
            return replace(refusal, hang_up=True)
        banner = (await self._rules.banner.text(self._client.scope())).split("\n")
        if isinstance(verdict, Accepted) and verdict.message:
            # Exim: the message of an ACL that accepts takes the banner's place.
            return Answer(self._admission.accepted(reply.SERVICE_READY, verdict), settings=self._settings())
        return Answer(reply.SERVICE_READY.with_text(*banner), settings=self._settings())

    async def _quit(self) -> Answer:
        self._has_quit = True
        closing = reply.CLOSING.with_text(f"{self._rules.primary_hostname} closing connection")
        verdict = await self._admission.verdict(Where.QUIT)
        if isinstance(verdict, Deferred):
            self._ports.journal.record(events.Trouble(f"ACL for QUIT returned ERROR: {verdict.log_text}"))
        return Answer(self._admission.accepted(closing, verdict))

    async def _hello(self, name: str, extended: bool) -> Answer:
        self.reset()
        self.facts = replace(self.facts, hello=Hello(name, extended))
        verdict = await self._admission.verdict(Where.HELO)
        refusal = self._admission.refusal(verdict, "EHLO" if extended else "HELO", printable(name))
        if refusal is not None:
            self.facts = replace(self.facts, hello=None)
            return refusal
        answer = reply.OK.with_text(self._greeting(name))
        if isinstance(verdict, Accepted) and verdict.message:
            answer = self._admission.accepted(reply.OK, verdict)
        return Answer(answer, await self._offers() if extended else Offers(), settings=self._settings())

    def _greeting(self, name: str) -> str:
        """Exim: who calls, by the name that is known to be right, else by the one that was given."""
        facts = self.facts
        caller = f"{facts.caller.login} at " if facts.caller is not None else ""
        address = f" [{facts.peer.address}]" if facts.peer is not None else ""
        return f"{self._rules.primary_hostname} Hello {caller}{facts.peer_host or name}{address}"

    def _settings(self) -> ServerSettings | None:
        """Other limits than usual, where an ACL has asked for them (control = no_enforce_sync)."""
        usual = self._rules.server_settings
        if usual is None:
            return None
        for control in reversed(self._client.effects.controls):
            if control in (Switch.ENFORCE_SYNC, Switch.NO_ENFORCE_SYNC):
                return replace(usual, enforce_sync=control is Switch.ENFORCE_SYNC)
        return None

    async def _offers(self) -> Offers:
        items = [("SIZE", str(self._rules.message_size_limit or ""))]
        items += [("8BITMIME", ""), ("ENHANCEDSTATUSCODES", "")]
        if await self._offers_pipelining():
            items.append(("PIPELINING", ""))
        if await self._offers_tls():
            items.append(("STARTTLS", ""))
        items.append(("HELP", ""))
        return Offers(tuple(items))

    async def _offers_pipelining(self) -> bool:
        hosts = self._rules.pipelining_advertise_hosts
        if self._client.effects.has(Switch.NO_PIPELINING):
            return False
        return hosts is None or await matches_client(hosts, self._client.scope())

    async def _offers_tls(self) -> bool:
        return self.facts.tls is None and await offers_tls(self._rules.tls, self._client.scope())

    # TLS

    async def _starttls(self) -> Answer:
        refusal = self._admission.refusal(await self._admission.verdict(Where.STARTTLS), "STARTTLS")
        if refusal is not None:
            return refusal
        try:
            await self._prepare_context("")
        except TLSRefused as error:
            self._ports.journal.record(events.TLSUnusable(self.facts, str(error)))
            return Answer(reply.TLS_NOT_AVAILABLE, poison=reply.SECURITY_FAILURE)
        return Answer(reply.TLS_GO_AHEAD)

    async def tls_context(self, hello: ClientHello) -> TLSContext:
        """Answers the stack's question *which context?*. Raises TLSRefused."""
        self._admit_handshake()
        # A ticket is bound to the name too, so that a resumed session needs a context of its own for each.
        by_name = self._rules.tls.depends_on_sni or self._policy.resumption
        if self._context is None or (by_name and hello.server_name):
            await self._prepare_context(hello.server_name)
        fault = protocol_fault(hello, self._policy.alpn, required=self._policy.require_alpn)
        if fault:
            raise TLSRefused(fault, NO_APPLICATION_PROTOCOL)
        assert self._context is not None
        return self._context

    def _admit_handshake(self) -> None:
        """Raises TLSRefused for an address that has had its share."""
        guard, peer = self._ports.handshakes, self.facts.peer
        if guard is not None and peer is not None and not guard.may_begin(peer.address, self._ports.clock.now()):
            raise TLSRefused("too many handshakes from this address", ACCESS_DENIED)

    async def _prepare_context(self, server_name: str) -> None:
        """Expands the TLS options for this client. Raises TLSRefused."""
        scope = self._client.scope()
        if server_name:
            # The name is known before there is a session: a layer that carries nothing else shows it to expansions.
            scope.session = replace(self.facts, tls=TLSFacts("", "", 0, sni=server_name))
        try:
            policy = await server_policy(self._rules.tls, scope, self._listener())
            self._context = await self._ports.contexts.server(policy)
        except UnsafeName as error:
            raise TLSRefused(str(error), UNRECOGNIZED_NAME) from None
        except (TLSFileError, BadCipherList, NoCertificateConfigured, ExpansionFailed, TemporaryFailure) as error:
            raise TLSRefused(str(error)) from None
        self._policy = policy
        if self._context.anchor_fault is not None:
            self._ports.journal.record(
                events.Trouble(
                    f"tls_verify_certificates: {self._context.anchor_fault}", "no client certificate verifies"
                )
            )

    def _listener(self) -> str:
        return str(self.facts.local) if self.facts.local else ""

    def layer_up(self, handshake: Handshake, hello: ClientHello) -> None:
        """A TLS layer has come up: everything that was known before it is forgotten, its own facts are judged."""
        assert self._context is not None
        policy = self._policy
        verification = judge_client(handshake, self._context.anchors, policy.request, self._ports.clock.now())
        self._forget(
            TLSFacts(
                version=handshake.version,
                suite=handshake.suite,
                bits=handshake.bits,
                group=handshake.group,
                sni=hello.server_name,
                alpn=handshake.alpn,
                resumed=handshake.resumed,
                ocsp={"sent": 4, "none": 1}.get(handshake.staple, 0),
                resumption=resumption(
                    hello, allowed=policy.resumption, resumed=handshake.resumed, version=handshake.version
                ).value,
                ours=handshake.ours,
                peer=handshake.peer,
                verification=verification,
                binding=handshake.binding,
            )
        )
        self._ports.journal.record(events.TLSStarted(self.facts))

    @property
    def must_end(self) -> str:
        """Why the connection has to end after a handshake, or an empty string (Exim: tls_verify_hosts)."""
        tls = self.facts.tls
        demanded = self._policy.request is CertificateRequest.MUST
        if tls is None or not demanded or not isinstance(tls.verification, Unverified):
            return ""
        return tls.verification.reason

    def layer_down(self) -> None:
        """The client has shut TLS down: trust does not outlive the layer that gave it."""
        self._ports.journal.record(events.TLSEnded(self.facts))
        self._forget(None)

    def _forget(self, tls: TLSFacts | None) -> None:
        self._client.forget(tls)
        self._context = None

    # The transaction

    async def _sender(self, envelope: Envelope) -> Answer:
        sender = envelope.sender
        if not sender.is_null and not sender.is_qualified:
            return self._admission.rejected(reply.UNQUALIFIED_ADDRESS, "MAIL", printable(str(sender)))
        now = self._ports.clock.now()
        self._client.transaction = transaction = Transaction(envelope, make_message_id(now, self._ports.random), {})
        verdict = await self._admission.verdict(Where.MAIL)
        refusal = self._admission.refusal(verdict, "MAIL", f"<{printable(str(sender))}>")
        if refusal is not None:
            self._client.forget_transaction()
            return refusal
        if isinstance(verdict, Discarded):
            transaction.discarded, transaction.discarded_by = True, "MAIL ACL"
            transaction.discard_text = verdict.log_text
        return Answer(self._admission.accepted(reply.SENDER_OK, verdict))

    async def _recipient(self, recipient: Recipient) -> Answer:
        transaction = self._client.transaction
        assert transaction is not None
        address = recipient.address
        if not address.is_qualified:
            if address.local_part.lower() != "postmaster":
                return self._admission.rejected(reply.UNQUALIFIED_ADDRESS, "RCPT", f"<{printable(str(address))}>")
            # RFC 5321 4.5.1: postmaster is accepted without a domain.
            recipient = replace(recipient, address=address.qualified(self._rules.qualify_recipient))
        if len(transaction.recipients) >= self._rules.recipients_max:
            return Answer(reply.TOO_MANY_RECIPIENTS)
        if transaction.discarded:
            # Exim: what is discarded at MAIL is discarded as a whole, no recipient is judged.
            return Answer(reply.RECIPIENT_OK)
        verdict = await self._admission.verdict(Where.RCPT, recipient.address)
        refusal = self._admission.refusal(verdict, "RCPT", f"<{printable(str(address))}>")
        if refusal is not None:
            if isinstance(verdict, Deferred):
                transaction.deferred += 1
            else:
                transaction.rejected += 1
            return refusal
        if isinstance(verdict, Discarded):
            transaction.discarded_by, transaction.discard_text = "RCPT ACL", verdict.log_text
        else:
            transaction.recipients.append(recipient)
        return Answer(self._admission.accepted(reply.RECIPIENT_OK, verdict))

    async def _data(self, transfer: esmtp.Transfer) -> Answer:
        transaction = self._client.transaction
        assert transaction is not None
        transaction.data_asked = True
        if transfer is esmtp.Transfer.LINES:
            refusal = self._admission.refusal(await self._admission.verdict(Where.PREDATA), "DATA")
            if refusal is not None:
                return refusal
        transaction.incoming = IncomingMessage(transaction.message_id, self._ports.intake)
        return Answer(reply.SEND_DATA)

    async def body(self, data: bytes) -> None:
        """Takes a piece of the message. Trouble with the queue is remembered and answered at the end of the data."""
        transaction = self._client.transaction
        if transaction is None or transaction.incoming is None:
            return
        try:
            await transaction.incoming.add(data)
        except SpoolUnavailable as error:
            transaction.incoming.spoil(error)

    async def _message(self) -> Answer:
        transaction = self._client.transaction
        assert transaction is not None
        incoming = transaction.incoming
        assert incoming is not None
        try:
            return await self._message_end.answer(transaction, incoming)
        finally:
            if self._client.transaction is transaction:
                self._client.forget_transaction()
            if not transaction.kept:
                await give_up(incoming)

    # Ends

    def reset(self) -> None:
        """Forgets the transaction. What it has put into the queue is taken back by `close` or the queue's own sweep."""
        self._client.forget_transaction()

    async def abandon(self) -> None:
        """The message will not be finished (the client is gone, or spoiled it): takes back what the queue has."""
        transaction = self._client.forget_transaction()
        if transaction is not None and transaction.incoming is not None:
            await give_up(transaction.incoming)

    def handshake_failed(self, reason: str, by_peer: bool) -> None:
        """A handshake did not come about, or its certificate is not enough for tls_verify_hosts."""
        fault = explain(reason, by_peer)
        suppressed: int | None = 0
        if self._ports.handshakes is not None and self.facts.peer is not None:
            suppressed = self._ports.handshakes.failed(self.facts.peer.address, self._ports.clock.now())
        if suppressed is None:
            return
        more = f"; {suppressed} more like it since the last line" if suppressed else ""
        self._ports.journal.record(events.TLSFailed(self.facts, fault.whose, fault.line + more))

    async def left(self, how: str) -> None:
        """The connection has ended without QUIT: the ACL for that may take note (Exim: acl_smtp_notquit)."""
        if self._has_quit:
            return
        self._has_quit = True
        reason = NOTQUIT_REASONS.get(how, "connection-lost")
        try:
            verdict = await self._admission.verdict(Where.NOTQUIT, smtp_notquit_reason=reason)
        except TemporaryFailure as error:
            self._ports.journal.record(events.Trouble(f"ACL for not-QUIT: {error}"))
            return
        if isinstance(verdict, Deferred):
            self._ports.journal.record(events.Trouble(f"ACL for not-QUIT returned ERROR: {verdict.log_text}"))

    def closed(self, how: str) -> None:
        """The connection has ended."""
        self._ports.journal.record(events.ConnectionClosed(self.facts, how))

    def violated(self, what: str, text: str) -> None:
        """The machine saw the protocol broken."""
        self._ports.journal.record(events.ProtocolViolated(self.facts, what, text))


NOTQUIT_REASONS = {
    "closed by us": "acl-drop",
    "shutting down": "signal-exit",
    "synchronization error": "synchronization-error",
    "timed out": "command-timeout",
    "timed out in data": "data-timeout",
    "TLS failed": "tls-failed",
    "too many nonmail commands": "bad-commands",
    "too many syntax or protocol errors": "bad-command-synprot",
    "too many unrecognized commands": "bad-commands",
}
"""$smtp_notquit_reason by how the connection ended; every other end is a connection that was lost."""


def make_facts(peer: Endpoint, local: Endpoint, *, tls_on_connect: bool) -> SessionFacts:
    """What is known of a client when it connects."""
    return SessionFacts(peer=peer, local=local, tls_on_connect=tls_on_connect)
