"""What becomes of workers that die, without any process."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.daemon.generation import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE_UNREADY, STEADY, Generation, Worker
from relay.daemon.plan import Plan, read_plan
from relay.daemon.worker_lines import Counted, Order, Ready, Recover, SharedPort, decode, encode
from relay.mail.events import Event


class Process:
    """The parent's end of a worker that does not exist."""

    def __init__(self, worker: Any, pid: int) -> None:
        self.worker, self.pid = worker, pid
        self.told: list[object] = []
        self.signals: list[int] = []

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        self.told += [decode(line) for line in data.splitlines()]

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)

    def says(self, line: object) -> None:
        data = encode(line)  # type: ignore[arg-type]  # tests say what they like
        # In two reads, as it may come.
        self.worker.childDataReceived(3, data[:5])
        self.worker.childDataReceived(3, data[5:])

    def dies(self, number: int | None = 9) -> None:
        reason = ProcessDone(None) if number is None else ProcessTerminated(None, number, None)
        self.worker.processEnded(Failure(reason))


class Reactor(Clock):
    """Time, and processes that are only noted."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, worker: Any, *_: object, **__: object) -> None:
        process = Process(worker, 100 + len(self.processes))
        self.processes.append(process)
        worker.makeConnection(process)


class Socket:
    def fileno(self) -> int:
        return 0


class Family:
    """Of `Parent`, what a generation needs."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.journal = self
        self.submissions: Any = Socket()
        self.control: Any = Socket()
        self.is_detached = False
        self.ready, self.ended = 0, 0
        self.lost: list[str] = []
        self.counts: dict[str, float] = {}

    def record(self, event: Event) -> None:
        raise AssertionError(event)

    def seconds(self) -> float:
        return self.reactor.seconds()

    def worker_ready(self, generation: Generation) -> None:
        self.ready += 1

    def worker_lost(self, generation: Generation, worker: Worker, manner: str) -> bool:
        self.lost.append(manner)
        return True

    def generation_ended(self, generation: Generation) -> None:
        self.ended += 1

    def keep_counts(self, counts: Mapping[str, float]) -> None:
        self.counts |= counts


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "conf"
    path.write_text(f"spool_directory = {tmp_path}\nlog_file_path = {tmp_path}/%slog\nworker_processes = 2\n")
    return read_plan(str(path), {"MACRO": "value"})


Start = Callable[[Plan], tuple[Family, Generation]]


@pytest.fixture
def started() -> Iterator[Start]:
    made = []

    def start(plan: Plan) -> tuple[Family, Generation]:
        family = Family()
        generation = Generation(family, plan, {}, {"relay.test": "PEM"})
        generation.start()
        made.append(generation)
        return family, generation

    yield start
    for generation in made:
        generation.crowd.close()


def test_workers_are_told_what_to_do_and_are_ready_together(plan: Plan, started: Start) -> None:
    family, generation = started(plan)
    first, second = family.reactor.processes
    (order,) = first.told
    assert isinstance(order, Order)
    assert (order.index, order.configuration, order.macros) == (0, plan.path, {"MACRO": "value"})
    assert order.self_signed == {"relay.test": "PEM"}
    assert "PEM" not in repr(order)
    assert (order.submissions, order.control) == (SharedPort(4, "unix"), SharedPort(5, "unix"))
    first.says(Ready("one"))
    assert not generation.is_ready
    second.says(Ready("two"))
    assert generation.is_ready
    assert family.ready == 2


def test_a_steady_worker_is_replaced_at_once_and_a_sibling_takes_over(plan: Plan, started: Start) -> None:
    family, generation = started(plan)
    first, second = family.reactor.processes
    first.says(Ready("one"))
    second.says(Ready("two"))
    first.says(Counted({"a": 3.0}))
    family.reactor.advance(STEADY)
    first.dies()
    assert family.lost == ["was ended by signal 9"]
    assert family.counts == {"a": 3.0}
    assert second.told[-1] == Recover("one")
    assert not generation.is_ready
    family.reactor.advance(0)
    third = family.reactor.processes[2]
    third.says(Ready("three"))
    assert generation.is_ready
    (order,) = third.told
    assert isinstance(order, Order)
    assert order.index == 0


def test_who_died_while_nobody_served_is_named_to_the_next_who_does(plan: Plan, started: Start) -> None:
    family, _ = started(plan)
    first, second = family.reactor.processes
    first.says(Ready("one"))
    family.reactor.advance(STEADY)
    first.dies()
    assert len(second.told) == 1, "it does not serve yet"
    second.says(Ready("two"))
    assert second.told[1:] == [Recover("one")]
    family.reactor.advance(0)
    third = family.reactor.processes[2]
    third.says(Ready("three"))
    assert len(third.told) == 1


@pytest.mark.parametrize(("has_served", "longest"), [(False, LONGEST_PAUSE_UNREADY), (True, LONGEST_PAUSE)])
def test_a_worker_that_dies_again_and_again_is_started_ever_later(
    plan: Plan, started: Start, has_served: bool, longest: float
) -> None:
    family, _ = started(plan)
    pauses = []
    for _ in range(12):
        before = len(family.reactor.processes)
        if has_served:
            family.reactor.processes[-1].says(Ready("it"))
        family.reactor.processes[-1].dies(1)
        began = family.reactor.seconds()
        while len(family.reactor.processes) == before:
            family.reactor.advance(0.25)
        pauses.append(family.reactor.seconds() - began)
    assert pauses[1] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == longest


def test_who_is_let_go_ends_in_its_own_time_or_is_killed(plan: Plan, started: Start) -> None:
    family, generation = started(plan)
    first, second = family.reactor.processes
    generation.leave()
    assert first.signals == second.signals == [signal.SIGTERM]
    first.dies(None)
    assert family.ended == 0
    family.reactor.advance(60)
    assert second.signals == [signal.SIGTERM, signal.SIGKILL]
    second.dies()
    assert (family.ended, family.lost, len(family.reactor.processes)) == (1, [], 2)
    assert not family.reactor.getDelayedCalls()


NONSENSE = (b"nonsense\n", b'{"kind": "Order"}\n', b"[]\n", b'{"kind": "Recover"}\n', b"x" * 2**21)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_worker_that_talks_nonsense_is_killed(plan: Plan, started: Start, nonsense: bytes) -> None:
    family, _ = started(plan)
    first = family.reactor.processes[0]
    first.worker.childDataReceived(3, nonsense)
    assert first.signals == [signal.SIGKILL]


def test_lines_say_the_same_on_both_sides() -> None:
    order = Order(
        "/c", {"A": "b"}, 5.0, 1, (SharedPort(4, "inet", True),), SharedPort(5, "unix"), SharedPort(6, "unix"), 7, "00"
    )
    for line in (order, Ready("one"), Recover("two"), Counted({json.dumps(["x", {}]): 1.0})):
        assert encode(line).count(b"\n") == 1
        assert decode(encode(line)) == line
