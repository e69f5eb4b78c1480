"""Asking the ACLs for one client, and what a refusal looks like on the wire and in the log (decision)."""

from __future__ import annotations

from dataclasses import replace

from relay.esmtp.answers import Answer
from relay.expand.errors import ExpansionFailed
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.mail import events, reply
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure
from relay.mail.reply import Reply
from relay.mail.text import from_wire, printable
from relay.policy.acl import REFUSED_WHEN_UNSET, ExpandedACLs, reply_with_message, wrong_code
from relay.policy.acl import check as check_acl
from relay.policy.acl_modifiers import added_so_far
from relay.policy.acl_program import ACLContext
from relay.policy.acl_values import (
    DEFAULT_LOGS,
    Accepted,
    Deferred,
    Denied,
    Effects,
    Switch,
    Verdict,
    Where,
)
from relay.policy.routers.before import without_percent
from relay.reception.client import Client, Transaction, address_view
from relay.reception.rules import Ports, Rules

_WITH_SENDER = ("RCPT ", "after DATA")


class Admission:
    """The ACLs of one session."""

    def __init__(self, client: Client, rules: Rules, ports: Ports) -> None:
        self._client = client
        self._rules = rules
        self._ports = ports

    async def verdict(self, where: Where, address: Address | None = None, **more: str) -> Verdict:
        """The verdict of the ACL for a place; where none is set, Exim's default (RCPT refuses, the rest accepts).

        `more` are variables that this place has, by name.
        """
        reference = self._rules.acls.get(where)
        if reference is None and where not in REFUSED_WHEN_UNSET:
            return Accepted(None)
        client, ports = self._client, self._ports
        effects = self.effects
        variables = client.acl_variables()
        scope = client.scope(address)
        scope.notes = ports.notes
        if ports.notes is not None:
            ports.notes.forget("domain", "local part")
        if address is not None and self._rules.percent_hack_domains is not None:
            scope.address = address_view(await self._meant(address, scope))
        scope.acl_variables = variables
        scope.more = {**scope.more, "headers_added": added_so_far(effects), **more}
        scope.acl_runner = ExpandedACLs(
            where,
            self._rules.named_acls,
            effects,
            variables,
            ports.journal,
            ports.concurrency,
            ports.conditions,
            client.memory,
        )
        context = ACLContext(
            where=where,
            scope=scope,
            acls=self._rules.named_acls,
            effects=effects,
            variables=variables,
            journal=ports.journal,
            concurrency=ports.concurrency,
            ports=ports.conditions,
            memory=client.memory,
        )
        verdict = await check_acl(reference, context)
        client.keep_variables(variables)
        client.host_data = context.scope.host_data
        if client.transaction is not None:
            client.sender_data = context.scope.sender_data
        return verdict

    async def _meant(self, address: Address, scope: Scope) -> Address:
        try:
            return await without_percent(address, scope, self._rules.percent_hack_domains)
        except ExpansionFailed as error:
            raise TemporaryFailure(f"cannot check percent_hack_domains: {error}") from error

    @property
    def effects(self) -> Effects:
        """Of the message under way, or of the connection where there is none."""
        transaction = self._client.transaction
        return transaction.effects if transaction is not None else self._client.effects

    # Refusals

    def refusal(self, verdict: Verdict, command: str, argument: str = "") -> Answer | None:
        """The answer to a refused command with its log line, None where the verdict is good."""
        if isinstance(verdict, Denied | Deferred):
            shown = f"{command} {argument}" if argument else command
            self._log(shown, verdict.log_text, isinstance(verdict, Deferred), verdict.logs)
            refused = self.shortened(verdict.reply)
            return Answer(refused, hang_up=isinstance(verdict, Denied) and verdict.drop)
        return None

    def rejected(self, refusal: Reply, command: str, argument: str = "") -> Answer:
        """A refusal of our own, with its log line."""
        self._log(f"{command} {argument}" if argument else command, refusal.text, refusal.is_transient, DEFAULT_LOGS)
        return Answer(refusal)

    async def may_be_unqualified(self, hosts: MatchList | None) -> bool:
        """Whether this client need not say the domain of an address."""
        return self._client.is_local or (hosts is not None and await self._client.is_among(hosts))

    def unqualified(self, address: Address, what: str, *, shown: str = "") -> Answer:
        """The refusal of an address without a domain."""
        self._ports.journal.record(events.ProtocolViolated(self._client.facts, f"unqualified {what}", str(address)))
        shown = shown or f"<{printable(str(address))}>"
        return Answer(reply.UNQUALIFIED_ADDRESS.with_text(f"{shown}: {what} address must contain a domain"))

    def accepted(self, positive: Reply, verdict: Verdict) -> Reply:
        """A success reply with the text that the ACL asks for, if it does; a code of another class in it is
        dropped."""
        text = "" if isinstance(verdict, Denied) else verdict.message
        worded, wrong = reply_with_message(positive, text)
        if wrong:
            self._ports.journal.record(wrong_code(positive, text))
        return self.shortened(worded)

    def shortened(self, answer: Reply) -> Reply:
        """One line only, where `control = no_multiline_responses` asks for it."""
        switch = Switch.NO_MULTILINE_RESPONSES
        if len(answer.lines) < 2 or not (self._client.effects.has(switch) or self.effects.has(switch)):
            return answer
        return replace(answer, lines=answer.lines[:1])

    def trouble(self, refusal: Reply, reason: str) -> Answer:
        """A refusal whose reason is ours and not for the client."""
        self._ports.journal.record(events.Trouble(reason))
        return Answer(refusal)

    def _log(self, command: str, reason: str, temporary: bool, logs: tuple[str, ...]) -> None:
        if not logs:
            return
        transaction = self._client.transaction
        has_id = transaction is not None and transaction.incoming is not None
        self._ports.journal.record(
            events.CommandRejected(
                self._client.facts,
                command,
                reason.partition("\n")[0],
                # Exim: the sender stands in the lines about recipients and messages only.
                sender=transaction.envelope.sender if transaction and command.startswith(_WITH_SENDER) else None,
                temporary=temporary,
                message_id=transaction.message_id if transaction is not None and has_id else "",
                logs=logs,
                message=_refused(transaction) if transaction is not None and command == "after DATA" else None,
            )
        )


def _refused(transaction: Transaction) -> events.RefusedMessage | None:
    if transaction.incoming is None:
        return None
    recipients = tuple(each.address for each in transaction.recipients)
    header = tuple(from_wire(each.raw.rstrip()) for each in transaction.incoming.fields)
    return events.RefusedMessage(recipients, header)
