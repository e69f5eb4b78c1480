"""Which hosts a message goes to, and in which order (decision).

Routers give hosts with their addresses; a transport may have its own (Exim: hosts, hosts_override, fallback_hosts),
which are looked up here. What stands together under one name and port is one candidate: its addresses are tried
in turn, and the first two of different families at once.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.delivery.host_lookup import Insecure, find_host
from relay.delivery.smtp_rules import HostRules
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.outcome import RemoteHost
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.policy.routers.host_lists import is_address

_WITH_PORT = re.compile(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+)(?:::?(\d+))?")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One host with the addresses to try, never none."""

    name: str
    port: int
    addresses: tuple[RemoteHost, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates in order, and why some that were named are not among them."""

    candidates: tuple[Candidate, ...]
    trouble: str = ""


def candidates(hosts: Iterable[RemoteHost]) -> tuple[Candidate, ...]:
    """Addresses that follow one another under one name and port, together."""
    groups: list[list[RemoteHost]] = []
    for host in hosts:
        if groups and (groups[-1][0].name, groups[-1][0].port) == (host.name, host.port):
            groups[-1].append(host)
        else:
            groups.append([host])
    return tuple(Candidate(group[0].name, group[0].port, tuple(group)) for group in groups)


async def look_up(text: str, default_port: int, scope: Scope, source: random.Random, rules: HostRules) -> Choice:
    """The hosts of a transport's own list: names or addresses, each with a port behind it if need be; `+` parts
    groups that are shuffled apart."""
    items = [item for item in split_list(text).items if item]
    found: list[RemoteHost] = []
    trouble = ""
    for item in _shuffled(items, source) if rules.randomize else [each for each in items if each != "+"]:
        named = _name_and_port(item)
        if named is None:
            trouble = f'"{item[:60]}" is not a host'
            continue
        name, port = named[0], named[1] or default_port
        try:
            addresses = await find_host(name, rules, scope)
        except HostNotFound:
            trouble = f"failed to lookup IP address for {name}"
            continue
        except Insecure as error:
            trouble = str(error)
            continue
        except (TemporaryFailure, ExpansionFailed) as error:
            trouble = f"host lookup for {name} did not complete: {error}"
            continue
        if not rules.allow_localhost and any(_is_ours(address, scope) for address in addresses.literals):
            trouble = f"{name}: the host is this one (allow_localhost is not set)"
            continue
        found += [RemoteHost(name, address, port, dnssec=addresses.dnssec) for address in addresses.literals]
    return Choice(candidates(found), trouble)


def _name_and_port(item: str) -> tuple[str, int] | None:
    """An item of the list; port 0 where it has none. What is an address as it stands has no port behind a colon."""
    if is_address(item):
        return item, 0
    match = _WITH_PORT.fullmatch(item)
    if match is None:
        return None
    return match.group(1) or match.group(3), int(match.group(2) or match.group(4) or 0)


def _shuffled(items: list[str], source: random.Random) -> list[str]:
    groups: list[list[str]] = [[]]
    for item in items:
        if item == "+":
            groups.append([])
        else:
            groups[-1].append(item)
    for group in groups:
        source.shuffle(group)
    return [item for group in groups for item in group]


def _is_ours(address: str, scope: Scope) -> bool:
    return address in scope.local_addresses or ipaddress.ip_address(address).is_loopback


def to_race(addresses: tuple[RemoteHost, ...]) -> tuple[RemoteHost, ...]:
    """The first address, and the first one of the other family to be dialled a moment later (RFC 8305 4)."""
    first = addresses[0]
    other = next((each for each in addresses if (":" in each.address) != (":" in first.address)), None)
    return (first,) if other is None else (first, other)
