"""Both engines behind one face, so that the same tests play with each."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Store
from spool import samples
from spool.postgres_server import Server

from interop.peers import wait_until

if TYPE_CHECKING:
    from relay.spool.postgresql import PostgreSQLStore  # without psycopg the other engine is still tested


class Engine(Protocol):
    """One queue, and any number of processes that have it open."""

    name: str

    def store(self) -> Store:
        """Another process that has not opened it yet."""
        ...

    def opened(self) -> Store:
        """Another process."""
        ...

    def die(self, store: Store) -> None:
        """kill -9, and the time after which others may know of it."""
        ...

    def close(self) -> None:
        """Whatever was opened."""
        ...


class SQLiteEngine:
    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stores: list[SQLiteStore] = []

    def store(self) -> SQLiteStore:
        store = SQLiteStore(self._directory / "queue", patience=0.02)
        self._stores.append(store)
        return store

    def opened(self) -> SQLiteStore:
        store = self.store()
        store.open(samples.NOW)
        return store

    def die(self, store: Store) -> None:
        assert isinstance(store, SQLiteStore)
        samples.die(store)

    def close(self) -> None:
        for store in self._stores:
            store.close_reading()
            store.close()


class PostgreSQLEngine:
    name = "postgresql"

    def __init__(self, server: Server, schema: str) -> None:
        self.server = server
        self.url = server.url(schema)
        self._schema = schema
        self._stores: list[PostgreSQLStore] = []
        self._hand: Any = None

    def store(self, **arguments: Any) -> PostgreSQLStore:
        from relay.spool.postgresql import PostgreSQLStore

        arguments = {"elapsed": time.monotonic, "pause": threading.Event().wait} | arguments
        store = PostgreSQLStore(self.url, **arguments)
        self._stores.append(store)
        return store

    def opened(self, **arguments: Any) -> PostgreSQLStore:
        store = self.store(**arguments)
        store.open(samples.NOW)
        return store

    def die(self, store: Store) -> None:
        found = next(each for each in self._stores if each is store)
        self.silence(found)
        self._stores.remove(found)
        found.close_reading()
        found._let_go()
        # The kernel tells the server that the other end is gone; until it has read that, it holds the locks.
        open_ones = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'fingerpost writer' AND xact_start IS NOT NULL"
        )
        wait_until("the dead one's transaction to end", lambda: not self.sql(open_ones))

    def empty(self) -> None:
        """As new, without the cost of making tables."""
        self._close_stores()
        tables = ("owner", "batch", "message", "recipient", "chunk", "arriving", "hint", "aside")
        self.sql("; ".join(f"DELETE FROM {table}" for table in tables))

    def silence(self, store: PostgreSQLStore) -> None:
        """The lease of this process is over, whatever it thinks."""
        self.sql("UPDATE owner SET lease = 0 WHERE owner = %s", store.owner)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """By hand, beside all stores."""
        if self._hand is None:
            self._hand = self.server.connect()
            self._hand.execute(f'SET search_path = "{self._schema}"')
        cursor = self._hand.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self._close_stores()
        if self._hand is not None:
            self._hand.close()
            self._hand = None

    def _close_stores(self) -> None:
        for store in self._stores:
            store.close_reading()
            store.close()
        self._stores.clear()
