"""Which addresses of a message go to their transport together (decision).

What makes two of them one group: for a remote transport the same hosts and whatever else a connection and an envelope
have in common (`family.shared_by_group`), for a local one that takes several at once the key that it gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.delivery.family import Leaf, shared_by_group
from relay.delivery.first_pass import FirstPass
from relay.delivery.scopes import local_address
from relay.delivery.transports import LocalTransport, RemoteTransport
from relay.expand.scope import Scope
from relay.mail.outcome import Deferred
from relay.policy.routers.answers import Routed


@dataclass(frozen=True, slots=True)
class Member:
    """A leaf that a router took."""

    leaf: Leaf
    routed: Routed


@dataclass(frozen=True, slots=True)
class Group:
    """Leaves that go to their transport together. `routed` is the first one's; hosts and transport are those of
    all."""

    routed: Routed
    members: tuple[Member, ...]
    left: Deferred | None = None
    """Why they do not go to other hosts this time."""


async def grouped(
    taken: Sequence[Member],
    scope: Scope,
    local: Mapping[str, LocalTransport],
    remote: Mapping[str, RemoteTransport],
    first_pass: FirstPass,
) -> list[Group]:
    """Groups in the order of their first recipients: local deliveries first, as in Exim."""
    together: dict[tuple[Deferred | None, object], list[Member]] = {}
    here: list[Member] = []
    for member in taken:
        if member.routed.transport in local:
            here.append(member)
        else:
            left = await first_pass.leaves(member.leaf.item.address.domain, scope)
            together.setdefault((left, shared_by_group(member.routed)), []).append(member)
    groups, elsewhere = await _batches(here, scope, local), len(taken) - len(here)
    for (left, _), members in together.items():
        most = remote[members[0].routed.transport].most_at_once(elsewhere) or len(members)
        for start in range(0, len(members), most):
            part = tuple(members[start : start + most])
            groups.append(Group(part[0].routed, part, left))
    return groups


async def _batches(here: Sequence[Member], scope: Scope, local: Mapping[str, LocalTransport]) -> list[Group]:
    """Local recipients, together where their transport takes several at once (Exim: batch_max)."""
    batches: list[list[Member]] = []
    open_batches: dict[tuple[str, str], list[Member]] = {}
    for member in here:
        name = member.routed.transport
        transport = local[name]
        key = None
        if transport.batch_max > 1:
            key = await transport.batch_key(local_address(scope, member.leaf.recipient.recipient, member.routed))
        batch = open_batches.get((name, key)) if key is not None else None
        if batch is None or len(batch) >= transport.batch_max:
            batch = []
            batches.append(batch)
            if key is not None:
                open_batches[(name, key)] = batch
        batch.append(member)
    return [Group(batch[0].routed, tuple(batch)) for batch in batches]
