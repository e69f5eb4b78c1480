"""Reads the items of a list and tries them in their order (decision).

No expansion happens here: `lists.py` expands what is to be expanded and then comes here; the conditions `match_domain`
and its relatives, whose lists are never expanded, come directly.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.expand.addresses import read_address
from relay.expand.list_addresses import address_item
from relay.expand.list_items import (
    BadItem,
    Hit,
    HostSubject,
    ItemTest,
    ListKind,
    NoLookup,
    Subject,
    UnknownHost,
    host_item,
    string_item,
)
from relay.expand.scope import Scope
from relay.expand.splitting import SPACE
from relay.expand.values import is_tainted, lower, taint_like
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable


@dataclass(frozen=True, slots=True)
class ListMatch:
    """The subject is in the list. `decided_by` is the item as written (or says that the list ended), `data` what a
    lookup found or what the item stands for (Exim: $domain_data), `captures` $0, $1, … of the match."""

    decided_by: str
    data: str | None = None
    captures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListMiss:
    """The subject is not in the list, and what decided that."""

    decided_by: str


ListAnswer = ListMatch | ListMiss
AnySubject = str | Address | HostSubject


class Policy(enum.Enum):
    """What an unknown host or a deferred lookup does to the list. Exim: +include_unknown and its relatives."""

    DEFAULT = "default"
    INCLUDE = "include"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the `+` words before an item have set for it."""

    caseless: bool = True
    unknown: Policy = Policy.DEFAULT
    deferred: Policy = Policy.DEFAULT


@dataclass(frozen=True, slots=True)
class Single:
    """An item that is tested itself."""

    text: str
    negated: bool
    test: ItemTest
    settings: Settings


@dataclass(frozen=True, slots=True)
class Named:
    """`+name`."""

    text: str
    negated: bool
    name: str


@dataclass(slots=True)
class FileItem:
    """`/path`: every line is an item. The last reading is kept while the lines stay the same."""

    text: str
    negated: bool
    path: str
    settings: Settings
    lines: tuple[str, ...] = ()
    entries: tuple[Single, ...] = ()


Entry = Single | Named | FileItem

_OPTIONS: Mapping[str, Callable[[Settings], Settings]] = {
    "+include_unknown": lambda now: Settings(now.caseless, Policy.INCLUDE, now.deferred),
    "+ignore_unknown": lambda now: Settings(now.caseless, Policy.IGNORE, now.deferred),
    "+include_defer": lambda now: Settings(now.caseless, now.unknown, Policy.INCLUDE),
    "+ignore_defer": lambda now: Settings(now.caseless, now.unknown, Policy.IGNORE),
}


def compile_item(kind: ListKind, text: str, caseless: bool = True) -> ItemTest:
    """The test for one item, without its `!`, that is neither a file nor a named list. Raises BadItem."""
    try:
        match kind:
            case ListKind.HOST:
                return host_item(text, _inner_list)
            case ListKind.ADDRESS:
                return address_item(text, caseless, _inner_list)
            case ListKind.DOMAIN:
                return string_item(text, caseless, _inner_list)
            case ListKind.LOCAL_PART | ListKind.STRING:
                return string_item(text, caseless)
    except NoLookup as error:
        return _failing(str(error))


def _inner_list(kind: ListKind, items: tuple[str, ...]) -> ItemTest:
    """Items as a list inside of an item."""
    entries = read_entries(kind, items)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        answer = await scan(kind, entries, subject, scope.deeper())
        return Hit(answer.data, answer.captures) if isinstance(answer, ListMatch) else None

    return matches


def _failing(why: str) -> ItemTest:
    """An item that can't be answered."""

    async def fail(_subject: Subject, _scope: Scope) -> Hit | None:
        raise TemporaryFailure(why)

    return fail


def read_entries(kind: ListKind, items: tuple[str, ...]) -> tuple[Entry, ...]:
    """The entries for the items of a list. Raises BadItem."""
    settings = Settings()
    entries: list[Entry] = []
    for text in items:
        if is_tainted(text):
            entries.append(_read_tainted(kind, text, settings))
        elif kind is ListKind.HOST and text in _OPTIONS:
            settings = _OPTIONS[text](settings)
        elif kind in (ListKind.ADDRESS, ListKind.LOCAL_PART) and text == "+caseful":
            settings = Settings(False, settings.unknown, settings.deferred)
        else:
            entries.append(_read_entry(kind, text, settings))
    return tuple(entries)


# Lookups whose key may come from outside: it names no file, and stands in no query that it could change. Without
# options, one of which would call the key our own.
_OF_NO_FILE = frozenset({"dnsdb", "passwd"})


def _read_tainted(kind: ListKind, text: str, settings: Settings) -> Entry:
    """Text from outside can't bring in files, tables or named lists. Exim finds that when it comes to the item."""
    negated = text.startswith("!")
    bare = taint_like(text[1:].lstrip(SPACE) if negated else str(text), text)
    lookup, semicolon, _ = bare.partition(";")
    if bare[:1] in ("/", "+") or (semicolon and lookup.strip(SPACE) not in _OF_NO_FILE):
        why = f"attempt to use tainted string '{printable(text)}' as a list item"
        return Single(text, negated, _failing(why), settings)
    return Single(text, negated, compile_item(kind, bare, settings.caseless), settings)


def _read_entry(kind: ListKind, text: str, settings: Settings) -> Entry:
    negated = text.startswith("!")
    bare = text[1:].lstrip(SPACE) if negated else text
    if bare.startswith("/"):
        return FileItem(text, negated, bare, settings)
    if bare.startswith("+"):
        return Named(text, negated, bare[1:])
    return Single(text, negated, compile_item(kind, bare, settings.caseless), settings)


def prepare(kind: ListKind, subject: AnySubject) -> Subject:
    """What all items of a list need of its subject, worked out once."""
    match subject:
        case HostSubject():
            address = read_address(subject.address)
            return Subject(subject.address, lower(subject.address), subject, address)
        case Address():
            text = "" if subject.is_null else f"{subject.local_part}@{subject.domain}"
            return Subject(text, lower(text))
        case str():
            if kind is ListKind.HOST:
                return prepare(kind, HostSubject(subject))
            return Subject(subject, taint_like(lower(subject), subject))


async def scan(kind: ListKind, entries: tuple[Entry, ...], subject: Subject, scope: Scope) -> ListAnswer:
    """Tries entries from left to right."""
    negated = False
    for entry in entries:
        negated = entry.negated
        match entry:
            case Single():
                answer = await _try_single(entry, subject, scope)
            case Named():
                answer = await _try_named(kind, entry, subject, scope)
            case FileItem():
                answer, negated = await _try_file(kind, entry, subject, scope)
        if answer is not None:
            return answer
    return ListMatch("end of list") if negated else ListMiss("end of list")


async def _try_single(entry: Single, subject: Subject, scope: Scope) -> ListAnswer | None:
    """The list's answer if this entry gives it."""
    settings = entry.settings
    try:
        hit = await entry.test(subject, scope)
    except UnknownHost as error:
        if settings.unknown is Policy.IGNORE:
            return None
        said = f"{entry.text} ({error})"
        return ListMatch(said) if settings.unknown is Policy.INCLUDE else ListMiss(said)
    except TemporaryFailure as error:
        if settings.deferred is Policy.IGNORE:
            return None
        if settings.deferred is Policy.INCLUDE:
            return ListMatch(f"{entry.text} ({error})")
        raise
    return None if hit is None else _answer(entry.text, entry.negated, hit)


def _answer(text: str, negated: bool, hit: Hit) -> ListAnswer:
    return ListMiss(text) if negated else ListMatch(text, hit.data, hit.captures)


async def _try_named(kind: ListKind, entry: Named, subject: Subject, scope: Scope) -> ListAnswer | None:
    found = scope.named_lists.find(kind, entry.name) if scope.named_lists else None
    if found is None:
        raise TemporaryFailure(f'unknown named {kind.value} list "+{entry.name}"')
    inner = await found.decide_prepared(subject, scope.deeper())
    if isinstance(inner, ListMiss):
        return None
    said = f"{entry.text} > {inner.decided_by}"
    return ListMiss(said) if entry.negated else ListMatch(said, inner.data, inner.captures)


async def _try_file(kind: ListKind, entry: FileItem, subject: Subject, scope: Scope) -> tuple[ListAnswer | None, bool]:
    """Every line as an item; the last line's sign counts as the list's last sign."""
    if scope.files is None:
        raise TemporaryFailure(f"files can't be read here ({entry.path})")
    lines = await scope.files.lines(entry.path)
    if lines != entry.lines:
        try:
            entry.entries = _read_file(kind, entry, lines)
        except BadItem as error:
            raise TemporaryFailure(f"{entry.path}: {error}") from None
        entry.lines = lines
    negated = entry.negated
    for line in entry.entries:
        negated = line.negated
        answer = await _try_single(line, subject, scope)
        if answer is not None:
            said = f"{answer.decided_by} in {entry.path}"
            match answer:
                case ListMatch():
                    # What a lookup found is not told: Exim gives the line.
                    return ListMatch(said, line.text.lstrip("!").lstrip(SPACE), answer.captures), negated
                case ListMiss():
                    return ListMiss(said), negated
    return None, negated


def _read_file(kind: ListKind, entry: FileItem, lines: tuple[str, ...]) -> tuple[Single, ...]:
    """The items of a file. A `#` begins a comment; in lists with local parts only behind white space."""
    needs_space = kind in (ListKind.ADDRESS, ListKind.LOCAL_PART)
    entries = []
    for line in lines:
        text = _without_comment(line, needs_space).strip(SPACE)
        if text:
            negated = text.startswith("!")
            bare = text[1:].lstrip(SPACE) if negated else text
            test = compile_item(kind, bare, entry.settings.caseless)
            entries.append(Single(text, negated != entry.negated, test, entry.settings))
    return tuple(entries)


def _without_comment(line: str, needs_space: bool) -> str:
    position = line.find("#")
    while position >= 0:
        if not needs_space or position == 0 or line[position - 1] in SPACE:
            return line[:position]
        position = line.find("#", position + 1)
    return line
