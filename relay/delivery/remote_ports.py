"""What remote deliveries and callouts of a process need of the world, and what they share (values)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from relay.delivery.conversation import ConversationPorts
from relay.delivery.filtering import Filters
from relay.delivery.host_lines import HostLines
from relay.delivery.host_memory import HostMemory
from relay.delivery.jobs import Identity
from relay.delivery.link import Dialer
from relay.mail.ports import Watch
from relay.policy.event_action import NO_ACTIONS, EventActions


async def _nobody(host: str) -> None:
    """No message waits."""


@dataclass(frozen=True, slots=True)
class RemotePorts:
    """The world, and what the transports of a process share."""

    conversation: ConversationPorts
    lines: HostLines
    memory: HostMemory
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    """Runs a coroutine that nobody waits for."""
    source: random.Random = field(default_factory=random.Random)
    summon: Callable[[str], Awaitable[object]] = _nobody
    """Begins with a message that waits for this host (the name of its line), if there is one, and waits until it stands
    in line or does not want to."""
    max_parallel: int = 6
    """Deliveries of one message to other hosts at the same time that its recipients are shared out for (Exim:
    remote_max_parallel)."""
    filters: Filters | None = None
    """Runs filters; where nobody does, a transport that has one delivers nothing."""
    own: Identity | None = None
    """Whom they run as: the daemon's own user."""
    events: EventActions = NO_ACTIONS
    """Who is told of what happens at hosts, by transport (Exim: event_action)."""
    watch: Watch | None = None
    """Somebody who is told what is said to hosts: the end of a connection then belongs to its message."""
    asking: Dialer | None = None
    """For callouts, where these are told otherwise than deliveries."""

    @property
    def inquiry(self) -> ConversationPorts:
        """The ports of a conversation in which nothing is sent."""
        return self.conversation if self.asking is None else replace(self.conversation, dialer=self.asking)

    def conversation_of(self, transport: str) -> ConversationPorts:
        """The ports of a conversation, with the transport's own action."""
        action = self.events.of(transport)
        return self.conversation if action is None else replace(self.conversation, action=action)
