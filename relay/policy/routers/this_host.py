"""Whether a host of a route is this one, and what to do then: the option `self` (decision).

Exim: host_scan_for_local_hosts, rf_self_action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from relay.expand.scope import AddressView
from relay.expand.values import lower
from relay.mail.address import Address
from relay.mail.outcome import ErrorClass
from relay.policy.routers.answers import (
    Declined,
    Passed,
    Redirected,
    RouteDeferred,
    RouteHost,
    RouterAnswer,
    Unroutable,
)
from relay.policy.routers.arriving import Visit
from relay.policy.routers.items import child_item
from relay.policy.routers.settings import Fallback, Reroute, Router


async def before_ours(hosts: Sequence[RouteHost], default_port: int | None, visit: Visit) -> tuple[RouteHost, ...]:
    """The hosts before the first that is this one, without those that are no better than it; all where none is.

    `default_port` is the transport's own, None where it was given none. Raises TemporaryFailure.
    """
    for place, host in enumerate(hosts):
        if await _is_ours(host, host.port or default_port, visit):
            return tuple(each for each in hosts[:place] if each.preference != host.preference)
    return tuple(hosts)


async def _is_ours(host: RouteHost, port: int | None, visit: Visit) -> bool:
    named = visit.ports.treated_as_local
    if named is not None:
        name = lower(host.name)
        if await named.match(name, visit.scope.child(address=AddressView(domain=name))) is not None:
            return True
    return any(each == "0.0.0.0" or visit.ports.is_ours(each, port) for each in host.addresses)


def self_action(router: Router, host: RouteHost, visit: Visit) -> RouterAnswer | None:
    """What becomes of an address whose best host is this one; None: it is sent there all the same."""
    reason = "remote host address is the local host"
    if host.preference is not None:
        reason = "lowest numbered MX record points to local host"
    match router.self_action:
        case Fallback.SEND:
            return None
        case Reroute(domain):
            return changed_domain(router, domain, visit)
        case Fallback.PASS:
            return Passed(reason, host.name)
        case Fallback.FAIL:
            return Unroutable(reason, router.name)
        case Fallback.FREEZE:
            note = f"{reason}: {visit.item.address.domain}"
            return RouteDeferred(reason, router.name, ErrorClass.OTHER, freeze=True, note=note)
        case Fallback() as action:
            return fall_back(action, reason, router.name, ErrorClass.OTHER)
        case _ as never:
            assert_never(never)


def changed_domain(router: Router, domain: str, visit: Visit) -> Redirected:
    """The same local part at another domain, which begins anew."""
    item = visit.item
    parent = item.handled_by(router.name, router.is_caseful)
    address = Address(item.address.local_part, domain)
    return Redirected(router.name, (child_item(parent, address, item.carried),))


def fall_back(action: Fallback, reason: str, router: str, error: ErrorClass) -> RouterAnswer:
    """What an option that says what to do comes to."""
    match action:
        case Fallback.DECLINE:
            return Declined()
        case Fallback.PASS:
            return Passed()
        case Fallback.FAIL:
            return Unroutable(reason, router)
        case Fallback.DEFER:
            return RouteDeferred(reason, router, error)
        case Fallback.FREEZE | Fallback.IGNORE | Fallback.SEND:
            return RouteDeferred(reason, router, error, freeze=True)
        case _ as never:
            assert_never(never)
