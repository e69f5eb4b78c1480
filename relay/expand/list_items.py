"""Single items of domain, local part, host and string lists: what each form matches (decision).

`string_item` and `host_item` turn the text of one item, without its `!`, into a test. The forms are Exim's: `*`,
`*.tail`, `^regex`, `@`, `@[]`, `@mx_any`, `type;file`, addresses with masks, host names, `net24-type;file`. What a test
needs from the world it asks of the scope's ports; an unknown host name is `UnknownHost`, no answer TemporaryFailure.
Items of address lists are in `list_addresses.py`, and `list_scan.compile_item` finds the right one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from relay.expand import lookups
from relay.expand.addresses import IPAddress, looks_like_address, read_address, read_network
from relay.expand.errors import ExpansionFailed
from relay.expand.mail_exchangers import Rank, is_ours, rank_of_ours
from relay.expand.notes import Notes
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

    @property
    def title(self) -> str:
        """What it is called where the list is told."""
        return "host" if self.host is not None and self.host.name is None else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """An item matches: what it looked up or stands for (None: nothing to tell), and $0, $1, …"""

    data: str | None = None
    captures: tuple[str, ...] = ()


class UnknownHost(Exception):
    """A name or address in or for the list can't be found, and asking again will not help."""


class NoSuchList(TemporaryFailure):
    """A named list is not there, or what is to be expanded in a list can't be: a mistake of the configuration, and no
    answer that is only late."""


class BadItem(Exception):
    """The item is wrong in itself; the text is for the operator."""


class NoLookup(Exception):
    """The item has a semicolon and no type of lookup before it. It may stand in a list that nobody is looked for in,
    so it is a mistake only when its turn comes."""


ItemTest = Callable[[Subject, Scope], Awaitable[Hit | None]]


class InnerList(Protocol):
    """Reads items as a list inside of an item. Raises BadItem."""

    def __call__(self, kind: ListKind, items: tuple[str, ...], caseless: bool = True) -> ItemTest: ...


_HOST_NAME = re.compile(r"[A-Za-z0-9._-]*")
_NET_LOOKUP = re.compile(r"net([0-9]*)-")
_MX = re.compile(r"@mx_(any|primary|secondary)(?:/ignore=(.*))?", re.DOTALL | re.IGNORECASE)


# Strings: domains, local parts, anything else. Exim: check_string


def string_item(text: str, caseless: bool, inner: InnerList | None = None) -> ItemTest:
    """The test for one item. With `inner` items that begin with `@` are special: these are domains.

    Raises BadItem, NoLookup.
    """
    if text.startswith("^"):
        return regex_item(text, caseless)
    if text.startswith("*"):
        return _tail_item(text, caseless)
    if inner is not None and text.startswith("@"):
        if text == "@":
            return _our_name
        if text == "@[]":
            return _our_literal
        if match := _MX.fullmatch(text):
            return _mail_exchanger_item(text, match, inner)
    if ";" in text:
        return lookup_item(text, caseless)
    wanted = lower(text) if caseless else text

    async def exact(subject: Subject, _scope: Scope) -> Hit | None:
        given = subject.folded if caseless else subject.text
        return Hit(text, (given,)) if given == wanted else None

    return exact


def regex_item(text: str, caseless: bool) -> ItemTest:
    """`^regex`. Raises BadItem."""
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
    return Hit("@[]", (text,)) if inner and is_ours(inner, scope) else None


def _mail_exchanger_item(text: str, match: re.Match[str], inner: InnerList) -> ItemTest:
    """`@mx_any`, `@mx_primary`, `@mx_secondary`, each perhaps with `/ignore=` and a list of addresses."""
    rank = Rank(lower(match[1]))
    ignored = inner(ListKind.HOST, split_list(match[2]).items) if match[2] else None

    async def is_ignored(name: str, address: str, scope: Scope) -> bool:
        if ignored is None:
            return False
        subject = Subject(address, address, HostSubject(address, name), read_address(address))
        return await ignored(subject, scope) is not None

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        we_are = await rank_of_ours(subject.folded, scope, is_ignored)
        return Hit(text, (subject.folded,)) if rank in we_are else None

    return matches


def lookup_item(text: str, caseless: bool = True, is_whole_address: bool = False) -> ItemTest:
    """`type;file`, with the subject as the key, or `type;query`. Raises BadItem, NoLookup."""
    kind, source = _read_lookup(text)
    if kind.is_partial and is_whole_address:
        raise BadItem(f'"partial-" has no meaning for whole addresses in "{text}"')

    async def look_up(subject: Subject, scope: Scope) -> Hit | None:
        return await _looked_up(scope, kind, subject.folded if caseless else subject.text, source)

    return look_up


def _read_lookup(text: str) -> tuple[lookups.LookupKind, str]:
    """Type, and file or query. What was surely meant as a lookup and is none is refused now. Raises BadItem, NoLookup.

    Exim looks at the type only when it comes to the item; a list of anything with semicolons may be defined.
    """
    kind_text, _, source = text.partition(";")
    source = taint_like(source.strip(SPACE), text)
    try:
        return lookups.read_kind(kind_text), source
    except lookups.UnknownLookup as error:
        if error.is_plain or source.startswith("/"):
            raise BadItem(str(error)) from None
        raise NoLookup(str(error)) from None


async def _looked_up(scope: Scope, kind: lookups.LookupKind, key: str, source: str) -> Hit | None:
    """Asks for a key; for a query-style type `source` is the query."""
    try:
        if kind.is_query:
            found = await lookups.find(scope, kind, source, "")
        else:
            found = await lookups.find(scope, kind, key, source)
    except ExpansionFailed as error:
        raise TemporaryFailure(str(error)) from None
    return None if found is None else Hit(found.data, (key, *found.captures))


# Hosts. Exim: check_host


def host_item(text: str, inner: InnerList) -> ItemTest:
    """The test for one item. Raises BadItem, NoLookup."""
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
                return _HOST_HIT if subject.ip is not None and holds(subject.ip.as_v4()) else None

            return in_network
        if looks_like_address(text):
            return _unknown(f"malformed IP address or address mask: {text}")
    if ";" in text and (match := _NET_LOOKUP.match(text)):
        return _net_lookup(text[match.end() :], int(match.group(1)) if match.group(1) else -1)
    if text == "@" or _HOST_NAME.fullmatch(text):
        return _host_name_item(text)
    return _host_pattern_item(text, inner)


_HOST_HIT = Hit()


async def _any_host(_subject: Subject, _scope: Scope) -> Hit | None:
    return _HOST_HIT


async def _no_host(subject: Subject, _scope: Scope) -> Hit | None:
    return None if subject.text else _HOST_HIT


async def _our_host(subject: Subject, scope: Scope) -> Hit | None:
    return _HOST_HIT if subject.text and is_ours(subject.text, scope) else None


def _unknown(message: str) -> ItemTest:
    """An item that can match no host, and ends its list as a name that is not found does."""

    async def unknown(subject: Subject, _scope: Scope) -> Hit | None:
        if not subject.text:
            return None
        raise UnknownHost(message)

    return unknown


def _net_lookup(text: str, length: int) -> ItemTest:
    """`net24-type;file`: the key is the address with its mask. White space before the file is a part of its name."""
    kind, _ = _read_lookup(text)
    source = taint_like(text.partition(";")[2], text)
    if kind.is_partial or kind.default:
        raise BadItem(f'unknown lookup type "{kind.text}" behind "net-"')

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
            if scope.notes is not None:
                scope.notes.say(f"no IP address found for host {name}{_during(scope)}")
            raise UnknownHost(f"failed to find IP address for {name}") from None
        if scope.notes is not None:
            scope.notes.say("gethostbyname2 looked up these IP addresses:")
            for address in addresses:
                scope.notes.say(f"  name={name} address={address}")
        numbers = {found.as_v4() for address in addresses if (found := read_address(address))}
        return _HOST_HIT if subject.ip is not None and subject.ip.as_v4() in numbers else None

    return resolves


def _host_pattern_item(text: str, inner: InnerList) -> ItemTest:
    """A pattern for the host's name: `*.example.org`, `^regex`, `type;file`. A list of mere addresses takes `type;file`
    as `net-type;file`."""
    test = string_item(text, True, inner)
    kind = _read_lookup(text)[0] if ";" in text and text[0] not in "^*" else None
    is_bare = kind is not None and not (kind.is_query or kind.is_partial or kind.default)
    network = _net_lookup(text, -1) if is_bare else None

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        if not subject.text:
            return None
        if kind is not None and kind.is_query:
            hit = await test(subject, scope)
            return None if hit is None else Hit(hit.data)
        if subject.host is not None and subject.host.name == "":
            if network is None:
                raise UnknownHost("cannot match host name in match_ip list")
            return await network(subject, scope)
        for name in await _names_of(subject, scope, text):
            hit = await test(Subject(name, lower(name)), scope)
            if hit is not None:
                return Hit(hit.data)
        return None

    return matches


def _during(scope: Scope) -> str:
    """Exim: host_and_ident, behind a name that is not found."""
    session = scope.session
    if session.peer is None:
        return ""
    helo = f"({session.hello.name}) " if session.hello is not None else ""
    return f" (during SMTP connection from {helo}[{session.peer.address}])"


async def _names_of(subject: Subject, scope: Scope, text: str) -> tuple[str, ...]:
    """The host's names for an item. Raises UnknownHost where it has none, TemporaryFailure."""
    notes, is_client = scope.notes, subject.host is not None and subject.host.name is None
    if notes is None or not is_client or scope.session.peer_host or notes.knows_names:
        return await _asked_names(subject, scope)
    notes.say(f"sender host name required, to match against {text}")
    notes.level += 1
    try:
        found = await _asked_names(subject, scope)
    finally:
        notes.level -= 1
    notes.knows_names = True
    return found


async def _asked_names(subject: Subject, scope: Scope) -> tuple[str, ...]:
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


async def confirmed_names(address: str, resolver: Resolver, notes: Notes | None = None) -> tuple[str, ...]:
    """Names from the reverse zone that lead back to the address; none where there is no such name.

    Raises TemporaryFailure. Exim: host_name_lookup.
    """
    if notes is None:
        return await _confirmed(address, resolver, lambda *_: None)

    def say(text: str, deeper: int = 0) -> None:
        notes.level += deeper
        notes.say(text)
        notes.level -= deeper

    notes.say(f"looking up host name for {address}")
    notes.level += 1
    try:
        return await _confirmed(address, resolver, say)
    finally:
        notes.level -= 1


async def _confirmed(address: str, resolver: Resolver, say: Callable[..., None]) -> tuple[str, ...]:
    wanted = read_address(address)
    try:
        # Exim: whatever the zone says, in lower case.
        names = [lower(name) for name in await resolver.names(address)]
    except HostNotFound:
        return ()
    for place, name in enumerate(names):
        say(f'  alias "{name}"' if place else f'IP address lookup yielded "{name}"')
    confirmed = []
    for name in names:
        for kind in ("require", "request"):
            # Nobody can say here that an answer has to be signed.
            say(f"check dnssec {kind} list")
            say(f"{name} not in empty list (option unset? cannot trace name)", 1)
        try:
            found = await resolver.addresses(name)
        except HostNotFound:
            say(f"no IP addresses found for {name}")
            continue
        say(f"checking addresses for {name}")
        for each in found:
            if read_address(each) == wanted:
                say(f"  {each} OK")
                confirmed.append(name)
                break
            say(f"  {each}")
        else:
            say(f"no IP address for {name} matched {address}")
    return tuple(confirmed)
