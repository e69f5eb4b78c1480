"""A second copy of what a local transport has delivered, by another transport (decision).

Exim: shadow_transport, shadow_condition. What becomes of the copy is told in the log line of the delivery and changes
nothing else: the recipient has the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from relay.delivery.local import LocalRules
from relay.delivery.local_address import LocalAddress
from relay.delivery.transports import LocalTransport
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.mail.events import Trouble
from relay.mail.outcome import Delivered, Outcome
from relay.mail.ports import Body, Journal, TemporaryFailure
from relay.mail.queue import QueuedMessage


def shadowed(
    rules: LocalRules, transport: LocalTransport, others: Mapping[str, LocalTransport], journal: Journal
) -> LocalTransport:
    """The transport with its shadow, where it has one."""
    if not rules.shadow_transport:
        return transport
    return ShadowedDelivery(rules, transport, others.get(rules.shadow_transport), journal)


@dataclass(frozen=True, slots=True)
class ShadowedDelivery:
    """A local transport that another one runs behind. `shadow` None: there is none of that name."""

    rules: LocalRules
    transport: LocalTransport
    shadow: LocalTransport | None
    journal: Journal

    @property
    def batch_max(self) -> int:
        """Recipients that may be delivered in one go."""
        return self.transport.batch_max

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes."""
        return self.transport.includes_affixes

    async def batch_key(self, address: LocalAddress) -> str | None:
        """What the transport says."""
        return await self.transport.batch_key(address)

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """The outcomes of the transport itself; those delivered say what became of the copy. Raises
        SpoolUnavailable for the body."""
        outcomes = list(await self.transport.deliver(addresses, message, body))
        reached = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Delivered)]
        if not reached or not await self._is_wanted(addresses[0], message):
            return tuple(outcomes)
        name = self.rules.shadow_transport
        if self.shadow is None:
            self.journal.record(Trouble(f'shadow transport "{name}" not found', "", message.message_id))
            return tuple(outcomes)
        told = [_of_several(each) for each in addresses] if len(addresses) > 1 else addresses
        copies = await self._copied(tuple(told[place] for place in reached), message, body)
        for place, copy in zip(reached, copies, strict=True):
            outcome = outcomes[place]
            assert isinstance(outcome, Delivered), "these were delivered"
            outcomes[place] = replace(outcome, shadow=f"{name} ({copy})" if copy else name)
        return tuple(outcomes)

    async def _copied(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[str, ...]:
        """What went wrong with each copy. A recipient who has the message does not get it again because the queue
        could not be read twice."""
        assert self.shadow is not None, "somebody has looked"
        try:
            outcomes = await self.shadow.deliver(addresses, message, body)
        except TemporaryFailure as error:
            return (str(error) or "unknown error",) * len(addresses)
        return tuple("" if isinstance(each, Delivered) else each.reason or "unknown error" for each in outcomes)

    async def _is_wanted(self, address: LocalAddress, message: QueuedMessage) -> bool:
        condition = self.rules.shadow_condition
        if condition is None:
            return True
        try:
            text = await condition.text(_seen(address))
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f"shadow_condition of the {self.rules.name} transport: {error}"
            self.journal.record(Trouble(what, "", message.message_id))
            return False
        return text.lower() not in ("", "0", "no", "false")


def _seen(address: LocalAddress) -> Scope:
    """What the condition sees: also the home directory that routers have found."""
    scope, home = address.scope, address.home_directory
    return scope.child(more={**scope.more, "home": home}) if home else scope


def _of_several(address: LocalAddress) -> LocalAddress:
    """As the copy of a delivery to several recipients sees it: $local_part is that of none of them (Exim)."""
    view = address.scope.address
    if view is None:
        return address
    return replace(address, scope=address.scope.child(address=replace(view, local_part="")))
