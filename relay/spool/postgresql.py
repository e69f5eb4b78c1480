"""The queue in a PostgreSQL database that several hosts share (disk).

How to think of it. Any host accepts, any host delivers. Three connections per process, each used by one thread: one
writes, one reads, one keeps the lease. A claim belongs to an owner, and an owner lives as long as it renews its lease,
by the database's clock; whose lease is over is taken over from by whoever sees it first. Every batch begins by
locking its owner's row against that: an owner that was given up for dead finds no row, registers again, and finds its
claims gone.

Trouble. Before COMMIT is sent a failure is certain: nothing was written, and a batch that found only its connection
dead is run once more on a new one. Every batch writes its number beside its owner, so that a commit whose answer was
lost can be asked for; only where the database does not come back in time is the result `Unknown`. (PostgreSQL's own
transaction ids are no proof: a server that crashes may give one of them to another transaction.)

What is made due for others is told by NOTIFY, after the commit and in a transaction of its own: inside of the
first it would make all commits of the database wait for each other.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import psycopg
from psycopg import errors

from relay.mail.ports import SpoolUnavailable
from relay.spool import checking, schema
from relay.spool.database_link import Connection, DatabaseLink, is_in_transaction
from relay.spool.store import (
    Done,
    Finding,
    LeaseLost,
    Mended,
    News,
    Operation,
    Owners,
    Reading,
    Recovery,
    Refused,
    Result,
    SomethingDue,
    Unknown,
)
from relay.spool.transaction import Execute, SQLReading, SQLTransaction, Taken, release_owner

T = TypeVar("T")

LEASE = 30.0
"""Seconds that an owner lives without a word."""
CHANNEL = "fingerpost_queue"
_MIGRATION_LOCK = 0x66696E67
"""The key of the advisory lock under which tables are made: "fing"."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5

_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A session that still waits for a word of ours that went astray. Should its number be another one's by now, that one
# finds its connection dead and tries again.
_END_SESSION = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE usename = current_user AND pid = ? AND xact_start IS NOT NULL AND state <> 'active'"""
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', ?)"
_ANYTHING = "SELECT 1"
# For a transaction whose other end is gone: the server ends it as soon as it reads that.
_WAIT_BRIEFLY = "SET LOCAL lock_timeout = 2000"

_OF_NEIGHBOURS = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
"""Errors that others caused, and that another try mends."""


class _Abandoned(Exception):
    """The batch can't go on, and for certain nothing of it was written.

    `is_stale`: only the connection was to blame. `one_by_one`: others were in the way of one of its operations.
    """

    def __init__(self, trouble: SpoolUnavailable, *, is_stale: bool = False, one_by_one: bool = False) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.is_stale = is_stale
        self.one_by_one = one_by_one


class PostgreSQLStore:
    """`store.Store` in the database that a connection string of libpq's names.

    `elapsed` gives seconds of a clock that never goes back. `lease`: how long an owner lives without a word, seconds.
    `patience`: how long to ask for the result of a commit whose answer was lost. `pause` waits so many seconds.
    Raises ValueError where `url` is no connection string.
    """

    has_leases = True

    def __init__(
        self,
        url: str,
        *,
        elapsed: Callable[[], float],
        pause: Callable[[float], object],
        lease: float = LEASE,
        patience: float = 5.0,
    ) -> None:
        self._pause = pause
        self._elapsed = elapsed
        self._patience = patience
        self._lease = lease
        self._writing = DatabaseLink(url, "writer", lease, elapsed)
        self._reading = DatabaseLink(url, "reader", lease, elapsed)
        self._keeping = DatabaseLink(url, "lease", lease, elapsed)
        self.place = self._writing.place
        self._owner = ""
        self._batch = 0
        self._has_news = False
        self._judges_from = 0.0
        self._owners = 1
        self._heard = False
        self._wake: tuple[int, int] | None = None

    @property
    def owner(self) -> str:
        """The id under which this process holds claims; "" while the queue is not open."""
        return self._owner

    @property
    def exists(self) -> bool:
        """Only the server knows, and says so."""
        return True

    # What Store promises

    def open(self, now: float) -> Recovery:
        try:
            self._migrate()
            self._owner = secrets.token_hex(8)
            self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._in_transaction(self._writing, self._register)
            return self.recover()
        except (psycopg.Error, SpoolUnavailable) as error:
            trouble = self._writing.trouble(error)
        self._let_go()
        raise trouble

    def run(self, operations: Sequence[Operation]) -> list[Result]:
        try:
            was_open = self._writing.is_open
            try:
                return self._transact(operations)
            except _Abandoned as abandoned:
                self._writing.give_up()
                if abandoned.one_by_one and len(operations) > 1:
                    return [self.run([operation])[0] for operation in operations]
                if not (abandoned.one_by_one or (abandoned.is_stale and was_open)):
                    raise
                return self._transact(operations)
        except _Abandoned as abandoned:
            self._writing.give_up()
            trouble = abandoned.trouble
        except (psycopg.Error, SpoolUnavailable) as error:
            self._writing.give_up()
            trouble = self._writing.trouble(error)
        return [Refused(trouble) for _ in operations]

    def maintain(self) -> None:
        """Tells the others; nothing else is better done between batches, the server does it by itself."""
        if not self._has_news or not self._writing.is_open:
            return
        self._has_news = False
        try:
            self._notify(self._writing)
        except (psycopg.Error, SpoolUnavailable):
            self._writing.give_up()  # they look by themselves, a little later

    def read(self, question: Callable[[Reading], T]) -> T:
        was_open = self._reading.is_open
        try:
            return self._ask(question)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._reading.give_up()
            if not was_open:
                raise self._reading.trouble(error) from error
        except psycopg.Error as error:
            self._reading.give_up()
            raise self._reading.trouble(error) from error
        try:
            return self._ask(question)  # the connection had died while nobody asked anything
        except psycopg.Error as error:
            self._reading.give_up()
            raise self._reading.trouble(error) from error

    def recover(self, dead: Collection[str] = ()) -> Recovery:
        try:
            recovery = self._in_transaction(self._writing, self._take_over)
            for owner in dead:
                recovery += self._take_over_at_once(owner)
        except psycopg.Error as error:
            raise self._writing.trouble(error) from error
        return recovery

    def close(self) -> None:
        try:
            if self._owner:
                self._in_transaction(self._writing, lambda execute: release_owner(execute, self._owner))
                self._notify(self._writing)
        except (psycopg.Error, SpoolUnavailable):
            pass  # the lease ends by itself, and others do the same
        self._let_go()

    def close_reading(self) -> None:
        self._reading.give_up()

    def check(self, limit: int) -> tuple[Finding, ...]:
        def look(reading: Reading) -> tuple[Finding, ...]:
            assert isinstance(reading, SQLReading)
            return tuple(checking.find(reading.execute, limit))

        return self.read(look)

    def repair(self, findings: Sequence[Finding], now: float) -> tuple[Mended, ...]:
        # Without a row there is no lease, and without a lease nobody acts.
        return checking.repair(self.run, findings, now, lambda owner: False)

    # Batches

    def _transact(self, operations: Sequence[Operation]) -> list[Result]:
        """One transaction. Raises _Abandoned, and psycopg.Error before it has begun: nothing was written."""
        assert self._owner, "the queue is not open"
        connection = self._writing.get()
        execute = self._writing.executor(connection, self._made_due)
        transaction = SQLTransaction(execute, self._owner)
        try:
            execute("BEGIN")
            self._hold(execute)
            self._batch += 1
            execute(schema.BATCH_MARK, (self._owner, self._batch))
        except psycopg.Error as error:
            raise _Abandoned(self._writing.trouble(error), is_stale=_is_of_connection(error)) from error
        results = [self._step(operation, transaction, connection, execute) for operation in operations]
        try:
            execute("COMMIT")
        except psycopg.Error as error:
            session = connection.info.backend_pid
            self._writing.give_up()
            return self._after_lost_commit(session, results, self._writing.trouble(error))
        return results

    def _hold(self, execute: Execute) -> None:
        """Keeps others from taking over before this batch is through."""
        if not execute(schema.OWNER_HOLD, (self._owner,)):
            self._register(execute)

    def _step(
        self, operation: Operation, transaction: SQLTransaction, connection: Connection, execute: Execute
    ) -> Result:
        """One operation in its savepoint. Raises _Abandoned when the transaction can't go on."""
        try:
            execute("SAVEPOINT operation")
            try:
                value = operation(transaction)
            except Exception as error:
                # Whatever it is, it is this operation's answer and nobody else's, as long as the batch can go on.
                if isinstance(error, _OF_NEIGHBOURS) or not is_in_transaction(connection):
                    raise
                execute("ROLLBACK TO operation")
                execute("RELEASE operation")
                return Refused(self._writing.trouble(error) if isinstance(error, psycopg.Error) else error)
            # Of a transaction that has failed this is an error; COMMIT would be a ROLLBACK without a word.
            execute("RELEASE operation")
        except _OF_NEIGHBOURS as error:
            raise _Abandoned(self._writing.trouble(error), one_by_one=True) from error
        except Exception as error:
            raise _Abandoned(self._writing.trouble(error), is_stale=not is_in_transaction(connection)) from error
        return Done(value)

    def _after_lost_commit(self, session: int, results: list[Result], trouble: SpoolUnavailable) -> list[Result]:
        """What became of a batch whose COMMIT was sent, in that session of the server's, and not answered."""
        # By the clock: where nothing goes through, a try alone takes as long as connecting may take.
        end, pause = self._elapsed() + self._patience, _FIRST_PAUSE
        while self._elapsed() < end:
            self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            self._writing.hurry()
            match self._was_committed(session):
                case True:
                    return results
                case False:
                    return [Refused(trouble) if isinstance(each, Done) else each for each in results]
        return [Unknown(trouble) if isinstance(each, Done) else each for each in results]

    def _was_committed(self, session: int) -> bool | None:
        """Whether the last batch is in the database; None where nobody can tell, now or any more.

        While its session is in the middle of it, it holds its owner's row, which is waited for.
        """

        def look(execute: Execute) -> bool | None:
            execute(_WAIT_BRIEFLY)
            if not execute(schema.OWNER_TAKE, (self._owner,)):
                return None  # others have taken over, and with it the number is gone
            found = execute(schema.BATCH_LAST, (self._owner,))
            return bool(found) and int(found[0][0]) == self._batch

        try:
            self._writing.executor(self._writing.get())(_END_SESSION, (session,))
            return self._in_transaction(self._writing, look)
        except (psycopg.Error, SpoolUnavailable):
            self._writing.give_up()
            return None

    def _ask(self, question: Callable[[Reading], T]) -> T:
        connection = self._reading.get()
        execute = self._reading.executor(connection)
        execute(_BEGIN_READING)
        try:
            return question(SQLReading(execute, self._owner))
        finally:
            if is_in_transaction(connection):
                execute("ROLLBACK")

    @staticmethod
    def _in_transaction(link: DatabaseLink, work: Callable[[Execute], T]) -> T:
        """A step of the store's own, committed. Raises psycopg.Error, SpoolUnavailable."""
        execute = link.executor(link.get())
        try:
            execute("BEGIN")
            value = work(execute)
            execute("COMMIT")
        except BaseException:
            link.give_up()
            raise
        return value

    def _made_due(self) -> None:
        self._has_news = True

    def _notify(self, link: DatabaseLink) -> None:
        link.executor(link.get())(_NOTIFY, (self._owner,))

    # Owners

    def _register(self, execute: Execute) -> None:
        execute(schema.OWNER_REGISTER, (self._owner, os.getpid(), self._lease))

    def _take_over(self, execute: Execute) -> Recovery:
        """From every owner whose lease is over; those that are in the middle of a batch are alive."""
        recovery = Recovery()
        for (owner,) in execute(schema.OWNERS_DEAD, (self._owner,)):
            recovery += Recovery(1, *release_owner(execute, owner))
        return recovery

    def _take_over_at_once(self, owner: str) -> Recovery:
        """From an owner whose process is gone, whatever is left of its lease. A batch that it had sent ends first;
        where that takes long, its lease is over sooner or later."""

        def work(execute: Execute) -> Recovery:
            execute(_WAIT_BRIEFLY)
            known = owner != self._owner and execute(schema.OWNER_TAKE, (owner,))
            return Recovery(1, *release_owner(execute, owner)) if known else Recovery()

        try:
            return self._in_transaction(self._writing, work)
        except errors.LockNotAvailable:
            return Recovery()

    def watch(self, tell: Callable[[News], object]) -> None:
        assert self._wake is not None, "the queue is not open"
        has_failed, is_first = True, True
        while True:
            try:
                connection = self._keeping.get()
                if has_failed:
                    # A database that was away for all: who lives has a lease's time to say so.
                    self._judges_from = self._elapsed() + (0.0 if is_first else self._lease)
                    is_first = False
                    connection.add_notify_handler(self._hear)
                    connection.execute(f"LISTEN {CHANNEL}")
                    tell(SomethingDue())  # what was told meanwhile, nobody heard
                has_failed = False
                self._beat(tell)
                goes_on = self._wait(connection, tell)
            except (psycopg.Error, SpoolUnavailable):
                has_failed = True
                self._keeping.give_up()
                goes_on = self._wait(None, tell)
            if not goes_on:
                break
        self._keeping.give_up()

    def stop_watching(self) -> None:
        if self._wake is not None:
            os.write(self._wake[1], b"x")

    def _beat(self, tell: Callable[[News], object]) -> None:
        """One renewal of the lease, and a look at the others."""
        execute = self._keeping.executor(self._keeping.get())
        if not execute(schema.OWNER_BEAT, (self._lease, self._owner)):
            try:
                self._register(execute)
            except Taken:
                pass  # a batch was quicker
            tell(LeaseLost())
        if self._elapsed() >= self._judges_from:
            recovery = self._in_transaction(self._keeping, self._take_over)
            if recovery.owners:
                tell(recovery)
                self._notify(self._keeping)
        owners = int(execute(schema.OWNER_COUNT)[0][0])
        if owners != self._owners:
            self._owners = owners
            tell(Owners(owners))

    def _wait(self, connection: Connection | None, tell: Callable[[News], object]) -> bool:
        """Until the lease is to be renewed; what the others tell is passed on. False: it is over."""
        assert self._wake is not None
        # What came with the answers of `_beat` is in our hands already: the socket would be silent about it.
        self._tell_heard(tell)
        sources = [self._wake[0]] if connection is None else [self._wake[0], connection.fileno()]
        # Without a connection the next try comes soon; with one, a third of the lease is the rhythm.
        timeout = min(self._lease / 3, 1.0) if connection is None else self._lease / 3
        ready, _, _ = select.select(sources, [], [], timeout)
        if self._wake[0] in ready:
            return False
        if ready and connection is not None:
            connection.execute(_ANYTHING)  # whatever has come is handed to `_hear` on the way
            self._tell_heard(tell)
        return True

    def _tell_heard(self, tell: Callable[[News], object]) -> None:
        if self._heard:
            self._heard = False
            tell(SomethingDue())

    def _hear(self, notification: psycopg.Notify) -> None:
        if notification.payload != self._owner:
            self._heard = True

    # Tables

    def _migrate(self) -> None:
        """Takes the tables to our version, all steps in one transaction, one process after the other."""
        self._in_transaction(self._writing, self._migration)

    def _migration(self, execute: Execute) -> None:
        execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
        has_tables = execute("SELECT to_regclass('meta') IS NOT NULL")[0][0]
        version = int(execute(schema.META_GET, ("schema_version",))[0][0]) if has_tables else 0
        if version > schema.SCHEMA_VERSION:
            raise SpoolUnavailable(
                f"{self.place}: this queue was written by a newer version (schema {version}, this one knows"
                f" {schema.SCHEMA_VERSION}; install the newer version again, or name another database)"
            )
        if version == schema.SCHEMA_VERSION:
            return
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                execute(statement)
        execute(schema.META_PUT, ("schema_version", str(schema.SCHEMA_VERSION)))

    def _let_go(self) -> None:
        self._writing.give_up()
        self._keeping.give_up()
        self._owner = ""
        wake, self._wake = self._wake, None
        for descriptor in wake or ():
            os.close(descriptor)


def _is_of_connection(error: Exception) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
