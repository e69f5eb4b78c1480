"""A router has taken an address: what its transport is to know is put together (decision).

Exim: rf_get_errors_address, rf_get_munge_headers, rf_get_transport, rf_get_ugid, rf_queue_add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from relay.esmtp.grammar import Malformed, read_address
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.splitting import split_list
from relay.expand.values import is_tainted
from relay.mail.outcome import ErrorClass
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.policy.routers.answers import HostOrder, Routed, RouteHost
from relay.policy.routers.arriving import RoutingTrouble, Visit, find_group, find_user
from relay.policy.routers.host_addresses import addresses_of
from relay.policy.routers.host_lists import HostListError, parse_hosts
from relay.policy.routers.items import Carried, ignoring_errors
from relay.policy.routers.ports import REMOTE, TransportFacts
from relay.policy.routers.settings import Router


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a local delivery runs; None: the router does not say."""

    user: int | None = None
    group: int | None = None
    initgroups: bool = False


async def routed(
    router: Router,
    visit: Visit,
    transport: str | None = None,
    hosts: tuple[RouteHost, ...] = (),
    order: HostOrder = HostOrder.AS_GIVEN,
    host_text: str = "",
) -> Routed:
    """The answer of a router that takes the address. `transport` None: the router's own.

    Raises RoutingTrouble, ExpansionFailed, TemporaryFailure.
    """
    carried = await carry(router, visit)
    if transport is None:
        transport = await transport_of(router.transport, router.name, visit)
    scope = visit.scope
    answer = Routed(
        router=router.name,
        transport=transport,
        item=visit.item,
        view=visit.view,
        carried=carried,
        hosts=hosts,
        order=order,
        host_text=host_text,
        domain_data=scope.domain_data,
        local_part_data=scope.local_part_data,
        self_hostname=visit.self_hostname,
        logs_local_part=router.log_as_local,
        is_logged=not router.disable_logging,
    )
    if facts_of(transport, visit).is_local:
        return await at_home(answer, router, visit)
    if router.fallback_hosts is not None:
        return replace(answer, fallback_hosts=await _fallback_hosts(router.fallback_hosts, router.name, visit))
    return answer


def facts_of(transport: str, visit: Visit) -> TransportFacts:
    """What is known of a transport; one that is not there counts as remote."""
    return visit.ports.transports.get(transport, REMOTE)


async def at_home(answer: Routed, router: Router, visit: Visit) -> Routed:
    """The answer with user and directories. Those of the login are set aside by those that the router names."""
    identity = await identity_of(router, visit)
    account = visit.account
    home = account.home if account is not None else visit.home or ""
    scope = visit.scope
    if router.home_directory is not None:
        home = await _directory(router.home_directory, "transport_home_directory", visit)
    current = ""
    if router.current_directory is not None:
        visit.scope = scope.child(more={**scope.more, "home": home})
        current = await _directory(router.current_directory, "transport_current_directory", visit)
        visit.scope = scope
    return replace(
        answer,
        user=identity.user if identity.user is not None or account is None else account.uid,
        group=identity.group if identity.group is not None or account is None else account.gid,
        initgroups=identity.initgroups,
        home_directory=home,
        current_directory=current,
    )


async def _directory(option: Expansion, name: str, visit: Visit) -> str:
    try:
        return await option.text(visit.scope)
    except ForcedFailure:
        return ""
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'{name} "{option.source}" failed to expand: {error}') from error


# Transports


async def transport_of(option: Expansion | None, router: str, visit: Visit, wanted: str = "") -> str:
    """The name of the transport. With `wanted`, the option's name, there must be one; else "" stands for none."""
    if option is None:
        if wanted:
            raise RoutingTrouble(f"{wanted} unset in {router} router", ErrorClass.TRANSPORT)
        return ""
    try:
        name = await option.text(visit.scope)
    except (ExpansionFailed, TemporaryFailure) as error:
        what = f'failed to expand transport "{option.source}" in {router} router: {error}'
        raise RoutingTrouble(what, ErrorClass.TRANSPORT) from error
    if is_tainted(name):
        shown = printable(name, 100)
        what = f"attempt to use tainted value '{shown}' from '{option.source}' for transport"
        raise RoutingTrouble(what, ErrorClass.TRANSPORT)
    if name not in visit.ports.transports:
        raise RoutingTrouble(f'transport "{printable(name, 100)}" not found in {router} router', ErrorClass.TRANSPORT)
    return name


# What an address takes along


async def carry(router: Router, visit: Visit) -> Carried:
    """What the address takes along from here. Raises RoutingTrouble."""
    view, carried = visit.view, visit.item.carried
    carried = replace(carried, address_data=view.address_data, variables=view.router_variables)
    if router.errors_to is not None:
        carried = await _errors_to(router.errors_to, router.name, visit, carried)
    if router.headers_add:
        carried = replace(carried, headers_add=(*carried.headers_add, *await _added(router, visit)))
    if router.headers_remove:
        carried = replace(carried, headers_remove=(*carried.headers_remove, *await _removed(router, visit)))
    return carried


async def _errors_to(option: Expansion, router: str, visit: Visit, carried: Carried) -> Carried:
    """An address that mail can't be routed to is passed over, as in Exim."""
    try:
        text = (await option.text(visit.scope)).strip()
    except ForcedFailure:
        return carried
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'{router} router failed to expand "{option.source}": {error}') from error
    if text in ("", "<>"):
        return ignoring_errors(carried)
    try:
        address = read_address(text)
    except Malformed:
        return carried
    address = address.qualified(visit.ports.qualify_recipient)
    if visit.purpose.is_verification or await visit.verify_errors_to(address):
        return replace(carried, errors_to=address)
    return carried


async def _added(router: Router, visit: Visit) -> tuple[str, ...]:
    found: list[str] = []
    for option in router.headers_add:
        try:
            text = await option.lines(visit.scope)
        except ForcedFailure:
            continue
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f'{router.name} router failed to expand add_headers item "{option.source}": {error}'
            raise RoutingTrouble(what) from error
        if text := text.strip("\r\n"):
            found.append(text)
    return tuple(found)


async def _removed(router: Router, visit: Visit) -> list[str]:
    """Names of fields."""
    found: list[str] = []
    for option in router.headers_remove:
        try:
            text = await option.text(visit.scope)
        except ForcedFailure:
            continue
        except (ExpansionFailed, TemporaryFailure) as error:
            what = f'{router.name} router failed to expand remove_headers item "{option.source}": {error}'
            raise RoutingTrouble(what) from error
        found += [name for name in split_list(text).items if name]
    return found


# Users


async def identity_of(router: Router, visit: Visit) -> Identity:
    """The router's `user` and `group`. Raises RoutingTrouble."""
    uid = gid = None
    if router.user is not None:
        uid, gid = await _user(router.user, router.name, visit)
    if router.group is not None:
        name = await _named(router.group, "group", router.name, visit)
        gid = await find_group(name, visit.ports)
        if gid is None:
            source = router.group.source
            what = f'Failed to find group "{printable(name, 100)}" from expanded string "{source}"'
            raise RoutingTrouble(f"{what} for the {router.name} router")
    if uid is not None and gid is None:
        raise RoutingTrouble(f"user set without group for {router.name} router")
    return Identity(uid, gid, router.initgroups)


async def _user(option: Expansion, router: str, visit: Visit) -> tuple[int, int | None]:
    name = await _named(option, "user", router, visit)
    if name.removeprefix("-").isdecimal():
        return int(name), None
    account = await find_user(name, visit.ports)
    if account is None:
        what = f'Failed to find user "{printable(name, 100)}" from expanded string "{option.source}"'
        raise RoutingTrouble(f"{what} for the {router} router")
    return account.uid, account.gid


async def _named(option: Expansion, what: str, router: str, visit: Visit) -> str:
    try:
        return (await option.text(visit.scope)).strip()
    except (ExpansionFailed, TemporaryFailure) as error:
        text = f'Failed to expand {what} string "{option.source}" for the {router} router: {error}'
        raise RoutingTrouble(text) from error


# Fallback hosts


async def _fallback_hosts(option: Expansion, router: str, visit: Visit) -> tuple[RouteHost, ...]:
    """The hosts with their addresses; one that is not found is left out."""
    try:
        hosts = parse_hosts(await option.text(visit.scope))
    except (HostListError, ExpansionFailed) as error:
        raise RoutingTrouble(f"fallback_hosts in {router} router: {error}") from error
    found: list[RouteHost] = []
    for host in hosts:
        addresses = tuple(
            each for each in await addresses_of(host.name, visit) if not (visit.ports.without_ipv6 and ":" in each)
        )
        if addresses:
            found.append(replace(host, addresses=addresses))
    return tuple(found)
