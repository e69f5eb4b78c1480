"""Which engine the main option `queue` names (disk).

`sqlite:/directory` is a queue of this host alone; `postgresql://user@host/database`, any connection string of libpq's
that begins so, is one that several hosts share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Store


class NoEngine(ValueError):
    """The option names no queue that can be had here; the text says why, `remedy` what to write or to install."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def make_store(
    queue: str, *, elapsed: Callable[[], float], pause: Callable[[float], object], lease: float = 30.0
) -> Store:
    """The store, not opened: nothing is touched. `elapsed` is a clock that never goes back, `pause` waits so many
    seconds, `lease` is how long an owner lives without a word where hosts share the queue. Raises NoEngine."""
    kind, _, place = queue.partition(":")
    if kind == "sqlite" and place.startswith("/"):
        return SQLiteStore(Path(place), pause=pause)
    if kind != "postgresql":
        raise NoEngine(f'"{queue}" names no database', "write queue = sqlite:/path/to/directory")
    try:
        from relay.spool.postgresql import PostgreSQLStore  # an extra that few need
    except ImportError as error:
        raise NoEngine(f"a queue in PostgreSQL needs psycopg ({error})", "install fingerpost[postgresql]") from None
    try:
        return PostgreSQLStore(queue, elapsed=elapsed, pause=pause, lease=lease)
    except ValueError as error:
        # The string itself is not shown: it may have a password in it.
        remedy = "write queue = postgresql://USER@HOST/DATABASE"
        raise NoEngine(f"no connection string of PostgreSQL's: {error}", remedy) from None
