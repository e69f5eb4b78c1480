"""`driver = manualroute`: hosts by a list of domains, or by a text that is looked up (decision).

Exim: chapter "The manualroute router".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_for_use
from relay.expand.lists import ListKind, NamedLists, compile_list
from relay.expand.splitting import split_list
from relay.expand.values import Tainted, taint_like
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError, Location, Problem
from relay.mail.text import printable
from relay.policy.routers.answers import Declined, HostOrder, RouteDeferred, RouteHost, RouterAnswer
from relay.policy.routers.arriving import RoutingTrouble, Visit, flag
from relay.policy.routers.host_addresses import resolve_hosts
from relay.policy.routers.host_lists import HostListError, parse_hosts
from relay.policy.routers.leaving import facts_of, routed, transport_of
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import LookupBy, Manualroute, RouteItem, RouteOptions


async def run_manualroute(router: Manualroute, visit: Visit) -> RouterAnswer:
    """Finds the route for the domain, then the addresses of its hosts."""
    try:
        found = await _find_route(router, visit)
    except ForcedFailure:
        return Declined()
    if found is None:
        return Declined()
    host_text, options = found.host_text, found.options
    randomize = options.randomize
    if randomize is None:
        randomize = await flag(router.hosts_randomize, "hosts_randomize", router.name, visit.scope)
    transport = options.transport
    if not transport:
        transport = await transport_of(router.transport, router.name, visit)
    elif transport not in visit.ports.transports:
        what = f'unknown routing option or transport name "{printable(transport, 100)}"'
        return RouteDeferred(f"error in router: {what}", router.name)
    facts = facts_of(transport, visit)
    if facts.is_local:
        return await routed(router, visit, transport, host_text=host_text)
    try:
        hosts = parse_hosts(host_text) if found.hosts is None else found.hosts
    except HostListError as error:
        return RouteDeferred(f"error in {router.name} router: {error}", router.name)
    if not hosts:
        if visit.purpose.is_verification:
            return await routed(router, visit, transport)
        what = f"no host(s) specified for domain {printable(visit.domain, 255)}"
        return RouteDeferred(f"error in {router.name} router: {what}", router.name)
    resolved = await resolve_hosts(router, hosts, options, facts.port, visit)
    if not isinstance(resolved, tuple):
        return resolved
    if not transport and visit.purpose in (Purpose.DELIVER, Purpose.TEST):
        return RouteDeferred("error in router: transport missing", router.name)
    order = HostOrder.SHUFFLED if randomize else HostOrder.AS_GIVEN
    if any(host.preference is not None for host in resolved):
        order = HostOrder.EXCHANGERS
    return await routed(router, visit, transport, resolved, order)


@dataclass(frozen=True, slots=True)
class _FoundRoute:
    """The route for a domain; `hosts` None: they have to be read from their text."""

    host_text: str
    options: RouteOptions
    hosts: tuple[RouteHost, ...] | None = None


async def _find_route(router: Manualroute, visit: Visit) -> _FoundRoute | None:
    """None where no route is for this domain. Raises ForcedFailure, RoutingTrouble."""
    routes, scope = router.routes, visit.scope
    if isinstance(routes, tuple):
        for item in routes:
            try:
                matched = await item.domains.match(Tainted(visit.domain), scope)
            except TemporaryFailure as error:
                raise RoutingTrouble("lookup defer in route_list") from error
            if matched is not None:
                seen = scope.child(value=matched.data or "", captures=matched.captures)
                try:
                    return _FoundRoute(await item.hosts.text(seen), item.options, item.constant_hosts)
                except ForcedFailure:
                    raise
                except (ExpansionFailed, TemporaryFailure) as error:
                    what = f'{router.name} router: failed to expand "{item.hosts.source}": {error}'
                    raise RoutingTrouble(what) from error
        return None
    return await _looked_up_route(router.name, routes, visit)


async def _looked_up_route(name: str, data: Expansion, visit: Visit) -> _FoundRoute | None:
    """`route_data`. Exim expands its hosts a second time; here what a lookup gave is data."""
    try:
        text = await data.text(visit.scope)
    except ForcedFailure:
        raise
    except (ExpansionFailed, TemporaryFailure) as error:
        raise RoutingTrouble(f'failed to expand "{data.source}": {error}') from error
    host_text, words = take_word(text.strip())
    if not host_text:
        return None
    try:
        return _FoundRoute(taint_like(host_text, text), parse_options(words))
    except HostListError as error:
        raise RoutingTrouble(f"{name} router: {error}") from error


# Reading

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
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
        pattern, rest = take_word(entry)
        hosts, words = take_word(rest)
        try:
            expansion = compile_for_use(hosts)
            options = parse_options(words)
            constant = None if expansion.constant is None else parse_hosts(expansion.constant)
            # A pattern is one item, not a list: a separator that it can't hold keeps its colons.
            domains = compile_list(ListKind.DOMAIN, f"<\x01 {pattern}", named)
            items.append(RouteItem(domains, expansion, options, constant))
        except ExpansionError as error:
            problems.append(Problem(location, f'route_list item "{entry}": {error}'))
        except HostListError as error:
            problems.append(Problem(location, f'route_list item "{entry}": {error}', error.remedy))
    if problems:
        raise ConfigurationError(*problems)
    return tuple(items)


def parse_options(words: str) -> RouteOptions:
    """What stands behind the hosts. Raises HostListError."""
    options = RouteOptions()
    for word in words.split():
        if word in ("byname", "bydns"):
            options = replace(options, lookup=LookupBy(word))
        elif word in ("randomize", "no_randomize"):
            options = replace(options, randomize=word == "randomize")
        elif word in _FAMILIES:
            options = replace(options, families=_FAMILIES[word])
        elif options.transport:
            raise HostListError(f'unknown routing option "{word}"', f"the transport is {options.transport} already")
        else:
            options = replace(options, transport=word)
    return options


def take_word(text: str) -> tuple[str, str]:
    """A word or a quoted string from the front, and the rest."""
    found = _WORD.match(text)
    if found is None:
        return "", ""
    quoted, plain = found.groups()
    word = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
    return word, text[found.end() :].lstrip()
