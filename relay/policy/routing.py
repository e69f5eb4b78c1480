"""Where an address goes: the routers, tried in their order (decision).

`route` offers an address to one router after the other until one takes it, makes others of it, or refuses it. What a
router is and what each kind does is in the package `routers`. Each kind has a class in `routers/settings.py` and one
function that runs it; a further kind is a further class, a further function and a further line in `_run`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import compile_expansion
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, Address
from relay.mail.events import MessageNote
from relay.mail.outcome import RemoteHost
from relay.mail.ports import TemporaryFailure
from relay.policy.routers.answers import (
    UNROUTEABLE,
    Declined,
    Direct,
    Discarded,
    HostOrder,
    Passed,
    Redirected,
    Route,
    Routed,
    RouteDeferred,
    RouteHost,
    RouterAnswer,
    Unroutable,
)
from relay.policy.routers.arriving import RoutingTrouble, Visit, arrive, flag, set_variables, view_at
from relay.policy.routers.before import before_routing
from relay.policy.routers.dnslookup import run_dnslookup
from relay.policy.routers.ipliteral import run_ipliteral
from relay.policy.routers.items import AddressItem, child_item, top_item
from relay.policy.routers.leaving import routed
from relay.policy.routers.manualroute import run_manualroute
from relay.policy.routers.ports import Purpose, RoutingPorts
from relay.policy.routers.redirect import run_redirect
from relay.policy.routers.settings import Accept, DNSLookup, IPLiteral, Manualroute, Redirect, Router

# How many times over an address may have been made of others.
_ANCESTORS_LIMIT = 100
_BEGINS = ">" * 35
_CLIENT = compile_expansion("$sender_fullhost")


async def route(
    item: AddressItem,
    routers: Sequence[Router],
    scope: Scope,
    ports: RoutingPorts,
    purpose: Purpose = Purpose.DELIVER,
) -> Route:
    """Where an address goes. `scope` has the message and the session; the address is put into it here."""
    notes = scope.notes
    if notes is None:
        return await _search(item, routers, scope, ports, purpose)
    notes.say(_BEGINS)
    notes.say(f"routing {item.address}")
    notes.level += 1
    before, notes.results = notes.results, dict(notes.results)
    if item.parent is not None or purpose is Purpose.VERIFY_SENDER:
        # What lists have said of another address, be it the one that this one was made of, counts for that one alone.
        notes.forget("domain", "local part")
    try:
        found = await _search(item, routers, scope, ports, purpose)
    finally:
        notes.level -= 1
        notes.results = before
    if isinstance(found, Unroutable) and not found.router:
        notes.say("no more routers")
    elif isinstance(found, RouteDeferred):
        if found.router:
            notes.say(f"{found.router} router: defer for {item.address}\n  message: {found.reason}")
    elif not isinstance(found, Unroutable):
        notes.say(_how(found, routers))
    return found


def _how(found: Routed | Redirected | Discarded, routers: Sequence[Router]) -> str:
    """What became of an address that some router has taken."""
    if isinstance(found, Redirected) and found.children:
        router, last = next((each for each in routers if each.name == found.router), None), found.children[-1]
        if isinstance(last, AddressItem) and not isinstance(router, Redirect):
            return f"re-routed to {last.address}"
    goes_on = isinstance(found, Routed) and found.clone is not None
    return f"routed by {found.router} router{' (unseen)' if goes_on else ''}"


async def _search(
    item: AddressItem, routers: Sequence[Router], scope: Scope, ports: RoutingPorts, purpose: Purpose
) -> Route:
    """The routers in turn, until one of them answers."""
    if sum(1 for _ in item.ancestors()) > _ANCESTORS_LIMIT:
        return RouteDeferred(f"routing loop for {item.address}")
    if not item.start and (settled := await before_routing(item, scope, ports, purpose)) is not None:
        return settled

    async def verify_errors_to(address: Address) -> bool:
        asked = scope
        if scope.message is not None and scope.message.sender is not None:
            asked = scope.child(message=replace(scope.message, sender=NULL_SENDER))
        return await _is_routable(address, routers, asked, ports)

    place = _place_of(item.start, routers)
    last: Router | None = None
    visit: Visit | None = None
    reason = user_message = self_hostname = ""
    while place < len(routers):
        last = router = routers[place]
        place += 1
        if _has_handled(router, item):
            continue
        try:
            seen = scope if not self_hostname else _with_self_hostname(scope, self_hostname)
            arrived = await arrive(router, item, seen, ports, purpose, verify_errors_to)
            if arrived is None:
                continue
            visit = arrived
            visit.self_hostname = self_hostname
            if scope.notes is not None:
                scope.notes.say(f"calling {router.name} router")
            answer = await _offered(router, visit)
            if scope.notes is not None:
                _tell(scope.notes, router, answer, item)
            # What has been found out stays with the address (Exim: address_data, r_ variables).
            item = _with_found(visit)
            match answer:
                case Passed():
                    reason, self_hostname = answer.reason or reason, answer.self_hostname or self_hostname
                    if router.pass_router:
                        place = _place_of(router.pass_router, routers)
                case Declined():
                    reason, user_message = answer.reason or reason, answer.user_message or user_message
                    if not await flag(router.more, "more", router.name, visit.scope):
                        break
                case _:
                    following = routers[place].name if place < len(routers) else ""
                    found = await _final(answer, router, visit, following)
                    data = item.carried.address_data
                    return replace(found, address_data=data) if isinstance(found, Unroutable) else found
        except RoutingTrouble as error:
            return RouteDeferred(str(error), router.name, error.error)
        except (ExpansionFailed, TemporaryFailure) as error:
            return RouteDeferred(f"{router.name} router: {error}", router.name)
    if reason:
        return Unroutable(reason, "", user_message, item.carried.address_data)
    told = await _cannot_route(last, item, scope) if last is not None else UNROUTEABLE
    return Unroutable(told, "", told, item.carried.address_data)


def _tell(notes: Notes, router: Router, answer: RouterAnswer, item: AddressItem) -> None:
    """What a router has said that does not end the search, or ends it badly."""
    match answer:
        case Passed():
            notes.say(f"{router.name} router passed for {item.address}")
        case Declined():
            notes.say(f"{router.name} router declined for {item.address}")
        case Unroutable():
            notes.say(f"{router.name} router forced address failure")
        case _:
            pass


def _place_of(name: str, routers: Sequence[Router]) -> int:
    """The place of a router in the list; the first one's for "". A name that is gone since begins anew."""
    if name:
        for place, router in enumerate(routers):
            if router.name == name:
                return place
    return 0


def _has_handled(router: Router, item: AddressItem) -> bool:
    """Whether the router has made this address of the same one before, or of any with no_repeat_use."""
    if item.parent is None:
        return False
    text = str(item.address)
    for ancestor in item.ancestors():
        if ancestor.router != router.name:
            continue
        if not router.repeat_use:
            return True
        known = str(ancestor.address)
        if known.lower() == text.lower() and (
            not router.is_caseful or ancestor.address.local_part == item.address.local_part
        ):
            return True
    return False


def _with_self_hostname(scope: Scope, name: str) -> Scope:
    return scope.child(more={**scope.more, "self_hostname": name})


async def _is_routable(address: Address, routers: Sequence[Router], scope: Scope, ports: RoutingPorts) -> bool:
    """Whether mail to an address could be routed, for `errors_to`; a single child is followed."""
    item = top_item(address)
    while True:
        answer = await route(item, routers, scope, ports, Purpose.VERIFY_RECIPIENT)
        match answer:
            case Redirected(_, (AddressItem() as child,)):
                item = child
            case Routed() | Redirected() | Discarded():
                return True
            case Unroutable() | RouteDeferred():
                return False
            case _ as never:
                assert_never(never)


async def _cannot_route(router: Router, item: AddressItem, scope: Scope) -> str:
    """What is said of an address that nobody takes: by the router that was the last one."""
    if router.cannot_route_message is None:
        return UNROUTEABLE
    seen = scope.child(address=view_at(item, router), more={**scope.more, "router_name": router.name})
    try:
        return await router.cannot_route_message.text(seen) or UNROUTEABLE
    except (ExpansionFailed, TemporaryFailure):
        return UNROUTEABLE


async def _offered(router: Router, visit: Visit) -> RouterAnswer:
    """What the router says of an address that meets its preconditions."""
    try:
        await set_variables(router, visit)
    except ForcedFailure:
        return Declined()
    return await _run(router, visit)


def _with_found(visit: Visit) -> AddressItem:
    view, carried = visit.view, visit.item.carried
    if view.address_data == carried.address_data and view.router_variables == carried.variables:
        return visit.item
    found = replace(carried, address_data=view.address_data, variables=view.router_variables)
    return replace(visit.item, carried=found)


async def _run(router: Router, visit: Visit) -> RouterAnswer:
    match router:
        case Accept():
            return await routed(router, visit)
        case DNSLookup():
            return await run_dnslookup(router, visit)
        case IPLiteral():
            return await run_ipliteral(router, visit)
        case Manualroute():
            return await run_manualroute(router, visit)
        case Redirect():
            return await run_redirect(router, visit)
        case _ as never:
            assert_never(never)


async def _final(answer: Route, router: Router, visit: Visit, following: str) -> Route:
    """The answer of the router that ended the search, with the copy for the `following` router (Exim: unseen) and with
    the failure that `fail_verify` asks for. Raises RoutingTrouble."""
    if isinstance(answer, RouteDeferred) and answer.note:
        await _tell_note(answer.note, visit)
    if isinstance(answer, Unroutable | RouteDeferred):
        return answer
    if visit.purpose in router.fail_verify:
        return Unroutable(f"{router.name} router forced verify failure", router.name)
    if isinstance(answer, Discarded) or not router.unseen:
        return answer
    if not await flag(router.unseen, "unseen", router.name, visit.scope) or not following:
        return answer
    return _doubled(answer, router, visit, following)


async def _tell_note(note: str, visit: Visit) -> None:
    """A line of the log that says whom it is about, where no delivery does."""
    if visit.purpose is Purpose.DELIVER or visit.ports.journal is None:
        return
    address, client = visit.item.address, await _CLIENT.text(visit.scope)
    why = f"verifying <{address}> from host {client}" if client else f"routing <{address}>"
    visit.ports.journal.record(MessageNote("", f"{note} (while {why})"))


def _doubled(answer: Routed | Redirected, router: Router, visit: Visit, following: str) -> Route:
    """Both the delivery and a copy of the address, which begins at the following router, are made of an invented
    parent with the same address."""
    item = visit.item
    parent = item.handled_by(router.name, router.is_caseful)
    # Header changes and errors_to of this router are for its own delivery only.
    carried = replace(item.carried, address_data=visit.view.address_data, variables=visit.view.router_variables)
    clone = replace(child_item(parent, item.address, carried, following))
    if isinstance(answer, Redirected):
        return replace(answer, children=(clone, *(_adopted(each, parent) for each in answer.children)))
    unique = f"{item.unique}/{router.name}"
    return replace(answer, item=replace(answer.item, parent=parent, unique=unique), clone=clone)


def _adopted(child: AddressItem | Direct, grandparent: AddressItem) -> AddressItem | Direct:
    """The child of an address that has got an invented parent."""
    parent = child.parent
    if parent is None:
        return child
    return replace(child, parent=replace(parent, parent=grandparent))


# Hosts in the order to try them


def dialling_order(
    hosts: Sequence[RouteHost], order: HostOrder, source: random.Random
) -> tuple[tuple[RouteHost, str], ...]:
    """Hosts and addresses, shuffled where and as far as the route says so."""
    if order is HostOrder.AS_GIVEN:
        return tuple((host, address) for host in hosts for address in host.addresses)
    shuffled = list(hosts)
    source.shuffle(shuffled)
    shuffled.sort(key=lambda host: host.group)
    if order is HostOrder.SHUFFLED:
        return tuple((host, address) for host in shuffled for address in host.addresses)
    first = order is not HostOrder.EXCHANGERS_IPV4_FIRST
    pairs = []
    for host in shuffled:
        addresses = list(host.addresses)
        source.shuffle(addresses)
        pairs += [(host, address) for address in addresses]
    pairs.sort(key=lambda pair: (pair[0].group, (":" in pair[1]) is not first))
    return tuple(pairs)


def remote_hosts(
    hosts: Sequence[RouteHost], order: HostOrder, default_port: int, source: random.Random
) -> tuple[RemoteHost, ...]:
    """The servers to dial, in this order."""
    return tuple(
        RemoteHost(
            host.name,
            address,
            default_port if host.port is None else host.port,
            by_mx=host.preference is not None,
            dnssec=host.dnssec,
        )
        for host, address in dialling_order(hosts, order, source)
    )
