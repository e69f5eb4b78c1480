"""What an operator orders: what becomes of the message, what is said, and what the log has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from delivery.post import Notebook, StoppedClock, run
from policy.told import action, told
from relay.daemon.operator import CANCELLED, Operator
from relay.daemon.orders import Answer, BadOrder, Order, Outcome, Progress, Run, Selection, Verb
from relay.daemon.runner import Swept
from relay.mail.address import Address
from relay.mail.events import Completed, MessageNote
from relay.mail.facts import LocalCaller, MessageFacts, SessionFacts
from relay.mail.queue import NewMessage, QueuedMessage, QueueEntry, RecipientState
from relay.policy.event_action import EventActions
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done
from spool.samples import NOW, do, message, opened

T = TypeVar("T")

ID = "1aaaaa-aaaaaa-01"
ROOT = ("root", 0)


@dataclass
class Queue:
    """The ports of a `ThreadedSpool`, answered at once by a real database."""

    store: SQLiteStore

    async def write(self, operation: Callable[[Any], T]) -> T:
        (result,) = self.store.run([operation])
        assert isinstance(result, Done)
        return result.value  # type: ignore[return-value]

    change = write

    async def read(self, question: Callable[[Any], T]) -> T:
        return self.store.read(question)


@dataclass
class Runner:
    """A runner that only writes down what it is asked for."""

    store: SQLiteStore
    asked: list[str] = field(default_factory=list)
    wanted: Callable[[QueueEntry], bool] = bool
    during: Callable[[], object] = lambda: None
    free: bool = True

    def queue_run(self) -> None:
        self.asked.append("look")

    async def try_now(self, message_id: str, *, frozen: bool, thaw: bool, force: bool) -> bool:
        self.asked.append(f"try thaw={thaw} force={force}")
        return self.free

    async def give_up(self, message: QueuedMessage, why: str) -> bool:
        self.asked.append(f"give up {len(message.pending)}: {why}")
        return True

    async def sweep(
        self, wants: Callable[[QueueEntry], bool], *, thaw: bool, force: bool, told: Callable[[Swept], object]
    ) -> Swept:
        taken = [each for each in self.store.read(lambda queue: queue.entries(100)) if wants(each)]
        self.asked += [each.message_id for each in taken]
        told(Swept(1, 1))
        self.during()
        return Swept(2, len(taken))


@dataclass
class Office:
    """An operator with a queue."""

    store: SQLiteStore
    journal: Notebook = field(default_factory=Notebook)
    most: int = 0

    def __post_init__(self) -> None:
        self.runner = Runner(self.store)
        self.operator = Operator(
            Queue(self.store),  # type: ignore[arg-type]
            self.runner,  # type: ignore[arg-type]
            self.journal,
            StoppedClock(NOW + 10),
            runs_max=self._most,
        )

    async def _most(self) -> int:
        return self.most

    def order(self, verb: Verb, *addresses: str, message_id: str = ID, who: tuple[str, int] = ROOT) -> Answer:
        is_admin = who == ROOT
        return run(self.operator.carry_out(Order(verb, message_id, addresses), *who, is_admin=is_admin))

    @property
    def notes(self) -> list[str]:
        """The log without its dates: texts of notes, names of other events."""
        return [each.text if isinstance(each, MessageNote) else type(each).__name__ for each in self.journal.events]

    @property
    def message(self) -> QueuedMessage | None:
        return self.store.read(lambda queue: queue.message(ID))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    store = opened(tmp_path)
    do(store, lambda queue: queue.accept_message(message(due=NOW + 900, recipients=2), 0, b"x"))
    yield Office(store)
    store.close_reading()
    store.close()


def test_a_message_is_frozen_and_thawed(office: Office) -> None:
    assert office.order(Verb.FREEZE) == Answer(Outcome.DONE, "is now frozen")
    assert office.order(Verb.FREEZE) == Answer(Outcome.REFUSED, "is already frozen")
    assert office.message is not None
    assert office.message.frozen
    assert office.runner.asked == []
    assert office.order(Verb.THAW) == Answer(Outcome.DONE, "is no longer frozen")
    assert office.order(Verb.THAW) == Answer(Outcome.REFUSED, "is not frozen")
    assert (office.message.frozen, office.message.due) == (False, NOW + 10)
    assert office.runner.asked == ["look"]
    assert office.notes == ["frozen by root", "unfrozen by root"]


def test_an_event_action_is_told_of_a_removal(office: Office) -> None:
    queue, runner, clock = Queue(office.store), office.runner, StoppedClock(NOW + 10)
    events = EventActions(action(office.journal))
    office.operator = Operator(queue, runner, office.journal, clock, events=events)  # type: ignore[arg-type]
    assert office.order(Verb.REMOVE) == Answer(Outcome.DONE, "has been removed")
    heard = told(office.journal)
    assert [each.split(" <")[0] for each in heard] == ["msg:fail:internal", "msg:fail:internal", "msg:complete"]
    assert all("<message removed by root>" in each for each in heard[:2])
    assert office.notes[-2:] == ["removed by root", "Completed"]


def test_a_message_is_removed(office: Office) -> None:
    assert office.order(Verb.REMOVE) == Answer(Outcome.DONE, "has been removed")
    assert office.message is None
    assert office.notes == ["removed by root", "Completed"]
    assert office.order(Verb.REMOVE) == Answer(Outcome.MISSING)
    assert office.journal.of(Completed) == [Completed(ID)]


def test_a_message_is_due_at_once(office: Office) -> None:
    assert office.order(Verb.MAKE_DUE).outcome is Outcome.DONE
    assert office.message is not None
    assert (office.message.due, office.runner.asked, office.notes) == (NOW + 10, ["look"], [])


def test_an_envelope_is_edited(office: Office) -> None:
    modified = Answer(Outcome.DONE, "has been modified")
    assert office.order(Verb.ADD_RECIPIENTS, "<carol@far.test>", "dave@far.test") == modified
    assert office.order(Verb.MARK_DELIVERED, "bob1@example.net") == modified
    assert office.order(Verb.SET_SENDER, "eve@example.org") == modified
    assert office.message is not None
    assert [str(each.recipient.address) for each in office.message.pending] == [
        "bob0@example.net",
        "carol@far.test",
        "dave@far.test",
    ]
    assert office.message.sender == Address("eve", "example.org")
    assert office.notes == [
        "recipient <carol@far.test> added by root",
        "recipient <dave@far.test> added by root",
        "address <bob1@example.net> marked delivered by root",
        "sender address changed to <eve@example.org> by root",
    ]
    assert office.order(Verb.SET_SENDER, "<>") == modified
    assert office.message.sender.is_null


def test_all_recipients_are_marked(office: Office) -> None:
    assert office.order(Verb.MARK_ALL_DELIVERED).outcome is Outcome.DONE
    assert office.message is not None
    assert {each.state for each in office.message.recipients} == {RecipientState.DELIVERED}
    assert len(office.notes) == 2


@pytest.mark.parametrize(
    "verb, addresses, said",
    [
        (Verb.ADD_RECIPIENTS, (), "- error while adding recipient: no address given"),
        (Verb.ADD_RECIPIENTS, ("bob",), "- error while adding recipient:\n  bad address bob: domain missing"),
        (Verb.ADD_RECIPIENTS, ("a@b", "<>"), "- error while adding recipient:\n  bad address <>: "),
        (Verb.ADD_RECIPIENTS, ("a@b\r\nx",), "- error while adding recipient:\n  bad address a@b\\r\\nx: "),
        (Verb.MARK_DELIVERED, ("bob0@example.net", "x@y"), "- error while marking as delivered:\n  x@y is not a"),
        (Verb.SET_SENDER, ("a@b", "c@d"), "- only one sender address can be specified"),
        (Verb.SET_SENDER, ("a",), "- error while editing sender:\n  bad address a: domain missing"),
    ],
)
def test_a_bad_edit_changes_nothing(office: Office, verb: Verb, addresses: tuple[str, ...], said: str) -> None:
    before = office.message
    answer = office.order(verb, *addresses)
    assert answer.outcome is Outcome.REFUSED
    assert answer.text.startswith(said)
    assert (office.message, office.notes) == (before, [])


@pytest.mark.parametrize("verb", [each for each in Verb if each not in (Verb.DELIVER, Verb.DELIVER_IF_DUE)])
def test_what_is_being_delivered_is_locked(office: Office, verb: Verb) -> None:
    do(office.store, lambda queue: queue.claim_one(ID))
    assert office.order(verb, "bob0@example.net").outcome is Outcome.LOCKED
    assert office.notes == []


@pytest.mark.parametrize("verb", Verb)
def test_what_is_not_there_is_missing(office: Office, verb: Verb) -> None:
    assert office.order(verb, "a@b", message_id="other") == Answer(Outcome.MISSING)


# Deliveries


def test_a_delivery_is_forced(office: Office) -> None:
    do(office.store, lambda queue: queue.freeze(ID))
    assert office.order(Verb.DELIVER) == Answer(Outcome.DONE)
    assert office.runner.asked == ["try thaw=True force=True"]
    office.runner.free = False
    assert office.order(Verb.DELIVER) == Answer(Outcome.LOCKED)


def test_a_delivery_waits_for_hosts_unless_forced(office: Office) -> None:
    """But not for the message's own time: somebody asked for this one. Exim: -Mc."""
    do(office.store, lambda queue: queue.claim_one(ID), lambda queue: queue.release(ID, NOW + 900))
    assert office.order(Verb.DELIVER_IF_DUE) == Answer(Outcome.DONE)
    do(office.store, lambda queue: queue.freeze(ID))
    assert office.order(Verb.DELIVER_IF_DUE) == Answer(Outcome.REFUSED, "is frozen")
    assert office.runner.asked == ["try thaw=False force=False"]


def test_a_message_is_given_up(office: Office) -> None:
    do(office.store, lambda queue: queue.freeze(ID))
    assert office.order(Verb.GIVE_UP) == Answer(Outcome.DONE)
    assert office.runner.asked == [f"give up 2: {CANCELLED}"]
    assert office.notes == ["cancelled by root"]


# Who may


@pytest.mark.parametrize("verb", Verb)
def test_who_is_no_administrator_may_nothing(office: Office, verb: Verb) -> None:
    before = office.message
    assert office.order(verb, "bob0@example.net", who=("mallory", 1000)) == Answer(Outcome.DENIED)
    assert (office.message, office.notes, office.runner.asked) == (before, [], [])


def test_who_handed_a_message_over_takes_it_back(office: Office) -> None:
    mine = NewMessage(
        "1aaaaa-aaaaaa-02",
        Address("me", "x.test"),
        (),
        b"",
        MessageFacts(SessionFacts(caller=LocalCaller("me", 1000, 1000)), NOW),
        due=NOW,
    )
    do(office.store, lambda queue: queue.accept_message(mine, 0, b""))
    assert office.order(Verb.FREEZE, message_id=mine.message_id, who=("me", 1000)).outcome is Outcome.DENIED
    assert office.order(Verb.REMOVE, message_id=mine.message_id, who=("other", 1001)).outcome is Outcome.DENIED
    assert office.order(Verb.REMOVE, message_id=mine.message_id, who=("me", 1000)).outcome is Outcome.DONE


# Runs


def test_a_run_takes_what_is_due_or_new(office: Office) -> None:
    tried = message("1aaaaa-aaaaaa-02", due=NOW + 900)
    do(office.store, lambda queue: queue.accept_message(tried, 0, b"x"))
    office.store.run([lambda queue: queue._execute("UPDATE recipient SET attempts = 1 WHERE message_id LIKE '%02'")])
    told: list[Progress] = []
    assert run(office.operator.run(Run(), told.append)) == Progress(2, 2, 1, is_over=True)
    assert (office.runner.asked, told) == ([ID], [Progress(1, 2, 1)])
    run(office.operator.run(Run(force=True), told.append))
    assert office.runner.asked == [ID, ID, tried.message_id]


def test_runs_at_the_same_time_are_limited(office: Office) -> None:
    office.most = 1
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(BadOrder) as error:
            run(office.operator.run(Run(), lambda _: None))
        refused.append(str(error.value))

    office.runner.during = second
    run(office.operator.run(Run(), lambda _: None))
    assert refused == ["1 queue runs are under way already (queue_run_max)"]
    office.runner.during = lambda: None
    run(office.operator.run(Run(), lambda _: None))


def test_a_bad_pattern_begins_no_run(office: Office) -> None:
    with pytest.raises(BadOrder):
        run(office.operator.run(Run(Selection(sender="(", sender_is_pattern=True)), lambda _: None))
    assert office.runner.asked == []
