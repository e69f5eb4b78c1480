"""What the recipients of a message come to: every address that routing ends with (decision).

A recipient may stand for others, these for further ones, and two recipients for the same mailbox. `route_recipients`
follows all of them down to their ends, the leaves, drops what has been dealt with in an earlier attempt, and lets one
leaf stand for all recipients that lead to it. Exim: the routing part of deliver_message.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from relay.expand.scope import Scope
from relay.expand.values import Tainted, lower
from relay.mail.address import Address
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState, Replacement
from relay.policy.routers.answers import Direct, Discarded, Redirected, Routed, RouteDeferred, Unroutable
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import route

# Addresses that one message may come to.
_LEAVES_LIMIT = 100_000

End = Routed | Discarded | Unroutable | RouteDeferred


@dataclass(frozen=True, slots=True)
class Origin:
    """A recipient that a leaf stands for, and what is written down about the leaf in its row when it is done ("":
    the leaf is the recipient itself)."""

    recipient: QueuedRecipient
    key: str = ""


@dataclass(slots=True)
class Leaf:
    """An address that routing came to an end with. `origins` are all recipients that lead to it, never none."""

    item: AddressItem
    end: End
    origins: list[Origin] = field(default_factory=list)
    direct: Direct | None = None
    """Where it is a file or a command that a redirection names."""

    @property
    def recipient(self) -> QueuedRecipient:
        """The row of the first recipient with the address that is delivered to in its place."""
        row = self.origins[0].recipient
        if self.item.parent is None and row.recipient.address == self.item.address:
            return row
        return replace(row, recipient=replace(row.recipient, address=self.item.address))

    @property
    def original(self) -> Address:
        """The recipient as the message came for it."""
        return self.origins[0].recipient.recipient.original or self.item.top.address

    @property
    def further(self) -> tuple[Address, ...]:
        """The other recipients as the message came for them, the last one first."""
        others = (each.recipient.recipient for each in reversed(self.origins[1:]))
        return tuple(each.original or each.address for each in others)

    @property
    def lasting(self) -> AddressItem | None:
        """The address on the way to it that a further attempt begins with, instead of the recipient (one_time)."""
        item = next((each for each in (self.item, *self.item.ancestors()) if each.is_lasting), None)
        # One that was redirected to itself is what it was.
        return None if item is None or item.parent is None or item.parent.address == item.address else item

    @property
    def generation(self) -> int:
        """How often something was made of a recipient until it came to this; 0: it is a recipient."""
        handled = [(each.address, each.router) for each in self.item.ancestors()]
        # A redirection with `unseen` has put a copy of its address above it.
        depth = len(handled) - sum(one == other for one, other in itertools.pairwise(handled))
        if isinstance(self.end, Routed) and self.end.clone is not None:
            return depth - 1  # taken by a router with `unseen`, it has a copy of itself as its parent
        return depth + 1 if self.text else depth

    @property
    def between(self) -> tuple[Address, ...]:
        """The addresses between it and the recipient, the nearest to it first."""
        above = [each.address for each in self.item.ancestors()][:-1]
        if not self.text or self.item.parent is None:
            return tuple(above)
        return (self.item.address, *above)

    @property
    def text(self) -> str:
        """The file or command where it is one."""
        return self.end.text if isinstance(self.end, Routed) else self.direct.text if self.direct is not None else ""

    @property
    def is_hidden(self) -> bool:
        """Reports name the address alone that it was made of."""
        return self.direct.is_hidden if self.direct is not None else self.item.is_hidden


def replacement(leaf: Leaf, message: QueuedMessage) -> Replacement | None:
    """What takes the place of the recipient where this leaf has to wait; None: the recipient stands for it still."""
    item, row = leaf.lasting, leaf.origins[0].recipient
    if item is None or item.parent is None or item.top.address != row.recipient.address:
        return None
    if any(each.recipient.address == item.address for each in message.recipients):
        return None
    recipient = replace(row.recipient, address=item.address, original=leaf.original, errors_to=item.carried.errors_to)
    return Replacement(recipient, row.number, item.parent.unique if item.parent.parent is not None else "")


def routed_as(leaf: Leaf, *, is_here: bool, with_affixes: bool) -> str:
    """How a log line writes the address, "" where as it came: as the router saw it, without what it cut off; of a
    mailbox `is_here` perhaps the local part alone (Exim: string_log_address, log_as_local)."""
    address, end = leaf.item.address, leaf.end
    local_part = address.local_part
    if isinstance(end, Routed):
        view = end.view
        local_part = f"{view.prefix}{view.local_part}{view.suffix}" if with_affixes else view.local_part
        if is_here and end.logs_local_part:
            return Tainted(local_part)
    seen = replace(address, local_part=local_part, domain=lower(address.domain))
    return "" if seen == address else Tainted(str(seen))


@dataclass(frozen=True, slots=True)
class Family:
    """The leaves in the order in which they were found, and the recipients that are left with none: what they stood
    for has been dealt with before."""

    leaves: tuple[Leaf, ...]
    finished: tuple[QueuedRecipient, ...] = ()


def in_order_of_routing(leaves: Sequence[Leaf]) -> list[Leaf]:
    """As Exim comes to them: one generation after the other, each from its end to its beginning; before it, forwards,
    the files and commands that must not be."""
    forbidden = [leaf for leaf in leaves if leaf.text and not isinstance(leaf.end, Routed)]
    others = [leaf for leaf in leaves[::-1] if leaf not in forbidden]
    return sorted([*forbidden, *others], key=lambda leaf: leaf.generation)


def in_order_of_delivery(leaves: Sequence[Leaf]) -> list[Leaf]:
    """As Exim's deliveries follow each other: the last generation first; in each of them files and commands stand
    behind addresses, and from their end to their beginning."""
    addresses = [leaf for leaf in leaves if not leaf.text]
    texts = [leaf for leaf in reversed(leaves) if leaf.text]
    return sorted([*addresses, *texts], key=lambda leaf: -leaf.generation)


async def route_recipients(
    message: QueuedMessage, routers: Sequence[Router], scope: Scope, ports: RoutingPorts
) -> Family:
    """Routes every pending recipient of a message."""
    return await _Gathering(message, routers, scope, ports).run()


class _Gathering:
    def __init__(self, message: QueuedMessage, routers: Sequence[Router], scope: Scope, ports: RoutingPorts) -> None:
        self._message = message
        self._routers = routers
        self._scope = scope
        self._ports = ports
        self._done = _done(message.recipients)
        self._leaves: dict[str, Leaf] = {}

    async def run(self) -> Family:
        finished = [each for each in self._message.pending if not await self._follow(each)]
        return Family(tuple(self._leaves.values()), tuple(finished))

    async def _follow(self, recipient: QueuedRecipient) -> bool:
        """Routes one recipient with all that it comes to; False where nothing is left to be done for it."""
        has_any = False
        waiting: list[AddressItem | Direct] = [top_item(recipient.recipient.address, recipient.recipient.errors_to)]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Direct):
                has_any |= self._take(recipient, item.parent, item.answer, item.unique, item.unique, item)
                continue
            if item.parent is not None and not item.has_namesake and item.unique in self._done:
                continue
            answer = await route(item, self._routers, self._scope, self._ports)
            match answer:
                case Redirected(_, children):
                    waiting.extend(reversed(children))
                case Routed():
                    if answer.clone is not None:
                        waiting.append(answer.clone)
                    has_any |= self._take(recipient, answer.item, answer, answer.item.unique, _key(answer))
                case Discarded() | Unroutable() | RouteDeferred():
                    has_any |= self._take(recipient, item, answer, item.unique, _key_of(item, ""))
                case _ as never:
                    assert_never(never)
        return has_any

    def _take(
        self,
        recipient: QueuedRecipient,
        item: AddressItem,
        end: End,
        unique: str,
        key: str,
        direct: Direct | None = None,
    ) -> bool:
        """Keeps a leaf, once for all that lead to it; False where it was dealt with before."""
        if key and key in self._done:
            return False
        if len(self._leaves) >= _LEAVES_LIMIT:
            end = RouteDeferred(f"more than {_LEAVES_LIMIT} addresses")
        leaf = self._leaves.setdefault(unique, Leaf(item, end, direct=direct))
        if all(origin.recipient.number != recipient.number for origin in leaf.origins):
            leaf.origins.append(Origin(recipient, key))
        return True


def _key(answer: Routed) -> str:
    return _key_of(answer.item, answer.transport)


def _key_of(item: AddressItem, transport: str) -> str:
    """What is written down of a leaf that is done; one with a namesake among its ancestors is told from it by the
    transport (Exim: address_done)."""
    if item.parent is None:
        return ""
    return f"{item.bare_unique}/{transport}" if item.has_namesake else item.unique


def _done(recipients: Collection[QueuedRecipient]) -> frozenset[str]:
    """What has been dealt with: by its keys, and recipients by their addresses."""
    keys = {key for recipient in recipients for key in recipient.done}
    keys |= {each.recipient.address.key() for each in recipients if each.state is not RecipientState.PENDING}
    return frozenset(keys)


def shared_by_group(routed: Routed) -> object:
    """What remote recipients must have in common to go together."""
    carried = routed.carried
    return (
        routed.transport,
        routed.hosts,
        routed.order,
        routed.fallback_hosts,
        carried.errors_to,
        carried.headers_add,
        carried.headers_remove,
    )
