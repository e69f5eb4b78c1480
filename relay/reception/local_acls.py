"""The ACLs for messages of local programs: `acl_not_smtp_start` and `acl_not_smtp` (decision).

The first one runs before the message is read, and what it says is not heard, only what it does; the second one judges
the message when it is whole. There is no SMTP, hence no reply code: a refusal is a text for the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.expand.scope import MessageView, Scope
from relay.mail import reply
from relay.mail.events import BY_NON_SMTP_ACL, CommandRejected, RefusedMessage
from relay.mail.facts import SessionFacts
from relay.mail.ports import Concurrency, Journal
from relay.mail.text import from_wire
from relay.policy.acl import ACLReference, ExpandedACLs
from relay.policy.acl import check as check_acl
from relay.policy.acl_program import ACL, ACLContext, ConditionPorts, Memory
from relay.policy.acl_values import Accepted, Deferred, Denied, Effects, Verdict, Where


@dataclass(frozen=True, slots=True)
class LocalACLs:
    """The ACLs of local messages, by where they run, and whom their conditions may ask."""

    acls: Mapping[Where, ACLReference] = field(default_factory=dict)
    named_acls: Mapping[str, ACL] = field(default_factory=dict)
    conditions: ConditionPorts = field(default_factory=ConditionPorts)


class LocalJudge:
    """The ACLs for one message, with what they have done to it."""

    def __init__(self, acls: LocalACLs, journal: Journal, concurrency: Concurrency | None) -> None:
        self.effects = Effects()
        self.variables: dict[str, str] = {}
        self._acls = acls
        self._memory = Memory()
        self._journal = journal
        self._concurrency = concurrency

    async def verdict(self, where: Where, scope: Scope) -> Verdict:
        """What the ACL for a place says; where none is set, nothing is refused."""
        acls = self._acls
        reference = acls.acls.get(where)
        if reference is None:
            return Accepted(None)
        assert self._concurrency is not None, "ACLs may have to wait"
        runner = ExpandedACLs(
            where,
            acls.named_acls,
            self.effects,
            self.variables,
            self._journal,
            self._concurrency,
            acls.conditions,
            self._memory,
        )
        seen = scope.child(acl_variables=self.variables, more={**scope.more, **self._memory.found}, acl_runner=runner)
        context = ACLContext(
            where=where,
            scope=seen,
            acls=acls.named_acls,
            effects=self.effects,
            variables=self.variables,
            journal=self._journal,
            concurrency=self._concurrency,
            ports=acls.conditions,
            memory=self._memory,
        )
        return await check_acl(reference, context)


def refusal(verdict: Denied | Deferred, session: SessionFacts, message: MessageView) -> CommandRejected:
    """What the logs tell of a message that is refused."""
    header = tuple(from_wire(each.raw.rstrip()) for each in message.header)
    return CommandRejected(
        session,
        BY_NON_SMTP_ACL,
        verdict.log_text.partition("\n")[0],
        sender=message.sender,
        temporary=isinstance(verdict, Deferred),
        message_id=message.message_id,
        logs=verdict.logs,
        message=RefusedMessage(message.recipients, header),
    )


def refusal_text(verdict: Denied | Deferred) -> str:
    """What the program is told. The words of a server's reply are nobody's here: an ACL that has said nothing of its
    own has a problem, as far as the program can tell."""
    is_bare = verdict.reply in (reply.LOCAL_PROBLEM, reply.ADMINISTRATIVE_PROHIBITION)
    why = "local configuration problem" if is_bare else verdict.reply.text
    return f"message rejected by non-SMTP ACL: {why}"
