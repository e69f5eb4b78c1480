"""The end of a message's data: judged, put together, and into the queue (decision).

The order is Exim's: loops and limits, the submission's missing fields, rewriting, what the ACLs of the transaction
added and removed, the ACL for DATA, what that one added and removed. 250 is said when the queue has the message on
disk, never earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.esmtp.answers import Answer
from relay.esmtp.parameters import release_time
from relay.mail import events, reply
from relay.mail.address import Address, address_from_text
from relay.mail.envelope import Envelope, Parameters, Recipient
from relay.mail.facts import MessageFacts
from relay.mail.header import Field
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import NewMessage
from relay.mail.reply import Reply
from relay.policy.acl import split_message
from relay.policy.acl_values import Control, Discarded, FakeReply, Freeze, Queueing, Submission, Switch, Verdict, Where
from relay.policy.rewrite import OF_RECIPIENTS, OF_SENDERS, Flag
from relay.reception.admission import Admission
from relay.reception.client import Client, Transaction
from relay.reception.fields import change_header, received_field
from relay.reception.fixups import Fixing, HeaderNeeds, fix_header, logged_subject
from relay.reception.message import IncomingMessage
from relay.reception.prdr import Recipients, ask_recipients
from relay.reception.rewriting import Addressed, rewrite_incoming
from relay.reception.rules import Ports, Rules


class MessageEnd:
    """The last room that a message goes through."""

    def __init__(self, client: Client, admission: Admission, rules: Rules, ports: Ports) -> None:
        self._client = client
        self._admission = admission
        self._rules = rules
        self._ports = ports

    async def answer(self, transaction: Transaction, incoming: IncomingMessage) -> Answer:
        """Raises what the queue raises, TemporaryFailure, ExpansionFailed."""
        if incoming.trouble is not None:
            raise incoming.trouble
        number, tail = await incoming.finish()
        if incoming.header_too_big:
            return self._admission.rejected(reply.HEADER_TOO_BIG, "after DATA")
        if 0 < self._rules.header_line_maxsize < incoming.longest_field:
            return self._admission.rejected(reply.FIELD_TOO_LONG, "after DATA")
        if incoming.count_fields("Received") > self._rules.received_headers_max:
            return self._admission.rejected(reply.TOO_MANY_HOPS, "after DATA")
        header_message_id, subject = incoming.first_value("Message-ID"), logged_subject(incoming.fields)
        named = tuple(each.address for each in transaction.recipients)
        await self._rewrite(transaction, incoming)
        now = self._ports.clock.now()
        trace = await self._prepare(transaction, incoming, now)
        asked = await ask_recipients(transaction, self._admission, self._ports.journal)
        if asked.overall is not None and not transaction.recipients:
            return Answer(asked.overall, before=asked.replies)
        verdict = await self._admission.verdict(Where.DATA)
        refusal = self._admission.refusal(verdict, "after DATA")
        if refusal is not None:
            return replace(refusal, before=asked.replies)
        if isinstance(verdict, Discarded) or not transaction.recipients:
            transaction.discarded = True
        incoming.fields = change_header(incoming.fields, trace, transaction.effects)
        message = await self._assembled(transaction, incoming, now)
        if transaction.discarded:
            self._record_arrival(transaction, message, named, header_message_id, subject)
            self._note_discarded(transaction, verdict)
            return self._reply(transaction, verdict, asked)
        # Asked before the queue has it: between that and the runner's being told nothing may be waited for.
        routes_only = message.due is None and await self._routes_only(transaction)
        if self._client.is_gone:
            return self._forgotten(transaction)
        await self._ports.intake.accept(message, number, tail)
        transaction.kept = True
        self._record_arrival(transaction, message, named, header_message_id, subject)
        self._client.kept += 1
        if message.due is None and not message.frozen:
            self._ports.runner.arrived(message.message_id, routes_only=routes_only)
        return self._reply(transaction, verdict, asked)

    def _forgotten(self, transaction: Transaction) -> Answer:
        """Who does not hear that we have the message sends it again, so that we had better not have it (RFC 1047). For
        the rest of the time, that of one commit, nothing can be done."""
        self._ports.journal.record(events.ClientGone(self._client.facts, transaction.message_id))
        return Answer(reply.CLIENT_GONE, hang_up=True)

    async def _rewrite(self, transaction: Transaction, incoming: IncomingMessage) -> None:
        completes = await self._completed()
        if not self._rules.rewrite and not completes:
            return
        done = self._client.memory.rewritten_sender
        sender = transaction.envelope.sender if done is None else done
        given = Addressed(sender, tuple(transaction.recipients), incoming.fields)
        new = await rewrite_incoming(given, self._rules, self._client.scope(), self._ports, completes)
        if done is not None:
            new = replace(new, sender=done)
        transaction.envelope = replace(transaction.envelope, sender=new.sender)
        transaction.recipients, incoming.fields = list(new.recipients), new.fields

    async def _completed(self) -> Flag:
        """The fields in which this client may leave out domains, which are then ours: what holds for MAIL and RCPT."""
        clients, found = self._rules.clients, Flag(0)
        if await self._admission.may_be_unqualified(clients.sender_unqualified_hosts):
            found |= OF_SENDERS
        if await self._admission.may_be_unqualified(clients.recipient_unqualified_hosts):
            found |= OF_RECIPIENTS
        return found

    async def _prepare(self, transaction: Transaction, incoming: IncomingMessage, now: float) -> Field:
        """The header as the ACL for DATA sees it, with our trace field on top, which is given back."""
        effects = transaction.effects
        needs = self._needs(transaction, now)
        if needs is not None and not effects.has(Switch.SUPPRESS_LOCAL_FIXUPS):
            needs = await self._rules.header_id.completed(needs, self._client.scope)
            incoming.fields = fix_header(incoming.fields, needs).fields
            if needs.drop_sender_field and not self._client.is_local:
                self._submit_as(transaction, needs.originator)
        scope = self._client.scope()
        if len(transaction.recipients) == 1:
            scope.more = {**scope.more, "received_for": str(transaction.recipients[0].address)}
        trace = await received_field(self._rules.received_header, scope, now)
        incoming.fields = change_header((trace, *incoming.fields), trace, effects)
        effects.added, effects.removed = [], []
        return trace

    def _note_discarded(self, transaction: Transaction, verdict: Verdict) -> None:
        by = "DATA ACL" if isinstance(verdict, Discarded) else transaction.discarded_by
        log_text = verdict.log_text if isinstance(verdict, Discarded) else ""
        why = f": {log_text}" if log_text else ""
        note = f"=> blackhole ({by or 'RCPT ACL'} discarded recipients){why}"
        self._ports.journal.record(events.MessageNote(transaction.message_id, note))
        self._ports.journal.record(events.Completed(transaction.message_id))

    def _reply(self, transaction: Transaction, verdict: Verdict, asked: Recipients) -> Answer:
        for control in reversed(transaction.effects.controls):
            if isinstance(control, FakeReply):
                lines = split_message(control.text)
                fake = Reply(450, "4.7.0", lines) if control.temporary else Reply(550, "5.7.1", lines)
                return Answer(self._admission.shortened(fake), before=asked.replies)
        if asked.overall is not None:
            return Answer(asked.overall, before=asked.replies)
        accepted = reply.MESSAGE_ACCEPTED.with_text(f"OK id={transaction.message_id}")
        return Answer(self._admission.accepted(accepted, verdict))

    async def _assembled(self, transaction: Transaction, incoming: IncomingMessage, now: float) -> NewMessage:
        controls, envelope = transaction.effects.controls, transaction.envelope
        header = b"".join(each.raw for each in incoming.fields)
        queue_only = self._rules.queue_only or any(isinstance(each, Queueing) and not each.route for each in controls)
        if self._ports.capacity is not None:
            queue_only = queue_only or await self._ports.capacity.only_queues(delivery_asked=self._rules.delivery_asked)
        released = release_time(envelope.parameters, now)
        due = self._first_attempt(now, queue_only or self._has_brought_many)
        return NewMessage(
            message_id=transaction.message_id,
            sender=envelope.sender,
            recipients=tuple(transaction.recipients),
            header=header,
            facts=MessageFacts(self._client.facts_of_message, now, self._client.acl_variables()),
            body_type=envelope.body,
            body_size=incoming.body_size,
            parameters=_as_needed(envelope, transaction.recipients, header),
            frozen=any(isinstance(each, Freeze) for each in controls),
            due=due if released is None or released <= now else max(released, due or 0.0),
        )

    @property
    def _has_brought_many(self) -> bool:
        """Whether the next message of this connection is only queued, being one too many."""
        return 0 < self._rules.queueing.per_connection <= self._client.kept

    async def _routes_only(self, transaction: Transaction) -> bool:
        """Exim: -odqs, control = queue/first_pass_route, queue_only_file with `smtp`."""
        controls, capacity = transaction.effects.controls, self._ports.capacity
        if self._rules.queueing.routes_only or any(isinstance(each, Queueing) for each in controls):
            return True
        return capacity is not None and await capacity.routes_only()

    def _submit_as(self, transaction: Transaction, originator: Address) -> None:
        """The envelope's sender is who has authenticated, unless there is none (Exim: control = submission)."""
        envelope = transaction.envelope
        if not envelope.sender.is_null and envelope.sender != originator:
            transaction.envelope = replace(envelope, sender=originator)

    def _needs(self, transaction: Transaction, now: float) -> HeaderNeeds | None:
        """What a header is completed from: that of a local program, or of a submission; None: it stays as it is."""
        if self._client.is_local:
            return self._local_needs(transaction, now)
        controls = transaction.effects.controls
        submission = next((each for each in reversed(controls) if isinstance(each, Submission)), None)
        return self._submission_needs(transaction, submission, now) if submission is not None else None

    def _local_needs(self, transaction: Transaction, now: float) -> HeaderNeeds:
        """Exim: receive.c, for SMTP that a local program speaks through a pipe."""
        rules, caller = self._rules, self._client.facts.caller
        assert caller is not None
        checked = not caller.trusted and rules.local_from_check
        return HeaderNeeds(
            fixing=Fixing.COMPLETE_AND_CHECK_FROM if checked else Fixing.COMPLETE,
            message_id=transaction.message_id,
            id_domain=rules.primary_hostname,
            now=now,
            sender=transaction.envelope.sender,
            originator=Address(caller.login, rules.qualify_domain),
            full_name=self._client.full_name,
            name_in_from=not caller.trusted,
            drop_sender_field=not caller.trusted and not rules.local_sender_retain,
            drop_bcc=False,
            from_affixes=rules.from_affixes,
            delivery_fields=rules.delivery_fields,
        )

    def _submission_needs(self, transaction: Transaction, submission: Submission, now: float) -> HeaderNeeds:
        """What a submission's header is completed from (Exim: control = submission).

        Whoever has authenticated is the originator, and is named in Sender: where From: says otherwise; a client that
        is known by its certificate alone has no address that could be compared. An empty `domain` takes the identity
        for a whole address.
        """
        sender = transaction.envelope.sender
        domain = submission.domain if submission.domain is not None else self._rules.qualify_domain
        authentication = self._client.facts.authentication
        originator = sender
        if authentication is not None and authentication.identity:
            originator = address_from_text(authentication.identity).qualified(domain)
        checked = originator is not sender and not submission.sender_retain
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
            delivery_fields=self._rules.delivery_fields,
        )

    def _first_attempt(self, now: float, queue_only: bool) -> float | None:
        if queue_only:
            return now + self._rules.queue_only_delay
        return None if self._ports.runner.takes_new() else now

    def _record_arrival(
        self,
        transaction: Transaction,
        message: NewMessage,
        named: tuple[Address, ...],
        header_message_id: str,
        subject: str,
    ) -> None:
        controls: Sequence[Control] = () if transaction.discarded else transaction.effects.controls
        self._ports.journal.record(
            events.Arrived(
                message.message_id,
                message.sender,
                message.facts.session,
                len(message.header) + 2 + message.body_size,
                header_message_id=header_message_id,
                subject=subject,
                recipients=tuple(each.address for each in message.recipients),
                named=named,
                denied=any(isinstance(each, FakeReply) and not each.temporary for each in controls),
                waits=message.due is not None or message.frozen,
                prdr=transaction.prdr,
                by_chunks=transaction.by_chunks,
                body=(transaction.envelope.parameters.get("BODY") or "").upper(),
            )
        )
        if message.frozen:
            self._ports.journal.record(events.MessageNote(message.message_id, "frozen by ACL", in_message_log=True))
        if any(isinstance(each, Queueing) for each in controls):
            self._note_waiting(message, events.QUEUED_BY_ACL)
        elif self._has_brought_many and not self._rules.queue_only:
            many = f"more than {self._rules.queueing.per_connection} messages received in one connection"
            self._note_waiting(message, f"no immediate delivery: {many}")

    def _note_waiting(self, message: NewMessage, why: str) -> None:
        self._ports.journal.record(events.MessageNote(message.message_id, why, in_message_log=True))


async def give_up(incoming: IncomingMessage) -> None:
    """Takes back what the queue has of a message that nobody promised anything for."""
    try:
        await incoming.abandon()
    except SpoolUnavailable:
        pass  # the next start sweeps it up


def _as_needed(envelope: Envelope, recipients: Sequence[Recipient], header: bytes) -> Parameters:
    """The parameters of MAIL without an SMTPUTF8 that nothing needs: without it the message can go anywhere.

    RFC 6531 3.6 lets a relay send such a message as an ordinary one.
    """
    parameters = envelope.parameters
    if parameters.get("SMTPUTF8") is None:
        return parameters
    addresses = (envelope.sender, *(each.address for each in recipients))
    if not header.isascii() or not all(str(each).isascii() for each in addresses):
        return parameters
    return Parameters(tuple(item for item in parameters.items if item[0] != "SMTPUTF8"))
