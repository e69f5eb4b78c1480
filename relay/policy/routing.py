"""Where an address goes: the routers, tried in their order (decision).

A router is a frozen value with its preconditions, made from a block of the `routers` section. `route` offers
an address to one after the other until one takes it, and answers with the transport and, for a remote one,
the hosts with their addresses. Names are resolved through a port. Each kind of router is a class here, listed
in `DRIVERS`, and has one function that runs it; a further kind is a further class, a further line and a
further function.
"""

from __future__ import annotations

import enum
import ipaddress
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list
from relay.expand.scope import AddressView, Scope
from relay.expand.splitting import split_list
from relay.expand.values import Tainted
from relay.mail.address import NULL_SENDER, Address
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.ports import HostNotFound, Resolver, TemporaryFailure
from relay.mail.source import ConfigurationError, Location, Problem
from relay.mail.text import printable

UNROUTEABLE = "Unrouteable address"


# What a router is


class Fallback(enum.Enum):
    """What to do where a host has no address (`host_find_failed`) or is this host itself (`self`)."""

    DECLINE = "decline"
    DEFER = "defer"
    FAIL = "fail"
    FREEZE = "freeze"
    PASS = "pass"  # noqa: S105
    IGNORE = "ignore"
    SEND = "send"


HOST_FIND_FAILED = (
    Fallback.DECLINE, Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.IGNORE, Fallback.PASS,
)  # fmt: skip
HOST_ALL_IGNORED = (Fallback.DECLINE, Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.PASS)
SELF = (Fallback.DECLINE, Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.PASS, Fallback.SEND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """What must hold before a router is run; None: no such condition. `conditions` must all be true."""

    domains: MatchList | None = None
    local_parts: MatchList | None = None
    senders: MatchList | None = None
    conditions: tuple[Expansion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RouterBase:
    name: str
    location: Location
    transport: Expansion
    preconditions: Preconditions = Preconditions()
    more: Expansion | bool = True
    """Exim: `more`, `no_more`: whether an address that this router declines is offered to the next one."""
    pass_on_timeout: bool = False
    """Whether a host lookup that gives no answer passes the address on instead of deferring it."""
    cannot_route_message: Expansion | None = None
    address_data: Expansion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(_RouterBase):
    """`driver = accept`: takes every address that meets the preconditions."""


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """The words behind the hosts of a route."""

    randomize: bool | None = None
    """None: as the router's hosts_randomize says."""
    families: tuple[int, ...] = ()
    """Kinds of address to use, the preferred one first (4, 6); empty: both, in the resolver's order."""
    transport: str = ""
    """A transport of this route's own; empty: the router's."""


@dataclass(frozen=True, slots=True)
class RouteItem:
    """One item of `route_list`: for which domains, which hosts."""

    domains: MatchList
    hosts: Expansion
    options: RouteOptions = RouteOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manualroute(_RouterBase):
    """`driver = manualroute`: hosts by a list of domains, or by a text that is looked up."""

    routes: tuple[RouteItem, ...] | Expansion
    """`route_list` compiled by `compile_route_list`, or `route_data`."""
    host_find_failed: Fallback = Fallback.FREEZE
    host_all_ignored: Fallback = Fallback.DEFER
    hosts_randomize: bool = False
    self_action: Fallback = Fallback.FREEZE
    """`self`."""


Router = Manualroute | Accept

# The place of dnslookup and redirect.
DRIVERS: Mapping[str, type[Manualroute] | type[Accept]] = {"manualroute": Manualroute, "accept": Accept}


# What routing answers


@dataclass(frozen=True, slots=True)
class RouteHost:
    """A host of a route with its addresses in the order to try them. `port` None: the transport's own."""

    name: str
    port: int | None = None
    addresses: tuple[str, ...] = ()
    group: int = 0
    """Hosts of one group are tried in random order where the route says so."""


@dataclass(frozen=True, slots=True)
class Routed:
    """A router took the address. `hosts` is empty for a local transport, `host_text` is then what `$host`
    holds."""

    router: str
    transport: str
    hosts: tuple[RouteHost, ...] = ()
    randomize: bool = False
    host_text: str = ""
    domain_data: str = ""
    local_part_data: str = ""
    address_data: str = ""


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No router takes the address, or one refuses it: a bounce, or 550 at RCPT."""

    reason: str = UNROUTEABLE
    router: str = ""


@dataclass(frozen=True, slots=True)
class RouteDeferred:
    """It can't be said now. `freeze` asks for the message to be held until somebody has looked."""

    reason: str
    router: str = ""
    error: ErrorClass = ErrorClass.OTHER
    freeze: bool = False


Route = Routed | Unroutable | RouteDeferred


class NoNetwork(TemporaryFailure):
    """A resolver's answer while this host has no network at all: the wait that follows uses up no retry
    budget."""


class _Next(enum.Enum):
    """The router has not taken the address: may `more` still end the search, or not?"""

    DECLINED = "declined"
    PASSED = "passed"


_Answer = Route | _Next


def _nothing_is_ours(address: str, port: int | None) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class RoutingPorts:
    """What routing asks of the world."""

    resolver: Resolver
    local_transports: frozenset[str]
    """Names of the transports that have no use for hosts (appendfile, pipe, …)."""
    is_ours: Callable[[str, int | None], bool] = _nothing_is_ours
    """Whether this host answers at an address and port (None: the transport's port), for `self`."""


# Routing


async def route(address: Address, routers: Sequence[Router], scope: Scope, ports: RoutingPorts) -> Route:
    """Where `address` goes. `scope` has the message and the session; the address is put into it here."""
    view = AddressView(
        local_part=address.local_part,
        domain=address.domain,
        original_local_part=address.local_part,
        original_domain=address.domain,
    )
    scope = scope.child(address=view)
    for router in routers:
        try:
            matched = await _meets(router.preconditions, address, scope)
            if matched is None:
                continue
            answer = await _run(router, address, matched, ports)
            if answer is _Next.PASSED or (answer is _Next.DECLINED and await _has_more(router, matched)):
                continue
            if isinstance(answer, _Next):
                return Unroutable(await _cannot_route(router, matched), router.name)
        except (ExpansionFailed, TemporaryFailure) as error:
            return RouteDeferred(f"{router.name} router: {error}", router.name)
        return answer
    return Unroutable()


async def _meets(preconditions: Preconditions, address: Address, scope: Scope) -> Scope | None:
    """The scope with what the lists found, or None where the router is to be skipped. Order as in Exim."""
    if preconditions.domains is not None:
        found = await preconditions.domains.match(Tainted(address.domain), scope)
        if found is None:
            return None
        scope = scope.child(domain_data=found.data or "")
    if preconditions.local_parts is not None:
        found = await preconditions.local_parts.match(Tainted(address.local_part), scope)
        if found is None:
            return None
        scope = scope.child(local_part_data=found.data or "")
    if preconditions.senders is not None:
        sender = scope.message.sender if scope.message is not None else None
        if await preconditions.senders.match(sender or NULL_SENDER, scope) is None:
            return None
    for condition in preconditions.conditions:
        if not await _holds(condition, scope):
            return None
    return scope


async def _holds(condition: Expansion, scope: Scope) -> bool:
    """Exim's lax truth: everything but the empty text, 0, no, false and a forced failure."""
    try:
        text = await condition.text(scope)
    except ForcedFailure:
        return False
    return text.lower() not in ("", "0", "no", "false")


async def _has_more(router: Router, scope: Scope) -> bool:
    return router.more if isinstance(router.more, bool) else await _holds(router.more, scope)


async def _cannot_route(router: Router, scope: Scope) -> str:
    if router.cannot_route_message is None:
        return UNROUTEABLE
    try:
        return await router.cannot_route_message.text(scope) or UNROUTEABLE
    except ForcedFailure:
        return UNROUTEABLE


async def _run(router: Router, address: Address, scope: Scope, ports: RoutingPorts) -> _Answer:
    if router.address_data is not None and scope.address is not None:
        try:
            data = await router.address_data.text(scope)
        except ForcedFailure:
            return _Next.DECLINED
        scope = scope.child(address=replace(scope.address, address_data=data))
    match router:
        case Accept():
            return _taken(router, await router.transport.text(scope), scope)
        case Manualroute():
            return await _manualroute(router, address, scope, ports)
        case _ as never:
            assert_never(never)


def _taken(
    router: Router, transport: str, scope: Scope, hosts: tuple[RouteHost, ...] = (), host_text: str = ""
) -> Routed:
    return Routed(
        router=router.name,
        transport=transport,
        hosts=hosts,
        host_text=host_text,
        domain_data=scope.domain_data,
        local_part_data=scope.local_part_data,
        address_data=scope.address.address_data if scope.address is not None else "",
    )


async def _manualroute(router: Manualroute, address: Address, scope: Scope, ports: RoutingPorts) -> _Answer:
    """Exim: chapter "The manualroute router"."""
    found = await _find_route(router.routes, address, scope)
    if found is None:
        return _Next.DECLINED
    host_text, options = found
    transport = options.transport or await router.transport.text(scope)
    if transport in ports.local_transports:
        return _taken(router, transport, scope, host_text=host_text)
    try:
        hosts = parse_hosts(host_text)
    except RouteError as error:
        return RouteDeferred(f"error in {router.name} router: {error}", router.name)
    if not hosts:
        what = f"no host(s) specified for domain {printable(address.domain, 255)}"
        return RouteDeferred(f"error in {router.name} router: {what}", router.name)
    randomize = router.hosts_randomize if options.randomize is None else options.randomize
    resolved = await resolve_hosts(router, hosts, options, ports)
    if isinstance(resolved, tuple):
        return replace(_taken(router, transport, scope, resolved), randomize=randomize)
    return resolved


async def _find_route(
    routes: tuple[RouteItem, ...] | Expansion, address: Address, scope: Scope
) -> tuple[str, RouteOptions] | None:
    """The text of the hosts and the options, or None where no route is for this address."""
    try:
        if isinstance(routes, tuple):
            for item in routes:
                matched = await item.domains.match(Tainted(address.domain), scope)
                if matched is not None:
                    return await item.hosts.text(
                        scope.child(value=matched.data or "", captures=matched.captures)
                    ), item.options
            return None
        # Exim expands the hosts of route_data a second time; here what a lookup gave is data.
        host_text, words = _take_word((await routes.text(scope)).strip())
    except ForcedFailure:
        return None
    if not host_text:
        return None
    try:
        return host_text, parse_options(words)
    except RouteError as error:
        raise ExpansionFailed(str(error)) from error


async def resolve_hosts(
    router: Manualroute, hosts: Sequence[RouteHost], options: RouteOptions, ports: RoutingPorts
) -> tuple[RouteHost, ...] | _Answer:
    """The hosts with their addresses; or what becomes of the address where a name can't be resolved or a host
    is this one. A host that is this one ends the list unless it is the first, as with MX records."""
    resolved: list[RouteHost] = []
    may_send_to_self = False
    for host in hosts:
        try:
            addresses = _of_families(await _addresses(host.name, ports.resolver), options.families)
        except TemporaryFailure as error:
            if router.pass_on_timeout:
                return _Next.PASSED
            reason = f"host lookup for {printable(host.name, 255)} did not complete ({error})"
            offline = isinstance(error, NoNetwork)
            return RouteDeferred(reason, router.name, ErrorClass.NO_NETWORK if offline else ErrorClass.OTHER)
        except HostNotFound:
            addresses = ()
        if not addresses:
            if router.host_find_failed is Fallback.IGNORE:
                continue
            reason = f'lookup of host "{printable(host.name, 255)}" failed in {router.name} router'
            return _fall_back(router.host_find_failed, reason, router.name, ErrorClass.LOOKUP)
        if not may_send_to_self and any(ports.is_ours(each, host.port) for each in addresses):
            if resolved:
                break
            if router.self_action is not Fallback.SEND:
                reason = "remote host address is the local host"
                return _fall_back(router.self_action, reason, router.name, ErrorClass.OTHER)
            may_send_to_self = True
        resolved.append(replace(host, addresses=addresses))
    if resolved:
        return tuple(resolved)
    ignored = f"host_find_failed=ignore host_all_ignored={router.host_all_ignored.value}"
    reason = f"lookup failed for all hosts in {router.name} router: {ignored}"
    return _fall_back(router.host_all_ignored, reason, router.name, ErrorClass.LOOKUP)


def _fall_back(action: Fallback, reason: str, router: str, error: ErrorClass) -> _Answer:
    match action:
        case Fallback.DECLINE:
            return _Next.DECLINED
        case Fallback.PASS:
            return _Next.PASSED
        case Fallback.FAIL:
            return Unroutable(reason, router)
        case Fallback.DEFER:
            return RouteDeferred(reason, router, error)
        case Fallback.FREEZE | Fallback.IGNORE | Fallback.SEND:
            return RouteDeferred(reason, router, error, freeze=True)
        case _ as never:
            assert_never(never)


async def _addresses(name: str, resolver: Resolver) -> tuple[str, ...]:
    if is_address(name):
        return (name,)
    return await resolver.addresses(name)


def _of_families(addresses: tuple[str, ...], families: tuple[int, ...]) -> tuple[str, ...]:
    """The addresses of the wanted kinds, the preferred kind first."""
    if not families:
        return addresses
    return tuple(each for family in families for each in addresses if (6 if ":" in each else 4) == family)


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 address without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def remote_hosts(routed: Routed, default_port: int, source: random.Random) -> tuple[RemoteHost, ...]:
    """The servers to dial, in this order: shuffled within their groups where the route says so."""
    hosts = list(routed.hosts)
    if routed.randomize:
        source.shuffle(hosts)
        hosts.sort(key=lambda host: host.group)
    return tuple(
        RemoteHost(host.name, address, default_port if host.port is None else host.port)
        for host in hosts
        for address in host.addresses
    )


# Reading


class RouteError(Exception):
    """A route that can't be read; the text says what, and `remedy` what to do."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy


_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_HOST_WITH_PORT = re.compile(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+):(\d+)")
_FAMILIES = {"ipv4_only": (4,), "ipv4_prefer": (4, 6)}


def compile_route_list(text: str, location: Location, named: NamedLists | None = None) -> tuple[RouteItem, ...]:
    """`route_list`: items `pattern hosts options`, separated by semicolons. Raises ConfigurationError with
    every mistake in it. Words that are no option are taken for names of transports; whether there are such is
    not known here (see `RouteOptions.transport`)."""
    items: list[RouteItem] = []
    problems: list[Problem] = []
    for entry in split_list(text, "" if text.lstrip().startswith("<") else ";").items:
        if not entry:
            continue
        pattern, rest = _take_word(entry)
        hosts, words = _take_word(rest)
        try:
            expansion = compile_expansion(hosts)
            if expansion.constant is not None:
                parse_hosts(expansion.constant)
            # A pattern is one item, not a list: a separator that it can't hold keeps its colons.
            domains = compile_list(ListKind.DOMAIN, f"<\x01 {pattern}", named)
            items.append(RouteItem(domains, expansion, parse_options(words)))
        except ExpansionError as error:
            problems.append(Problem(location, f'route_list item "{entry}": {error}'))
        except RouteError as error:
            problems.append(Problem(location, f'route_list item "{entry}": {error}', error.remedy))
    if problems:
        raise ConfigurationError(*problems)
    return tuple(items)


def parse_options(words: str) -> RouteOptions:
    """What stands behind the hosts. `byname` and `bydns` are known; the resolver port decides how it looks
    up."""
    options = RouteOptions()
    for word in words.split():
        if word in ("byname", "bydns"):
            continue
        if word in ("randomize", "no_randomize"):
            options = replace(options, randomize=word == "randomize")
        elif word in _FAMILIES:
            options = replace(options, families=_FAMILIES[word])
        elif options.transport:
            raise RouteError(f'unknown routing option "{word}"', f"the transport is {options.transport} already")
        else:
            options = replace(options, transport=word)
    return options


def parse_hosts(text: str) -> tuple[RouteHost, ...]:
    """A list of hosts: `name`, `name::port`, `[address]:port`, in a list where the colon separates with its
    colons doubled; `+` begins a new group. Raises RouteError."""
    hosts: list[RouteHost] = []
    group = 0
    for item in split_list(text).items:
        if item == "+":
            group += 1
        elif item:
            hosts.append(_parse_host(item, group))
    return tuple(hosts)


def _parse_host(item: str, group: int) -> RouteHost:
    name, port = item, None
    if is_address(item):
        return RouteHost(item, None, (), group)
    if found := _HOST_WITH_PORT.fullmatch(item):
        name = found.group(1) or found.group(3)
        digits = found.group(2) or found.group(4)
        port = int(digits) if digits else None
    shown = printable(item, 200)
    if name.lower().endswith("/mx"):
        raise RouteError(f'"{shown}": hosts by MX records are not served yet', "name the host itself")
    if port is not None and not 0 < port < 65536:
        raise RouteError(f'"{shown}": {port} is no port', "ports go from 1 to 65535")
    if re.search(r"[\s:/\[\]]", name) and not is_address(name):
        raise RouteError(f'"{shown}" is no host', "write name, name::port, or <; name ; [2001:db8::1]:587")
    return RouteHost(name, port, (), group)


def _take_word(text: str) -> tuple[str, str]:
    """A word or a quoted string from the front, and the rest."""
    found = _WORD.match(text)
    if found is None:
        return "", ""
    quoted, plain = found.groups()
    word = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
    return word, text[found.end() :].lstrip()
