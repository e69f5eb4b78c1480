"""Exim's lists of domains, local parts, addresses, hosts and strings (decision).

A list is read once. Its items are tried from left to right and the first that matches decides, `!` turning its yes into
a no; at the end the answer is the opposite of the last item's sign. A list with something to expand is expanded when it
is asked and read then, the last few readings being kept. Every answer names the item that gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure, NotServed
from relay.expand.evaluate import Expansion, broken_expansion, compile_expansion
from relay.expand.list_items import BadItem, HostSubject, ListKind, NoSuchList, Subject, confirmed_names
from relay.expand.list_scan import (
    AnySubject,
    Entry,
    ListAnswer,
    ListMatch,
    ListMiss,
    Named,
    Telling,
    prepare,
    read_entries,
    scan,
)
from relay.expand.notes import Notes
from relay.expand.scope import AddressView, Scope
from relay.expand.splitting import SPACE, split_list, split_pieces
from relay.expand.syntax import parse
from relay.expand.tree import Literal
from relay.expand.values import is_tainted
from relay.mail.ports import TemporaryFailure
from relay.mail.source import BUILT_IN, Location

__all__ = [
    "HostSubject",
    "ListAnswer",
    "ListKind",
    "ListMatch",
    "ListMiss",
    "MatchList",
    "NamedList",
    "NamedLists",
    "compile_list",
    "confirmed_names",
]

# How many readings of a list that changes are kept.
_READINGS = 8


class MatchList:
    """A compiled list. Made by `compile_list`."""

    __slots__ = ("_entries", "_expansion", "_readings", "_separator", "_text", "kind", "source", "title")

    def __init__(self, kind: ListKind, source: str, separator: str, body: str | Expansion) -> None:
        self.kind = kind
        self.source = source
        self.title = ""
        """The option whose value it is; "" for any other list."""
        self._separator = separator
        self._text = body if isinstance(body, str) else ""
        self._expansion = body if isinstance(body, Expansion) else None
        self._entries = read_entries(kind, split_list(body, separator).items) if isinstance(body, str) else ()
        self._readings: dict[tuple[str, ...], tuple[Entry, ...]] = {}

    def __repr__(self) -> str:
        return f"MatchList({self.kind.value!r}, {self.source!r})"

    @property
    def is_empty(self) -> bool:
        """True for a list without items, which matches nothing."""
        return self._expansion is None and not self._entries

    @property
    def matches_all(self) -> bool:
        """True for `*`: nobody needs to be asked anything."""
        return len(self._entries) == 1 and self._entries[0].text == "*"

    @property
    def fault(self) -> ExpansionError | None:
        """The mistake because of which it never has an answer."""
        return self._expansion.fault if self._expansion else None

    @property
    def names_used(self) -> frozenset[str]:
        """Variables that it mentions."""
        return self._expansion.names_used if self._expansion else frozenset()

    @property
    def lists_used(self) -> frozenset[tuple[ListKind, str]]:
        """Named lists that its constant items refer to."""
        return frozenset((self.kind, entry.name) for entry in self._entries if isinstance(entry, Named))

    @property
    def written(self) -> tuple[str, ...]:
        """The items as they are written, nothing expanded, `+` words and `!` with them."""
        return split_list(self.source).items

    async def match(self, subject: AnySubject, scope: Scope) -> ListMatch | None:
        """The match, or None where the subject is not in the list. Raises as `decide`."""
        answer = await self.decide(subject, scope)
        return answer if isinstance(answer, ListMatch) else None

    async def decide(self, subject: AnySubject, scope: Scope) -> ListAnswer:
        """The answer with the item that gave it.

        Raises TemporaryFailure where an item can't be answered now, and where the list can't be expanded; a forced
        failure of its expansion is a no (Exim: match_check_list).
        """
        return await self.decide_prepared(prepare(self.kind, subject), scope)

    async def decide_prepared(self, subject: Subject, scope: Scope) -> ListAnswer:
        """`decide` for a subject that another list has prepared."""
        try:
            if scope.notes is not None:
                return await self._told(subject, scope, scope.notes)
            entries = self._entries if self._expansion is None else (await self._expanded(subject, scope))[0]
            return await scan(self.kind, entries, subject, scope)
        except ForcedFailure:
            return ListMiss("forced failure")
        except (ExpansionFailed, BadItem) as error:
            kind = TemporaryFailure if self.fault is None else NoSuchList
            raise kind(f'failed to expand "{self.source}" while checking a list: {error}') from None

    async def _told(self, subject: Subject, scope: Scope, notes: Notes) -> ListAnswer:
        """The answer, each item being told."""
        entries, text = self._entries, self._text
        try:
            if self._expansion is not None:
                entries, text = await self._expanded(subject, scope)
        except ForcedFailure:
            notes.say(f'expansion of "{self.source}" forced failure: assume not in this list')
            raise
        name = self.title or f'"{text.lstrip()}"'
        telling = Telling(
            notes,
            f"{subject.title} in {name}?",
            keeps=self._expansion is None,
            has_data=not (self.title and self.kind is ListKind.HOST),
        )
        answer = await scan(self.kind, entries, subject, scope, telling)
        notes.keeps = telling.keeps
        return answer

    async def _expanded(self, subject: Subject, scope: Scope) -> tuple[tuple[Entry, ...], str]:
        """The entries as the list stands now, and its text."""
        assert self._expansion is not None
        if self.kind is ListKind.DOMAIN and scope.address is None:
            scope = scope.child(address=AddressView(domain=subject.text))
        pieces = await self._expansion.pieces(scope)
        items = split_pieces(pieces, self._separator)
        key = tuple(f"{'T' if is_tainted(item) else ' '}{item}" for item in items)
        entries = self._readings.get(key)
        if entries is None:
            entries = read_entries(self.kind, items)
            if len(self._readings) >= _READINGS:
                self._readings.pop(next(iter(self._readings)))
            self._readings[key] = entries
        return entries, "".join(pieces)


def compile_list_for_use(kind: ListKind, text: str, named: NamedLists | None = None) -> MatchList:
    """As `compile_list`, but a mistake in what is to be expanded is one of its use: whoever asks the list has no answer
    then, as when a lookup in it fails. `fault` tells of it beforehand. Raises ExpansionError for all else."""
    try:
        parse(text)
        if "$" in text:
            compile_expansion(text)
    except NotServed:
        raise
    except ExpansionError as error:
        return MatchList(kind, text, "", broken_expansion(text, error))
    return compile_list(kind, text, named)


def compile_list(kind: ListKind, text: str, named: NamedLists | None = None) -> MatchList:
    """Reads and compiles a list. Raises ExpansionError.

    With `named`, references to lists that are not there are errors as well; without, they are found when asked.
    """
    separator, start = "", 0
    tree = parse(text)
    bare = text.lstrip(SPACE)
    if bare[:1] == "<" and len(bare) > 1 and not bare[1].isalnum() and not bare[1].isspace() and bare[1] not in "\\$":
        separator, start = bare[1], len(text) - len(bare) + 2
    body: str | Expansion = text[start:]
    if not all(isinstance(node, Literal) for node in tree.nodes):
        body = compile_expansion(text[start:])
    elif "\\" in text:
        body = parse(text[start:]).constant or ""
    try:
        compiled = MatchList(kind, text, separator, body)
    except BadItem as error:
        raise ExpansionError(str(error), (0, len(text))) from None
    if named is not None:
        for list_kind, name in sorted(compiled.lists_used, key=str):
            if named.find(list_kind, name) is None:
                raise ExpansionError(f'unknown named {list_kind.value} list "+{name}"', _place(text, f"+{name}"))
    return compiled


def _place(text: str, part: str) -> tuple[int, int]:
    start = max(text.find(part), 0)
    return start, start + len(part)


@dataclass(frozen=True, slots=True)
class NamedList:
    """One named list as it was defined."""

    kind: ListKind
    name: str
    text: str
    location: Location = BUILT_IN
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class NamedLists:
    """All named lists of a configuration. They may refer to each other; each is compiled when first asked for."""

    definitions: Mapping[tuple[ListKind, str], NamedList] = field(default_factory=dict)
    _compiled: dict[tuple[ListKind, str], MatchList] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, *lists: NamedList) -> NamedLists:
        """From single definitions; the last of two with the same name holds."""
        return cls({(each.kind, each.name): each for each in lists})

    def find(self, kind: ListKind, name: str) -> MatchList | None:
        """The list, or None where there is none of that kind and name. Raises TemporaryFailure where it is broken."""
        key = (kind, name)
        found = self._compiled.get(key)
        if found is None and key in self.definitions:
            try:
                found = self._compiled[key] = compile_list(kind, self.definitions[key].text)
            except ExpansionError as error:
                raise TemporaryFailure(f'broken {kind.value} list "+{name}": {error.message}') from None
        return found

    def problems(self) -> list[tuple[NamedList, ExpansionError]]:
        """Every mistake in the definitions, references to lists that are not there included."""
        found = []
        for definition in self.definitions.values():
            try:
                compile_list(definition.kind, definition.text, self)
            except ExpansionError as error:
                found.append((definition, error))
            except TemporaryFailure:
                continue  # another list is broken, and has its own entry
        return found
