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
from relay.esmtp.xclient import ClientAttributes
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.mail import events, reply
from relay.mail.facts import Endpoint, Hello, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.ports import SpoolFull, SpoolUnavailable, TemporaryFailure
from relay.policy.acl_values import Deferred, Where
from relay.policy.tls import NoCertificateConfigured, UnsafeName, server_policy
from relay.reception.admission import Admission
from relay.reception.asked import Inquirer
from relay.reception.client import Client
from relay.reception.greeting import Greeter
from relay.reception.logins import Logins
from relay.reception.message_end import MessageEnd, give_up
from relay.reception.proxies import proxied
from relay.reception.rules import Ports, Rules
from relay.reception.transactions import Transactions
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.faults import explain
from relay.tls.files import TLSFileError
from relay.tls.hello import ClientHello, protocol_fault, resumption
from relay.tls.names import in_rfc2253
from relay.tls.policy import CertificateRequest, ServerTLS
from relay.tls.stack import ACCESS_DENIED, NO_APPLICATION_PROTOCOL, UNRECOGNIZED_NAME, HandshakeRefused
from relay.trust.certificate import judge_client


class TLSRefused(HandshakeRefused):
    """No context for this handshake; the text is for the log."""


class Session:
    """The decisions of one SMTP connection. `decide` is called by the edge with one question at a time."""

    def __init__(self, rules: Rules, ports: Ports, facts: SessionFacts, full_name: str = "") -> None:
        """`full_name`: what the system knows of a local caller."""
        self._rules = rules
        self._ports = ports
        self._client = Client(rules, ports, facts, full_name)
        self._admission = Admission(self._client, rules, ports)
        self._message_end = MessageEnd(self._client, self._admission, rules, ports)
        self._inquirer = Inquirer(self._client, self._admission, rules, ports)
        self._logins = Logins(self._client, self._admission, rules, ports)
        self._greeter = Greeter(self._client, self._admission, rules, ports, self._logins.offered)
        self._transactions = Transactions(self._client, self._admission, rules, ports, self._logins)
        self._context: TLSContext | None = None
        self._policy = ServerTLS("")
        self._has_quit = False
        self._began = ports.clock.now()
        self._left_in_transaction = False
        self._cut: events.DataCut | None = None

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
        if type(question) in _COMMANDS:
            # Behind the greeting, as with Exim: a certificate logs in before the first command in its layer.
            await self._logins.by_certificate()
        match question:
            case esmtp.Connected():
                return await self._greeter.connected()
            case esmtp.HelloGiven(name, extended):
                return await self._hello(name, extended)
            case esmtp.TLSAsked():
                return await self._starttls()
            case esmtp.SenderGiven(sender, parameters):
                return await self._transactions.sender(sender, parameters)
            case esmtp.RecipientGiven(address, parameters):
                return await self._transactions.recipient(address, parameters)
            case esmtp.DataAsked(transfer):
                return await self._transactions.data(transfer)
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
            case esmtp.AuthAsked(mechanism, initial):
                return await self._logins.asked(mechanism, initial)
            case esmtp.AuthResponse(text):
                return await self._logins.responded(text)
            case esmtp.AuthAborted(said):
                return await self._logins.aborted(said)
            case esmtp.XclientGiven(attributes):
                return await self._xclient(attributes)
            case _ as never:
                assert_never(never)

    async def _quit(self) -> Answer:
        self._has_quit = True
        self._gives_up("QUIT")
        closing = reply.CLOSING.with_text(f"{self._client.active_hostname} closing connection")
        verdict = await self._admission.verdict(Where.QUIT)
        if isinstance(verdict, Deferred):
            self._ports.journal.record(events.Trouble(f"ACL for QUIT returned ERROR: {verdict.log_text}"))
        return Answer(self._admission.accepted(closing, verdict))

    async def _hello(self, name: str, extended: bool) -> Answer:
        answer = await self._greeter.hello(name, extended)
        if answer.reply.is_positive:
            # A greeting that is refused leaves the transaction as it is, and so does the machine.
            self.reset()
        return answer

    async def _xclient(self, attributes: ClientAttributes) -> Answer:
        """A proxy that we trust speaks for somebody else: for us a new client has connected."""
        self.reset()
        self._client.replace_peer(proxied(self.facts, attributes))
        self._logins.forget()
        answer = await self._greeter.connected()
        return replace(answer, reply=reply.XCLIENT_SUCCESS) if answer.reply.is_positive else answer

    # TLS

    async def _starttls(self) -> Answer:
        refusal = self._admission.refusal(await self._admission.verdict(Where.STARTTLS), "STARTTLS ")
        if refusal is not None:
            return refusal
        try:
            await self._prepare_context("")
        except TLSRefused as error:
            self._ports.journal.record(events.TLSUnusable(self.facts, str(error)))
            return Answer(reply.TLS_NOT_AVAILABLE, poison=reply.SECURITY_FAILURE)
        self._gives_up("STARTTLS")
        return Answer(reply.TLS_GO_AHEAD)

    async def tls_context(self, hello: ClientHello) -> TLSContext:
        """Answers the stack's question *which context?*. Raises TLSRefused."""
        self._admit_handshake()
        # A ticket is bound to the name too, so that a resumed session needs a context of its own for each.
        by_name = self._rules.tls.depends_on_sni or self._policy.resumption
        if self._context is None or (by_name and hello.server_name):
            await self._prepare_context(hello.server_name)
        else:
            # The files may be others since STARTTLS was said: a client can take its time.
            await self._take_context(self._policy)
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
        except UnsafeName as error:
            raise TLSRefused(str(error), UNRECOGNIZED_NAME) from None
        except (NoCertificateConfigured, ExpansionFailed, TemporaryFailure) as error:
            raise TLSRefused(str(error)) from None
        await self._take_context(policy)

    async def _take_context(self, policy: ServerTLS) -> None:
        """Raises TLSRefused."""
        try:
            self._context = await self._ports.contexts.server(policy)
        except (TLSFileError, BadCipherList, TemporaryFailure) as error:
            raise TLSRefused(str(error)) from None
        self._policy = policy

    def _listener(self) -> str:
        return str(self.facts.local) if self.facts.local else ""

    def layer_up(self, handshake: Handshake, hello: ClientHello) -> None:
        """A TLS layer has come up: everything that was known before it is forgotten, its own facts are judged."""
        assert self._context is not None
        policy, ours, peer = self._policy, handshake.ours, handshake.peer
        if self._rules.tls.dn_style == "rfc2253":
            ours, peer = in_rfc2253(ours), in_rfc2253(peer)
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
                ours=ours,
                peer=peer,
                verification=verification,
                binding=handshake.binding,
            ),
            self._kept_greeting(),
        )
        guard, client = self._ports.handshakes, self.facts.peer
        if guard is not None and client is not None and isinstance(verification, Verified):
            guard.verified(client.address, self._ports.clock.now())
        for each in verification.faults if isinstance(verification, Unverified) else ():
            self._note_verify_fault(each)
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

    def _kept_greeting(self) -> Hello | None:
        """That ESMTP is spoken may outlive the switch to TLS; a name that was given in clear does not."""
        hello, settings = self.facts.hello, self._rules.server_settings
        keeps = settings is not None and settings.remember_esmtp and hello is not None and hello.extended
        return Hello("", extended=True) if keeps else None

    def _forget(self, tls: TLSFacts | None, hello: Hello | None = None) -> None:
        self._client.forget(tls, hello)
        self._logins.forget()
        self._context = None

    # The transaction

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

    def _gives_up(self, how: str) -> None:
        """The client leaves a transaction before its data, if there is one."""
        transaction = self._client.transaction
        if transaction is None or transaction.incoming is not None:
            return
        recipients = tuple(each.address for each in transaction.recipients)
        sender = transaction.envelope.sender
        self._ports.journal.record(events.TransactionBroken(self.facts, sender, recipients, how))

    async def abandon(self) -> None:
        """The message will not be finished (the client has said so, is gone, or spoiled it): takes back what the queue
        has."""
        if self._client.last_verb == "RSET":
            self._gives_up("RSET")
        transaction = self._client.forget_transaction()
        if transaction is not None and transaction.incoming is not None:
            await give_up(transaction.incoming)

    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None:
        """A handshake did not come about, or its certificate is not enough for tls_verify_hosts."""
        fault = explain(reason, by_peer)
        suppressed: int | None = 0
        if self._ports.handshakes is not None and self.facts.peer is not None:
            suppressed = self._ports.handshakes.failed(self.facts.peer.address, self._ports.clock.now())
        if suppressed is None:
            return
        if verify_fault:
            self._note_verify_fault(verify_fault)
        more = f"; {suppressed} more like it since the last line" if suppressed else ""
        self._ports.journal.record(events.TLSFailed(self.facts, fault.whose, fault.line + more))

    def _note_verify_fault(self, fault: str) -> None:
        """What is wrong with a certificate, as Exim's log has it."""
        address = self.facts.peer.address if self.facts.peer is not None else ""
        self._ports.journal.record(events.DaemonNote(f"[{address}] SSL verify error: {fault}"))

    def gone(self) -> None:
        """The client will not read the reply to its message. (A local program ends its input where it pleases.)"""
        self._client.is_gone = self.facts.peer is not None

    async def left(self, how: str) -> None:
        """The connection has ended without QUIT: the ACL for that may take note (Exim: acl_smtp_notquit)."""
        if self._has_quit:
            return
        self._has_quit = True
        transaction = self._client.transaction
        self._left_in_transaction = transaction is not None and transaction.incoming is None
        if how in _LEAVES_INCOMPLETE:
            self._gives_up(_LEAVES_INCOMPLETE[how])
        if how == "lost" and transaction is not None and transaction.incoming is not None:
            self._cut = transaction.incoming.cut
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
        if self._client.unlogged:
            return
        elapsed = self._ports.clock.now() - self._began
        closed = events.ConnectionClosed(self.facts, how, elapsed, self._left_in_transaction, self._cut)
        self._ports.journal.record(closed)
        if not self._client.messages:
            self._ports.journal.record(events.NoMail(self.facts, elapsed, tuple(self._client.commands)))

    def heard(self, command: esmtp.CommandRead) -> None:
        """The machine has read a command."""
        self._client.heard(command)

    def violated(self, what: str, text: str, *, is_syntax: bool = False) -> None:
        """The machine saw the protocol broken."""
        commands = tuple(self._client.commands)
        message_id, transaction = "", self._client.transaction
        if what.startswith("message too big: read") and transaction is not None:
            message_id, text = transaction.message_id, str(transaction.envelope.sender)
        self._ports.journal.record(events.ProtocolViolated(self.facts, what, text, commands, is_syntax, message_id))
        if what == "too many nonmail commands" and commands:
            self._client.commands.pop()  # Exim: what is one too many was not had


_COMMANDS = frozenset(
    {
        esmtp.HelloGiven,
        esmtp.TLSAsked,
        esmtp.SenderGiven,
        esmtp.RecipientGiven,
        esmtp.DataAsked,
        esmtp.VrfyAsked,
        esmtp.ExpnAsked,
        esmtp.EtrnAsked,
        esmtp.AuthAsked,
        esmtp.XclientGiven,
        esmtp.QuitGiven,
    }
)
"""Questions that a command asks."""

NOTQUIT_REASONS = {
    "closed by us": "acl-drop",
    "dropped": "acl-drop",
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


_LEAVES_INCOMPLETE = {
    "lost": "connection lost",
    "synchronization error": "sync failure",
    "too many nonmail commands": "too many non-mail commands",
    "too many unrecognized commands": "unrecognized command",
}
"""How a connection ends that leaves a line about its transaction, in the words of that line."""


def make_facts(peer: Endpoint, local: Endpoint, *, tls_on_connect: bool, connection_id: str = "") -> SessionFacts:
    """What is known of a client when it connects."""
    return SessionFacts(peer=peer, local=local, tls_on_connect=tls_on_connect, connection_id=connection_id)
