"""How a command gets at the queue: through the daemon, or by itself where none runs (edge).

Whom the queue belongs to reads it beside the daemon, straight from the disk. Everybody else asks at `control.sock`,
where the daemon knows who may. Changes go through the daemon while it runs, so that they act at once, and otherwise
are made in this process, which then does what the daemon would have done.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from relay.cli.handover import may_open_queue
from relay.daemon.orders import (
    PAGE,
    SOCKET_NAME,
    Answer,
    BadOrder,
    CountWish,
    EntriesWish,
    MessageWish,
    Order,
    Outcome,
    PieceWish,
    Progress,
    Run,
    Wish,
    decode_answer,
    decode_entries,
    decode_line,
    decode_message,
    decode_piece,
    decode_progress,
    encode_wish,
)
from relay.mail.queue import QueuedMessage, QueueEntry

if TYPE_CHECKING:
    from relay.daemon.build import Relay
    from relay.spool.store import Finding, Store

# Seconds for an answer that takes no delivery.
_PATIENCE = 60.0

Told = Callable[[Progress], object]


class Denied(Exception):
    """The caller may not do that, or nobody is there who could decide."""


class NotServed(Exception):
    """The queue could not do it; the text is the one line for the user."""


class QueueReading(Protocol):
    """Looking at the queue. Each raises Denied, NotServed, SpoolUnavailable."""

    def entries(self, after: str, limit: int) -> tuple[QueueEntry, ...]:
        """A page behind this message id; empty behind the last one."""
        ...

    def count(self) -> int:
        """How many messages there are."""
        ...

    def message(self, message_id: str) -> QueuedMessage | None:
        """None where there is none."""
        ...

    def pieces(self, message_id: str) -> Iterator[bytes]:
        """The body of a message."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class QueueChanging(Protocol):
    """Changing the queue. Each raises Denied, NotServed, ConfigurationError; in one process only one call may be made
    where no daemon runs."""

    def carry_out(self, orders: Sequence[Order]) -> tuple[Answer, ...]:
        """An answer for each order."""
        ...

    def run(self, wanted: Run, told: Told) -> Progress:
        """Tries messages and waits for the end."""
        ...


class StoreReading:
    """Straight from the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def require(self) -> None:
        """Raises SpoolUnavailable where there is no queue, which otherwise is an empty one."""
        self._store.read(lambda _: None)

    def entries(self, after: str, limit: int) -> tuple[QueueEntry, ...]:
        return self._store.read(lambda queue: queue.entries(limit, after)) if self._store.exists else ()

    def count(self) -> int:
        return self._store.read(lambda queue: queue.count()) if self._store.exists else 0

    def message(self, message_id: str) -> QueuedMessage | None:
        return self._store.read(lambda queue: queue.message(message_id)) if self._store.exists else None

    def pieces(self, message_id: str) -> Iterator[bytes]:
        for number in range(1 << 31):
            piece = self._store.read(lambda queue: queue.piece(message_id, number))  # noqa: B023 - read is done at once
            if piece.data:
                yield piece.data
            if piece.is_last:
                return

    def check(self, limit: int) -> tuple[Finding, ...]:
        """What is wrong with the database, up to `limit` of each kind."""
        return self._store.check(limit) if self._store.exists else ()

    def close(self) -> None:
        self._store.close_reading()


class DaemonAccess:
    """Through `control.sock`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._input = connection.makefile("rb")

    def entries(self, after: str, limit: int) -> tuple[QueueEntry, ...]:
        return decode_entries(self._ask(EntriesWish(after, limit)))

    def count(self) -> int:
        return int(self._ask(CountWish())["count"])

    def message(self, message_id: str) -> QueuedMessage | None:
        return decode_message(self._ask(MessageWish(message_id)))

    def pieces(self, message_id: str) -> Iterator[bytes]:
        for number in range(1 << 31):
            data, is_last = decode_piece(self._ask(PieceWish(message_id, number)))
            if data:
                yield data
            if is_last:
                return

    def carry_out(self, orders: Sequence[Order]) -> tuple[Answer, ...]:
        # A delivery takes as long as it takes.
        self._connection.settimeout(None)
        return tuple(decode_answer(self._ask(order, is_order=True)) for order in orders)

    def run(self, wanted: Run, told: Told) -> Progress:
        self._connection.settimeout(None)
        progress = decode_progress(self._ask(wanted))
        while not progress.is_over:
            told(progress)
            progress = decode_progress(self._receive())
        return progress

    def close(self) -> None:
        self._input.close()
        self._connection.close()

    def _ask(self, wish: Wish, *, is_order: bool = False) -> dict[str, Any]:
        try:
            self._connection.sendall(encode_wish(wish))
        except OSError as error:
            raise NotServed(f"the daemon is gone: {error.strerror or error}") from None
        fields = self._receive()
        if not is_order and fields.get("outcome") == Outcome.DENIED.value:
            raise Denied
        return fields

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._input.readline()
            fields = decode_line(line) if line.endswith(b"\n") else {"error": "the daemon ended before it answered"}
        except (OSError, BadOrder) as error:
            raise NotServed(f"the daemon's answer can't be read: {error}") from None
        if "error" in fields:
            raise NotServed(str(fields["error"]))
        return fields


class AloneAccess:
    """Changes that this process makes itself, on a queue that is its own user's."""

    def __init__(
        self, configuration: Path, macros: Mapping[str, str], *, rehearsal: bool = False, verbose: bool = False
    ) -> None:
        """`rehearsal`: no transport is run (Exim: -N). `verbose`: whoever looks at standard error can watch."""
        self._configuration = configuration
        self._macros = macros
        self._rehearsal = rehearsal
        self._verbose = verbose
        self._uid = os.getuid()  # before root is given up

    def carry_out(self, orders: Sequence[Order]) -> tuple[Answer, ...]:
        answers: list[Answer] = []

        async def work(relay: Relay) -> int:
            relay.runner.is_rehearsal = self._rehearsal
            for order in orders:
                done = await relay.control.operator.carry_out(order, login_of(self._uid), self._uid, is_admin=True)
                answers.append(done)
            await relay.runner.until_idle()
            return 0

        self._work(work)
        return tuple(answers)

    def run(self, wanted: Run, told: Told) -> Progress:
        ends: list[Progress] = []
        try:
            wanted.selection.check()
        except BadOrder as error:
            raise NotServed(str(error)) from None

        async def work(relay: Relay) -> int:
            ends.append(await relay.control.operator.run(wanted, told))
            await relay.runner.until_idle()
            return 0

        self._work(work)
        return ends[0]

    def _work(self, work: Callable[[Relay], Any]) -> None:
        from relay.daemon.alone import run_alone

        if run_alone(str(self._configuration), self._macros, work, verbose=self._verbose) != 0:
            raise NotServed("interrupted")


def login_of(uid: int) -> str:
    """The name for the log, as Exim writes it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def connect(spool_directory: str) -> DaemonAccess | None:
    """The daemon of this spool directory; None where none answers."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE)
    try:
        connection.connect(os.path.join(spool_directory, SOCKET_NAME))
    except OSError:
        connection.close()
        return None
    return DaemonAccess(connection)


@dataclass(frozen=True, slots=True)
class Place:
    """Which queue: the configuration that names it, and the spool directory that was read out of it."""

    configuration: Path
    macros: Mapping[str, str]
    spool_directory: str


def reading(place: Place) -> QueueReading:
    """The queue to look at. Raises Denied, Fault, ConfigurationError."""
    from relay.cli.queue import open_store

    if may_open_queue(place.spool_directory):
        return StoreReading(open_store(place.configuration, place.macros))
    daemon = connect(place.spool_directory)
    if daemon is None:
        raise Denied
    return daemon


def changing(place: Place, *, alone: bool = False, rehearsal: bool = False, verbose: bool = False) -> QueueChanging:
    """The queue to change. `alone`: by this process where it may, whether a daemon runs or not; it may be for a
    `rehearsal` then, and `verbose`. Raises Denied."""
    may_open = may_open_queue(place.spool_directory)
    daemon = None if alone and may_open else connect(place.spool_directory)
    if daemon is not None:
        return daemon
    if not may_open:
        raise Denied
    return AloneAccess(place.configuration, place.macros, rehearsal=rehearsal, verbose=verbose)


def all_entries(queue: QueueReading, after: str = "", at_once: int = PAGE) -> Iterator[QueueEntry]:
    """The whole queue behind a message id; a page is read when it is asked for."""
    while page := queue.entries(after, min(at_once, PAGE)):
        yield from page
        after = page[-1].message_id
