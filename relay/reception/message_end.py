"""The end of a message's data: judged, put together, and into the queue (decision).

The order is Exim's: loops and limits, the submission's missing fields, rewriting, what the ACLs of the transaction
added and removed, the ACL for DATA, what that one added and removed. 250 is said when the queue has the message on
disk, never earlier.
"""

from __future__ import annotations

from dataclasses import replace

from relay.esmtp.answers import Answer
from relay.mail import events, reply
from relay.mail.address import address_from_text
from relay.mail.facts import MessageFacts
from relay.mail.header import Field
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import NewMessage
from relay.mail.reply import Reply
from relay.policy.acl import split_message
from relay.policy.acl_values import Discarded, FakeReply, Freeze, Queueing, Submission, Switch, Verdict, Where
from relay.reception.admission import Admission
from relay.reception.client import Client, Transaction
from relay.reception.fields import change_header, received_field
from relay.reception.fixups import Fixing, HeaderNeeds, fix_header
from relay.reception.message import IncomingMessage
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
        if incoming.count_fields("Received") > self._rules.received_headers_max:
            return self._admission.rejected(reply.TOO_MANY_HOPS, "after DATA")
        header_message_id, subject = incoming.first_value("Message-ID"), incoming.first_value("Subject")
        if self._rules.rewrite:
            await self._rewrite(transaction, incoming)
        now = self._ports.clock.now()
        trace = await self._prepare(transaction, incoming, now)
        verdict = await self._admission.verdict(Where.DATA)
        refusal = self._admission.refusal(verdict, "after DATA")
        if refusal is not None:
            return refusal
        if isinstance(verdict, Discarded) or not transaction.recipients:
            transaction.discarded = True
        if transaction.discarded:
            self._note_discarded(transaction, verdict)
            return self._reply(transaction, verdict)
        incoming.fields = change_header(incoming.fields, trace, transaction.effects)
        message = self._assembled(transaction, incoming, now)
        await self._ports.intake.accept(message, number, tail)
        transaction.kept = True
        self._record_arrival(message, header_message_id, subject)
        if message.due is None and not message.frozen:
            self._ports.runner.arrived(message.message_id)
        return self._reply(transaction, verdict)

    async def _rewrite(self, transaction: Transaction, incoming: IncomingMessage) -> None:
        given = Addressed(transaction.envelope.sender, tuple(transaction.recipients), incoming.fields)
        new = await rewrite_incoming(given, self._rules, self._client.scope(), self._ports)
        transaction.envelope = replace(transaction.envelope, sender=new.sender)
        transaction.recipients, incoming.fields = list(new.recipients), new.fields

    async def _prepare(self, transaction: Transaction, incoming: IncomingMessage, now: float) -> Field:
        """The header as the ACL for DATA sees it, with our trace field on top, which is given back."""
        effects = transaction.effects
        submission = next((each for each in effects.controls if isinstance(each, Submission)), None)
        if submission is not None and not effects.has(Switch.SUPPRESS_LOCAL_FIXUPS):
            incoming.fields = fix_header(incoming.fields, self._needs(transaction, submission, now)).fields
        scope = self._client.scope()
        if len(transaction.recipients) == 1:
            scope.more = {**scope.more, "received_for": str(transaction.recipients[0].address)}
        trace = await received_field(self._rules.received_header, scope, now)
        incoming.fields = change_header((trace, *incoming.fields), trace, effects)
        effects.added, effects.removed = [], []
        return trace

    def _note_discarded(self, transaction: Transaction, verdict: Verdict) -> None:
        by = "DATA ACL" if isinstance(verdict, Discarded) else transaction.discarded_by
        log_text = verdict.log_text if isinstance(verdict, Discarded) else transaction.discard_text
        why = f": {log_text}" if log_text else ""
        note = f"=> blackhole ({by or 'RCPT ACL'} discarded recipients){why}"
        self._ports.journal.record(events.MessageNote(transaction.message_id, note))

    def _reply(self, transaction: Transaction, verdict: Verdict) -> Answer:
        for control in reversed(transaction.effects.controls):
            if isinstance(control, FakeReply):
                lines = split_message(control.text)
                fake = Reply(450, "4.7.0", lines) if control.temporary else Reply(550, "5.7.1", lines)
                return Answer(self._admission.shortened(fake))
        accepted = reply.MESSAGE_ACCEPTED.with_text(f"OK id={transaction.message_id}")
        return Answer(self._admission.accepted(accepted, verdict))

    def _assembled(self, transaction: Transaction, incoming: IncomingMessage, now: float) -> NewMessage:
        controls = transaction.effects.controls
        queue_only = self._rules.queue_only or any(isinstance(each, Queueing) for each in controls)
        return NewMessage(
            message_id=transaction.message_id,
            sender=transaction.envelope.sender,
            recipients=tuple(transaction.recipients),
            header=b"".join(each.raw for each in incoming.fields),
            facts=MessageFacts(self._client.facts, now, self._client.acl_variables()),
            body_type=transaction.envelope.body,
            body_size=incoming.body_size,
            parameters=transaction.envelope.parameters,
            frozen=any(isinstance(each, Freeze) for each in controls),
            due=self._first_attempt(now, queue_only),
        )

    def _needs(self, transaction: Transaction, submission: Submission, now: float) -> HeaderNeeds:
        """What a submission's header is completed from (Exim: control = submission).

        Whoever has authenticated is the originator, and is named in Sender: where From: says otherwise; a client that
        is known by its certificate alone has no address that could be compared.
        """
        sender = transaction.envelope.sender
        domain = submission.domain if submission.domain is not None else self._rules.qualify_domain
        authentication = self._client.facts.authentication
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

    def _record_arrival(self, message: NewMessage, header_message_id: str, subject: str) -> None:
        self._ports.journal.record(
            events.Arrived(
                message.message_id,
                message.sender,
                message.facts.session,
                len(message.header) + 2 + message.body_size,
                header_message_id=header_message_id,
                subject=subject,
                recipients=tuple(each.address for each in message.recipients),
            )
        )


async def give_up(incoming: IncomingMessage) -> None:
    """Takes back what the queue has of a message that nobody promised anything for."""
    try:
        await incoming.abandon()
    except SpoolUnavailable:
        pass  # the next start sweeps it up
