"""Reads the items of a list and tries them in their order (decision).

No expansion happens here: `lists.py` expands what is to be expanded and then comes here; the conditions `match_domain`
and its relatives, whose lists are never expanded, come directly.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.expand.addresses import read_address
from relay.expand.list_addresses import address_item
from relay.expand.list_items import (
    BadItem,
    Hit,
    HostSubject,
    ItemTest,
    ListKind,
    NoLookup,
    NoSuchList,
    Subject,
    UnknownHost,
    host_item,
    string_item,
)
from relay.expand.notes import Notes, shown_item
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
    told: str = field(default="", compare=False, repr=False)
    """How that is told to one who watches."""


@dataclass(frozen=True, slots=True)
class ListMiss:
    """The subject is not in the list, and what decided that."""

    decided_by: str
    told: str = field(default="", compare=False, repr=False)
    data: str | None = field(default=None, compare=False, repr=False)
    """What an item with `!` has found: for who watches, and for nothing else."""


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


@dataclass(frozen=True, slots=True)
class Word:
    """`+caseful` or `+include_unknown`: the items behind it know; it stands here to be told."""

    text: str


Entry = Single | Named | FileItem | Word

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


def _inner_list(kind: ListKind, items: tuple[str, ...], caseless: bool = True) -> ItemTest:
    """Items as a list inside of an item."""
    entries = read_entries(kind, items, caseless)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        telling = None
        if scope.notes is not None and kind is ListKind.DOMAIN:
            telling = Telling(scope.notes, f'{subject.text} in "{"".join(items).lstrip()}"?', is_inner=True)
        answer = await scan(kind, entries, subject, scope.deeper(), telling)
        return Hit(answer.data, answer.captures) if isinstance(answer, ListMatch) else None

    return matches


def _failing(why: str) -> ItemTest:
    """An item that can't be answered."""

    async def fail(_subject: Subject, _scope: Scope) -> Hit | None:
        raise TemporaryFailure(why)

    return fail


def read_entries(kind: ListKind, items: tuple[str, ...], caseless: bool = True) -> tuple[Entry, ...]:
    """The entries for the items of a list. Raises BadItem."""
    settings = Settings(caseless)
    entries: list[Entry] = []
    for text in items:
        if is_tainted(text):
            entries.append(_read_tainted(kind, text, settings))
        elif kind is ListKind.HOST and text in _OPTIONS:
            settings = _OPTIONS[text](settings)
            entries.append(Word(text))
        elif kind in (ListKind.ADDRESS, ListKind.LOCAL_PART) and text == "+caseful":
            settings = Settings(False, settings.unknown, settings.deferred)
            entries.append(Word(text))
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


@dataclass(slots=True)
class Telling:
    """Tells how the items of a list are tried; `asked` is the question (Exim: match_check_list).

    `keeps`: its answer need not be found again, unless an item changes that. `has_data`: somebody wants what an item
    stands for. `is_inner`: it is a part of an item; then nothing is kept at all.
    """

    notes: Notes
    asked: str
    keeps: bool = False
    has_data: bool = True
    is_inner: bool = False

    def begin(self) -> None:
        self.notes.say(self.asked)
        self.notes.level += 1

    def item(self, text: str) -> None:
        self.notes.say(f"list element: {shown_item(text)}")

    def end(self, answer: ListAnswer, by: Entry | None = None) -> None:
        """One of the items, or the end of the list, has decided."""
        word = "yes" if isinstance(answer, ListMatch) else "no"
        if isinstance(by, FileItem):
            # Exim says what the sign of the file gives, and does not look at that of the line.
            word = "no" if by.negated else "yes"
        if answer.decided_by == "end of list":
            self.notes.level -= 1
            self.notes.say(f"{self.asked} {word} (end of list)")
            return
        self.notes.say(f"{self.asked} {word} ({answer.told})")
        # Where no name was found Exim forgets to come back a step.
        self.notes.level -= answer.told.startswith('matched "')

    def deferred(self, text: str) -> None:
        self.notes.level -= 1
        self.notes.say(f"{self.asked} list match deferred for {text}")


async def scan(
    kind: ListKind, entries: tuple[Entry, ...], subject: Subject, scope: Scope, telling: Telling | None = None
) -> ListAnswer:
    """Tries entries from left to right."""
    negated = False
    if telling is not None:
        telling.begin()
    for entry in entries:
        if telling is not None:
            telling.item(entry.text)
        if isinstance(entry, Word):
            continue
        negated = entry.negated
        try:
            match entry:
                case Single():
                    answer = await _try_single(entry, subject, scope)
                case Named():
                    answer = await _try_named(kind, entry, subject, scope, telling)
                case FileItem():
                    answer, negated = await _try_file(kind, entry, subject, scope)
        except TemporaryFailure:
            if telling is not None:
                telling.deferred(entry.text)
            raise
        if answer is not None:
            if telling is not None:
                telling.end(answer, entry)
            return answer
    ended = ListMatch("end of list") if negated else ListMiss("end of list")
    if telling is not None:
        telling.end(ended)
    return ended


async def _try_single(entry: Single, subject: Subject, scope: Scope) -> ListAnswer | None:
    """The list's answer if this entry gives it."""
    settings = entry.settings
    try:
        hit = await entry.test(subject, scope)
    except UnknownHost as error:
        if settings.unknown is Policy.IGNORE:
            if scope.notes is not None:
                scope.notes.say(f"{error}: item ignored by +ignore_unknown")
            return None
        said, told = f"{entry.text} ({error})", str(error)
        return ListMatch(said, told=told) if settings.unknown is Policy.INCLUDE else ListMiss(said, told)
    except TemporaryFailure as error:
        if settings.deferred is Policy.IGNORE:
            if scope.notes is not None:
                scope.notes.say(f"{error}: item ignored by +ignore_defer")
            return None
        if settings.deferred is Policy.INCLUDE:
            return ListMatch(f"{entry.text} ({error})")
        raise
    return None if hit is None else _answer(entry.text, entry.negated, hit)


def _answer(text: str, negated: bool, hit: Hit) -> ListAnswer:
    told = f'matched "{text}"'
    return ListMiss(text, told, hit.data) if negated else ListMatch(text, hit.data, hit.captures, told)


async def _try_named(
    kind: ListKind, entry: Named, subject: Subject, scope: Scope, telling: Telling | None
) -> ListAnswer | None:
    found = scope.named_lists.find(kind, entry.name) if scope.named_lists else None
    if found is None:
        raise NoSuchList(f'unknown named {kind.value} list "+{entry.name}"')
    cached = ""
    if telling is None:
        inner = await found.decide_prepared(subject, scope.deeper())
    else:
        cached, inner = await _tell_named(found, kind, entry, subject, scope, telling)
    if isinstance(inner, ListMiss):
        return None
    said, told = f"{entry.text} > {inner.decided_by}", f'matched "{entry.text}"{cached}'
    return ListMiss(said, told) if entry.negated else ListMatch(said, inner.data, inner.captures, told)


async def _tell_named(
    found: Any, kind: ListKind, entry: Named, subject: Subject, scope: Scope, telling: Telling
) -> tuple[str, ListAnswer]:
    """The named list's answer, and a word where Exim would not have tried it again."""
    notes, key = telling.notes, (kind.value, entry.name, subject.text)
    name = entry.text.removeprefix("!").lstrip(SPACE)
    notes.say(f" start sublist {entry.name}")
    known = None if telling.is_inner else notes.results.get(key)
    if known is not None:
        word = "yes" if isinstance(known, ListMatch) else "no"
        notes.say(f"cached {word} match for {name}")
        if telling.has_data:
            notes.say(f"cached lookup data = {'NULL' if known.data is None else known.data}")
        return " - cached", known
    notes.level += 2
    answer: ListAnswer = await found.decide_prepared(subject, scope.deeper())
    notes.level -= 2
    notes.say(f" end sublist {entry.name}")
    if telling.is_inner or not notes.keeps:
        telling.keeps = False
        return "", answer
    notes.results[key] = answer
    if telling.has_data and answer.data is not None:
        notes.say(f"data from lookup saved for cache for {name}: key '{subject.folded}' value '{answer.data}'")
    return "", answer


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
            told = f"{answer.told} in {entry.path}" if answer.told.startswith("matched") else answer.told
            match answer:
                case ListMatch():
                    # What a lookup found is not told: Exim gives the line.
                    return ListMatch(said, line.text.lstrip("!").lstrip(SPACE), answer.captures, told), negated
                case ListMiss():
                    return ListMiss(said, told), negated
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
