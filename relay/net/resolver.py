"""Host names and addresses, asked in threads (edge).

`addresses` asks the system (hosts file, then DNS), which is what Exim's `byname` does; `names` asks the reverse zone.
Answers come back through the reactor; a limit on time is the asker's.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import dns.exception
import dns.name
import dns.resolver
import dns.reversename
from twisted.internet.threads import deferToThreadPool

from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.mail.text import from_wire
from relay.policy.routing import NoNetwork

# Seconds for one question to the DNS, all servers and tries together.
DNS_LIFETIME = 10.0
_TEMPORARY = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY})


class SystemResolver:
    """The `Resolver` port over the thread pool of a reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Literal addresses of a host, IPv4 and IPv6 in the system's order. Raises HostNotFound, TemporaryFailure."""
        literal = _literal(name)
        if literal is not None:
            return (literal,)
        answer: tuple[str, ...] = await self._in_thread(lookup_addresses, name)
        return answer

    async def names(self, address: str) -> tuple[str, ...]:
        """Names of the reverse zone. Raises HostNotFound, TemporaryFailure."""
        answer: tuple[str, ...] = await self._in_thread(lookup_names, address)
        return answer

    async def records(self, name: str, kind: str) -> tuple[str, ...]:
        """The `Records` port. Raises HostNotFound, TemporaryFailure."""
        answer: tuple[str, ...] = await self._in_thread(lookup_records, name, kind)
        return answer

    def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _literal(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return None


def lookup_addresses(name: str) -> tuple[str, ...]:
    """Blocking. Raises HostNotFound, TemporaryFailure."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _TEMPORARY:
            if not has_network():
                raise NoNetwork(f"host {name} can't be looked up: no network") from None
            raise TemporaryFailure(f"host {name} can't be looked up now: {error.strerror}") from None
        raise HostNotFound(f"host {name} is not known") from None
    except (UnicodeError, ValueError):
        raise HostNotFound(f"{name!r} is not a host name") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def has_network() -> bool:
    """False where no interface but the loopback has a route: a laptop with its lid just opened, or in a tunnel."""
    try:
        with open("/proc/net/route", encoding="ascii") as table:
            if any(line.split()[0] != "lo" for line in table.readlines()[1:] if line.strip()):
                return True
        with open("/proc/net/ipv6_route", encoding="ascii") as table:
            # The last column is the interface; fe80::/10 is there without any network.
            return any(line.split()[9] != "lo" and not line.startswith(("fe80", "ff")) for line in table)
    except OSError:
        return True  # a system that does not tell


def lookup_names(address: str) -> tuple[str, ...]:
    """Blocking. Raises HostNotFound, TemporaryFailure."""
    try:
        question = dns.reversename.from_address(address)
        answer = dns.resolver.resolve(question, "PTR", lifetime=DNS_LIFETIME)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.SyntaxError):
        raise HostNotFound(f"{address} has no name") from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryFailure(f"the name of {address} can't be looked up now: {error}") from None
    return tuple(str(record.target).rstrip(".") for record in answer)


def lookup_records(name: str, kind: str) -> tuple[str, ...]:
    """The data of the records of a type: an address, the strings of a text put together. Blocking.

    Raises HostNotFound, TemporaryFailure.
    """
    try:
        answer = dns.resolver.resolve(dns.name.from_text(name), kind, lifetime=DNS_LIFETIME, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.SyntaxError, dns.name.LabelTooLong, ValueError):
        raise HostNotFound(f"{name} has no {kind} record") from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryFailure(f"{name} can't be looked up now: {error}") from None
    return tuple(_data(record) for record in answer)


def _data(record: Any) -> str:
    strings = getattr(record, "strings", None)
    return record.to_text() if strings is None else from_wire(b"".join(strings))
