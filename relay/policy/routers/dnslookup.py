"""`driver = dnslookup`: the hosts of a mail domain as the DNS names them (decision).

Exim: chapter "The dnslookup router".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.lists import MatchList
from relay.expand.splitting import split_list
from relay.expand.values import Tainted, lower
from relay.mail.address import Address
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.policy.routers.answers import Declined, HostOrder, Passed, RouteDeferred, RouterAnswer
from relay.policy.routers.arriving import RoutingTrouble, Visit, holds
from relay.policy.routers.dns_hosts import (
    Found,
    Insecure,
    NotFound,
    NotNow,
    Ours,
    Search,
    Wanted,
    Why,
    find_exchangers,
)
from relay.policy.routers.leaving import facts_of, routed, transport_of
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import DNSLookup
from relay.policy.routers.this_host import changed_domain, self_action

_NO_SERVICE = "an MX or SRV record indicated no SMTP service"
_NOWHERE = "all relevant MX records point to non-existent hosts"
_LITERALS = f"{_NOWHERE} or (invalidly) to IP addresses"
_FAIL_DEFER = "missing MX, or all MXs point to missing A records, and defer requested"


async def run_dnslookup(router: DNSLookup, visit: Visit) -> RouterAnswer:
    """Tries the domain, then what `widen_domains` makes of it."""
    # A sender's domain is not completed where header lines would have to be rewritten with it, as in Exim.
    completes = (
        visit.purpose is not Purpose.VERIFY_SENDER or not router.rewrite_headers or visit.item.parent is not None
    )
    transport = await transport_of(router.transport, router.name, visit)
    wanted = Wanted(
        router,
        port=facts_of(transport, visit).port,
        families=await _families(router, visit),
        search=Search(qualify=router.qualify_single, parents=router.search_parents) if completes else Search(),
        mx_fail_domains=router.mx_fail_domains,
        srv_fail_domains=router.srv_fail_domains,
        services=await _services(router, visit),
    )
    for name in _names(visit.domain, router.widen_domains if completes else ()):
        found = await find_exchangers(name, wanted, visit)
        match found:
            case Found():
                if found.hosts[0].preference is None and await _is_in(
                    router.mx_domains, found.name, "mx_domains", visit
                ):
                    continue
                return await _found(router, found, wanted, transport, visit)
            case Insecure():
                return RouteDeferred("host lookup done insecurely", router.name)
            case NotNow():
                if router.pass_on_timeout:
                    return Passed()
                error = ErrorClass.NO_NETWORK if found.is_offline else ErrorClass.OTHER
                return RouteDeferred("host lookup did not complete", router.name, error)
            case NotFound(why=why):
                if await _is_in(router.fail_defer_domains, name, "fail_defer_domains option", visit):
                    return RouteDeferred(_FAIL_DEFER, router.name)
                if why is not Why.NO_SUCH_NAME:
                    return _no_hosts(why, visit)
                if not _is_sound(name):
                    return Declined(f'mail domain "{printable(name, 255)}" is syntactically invalid')
            case _ as never:
                assert_never(never)
    return Declined()


def _no_hosts(why: Why, visit: Visit) -> Declined:
    match why:
        case Why.NO_SERVICE:
            return Declined(_NO_SERVICE)
        case Why.ONLY_LITERALS:
            domain = printable(visit.domain, 255)
            told = (
                f"It appears that the DNS operator for {domain}\nhas installed an invalid MX record with an IP address"
                "\ninstead of a domain name on the right hand side."
            )
            return Declined(_LITERALS, told)
        case Why.NO_ADDRESSES | Why.NO_SUCH_NAME:
            return Declined(_NOWHERE)
        case _ as never:
            assert_never(never)


def _names(domain: str, endings: tuple[str, ...]) -> Iterator[str]:
    yield domain
    for ending in endings:
        yield f"{domain}.{ending}"


def _is_sound(name: str) -> bool:
    """Whether it can be a name of a host (Exim: dns_check_names_pattern)."""
    return all(label and label.strip("-_") and not label.startswith("-") for label in name.rstrip(".").split("."))


async def _families(router: DNSLookup, visit: Visit) -> tuple[int, ...]:
    if router.ipv4_only is not None and await holds(router.ipv4_only, visit.scope):
        return (4,)
    if router.ipv4_prefer is not None and await holds(router.ipv4_prefer, visit.scope):
        return (4, 6)
    return (6, 4)


async def _services(router: DNSLookup, visit: Visit) -> tuple[str, ...]:
    if router.check_srv is None:
        return ()
    try:
        return tuple(each for each in split_list(await router.check_srv.text(visit.scope)).items if each)
    except ForcedFailure:
        return ()
    except (ExpansionFailed, TemporaryFailure) as error:
        what = f'{router.name} router: failed to expand "{router.check_srv.source}": {error}'
        raise RoutingTrouble(what) from error


async def _is_in(domains: MatchList | None, name: str, option: str, visit: Visit) -> bool:
    if domains is None:
        return False
    try:
        return await domains.match(Tainted(lower(name)), visit.scope) is not None
    except TemporaryFailure as error:
        raise RoutingTrouble(f"lookup defer for {option}") from error


async def _found(router: DNSLookup, found: Found, wanted: Wanted, transport: str, visit: Visit) -> RouterAnswer:
    if lower(found.name) != lower(visit.domain):
        return changed_domain(router, found.name, visit)
    if found.name != visit.item.address.domain:
        # The official spelling is what the next hop gets.
        visit.item = replace(visit.item, address=Address(visit.item.address.local_part, found.name))
    match found.ours:
        case Ours.BEST:
            answer = self_action(router, found.hosts[0], visit)
            if answer is not None:
                return answer
        case Ours.NOWHERE if router.check_secondary_mx:
            return Declined()
        case Ours.NOWHERE | Ours.CUT:
            pass
        case _ as never:
            assert_never(never)
    order = HostOrder.EXCHANGERS_IPV4_FIRST if wanted.families == (4, 6) else HostOrder.EXCHANGERS
    return await routed(router, visit, transport, found.hosts, order)
