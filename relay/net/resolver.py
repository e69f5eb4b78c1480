"""Host names and addresses, asked in threads (edge).

`addresses` asks the system (hosts file, then DNS), which is what Exim's `byname` does; `names` asks the reverse zone.
Answers come back through the reactor; a limit on time is the asker's.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename
from twisted.internet.threads import deferToThreadPool

from relay.mail.ports import (
    DNS,
    DNS_LIFE,
    DNSAnswer,
    Found,
    HostNotFound,
    NoRecords,
    Records,
    Resolver,
    TemporaryFailure,
)
from relay.mail.text import from_wire
from relay.policy.routers.ports import NoNetwork

# Seconds for one question to the DNS, all servers and tries together.
DNS_LIFETIME = 10.0
# Aliases that may lead to one another.
_ALIASES_LIMIT = 10
_TEMPORARY = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY})


class SystemResolver:
    """The `Resolver` port over the thread pool of a reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def addresses(self, name: str, *, ipv4_only: bool = False) -> tuple[str, ...]:
        """Literal addresses of a host, IPv4 and IPv6 in the system's order. Raises HostNotFound, TemporaryFailure."""
        literal = _literal(name)
        if literal is not None:
            return (literal,)
        answer: tuple[str, ...] = await self._in_thread(lookup_addresses, name, _family(ipv4_only=ipv4_only))
        return answer

    async def names(self, address: str) -> tuple[str, ...]:
        """Names of the reverse zone. Raises HostNotFound, TemporaryFailure."""
        answer: tuple[str, ...] = await self._in_thread(lookup_names, address)
        return answer

    async def records(self, name: str, kind: str) -> Found:
        """The `Records` port. Raises HostNotFound, TemporaryFailure."""
        answer: Found = await self._in_thread(lookup_records, name, kind)
        return answer

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        """The `DNS` port. Raises NoRecords, HostNotFound, TemporaryFailure."""
        answer: DNSAnswer = await self._in_thread(lookup_dns, name, kind, qualify, parents)
        return answer

    def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


class BlockingResolver:
    """The ports `Resolver`, `Records` and `DNS` for commands that have nothing else to do: they answer at once."""

    async def addresses(self, name: str, *, ipv4_only: bool = False) -> tuple[str, ...]:
        """Raises HostNotFound, TemporaryFailure."""
        literal = _literal(name)
        return lookup_addresses(name, _family(ipv4_only=ipv4_only)) if literal is None else (literal,)

    async def names(self, address: str) -> tuple[str, ...]:
        """Raises HostNotFound, TemporaryFailure."""
        return lookup_names(address)

    async def records(self, name: str, kind: str) -> Found:
        """Raises HostNotFound, TemporaryFailure."""
        return lookup_records(name, kind)

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        """Raises NoRecords, HostNotFound, TemporaryFailure."""
        return lookup_dns(name, kind, qualify, parents)


class Names(Resolver, DNS, Records, Protocol):
    """All that is asked about names."""

    async def addresses(self, name: str, *, ipv4_only: bool = False) -> tuple[str, ...]:
        """`ipv4_only`: nobody is asked for addresses of IPv6. Raises HostNotFound, TemporaryFailure."""
        ...


async def _every_name(_name: str) -> bool:
    return True


class IPv4Names:
    """What others know of names, without the addresses of IPv6: of any, which then has none even where it is one
    itself (Exim: disable_ipv6), or of some (Exim: dns_ipv4_lookup)."""

    def __init__(self, names: Names, of: Callable[[str], Awaitable[bool]] | None = None) -> None:
        """`of`: whether it is so with this name, which is no address."""
        self._names = names
        self._of = of or _every_name
        self._spares_literals = of is not None

    async def addresses(self, name: str, *, ipv4_only: bool = False) -> tuple[str, ...]:
        """Raises HostNotFound, TemporaryFailure."""
        if self._spares_literals and (_literal(name) is not None or not await self._of(name)):
            return await self._names.addresses(name, ipv4_only=ipv4_only)
        found = tuple(each for each in await self._names.addresses(name, ipv4_only=True) if ":" not in each)
        if not found:
            raise HostNotFound(f"{name} has no address of IPv4")
        return found

    async def names(self, address: str) -> tuple[str, ...]:
        """Raises HostNotFound, TemporaryFailure."""
        return await self._names.names(address)

    async def records(self, name: str, kind: str) -> Found:
        """Raises HostNotFound, TemporaryFailure."""
        await self._check_wanted(name, kind)
        return await self._names.records(name, kind)

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        """Raises NoRecords, HostNotFound, TemporaryFailure."""
        await self._check_wanted(name, kind)
        return await self._names.query(name, kind, qualify=qualify, parents=parents)

    async def _check_wanted(self, name: str, kind: str) -> None:
        if kind == "AAAA" and await self._of(name):
            raise NoRecords(f"{name}: addresses of IPv6 are not looked up")


def _family(*, ipv4_only: bool) -> socket.AddressFamily:
    return socket.AF_INET if ipv4_only else socket.AF_UNSPEC


def _literal(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return None


def lookup_addresses(name: str, family: socket.AddressFamily = socket.AF_UNSPEC) -> tuple[str, ...]:
    """Blocking. Raises HostNotFound, TemporaryFailure."""
    try:
        found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
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
    """False where no route leads further than to neighbours: a laptop with its lid just opened, or in a tunnel. The
    bridges of its containers and virtual machines are there all the time, and lead nowhere."""
    try:
        with open("/proc/net/route", encoding="ascii") as table:
            if any(_is_default(line.split(), _V4) for line in table.readlines()[1:]):
                return True
        with open("/proc/net/ipv6_route", encoding="ascii") as table:
            return any(_is_default(line.split(), _V6) for line in table)
    except OSError:
        return True  # a system that does not tell


# Where in a line the network, its length or mask, the flags and the interface are.
_V4, _V6 = (1, 7, 3, 0), (0, 1, 8, 9)
_REJECT = 0x200


def _is_default(columns: list[str], places: tuple[int, int, int, int]) -> bool:
    """A line of the kernel's table for a route to everywhere."""
    if len(columns) <= max(places):
        return False
    network, length, flags, interface = (columns[place] for place in places)
    return not network.strip("0") and not length.strip("0") and not int(flags, 16) & _REJECT and interface != "lo"


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


_NOTHING = (
    dns.resolver.NXDOMAIN,
    dns.resolver.NoAnswer,
    dns.exception.SyntaxError,
    dns.name.LabelTooLong,
    ValueError,
)


def lookup_records(name: str, kind: str) -> Found:
    """The records of a type: an address, the strings of a text put together. Blocking.

    Raises HostNotFound, TemporaryFailure.
    """
    try:
        answer = dns.resolver.resolve(dns.name.from_text(name), kind, lifetime=DNS_LIFETIME, search=False)
    except _NOTHING as no:
        missing = HostNotFound(f"{name} has no {kind} record")
        missing.seconds = _life_of_nothing(no)
        raise missing from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryFailure(f"{name} can't be looked up now: {error}") from None
    life = answer.rrset.ttl if answer.rrset is not None else DNS_LIFE
    return Found(tuple(_data(record) for record in answer), min(life, DNS_LIFE))


def _life_of_nothing(error: Exception) -> int:
    """For how long a zone wants it believed that there is no such record, RFC 2308 5."""
    if isinstance(error, dns.resolver.NXDOMAIN):
        responses = list(error.kwargs.get("responses", {}).values())
    else:
        responses = [error.kwargs["response"]] if isinstance(error, dns.resolver.NoAnswer) and error.kwargs else []
    found = [
        min(each.ttl, each[0].minimum)
        for response in responses
        for each in response.authority
        if each.rdtype == dns.rdatatype.SOA
    ]
    return min(found, default=DNS_LIFE)


def lookup_dns(name: str, kind: str, qualify: bool = False, parents: bool = False) -> DNSAnswer:
    """Records of a type for routing, with the name as the DNS spells it. Blocking.

    Raises NoRecords, HostNotFound, TemporaryFailure.
    """
    # Made anew each time: a laptop's name servers change with its networks.
    resolver = dns.resolver.Resolver()
    resolver.flags = dns.flags.RD | dns.flags.AD
    missing: HostNotFound = HostNotFound(f"{name} does not exist")
    for each in _completions(name, qualify, parents, resolver):
        try:
            return _followed(resolver, dns.name.from_text(each), kind)
        except dns.resolver.NoAnswer:
            missing = NoRecords(f"{name} has no {kind} record")
        except (
            dns.resolver.NXDOMAIN,
            dns.exception.SyntaxError,
            dns.name.LabelTooLong,
            dns.name.NameTooLong,
            ValueError,
        ):
            continue
        except (dns.exception.DNSException, OSError) as error:
            if not _was_answered(error) and not has_network():
                raise NoNetwork(f"{name} can't be looked up: no network") from None
            raise TemporaryFailure(f"{name} can't be looked up now: {error}") from None
    raise missing


def _was_answered(error: Exception) -> bool:
    """Whether some name server was reached, and could not say."""
    tries = error.kwargs.get("errors", ()) if isinstance(error, dns.resolver.NoNameservers) else ()
    return any(response is not None for *_, response in tries)


def _followed(resolver: dns.resolver.Resolver, name: dns.name.Name, kind: str) -> DNSAnswer:
    """Name servers follow aliases for us; one that leaves the rest to who asks is asked again. Raises what the library
    raises."""
    spelled, is_secure = "", True
    for _ in range(_ALIASES_LIMIT):
        try:
            answer = resolver.resolve(name, kind, lifetime=DNS_LIFETIME, search=False)
        except dns.resolver.NoAnswer as nothing:
            sections = nothing.kwargs["response"].answer
            further = next((each[0].target for each in reversed(sections) if each.rdtype == dns.rdatatype.CNAME), None)
            if further is None or further == name:
                raise
            is_secure = is_secure and bool(nothing.kwargs["response"].flags & dns.flags.AD)
            spelled, name = spelled or _text(sections[0].name), further
        else:
            is_secure = is_secure and bool(answer.response.flags & dns.flags.AD)
            records = tuple(record.to_text() for record in answer)
            return DNSAnswer(records, spelled or _text(answer.response.answer[0].name), is_secure)
    raise dns.resolver.NXDOMAIN


def _text(name: dns.name.Name) -> str:
    return str(name).rstrip(".")


def _completions(name: str, qualify: bool, parents: bool, resolver: dns.resolver.Resolver) -> Iterator[str]:
    """The whole names to try, in the order of res_search(3)."""
    is_single = "." not in name
    if is_single and qualify and len(resolver.domain):
        yield f"{name}.{resolver.domain}"
    yield name if name.endswith(".") else f"{name}."
    if parents:
        yield from (f"{name}.{ending}" for ending in resolver.search)


def _data(record: Any) -> str:
    strings = getattr(record, "strings", None)
    return record.to_text() if strings is None else from_wire(b"".join(strings))
