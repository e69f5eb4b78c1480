"""MAIL, RCPT and DATA: a transaction from its first command to the beginning of its data (decision)."""

from __future__ import annotations

from dataclasses import replace

from relay.esmtp.answers import Answer
from relay.esmtp.extensions import declared_body, declared_size
from relay.esmtp.questions import Transfer
from relay.mail import events, reply
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Parameters, Recipient
from relay.mail.queue import make_message_id
from relay.policy.acl_values import Deferred, Discarded, Where
from relay.reception.admission import Admission
from relay.reception.client import Client, Transaction
from relay.reception.logins import Logins
from relay.reception.message import IncomingMessage
from relay.reception.pace import Pace
from relay.reception.rewriting import rewrite_at_smtp_time
from relay.reception.rules import Ports, Rules


class Transactions:
    """The room in which an envelope comes together."""

    def __init__(self, client: Client, admission: Admission, rules: Rules, ports: Ports, logins: Logins) -> None:
        self._client = client
        self._admission = admission
        self._rules = rules
        self._ports = ports
        self._logins = logins
        self._pace = Pace(client, rules, ports)

    # MAIL

    async def sender(self, sender: Address, parameters: Parameters) -> Answer:
        """MAIL: a transaction begins. Raises TemporaryFailure."""
        client = self._client
        client.messages += 1
        client.tried = 0
        await self._pace.mail(client.messages)
        self._pace.begin_message()
        sender = await rewrite_at_smtp_time(sender, True, self._rules, client.scope, self._ports)
        if self._ports.capacity is not None:
            await self._ports.capacity.check(declared_size(parameters))
        vouched = await self._logins.vouched(parameters)
        if isinstance(vouched, Answer):
            return vouched
        parameters, authenticated = vouched
        if not sender.is_null and not sender.is_qualified:
            if not await self._admission.may_be_unqualified(self._rules.clients.sender_unqualified_hosts):
                return self._admission.unqualified(sender, "sender")
            sender = sender.qualified(self._rules.qualify_domain)
        envelope = Envelope(sender, (), declared_body(parameters), declared_size(parameters), parameters)
        message_id = make_message_id(self._ports.clock.now(), self._ports.random)
        client.transaction = transaction = Transaction(envelope, message_id, {})
        transaction.authenticated_sender = authenticated
        if parameters.get("SIZE") is not None:
            transaction.declared_size = envelope.size
        transaction.prdr = parameters.get("PRDR") is not None
        transaction.internationalised = parameters.get("SMTPUTF8") is not None
        verdict = await self._admission.verdict(Where.MAIL)
        answer = self._admission.refusal(verdict, "MAIL", client.path(sender))
        if answer is not None:
            client.forget_transaction()
            return answer
        if isinstance(verdict, Discarded):
            transaction.discarded, transaction.discarded_by = True, "MAIL ACL"
            transaction.discard_text = verdict.log_text
        accepted = self._admission.accepted(reply.SENDER_OK, verdict)
        if transaction.prdr:
            accepted = accepted.with_text(*accepted.lines[:-1], f"{accepted.lines[-1]}, PRDR Requested")
        return Answer(accepted)

    # RCPT

    async def recipient(self, address: Address, parameters: Parameters) -> Answer:
        """RCPT. Raises TemporaryFailure."""
        transaction = self._client.transaction
        assert transaction is not None
        transaction.tried += 1
        tried = max(transaction.tried, self._client.tried)
        address = await rewrite_at_smtp_time(address, False, self._rules, self._client.scope, self._ports)
        if not address.is_qualified:
            # RFC 5321 4.5.1: postmaster is accepted without a domain.
            is_postmaster = address.local_part.lower() == "postmaster"
            if not is_postmaster and not await self._admission.may_be_unqualified(
                self._rules.clients.recipient_unqualified_hosts
            ):
                transaction.rejected += 1
                return self._admission.unqualified(address, "recipient")
            address = address.qualified(self._rules.qualify_recipient)
        if 0 < self._client.recipients_max < tried:
            return self._one_too_many(transaction)
        await self._pace.rcpt(tried)
        if transaction.discarded:
            # Exim: what is discarded at MAIL is discarded as a whole, no recipient is judged.
            self._note_discarded(transaction, self._client.path(address), "MAIL", transaction.discard_text)
            return Answer(reply.RECIPIENT_OK)
        verdict = await self._admission.verdict(Where.RCPT, address)
        answer = self._admission.refusal(verdict, "RCPT", self._client.path(address))
        if answer is not None:
            if isinstance(verdict, Deferred):
                transaction.deferred += 1
            else:
                transaction.rejected += 1
            return answer
        if isinstance(verdict, Discarded):
            transaction.discarded_by, transaction.discard_text = "RCPT ACL", verdict.log_text
            self._note_discarded(transaction, self._client.path(address), "RCPT", verdict.log_text)
        else:
            transaction.recipients.append(Recipient(address, parameters))
        return Answer(self._admission.accepted(reply.RECIPIENT_OK, verdict))

    def _note_discarded(self, transaction: Transaction, recipient: str, by: str, why: str) -> None:
        transaction.rejected += 1
        facts, sender = self._client.facts, transaction.envelope.sender
        self._ports.journal.record(events.RecipientDiscarded(facts, sender, recipient, by, why.partition("\n")[0]))

    def _one_too_many(self, transaction: Transaction) -> Answer:
        """Exim: recipients_max, recipients_max_reject. Logged once."""
        for_good = self._rules.recipients_max_reject
        if for_good:
            transaction.rejected += 1
        else:
            transaction.deferred += 1
        if not transaction.too_many:
            transaction.too_many = True
            what = "message rejected" if for_good else "excess temporarily rejected"
            self._ports.journal.record(events.TooManyRecipients(self._client.facts, what, transaction.envelope.sender))
        return Answer(reply.TOO_MANY_RECIPIENTS_EVER if for_good else reply.TOO_MANY_RECIPIENTS)

    # DATA

    async def data(self, transfer: Transfer) -> Answer:
        """DATA, or a message's first BDAT, which no ACL is asked about (as with Exim). Raises TemporaryFailure."""
        transaction = self._client.transaction
        assert transaction is not None
        if transaction.too_many and self._rules.recipients_max_reject:
            return Answer(reply.TOO_MANY_FOR_MESSAGE)
        transaction.data_asked, transaction.by_chunks = True, transfer is Transfer.CHUNKS
        go_ahead = reply.SEND_DATA
        if transfer is Transfer.LINES:
            verdict = await self._admission.verdict(Where.PREDATA)
            answer = self._admission.refusal(verdict, "DATA")
            if answer is not None:
                return answer
            go_ahead = self._admission.accepted(reply.SEND_DATA, verdict)
        await self._own_sender(transaction)
        transaction.incoming = IncomingMessage(
            transaction.message_id,
            self._ports.intake,
            self._rules.header_maxsize,
            self._rules.message_body_visible,
        )
        return Answer(go_ahead)

    async def _own_sender(self, transaction: Transaction) -> None:
        """A local caller who is not trusted sends as himself, whatever MAIL said (Exim: receive_check_set_sender)."""
        caller = self._client.facts.caller
        if caller is None or caller.trusted or not self._client.is_local:
            return
        envelope, allowed = transaction.envelope, self._rules.untrusted_set_sender
        given = str(envelope.sender)
        if allowed is not None and await allowed.match(given, self._client.scope()) is not None:
            return
        transaction.envelope = replace(envelope, sender=Address(caller.login, self._rules.qualify_domain))
