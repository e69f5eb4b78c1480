"""Whether this host is among the mail exchangers of a domain, for `@mx_any` and its relatives in lists (decision).

The MX records come from the port for lookups, the addresses of the hosts from the resolver. Hosts with an address of
ours, and those that are no better, would be left out of a delivery; where ours is among the best, all are.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.expand.addresses import read_address
from relay.expand.scope import Scope
from relay.mail.ports import HostNotFound, TemporaryFailure

_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_RECORD = re.compile(r"([0-9]{1,5}) (\S+)")
# A peer chooses the domain, and so its records: how many hosts are looked up, and at how many of their addresses.
_HOSTS_LIMIT = 50

Ignores = Callable[[str, str, Scope], Awaitable[bool]]


class Rank(enum.Enum):
    """What a host of ours is to a domain. The values are the words behind `@mx_`."""

    ANY = "any"
    PRIMARY = "primary"
    SECONDARY = "secondary"


@dataclass(frozen=True, slots=True)
class _Exchanger:
    preference: int
    is_ours: bool


async def rank_of_ours(domain: str, scope: Scope, ignores: Ignores) -> frozenset[Rank]:
    """What we are to the domain; nothing where no MX record leads to us.

    `ignores` says of a host's name and address whether it is passed over. Raises TemporaryFailure. Exim: check_string.
    """
    if not _DOMAIN.fullmatch(domain):
        return frozenset()
    try:
        hosts = await _exchangers(domain, scope, ignores)
    except TemporaryFailure as error:
        raise TemporaryFailure(f'DNS lookup of "{domain}" deferred: {error}') from error
    ours = [host.preference for host in hosts if host.is_ours]
    if not ours:
        return frozenset()
    is_best = min(ours) == min(host.preference for host in hosts)
    return frozenset((Rank.ANY, Rank.PRIMARY if is_best else Rank.SECONDARY))


async def _exchangers(domain: str, scope: Scope, ignores: Ignores) -> list[_Exchanger]:
    if scope.lookups is None or scope.resolver is None:
        raise TemporaryFailure("the DNS can't be asked here")
    found = await scope.lookups.find("dnsdb", f"defer_strict,mx={domain}", "")
    hosts = []
    deferred: TemporaryFailure | None = None
    for line in sorted((found or "").splitlines(), key=_preference)[:_HOSTS_LIMIT]:
        match = _RECORD.fullmatch(line)
        if match is None:
            continue
        name = match[2].rstrip(".")
        try:
            addresses = await scope.resolver.addresses(name) if name else ()
        except HostNotFound:
            addresses = ()
        except TemporaryFailure as error:
            addresses, deferred = (), error
        kept = [each for each in addresses[:_HOSTS_LIMIT] if not await ignores(name, each, scope)]
        if kept or not addresses:  # a host with nothing but ignored addresses is as good as not there
            hosts.append(_Exchanger(int(match[1]), any(is_ours(each, scope) for each in kept)))
    if deferred is not None and not any(host.is_ours for host in hosts):
        raise deferred
    return hosts


def _preference(line: str) -> int:
    match = _RECORD.fullmatch(line)
    return int(match[1]) if match else 1 << 16


def is_ours(address: str, scope: Scope) -> bool:
    """Is it an address of one of our interfaces?"""
    number = read_address(address)
    return number is not None and any(read_address(ours) == number for ours in scope.local_addresses)
