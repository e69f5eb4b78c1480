"""One client's session: every question of the server machine is answered here (decision).

The session holds what is known of the client (`facts`) and the transaction under way. It asks policy for an opinion,
trust for the worth of a certificate, and the queue to keep a message; it says 250 to a message when the queue has it
on disk, never earlier. A change of the TLS layer in either direction forgets everything but the two endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from relay.esmtp import questions as esmtp
from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers, declared_body, declared_size
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail import events, reply
from relay.mail.address import Address, address_from_text
from relay.mail.envelope import Envelope, Recipient
from relay.mail.facts import Endpoint, Hello, MessageFacts, SessionFacts, TLSFacts, Unverified
from relay.mail.ports import SpoolFull, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import NewMessage, make_message_id
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.policy.acl import REFUSED_WHEN_UNSET, ExpandedACLs, reply_with_message
from relay.policy.acl import check as check_acl
from relay.policy.acl_values import (
    Accepted,
    ACLContext,
    Deferred,
    Denied,
    Discarded,
    Effects,
    FakeReply,
    Freeze,
    Queueing,
    Submission,
    Switch,
    Verdict,
    Where,
)
from relay.policy.hosts import matches_client
from relay.policy.tls import NoCertificateConfigured, server_policy
from relay.reception.fields import received_field, shape_header
from relay.reception.fixups import Fixing, HeaderNeeds
from relay.reception.message import IncomingMessage
from relay.reception.rewriting import Addressed, rewrite_at_smtp_time, rewrite_incoming
from relay.reception.rules import Ports, Rules
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.files import TLSFileError
from relay.tls.hello import ClientHello
from relay.tls.policy import CertificateRequest
from relay.trust.certificate import judge_client


class TLSRefused(Exception):
    """No context for this handshake; the text is for the log."""


@dataclass(slots=True)
class Transaction:
    """One MAIL … end of data."""

    envelope: Envelope
    message_id: str
    variables: dict[str, str]
    """acl_m… of this message."""
    effects: Effects = field(default_factory=Effects)
    recipients: list[Recipient] = field(default_factory=list)
    discarded: bool = False
    kept: bool = False
    """The queue has the message: whatever the client is told, nothing of it is taken back."""
    incoming: IncomingMessage | None = None


class Session:
    """The decisions of one SMTP connection. `decide` is called by the edge with one question at a time."""

    def __init__(self, rules: Rules, ports: Ports, facts: SessionFacts) -> None:
        self.facts = facts
        self._rules = rules
        self._ports = ports
        self._transaction: Transaction | None = None
        self._connection_variables: dict[str, str] = {}
        self._connection_effects = Effects()
        self._context: TLSContext | None = None
        self._request = CertificateRequest.NONE

    # Questions

    async def decide(self, question: esmtp.Question) -> Answer:
        """The answer to a question of the machine. Never raises for anything a peer or a file can cause."""
        try:
            return await self._dispatch(question)
        except SpoolFull as error:
            return self._trouble(reply.NO_SPACE, str(error))
        except TemporaryFailure as error:
            return self._trouble(reply.LOCAL_PROBLEM, str(error))
        except ExpansionFailed as error:
            return self._trouble(reply.LOCAL_PROBLEM, f"an option can't be expanded: {error}")

    async def _dispatch(self, question: esmtp.Question) -> Answer:
        match question:
            case esmtp.Connected():
                return await self._connected()
            case esmtp.HelloGiven(name, extended):
                return await self._hello(name, extended)
            case esmtp.TLSAsked():
                return await self._starttls()
            case esmtp.SenderGiven(sender, parameters):
                sender = await rewrite_at_smtp_time(sender, True, self._rules, self.scope, self._ports)
                return await self._sender(
                    Envelope(sender, (), declared_body(parameters), declared_size(parameters), parameters)
                )
            case esmtp.RecipientGiven(address, parameters):
                address = await rewrite_at_smtp_time(address, False, self._rules, self.scope, self._ports)
                return await self._recipient(Recipient(address, parameters))
            case esmtp.DataAsked():
                return await self._data()
            case esmtp.MessageEnded():
                return await self._message()
            case esmtp.QuitGiven():
                return Answer(reply.CLOSING.with_text(f"{self._rules.primary_hostname} closing connection"))
            case esmtp.VrfyAsked():
                return Answer(reply.CANNOT_VERIFY)
            case esmtp.ExpnAsked() | esmtp.EtrnAsked() | esmtp.AuthAsked():
                return Answer(reply.NOT_IMPLEMENTED)
            case _ as never:
                assert_never(never)

    async def _connected(self) -> Answer:
        verdict = await self._run(Where.CONNECT)
        refusal = self._refusal(verdict, "connection")
        if refusal is not None:
            return replace(refusal, hang_up=True)
        banner = await self._rules.banner.text(self.scope())
        return Answer(reply.SERVICE_READY.with_text(*banner.split("\n")))

    async def _hello(self, name: str, extended: bool) -> Answer:
        self.reset()
        self.facts = replace(self.facts, hello=Hello(name, extended))
        verdict = await self._run(Where.HELO)
        refusal = self._refusal(verdict, "EHLO" if extended else "HELO", printable(name))
        if refusal is not None:
            self.facts = replace(self.facts, hello=None)
            return refusal
        peer = f" [{self.facts.peer.address}]" if self.facts.peer else ""
        hello = f"{self._rules.primary_hostname} Hello {name}{peer}"
        if not extended:
            return Answer(reply.OK.with_text(hello), Offers())
        offers = await self._offers()
        return Answer(reply.OK.with_text(hello), offers)

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
        if self._connection_effects.has(Switch.NO_PIPELINING):
            return False
        return hosts is None or await matches_client(hosts, self.scope())

    async def _offers_tls(self) -> bool:
        hosts = self._rules.tls.advertise_hosts
        return self.facts.tls is None and hosts is not None and await matches_client(hosts, self.scope())

    # TLS

    async def _starttls(self) -> Answer:
        refusal = self._refusal(await self._run(Where.STARTTLS), "STARTTLS")
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
        if self._context is None or (self._rules.tls.depends_on_sni and hello.server_name):
            await self._prepare_context(hello.server_name)
        assert self._context is not None
        return self._context

    async def _prepare_context(self, server_name: str) -> None:
        """Expands the TLS options for this client. Raises TLSRefused."""
        scope = self.scope()
        if server_name:
            # The name is known before there is a session: a layer that carries nothing else shows it to expansions.
            scope.session = replace(self.facts, tls=TLSFacts("", "", 0, sni=server_name))
        try:
            policy = await server_policy(self._rules.tls, scope, self._listener())
            self._context = await self._ports.contexts.server(policy)
        except (TLSFileError, BadCipherList, NoCertificateConfigured, ExpansionFailed, TemporaryFailure) as error:
            raise TLSRefused(str(error)) from None
        self._request = policy.request
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
        verification = judge_client(handshake, self._context.anchors, self._request, self._ports.clock.now())
        self._forget(
            TLSFacts(
                version=handshake.version,
                suite=handshake.suite,
                bits=handshake.bits,
                group=handshake.group,
                sni=hello.server_name,
                alpn=handshake.alpn,
                resumed=handshake.resumed,
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
        if tls is None or self._request is not CertificateRequest.MUST or not isinstance(tls.verification, Unverified):
            return ""
        return tls.verification.reason

    def layer_down(self) -> None:
        """The client has shut TLS down: trust does not outlive the layer that gave it."""
        self._ports.journal.record(events.TLSEnded(self.facts))
        self._forget(None)

    def _forget(self, tls: TLSFacts | None) -> None:
        self.reset()
        self._connection_variables = {}
        self._connection_effects = Effects()
        self._context = None
        self.facts = replace(
            self.facts, tls=tls, hello=None, authentication=None, peer_name="", tls_on_connect=self.facts.tls_on_connect
        )

    # The transaction

    async def _sender(self, envelope: Envelope) -> Answer:
        sender = envelope.sender
        if not sender.is_null and not sender.is_qualified:
            return self._rejected(reply.UNQUALIFIED_ADDRESS, "MAIL", printable(str(sender)))
        now = self._ports.clock.now()
        self._transaction = Transaction(envelope, make_message_id(now, self._ports.random), {})
        verdict = await self._run(Where.MAIL)
        refusal = self._refusal(verdict, "MAIL", f"<{printable(str(sender))}>")
        if refusal is not None:
            self._transaction = None
            return refusal
        if isinstance(verdict, Discarded):
            self._transaction.discarded = True
        return Answer(_with_message(reply.SENDER_OK, verdict))

    async def _recipient(self, recipient: Recipient) -> Answer:
        transaction = self._transaction
        assert transaction is not None
        address = recipient.address
        if not address.is_qualified:
            if address.local_part.lower() != "postmaster":
                return self._rejected(reply.UNQUALIFIED_ADDRESS, "RCPT", f"<{printable(str(address))}>")
            # RFC 5321 4.5.1: postmaster is accepted without a domain.
            recipient = replace(recipient, address=address.qualified(self._rules.qualify_recipient))
        if len(transaction.recipients) >= self._rules.recipients_max:
            return Answer(reply.TOO_MANY_RECIPIENTS)
        if transaction.discarded:
            # Exim: what is discarded at MAIL is discarded as a whole, no recipient is judged.
            return Answer(reply.RECIPIENT_OK)
        verdict = await self._run(Where.RCPT, recipient.address)
        refusal = self._refusal(verdict, "RCPT", f"<{printable(str(address))}>")
        if refusal is not None:
            return refusal
        if not isinstance(verdict, Discarded):
            transaction.recipients.append(recipient)
        return Answer(_with_message(reply.RECIPIENT_OK, verdict))

    async def _data(self) -> Answer:
        transaction = self._transaction
        assert transaction is not None
        refusal = self._refusal(await self._run(Where.PREDATA), "DATA")
        if refusal is not None:
            return refusal
        transaction.incoming = IncomingMessage(transaction.message_id, self._ports.intake)
        return Answer(reply.SEND_DATA)

    async def body(self, data: bytes) -> None:
        """Takes a piece of the message. Trouble with the queue is remembered and answered at the end of the data."""
        transaction = self._transaction
        if transaction is None or transaction.incoming is None:
            return
        try:
            await transaction.incoming.add(data)
        except SpoolUnavailable as error:
            transaction.incoming.spoil(error)

    async def _message(self) -> Answer:
        transaction = self._transaction
        assert transaction is not None
        incoming = transaction.incoming
        assert incoming is not None
        try:
            return await self._judge_message(transaction, incoming)
        finally:
            if self._transaction is transaction:
                self._transaction = None
            if not transaction.kept:
                await self._abandon(incoming)

    async def _judge_message(self, transaction: Transaction, incoming: IncomingMessage) -> Answer:
        if incoming.trouble is not None:
            raise incoming.trouble
        number, tail = await incoming.finish()
        if incoming.header_too_big:
            return self._rejected(reply.HEADER_TOO_BIG, "after DATA")
        if incoming.count_fields("Received") > self._rules.received_headers_max:
            return self._rejected(reply.TOO_MANY_HOPS, "after DATA")
        if self._rules.rewrite:
            given = Addressed(transaction.envelope.sender, tuple(transaction.recipients), incoming.fields)
            new = await rewrite_incoming(given, self._rules, self.scope(), self._ports)
            transaction.envelope = replace(transaction.envelope, sender=new.sender)
            transaction.recipients, incoming.fields = list(new.recipients), new.fields
        verdict = await self._run(Where.DATA)
        refusal = self._refusal(verdict, "after DATA")
        if refusal is not None:
            return refusal
        if isinstance(verdict, Discarded) or not transaction.recipients:
            transaction.discarded = True
        if transaction.discarded:
            self._ports.journal.record(events.MessageNote(transaction.message_id, "=> blackhole (ACL discarded it)"))
            return self._message_reply(transaction, verdict)
        message = await self._assemble(transaction, incoming)
        await self._ports.intake.accept(message, number, tail)
        transaction.kept = True
        self._record_arrival(message, incoming)
        if message.due is None and not message.frozen:
            self._ports.runner.arrived(message.message_id)
        return self._message_reply(transaction, verdict)

    def _message_reply(self, transaction: Transaction, verdict: Verdict) -> Answer:
        for control in transaction.effects.controls:
            if isinstance(control, FakeReply):
                return Answer(
                    Reply(450, "4.7.0", (control.text,)) if control.temporary else Reply(550, "5.7.1", (control.text,))
                )
        accepted = reply.MESSAGE_ACCEPTED.with_text(f"OK id={transaction.message_id}")
        return Answer(_with_message(accepted, verdict))

    async def _assemble(self, transaction: Transaction, incoming: IncomingMessage) -> NewMessage:
        """The message as it goes into the queue: our trace field on top, what ACLs added and removed."""
        now = self._ports.clock.now()
        controls = transaction.effects.controls
        received = await received_field(self._rules.received_header, self._scope_at_data(transaction, incoming), now)
        submission = next((each for each in controls if isinstance(each, Submission)), None)
        needs = self._header_needs(transaction, submission, now) if submission is not None else None
        fields = shape_header(incoming.fields, received, transaction.effects, needs)
        queue_only = self._rules.queue_only or any(isinstance(each, Queueing) for each in controls)
        return NewMessage(
            message_id=transaction.message_id,
            sender=transaction.envelope.sender,
            recipients=tuple(transaction.recipients),
            header=b"".join(each.raw for each in fields),
            facts=MessageFacts(self.facts, now, {**self._connection_variables, **transaction.variables}),
            body_type=transaction.envelope.body,
            body_size=incoming.body_size,
            parameters=transaction.envelope.parameters,
            frozen=any(isinstance(each, Freeze) for each in controls),
            due=self._first_attempt(now, queue_only),
        )

    def _header_needs(self, transaction: Transaction, submission: Submission, now: float) -> HeaderNeeds:
        """What a submission's header is completed from (Exim: control = submission).

        Whoever has authenticated is the originator, and is named in Sender: where From: says otherwise; a client that
        is known by its certificate alone has no address that could be compared.
        """
        sender = transaction.envelope.sender
        domain = submission.domain if submission.domain is not None else self._rules.qualify_domain
        authentication = self.facts.authentication
        originator = address_from_text(authentication.identity).qualified(domain) if authentication else sender
        checked = authentication is not None and not submission.sender_retain
        return HeaderNeeds(
            fixing=Fixing.COMPLETE_AND_CHECK_FROM if checked else Fixing.COMPLETE,
            message_id=transaction.message_id,
            id_domain=self._rules.primary_hostname,
            now=now,
            sender=sender,
            originator=originator,
            full_name=submission.name,
            name_in_from=bool(submission.name),
            drop_sender_field=checked,
            drop_bcc=False,
        )

    def _first_attempt(self, now: float, queue_only: bool) -> float | None:
        if queue_only:
            return now + self._rules.queue_only_delay
        return None if self._ports.runner.takes_new() else now

    def _record_arrival(self, message: NewMessage, incoming: IncomingMessage) -> None:
        self._ports.journal.record(
            events.Arrived(
                message.message_id,
                message.sender,
                message.facts.session,
                len(message.header) + 2 + message.body_size,
                header_message_id=incoming.first_value("Message-ID"),
                subject=incoming.first_value("Subject"),
                recipients=tuple(each.address for each in message.recipients),
            )
        )

    # Ends

    def reset(self) -> None:
        """Forgets the transaction. What it has put into the queue is taken back by `close` or the queue's own sweep."""
        self._transaction = None

    async def abandon(self) -> None:
        """The message will not be finished (the client is gone, or spoiled it): takes back what the queue has."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.incoming is not None:
            await self._abandon(transaction.incoming)

    async def _abandon(self, incoming: IncomingMessage) -> None:
        try:
            await incoming.abandon()
        except SpoolUnavailable:
            pass  # pieces of a message that nobody promised anything for; the next start sweeps them up

    def handshake_failed(self, reason: str, by_peer: bool) -> None:
        """A handshake did not come about, or its certificate is not enough for tls_verify_hosts."""
        self._ports.journal.record(events.TLSFailed(self.facts, "peer" if by_peer else "ours", reason))

    def closed(self, how: str) -> None:
        """The connection has ended."""
        self._ports.journal.record(events.ConnectionClosed(self.facts, how))

    def violated(self, what: str, text: str) -> None:
        """The machine saw the protocol broken."""
        self._ports.journal.record(events.ProtocolViolated(self.facts, what, text))

    # Asking policy

    def scope(self, address: Address | None = None, message: MessageView | None = None) -> Scope:
        """What expansions see at this moment."""
        return Scope(
            session=self.facts,
            now=self._ports.clock.now(),
            main=self._rules.main,
            message=message or self._message_view(),
            address=AddressView(address.local_part, address.domain) if address else None,
            acl_variables=self._variables(),
            local_addresses=self._rules.local_addresses,
            lookups=self._ports.lookups,
            resolver=self._ports.resolver,
            files=self._ports.files,
            named_lists=self._rules.named_lists,
        )

    def _message_view(self) -> MessageView | None:
        transaction = self._transaction
        if transaction is None:
            return None
        incoming = transaction.incoming
        at_data = incoming is not None
        return MessageView(
            sender=transaction.envelope.sender,
            recipients=tuple(each.address for each in transaction.recipients) if at_data else (),
            recipients_visible=at_data,
            size=incoming.size if incoming is not None else transaction.envelope.size,
            body_size=incoming.body_size if incoming is not None else 0,
            header=incoming.fields if incoming is not None else (),
            message_id=transaction.message_id,
        )

    def _scope_at_data(self, transaction: Transaction, incoming: IncomingMessage) -> Scope:
        scope = self.scope()
        if len(transaction.recipients) == 1:
            scope.more = {"received_for": str(transaction.recipients[0].address)}
        return scope

    def _variables(self) -> dict[str, str]:
        transaction = self._transaction
        if transaction is None:
            return self._connection_variables
        return {**self._connection_variables, **transaction.variables}

    async def _run(self, where: Where, address: Address | None = None) -> Verdict:
        """The verdict of the ACL for a place; where none is set, Exim's default (RCPT refuses, the rest accepts)."""
        reference = self._rules.acls.get(where)
        if reference is None and where not in REFUSED_WHEN_UNSET:
            return Accepted(None)
        transaction = self._transaction
        effects = transaction.effects if transaction is not None else self._connection_effects
        variables = dict(self._variables())
        scope = self.scope(address)
        scope.acl_variables = variables
        ports = self._ports
        scope.acl_runner = ExpandedACLs(
            where, self._rules.named_acls, effects, variables, ports.journal, ports.concurrency, ports.inquiries
        )
        verdict = await check_acl(
            reference,
            ACLContext(
                where=where,
                scope=scope,
                acls=self._rules.named_acls,
                effects=effects,
                variables=variables,
                journal=ports.journal,
                concurrency=ports.concurrency,
                inquiries=ports.inquiries,
            ),
        )
        self._keep_variables(variables)
        return verdict

    def _keep_variables(self, variables: dict[str, str]) -> None:
        """acl_c… live as long as the connection, acl_m… as long as the message: MAIL begins without any."""
        for name, value in variables.items():
            if not name.startswith("acl_m"):
                self._connection_variables[name] = value
            elif self._transaction is not None:
                self._transaction.variables[name] = value

    def _refusal(self, verdict: Verdict, command: str, argument: str = "") -> Answer | None:
        """The answer to a refused command with its log line, None where the verdict is good."""
        if isinstance(verdict, Denied | Deferred):
            shown = f"{command} {argument}" if argument else command
            self._log_rejection(shown, verdict.log_text, isinstance(verdict, Deferred))
            return Answer(verdict.reply, hang_up=isinstance(verdict, Denied) and verdict.drop)
        return None

    def _rejected(self, refusal: Reply, command: str, argument: str = "") -> Answer:
        self._log_rejection(f"{command} {argument}" if argument else command, refusal.text, refusal.is_transient)
        return Answer(refusal)

    def _log_rejection(self, command: str, reason: str, temporary: bool) -> None:
        transaction = self._transaction
        self._ports.journal.record(
            events.CommandRejected(
                self.facts,
                command,
                reason,
                sender=transaction.envelope.sender if transaction is not None else None,
                temporary=temporary,
                message_id=transaction.message_id
                if transaction is not None and transaction.incoming is not None
                else "",
            )
        )

    def _trouble(self, refusal: Reply, reason: str) -> Answer:
        self._ports.journal.record(events.Trouble(reason))
        return Answer(refusal)


def _with_message(positive: Reply, verdict: Verdict) -> Reply:
    """A success reply with the text that the ACL asks for, if it does; a code of another class in it is dropped."""
    text = verdict.message if isinstance(verdict, Accepted | Discarded) else ""
    return reply_with_message(positive, text)[0]


def make_facts(peer: Endpoint, local: Endpoint, *, tls_on_connect: bool) -> SessionFacts:
    """What is known of a client when it connects."""
    return SessionFacts(peer=peer, local=local, tls_on_connect=tls_on_connect)
