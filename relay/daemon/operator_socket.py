"""The listening side of `control.sock`: administrators look at the queue and change it (edge).

Lines in, lines out (`orders.py`), one wish at a time on a connection. Who may do what: everything for root, the
daemon's user, its group and `admin_groups`; for anybody else to list the queue and to have it delivered where
`queue_list_requires_admin` and `prod_requires_admin` are off, and to remove what they handed over themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from relay.daemon.callers import TrustedCallers, peer_credentials
from relay.daemon.control import Wire, remove_stale_socket
from relay.daemon.operator import Operator
from relay.daemon.orders import (
    LINE_LIMIT,
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
    decode_wish,
    encode_answer,
    encode_entries,
    encode_line,
    encode_message,
    encode_piece,
    encode_progress,
)
from relay.mail.events import Trouble
from relay.mail.ports import Journal, SpoolUnavailable, TemporaryFailure
from relay.net.threads import ThreadedSpool
from relay.spool.codec import Unreadable

_WAITING = 16
"""Lines that a program may send ahead."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What is open to those who are no administrators."""

    may_list: bool = False
    may_deliver: bool = False


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the kernel names them."""

    login: str
    uid: int
    is_admin: bool


class ControlProtocol(LineOnlyReceiver):
    """One program at `control.sock`."""

    delimiter = b"\n"
    MAX_LENGTH = LINE_LIMIT

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._waiting: list[bytes] = []
        self._asker: Asker | None = None
        self._answering: Deferred[None] | None = None

    @property
    def _wire(self) -> Wire:
        return cast(Wire, self.transport)

    def connectionMade(self) -> None:
        """Asks the kernel who calls."""
        try:
            self._asker = self._factory.identify(self._wire)
        except OSError:
            self._wire.abortConnection()
            return
        self._factory.connections.add(self)

    def lineReceived(self, line: bytes) -> None:
        """One wish; those that came ahead wait their turn."""
        if len(self._waiting) >= _WAITING:
            self._wire.abortConnection()
            return
        self._waiting.append(line)
        if self._answering is None:
            self._next()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Nobody has so much to ask."""
        self._wire.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What was begun goes on; a run over the queue as well."""
        self._waiting.clear()
        self._factory.connections.discard(self)

    def abort(self) -> None:
        """Ends the connection at once, for the stop of the daemon."""
        self._wire.abortConnection()

    def _next(self) -> None:
        if not self._waiting or self._asker is None:
            self._answering = None
            return
        self._answering = Deferred.fromCoroutine(self._answer(self._waiting.pop(0), self._asker))
        self._answering.addBoth(lambda _: self._next())

    async def _answer(self, line: bytes, asker: Asker) -> None:
        factory = self._factory
        try:
            wish = decode_wish(line)
            if not factory.allows(wish, asker):
                answer = encode_answer(Answer(Outcome.DENIED))
            else:
                answer = await factory.fulfil(wish, asker, self._tell)
        except (BadOrder, SpoolUnavailable, TemporaryFailure, Unreadable) as error:
            answer = encode_line({"error": str(error)})
        except Exception as error:  # noqa: BLE001 - a fault of ours is logged, and the program is not left waiting
            name = type(error).__name__
            factory.journal.record(Trouble(f"an order of {asker.login} failed: {name}: {error}"))
            answer = encode_line({"error": "internal trouble, see the log"})
        self._wire.write(answer)

    def _tell(self, progress: Progress) -> None:
        if self in self._factory.connections:
            self._wire.write(encode_progress(progress))


class ControlFactory(Factory):
    """Makes a protocol for each program that connects, up to a number of them at a time."""

    noisy = False

    def __init__(
        self,
        operator: Operator,
        spool: ThreadedSpool,
        admins: TrustedCallers,
        journal: Journal,
        rights: Rights = Rights(),
        *,
        connections_max: int = 50,
    ) -> None:
        """`admins` are those who may do everything (Exim: admin_groups)."""
        self.journal = journal
        self.connections: set[ControlProtocol] = set()
        self.operator = operator
        self._spool = spool
        self._admins = admins
        self._rights = rights
        self._connections_max = connections_max

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol | None:
        """None, which closes the connection, where there are too many."""
        return ControlProtocol(self) if len(self.connections) < self._connections_max else None

    def identify(self, wire: Wire) -> Asker:
        """The caller at the other end. Raises OSError."""
        caller = self._admins.identify(peer_credentials(wire.getHandle())).caller
        return Asker(caller.login, caller.uid, caller.trusted)

    def allows(self, wish: Wish, asker: Asker) -> bool:
        """Whether the caller may ask this at all; of orders the operator knows more."""
        if asker.is_admin:
            return True
        match wish:
            case Order():
                return True
            case EntriesWish() | CountWish():
                return self._rights.may_list
            case Run(thaw=thaw):
                return self._rights.may_deliver and not thaw
            case MessageWish() | PieceWish():
                return False
            case _ as never:
                assert_never(never)

    async def fulfil(self, wish: Wish, asker: Asker, told: Callable[[Progress], object]) -> bytes:
        """The last line of the answer. Raises BadOrder, SpoolUnavailable, TemporaryFailure, Unreadable."""
        match wish:
            case Order():
                done = await self.operator.carry_out(wish, asker.login, asker.uid, is_admin=asker.is_admin)
                return encode_answer(done)
            case Run():
                return encode_progress(await self.operator.run(wish, told))
            case EntriesWish(after, limit):
                return encode_entries(await self._spool.entries(max(1, min(limit, PAGE)), after))
            case CountWish():
                return encode_line({"count": await self._spool.read(lambda queue: queue.count())})
            case MessageWish(message_id):
                return encode_message(await self._spool.read(lambda queue: queue.message(message_id)))
            case PieceWish(message_id, number):
                piece = await self._spool.read(lambda queue: queue.piece(message_id, number))
                return encode_piece(piece.data, is_last=piece.is_last)
            case _ as never:
                assert_never(never)

    def stopFactory(self) -> None:
        """Nobody is left behind when listening stops."""
        for connection in list(self.connections):
            connection.abort()


def listen_for_orders(reactor: IReactorUNIX, spool_directory: str, factory: ControlFactory) -> IListeningPort:
    """Listens on `control.sock`, which everybody may write to: rights follow from who they are. Raises OSError."""
    path = os.path.join(spool_directory, SOCKET_NAME)
    remove_stale_socket(path)
    return reactor.listenUNIX(path, factory, mode=0o666)
