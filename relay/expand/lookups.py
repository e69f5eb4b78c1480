"""How lookups are named, and how they are asked (decision).

A lookup is written `type`, `partial-type`, `type*`, `type*@`, each perhaps with options behind a comma
(`type,ret=full`). Single-key types take a key and a file, query-style types one query. The asking itself is a port's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.values import is_tainted
from relay.mail.ports import TemporaryFailure

SINGLE_KEY = frozenset({"cdb", "dsearch", "iplsearch", "json", "lsearch", "nwildlsearch", "wildlsearch"})
QUERY_STYLE = frozenset({"dnsdb", "sqlite"})
# Types of Exim's that there is no port for, and will not be.
NOT_SERVED = frozenset(
    {"dbm", "dbmjz", "dbmnz", "ibase", "ldap", "ldapdn", "ldapm", "lmdb", "mysql", "nis", "nis0", "nisplus", "oracle"}
    | {"passwd", "pgsql", "psl", "redis", "spf", "testdb", "whoson"}
)

_KIND = re.compile(
    r"(?:partial(?P<dots>[0-9]*)(?P<affix>\([^)]*\))?-)?(?P<name>[a-z0-9]+)(?P<star>\*@?)?(?:,(?P<options>.*))?"
)


@dataclass(frozen=True, slots=True)
class LookupKind:
    """A lookup type as it was written."""

    text: str
    name: str
    is_query: bool
    is_partial: bool


class UnknownLookup(Exception):
    """No such lookup type; the text is for the operator."""


def read_kind(text: str) -> LookupKind:
    """Reads a lookup type. Raises UnknownLookup."""
    match = _KIND.fullmatch(text)
    name = match["name"] if match else text
    if match is None or (name not in SINGLE_KEY and name not in QUERY_STYLE):
        if name in NOT_SERVED:
            raise UnknownLookup(f'lookup type "{name}" is not available here')
        raise UnknownLookup(f'unknown lookup type "{text}"')
    is_partial = text.startswith("partial")
    is_query = name in QUERY_STYLE
    if is_query and (is_partial or match["star"]):
        raise UnknownLookup(f'"partial" or a default is not permitted for lookup type "{name}"')
    return LookupKind(text, name, is_query, is_partial)


async def find(scope: Scope, kind: LookupKind, key: str, source: str) -> str | None:
    """Asks. Raises ExpansionFailed for a file name from outside, TemporaryFailure where there is no answer now."""
    if not kind.is_query and is_tainted(source):
        raise ExpansionFailed(f"tainted filename for search '{source}'")
    if scope.lookups is None:
        raise TemporaryFailure(f'lookup "{kind.text}" can\'t be made here')
    return await scope.lookups.find(kind.text, key, source)
