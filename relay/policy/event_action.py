"""What happens in the two journeys of a message, told to the options event_action (decision).

A `Happening` is a point of a journey by Exim's name, with its data. Where an action is set, main or of a transport,
it is expanded when the point is reached, with $event_name, $event_data and $event_defer_errno. It is there for what it
does (an ACL that writes into the log, a query of a database); its text is heard at a few points only, and says "no"
there. Where none is set, `EventActions.of` gives None and nothing is made up for it. Exim: chapter "Events",
event_raise.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.events import Trouble
from relay.mail.ports import Concurrency, Journal, TemporaryFailure
from relay.policy.acl import ExpandedACLs
from relay.policy.acl_program import ACL, ConditionPorts
from relay.policy.acl_values import Effects, Where


class Point(enum.Enum):
    """The points at which an action is asked, by Exim's names."""

    AUTH_FAILED = "auth:fail"
    MESSAGE_COMPLETE = "msg:complete"
    MESSAGE_DEFERRED = "msg:defer"
    DELIVERED = "msg:delivery"
    FAILED = "msg:fail:delivery"
    FAILED_HERE = "msg:fail:internal"
    HOST_DEFERRED = "msg:host:defer"
    RECIPIENT_DEFERRED = "msg:rcpt:defer"
    RECIPIENT_DEFERRED_BY_HOST = "msg:rcpt:host:defer"
    CONNECTING = "tcp:connect"
    CLOSED = "tcp:close"
    GREETED = "smtp:connect"
    HELLO_ANSWERED = "smtp:ehlo"


@dataclass(frozen=True, slots=True)
class Happening:
    """A point that was reached. `errno`: what a delay came from, Exim's number."""

    point: Point
    data: str = ""
    errno: int = 0


@dataclass(frozen=True, slots=True)
class EventAction:
    """One option: the main one, or that of a transport."""

    expansion: Expansion
    transport: str
    acls: Mapping[str, ACL]
    journal: Journal
    concurrency: Concurrency
    conditions: ConditionPorts = field(default_factory=ConditionPorts)

    async def tell(self, happening: Happening, scope: Scope) -> str:
        """What it says, which is nothing for the most part. A mistake in it changes nothing, and is logged."""
        variables = dict(scope.acl_variables)
        runner = ExpandedACLs(
            Where.DELIVERY,
            self.acls,
            Effects(),
            variables,
            self.journal,
            self.concurrency,
            self.conditions,
        )
        name = happening.point.value
        more = {
            **scope.more,
            "event_name": name,
            "event_data": happening.data,
            "event_defer_errno": str(happening.errno),
        }
        seen = scope.child(more=more, acl_variables=variables, acl_runner=runner)
        try:
            return await self.expansion.text(seen)
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f"failed to expand event_action {name} in {self.transport or 'main'}: {error}"
            message_id = scope.message.message_id if scope.message is not None else ""
            # Exim ends this line twice.
            self.journal.record(Trouble(what, "", message_id, more=("",)))
            return ""


@dataclass(frozen=True, slots=True)
class EventActions:
    """All that a configuration has."""

    main: EventAction | None = None
    transports: Mapping[str, EventAction] = field(default_factory=dict)

    def of(self, transport: str) -> EventAction | None:
        """That of a transport, or the main one for ""."""
        return self.transports.get(transport) if transport else self.main

    def __bool__(self) -> bool:
        return self.main is not None or bool(self.transports)


NO_ACTIONS = EventActions()
