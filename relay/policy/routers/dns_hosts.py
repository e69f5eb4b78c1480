"""Hosts by the records of the DNS: SRV, MX, and the addresses of a domain that has neither (decision).

RFC 5321 5.1, RFC 7505 (a domain that takes no mail), RFC 2782. Exim: host_find_bydns, set_address_from_dns. The hosts
come out in groups of one preference; in which order those of a group are tried is drawn when they are dialled.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from relay.expand.lists import MatchList
from relay.expand.notes import Notes
from relay.expand.values import Tainted, lower
from relay.mail.outcome import DNSSEC
from relay.mail.ports import DNS, DNSAnswer, HostNotFound, NoRecords, TemporaryFailure
from relay.policy.routers.answers import RouteHost
from relay.policy.routers.arriving import RoutingTrouble, Visit, is_ignored
from relay.policy.routers.host_lists import is_address
from relay.policy.routers.ports import NoNetwork
from relay.policy.routers.settings import Router
from relay.policy.routers.this_host import before_ours

# A domain chooses its records: how many hosts are looked up, and how many of their addresses are kept.
_HOSTS_LIMIT = 50
_ADDRESSES_LIMIT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a name that is not whole is completed."""

    qualify: bool = False
    parents: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, and by whom."""

    router: Router
    families: tuple[int, ...] = ()
    """Kinds of address to use, the preferred one first (4, 6); empty: both, in the resolver's order."""
    search: Search = Search()
    mx_fail_domains: MatchList | None = None
    srv_fail_domains: MatchList | None = None
    services: tuple[str, ...] = ()
    """Services to look for SRV records of, before MX."""
    port: int | None = None
    """The port that addresses of the domain itself would be dialled at, where the transport was given one."""

    def in_order(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """The addresses of the wanted kinds, the preferred kind first."""
        if not self.families:
            return addresses
        return tuple(each for family in self.families for each in addresses if (6 if ":" in each else 4) == family)


class Why(enum.Enum):
    """Why there are no hosts."""

    NO_SUCH_NAME = "no such name"
    NO_SERVICE = "it takes no mail"
    NO_ADDRESSES = "its exchangers have no addresses"
    ONLY_LITERALS = "its exchangers are addresses"


class Ours(enum.Enum):
    """Where this host is among those that were found."""

    NOWHERE = "nowhere"
    BEST = "it is the best, or as good"
    CUT = "it was there, and is left out with those that are no better"


@dataclass(frozen=True, slots=True)
class Found:
    """Hosts, the better ones first, all with addresses."""

    hosts: tuple[RouteHost, ...]
    name: str
    """The name that was asked for, completed."""
    ours: Ours = Ours.NOWHERE


@dataclass(frozen=True, slots=True)
class NotFound:
    """There are no hosts, and there will be none."""

    name: str
    why: Why = Why.NO_SUCH_NAME


@dataclass(frozen=True, slots=True)
class NotNow:
    """The DNS has not answered."""

    reason: str
    is_offline: bool = False


@dataclass(frozen=True, slots=True)
class Insecure:
    """DNSSEC is demanded and does not vouch for the answer."""


LookedUp = Found | NotFound | NotNow | Insecure


@dataclass(frozen=True, slots=True)
class _Question:
    """One lookup with what is demanded of its answers."""

    dns: DNS
    wanted: Wanted
    visit: Visit
    requires_dnssec: bool
    requests_dnssec: bool

    async def ask(self, name: str, kind: str, search: Search) -> DNSAnswer:
        return await self.dns.query(name, kind, qualify=search.qualify, parents=search.parents)

    def dnssec(self, answer: DNSAnswer) -> DNSSEC:
        """What is to be known of an answer's signatures."""
        if not self.requests_dnssec:
            return DNSSEC.NOT_ASKED
        return DNSSEC.YES if answer.is_secure else DNSSEC.NO


async def _question(name: str, wanted: Wanted, visit: Visit) -> _Question:
    if visit.ports.dns is None:
        raise RoutingTrouble("the DNS can't be asked here")
    router, notes = wanted.router, visit.scope.notes
    with _told(notes, "check dnssec require list"):
        requires = await requires_dnssec(router, name, visit)
        if notes is not None and router.dnssec_require is None:
            notes.say(f"{name} in dnssec_require_domains? no (option unset)")
    with _told(notes, "check dnssec request list"):
        requests = requires or router.dnssec_request is None or await _is_in(router.dnssec_request, name, visit)
    return _Question(visit.ports.dns, wanted, visit, requires, requests)


@contextlib.contextmanager
def _told(notes: Notes | None, what: str) -> Iterator[None]:
    """What is tried meanwhile is told below that."""
    if notes is None:
        yield
        return
    notes.level += 1
    notes.say(what)
    notes.level += 1
    try:
        yield
    finally:
        notes.level -= 2


async def requires_dnssec(router: Router, name: str, visit: Visit) -> bool:
    """Whether the hosts of a domain are only believed where they are signed (Exim: dnssec_require_domains)."""
    return await _is_in(router.dnssec_require, name, visit)


async def _is_in(domains: MatchList | None, name: str, visit: Visit) -> bool:
    return domains is not None and await domains.match(Tainted(lower(name)), visit.scope) is not None


async def find_exchangers(name: str, wanted: Wanted, visit: Visit, *, or_addresses: bool = True) -> LookedUp:
    """The hosts of a mail domain: by SRV where services are given, by MX, or by its own addresses.

    Raises TemporaryFailure for what is no answer of the DNS (a list that can't be asked).
    """
    question = await _question(name, wanted, visit)
    by_service = await _by_services(name, question)
    if by_service is not None:
        return by_service
    try:
        answer = await question.ask(name, "MX", wanted.search)
    except NoRecords:
        pass
    except HostNotFound:
        return NotFound(name)
    except TemporaryFailure as error:
        if not await _is_in(wanted.mx_fail_domains, name, visit):
            return _not_now(error)
    else:
        if answer.is_secure or not question.requires_dnssec:
            return await _with_addresses(_exchangers(answer, question.dnssec(answer)), answer.name, question)
        if not await _is_in(wanted.mx_fail_domains, name, visit):
            return Insecure()
    if not or_addresses:
        return NotFound(name)
    return await _by_addresses(name, question)


async def find_addresses(name: str, wanted: Wanted, visit: Visit) -> LookedUp:
    """A host by its address records."""
    return await _by_addresses(name, await _question(name, wanted, visit))


def _not_now(error: TemporaryFailure) -> NotNow:
    return NotNow(str(error), isinstance(error, NoNetwork))


# SRV and MX


async def _by_services(name: str, question: _Question) -> LookedUp | None:
    """By SRV records; None where there are none."""
    for service in question.wanted.services:
        prefix = f"_{service}._tcp."
        try:
            answer = await question.ask(prefix + name, "SRV", question.wanted.search)
            if question.requires_dnssec and not answer.is_secure:
                raise TemporaryFailure(f"dnssec fail on SRV for {name}")
        except HostNotFound:
            continue
        except TemporaryFailure as error:
            if not await _is_in(question.wanted.srv_fail_domains, name, question.visit):
                return _not_now(error)
            continue
        hosts = _services(answer, question.dnssec(answer))
        if len(hosts) == 1 and not hosts[0].name:
            return NotFound(name, Why.NO_SERVICE)
        return await _with_addresses(hosts, answer.name.removeprefix(prefix), question)
    return None


def _services(answer: DNSAnswer, dnssec: DNSSEC) -> list[RouteHost]:
    """Priority, weight, port, target. Those of one priority are in the order of their weights."""
    rows = [record.split() for record in answer.records]
    parsed = [(int(row[0]), -int(row[1]), int(row[2]), row[3].rstrip(".")) for row in rows if len(row) == 4]
    return [
        RouteHost(name, port, group=priority, preference=priority, dnssec=dnssec)
        for priority, _, port, name in sorted(parsed)
    ]


def _exchangers(answer: DNSAnswer, dnssec: DNSSEC) -> list[RouteHost]:
    """The hosts of MX records, the better ones first; a host that is named twice counts with its better record."""
    rows = [record.split() for record in answer.records]
    parsed = sorted((int(row[0]), row[1].rstrip(".")) for row in rows if len(row) == 2)
    hosts: dict[str, RouteHost] = {}
    for preference, name in parsed:
        host = RouteHost(name, group=preference, preference=preference, dnssec=dnssec)
        hosts.setdefault(lower(name), host)
    return list(hosts.values())


# Addresses


async def _with_addresses(hosts: list[RouteHost], name: str, question: _Question) -> LookedUp:
    """Those of the hosts that have addresses. A host without any still shields this one behind it, as in Exim: mail
    for the better exchanger is not taken by the second best."""
    trouble: LookedUp | None = None
    looked_up: list[RouteHost] = []
    for host in hosts[:_HOSTS_LIMIT]:
        found = await _of_exchanger(host.name, question)
        match found:
            case Found(entries):
                dnssec = host.dnssec.and_then(entries[0].dnssec)
                looked_up.append(replace(host, addresses=entries[0].addresses, dnssec=dnssec))
                continue
            case NotNow() | Insecure():
                trouble = found
            case NotFound():
                pass
            case _ as never:
                assert_never(never)
        looked_up.append(host)
    # Whatever the transport's port: an exchanger of that address is us.
    kept = await before_ours(looked_up, None, question.visit)
    usable = tuple(host for host in kept or looked_up if host.addresses)
    if usable:
        ours = Ours.NOWHERE if len(kept) == len(looked_up) else Ours.CUT if kept else Ours.BEST
        return Found(usable, name, ours)
    return trouble if trouble is not None else NotFound(name, _why(hosts, question.visit.ports.mx_to_address))


async def _of_exchanger(name: str, question: _Question) -> LookedUp:
    if not name or (is_address(name) and not question.visit.ports.mx_to_address):
        return NotFound(name)
    return await _addresses(name, question, Search())


def _why(hosts: Iterable[RouteHost], may_be_addresses: bool) -> Why:
    first = next(iter(hosts), None)
    if first is None:
        return Why.NO_SUCH_NAME
    if not first.name:
        return Why.NO_SERVICE
    return Why.ONLY_LITERALS if is_address(first.name) and not may_be_addresses else Why.NO_ADDRESSES


async def _by_addresses(name: str, question: _Question) -> LookedUp:
    """A host by its own addresses, and whether it is this one."""
    found = await _addresses(name, question, question.wanted.search)
    if isinstance(found, Found) and not await before_ours(found.hosts, question.wanted.port, question.visit):
        return replace(found, ours=Ours.BEST)
    return found


async def _addresses(name: str, question: _Question, search: Search) -> LookedUp:
    """One host by its AAAA and A records, IPv6 first."""
    wanted = question.wanted
    ignored = wanted.router.ignore_target_hosts
    if is_address(name):
        if await is_ignored(ignored, name, name, question.visit):
            return NotFound(name)
        return Found((RouteHost(name, None, (name,)),), name)
    kinds = ("A",) if wanted.families == (4,) else ("AAAA", "A")
    addresses: list[str] = []
    full_name, dnssec = name, DNSSEC.NOT_ASKED
    trouble: LookedUp | None = None
    for kind in kinds:
        try:
            answer = await question.ask(name, kind, search)
        except HostNotFound:
            continue
        except TemporaryFailure as error:
            trouble = _not_now(error)
            continue
        if question.requires_dnssec and not answer.is_secure:
            trouble = Insecure()
            continue
        addresses += sorted(set(answer.records))[:_ADDRESSES_LIMIT]
        full_name, dnssec = answer.name, dnssec.and_then(question.dnssec(answer))
    kept = [
        address
        for address in wanted.in_order(tuple(addresses))
        if not await is_ignored(ignored, name, address, question.visit)
    ]
    if kept:
        # Exim: other letters in the DNS are for the domain; the host is called as it was asked for.
        called = name if lower(full_name) == lower(name) else full_name
        return Found((RouteHost(called, None, tuple(kept), dnssec=dnssec),), full_name)
    return trouble if trouble is not None and not addresses else NotFound(name)
