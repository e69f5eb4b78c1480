"""The addresses of a host that a transport names itself (decision).

Exim: host_find_bydns, with the options of the smtp transport. The DNS is asked, because it alone can say that an answer
is signed; what it does not have, the system may know (its hosts file, the names of a home network). Not so where
signatures are demanded: then only signed records lead to a host.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from relay.delivery.smtp_rules import HostRules
from relay.expand.lists import MatchList
from relay.expand.scope import Scope
from relay.expand.values import Tainted, lower
from relay.mail.outcome import DNSSEC
from relay.mail.ports import DNS, HostNotFound, TemporaryFailure

_ADDRESSES_LIMIT = 50


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """Where a host is, and how far that is to be believed."""

    literals: tuple[str, ...]
    dnssec: DNSSEC = DNSSEC.NOT_ASKED


class Insecure(TemporaryFailure):
    """Signatures are demanded, and the records have none that hold."""


async def find_host(name: str, rules: HostRules, scope: Scope) -> HostAddresses:
    """The addresses of a name or of a literal. Raises HostNotFound, TemporaryFailure (Insecure is one),
    ExpansionFailed for a list that can't be expanded."""
    literal = _literal(name)
    if literal:
        if ":" in literal and scope.resolver is not None:
            await scope.resolver.addresses(literal)  # which knows none of IPv6 where there are to be none
        return HostAddresses((literal,))
    if await _is_in(rules.dnssec_require, name, scope):
        if scope.dns is None:
            raise TemporaryFailure("the DNS can't be asked here")
        return await _by_dns(name, rules, scope.dns, is_required=True)
    asks_dns = not rules.by_name and not _is_this_machine(name) and await _is_in(rules.dnssec_request, name, scope)
    if scope.dns is not None and asks_dns:
        try:
            return await _by_dns(name, rules, scope.dns, is_required=False)
        except (HostNotFound, TemporaryFailure):
            pass
    if scope.resolver is None:
        raise TemporaryFailure("there is no resolver")
    return HostAddresses(await scope.resolver.addresses(name))


def _literal(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return ""


async def _is_in(domains: MatchList | None, name: str, scope: Scope) -> bool:
    if domains is None or domains.is_empty:
        return False
    return domains.matches_all or await domains.match(Tainted(lower(name)), scope) is not None


def _is_this_machine(name: str) -> bool:
    """RFC 6761 6.3: nobody else is asked for it."""
    return lower(name).rstrip(".").rpartition(".")[2] == "localhost"


async def _by_dns(name: str, rules: HostRules, dns: DNS, *, is_required: bool) -> HostAddresses:
    """By AAAA and A records, IPv6 first."""
    literals: list[str] = []
    dnssec = DNSSEC.NOT_ASKED
    trouble: HostNotFound | TemporaryFailure = HostNotFound(f"{name} has no address")
    for kind in ("AAAA", "A"):
        try:
            answer = await dns.query(name, kind, qualify=rules.qualify_single, parents=rules.search_parents)
        except HostNotFound:
            continue
        except TemporaryFailure as error:
            trouble = error
            continue
        if is_required and not answer.is_secure:
            trouble = Insecure(f"lookup of IP address for {name} was insecure")
            continue
        literals += sorted(set(answer.records))[:_ADDRESSES_LIMIT]
        dnssec = dnssec.and_then(DNSSEC.YES if answer.is_secure else DNSSEC.NO)
    if not literals:
        raise trouble
    return HostAddresses(tuple(literals), dnssec)
