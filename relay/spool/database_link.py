"""One connection to a PostgreSQL database, made when it is needed and given up when it fails (disk).

How to think of it. Each thread of the queue has a link of its own. A connection that has failed is never used again;
the next `get` makes a new one, and where that fails the tries after it are further and further apart, so that a
database that is away costs a sender one quick refusal and not a time-out each.

What we need of every session is set by us, whatever the server's file says: a commit waits for the disk, and a session
whose program has gone silent in the middle of a transaction is ended by the server by the end of the lease, because
its locks would keep others from taking over. Between two statements that is a time-out of the server's; within one
(half of it has come, or half of its answer is gone) only TCP can tell, so that both ends ask each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from relay.mail.ports import SpoolFull, SpoolUnavailable
from relay.spool import schema
from relay.spool.transaction import Execute, Row, Taken

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between tries to connect; each is twice the one before, and none is longer than a quarter of the lease."""
CONNECT_TIMEOUT = 5
_SETTINGS: dict[str, str | int] = {
    "synchronous_commit": "on",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
}

Connection = psycopg.Connection[tuple[Any, ...]]


def place_of(url: str) -> str:
    """The database as errors name it, without a password. Raises ValueError for what is no connection string."""
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ValueError(str(error).strip()) from None
    host, port, name = found.get("host", ""), found.get("port", ""), found.get("dbname", "")
    return f"postgresql://{host}{f':{port}' if port else ''}/{name}"


class DatabaseLink:
    """A connection that comes back.

    `lease` is how long an owner lives without a word, seconds. `elapsed` gives seconds of a clock that never goes back.
    """

    def __init__(self, url: str, purpose: str, lease: float, elapsed: Callable[[], float]) -> None:
        self.place = place_of(url)
        limit = max(int(lease * 1000), 1000)
        idle, interval, count = max(int(lease / 3), 1), max(int(lease / 6), 1), 2
        self._conninfo = make_conninfo(
            url,
            application_name=f"fingerpost {purpose}",
            connect_timeout=CONNECT_TIMEOUT,
            keepalives_idle=idle,
            keepalives_interval=interval,
            keepalives_count=count,
            tcp_user_timeout=limit,
        )
        silence = limit // 2
        self._settings = _SETTINGS | {
            "idle_in_transaction_session_timeout": silence,
            "lock_timeout": silence,
            "tcp_keepalives_idle": idle,
            "tcp_keepalives_interval": interval,
            "tcp_keepalives_count": count,
            "tcp_user_timeout": silence,
        }
        self._elapsed = elapsed
        self._connection: Connection | None = None
        self._statements: dict[str, str] = {}
        self._longest_pause = min(LONGEST_PAUSE, lease / 4)
        self._pause = 0.0
        self._not_before = 0.0
        self._last_trouble = ""

    @property
    def is_open(self) -> bool:
        """There is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    def get(self) -> Connection:
        """The connection; a new one after a failure. Raises SpoolUnavailable, psycopg.Error."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._elapsed() < self._not_before:
            raise SpoolUnavailable(self._last_trouble)
        try:
            self._connection = self._connect()
        except (psycopg.Error, SpoolUnavailable) as error:
            trouble = self.trouble(error)
            self._pause = min(self._pause * 2 or FIRST_PAUSE, self._longest_pause)
            self._not_before = self._elapsed() + self._pause
            self._last_trouble = str(trouble)
            raise trouble from error
        self._pause = self._not_before = 0.0
        return self._connection

    def hurry(self) -> None:
        """The next `get` tries at once, whatever failed before."""
        self._not_before = 0.0

    def give_up(self) -> None:
        """Closes the connection, which has failed or is not needed any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        connection: Connection = psycopg.connect(self._conninfo, autocommit=True)
        try:
            # One round trip.
            connection.execute(
                sql.SQL("; ").join(
                    sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
                    for name, value in self._settings.items()
                )
            )
            self._refuse_unsafe(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_unsafe(self, connection: Connection) -> None:
        """A server that forgets what it has confirmed can't keep a queue."""
        row = connection.execute("SELECT current_setting('fsync'), pg_is_in_recovery()").fetchone()
        assert row is not None
        if row[0] != "on":
            raise SpoolUnavailable(
                f"{self.place}: this server runs with fsync = off, a crash would lose accepted mail (set fsync = on)"
            )
        if row[1]:
            raise SpoolUnavailable(f"{self.place}: this server is a standby (name the primary)")
        if connection.info.server_version < 130000:
            raise SpoolUnavailable(f"{self.place}: this server is older than PostgreSQL 13 (upgrade it)")

    # Statements

    def executor(self, connection: Connection, made_due: Callable[[], None] = lambda: None) -> Execute:
        """Runs statements of `schema.py`; `made_due` is called where one may have made a message due for others."""
        cursor = connection.cursor(binary=True)

        def execute(statement: str, parameters: Sequence[object] = ()) -> list[Row]:
            text = self._statements.get(statement)
            if text is None:
                text = self._statements[statement] = schema.POSTGRESQL.translate(statement)
            try:
                # A text of schema.py, or of ours: psycopg's types want to be told that it is no outsider's.
                cursor.execute(text.encode("ascii"), parameters or None)
            except errors.UniqueViolation as error:
                raise Taken(str(error)) from error
            if schema.makes_due(statement, parameters):
                made_due()
            return cursor.fetchall() if cursor.description is not None else []

        return execute

    # Trouble

    def trouble(self, error: Exception) -> SpoolUnavailable:
        """The error as the operator's line: which database, what is wrong, what to do."""
        text = " ".join(str(error).split())
        match error:
            case SpoolUnavailable():
                return error
            case errors.DiskFull():
                return SpoolFull(f"{self.place}: no room on the database's disk (free some)")
            case errors.InsufficientPrivilege() | errors.InvalidAuthorizationSpecification() | errors.InvalidPassword():
                remedy = "let the role own the database"
            case errors.InvalidCatalogName():
                remedy = "make it with createdb"
            case errors.ReadOnlySqlTransaction():
                remedy = "name the primary server"
            case errors.OperationalError() | errors.InterfaceError():
                text = f"the database does not answer: {text}"
                remedy = "look at the server and the way to it"
            case _:
                text, remedy = f"{type(error).__name__}: {text}", "a fault of this program; please report it"
        return SpoolUnavailable(f"{self.place}: {text} ({remedy})")


def is_in_transaction(connection: Connection) -> bool:
    """The connection is alive and its transaction can be committed, or rolled back to a savepoint."""
    return connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)
