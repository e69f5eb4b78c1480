"""The queue as coroutines: one thread that writes in batches, one that reads, and the ports over them (edge).

What the reactor asks for while a batch is being synced becomes the next batch: under load a sync is shared by
as many messages as came meanwhile, and a lone message waits for nobody. The results of a batch come back by
one call into the reactor. `ThreadedSpool` implements `Intake`, `Outgoing` and `Body` of `mail/ports.py`.

A small message that is delivered at once costs two write transactions' share and no read: the acceptance
commits it as claimed by this process, and until the attempt begins its row and body wait in a bounded memory
(`fresh.Fresh`), from which `claim_one` and `body` are served. What was pushed out of it is read from the database
like everything else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar, assert_never, cast

from twisted.internet.defer import Deferred

from relay.mail.events import DaemonNote, Trouble
from relay.mail.ports import Journal, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE, NewMessage, QueuedMessage, QueuedRecipient, QueueEntry, Settlement
from relay.net.batches import QUEUE_LIMIT, BatchThread, CallsFromThreads
from relay.net.fresh import Fresh
from relay.spool.store import (
    Change,
    Claim,
    Done,
    LeaseLost,
    News,
    Operation,
    Owners,
    Piece,
    Reading,
    Recovery,
    Refused,
    Result,
    Settled,
    SomethingDue,
    Store,
    Transaction,
    Unknown,
)

T = TypeVar("T")

FRESH_OCTETS = 8 * 1024 * 1024
SETTLEMENT_PATIENCE = 0.02
"""How long a settlement waits for the company of a message that is accepted, seconds. What is settled and not on disk
yet when the process dies is delivered twice."""

CallLater = Callable[[float, Callable[[], object]], object]


class ClaimLost(SpoolUnavailable):
    """Others have the message now: this process was silent for too long, and must not finish what it began."""


class Watch:
    """The thread that keeps a lease, where the store has leases."""

    def __init__(self, reactor: CallsFromThreads, store: Store, tell: Callable[[News], object]) -> None:
        self._reactor = reactor
        self._store = store
        self._tell = tell
        self._ended: Deferred[None] = Deferred()
        self._thread = threading.Thread(target=self._run, name="spool lease", daemon=True)

    def start(self) -> None:
        """Begins to watch an open store."""
        if self._store.has_leases:
            self._thread.start()

    async def stop(self) -> None:
        """Returns when the thread has ended."""
        if self._thread.ident is not None:
            self._store.stop_watching()
            await self._ended

    def _run(self) -> None:
        try:
            self._store.watch(lambda news: self._reactor.callFromThread(self._tell, news))
        finally:
            self._reactor.callFromThread(self._ended.callback, None)


class ThreadedSpool:
    """`Intake` and `Outgoing` over a store. All methods are for the reactor's thread."""

    def __init__(
        self,
        reactor: CallsFromThreads,
        store: Store,
        journal: Journal,
        *,
        fresh_octets: int = FRESH_OCTETS,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._store = store
        self._journal = journal
        self._fresh = Fresh(fresh_octets)
        self._doubtful: set[str] = set()
        self._reactor = reactor
        self._recovering: deque[tuple[Deferred[Recovery], Collection[str]]] = deque()
        self._owed: dict[str, Operation] = {}
        """By message, what has to be put right as soon as the queue works again."""
        self._when_due: Callable[[], object] = lambda: None
        self._when_shared: Callable[[int], object] = lambda _: None
        self._call_later: CallLater | None = None
        self._has_company = False
        """A message was accepted a moment ago, so that the next one is likely to come soon."""
        self._is_hurrying = False
        self._writer: BatchThread[Operation] = BatchThread(
            reactor, "spool writer", store.run, after=self._after_batch, finish=store.close, limit=queue_limit
        )
        self._reader: BatchThread[Callable[[Reading], object]] = BatchThread(
            reactor, "spool reader", self._read_all, finish=store.close_reading, limit=queue_limit
        )
        self._watch = Watch(reactor, store, self._hear)

    def start(self, now: float) -> Recovery:
        """Opens the queue, blocking, and starts the threads. Raises SpoolUnavailable with the operator's text."""
        recovery = self._store.open(now)
        self._writer.start()
        self._reader.start()
        self._watch.start()
        return recovery

    def let_settlements_wait(self, call_later: CallLater) -> None:
        """From now on a settlement after which nothing is left to do may wait for the next message that is accepted,
        and go to the disk with it: one sync for both."""
        self._call_later = call_later

    def when_due(self, function: Callable[[], object]) -> None:
        """What to call when another process has made something due."""
        self._when_due = function

    def when_shared(self, function: Callable[[int], object]) -> None:
        """What to call with the number of processes that share the queue, when it has changed."""
        self._when_shared = function

    async def stop(self) -> None:
        """Finishes what was asked for, and closes the queue."""
        await self._reader.stop()
        await self._watch.stop()
        await self._writer.stop()

    # Intake

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        await self.write(lambda queue: queue.add_chunk(message_id, number, chunk))

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        result = await self._submit(lambda queue: queue.accept_message(message, number, tail))
        self._has_company = self._call_later is not None
        match result:
            case Done():
                self._keep(message, tail if number == 0 else None)
            case Refused(error):
                raise error
            case Unknown(error):
                # Its client is told that it failed and will send it again.
                self._journal.record(
                    Trouble(f"not known to be refused: {error}", "it may arrive twice", message.message_id)
                )
                self._owe(message.message_id, lambda queue: queue.withdraw(message.message_id))
                self._pay()
                raise error

    async def abandon(self, message_id: str) -> None:
        await self.write(lambda queue: queue.abandon(message_id))

    # Outgoing

    async def claim(self, now: float, limit: int) -> tuple[QueuedMessage, ...]:
        return self._claimed(await self._claim(lambda queue: queue.claim_due(now, limit)))

    async def claim_waiting(self, host: str, limit: int) -> tuple[QueuedMessage, ...]:
        """Up to `limit` messages that wait for this host, whether due or not, now leased to this process."""
        return self._claimed(await self._claim(lambda queue: queue.claim_waiting(host, limit)))

    async def claim_one(self, message_id: str, now: float) -> QueuedMessage | None:
        fresh = self._fresh.get(message_id)
        if fresh is not None:
            return _queued(fresh.message)
        self._owed.pop(message_id, None)
        claimed = self._claimed(await self._claim(lambda queue: queue.claim_one(message_id)))
        return claimed[0] if claimed else None

    def body(self, message_id: str) -> SpooledBody:
        fresh = self._fresh.get(message_id)
        return SpooledBody(self, message_id, fresh.body if fresh is not None else None)

    async def settle(self, settlement: Settlement, now: float) -> None:
        """As the port says; an outcome that could not be recorded is to be handed in again until it is."""
        message_id = settlement.message_id
        waits = settlement.is_complete and self._has_company
        if waits:
            self._hurry_soon()
        result = await self._submit(lambda queue: queue.settle(settlement), is_urgent=not waits)
        match result:
            case Done(value):
                settled = value
            case Refused(error):
                raise error
            case Unknown(error):
                self._doubtful.add(message_id)
                raise error
        self._fresh.forget(message_id)
        # A claim that is gone although nobody took it: the commit that seemed to fail had succeeded.
        doubtful = message_id in self._doubtful
        self._doubtful.discard(message_id)
        if settled is not Settled.LOST:
            for bounce in settlement.bounces:
                self._keep(bounce.message, bounce.body if len(bounce.body) <= CHUNK_SIZE else None)
        if settled is Settled.LOST and not doubtful:
            self._journal.record(
                Trouble(
                    "another process had taken this message over before its attempt was recorded",
                    "a recipient may get it twice",
                    message_id,
                )
            )

    async def next_due(self) -> float | None:
        return await self.read(lambda queue: queue.next_due())

    async def entries(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        return await self.read(lambda queue: queue.entries(limit, after))

    # Beyond the ports

    @property
    def owner(self) -> str:
        """The id under which this process holds claims; "" before `start`."""
        return self._store.owner

    async def recover(self, dead: Collection[str] = ()) -> Recovery:
        """Takes over from processes that have died since the start, and at once from the owners that the caller knows
        to be dead. Raises SpoolUnavailable."""
        asked: Deferred[Recovery] = Deferred()
        self._recovering.append((asked, dead))
        await self.write(lambda queue: None)
        return await asked

    async def hold(self, message_id: str) -> None:
        """Before what can't be undone: raises ClaimLost where a lease is over and others may have the message.

        Where a claim can't end before its process, this asks nobody.
        """
        if self._store.has_leases and not await self.read(lambda queue: queue.still_ours(message_id)):
            raise ClaimLost("the claim of this process is over, others may have the message")

    async def release(self, message_id: str, due: float) -> None:
        """Gives a claim back without an attempt, for others or for later. Where that fails it raises, and is done as
        soon as the queue works again."""
        self._fresh.forget(message_id)
        try:
            await self.write(lambda queue: queue.release(message_id, due))
        except SpoolUnavailable:
            self._owe(message_id, lambda queue: queue.release(message_id, due))
            raise

    async def change(self, wish: Callable[[Transaction], Change]) -> Change:
        """An operator's wish: `lambda queue: queue.remove(message_id)`, and so on."""
        return await self.write(wish)

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Any operation, in the next batch; its value once it is durable. Raises SpoolUnavailable."""
        result = await self._submit(operation)
        match result:
            case Done(value):
                return cast("T", value)
            case Refused(error) | Unknown(error):
                raise error

    async def read(self, question: Callable[[Reading], T]) -> T:
        """Any question, in the reader's thread. Raises SpoolUnavailable."""
        result = await self._reader.submit(question)
        match result:
            case Done(value):
                return cast("T", value)
            case Refused(error) | Unknown(error):
                raise error

    def _after_batch(self) -> None:
        """Between two batches, in the thread that writes."""
        while self._recovering:
            asked, dead = self._recovering.popleft()
            try:
                self._reactor.callFromThread(asked.callback, self._store.recover(dead))
            except SpoolUnavailable as error:
                self._reactor.callFromThread(asked.errback, error)
        self._store.maintain()

    def _hear(self, news: News) -> None:
        match news:
            case SomethingDue():
                self._pay()
                self._when_due()
            case Owners(number):
                self._when_shared(number)
            case LeaseLost():
                self._fresh.forget_all()
                self._journal.record(
                    Trouble("this process was silent for longer than its lease, its messages went to others")
                )
            case Recovery():
                self._journal.record(DaemonNote(str(news)))
                self._when_due()
            case _ as never:
                assert_never(never)

    def _hurry_soon(self) -> None:
        if not self._is_hurrying and self._call_later is not None:
            self._is_hurrying = True
            self._call_later(SETTLEMENT_PATIENCE, self._hurry)

    def _hurry(self) -> None:
        self._is_hurrying = False
        if self._writer.hurry():
            self._has_company = False

    async def _submit(self, operation: Operation, *, is_urgent: bool = True) -> Result:
        result = await self._writer.submit(operation, is_urgent=is_urgent)
        if isinstance(result, Done) and self._owed:
            self._pay()
        return result

    def _owe(self, message_id: str, operation: Operation) -> None:
        self._owed[message_id] = operation

    def _pay(self) -> None:
        """Tries what is owed; nobody waits for it."""
        owed, self._owed = self._owed, {}
        for message_id, operation in owed.items():
            _ = Deferred.fromCoroutine(self._pay_one(message_id, operation))

    async def _pay_one(self, message_id: str, operation: Operation) -> None:
        if not isinstance(await self._writer.submit(operation), Done):
            self._owed.setdefault(message_id, operation)

    async def _claim(self, operation: Callable[[Transaction], Claim]) -> Claim:
        """A claim of which it is not known whether it came about is given back: nobody here has the messages."""
        claims: list[Claim] = []

        def noted(queue: Transaction) -> Claim:
            claims[:] = [operation(queue)]
            return claims[0]

        result = await self._submit(noted)
        match result:
            case Done(value):
                return cast("Claim", value)
            case Refused(error):
                raise error
            case Unknown(error):
                for message in claims[0].messages:
                    self._owe(message.message_id, partial(_release, message_id=message.message_id, due=message.due))
                raise error

    def _read_all(self, questions: Sequence[Callable[[Reading], Any]]) -> list[Result]:
        results: list[Result] = []
        for question in questions:
            try:
                results.append(Done(self._store.read(question)))
            except Exception as error:  # noqa: BLE001 - the answer to who asked
                results.append(Refused(error))
        return results

    def _keep(self, message: NewMessage, body: bytes | None) -> None:
        """Remembers a message that was committed as claimed by this process."""
        if message.due is None and not message.frozen:
            self._fresh.keep(message, body)

    def _claimed(self, claim: Claim) -> tuple[QueuedMessage, ...]:
        for damaged in claim.damaged:
            self._journal.record(
                Trouble(
                    f"set aside (frozen): {damaged.reason}",
                    "look at it with `relay queue show`",
                    damaged.message_id,
                )
            )
        return claim.messages


class SpooledBody:
    """`Body` of one message: from memory, or piece by piece from the reader's thread."""

    def __init__(self, spool: ThreadedSpool, message_id: str, kept: bytes | None) -> None:
        self._spool = spool
        self._message_id = message_id
        self._kept = kept
        self._end: int | None = None if kept is None else 1

    async def piece(self, number: int) -> bytes:
        data = await self._data(number)
        if not data:
            await self._spool.hold(self._message_id)
        return data

    async def _data(self, number: int) -> bytes:
        if self._end is not None and number >= self._end:
            return b""
        if self._kept is not None:
            return self._kept
        piece: Piece = await self._spool.read(lambda queue: queue.piece(self._message_id, number))
        if piece.is_last:
            self._end = number + 1
        return piece.data


def _release(queue: Transaction, message_id: str, due: float) -> bool:
    return queue.release(message_id, due)


def _queued(message: NewMessage) -> QueuedMessage:
    """The message as it would be read back."""
    return QueuedMessage(
        message_id=message.message_id,
        sender=message.sender,
        recipients=tuple(QueuedRecipient(number, each) for number, each in enumerate(message.recipients)),
        header=message.header,
        facts=message.facts,
        body_type=message.body_type,
        body_size=message.body_size,
        parameters=message.parameters,
        frozen=message.frozen,
        due=message.facts.received_at,
        attempts=0,
    )
