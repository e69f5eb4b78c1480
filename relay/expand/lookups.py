"""How lookups are named, which keys they try, and how they are asked (decision).

A lookup is written `type`, `partial-type`, `type*`, `type*@`, each perhaps with options behind a comma
(`type,ret=full`). Single-key types take a key and a file, query-style types one query. What is written around the name
(`partial`, the defaults, `ret=key`) is settled here; the port is asked for one key after the other and knows no more
than the name and its own options. A lookup without an answer is a TemporaryFailure, never a key that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.splitting import SPACE, split_list
from relay.expand.values import Quoted, Tainted, is_tainted, taint_like
from relay.mail.ports import Lookups, NotOpened, TemporaryFailure
from relay.mail.text import printable

SINGLE_KEY = frozenset({"cdb", "dsearch", "iplsearch", "json", "lsearch", "nwildlsearch", "wildlsearch"})
QUERY_STYLE = frozenset({"dnsdb", "passwd", "sqlite", "testdb"})
# Types of Exim's that there is no port for, and will not be; with what to do instead where there is something.
_LINEAR = "make a cdb file of it, or use lsearch"
_SERVER = "have its data written to an lsearch or cdb file, or to an SQLite database"
NOT_SERVED = {
    **dict.fromkeys(("dbm", "dbmjz", "dbmnz", "lmdb"), _LINEAR),
    **dict.fromkeys(("ibase", "ldap", "ldapdn", "ldapm", "mysql", "nis", "nis0", "nisplus"), _SERVER),
    **dict.fromkeys(("nmh", "oracle", "pgsql", "redis", "whoson"), _SERVER),
    "psl": "",
    "spf": "",
}
# Only a set of characters in the affix of `partial(affix)type`. Exim: ispunct.
_AFFIX = r"[!-'*-/:-@\[-`{-~(]*"
_KIND = re.compile(
    rf"(?P<partial>partial(?P<least>[0-9]{{0,4}})(?:\((?P<affix>{_AFFIX})\)|-))?"
    r"(?P<name>[A-Za-z0-9_-]*)(?P<default>\*@?)?(?:,(?P<options>.*))?",
    re.DOTALL,
)
_LOOKUP_SHAPE = re.compile(rf"(?:partial[0-9]*(?:\({_AFFIX}\)|-))?[A-Za-z][A-Za-z0-9]*(?:\*@?)?(?:,.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LookupKind:
    """A lookup type with everything that was written around it."""

    text: str
    """As it was written."""
    name: str
    is_query: bool
    options: tuple[str, ...] = ()
    """The type's own options, without those that hold for every type."""
    least: int | None = None
    """`partial`: how many components of the key must stay; None: only the whole key is tried."""
    affix: str = "*."
    default: str = ""
    """`*` or `*@`: the key to try in the end."""
    gives_key: bool = False
    """`ret=key`: the key is wanted, if it is there."""

    @property
    def is_partial(self) -> bool:
        return self.least is not None

    @property
    def question(self) -> str:
        """The type as the port knows it."""
        return ",".join((self.name, *self.options))


@dataclass(frozen=True, slots=True)
class Found:
    """What belongs to a key. `captures` is $1 and $2 where the key was found by a part of it: the part that was left
    out, and the rest. Exim: search_find."""

    data: str
    captures: tuple[str, ...] = ()


class UnknownLookup(Exception):
    """No such lookup type; the text is for the operator. `is_plain` where it can't but have been meant as one."""

    def __init__(self, text: str, is_plain: bool = True) -> None:
        super().__init__(text)
        self.is_plain = is_plain


def read_kind(text: str) -> LookupKind:
    """Reads a lookup type. Raises UnknownLookup."""
    match = _KIND.fullmatch(text)
    if match is None:
        if text.startswith("partial"):
            raise UnknownLookup(f'format error in lookup type "{text}"')
        raise UnknownLookup(f'unknown lookup type "{text}"', is_plain=_LOOKUP_SHAPE.fullmatch(text) is not None)
    name = match["name"]
    if name not in SINGLE_KEY and name not in QUERY_STYLE:
        if name in NOT_SERVED:
            advice = f": {NOT_SERVED[name]}" if NOT_SERVED[name] else ""
            raise UnknownLookup(f'lookup type "{name}" is not available here{advice}')
        if text.startswith("partial") and not match["partial"]:
            raise UnknownLookup(f'format error in lookup type "{text}"')
        is_plain = bool(match["partial"] or match["default"] or match["options"])
        raise UnknownLookup(f'unknown lookup type "{name}"', is_plain=is_plain or _resembles(name))
    is_query = name in QUERY_STYLE
    if is_query and match["partial"]:
        raise UnknownLookup(f'"partial" is not permitted for lookup type "{name}"')
    if is_query and match["default"]:
        raise UnknownLookup(f'defaults using "*" or "*@" are not permitted for lookup type "{name}"')
    options = split_list(match["options"] or "", ",").items
    return LookupKind(
        text=text,
        name=name,
        is_query=is_query,
        options=tuple(option for option in options if option not in ("", "ret=key")),
        least=int(match["least"] or 2) if match["partial"] else None,
        affix="*." if match["affix"] is None else match["affix"],
        default=match["default"] or "",
        gives_key="ret=key" in options,
    )


def _resembles(name: str) -> bool:
    """One letter is too many, too few or wrong: a name that was mistyped."""
    known = (*SINGLE_KEY, *QUERY_STYLE, *NOT_SERVED)
    return any(_is_near(name.lower(), each) for each in known if len(each) > 2)


def _is_near(one: str, other: str) -> bool:
    """At most one change, two letters that changed places among them."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(left), len(right)) <= 1 or (len(left) == 2 and left == right[::-1])


# Asking


async def find(scope: Scope, kind: LookupKind, key: str, source: str) -> Found | None:
    """Asks for a key in a file, or a query, which is then `key`.

    Raises ExpansionFailed for a file name from outside, TemporaryFailure where there is no answer now.
    """
    if kind.name == "sqlite":
        key, source = _database(scope, kind, key)
        if is_tainted(key) and not isinstance(key, Quoted) and not is_tainted(source):
            raise TemporaryFailure(
                f"tainted search query is not properly quoted: {printable(key)}"
                " (write ${quote_sqlite:...} around what comes from outside)"
            )
    elif kind.is_query:
        key = taint_like(key.lstrip(SPACE), key)
    if is_tainted(source):
        raise ExpansionFailed(
            f"tainted filename for search '{printable(source)}'"
            " (a name from outside has to be found first, for instance by dsearch in its directory)"
        )
    if scope.lookups is None:
        raise TemporaryFailure(f'lookup "{kind.text}" can\'t be made here')
    for attempt in _attempts(kind, key):
        found = await _ask(scope.lookups, kind, attempt.key, source, key)
        if found is not None:
            if kind.name == "dnsdb":
                found = Tainted(found)  # whoever runs the zone wrote it. Exim: dnsdb_find
            return Found(str(key) if kind.gives_key else found, attempt.captures)
    return None


async def _ask(port: Lookups, kind: LookupKind, attempt: str, source: str, key: str) -> str | None:
    """One question. An empty key is in no table, but the table has to be there."""
    if not attempt and kind.is_query and kind.name != "sqlite":
        return None
    try:
        found = await port.find(kind.question, attempt, source)
    except NotOpened:
        raise
    except TemporaryFailure as error:
        if not attempt:
            return None
        raise TemporaryFailure(f'lookup of "{printable(key)}" gave DEFER: {error}') from error
    return found if attempt else None


def _database(scope: Scope, kind: LookupKind, query: str) -> tuple[str, str]:
    """Query and file of SQLite: `sqlite,file=/path {SELECT …}`; or the file before the query; or the main option
    `sqlite_dbfile`."""
    statements = query.lstrip(SPACE)
    path = next((option[5:] for option in kind.options if option.startswith("file=")), "")
    if path or not statements.startswith("/"):
        whole = Quoted(statements) if isinstance(query, Quoted) else taint_like(statements, query)
        return whole, path or scope.main.get("sqlite_dbfile", "")
    end = next((place for place, each in enumerate(statements) if each in SPACE), len(statements))
    return taint_like(statements[end:].lstrip(SPACE), query), taint_like(statements[:end], query)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A key to try, and $1 and $2 if it is there."""

    key: str
    captures: tuple[str, ...] = ()


def _attempts(kind: LookupKind, key: str) -> Iterator[Attempt]:
    """The key itself, then what `partial` makes of it, then the defaults. What is fixed in a partial match is no
    longer from outside: the table has it. Exim: search_find."""
    if kind.least is None:
        yield Attempt(key)
    else:
        yield from _partial(kind.least, kind.affix, key)
    at = key.rfind("@")
    if kind.default == "*@" and at > 0:
        yield Attempt(taint_like(f"*{key[at:]}", key), (taint_like(key[:at], key), ""))
    if kind.default:
        yield Attempt("*", (taint_like(str(key), key), ""))


def _partial(least: int, affix: str, key: str) -> Iterator[Attempt]:
    yield Attempt(key, ("", str(key)))
    if affix:
        yield Attempt(taint_like(affix + key, key), ("", str(key)))
    rest = str(key)
    for _ in range(least, key.count(".") + 1):
        _, dot, rest = rest.partition(".")
        wild = key[: max(len(key) - len(rest) - 1, 0)]  # with nothing left Exim still leaves an octet for the dot
        if dot:
            yield Attempt(taint_like(affix + rest, key), (taint_like(wild, key), rest))
        elif affix:
            yield Attempt(affix[:-1] if len(affix) > 1 and affix.endswith(".") else affix, (taint_like(wild, key), ""))
