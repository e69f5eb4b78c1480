"""The queue in an SQLite database of its own directory, by apsw (disk).

Files: `queue.sqlite` with its -wal and -shm, `locks/` and `owners/` (see `files.py`). Modes 0700 and 0600.

How to think of it. One writing connection per process, used by one thread: `run` takes the lock of all
processes, runs the batch, commits with synchronous=FULL and gives the lock back; no transaction is open when
it returns. One reading connection, used by another thread. Checkpoints (WAL into the database) are taken out
of the commit path: `maintain` makes them, under the same lock, in the process that holds
`locks/checkpoint.lock`; any other does so only when the WAL has grown to several times the usual size, so
that an idle holder can't let it grow without bound.

Trouble. After a failed write, sync or commit nothing is known of what the kernel has on disk and what in
memory, so the connection is closed and the next batch begins with a new one that reads the state again. A
batch that found the disk full was rolled back for certain: its operations are then tried one by one, since a
settlement frees room and a big new message must not keep it from being recorded. A commit that failed in any
other way has the result `Unknown`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from relay.mail.ports import SpoolFull, SpoolUnavailable
from relay.spool import checking, files, schema
from relay.spool.store import Done, Fault, Finding, Mended, News, Operation, Reading, Recovery, Refused, Result, Unknown
from relay.spool.transaction import Execute, Row, SQLReading, SQLTransaction, Taken, release_owner

T = TypeVar("T")

CHECKPOINT_PAGES = 4000
"""Pages of 4 kB in the WAL after which it is written back into the database."""
OVERDUE = 4
"""At how many times CHECKPOINT_PAGES a process that is not the checkpointer does so, too."""

_UNIQUE = frozenset({apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_UNIQUE})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Abandoned(Exception):
    """The transaction can't go on; `trouble` is what to say of it."""

    def __init__(self, trouble: SpoolUnavailable) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


class SQLiteStore:
    """`store.Store` in the directory given.

    `patience`: how long to wait for another process or program that holds a lock, seconds. `pause` waits so
    many seconds. `vfs` names a VFS that is registered with SQLite, "" is the system's.
    """

    def __init__(
        self,
        directory: Path,
        *,
        patience: float = 5.0,
        pause: Callable[[float], object] | None = None,
        vfs: str = "",
    ) -> None:
        self.path = directory / "queue.sqlite"
        self._directory = directory
        self._patience = patience
        self._pause = pause or threading.Event().wait
        self._vfs = vfs
        self._statements: dict[str, str] = {}
        self._lock: files.WriteLock | None = None
        self._checkpointer: int | None = None
        self._owner: files.OwnerFile | None = None
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._wal_pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self._failed_commits = 0
        self._has_remains = False

    @property
    def exists(self) -> bool:
        """Whether there is a queue in the directory at all."""
        return self.path.exists()

    @property
    def owner(self) -> str:
        """The id under which this process holds claims; "" while the queue is not open."""
        return self._owner.owner if self._owner else ""

    # What Store promises

    has_leases = False

    def open(self, now: float) -> Recovery:
        try:
            for path in (self._directory, self._directory / "locks", self._directory / "owners"):
                files.make_directory(path)
            os.close(files.make_file(self.path))
            self._lock = files.WriteLock(self._directory / "locks", self._pause, self._patience)
            self._checkpointer = files.make_file(self._directory / "locks" / "checkpoint.lock")
            self._owner = files.OwnerFile(self._directory / "owners")
            with self._lock.held():
                self._migrate(self._writing())
            started = (self._owner.owner, os.getpid(), now, None)
            self._in_transaction(lambda execute: execute(schema.OWNER_ADD, started))
            return self.recover()
        except (apsw.Error, OSError) as error:
            trouble = self._trouble(error)
        except SpoolUnavailable as error:
            trouble = error
        self._let_go()
        raise trouble

    def run(self, operations: Sequence[Operation]) -> list[Result]:
        try:
            return self._run(operations)
        except (apsw.Error, OSError) as error:
            self._close_writer()
            trouble = self._trouble(error)
        except SpoolUnavailable as error:
            trouble = error
        return [Refused(trouble) for _ in operations]

    def maintain(self) -> None:
        if self._wal_pages < self._checkpoint_at or self._writer is None or self._lock is None:
            return
        if not self._is_checkpointer() and self._wal_pages < OVERDUE * CHECKPOINT_PAGES:
            return
        try:
            with self._lock.held():
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, TimeoutError):
            pass  # the WAL is as good a place; the next batch asks again
        except (apsw.Error, OSError):
            self._close_writer()
        # A reader may keep the WAL from starting anew: then it is written back in steps, not at every batch.
        self._checkpoint_at = self._wal_pages + CHECKPOINT_PAGES

    def read(self, question: Callable[[Reading], T]) -> T:
        try:
            connection = self._reading()
            execute = self._executor(connection)
            execute("BEGIN")
            try:
                return question(SQLReading(execute, self.owner))
            finally:
                if connection.in_transaction:
                    execute("ROLLBACK")
        except (apsw.Error, OSError) as error:
            self.close_reading()
            raise self._trouble(error) from error

    def recover(self, dead: Collection[str] = ()) -> Recovery:
        # Nobody has to name them: the locks tell who is dead.
        owners = self._directory / "owners"
        listed: list[Row] = self._in_transaction(lambda execute: execute(schema.OWNERS))
        known = {str(row[0]) for row in listed}
        recovery = Recovery()
        for owner in sorted(known.union(files.owner_ids(owners)) - {self.owner}):
            with files.dead_owner(owners, owner) as is_dead:
                if not is_dead or owner not in known:
                    continue
                recovery += Recovery(1, *self._in_transaction(partial(release_owner, owner=owner)))
        return recovery

    def close(self) -> None:
        try:
            if self._writer is not None and self._lock is not None and self._owner is not None:
                self._in_transaction(partial(release_owner, owner=self._owner.owner))
                if self._is_checkpointer():
                    with self._lock.held():
                        self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.Error, OSError, SpoolUnavailable):
            pass  # the next start finds a dead owner and does the same
        self._let_go()

    def watch(self, tell: Callable[[News], object]) -> None:
        """There is nothing to keep: the lock on its file says that an owner lives."""

    def stop_watching(self) -> None:
        """`watch` has ended."""

    def check(self, limit: int) -> tuple[Finding, ...]:
        def look(reading: Reading) -> tuple[Finding, ...]:
            assert isinstance(reading, SQLReading)
            texts = [str(row[0]) for row in reading.execute(f"PRAGMA integrity_check({limit:d})")]
            damage = [Finding(Fault.DATABASE, "", text) for text in texts if text != "ok"]
            return (*damage, *checking.find(reading.execute, limit))

        return self.read(look)

    def repair(self, findings: Sequence[Finding], now: float) -> tuple[Mended, ...]:
        return checking.repair(self.run, findings, now, self._lives)

    def close_reading(self) -> None:
        if self._reader is not None:
            self._reader.close(True)
            self._reader = None

    # Batches

    def _run(self, operations: Sequence[Operation]) -> list[Result]:
        assert self._lock is not None, "the queue is not open"
        with self._lock.held():
            try:
                return self._transact(operations)
            except _Abandoned as abandoned:
                self._close_writer()
                if not isinstance(abandoned.trouble, SpoolFull) or len(operations) == 1:
                    return [Refused(abandoned.trouble) for _ in operations]
        return [self.run([operation])[0] for operation in operations]

    def _transact(self, operations: Sequence[Operation]) -> list[Result]:
        """One transaction. Raises _Abandoned when it is certain that nothing of it was written."""
        connection = self._writing()
        execute = self._executor(connection)
        transaction = SQLTransaction(execute, self.owner)
        execute("BEGIN IMMEDIATE")
        if self._has_remains:
            # The failed commit may lie whole in the WAL, behind its valid part, where a crash would find it and take
            # it for good. Any write goes over it.
            execute(schema.META_PUT, ("failed_commits", f"{self.owner} {self._failed_commits}"))
        results = [self._step(operation, transaction, connection, execute) for operation in operations]
        try:
            execute("COMMIT")
        except apsw.Error as error:
            trouble = self._trouble(error)
            if isinstance(trouble, SpoolFull):
                raise _Abandoned(trouble) from error
            self._close_writer()
            self._failed_commits += 1
            self._has_remains = True
            return [Unknown(trouble) if isinstance(result, Done) else result for result in results]
        self._has_remains = False
        return results

    def _step(
        self, operation: Operation, transaction: SQLTransaction, connection: apsw.Connection, execute: Execute
    ) -> Result:
        """One operation in its savepoint. Raises _Abandoned when the transaction can't go on."""
        execute("SAVEPOINT operation")
        try:
            value = operation(transaction)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this operation's answer and nobody else's
            try:
                if not connection.in_transaction or _is_lasting(error):
                    raise _Abandoned(self._trouble(error))
                execute("ROLLBACK TO operation")
                execute("RELEASE operation")
            except apsw.Error as second:
                raise _Abandoned(self._trouble(second)) from second
            return Refused(self._trouble(error) if isinstance(error, apsw.Error) else error)
        execute("RELEASE operation")
        return Done(value)

    def _in_transaction(self, work: Callable[[Execute], T]) -> T:
        """A step of the store's own, committed."""
        assert self._lock is not None, "the queue is not open"
        with self._lock.held():
            execute = self._executor(self._writing())
            try:
                execute("BEGIN IMMEDIATE")
                value = work(execute)
                execute("COMMIT")
            except (apsw.Error, SpoolUnavailable) as error:
                self._close_writer()
                raise self._trouble(error) from error
            return value

    # Connections

    def _writing(self) -> apsw.Connection:
        """The writing connection; a new one after a failure. To be called with the lock held."""
        if self._writer is None:
            connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                connection.close(True)
                raise SpoolUnavailable(
                    f"{self.path}: no write-ahead log on this file system (put the queue on a local disk)"
                )
            connection.pragma("synchronous", "FULL")
            connection.pragma("wal_autocheckpoint", 0)
            connection.pragma("cache_size", -8192)
            connection.pragma("temp_store", "MEMORY")
            connection.pragma("journal_size_limit", 4096 * CHECKPOINT_PAGES)
            connection.set_wal_hook(self._committed)
            self._writer = connection
        return self._writer

    def _reading(self) -> apsw.Connection:
        if self._reader is None:
            connection = self._connect(apsw.SQLITE_OPEN_READWRITE)
            connection.pragma("wal_autocheckpoint", 0)
            connection.pragma("cache_size", -4096)
            connection.pragma("query_only", 1)
            self._reader = connection
        return self._reader

    def _connect(self, flags: int) -> apsw.Connection:
        if not self.path.exists():
            # Nothing may be made by accident, with the wrong owner, because a directory was mistyped.
            raise SpoolUnavailable(
                f"{self.path}: there is no queue here (start the daemon once, or name its directory)"
            )
        connection = apsw.Connection(str(self.path), flags=flags, vfs=self._vfs or None)
        connection.set_busy_timeout(int(self._patience * 1000))
        # The last one to close would otherwise checkpoint, outside of our lock and after a failed sync.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return connection

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        if pages < self._wal_pages:
            self._checkpoint_at = CHECKPOINT_PAGES
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _lives(self, owner: str) -> bool:
        """Whether its process is there, whatever the tables say: it delivers what it has and asks nobody."""
        with files.dead_owner(self._directory / "owners", owner) as dead:
            return not dead

    def _is_checkpointer(self) -> bool:
        return self._checkpointer is not None and files.try_lock(self._checkpointer)

    def _executor(self, connection: apsw.Connection) -> Execute:
        cursor = connection.cursor()

        def execute(statement: str, parameters: Sequence[object] = ()) -> list[Row]:
            text = self._statements.get(statement)
            if text is None:
                text = self._statements[statement] = schema.SQLITE.translate(statement)
            try:
                rows: list[Row] = cursor.execute(text, parameters).fetchall()
            except apsw.ConstraintError as error:
                if getattr(error, "extendedresult", 0) in _UNIQUE:
                    raise Taken(str(error)) from error
                raise
            return rows

        return execute

    def _migrate(self, connection: apsw.Connection) -> None:
        """Takes the tables to our version, each step in a transaction of its own."""
        execute = self._executor(connection)
        execute("BEGIN IMMEDIATE")
        try:
            tables = execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
            version = int(execute(schema.META_GET, ("schema_version",))[0][0]) if tables else 0
            if version > schema.SCHEMA_VERSION:
                raise SpoolUnavailable(
                    f"{self.path}: this queue was written by a newer version (schema {version}, this one knows"
                    f" {schema.SCHEMA_VERSION}; install the newer version again, or name another directory)"
                )
            for number, statements in enumerate(schema.MIGRATIONS[version:], version + 1):
                for statement in statements:
                    execute(statement)
                execute(schema.META_PUT, ("schema_version", str(number)))
            execute("COMMIT")
        finally:
            if connection.in_transaction:
                execute("ROLLBACK")

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close(True)
            self._writer = None
            self._wal_pages = 0

    def _let_go(self) -> None:
        self._close_writer()
        if self._owner is not None:
            self._owner.close()
        if self._lock is not None:
            self._lock.close()
        if self._checkpointer is not None:
            os.close(self._checkpointer)
        self._owner = self._lock = self._checkpointer = None

    # Trouble

    def _trouble(self, error: Exception) -> SpoolUnavailable:
        """The error as the operator's line: which file, what is wrong, what to do."""
        full = "no room on the disk (free some, or move the queue)"
        match error:
            case SpoolUnavailable():
                return error
            case apsw.FullError():
                return SpoolFull(f"{self.path}: {full}")
            case apsw.BusyError() | apsw.LockedError():
                what = "another program has the database locked"
                remedy = f"find it with `fuser {self.path}` and end it"
            case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.AuthError():
                what = f"can't be opened for writing: {error}"
                remedy = "give it and its directory to the user that the daemon runs as, mode 0600 and 0700"
            case apsw.CorruptError() | apsw.NotADBError():
                what = f"is damaged: {error}"
                remedy = "stop the daemon, copy the file with its -wal and -shm away, then look at the copy"
            case apsw.IOError():
                what, remedy = f"reading or writing failed: {error}", "look at the disk and the kernel's log"
            case TimeoutError():
                return SpoolUnavailable(f"{error} (find it with `fuser` and end it)")
            case OSError():
                if error.errno in _NO_ROOM:
                    return SpoolFull(f"{error.filename or self.path}: {full}")
                remedy = "give it to the user that the daemon runs as"
                if isinstance(error, FileExistsError | NotADirectoryError):
                    remedy = "name a directory for the queue"
                return SpoolUnavailable(f"{error.filename or self.path}: {error.strerror} ({remedy})")
            case _:
                what, remedy = f"{type(error).__name__}: {error}", "a fault of this program; please report it"
        return SpoolUnavailable(f"{self.path}: {what} ({remedy})")


def _is_lasting(error: Exception) -> bool:
    """Whether the error says something of the disk or the database rather than of one operation."""
    return isinstance(
        error, apsw.IOError | apsw.CorruptError | apsw.NotADBError | apsw.NoMemError | apsw.ReadOnlyError
        | apsw.BusyError | apsw.LockedError | apsw.CantOpenError | apsw.ProtocolError
    )  # fmt: skip
