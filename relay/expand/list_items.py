"""Single items of domain, local part, address, host and string lists: what each form matches (decision).

`compile_item` turns the text of one item, without its `!`, into a test. The forms are Exim's: `*`, `*.tail`, `^regex`,
`@`, `@[]`, `type;file`, addresses with masks, host names, `net24-type;file`, `local@domain`, `@@type;file`. What a test
needs from the world it asks of the scope's ports; an unknown host name is `UnknownHost`, no answer TemporaryFailure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.expand import lookups
from relay.expand.addresses import IPAddress, looks_like_address, read_address, read_network
from relay.expand.errors import ExpansionFailed
from relay.expand.patterns import Pattern, PatternError
from relay.expand.scope import Scope
from relay.expand.splitting import SPACE, split_list
from relay.expand.values import lower, taint_like
from relay.mail.ports import HostNotFound, Resolver, TemporaryFailure


class ListKind(enum.Enum):
    """What a list is a list of. The values are the words in the names of named lists."""

    DOMAIN = "domain"
    LOCAL_PART = "local part"
    ADDRESS = "address"
    HOST = "host"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class HostSubject:
    """A host that a host list is asked about.

    `address` is "" where there is no host (SMTP on a pipe). `name` is known for servers that we deliver to; None means
    the session's client, whose confirmed names are asked for only when an item needs them; "" means that items with
    names are out of place (`match_ip`).
    """

    address: str
    name: str | None = None


@dataclass(slots=True)
class Subject:
    """What an item is held against, prepared once for the whole list."""

    text: str
    """Domain, local part, string, whole address or IP address as given."""
    folded: str
    """The same in lower case."""
    host: HostSubject | None = None
    ip: IPAddress | None = None
    names: tuple[str, ...] | None = None
    """Confirmed names of the host, once somebody has asked."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An item matches: what it looked up or stands for (None: nothing to tell), and $0, $1, …"""

    data: str | None = None
    captures: tuple[str, ...] = ()


class UnknownHost(Exception):
    """A name or address in or for the list can't be found, and asking again will not help."""


class BadItem(Exception):
    """The item is wrong in itself; the text is for the operator."""


ItemTest = Callable[[Subject, Scope], Awaitable[Hit | None]]

_HOST_NAME = re.compile(r"[A-Za-z0-9._-]*")
_NET_LOOKUP = re.compile(r"net([0-9]*)-")
_WHOLE_LOOKUP = re.compile(r"[A-Za-z0-9-]*\*?@?;")
_CHAIN_LIMIT = 50


def compile_item(kind: ListKind, text: str, caseless: bool = True) -> ItemTest:
    """The test for one item. Raises BadItem."""
    match kind:
        case ListKind.HOST:
            return _host_item(text)
        case ListKind.ADDRESS:
            return _address_item(text, caseless)
        case ListKind.DOMAIN:
            return _string_item(text, caseless, at_is_special=True)
        case ListKind.LOCAL_PART | ListKind.STRING:
            return _string_item(text, caseless, at_is_special=False)


# Strings: domains, local parts, anything else. Exim: check_string


def _string_item(text: str, caseless: bool, at_is_special: bool, partial: bool = True) -> ItemTest:
    if text.startswith("^"):
        return _regex_item(text, caseless)
    if text.startswith("*"):
        return _tail_item(text, caseless)
    if at_is_special and text.startswith("@"):
        if text == "@":
            return _our_name
        if text == "@[]":
            return _our_literal
        if lower(text).startswith("@mx_"):
            raise BadItem(f'"{text}" in a list is not served yet')
    if ";" in text:
        return _lookup_item(text, partial)
    wanted = lower(text) if caseless else text

    async def exact(subject: Subject, _scope: Scope) -> Hit | None:
        given = subject.folded if caseless else subject.text
        return Hit(text, (subject.folded if caseless else subject.text,)) if given == wanted else None

    return exact


def _regex_item(text: str, caseless: bool) -> ItemTest:
    try:
        pattern = Pattern(text, caseless)
    except PatternError as error:
        raise BadItem(str(error)) from None

    async def regex(subject: Subject, _scope: Scope) -> Hit | None:
        captures = pattern.search(subject.text)
        return None if captures is None else Hit(text, (subject.text, *captures[1:]))  # $0 is all of the subject

    return regex


def _tail_item(text: str, caseless: bool) -> ItemTest:
    tail = lower(text[1:]) if caseless else text[1:]

    async def ends(subject: Subject, _scope: Scope) -> Hit | None:
        given = subject.folded if caseless else subject.text
        if not given.endswith(tail):
            return None
        return Hit(text, (given, taint_like(given[: len(given) - len(tail)], given)))

    return ends


async def _our_name(subject: Subject, scope: Scope) -> Hit | None:
    name = scope.main.get("primary_hostname", "")
    return Hit(name, (subject.folded,)) if name and subject.folded == lower(name) else None


async def _our_literal(subject: Subject, scope: Scope) -> Hit | None:
    """A domain literal with one of our addresses."""
    text = subject.text
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    if inner[:5].lower() == "ipv6:":
        inner = inner[5:]
    return Hit("@[]", (text,)) if inner and _is_ours(inner, scope) else None


def _is_ours(address: str, scope: Scope) -> bool:
    number = read_address(address)
    return number is not None and any(read_address(ours) == number for ours in scope.local_addresses)


def _lookup_item(text: str, partial: bool = True) -> ItemTest:
    """`type;file`, with the subject as the key, or `type;query`."""
    kind_text, _, source = text.partition(";")
    kind = _read_kind(kind_text.strip(SPACE))
    source = source.strip(SPACE)
    if kind.is_partial and not partial:
        raise BadItem(f'"partial-" has no meaning for whole addresses in "{text}"')

    async def look_up(subject: Subject, scope: Scope) -> Hit | None:
        return await _looked_up(scope, kind, subject.folded, source)

    return look_up


def _read_kind(text: str) -> lookups.LookupKind:
    try:
        return lookups.read_kind(text)
    except lookups.UnknownLookup as error:
        raise BadItem(str(error)) from None


async def _looked_up(scope: Scope, kind: lookups.LookupKind, key: str, source: str) -> Hit | None:
    """Asks for a key; for a query-style type `source` is the query."""
    try:
        if kind.is_query:
            found = await lookups.find(scope, kind, source, "")
        else:
            found = await lookups.find(scope, kind, key, source)
    except ExpansionFailed as error:
        raise TemporaryFailure(str(error)) from None
    return None if found is None else Hit(found, (key,))


# Hosts. Exim: check_host


def _host_item(text: str) -> ItemTest:
    if text == "*":
        return _any_host
    if not text:
        return _no_host
    if text == "@[]":
        return _our_host
    if text != "@":
        network = read_network(text)
        if network is not None:
            holds = network.holds

            async def in_network(subject: Subject, _scope: Scope) -> Hit | None:
                return _HOST_HIT if subject.ip is not None and holds(subject.ip) else None

            return in_network
        if looks_like_address(text):
            return _unknown(f"malformed IP address or address mask: {text}")
    if ";" in text and (match := _NET_LOOKUP.match(text)):
        return _net_lookup(text[match.end() :], int(match.group(1)) if match.group(1) else -1)
    if text == "@" or _HOST_NAME.fullmatch(text):
        return _host_name_item(text)
    return _host_pattern_item(text)


_HOST_HIT = Hit()


async def _any_host(_subject: Subject, _scope: Scope) -> Hit | None:
    return _HOST_HIT


async def _no_host(subject: Subject, _scope: Scope) -> Hit | None:
    return None if subject.text else _HOST_HIT


async def _our_host(subject: Subject, scope: Scope) -> Hit | None:
    return _HOST_HIT if subject.text and _is_ours(subject.text, scope) else None


def _unknown(message: str) -> ItemTest:
    """An item that can match no host, and ends its list as a name that is not found does."""

    async def unknown(subject: Subject, _scope: Scope) -> Hit | None:
        if not subject.text:
            return None
        raise UnknownHost(message)

    return unknown


def _net_lookup(text: str, length: int) -> ItemTest:
    """`net24-type;file`: the key is the address with its mask."""
    kind_text, _, source = text.partition(";")
    kind = _read_kind(kind_text.strip(SPACE))
    source = source.strip(SPACE)

    async def look_up(subject: Subject, scope: Scope) -> Hit | None:
        if subject.ip is None:
            return None
        hit = await _looked_up(scope, kind, network_key(subject.ip, length, kind.name), source)
        return None if hit is None else Hit(hit.data)

    return look_up


def network_key(address: IPAddress, length: int, kind: str) -> str:
    """An address as a lookup's key. Colons would be taken for the end of a key, so only iplsearch gets them."""
    shown = address.masked(length).full(":" if kind == "iplsearch" else ".")
    return shown if length < 0 else f"{shown}/{length}"


def _host_name_item(text: str) -> ItemTest:
    """A complete name: does it have the host's address?"""

    async def resolves(subject: Subject, scope: Scope) -> Hit | None:
        if not subject.text:
            return None
        if subject.host is not None and subject.host.name == "":
            raise UnknownHost("cannot match host name in match_ip list")
        name = scope.main.get("primary_hostname", "") if text == "@" else text
        if scope.resolver is None:
            raise TemporaryFailure(f"names can't be resolved here ({name})")
        try:
            addresses = await scope.resolver.addresses(name)
        except HostNotFound:
            raise UnknownHost(f"failed to find IP address for {name}") from None
        numbers = {found.as_v4() for address in addresses if (found := read_address(address))}
        return _HOST_HIT if subject.ip is not None and subject.ip.as_v4() in numbers else None

    return resolves


def _host_pattern_item(text: str) -> ItemTest:
    """A pattern for the host's name: `*.example.org`, `^regex`, `type;file`."""
    test = _string_item(text, caseless=True, at_is_special=True)
    kind = _read_kind(text.partition(";")[0].strip(SPACE)) if ";" in text and text[0] not in "^*" else None
    network = _net_lookup(text, -1) if kind is not None and not kind.is_query else None

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        if not subject.text:
            return None
        if subject.host is not None and subject.host.name == "":
            if network is None and kind is None:
                raise UnknownHost("cannot match host name in match_ip list")
            return await (network or test)(subject, scope)
        if kind is not None and kind.is_query:
            return await test(subject, scope)
        for name in await _names_of(subject, scope):
            hit = await test(Subject(name, lower(name)), scope)
            if hit is not None:
                return Hit(hit.data if kind is not None else None)
        return None

    return matches


async def _names_of(subject: Subject, scope: Scope) -> tuple[str, ...]:
    """The host's names. Raises UnknownHost where it has none, TemporaryFailure."""
    if subject.names is None:
        host = subject.host
        if host is not None and host.name is not None:
            subject.names = (host.name,)
        elif scope.client_names is not None:
            subject.names = await scope.client_names()
        elif scope.session.peer_host:
            subject.names = (scope.session.peer_host,)
        elif scope.resolver is not None:
            subject.names = await confirmed_names(subject.text, scope.resolver)
        else:
            subject.names = ()
    if not subject.names:
        raise UnknownHost(f"failed to find host name for {subject.text}")
    return subject.names


async def confirmed_names(address: str, resolver: Resolver) -> tuple[str, ...]:
    """Names from the reverse zone that lead back to the address; none where there is no such name.

    Raises TemporaryFailure. Exim: host_name_lookup.
    """
    wanted = read_address(address)
    try:
        names = await resolver.names(address)
    except HostNotFound:
        return ()
    confirmed = []
    for name in names:
        try:
            found = await resolver.addresses(name)
        except HostNotFound:
            continue
        if any(read_address(each) == wanted for each in found):
            confirmed.append(name)
    return tuple(confirmed)


# Addresses. Exim: check_address


def _address_item(text: str, caseless: bool) -> ItemTest:
    if text.startswith("^"):
        return _regex_item(text, caseless)
    if _WHOLE_LOOKUP.match(text):
        return _lookup_item(text, partial=False)
    if text.startswith("@@"):
        return _local_parts_by_domain(text[2:], caseless)
    local, domain = _split_pattern(text)
    local_test = None if local is None else _string_item_of_local(local, caseless)
    named = domain[1:] if domain.startswith("+") else None
    domain_test = None if named is not None else _string_item(domain, True, at_is_special=True)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        if not subject.text:
            return None if text else Hit("")
        given = subject.folded if caseless else subject.text
        subject_local, at, subject_domain = given.rpartition("@")
        if not at:
            return None
        found: tuple[str, ...] = ()
        if local_test is not None:
            rest = local_test(subject_local)
            if rest is None:
                return None
            found = (rest,) if rest else ()
        folded = lower(subject_domain)
        if domain_test is None:
            hit = await _in_named_domains(named or "", folded, scope)
        else:
            hit = await domain_test(Subject(subject_domain, folded), scope)
        if hit is None:
            return None
        data = text if hit.data is None else f"{(local or '').lstrip('*')}@{hit.data}"
        return Hit(data, (subject.text, *found, *hit.captures[1:]))

    return matches


async def _in_named_domains(name: str, domain: str, scope: Scope) -> Hit | None:
    """`local@+list`."""
    found = scope.named_lists.find(ListKind.DOMAIN, name) if scope.named_lists else None
    if found is None:
        raise TemporaryFailure(f'unknown named domain list "+{name}"')
    match = await found.match(domain, scope.deeper())
    return None if match is None else Hit(match.data, match.captures)


def _split_pattern(text: str) -> tuple[str | None, str]:
    """Local part (None: any) and domain of `local@domain`, `domain`, `local@@`, `local@@[]`."""
    at = text.rfind("@")
    if at < 0:
        return None, text
    if at > 0 and text[at - 1] == "@" and text[at + 1 :] in ("", "[]", "mx_any", "mx_primary", "mx_secondary"):
        at -= 1
        return text[:at], text[at + 1 :]
    return text[:at], text[at + 1 :]


def _string_item_of_local(pattern: str, caseless: bool) -> Callable[[str], str | None]:
    """The local part of an address item: gives what the star stands for, "" where there is none, None for no."""
    wanted = lower(pattern) if caseless else pattern
    if not wanted.startswith("*"):
        return lambda local: "" if local == wanted else None
    tail = wanted[1:]
    return lambda local: taint_like(local[: len(local) - len(tail)], local) if local.endswith(tail) else None


def _local_parts_by_domain(text: str, caseless: bool) -> ItemTest:
    """`@@type;file`: the domain gives a list of local parts, whose last item may lead on with `>`."""
    domain_test = _string_item(text, True, at_is_special=False)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        local, _, domain = (subject.folded if caseless else subject.text).rpartition("@")
        key: str | None = lower(domain)
        for _ in range(_CHAIN_LIMIT):
            hit = await domain_test(Subject(key or "", key or ""), scope)
            if hit is None or hit.data is None:
                return None
            parts, key = _chained(hit.data)
            for part in split_list(parts).items:
                negated = part.startswith("!")
                test = _string_item(part[1:].lstrip(SPACE) if negated else part, caseless, at_is_special=False)
                found = await test(Subject(local, lower(local)), scope)
                if found is not None:
                    return None if negated else Hit(found.data)
            if key is None:
                return None
        raise TemporaryFailure(f"Loop detected in lookup of local part of {subject.text} in @@{text}")

    return matches


def _chained(data: str) -> tuple[str, str | None]:
    """A list of local parts, and the key that its last item leads on to."""
    head, colon, last = data.rpartition(":")
    last = last.strip(SPACE)
    if not last.startswith(">"):
        return data, None
    return (head + colon if colon else ""), last[1:].strip(SPACE)
