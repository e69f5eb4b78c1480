"""The ACLs for messages of local programs: `acl_not_smtp_start` and `acl_not_smtp` (decision).

The first one runs before the message is read, and what it says is not heard, only what it does; the second one judges
the message when it is whole. There is no SMTP, hence no reply code: a refusal is a text for the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.expand.scope import Scope
from relay.mail.ports import Concurrency, Journal
from relay.policy.acl import ACLReference, ExpandedACLs
from relay.policy.acl import check as check_acl
from relay.policy.acl_program import ACL, ACLContext, ConditionPorts, Memory
from relay.policy.acl_values import Accepted, Effects, Verdict, Where


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
