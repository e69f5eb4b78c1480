"""The runner on a clock that the test moves: what wakes it, what it claims, and that no outcome is lost."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ReactorClock

from delivery.post import Notebook, Pieces, StoppedClock, make_message
from relay.daemon import runner as daemon_runner
from relay.daemon.runner import AFTER_FAULT, ASK_AGAIN, PAUSE, UPKEEP, DeliveryRunner, Swept
from relay.delivery.attempt import AttemptPorts, Unsettled
from relay.delivery.first_pass import Extent, FirstPass
from relay.delivery.frozen import NEVER_RELEASED, TIMED_OUT, FrozenRules
from relay.delivery.report import ReportSettings
from relay.delivery.reporting import ReportRules
from relay.delivery.schedule import Limits, Schedule
from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, address_from_text
from relay.mail.envelope import Recipient
from relay.mail.events import Completed, DaemonNote, MessageNote, Trouble
from relay.mail.facts import MessageFacts, SessionFacts
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import NewMessage, QueuedMessage, QueuedRecipient, QueueEntry, Settlement
from relay.policy.routers.ports import RoutingPorts
from relay.spool.store import Change

T = TypeVar("T")

START = 1_790_000_000.0
FULL = SpoolUnavailable("no room")


class Forgiving:
    """A transport to servers that is only told whom to try again."""

    def __init__(self) -> None:
        self.forgiven: list[float] = []

    def forgive(self, now: float) -> None:
        self.forgiven.append(now)


@dataclass
class WallClock:
    reactor: ReactorClock

    def now(self) -> float:
        return START + self.reactor.seconds()


@dataclass
class Queue:
    """The queue in memory: what waits and until when, and what this process has claimed.

    An operation named in `trouble` raises that; one named in `gates` is answered when its Deferred fires.
    """

    waiting: dict[str, float] = field(default_factory=dict)
    on_ice: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    trouble: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, Deferred[None]] = field(default_factory=dict)
    waits_for: dict[str, str] = field(default_factory=dict)
    bounces: set[str] = field(default_factory=set)
    settlements: list[Settlement] = field(default_factory=list)
    tell: Callable[[], object] = lambda: None
    looks: int = 0

    async def _enter(self, operation: str) -> None:
        gate = self.gates.get(operation)
        if gate is not None:
            await gate
        if operation in self.trouble:
            raise self.trouble[operation]

    async def claim(self, now: float, limit: int) -> tuple[QueuedMessage, ...]:
        await self._enter("claim")
        due = sorted((time, each) for each, time in self.waiting.items() if time <= now and each not in self.on_ice)
        return tuple(self._take(each) for _, each in due[:limit])

    async def claim_waiting(self, host: str, limit: int) -> tuple[QueuedMessage, ...]:
        await self._enter("claim_waiting")
        waiting = sorted((time, each) for each, time in self.waiting.items() if self.waits_for.get(each) == host)
        return tuple(self._take(each) for _, each in waiting[:limit])

    async def claim_one(self, message_id: str, now: float) -> QueuedMessage | None:
        await self._enter("claim_one")
        if message_id in self.on_ice or not (message_id in self.held or message_id in self.waiting):
            return None
        return self._take(message_id)

    def _take(self, message_id: str) -> QueuedMessage:
        self.waiting.pop(message_id, None)
        self.held.add(message_id)
        return replace(make_message(), message_id=message_id)

    def when_due(self, function: Callable[[], object]) -> None:
        self.tell = function

    def when_shared(self, function: Callable[[int], object]) -> None:
        self.tell_sharers = function

    async def next_due(self) -> float | None:
        self.looks += 1
        await self._enter("next_due")
        return min((time for each, time in self.waiting.items() if each not in self.on_ice), default=None)

    async def settle(self, settlement: Settlement, now: float) -> None:
        await self._enter("settle")
        self.settled(settlement)

    def settled(self, settlement: Settlement) -> None:
        assert settlement.message_id in self.held, "a message that is not ours is settled"
        self.settlements.append(settlement)
        self.held.discard(settlement.message_id)
        if settlement.bounce is not None:
            self.held.add(settlement.bounce.message_id)

    async def release(self, message_id: str, due: float) -> None:
        await self._enter("release")
        assert message_id in self.held, "a claim that is not ours is given back"
        self.held.discard(message_id)
        self.waiting[message_id] = due

    def body(self, message_id: str) -> Pieces:
        return Pieces(b"body\r\n")

    async def entries(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        ids = sorted(each for each in {*self.waiting, *self.on_ice} if each > after)[:limit]
        return tuple(
            QueueEntry(
                each,
                NULL_SENDER,
                START,
                10,
                each in self.on_ice,
                self.waiting.get(each, START),
                (QueuedRecipient(1, Recipient(address_from_text("bob@far.test")), attempts=int(each in self.tried)),),
            )
            for each in ids
        )

    async def change(self, wish: Callable[[Any], T]) -> T:
        return wish(self)

    async def write(self, operation: Callable[[Any], T]) -> T:
        await self._enter("write")
        return operation(self)

    async def read(self, question: Callable[[Any], T]) -> T:
        return question(self)

    def thaw(self, message_id: str, due: float) -> Change:
        self.on_ice.discard(message_id)
        self.waiting[message_id] = due
        return Change.DONE

    def _frozen_entry(self, message_id: str) -> QueueEntry:
        sender = NULL_SENDER if message_id in self.bounces else address_from_text("anna@laptop.test")
        return QueueEntry(message_id, sender, START, 10, True, START, (), frozen_at=START)

    def frozen(self, limit: int, after: str) -> tuple[QueueEntry, ...]:
        ids = sorted(each for each in self.on_ice if each > after)[:limit]
        return tuple(self._frozen_entry(each) for each in ids)

    def advance(self, now: float, beyond: float) -> int:
        late = [each for each, due in self.waiting.items() if due > beyond]
        self.waiting.update(dict.fromkeys(late, now))
        return len(late)


class Attempts:
    """Stands for `attempt`: each waits until the test says what came of it, or ends as it was laid down."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.begun: list[str] = []
        self.in_runs: list[str] = []
        self.extents: list[tuple[str, FirstPass]] = []
        self.rehearsed: list[str] = []
        self.given_up: list[tuple[str, str]] = []
        self.under_way: dict[str, Deferred[Settlement]] = {}
        self.ends: dict[str, Exception] = {}

    async def __call__(self, message: QueuedMessage, body: Any, ports: AttemptPorts) -> Settlement:
        message_id = message.message_id
        assert message_id in self.queue.held, "an attempt without a claim"
        assert message_id not in self.under_way, "two attempts at a time"
        self.begun.append(message_id)
        self.extents.append((message_id, ports.first_pass))
        if message.facts.is_rehearsal:
            self.rehearsed.append(message_id)
        if ports.scope.queue_running:
            self.in_runs.append(message_id)
        if message_id in self.ends:
            raise self.ends.pop(message_id)
        self.under_way[message_id] = Deferred()
        try:
            settlement = await self.under_way[message_id]
        finally:
            del self.under_way[message_id]
        self.queue.settled(settlement)
        if settlement.bounce is not None and ports.deliver_first is not None:
            await ports.deliver_first(settlement.bounce.message_id)
        return settlement

    async def give_up(self, message: QueuedMessage, body: Any, ports: AttemptPorts, why: str) -> Settlement:
        self.given_up.append((message.message_id, why))
        settlement = Settlement(message.message_id, (), START)
        self.queue.settled(settlement)
        return settlement

    def finish(
        self, message_id: str, bounce: NewMessage | None = None, due: float | None = None, waits_for: str = ""
    ) -> None:
        """Without `due` nobody waits any more."""
        when, complete = (START, True) if due is None else (due, False)
        settlement = Settlement(message_id, (), when, bounce=bounce, waits_for=waits_for, is_complete=complete)
        self.under_way[message_id].callback(settlement)

    def fail(self, message_id: str, error: Exception) -> None:
        self.under_way[message_id].errback(error)


class Daemon:
    """A runner with everything around it."""

    def __init__(self, schedule: Schedule, frozen: FrozenRules = NEVER_RELEASED, *, servers: bool = False) -> None:
        self.reactor = ReactorClock()
        self.queue = Queue()
        self.attempts = Attempts(self.queue)
        self.journal = Notebook()
        ports = AttemptPorts(
            clock=StoppedClock(),
            journal=self.journal,
            outgoing=self.queue,  # type: ignore[arg-type]
            source=random.Random(1),
            scope=Scope(),
            routing=RoutingPorts(resolver=None),  # type: ignore[arg-type]
            routers=(),
            retry_rules=(),
            reports=ReportRules(settings=ReportSettings("relay.test", "relay.test")),
            remote={"smtp": Forgiving()} if servers else {},  # type: ignore[dict-item]  # nothing else is asked of it
        )
        self.runner = DeliveryRunner(
            self.reactor,
            WallClock(self.reactor),
            self.queue,  # type: ignore[arg-type]
            schedule,
            ports,
            self.journal,
            frozen,
        )

    def arrive(self, message_id: str) -> None:
        """A message was committed as claimed by this process."""
        self.queue.held.add(message_id)
        self.runner.arrived(message_id)

    def wait(self, seconds: float = 0.0) -> None:
        """Lets time pass, a second at a time."""
        self.reactor.advance(0)
        while seconds > 0:
            step = min(seconds, 1.0)
            self.reactor.advance(step)
            seconds -= step
        self.reactor.advance(0)

    @property
    def notes(self) -> list[tuple[str, str]]:
        return [(each.message_id, each.text) for each in self.journal.of(MessageNote)]

    @property
    def troubles(self) -> list[str]:
        return [each.text for each in self.journal.of(Trouble)]


class Started:
    """A coroutine of the runner under way."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(self.results.append)

    @property
    def is_over(self) -> bool:
        return bool(self.results)


@pytest.fixture
def make_daemon(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Daemon]:
    def make(
        *, serving: bool = True, frozen: FrozenRules = NEVER_RELEASED, servers: bool = False, **limits: Any
    ) -> Daemon:
        daemon = Daemon(Schedule(Limits(**limits)), frozen, servers=servers)
        monkeypatch.setattr(daemon_runner, "attempt", daemon.attempts)
        monkeypatch.setattr(daemon_runner, "give_up", daemon.attempts.give_up)
        if serving:
            daemon.runner.start()
        return daemon

    return make


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon()


def bounce(message_id: str, due: float | None = None) -> NewMessage:
    return NewMessage(message_id, NULL_SENDER, (), b"", MessageFacts(SessionFacts(), START), due=due)


# What wakes it


def test_a_new_message_is_attempted_at_once(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    assert daemon.attempts.begun == ["a"]
    daemon.attempts.finish("a")
    assert daemon.queue.held == set()


@pytest.mark.parametrize("asked", ["claim", "next_due"])
def test_a_new_message_while_the_queue_is_asked_does_not_wait_for_the_next_time(daemon: Daemon, asked: str) -> None:
    gate: Deferred[None] = Deferred()
    daemon.queue.gates[asked] = gate
    daemon.wait()
    daemon.arrive("a")
    daemon.wait()
    assert daemon.attempts.begun == []
    gate.callback(None)
    daemon.wait()
    assert daemon.attempts.begun == ["a"]


def test_due_messages_are_claimed_at_the_start_and_others_when_their_time_comes(daemon: Daemon) -> None:
    daemon.queue.waiting = {"due": START - 5, "also due": START, "later": START + 30}
    daemon.wait()
    assert daemon.attempts.begun == ["due", "also due"]
    daemon.wait(29)
    assert daemon.attempts.begun == ["due", "also due"]
    daemon.wait(1)
    assert daemon.attempts.begun == ["due", "also due", "later"]


def test_before_its_start_only_what_arrives_is_attempted(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting["due"] = START - 5
    daemon.arrive("a")
    daemon.wait(300)
    assert daemon.attempts.begun == ["a"]
    daemon.runner.start()
    daemon.wait()
    assert daemon.attempts.begun == ["a", "due"]


def test_what_was_deferred_is_tried_again_in_time(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    daemon.queue.waiting["a"] = START + 45
    daemon.attempts.finish("a", due=START + 45)
    daemon.wait(44)
    assert daemon.attempts.begun == ["a"]
    daemon.wait(1)
    assert daemon.attempts.begun == ["a", "a"]


def test_the_end_of_an_attempt_makes_room(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=1)
    daemon.arrive("a")
    daemon.arrive("b")
    daemon.queue.waiting["due"] = START
    daemon.wait(5)
    assert daemon.attempts.begun == ["a"]
    daemon.attempts.finish("a")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b"]
    daemon.attempts.finish("b")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b", "due"]


def test_more_due_messages_than_there_is_room_for(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=2, claim=16)
    daemon.queue.waiting = dict.fromkeys("abcde", START)
    for expected in (2, 3, 4, 5):
        daemon.wait()
        assert len(daemon.attempts.begun) == expected
        assert len(daemon.queue.held) <= 2, "no more is claimed than is attempted"
        daemon.attempts.finish(next(iter(daemon.attempts.under_way)))


def test_the_queue_is_looked_at_now_and_then_whatever_it_said(daemon: Daemon) -> None:
    """Other processes add to it, and so does a reception that only queues; nobody tells us."""
    daemon.wait(1)
    daemon.queue.waiting["from elsewhere"] = START + 5
    daemon.wait(Limits().longest_sleep + 5)
    assert daemon.attempts.begun == ["from elsewhere"]


def test_an_idle_queue_is_not_looked_at_all_the_time(daemon: Daemon) -> None:
    daemon.wait(600)
    assert daemon.queue.looks <= 1 + 600 / Limits().longest_sleep


def test_nobody_asks_the_queue_because_a_message_has_been_delivered(daemon: Daemon) -> None:
    """Nothing becomes due by that, and the question would cost as much as the message."""
    daemon.wait(1)
    looks, daemon.queue.trouble["claim"] = daemon.queue.looks, AssertionError("a claim")
    for name in "abcdefgh":
        daemon.arrive(name)
        daemon.wait()
        daemon.attempts.finish(name)
        daemon.wait()
    assert daemon.queue.looks == looks


def test_a_queue_run_looks_at_once(daemon: Daemon) -> None:
    daemon.wait(1)
    daemon.queue.waiting["from elsewhere"] = START
    daemon.runner.queue_run()
    daemon.wait()
    assert daemon.attempts.begun == ["from elsewhere"]


def test_what_another_process_made_due_is_looked_for_at_once(daemon: Daemon) -> None:
    daemon.wait(5)
    daemon.queue.waiting["theirs"] = START
    daemon.queue.tell()
    daemon.wait()
    assert daemon.attempts.begun == ["theirs"]


def test_a_message_that_is_claimed_again_in_the_middle_of_its_attempt_has_one_attempt(daemon: Daemon) -> None:
    """Its lease was lost, nobody took it, and it is ours again: the attempt under way is the one that counts."""
    daemon.arrive("a")
    daemon.wait()
    daemon.queue.held.discard("a")
    daemon.queue.waiting["a"] = START
    daemon.queue.tell()
    daemon.wait()
    assert daemon.attempts.begun == ["a"]
    daemon.attempts.finish("a")
    daemon.wait()
    assert not daemon.runner._attempts


def test_a_bounce_is_attempted_next(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.finish("a", bounce=bounce("bounce"))
    daemon.wait()
    assert daemon.attempts.begun == ["a", "bounce"]


def test_who_waits_for_a_message_waits_for_its_bounce_too(daemon: Daemon) -> None:
    daemon.queue.held.add("a")
    waiting = Started(daemon.runner.attempt_now("a"))
    daemon.wait()
    daemon.attempts.finish("a", bounce=bounce("bounce"))
    daemon.wait()
    assert daemon.attempts.begun == ["a", "bounce"]
    assert not waiting.is_over
    daemon.attempts.finish("bounce")
    daemon.wait()
    assert waiting.is_over
    assert daemon.attempts.begun == ["a", "bounce"]


def test_a_process_that_waits_for_all_waits_for_bounces(daemon: Daemon) -> None:
    daemon.runner.everything_is_awaited()
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.finish("a", bounce=bounce("bounce"))
    daemon.wait()
    idle = Started(daemon.runner.until_idle())
    assert "a" in daemon.runner._attempts
    daemon.attempts.finish("bounce")
    daemon.wait()
    assert idle.is_over
    assert daemon.attempts.begun == ["a", "bounce"]


def test_those_who_wait_for_bounces_leave_a_place_for_them(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=2)
    daemon.queue.held |= {"a", "b"}
    waiting = [Started(daemon.runner.attempt_now(each)) for each in ("a", "b")]
    daemon.wait()
    for each in ("a", "b"):
        daemon.attempts.finish(each, bounce=bounce(f"bounce of {each}"))
        daemon.wait()
    for each in ("a", "b"):
        daemon.attempts.finish(f"bounce of {each}")
        daemon.wait()
    assert sorted(daemon.attempts.begun) == ["a", "b", "bounce of a", "bounce of b"]
    assert all(each.is_over for each in waiting)


def test_a_bounce_that_is_only_queued_is_left_to_the_queue(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.finish("a", bounce=bounce("bounce", due=START + 3600))
    daemon.wait()
    assert daemon.attempts.begun == ["a"]


def test_a_message_that_is_gone_is_nobodys_trouble(daemon: Daemon) -> None:
    daemon.runner.arrived("gone")
    daemon.wait()
    assert (daemon.attempts.begun, daemon.troubles) == ([], [])
    daemon.arrive("a")
    daemon.wait()
    assert daemon.attempts.begun == ["a"]


# The queue does not answer


def test_a_queue_that_can_not_be_read_is_asked_again(daemon: Daemon) -> None:
    daemon.queue.waiting["a"] = START
    daemon.queue.trouble["claim"] = SpoolUnavailable("away")
    daemon.wait()
    assert daemon.troubles == ["the queue can't be read: away"]
    daemon.wait(PAUSE)
    assert len(daemon.troubles) == 2
    del daemon.queue.trouble["claim"]
    daemon.wait(PAUSE)
    assert daemon.attempts.begun == ["a"]


def test_a_new_message_that_can_not_be_read_is_not_forgotten(daemon: Daemon) -> None:
    daemon.queue.trouble["claim_one"] = SpoolUnavailable("away")
    daemon.arrive("a")
    daemon.wait(5)
    assert daemon.attempts.begun == []
    del daemon.queue.trouble["claim_one"]
    daemon.wait(120)
    assert daemon.attempts.begun == ["a"]


def test_a_body_that_can_not_be_read(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", SpoolUnavailable("away"))
    assert daemon.queue.waiting == {"a": START + PAUSE}
    assert daemon.troubles == ["the attempt was given up: away"]
    daemon.wait(PAUSE)
    assert daemon.attempts.begun == ["a", "a"]


def test_a_claim_that_can_not_be_given_back_is_told(daemon: Daemon) -> None:
    daemon.queue.trouble["release"] = SpoolUnavailable("away")
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", SpoolUnavailable("away"))
    assert any("could not be given back" in each for each in daemon.troubles)


# An outcome that is not recorded


def test_an_outcome_is_handed_in_until_it_is_recorded(daemon: Daemon) -> None:
    """What was delivered must not be delivered again; what follows from it is told once it is sure."""
    settlement = Settlement("a", (), START)
    daemon.queue.trouble["settle"] = FULL
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", Unsettled(FULL, settlement, (Completed("a"),)))
    daemon.runner.queue_run()
    daemon.wait(3 * PAUSE)
    assert daemon.queue.settlements == []
    assert daemon.journal.of(Completed) == []
    assert all("could not be recorded" in each for each in daemon.troubles)
    assert daemon.troubles
    del daemon.queue.trouble["settle"]
    daemon.wait(PAUSE)
    assert daemon.queue.settlements == [settlement]
    assert daemon.journal.of(Completed) == [Completed("a")]
    daemon.wait(10 * PAUSE)
    assert daemon.queue.settlements == [settlement]
    assert daemon.attempts.begun == ["a"]


def test_the_bounce_of_an_outcome_that_was_recorded_late_is_attempted(daemon: Daemon) -> None:
    settlement = Settlement("a", (), START, bounce=bounce("bounce"))
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", Unsettled(FULL, settlement))
    daemon.wait(PAUSE)
    daemon.wait()
    assert daemon.attempts.begun == ["a", "bounce"]


def test_an_outcome_that_waits_does_not_hold_up_others(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=2)
    daemon.queue.trouble["settle"] = FULL
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", Unsettled(FULL, Settlement("a", (), START)))
    daemon.arrive("b")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b"]


# Our own fault


def test_an_attempt_that_raises_gives_its_claim_back(daemon: Daemon) -> None:
    daemon.arrive("a")
    daemon.wait()
    daemon.attempts.fail("a", ZeroDivisionError("a mistake"))
    assert daemon.queue.waiting == {"a": START + AFTER_FAULT}
    (trouble,) = daemon.journal.of(Trouble)
    assert trouble.message_id == "a"
    daemon.wait(AFTER_FAULT)
    assert daemon.attempts.begun == ["a", "a"]


def test_an_attempt_that_raises_at_once_does_not_stop_the_others(daemon: Daemon) -> None:
    daemon.attempts.ends["a"] = ZeroDivisionError("a mistake")
    daemon.queue.waiting = {"a": START, "b": START}
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b"]


# Waiting for an attempt


@pytest.mark.parametrize("how", ["finished", "a mistake", "no queue", "gone"])
def test_who_waits_for_an_attempt_is_told_however_it_ends(daemon: Daemon, how: str) -> None:
    if how != "gone":
        daemon.queue.held.add("a")
    waiting = Started(daemon.runner.attempt_now("a"))
    if how == "gone":
        daemon.wait()
    else:
        daemon.wait()
        assert not waiting.is_over
        if how == "finished":
            daemon.attempts.finish("a")
        else:
            daemon.attempts.fail("a", FULL if how == "no queue" else ZeroDivisionError("a mistake"))
    assert waiting.results == [None]


def test_who_waits_for_an_attempt_that_does_not_begin_is_told_at_a_stop(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=1)
    daemon.arrive("a")
    daemon.queue.held.add("b")
    waiting = Started(daemon.runner.attempt_now("b"))
    daemon.wait()
    stopping = Started(daemon.runner.stop(10.0))
    daemon.attempts.finish("a")
    daemon.wait(10)
    assert stopping.is_over
    assert daemon.attempts.begun == ["a"]
    assert waiting.is_over


# Stopping


def test_a_stop_waits_for_what_is_under_way_and_gives_the_rest_back(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=1)
    daemon.arrive("a")
    daemon.arrive("b")
    daemon.wait()
    stopping = Started(daemon.runner.stop(10.0))
    assert not daemon.runner.takes_new()
    assert daemon.queue.waiting == {"b": START}
    assert not stopping.is_over
    daemon.wait(5)
    daemon.attempts.finish("a")
    daemon.wait()
    assert stopping.results == [None]
    daemon.queue.waiting["c"] = START
    daemon.runner.queue_run()
    daemon.wait(100)
    assert daemon.attempts.begun == ["a"]
    assert daemon.queue.held == set()
    assert daemon.reactor.getDelayedCalls() == []


def test_a_stop_with_nothing_to_do_is_over_at_once(daemon: Daemon) -> None:
    daemon.wait()
    assert Started(daemon.runner.stop(10.0)).results == [None]
    assert daemon.reactor.getDelayedCalls() == []


def test_what_takes_too_long_at_a_stop_is_cut_off_and_given_back(daemon: Daemon) -> None:
    """It goes on after the next start, and is nobody's mistake."""
    daemon.arrive("a")
    daemon.wait()
    stopping = Started(daemon.runner.stop(10.0))
    daemon.wait(9)
    assert not stopping.is_over
    daemon.wait(1)
    assert stopping.results == [None]
    assert daemon.queue.held == set()
    assert daemon.queue.waiting == {"a": START + 10}
    assert daemon.troubles == []


def test_what_is_being_claimed_at_a_stop_is_given_back(daemon: Daemon) -> None:
    """The claim is on its way when the stop comes: no attempt begins behind its back."""
    daemon.queue.waiting["a"] = START
    gate: Deferred[None] = Deferred()
    daemon.queue.gates["claim"] = gate
    daemon.wait()
    stopping = Started(daemon.runner.stop(10.0))
    gate.callback(None)
    daemon.wait()
    assert stopping.is_over
    assert daemon.attempts.begun == []
    assert daemon.queue.held == set()


# A queue run from the command line


def everything(_: QueueEntry) -> bool:
    return True


def test_a_sweep_attempts_everything_and_waits_for_the_end(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, attempts=2)
    daemon.queue.waiting = {"a": START + 3600, "b": START, "c": START + 7200}
    sweep = Started(daemon.runner.sweep(everything, thaw=False))
    assert daemon.attempts.begun == ["a", "b"]
    daemon.attempts.finish("a")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b", "c"]
    daemon.attempts.finish("b")
    daemon.wait()
    assert not sweep.is_over
    daemon.attempts.finish("c")
    daemon.wait()
    assert sweep.results == [Swept(seen=3, tried=3)]


@pytest.mark.parametrize("thaw, begun", [(False, ["b"]), (True, ["a", "b"])])
def test_a_sweep_leaves_frozen_messages_unless_it_is_to_thaw_them(
    make_daemon: Callable[..., Daemon], thaw: bool, begun: list[str]
) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START, "b": START}
    daemon.queue.on_ice = {"a"}
    Started(daemon.runner.sweep(everything, thaw=thaw))
    assert daemon.attempts.begun == begun
    assert daemon.notes == [("a", "Unfrozen by forced delivery" if thaw else "Message is frozen")]


@pytest.mark.parametrize(("in_order", "until"), [(True, math.inf), (False, START)])
def test_a_forced_run_of_its_own_waits_for_no_host(
    make_daemon: Callable[..., Daemon], in_order: bool, until: float
) -> None:
    """Not for one either that has failed in this run; that of a daemon, which has others to care for, does."""
    daemon = make_daemon(serving=False, servers=True)
    Started(daemon.runner.sweep(everything, thaw=False, force=True, in_order=in_order))
    (transport,) = daemon.runner._ports.remote.values()
    assert transport.forgiven == [until]  # type: ignore[attr-defined]  # it is one of ours


def test_those_that_are_passed_over_are_told_of(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START + 50, "b": START + 50}
    told: list[str] = []

    async def tell(entry: QueueEntry, ports: AttemptPorts) -> None:
        told.append(entry.message_id)

    Started(daemon.runner.sweep(lambda entry: entry.message_id == "b", thaw=False, passed_over=tell))
    assert (told, daemon.attempts.begun) == (["a"], ["b"])


def test_a_sweep_takes_what_it_wants(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START + 50, "b": START + 50}
    Started(daemon.runner.sweep(lambda entry: entry.message_id == "b", thaw=False))
    assert daemon.attempts.begun == ["b"]


def test_a_sweep_does_not_wait_for_what_others_begin(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START}
    sweep = Started(daemon.runner.sweep(everything, thaw=False))
    daemon.arrive("new")
    daemon.wait()
    daemon.attempts.finish("a")
    daemon.wait()
    assert (sweep.is_over, list(daemon.attempts.under_way)) == (True, ["new"])


def test_a_sweep_may_take_one_after_the_other(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, attempts=9)
    daemon.queue.waiting = {"a": START, "b": START, "c": START}
    sweep = Started(daemon.runner.sweep(everything, thaw=False, in_order=True))
    for done, begun in (("a", ["a"]), ("b", ["a", "b"]), ("c", ["a", "b", "c"])):
        assert (daemon.attempts.begun, sweep.is_over) == (begun, False)
        daemon.attempts.finish(done)
        daemon.wait()
    assert sweep.results == [Swept(seen=3, tried=3)]


def test_a_sweep_in_order_has_those_that_were_tried_side_by_side(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, attempts=9, servers=True)
    daemon.queue.waiting = dict.fromkeys("abcd", START)
    daemon.queue.tried = {"b", "c"}
    Started(daemon.runner.sweep(everything, thaw=False, in_order=True))
    assert daemon.attempts.begun == ["a"]
    daemon.attempts.finish("a")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b", "c"]
    daemon.attempts.finish("b")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b", "c"]
    daemon.attempts.finish("c")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b", "c", "d"]


def test_a_sweep_tells_how_far_it_is(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START, "b": START}
    told: list[Swept] = []
    Started(daemon.runner.sweep(lambda entry: entry.message_id == "b", thaw=False, told=told.append))
    assert told == [Swept(2, 1), Swept(2, 1)]


@pytest.mark.parametrize("frozen, thaw, begun", [(False, False, True), (True, True, True), (True, False, False)])
def test_one_message_is_tried_now(make_daemon: Callable[..., Daemon], frozen: bool, thaw: bool, begun: bool) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START + 3600}
    daemon.queue.on_ice = {"a"} if frozen else set()
    tried = Started(daemon.runner.try_now("a", frozen=frozen, thaw=thaw, force=False))
    assert bool(daemon.attempts.begun) is begun
    if begun:
        assert not tried.is_over
        daemon.attempts.finish("a")
    daemon.wait()
    assert tried.results == [begun]


def test_nothing_is_tried_out_of_turn_once_it_stops(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START}
    Started(daemon.runner.stop(1.0))
    assert Started(daemon.runner.try_now("a", frozen=False, thaw=False, force=False)).results == [False]


def test_giving_up_is_an_attempt_of_its_own(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.held.add("a")
    ended = Started(daemon.runner.give_up(replace(make_message(), message_id="a"), "cancelled"))
    daemon.wait()
    assert (ended.results, daemon.attempts.given_up, daemon.attempts.begun) == ([True], [("a", "cancelled")], [])
    assert daemon.queue.held == set()


def test_what_is_not_tried_on_arrival_or_by_hand_is_tried_in_a_queue_run(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=True)
    daemon.queue.waiting = {"due": START}
    daemon.wait(120)
    daemon.arrive("new")
    daemon.wait()
    daemon.queue.waiting = {"wanted": START + 9000, "by hand": START + 9000}
    Started(daemon.runner.sweep(lambda entry: entry.message_id == "wanted", thaw=False))
    Started(daemon.runner.try_now("by hand", frozen=False, thaw=False, force=True))
    daemon.wait()
    assert sorted(daemon.attempts.begun) == ["by hand", "due", "new", "wanted"]
    assert daemon.attempts.in_runs == ["due", "wanted"]


# Frozen messages


def test_a_frozen_message_goes_on_when_its_time_has_come(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, frozen=FrozenRules(auto_thaw=UPKEEP))
    daemon.queue.on_ice = {"a"}
    daemon.runner.start()
    daemon.wait(UPKEEP)
    assert daemon.attempts.begun == []
    daemon.wait(UPKEEP + 60)
    assert daemon.attempts.begun == ["a"]
    assert daemon.notes == [("a", "Unfrozen by auto-thaw")]


def test_a_frozen_message_that_is_too_old_is_given_up_without_a_try(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, frozen=FrozenRules(timeout_frozen_after=10))
    daemon.queue.on_ice = {"a", "b"}
    daemon.reactor.advance(10)
    daemon.runner.start()
    daemon.wait()
    assert (daemon.attempts.begun, daemon.attempts.given_up) == ([], [("a", TIMED_OUT), ("b", TIMED_OUT)])
    assert daemon.notes == [(each, "cancelled by timeout_frozen_after") for each in "ab"]
    assert not daemon.queue.held


def test_more_old_frozen_messages_than_there_is_room_for(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, attempts=1, frozen=FrozenRules(timeout_frozen_after=10))
    daemon.queue.on_ice = {"a"}
    daemon.reactor.advance(10)
    daemon.arrive("new")
    daemon.runner.start()
    daemon.wait()
    assert (daemon.attempts.begun, daemon.attempts.given_up) == (["new"], [])
    daemon.attempts.finish("new")
    daemon.wait()
    assert daemon.attempts.given_up == [("a", TIMED_OUT)]


def test_an_old_bounce_is_tried_once_more(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, frozen=FrozenRules(ignore_bounce_errors_after=10))
    daemon.queue.on_ice = daemon.queue.bounces = {"a"}
    daemon.reactor.advance(10)
    daemon.runner.start()
    daemon.wait()
    assert daemon.attempts.begun == ["a"]
    assert daemon.notes == [("a", "Unfrozen by errmsg timer")]


def test_a_queue_run_gives_up_what_is_too_old(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False, frozen=FrozenRules(timeout_frozen_after=10))
    daemon.queue.on_ice = {"a"}
    daemon.queue.waiting = {"a": START}
    daemon.reactor.advance(10)
    Started(daemon.runner.sweep(everything, thaw=False))
    assert daemon.attempts.given_up == [("a", TIMED_OUT)]


# The network, sleep, the clock


def test_when_the_network_changes_what_waits_is_tried_at_once(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START + 3600, "b": START + 7200}
    daemon.runner.start()
    daemon.wait(10)
    assert daemon.attempts.begun == []
    daemon.runner.network_changed("the network has changed")
    daemon.wait()
    assert daemon.attempts.begun == ["a", "b"]
    (note,) = daemon.journal.of(DaemonNote)
    assert note.text == "the network has changed: 2 waiting message(s) are tried at once"


def test_when_nothing_waits_a_change_of_the_network_is_no_news(daemon: Daemon) -> None:
    daemon.runner.network_changed("the network has changed")
    daemon.wait()
    assert daemon.journal.events == []


def test_a_queue_that_fails_meanwhile_is_told(daemon: Daemon) -> None:
    daemon.wait()
    daemon.queue.trouble["write"] = FULL
    daemon.runner.network_changed("the network has changed")
    assert daemon.troubles == ["the network has changed, and the queue can't be run: no room"]


def test_a_retry_time_that_a_clock_has_left_too_far_ahead_is_mended(make_daemon: Callable[..., Daemon]) -> None:
    """The clock was a year ahead when the message failed, and was set back."""
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START + 365 * 86400, "b": START + 3600}
    daemon.runner.start()
    daemon.wait()
    assert daemon.attempts.begun == ["a"]


def test_a_clock_that_is_set_back_is_looked_after_at_once(daemon: Daemon) -> None:
    daemon.wait()
    daemon.queue.waiting = {"a": START + 365 * 86400}
    daemon.wait(20)
    assert daemon.attempts.begun == []
    daemon.runner.clock_set_back()
    daemon.wait()
    assert daemon.attempts.begun == ["a"]


def test_who_waits_for_a_host_that_works_again_begins_before_its_time(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(attempts=2)
    daemon.queue.waiting |= {"one": START + 3000, "two": START + 4000, "three": START + 5000}
    daemon.queue.waits_for |= {"one": "mx.test:25", "two": "mx.test:25", "three": "other.test:25"}
    first, second = (Started(daemon.runner.begin_waiting("mx.test:25")) for _ in range(2))
    nobody = Started(daemon.runner.begin_waiting("unknown:25"))
    full = Started(daemon.runner.begin_waiting("other.test:25"))
    daemon.wait()
    assert daemon.attempts.begun == ["one", "two"]
    assert nobody.is_over, "there is none"
    assert full.is_over, "there is no room"
    assert not first.is_over
    daemon.attempts.finish("one")
    assert first.is_over
    assert not second.is_over
    daemon.attempts.finish("two")
    assert second.is_over


def test_who_waits_for_a_host_does_not_begin_where_the_queue_fails_or_the_daemon_stops(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.queue.waiting["one"], daemon.queue.waits_for["one"] = START + 3000, "mx.test:25"
    daemon.queue.trouble["claim_waiting"] = SpoolUnavailable("locked")
    assert Started(daemon.runner.begin_waiting("mx.test:25")).is_over
    del daemon.queue.trouble["claim_waiting"]
    run = Started(daemon.runner.stop(1.0))
    assert Started(daemon.runner.begin_waiting("mx.test:25")).is_over
    daemon.wait()
    assert run.is_over
    assert not daemon.attempts.begun
    assert not daemon.queue.held


def test_the_queue_is_not_asked_behind_each_message_of_a_host(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()

    def finds_somebody() -> bool:
        begun = len(daemon.attempts.begun)
        Started(daemon.runner.begin_waiting("mx.test:25"))
        return len(daemon.attempts.begun) > begun

    assert not finds_somebody()
    daemon.queue.waiting["theirs"], daemon.queue.waits_for["theirs"] = START + 3000, "mx.test:25"
    assert not finds_somebody(), "it said a moment ago that there is nobody"
    daemon.wait(ASK_AGAIN)
    assert finds_somebody()
    daemon.attempts.finish("theirs")

    assert not finds_somebody()
    daemon.arrive("ours")
    daemon.wait()
    daemon.attempts.finish("ours", due=START + 3000, waits_for="mx.test:25")
    daemon.queue.waiting["ours"], daemon.queue.waits_for["ours"] = START + 3000, "mx.test:25"
    assert finds_somebody(), "what this process has put there itself it knows"


# What is left for a queue run


def test_a_first_attempt_may_only_route_and_runs_leave_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    for message_id, routes_only in (("whole", False), ("routed", True)):
        daemon.queue.held.add(message_id)
        daemon.runner.arrived(message_id, routes_only=routes_only)
    daemon.wait()
    for message_id in ("whole", "routed"):
        daemon.attempts.finish(message_id)
    daemon.wait()
    daemon.queue.waiting = {"routed": START}
    Started(daemon.runner.sweep(everything, thaw=False))
    assert [(name, first_pass.extent) for name, first_pass in daemon.attempts.extents] == [
        ("whole", Extent.WHOLE),
        ("routed", Extent.ROUTES_ONLY),
        ("routed", Extent.WHOLE),
    ]


@pytest.mark.parametrize("extent", [Extent.STAGE, Extent.LOCAL])
def test_a_run_may_leave_what_goes_to_other_hosts(make_daemon: Callable[..., Daemon], extent: Extent) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START}
    Started(daemon.runner.sweep(everything, thaw=False, extent=extent))
    assert daemon.attempts.extents == [("a", FirstPass(extent))]


def test_in_a_rehearsal_every_message_is_one(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START}
    daemon.runner.is_rehearsal = True
    Started(daemon.runner.sweep(everything, thaw=False))
    assert daemon.attempts.rehearsed == ["a"]


def test_a_run_goes_on_with_who_waits_for_the_host_that_has_taken_mail(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(serving=False)
    daemon.queue.waiting = {"a": START, "b": START}
    daemon.queue.waits_for = {"b": "hub.test:25"}
    Started(daemon.runner.begin_waiting("hub.test:25"))
    assert daemon.attempts.begun == []
    Started(daemon.runner.sweep(everything, thaw=False, in_order=True))
    Started(daemon.runner.begin_waiting("hub.test:25"))
    assert daemon.attempts.begun == ["a", "b"]
