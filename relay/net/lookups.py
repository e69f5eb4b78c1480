"""The `Lookups` and `Files` ports: what is asked for is found in files that are kept and looked at again (edge).

A file is read in a thread, by the `call` that was given, and kept. Once a second at most somebody looks whether it has
changed; in between a linear search is answered at once. A pattern is compared in a thread too, since it may take long.
With `at_once` for `call` the same ports answer without a thread, for commands. How a type is written, and which keys
`partial-`, `*` and `*@` try one after the other, is decided in `expand/lookups.py`; reading is `tables.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

from relay.expand.values import from_octets, is_tainted, octets
from relay.mail.ports import Clock, NotOpened, TemporaryFailure
from relay.net import dnsdb, tables
from relay.net.cdb import ConstantDatabase, CorruptFile

# Seconds until a file is looked at again, and how many files are kept.
LOOK_AGAIN = 1.0
FILES_LIMIT = 256

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Call(Protocol):
    """How a blocking function is called: in a thread, or at once."""

    async def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...


async def at_once(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A `Call` for programs that have nothing else to do."""
    return function(*args, **kwargs)


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

    async def get(self, path: str, again: bool = False) -> T:
        """The content as of a second ago, and the time that looking takes, at most; as of now with `again`.

        Raises NotOpened.
        """
        now = self._clock.now()
        kept = self._kept.pop(path, None)
        if kept is not None:
            self._kept[path] = kept
            if not again and 0 <= now - kept.looked_at < LOOK_AGAIN:
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
    """The `Lookups` port: tables in files, users, databases, the DNS."""

    def __init__(self, call: Call, clock: Clock, ask: dnsdb.Ask = dnsdb.resolve) -> None:
        self._call = call
        self._ask = ask
        self._linear = KeptFiles(call, clock, "for linear search", tables.LinearTable)
        self._json = KeptFiles(call, clock, "for json search", tables.JSONTable)
        self._constant = KeptFiles(call, clock, "for cdb lookup", _read_constant)

    async def find(self, kind: str, key: str, source: str) -> str | None:
        """What belongs to a key in the file `source`, as plain text; for query-style types the key is the query.

        None: there is no such key. Raises NotOpened, TemporaryFailure.
        """
        name, *options = kind.split(",")
        match name:
            case "dnsdb":
                return await self._call(dnsdb.find, key, self._ask)
            case "passwd":
                return await self._call(tables.find_user, key)
            case "testdb":
                return _test_answer(key)
        if is_tainted(source):
            raise NotOpened(f"tainted filename for search '{source}'")
        if not source.startswith("/"):
            what = f"dirname '{source}' for dsearch is not absolute" if name == "dsearch" else ""
            raise NotOpened(what or f'absolute file name expected for "{name}" lookup')
        match name:
            case "sqlite":
                return await self._call(tables.query, source, key)
            case "dsearch":
                return await self._call(tables.find_in_directory, source, key, options)
            case "json":
                return (await self._json.get(source, "cache=no_rd" in options)).find(key)
            case "cdb":
                return _constant_data(await self._constant.get(source, "cache=no_rd" in options), key, source)
        record = await self._in_linear_file(name, key, source, "cache=no_rd" in options)
        if record is None:
            return None
        return record.full if "ret=full" in options else record.data

    async def _in_linear_file(self, name: str, key: str, path: str, again: bool) -> tables.Record | None:
        match name:
            case "lsearch":
                return (await self._linear.get(path, again)).exact(key)
            case "iplsearch":
                return (await self._linear.get(path, again)).holding(key)
            case "wildlsearch" | "nwildlsearch":
                table = await self._linear.get(path, again)
                return await self._call(table.matching, key, expanded=name == "wildlsearch")
        raise TemporaryFailure(f'lookup type "{name}" is not served')


def _test_answer(query: str) -> str | None:
    """The lookup type `testdb`: the query itself, but for two words."""
    if query == "defer":
        raise TemporaryFailure("testdb lookup forced DEFER")
    return None if query == "fail" else str(query)


def _read_constant(data: bytes) -> ConstantDatabase | None:
    """None: not a whole database; only `_constant_data` knows whose fault it is."""
    try:
        return ConstantDatabase(data)
    except CorruptFile:
        return None


def _constant_data(database: ConstantDatabase | None, key: str, path: str) -> str | None:
    if database is None:
        raise NotOpened(f"{path} too short for cdb lookup")
    try:
        found = database.find(octets(key))
    except CorruptFile as error:
        raise TemporaryFailure(f"cdb: corrupt cdb file {path} ({error})") from None
    return None if found is None else from_octets(found)
