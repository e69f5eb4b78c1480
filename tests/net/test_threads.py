"""Batches gather while one is synced, results come by one wake-up, and the ports keep what they promise.

The reactor is played by a queue that the test empties in its own thread: nothing runs unless a test waits for
it.
"""

import queue
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred

from relay.mail.events import DaemonNote, Event, Trouble
from relay.mail.ports import Intake, Outgoing, SpoolFull, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE, QueuedMessage, Settlement
from relay.net.batches import BatchThread
from relay.net.threads import ClaimLost, ThreadedSpool
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import (
    Change,
    Done,
    LeaseLost,
    News,
    Operation,
    Owners,
    Recovery,
    Refused,
    Result,
    SomethingDue,
    Unknown,
)
from spool.samples import NOW, deferred, delivered, do, message, opened

T = TypeVar("T")
ID = message().message_id


class Reactor:
    """`callFromThread`, and a way to wait for what was called."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[Callable[..., object], tuple[object, ...]]] = queue.Queue()
        self.wakeups = 0

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self.calls.put((function, args))

    def turn(self) -> None:
        function, args = self.calls.get(timeout=10)
        self.wakeups += 1
        function(*args)

    def wait(self, question: Deferred[T] | Coroutine[Deferred[Any], Any, T]) -> T:
        deferred = question if isinstance(question, Deferred) else Deferred.fromCoroutine(question)
        answers: list[T] = []
        failures: list[BaseException] = []
        deferred.addCallbacks(answers.append, lambda failure: failures.append(failure.value))
        while not answers and not failures:
            self.turn()
        if failures:
            raise failures[0]
        return answers[0]


class Gate:
    """Work that waits until it is let through, and tells which batches it saw."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def execute(self, jobs: Sequence[str]) -> list[Result]:
        self.batches.append(list(jobs))
        self.entered.release()
        assert self.open.acquire(timeout=10)
        return [Done(job.upper()) for job in jobs]


class Journal:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


class WatchedStore(SQLiteStore):
    """A store that counts, and whose next batches may be made to fail as told."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.batches: list[int] = []
        self.reads = 0
        self.failures: list[Callable[[Sequence[Operation]], list[Result]]] = []

    def run(self, operations: Sequence[Operation]) -> list[Result]:
        self.batches.append(len(operations))
        if self.failures:
            return self.failures.pop(0)(operations)
        return super().run(operations)

    def read(self, question: Callable[[Any], T]) -> T:
        self.reads += 1
        return super().read(question)

    def commit_and_deny(self, operations: Sequence[Operation]) -> list[Result]:
        """The commit got to the disk, but its sync said otherwise."""
        SQLiteStore.run(self, operations)
        return [Unknown(SpoolUnavailable("sync failed")) for _ in operations]

    def refuse(self, operations: Sequence[Operation]) -> list[Result]:
        return [Refused(SpoolFull("full")) for _ in operations]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path / "queue")


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def spool(reactor: Reactor, store: WatchedStore, journal: Journal) -> Iterator[ThreadedSpool]:
    threaded = ThreadedSpool(reactor, store, journal)
    threaded.start(NOW)
    yield threaded
    reactor.wait(threaded.stop())


# The thread


def test_what_gathers_during_a_batch_is_the_next_one(reactor: Reactor) -> None:
    gate = Gate()
    thread = BatchThread(reactor, "test", gate.execute)
    thread.start()
    first = thread.submit("a")
    assert gate.entered.acquire(timeout=10)
    others = [thread.submit(job) for job in "bcde"]
    gate.open.release(2)

    assert reactor.wait(first) == Done("A")
    assert reactor.wait(others[-1]) == Done("E")

    assert gate.batches == [["a"], ["b", "c", "d", "e"]]
    assert reactor.wakeups == 2
    assert [reactor.wait(each) for each in others[:-1]] == [Done("B"), Done("C"), Done("D")]
    reactor.wait(thread.stop())


def test_a_batch_has_a_limit(reactor: Reactor) -> None:
    gate = Gate()
    thread = BatchThread(reactor, "test", gate.execute, batch_limit=2)
    answers = [thread.submit(job) for job in "abcde"]
    gate.open.release(3)
    thread.start()
    reactor.wait(answers[-1])
    assert gate.batches == [["a", "b"], ["c", "d"], ["e"]]
    reactor.wait(thread.stop())


def test_the_queue_has_a_limit(reactor: Reactor) -> None:
    gate = Gate()
    thread = BatchThread(reactor, "test", gate.execute, limit=2)
    answers = [thread.submit(job) for job in "abc"]

    refused = reactor.wait(answers[2])
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, SpoolUnavailable)
    gate.open.release(2)
    thread.start()
    assert reactor.wait(answers[1]) == Done("B")
    reactor.wait(thread.stop())


def test_stopping_finishes_what_waits_and_refuses_what_comes(reactor: Reactor) -> None:
    gate = Gate()
    ended: list[int] = []
    thread = BatchThread(reactor, "test", gate.execute, finish=lambda: ended.append(threading.get_ident()))
    thread.start()
    first = thread.submit("a")
    assert gate.entered.acquire(timeout=10)
    second = thread.submit("b")
    stopped, stopped_again = thread.stop(), thread.stop()
    late = thread.submit("c")
    gate.open.release(2)

    reactor.wait(stopped)

    assert [reactor.wait(each) for each in (first, second)] == [Done("A"), Done("B")]
    assert isinstance(reactor.wait(late), Refused)
    assert len(ended) == 1
    assert ended != [threading.get_ident()]
    reactor.wait(stopped_again)
    reactor.wait(thread.stop())
    assert not thread._thread.is_alive()


def test_stopping_what_never_started_ends_at_once(reactor: Reactor) -> None:
    reactor.wait(BatchThread(reactor, "test", Gate().execute).stop())


def test_an_exception_is_the_answer_to_its_batch_and_the_thread_lives_on(reactor: Reactor) -> None:
    def fail_once(jobs: Sequence[str]) -> list[Result]:
        if "bad" in jobs:
            raise ValueError("a fault of ours")
        return [Done(job) for job in jobs]

    thread = BatchThread(reactor, "test", fail_once)
    thread.start()
    bad = reactor.wait(thread.submit("bad"))
    assert isinstance(bad, Refused)
    assert str(bad.error) == "a fault of ours"
    assert reactor.wait(thread.submit("good")) == Done("good")
    reactor.wait(thread.stop())


def test_an_answer_nobody_waits_for_any_more_hurts_nobody(reactor: Reactor) -> None:
    gate = Gate()
    thread = BatchThread(reactor, "test", gate.execute)
    cancelled, kept = thread.submit("a"), thread.submit("b")
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    gate.open.release()
    thread.start()
    assert reactor.wait(kept) == Done("B")
    reactor.wait(thread.stop())


# The ports


def test_it_is_both_ports(spool: ThreadedSpool) -> None:
    intake: Intake = spool
    outgoing: Outgoing = spool
    assert intake is outgoing


def test_a_small_message_costs_one_transaction_each_way_and_no_read(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore
) -> None:
    new = message(body_size=4)
    reactor.wait(spool.accept(new, 0, b"body"))
    assert store.batches == [1]

    claimed = reactor.wait(spool.claim_one(ID, NOW))
    assert claimed is not None
    body = spool.body(ID)
    assert [reactor.wait(body.piece(number)) for number in (0, 1)] == [b"body", b""]
    assert (store.batches, store.reads) == ([1], 0)
    assert claimed == reactor.wait(spool.read(lambda queue: queue.message(ID)))

    reactor.wait(spool.settle(delivered(ID), NOW))
    assert store.batches == [1, 1]
    assert reactor.wait(spool.claim_one(ID, NOW)) is None
    assert reactor.wait(spool.body(ID).piece(0)) == b""


def test_a_settlement_goes_to_the_disk_with_the_next_message(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore
) -> None:
    timers: list[Callable[[], object]] = []
    spool.let_settlements_wait(lambda _, function: timers.append(function))
    over = replace(delivered(ID), is_complete=True)
    reactor.wait(spool.accept(message(), 0, b"body\r\n"))
    del store.batches[:]
    settled = Deferred.fromCoroutine(spool.settle(over, NOW))
    reactor.wait(spool.accept(message("1aaaaa-aaaaaa-02"), 0, b"body\r\n"))
    assert store.batches == [2]
    assert settled.called
    assert len(timers) == 1


def test_a_settlement_that_no_message_follows_waits_for_a_moment_only(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore
) -> None:
    timers: list[Callable[[], object]] = []
    spool.let_settlements_wait(lambda _, function: timers.append(function))
    others = [message(f"1aaaaa-aaaaaa-0{number}") for number in range(2)]
    for each in others:
        reactor.wait(spool.accept(each, 0, b"body\r\n"))
    del store.batches[:]
    settled = Deferred.fromCoroutine(spool.settle(replace(delivered(others[0].message_id), is_complete=True), NOW))
    assert store.batches == []
    timers.pop()()
    reactor.wait(settled)
    assert store.batches == [1]
    # Nothing came meanwhile, so the next one does not wait.
    reactor.wait(spool.settle(replace(delivered(others[1].message_id), is_complete=True), NOW))
    assert timers == []


def test_a_large_body_goes_through_in_pieces(reactor: Reactor, spool: ThreadedSpool, store: WatchedStore) -> None:
    pieces = [bytes([number]) * CHUNK_SIZE for number in range(3)]
    for number, piece in enumerate(pieces):
        reactor.wait(spool.append(ID, number, piece))
    reactor.wait(spool.accept(message(), 3, b"tail"))

    body = spool.body(ID)
    found = [reactor.wait(body.piece(number)) for number in range(5)]

    assert found == [*pieces, b"tail", b""]
    assert store.reads == 4, "the end was told with the last piece"


@pytest.mark.parametrize("room", [0, 5000])
def test_what_is_pushed_out_of_memory_is_read_back(
    reactor: Reactor, store: WatchedStore, journal: Journal, room: int
) -> None:
    spool = ThreadedSpool(reactor, store, journal, fresh_octets=room)
    spool.start(NOW)
    for each in ("one", "two"):
        reactor.wait(spool.accept(message(each), 0, each.encode()))

    claimed = [reactor.wait(spool.claim_one(each, NOW)) for each in ("one", "two")]

    assert [each.message_id for each in claimed if each] == ["one", "two"]
    assert [reactor.wait(spool.body(each).piece(0)) for each in ("one", "two")] == [b"one", b"two"]
    assert store.reads == (2 if room == 0 else 1)
    assert spool._fresh._room >= 0
    reactor.wait(spool.stop())


def test_memory_is_given_back_when_a_message_is_settled(reactor: Reactor, spool: ThreadedSpool) -> None:
    before = spool._fresh._room
    reactor.wait(spool.accept(message(), 0, b"body"))
    assert spool._fresh._room < before
    reactor.wait(spool.settle(deferred(ID), NOW))
    assert spool._fresh._room == before
    reactor.wait(spool.accept(message("other"), 0, b"body"))
    reactor.wait(spool.release("other", NOW))
    assert spool._fresh._room == before


@pytest.mark.parametrize("size, reads", [(5, 0), (CHUNK_SIZE + 1, 2)])
def test_a_bounce_is_at_hand_for_its_attempt(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore, size: int, reads: int
) -> None:
    reactor.wait(spool.accept(message(), 0, b"x"))
    failed = Settlement(ID, delivered(ID).updates, NOW, bounce=message("bounce"), bounce_body=b"b" * size)
    reactor.wait(spool.settle(failed, NOW))

    claimed = reactor.wait(spool.claim_one("bounce", NOW))
    body = spool.body("bounce")
    pieces = [reactor.wait(body.piece(number)) for number in range(3)]

    assert claimed is not None
    assert (b"".join(pieces), store.reads) == (b"b" * size, reads)
    assert all(len(piece) <= CHUNK_SIZE for piece in pieces)


def test_due_messages_are_claimed_and_listed(reactor: Reactor, spool: ThreadedSpool) -> None:
    for number in (2, 1):
        reactor.wait(spool.accept(message(f"id{number}", due=NOW + number), 0, b"x"))
    assert reactor.wait(spool.next_due()) == NOW + 1
    assert [each.message_id for each in reactor.wait(spool.entries(10))] == ["id1", "id2"]

    claimed = reactor.wait(spool.claim(NOW + 1, 10))

    assert [each.message_id for each in claimed] == ["id1"]
    assert isinstance(reactor.wait(spool.claim_one("id2", NOW)), QueuedMessage)
    assert reactor.wait(spool.next_due()) is None
    assert reactor.wait(spool.change(lambda tables: tables.remove("id2"))) is Change.CLAIMED


def test_a_refused_acceptance_raises_and_keeps_nothing(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore
) -> None:
    store.failures = [store.refuse]
    with pytest.raises(SpoolFull):
        reactor.wait(spool.accept(message(), 0, b"x"))
    assert reactor.wait(spool.claim_one(ID, NOW)) is None
    reactor.wait(spool.append("half", 0, b"x"))
    reactor.wait(spool.abandon("half"))
    assert reactor.wait(spool.read(lambda tables: tables.piece("half", 0))).data == b""


def test_a_message_that_was_denied_and_stored_is_withdrawn(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore
) -> None:
    store.failures = [store.commit_and_deny]
    with pytest.raises(SpoolUnavailable, match="sync failed"):
        reactor.wait(spool.accept(message(), 0, b"x"))

    reactor.wait(spool.write(lambda tables: None))
    assert reactor.wait(spool.entries(10)) == ()


def test_an_outcome_that_was_denied_and_stored_may_be_handed_in_again(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore, journal: Journal
) -> None:
    reactor.wait(spool.accept(message(), 0, b"x"))
    bounced = Settlement(ID, delivered(ID).updates, NOW, bounce=message("bounce"))
    store.failures = [store.commit_and_deny]
    with pytest.raises(SpoolUnavailable):
        reactor.wait(spool.settle(bounced, NOW))

    reactor.wait(spool.settle(bounced, NOW))

    assert [each.message_id for each in reactor.wait(spool.entries(10))] == ["bounce"]
    assert journal.events == []


def test_a_lost_claim_is_told(reactor: Reactor, spool: ThreadedSpool, journal: Journal, tmp_path: Path) -> None:
    reactor.wait(spool.accept(message(), 0, b"x"))
    reactor.wait(spool.release(ID, NOW))
    neighbour = opened(tmp_path)
    do(neighbour, lambda tables: tables.claim_one(ID))

    reactor.wait(spool.settle(deferred(ID), NOW))

    [event] = journal.events
    assert isinstance(event, Trouble)
    assert event.message_id == ID
    neighbour.close()


def test_a_damaged_message_is_told_and_passed_over(
    reactor: Reactor, spool: ThreadedSpool, store: WatchedStore, journal: Journal
) -> None:
    reactor.wait(spool.accept(message(due=NOW), 0, b"x"))
    reactor.wait(spool.write(lambda tables: tables._execute("UPDATE message SET facts = '{'")))  # type: ignore[attr-defined]

    assert reactor.wait(spool.claim(NOW, 10)) == ()

    [event] = journal.events
    assert isinstance(event, Trouble)
    assert (event.message_id, "reception" in event.text) == (ID, True)


def test_a_failed_question_is_its_askers_alone(reactor: Reactor, spool: ThreadedSpool) -> None:
    def broken(_tables: object) -> None:
        raise ValueError("asked wrongly")

    bad = Deferred.fromCoroutine(spool.read(broken))
    good = Deferred.fromCoroutine(spool.next_due())
    with pytest.raises(ValueError, match="asked wrongly"):
        reactor.wait(bad)
    assert reactor.wait(good) is None


def test_what_was_accepted_before_a_stop_is_there_at_the_next_start(
    reactor: Reactor, store: WatchedStore, journal: Journal
) -> None:
    spool = ThreadedSpool(reactor, store, journal)
    spool.start(NOW)
    accepted = [Deferred.fromCoroutine(spool.accept(message(f"id{n}"), 0, b"x")) for n in range(5)]
    reactor.wait(spool.stop())
    for each in accepted:
        reactor.wait(each)

    again = ThreadedSpool(reactor, store, journal)
    again.start(NOW)
    assert len(reactor.wait(again.claim(NOW, 10))) == 5
    reactor.wait(again.stop())


# Leases


class LeasedStore(WatchedStore):
    """A store whose claims may end without a word, as the other engine's."""

    has_leases = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.is_over = False
        self.news: queue.Queue[News | None] = queue.Queue()

    def read(self, question: Callable[[Any], T]) -> T:
        def ask(tables: Any) -> T:
            if self.is_over:
                tables.still_ours = lambda _message_id: False
            return question(tables)

        return super().read(ask)

    def watch(self, tell: Callable[[News], object]) -> None:
        while (news := self.news.get(timeout=10)) is not None:
            tell(news)

    def stop_watching(self) -> None:
        self.news.put(None)


@pytest.fixture
def leased(tmp_path: Path) -> LeasedStore:
    return LeasedStore(tmp_path / "queue")


@pytest.fixture
def leasing(reactor: Reactor, leased: LeasedStore, journal: Journal) -> Iterator[ThreadedSpool]:
    threaded = ThreadedSpool(reactor, leased, journal)
    threaded.start(NOW)
    yield threaded
    reactor.wait(threaded.stop())


@pytest.mark.parametrize("size", [0, 5, CHUNK_SIZE + 1])
def test_the_end_of_a_body_is_not_told_to_who_has_lost_the_claim(
    reactor: Reactor, leasing: ThreadedSpool, leased: LeasedStore, size: int
) -> None:
    """Without the end there is no final dot and no name for a file."""
    data = b"x" * size
    pieces = [data[start : start + CHUNK_SIZE] for start in range(0, size, CHUNK_SIZE)] or [b""]
    for number, piece in enumerate(pieces[:-1]):
        reactor.wait(leasing.append(ID, number, piece))
    reactor.wait(leasing.accept(message(), len(pieces) - 1, pieces[-1]))
    number = -(-size // CHUNK_SIZE)
    body = leasing.body(ID)
    assert b"".join(reactor.wait(body.piece(each)) for each in range(number + 1)) == data

    leased.is_over = True

    assert b"".join(reactor.wait(body.piece(each)) for each in range(number)) == data
    with pytest.raises(ClaimLost, match="the claim of this process is over"):
        reactor.wait(body.piece(number))


def test_what_others_did_wakes_who_wants_to_know(
    reactor: Reactor, leasing: ThreadedSpool, leased: LeasedStore, journal: Journal
) -> None:
    woken: list[str] = []
    shared: list[int] = []
    leasing.when_due(lambda: woken.append("woken"))
    leasing.when_shared(shared.append)
    leased.news.put(Owners(3))
    leased.news.put(SomethingDue())
    leased.news.put(Recovery(1, ("theirs",), ()))
    while len(woken) < 2:
        reactor.turn()
    assert shared == [3]
    [note] = journal.events
    assert isinstance(note, DaemonNote)
    assert "took over from 1 dead process(es): 1 message(s) due again" in note.text


def test_what_was_at_hand_is_forgotten_with_the_lease(
    reactor: Reactor, leasing: ThreadedSpool, leased: LeasedStore, journal: Journal, tmp_path: Path
) -> None:
    reactor.wait(leasing.accept(message(), 0, b"x"))
    reactor.wait(leasing.write(lambda tables: tables.release(ID, NOW)))
    neighbour = opened(tmp_path)
    do(neighbour, lambda tables: tables.claim_one(ID))

    leased.news.put(LeaseLost())
    while not journal.events:
        reactor.turn()

    assert reactor.wait(leasing.claim_one(ID, NOW)) is None
    assert isinstance(journal.events[0], Trouble)
    neighbour.close()


def test_what_was_denied_is_withdrawn_as_soon_as_the_queue_works_again(
    reactor: Reactor, leasing: ThreadedSpool, leased: LeasedStore, journal: Journal
) -> None:
    leased.failures = [leased.commit_and_deny, *[leased.refuse] * 9]
    with pytest.raises(SpoolUnavailable):
        reactor.wait(leasing.accept(message(), 0, b"x"))
    with pytest.raises(SpoolFull):
        reactor.wait(leasing.accept(message("other"), 0, b"x"))
    assert [each.message_id for each in reactor.wait(leasing.entries(10))] == [ID]

    leased.failures.clear()
    reactor.wait(leasing.accept(message("good"), 0, b"x"))

    reactor.wait(leasing.write(lambda tables: None))
    assert [each.message_id for each in reactor.wait(leasing.entries(10))] == ["good"]
    [told] = journal.events
    assert isinstance(told, Trouble)
    assert (told.message_id, told.remedy) == (ID, "it may arrive twice")
