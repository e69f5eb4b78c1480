"""The lookup type `dnsdb`: how a query is written, and the records of an answer as text (edge).

`mx=a.example` asks for one type of record, of every name in a list. Before it stand the separators of the result
(`>` and one character, then for the parts of a record `,` and one character, or `;` for none) and options, each with a
comma behind it: `defer_strict`, `defer_lax`, `defer_never`, the same for `dnssec_`, `retrans_5s`, `retry_2`. Asking
blocks and belongs into a thread. Exim: lookups/dnsdb.c.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename

from relay.expand.splitting import SPACE, split_list
from relay.expand.values import from_octets
from relay.mail.ports import TemporaryFailure

# Seconds for all answers to one question at most; for one try and how many more of them where the query does not say.
LIFETIME = 10.0
DNS_RETRANS = 5.0
DNS_RETRY = 1
# How many names a query may have.
NAMES_LIMIT = 100

_TYPES = {
    "a": ("A",),
    "a+": ("AAAA", "A"),
    "aaaa": ("AAAA",),
    "cname": ("CNAME",),
    "mx": ("MX",),
    "mxh": ("MX",),
    "ns": ("NS",),
    "ptr": ("PTR",),
    "soa": ("SOA",),
    "spf": ("SPF",),
    "srv": ("SRV",),
    "tlsa": ("TLSA",),
    "txt": ("TXT",),
    "zns": ("NS",),
}
# What stands between the parts of a record where the query does not say.
_PARTS = {"spf": "", "srv": " ", "mx": " ", "tlsa": " "}
_MODE = re.compile(r"(defer|dnssec)_(strict|lax|never|)", re.IGNORECASE)
_RETRANS = re.compile(
    r"retrans_" + "".join(rf"(?:([0-9]{{1,6}}){unit})?" for unit in ("w", "d", "h", "m", "s?")) + "(?=,)", re.IGNORECASE
)
_RETRY = re.compile(r"retry_([0-9]{1,6})", re.IGNORECASE)
_UNITS = (604800, 86400, 3600, 60, 1)


class Mode(enum.Enum):
    """How much an option insists."""

    STRICT = "strict"
    LAX = "lax"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was written."""

    kind: str = "txt"
    names: tuple[str, ...] = ()
    separator: str = "\n"
    between_parts: str | None = None
    """None: only the first part of a TXT record."""
    defer: Mode = Mode.LAX
    """STRICT: no answer for one name is no answer; LAX: only where none has an answer; NEVER: it is a miss."""
    dnssec: Mode = Mode.LAX
    seconds: int = 0
    """Time for one try; 0: the resolver's own."""
    retries: int | None = None


class Missing(Exception):
    """There is no such name, or it has no such record."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Records of one type, and whether the resolver vouches for them with DNSSEC."""

    records: tuple[Any, ...]
    is_secure: bool = False


Ask = Callable[[str, str, Query], Answer]
"""Asks for the records of a name and a type. Blocking. Raises Missing, TemporaryFailure."""


# Reading a query


def read_query(text: str) -> Query:
    """Raises TemporaryFailure for what is none."""
    rest = text.lstrip(SPACE)
    given: dict[str, Any] = {}
    if rest[:1] == ">" and len(rest) > 1:
        given["separator"], rest = rest[1], rest[2:]
        if rest[:1] == "," and len(rest) > 1:
            given["between_parts"], rest = rest[1], rest[2:]
        elif rest[:1] == ";":
            given["between_parts"], rest = "", rest[1:]
        rest = rest.lstrip(SPACE)
    while (option := _option(rest)) is not None:
        found, rest = option
        given |= found
        rest = rest.lstrip(SPACE)
        if not rest.startswith(","):
            raise TemporaryFailure("dnsdb modifier syntax error")
        rest = rest[1:].lstrip(SPACE)
    kind = "txt"
    if "=" in rest:
        word, _, rest = rest.partition("=")
        kind, rest = word.rstrip(SPACE).lower(), rest.lstrip(SPACE)
        if kind == "csa":
            raise TemporaryFailure('"csa" records are not served')
        if kind not in _TYPES:
            raise TemporaryFailure("unsupported DNS record type")
    given.setdefault("between_parts", _PARTS.get(kind))
    # An IPv6 address is full of colons; by itself it is one name.
    names = (rest.strip(SPACE),) if kind == "ptr" and _address(rest.strip(SPACE)) else split_list(str(rest)).items
    if len(names) > NAMES_LIMIT:
        raise TemporaryFailure("too many names in a dnsdb lookup")
    return Query(kind=kind, names=names, **given)


def _option(text: str) -> tuple[dict[str, Any], str] | None:
    """The option that a text begins with, and the rest."""
    if match := _MODE.match(text):
        if not match[2]:
            word = "defer behaviour" if match[1].lower() == "defer" else "dnssec behaviour"
            raise TemporaryFailure(f"unsupported dnsdb {word}")
        return {match[1].lower(): Mode(match[2].lower())}, text[match.end() :]
    if text[:8].lower() == "retrans_":
        match = _RETRANS.match(text)
        seconds = sum(int(each or 0) * unit for each, unit in zip(match.groups(), _UNITS, strict=True)) if match else 0
        if match is None or not seconds:
            raise TemporaryFailure("unsupported dnsdb timeout value")
        return {"seconds": seconds}, text[match.end() :]
    if text[:6].lower() == "retry_":
        match = _RETRY.match(text)
        if match is None:
            raise TemporaryFailure("unsupported dnsdb retry count")
        return {"retries": int(match[1])}, text[match.end() :]
    return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


# Asking


@dataclass(slots=True)
class _Result:
    """What has been found so far."""

    texts: list[str] = field(default_factory=list)
    deferred: TemporaryFailure | None = None


def find(text: str, ask: Ask) -> str | None:
    """What the records of a query have, put together. None: there are none. Blocking. Raises TemporaryFailure."""
    query = read_query(text)
    result = _Result()
    for name in query.names:
        for kind in _TYPES[query.kind]:
            try:
                answer = _ask(name, kind, query, ask)
                if query.dnssec is Mode.STRICT and not answer.is_secure:
                    raise TemporaryFailure(f"the records of {name} are not secure (DNSSEC)")
            except Missing:
                continue
            except TemporaryFailure as error:
                if query.defer is Mode.STRICT:
                    raise
                if query.defer is Mode.LAX:
                    result.deferred = error
                continue
            result.texts += [shown(record, query) for record in answer.records]
    if result.texts:
        return query.separator.join(result.texts)
    if result.deferred is not None:
        raise result.deferred
    return None


def _ask(name: str, kind: str, query: Query, ask: Ask) -> Answer:
    """One question; for `zns` as many as it takes to find the zone that the name is in."""
    if query.kind == "ptr" and (address := _address(name)):
        name = str(dns.reversename.from_address(str(address))).rstrip(".")
    if query.kind != "zns":
        return ask(name, kind, query)
    for zone in _zones(name):
        try:
            return ask(zone, kind, query)
        except Missing:
            continue
    raise Missing(name)


def _zones(name: str) -> Iterator[str]:
    """The name and all that it is in; a top level domain is asked for only if nothing else was (Exim: T_ZNS)."""
    labels = name.rstrip(".").split(".")
    for start in range(len(labels)):
        yield ".".join(labels[start:])


def shown(record: Any, query: Query) -> str:
    """A record as text."""
    between = query.between_parts
    match query.kind:
        case "txt" | "spf":
            strings = [from_octets(each) for each in record.strings]
            return strings[0] if between is None else between.join(strings)
        case "mx":
            return f"{record.preference}{between}{_name(record.exchange)}"
        case "mxh":
            return _name(record.exchange)
        case "srv":
            numbers = (record.priority, record.weight, record.port)
            return "".join(f"{each}{between}" for each in numbers) + _name(record.target)
        case "tlsa":
            numbers = (record.usage, record.selector, record.mtype)
            return "".join(f"{each}{between}" for each in numbers) + bytes(record.cert).hex()
        case "soa":
            times = (record.refresh, record.retry, record.expire, record.minimum)
            parts = [_name(record.mname), _name(record.rname), str(record.serial), *map(str, times)]
            return parts[0] if between is None else between.join(parts)
        case "a" | "aaaa" | "a+":
            return str(record.address)
        case _:
            return _name(record.target)


def _name(name: dns.name.Name) -> str:
    return str(name.to_text(omit_final_dot=True)) if name != dns.name.root else ""


def resolve(name: str, kind: str, query: Query) -> Answer:
    """Asks the system's servers. Blocking. Raises Missing, TemporaryFailure."""
    tries = 1 + (DNS_RETRY if query.retries is None else query.retries)
    lifetime = min((query.seconds or DNS_RETRANS) * tries, LIFETIME)
    try:
        resolver = dns.resolver.Resolver()
        if query.dnssec is not Mode.NEVER:
            resolver.use_edns(0, dns.flags.DO, 1232)
        found = resolver.resolve(dns.name.from_text(name), kind, lifetime=lifetime, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.SyntaxError, dns.name.LabelTooLong, ValueError):
        raise Missing(name) from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryFailure(f"{name} can't be looked up now: {error}") from None
    return Answer(tuple(found), bool(found.response.flags & dns.flags.AD))
