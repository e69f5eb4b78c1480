"""What is decided about an address before any router sees it: whose it really is, whether it waits (decision)."""

from __future__ import annotations

import re

from relay.expand.errors import ExpansionFailed
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.values import Tainted, lower
from relay.mail.address import Address
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.policy.routers.answers import Redirected, RouteDeferred
from relay.policy.routers.items import AddressItem, child_item
from relay.policy.routers.ports import Purpose, RoutingPorts

# What stood in a local part may be anything; a domain is none with blanks or signs in it.
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


async def before_routing(
    item: AddressItem, scope: Scope, ports: RoutingPorts, purpose: Purpose
) -> Redirected | RouteDeferred | None:
    """None: the routers are to be asked. Exim: deliver_split_address, hold_domains, queue_domains."""
    try:
        address = await without_percent(item.address, scope, ports.percent_hack_domains)
    except (ExpansionFailed, TemporaryFailure):
        return RouteDeferred("cannot check percent_hack_domains", error=ErrorClass.LOOKUP)
    if address != item.address:
        return Redirected("", (child_item(item, address, item.carried),))
    if purpose is not Purpose.DELIVER:
        return None
    try:
        if await _is_in(ports.hold_domains, address.domain, scope):
            return RouteDeferred("domain is held", error=ErrorClass.HELD)
    except (ExpansionFailed, TemporaryFailure):
        return RouteDeferred("hold_domains lookup deferred", error=ErrorClass.HELD)
    try:
        if await _is_in(ports.queue_domains, address.domain, scope):
            return RouteDeferred("domain is in queue_domains", error=ErrorClass.QUEUED)
    except (ExpansionFailed, TemporaryFailure):
        return RouteDeferred("queue_domains lookup deferred", error=ErrorClass.QUEUED)
    return None


async def without_percent(address: Address, scope: Scope, domains: MatchList | None) -> Address:
    """`user%other` of one of the domains is `user@other`, which may be of one of them again (Exim:
    percent_hack_domains). ACLs see the same, or they would let through what is only ours to look at. Raises
    ExpansionFailed, TemporaryFailure."""
    # Exim asks the list about each address, and tells who watches; otherwise that would cost lookups for nothing.
    while ("%" in address.local_part or scope.notes is not None) and await _is_in(domains, address.domain, scope):
        local_part, _, domain = address.local_part.rpartition("%")
        if not (local_part and _DOMAIN.fullmatch(domain)):
            break
        address = Address(local_part, domain)
    return address


async def _is_in(domains: MatchList | None, domain: str, scope: Scope) -> bool:
    return domains is not None and await domains.match(Tainted(lower(domain)), scope) is not None
