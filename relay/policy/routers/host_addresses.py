"""The addresses of the hosts that a route names (decision).

Exim: rf_lookup_hostlist, host_find_byname. A host that is this one ends the list unless it is the first, as with mail
exchangers; then `self` says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from relay.mail.outcome import ErrorClass
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.mail.text import printable
from relay.policy.routers.answers import Passed, RouteDeferred, RouteHost, RouterAnswer
from relay.policy.routers.arriving import Visit, is_ignored
from relay.policy.routers.dns_hosts import (
    Found,
    Insecure,
    LookedUp,
    NotFound,
    NotNow,
    Ours,
    Wanted,
    find_addresses,
    find_exchangers,
    requires_dnssec,
)
from relay.policy.routers.host_lists import exchangers_of, is_address
from relay.policy.routers.ports import NoNetwork
from relay.policy.routers.settings import Fallback, LookupBy, Manualroute, RouteOptions, Router
from relay.policy.routers.this_host import before_ours, fall_back, self_action


async def addresses_of(name: str, visit: Visit) -> tuple[str, ...]:
    """Addresses by name, none where there is no such host. Raises TemporaryFailure."""
    if is_address(name):
        return (name,)
    try:
        return await visit.ports.resolver.addresses(name)
    except HostNotFound:
        return ()


async def resolve_hosts(
    router: Manualroute,
    hosts: Sequence[RouteHost],
    options: RouteOptions,
    default_port: int | None,
    visit: Visit,
) -> tuple[RouteHost, ...] | RouterAnswer:
    """The hosts with their addresses; or what becomes of the address where a name can't be resolved or a host
    is this one. `default_port` is the transport's own."""
    resolved: list[RouteHost] = []
    may_send_to_self = False
    for host in hosts:
        found = await _look_up(router, host, options, host.port or default_port, visit)
        match found:
            case NotNow():
                return _not_now(router, host.name, found)
            case Insecure():
                return RouteDeferred(f"host lookup for {printable(host.name, 255)} done insecurely", router.name)
            case NotFound(name):
                if router.host_find_failed is Fallback.IGNORE:
                    continue
                reason = f'lookup of host "{printable(name, 255)}" failed in {router.name} router'
                return fall_back(router.host_find_failed, reason, router.name, ErrorClass.LOOKUP)
            case Found(entries, ours=ours):
                if ours is Ours.BEST and not may_send_to_self:
                    if resolved:
                        return tuple(resolved)
                    answer = self_action(router, entries[0], visit)
                    if answer is not None:
                        return answer
                    may_send_to_self = True
                resolved += entries
            case _ as never:
                assert_never(never)
    if resolved:
        return tuple(resolved)
    ignored = f"host_find_failed=ignore host_all_ignored={router.host_all_ignored.value}"
    reason = f"lookup failed for all hosts in {router.name} router: {ignored}"
    return fall_back(router.host_all_ignored, reason, router.name, ErrorClass.LOOKUP)


def _not_now(router: Router, name: str, found: NotNow) -> RouterAnswer:
    if router.pass_on_timeout:
        return Passed()
    why = found.reason if found.is_offline else "DNS timeout?"
    reason = f"host lookup for {printable(name, 255)} did not complete ({why})"
    return RouteDeferred(reason, router.name, ErrorClass.NO_NETWORK if found.is_offline else ErrorClass.LOOKUP)


async def _look_up(
    router: Manualroute, host: RouteHost, options: RouteOptions, port: int | None, visit: Visit
) -> LookedUp:
    """One host of the list as the hosts that it stands for."""
    wanted = Wanted(router, families=options.families, port=port)
    domain = exchangers_of(host.name)
    if domain:
        found: LookedUp = await find_exchangers(domain, wanted, visit, or_addresses=False)
    elif await _asks_dns(router, host.name, options, visit):
        found = await find_addresses(host.name, wanted, visit)
    else:
        found = await _by_name(host, wanted, visit)
    if not isinstance(found, Found):
        return found
    entries = tuple(
        replace(each, port=each.port if host.port is None else host.port, group=host.group) for each in found.hosts
    )
    return replace(found, hosts=entries)


async def _asks_dns(router: Manualroute, name: str, options: RouteOptions, visit: Visit) -> bool:
    """Whether a name is looked up in the DNS alone: what the system says of it nobody has signed."""
    if is_address(name) or options.lookup is LookupBy.NAME:
        return False
    return options.lookup is LookupBy.DNS or await requires_dnssec(router, name, visit)


async def _by_name(host: RouteHost, wanted: Wanted, visit: Visit) -> LookedUp:
    """What the system says of a name."""
    try:
        addresses = await addresses_of(host.name, visit)
    except TemporaryFailure as error:
        return NotNow(str(error), isinstance(error, NoNetwork))
    ignored = wanted.router.ignore_target_hosts
    kept = [
        address
        for address in wanted.in_order(addresses)
        if not await is_ignored(ignored, host.name, address, visit)
    ]
    if not kept:
        return NotFound(host.name)
    entry = replace(host, addresses=tuple(kept))
    is_ours = not await before_ours((entry,), wanted.port, visit)
    return Found((entry,), host.name, Ours.BEST if is_ours else Ours.NOWHERE)
