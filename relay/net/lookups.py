"""The `Lookups` and `Files` ports: what is asked for is found in files that are kept and looked at again (edge).

A file is read in a thread, by the `call` that was given, and kept. Once a second at most somebody looks whether it has
changed; in between a linear search is answered at once. A pattern is compared in a thread too, since it may take long.
With `at_once` for `call` the same ports answer without a thread, for commands. How a type is written, and which keys
`partial-`, `*` and `*@` try one after the other, is decided here; reading is `tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

from relay.expand.values import is_tainted
from relay.mail.ports import Clock, TemporaryFailure
from relay.net import tables

# Seconds until a file is looked at again, and how many files are kept.
LOOK_AGAIN = 1.0
FILES_LIMIT = 256

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_SPACE = " \t\n\v\f\r"
_KIND = re.compile(
    r"(?P<partial>partial(?P<least>[0-9]*)(?:\((?P<affix>[^)]*)\)-?|-))?"
    r"(?P<name>[a-z0-9]+)(?P<default>\*@?)?(?:,(?P<options>.*))?"
)


class Call(Protocol):
    """How a blocking function is called: in a thread, or at once."""

    async def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...


async def at_once(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A `Call` for programs that have nothing else to do."""
    return function(*args, **kwargs)


# How lookups are written


@dataclass(frozen=True, slots=True)
class Request:
    """A lookup type with everything that was written around it."""

    name: str
    options: tuple[str, ...] = ()
    least: int | None = None
    """`partial`: how many components of the key must stay; None: only the whole key is tried."""
    affix: str = "*."
    default: str = ""
    """`*` or `*@`: the key to try in the end."""


def read_request(text: str) -> Request:
    """Reads a lookup type. Raises TemporaryFailure for what is none."""
    match = _KIND.fullmatch(text)
    if match is None:
        raise TemporaryFailure(f'format error in lookup type "{text}"')
    return Request(
        name=match["name"],
        options=tuple(option.strip(_SPACE) for option in (match["options"] or "").split(",")),
        least=int(match["least"] or 2) if match["partial"] else None,
        affix="*." if match["affix"] is None else match["affix"],
        default=match["default"] or "",
    )


def keys_to_try(request: Request, key: str) -> Iterator[str]:
    """The key itself, then what `partial` makes of it, then the defaults. Exim: search_find."""
    yield key
    if request.least is not None:
        yield from _partial_keys(key, request.least, request.affix)
    if request.default == "*@":
        at = key.rfind("@")
        if at > 0:
            yield f"*{key[at:]}"
    if request.default:
        yield "*"


def _partial_keys(key: str, least: int, affix: str) -> Iterator[str]:
    if affix:
        yield affix + key
    rest = key
    for _ in range(least, key.count(".") + 1):
        _, dot, rest = rest.partition(".")
        if dot:
            yield affix + rest
        elif affix:
            yield affix[:-1] if len(affix) > 1 and affix.endswith(".") else affix


# Files that are kept


@dataclass(slots=True)
class _Kept(Generic[T]):
    stamp: tables.Stamp
    content: T
    looked_at: float


class KeptFiles(Generic[T]):
    """Files as `make` reads them, the ones that were not asked for longest out first."""

    def __init__(self, call: Call, clock: Clock, purpose: str, make: Callable[[bytes], T]) -> None:
        self._call = call
        self._clock = clock
        self._purpose = purpose
        self._make = make
        self._kept: dict[str, _Kept[T]] = {}

    async def get(self, path: str) -> T:
        """The content as of a second ago, and the time that looking takes, at most. Raises TemporaryFailure."""
        now = self._clock.now()
        kept = self._kept.pop(path, None)
        if kept is not None:
            self._kept[path] = kept
            if 0 <= now - kept.looked_at < LOOK_AGAIN:
                return kept.content
            # Who asks while one looks is answered from what there is, else all would read the file at once.
            kept.looked_at = now
        try:
            fresh = await self._call(self._look, path, kept, now)
        except BaseException:
            self._kept.pop(path, None)
            raise
        self._kept.pop(path, None)
        self._kept[path] = fresh
        if len(self._kept) > FILES_LIMIT:
            del self._kept[next(iter(self._kept))]
        return fresh.content

    def _look(self, path: str, kept: _Kept[T] | None, now: float) -> _Kept[T]:
        """Blocking."""
        if kept is not None and tables.stamp_of(path, self._purpose) == kept.stamp:
            return _Kept(kept.stamp, kept.content, now)
        stamp, data = tables.read_file(path, self._purpose)
        return _Kept(stamp, self._make(data), now)


class ListFiles:
    """The `Files` port."""

    def __init__(self, call: Call, clock: Clock) -> None:
        self._files = KeptFiles(call, clock, "when checking a list", tables.read_lines)

    async def lines(self, path: str) -> tuple[str, ...]:
        """The lines without their ends. Raises TemporaryFailure."""
        return await self._files.get(path)


# Lookups


class FileLookups:
    """The `Lookups` port for the types that read files."""

    def __init__(self, call: Call, clock: Clock) -> None:
        self._call = call
        self._linear = KeptFiles(call, clock, "for linear search", tables.LinearTable)

    async def find(self, kind: str, key: str, source: str) -> str | None:
        """What belongs to a key in the file `source`, as plain text; for `sqlite` the key is the query.

        None: there is no such key. Raises TemporaryFailure.
        """
        request = read_request(kind)
        if request.name == "sqlite":
            return await self._query(request, key)
        path = source.strip(_SPACE)
        if is_tainted(source):
            raise TemporaryFailure(f"tainted filename for search '{path}'")
        if not path.startswith("/"):
            raise TemporaryFailure(f'absolute file name expected for "{request.name}" lookup')
        for each in keys_to_try(request, key):
            found = await self._find(request, each, path) if each else None
            if found is not None:
                return str(key) if "ret=key" in request.options else found
        return None

    async def _find(self, request: Request, key: str, path: str) -> str | None:
        record: tables.Record | None
        match request.name:
            case "lsearch":
                record = (await self._linear.get(path)).exact(key)
            case "iplsearch":
                record = (await self._linear.get(path)).holding(key)
            case "wildlsearch" | "nwildlsearch":
                table = await self._linear.get(path)
                record = await self._call(table.matching, key, expanded=request.name == "wildlsearch")
            case "dsearch":
                return await self._call(tables.find_in_directory, path, key, request.options)
            case _:
                raise TemporaryFailure(f'lookup type "{request.name}" is not served yet')
        if record is None:
            return None
        return record.full if "ret=full" in request.options else record.data

    async def _query(self, request: Request, text: str) -> str | None:
        """`sqlite,file=/path {SELECT …}`, or the old way, the file before the query."""
        statements = text.lstrip(_SPACE)
        path = next((option[5:] for option in request.options if option.startswith("file=")), "")
        if not path and statements.startswith("/"):
            end = next((place for place, each in enumerate(statements) if each in _SPACE), len(statements))
            path, statements = statements[:end], statements[end:].lstrip(_SPACE)
            if is_tainted(text):
                raise TemporaryFailure(f"tainted filename for search '{path}'")
        if not path.startswith("/"):
            raise TemporaryFailure('absolute file name expected for "sqlite" lookup')
        found = await self._call(tables.query, path, statements)
        return str(text) if found is not None and "ret=key" in request.options else found
