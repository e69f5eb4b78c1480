"""The workers of one reading of the configuration, as their parent sees them (edge).

A `Generation` starts its workers, hears what they say, and replaces those that die: at once where they had served for a
while, with growing pauses where they had not. When it is let go they end, each in its own time.
"""

from __future__ import annotations

import mmap
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import relay
from relay.daemon import worker_lines
from relay.daemon.listening import Listener
from relay.daemon.plan import Plan
from relay.daemon.privileges import as_root
from relay.daemon.worker_lines import Counted, Detach, Line, Order, Ready, Recover, SharedPort
from relay.mail.events import Trouble
from relay.mail.ports import Journal
from relay.net.crowd import clear_part, memory_size

# A worker that has served for so many seconds is replaced at once when it dies.
STEADY = 10.0
# Seconds until one that has not is started again; doubled with each further time, to the longest: short for
# one that had begun to serve (whatever killed it, its place is empty), long for one that never came so far.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
LONGEST_PAUSE_UNREADY = 30.0
# Seconds that a worker has to end after SIGTERM: its own patience for deliveries, and a little more.
END_LIMIT = 20.0
_LINE_LIMIT = 1024 * 1024


class Parent(Protocol):
    """What a generation asks and tells."""

    reactor: Any
    journal: Journal
    submissions: socket.socket | None
    control: socket.socket | None
    is_detached: bool

    def seconds(self) -> float:
        """The reactor's time."""
        ...

    def worker_ready(self, generation: Generation) -> None:
        """A worker serves."""
        ...

    def worker_lost(self, generation: Generation, worker: Worker, manner: str) -> bool:
        """A worker has died in that manner; whether it is to be replaced."""
        ...

    def generation_ended(self, generation: Generation) -> None:
        """The last worker of a generation that was let go has ended."""
        ...

    def keep_counts(self, counts: Mapping[str, float]) -> None:
        """What a worker had counted when it ended."""
        ...


class _Crowd:
    """The shared memory in which the workers of one generation count connections."""

    def __init__(self, workers: int) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the generation lives
        self.file.truncate(memory_size(workers))
        self.memory = memoryview(mmap.mmap(self.file.fileno(), memory_size(workers)))
        self.key = secrets.token_hex(16)

    def close(self) -> None:
        """Lets go of the memory; workers have their own hold on it."""
        self.memory.release()
        self.file.close()


class Worker(ProcessProtocol):
    """One worker, as its parent sees it."""

    def __init__(self, index: int, started_at: float, generation: Generation) -> None:
        self.index = index
        self.started_at = started_at
        self.generation = generation
        self.is_ready = False
        self.owner = ""
        self.counts: Mapping[str, float] = {}
        self.pid = 0
        self._rest = b""

    @property
    def _process(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """It was started."""
        self.pid = self._process.pid

    def tell(self, line: Line) -> None:
        """What is told to one that is gone is lost, as it may be."""
        self._process.writeToChild(0, worker_lines.encode(line))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, if it is still there."""
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(number)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Whole lines are taken; a worker that writes nonsense is ended."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                self.generation.told(self, worker_lines.decode(line))
        except ValueError:
            self.send(signal.SIGKILL)
        if len(self._rest) > _LINE_LIMIT:
            self.send(signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:
        self.generation.ended(self, reason)


class Generation:
    """The workers of one reading of the configuration."""

    def __init__(
        self, parent: Parent, plan: Plan, ports: Mapping[Listener, Any], self_signed: Mapping[str, str]
    ) -> None:
        self.plan = plan
        self.ports = ports
        self.crowd = _Crowd(plan.workers)
        self.workers: dict[int, Worker] = {}
        self.is_leaving = False
        self._parent = parent
        self._self_signed = self_signed
        self._pauses: dict[int, float] = {}
        self._waiting: set[IDelayedCall] = set()
        self._dead: list[str] = []
        """Owners that died while nobody was there who could take over."""

    @property
    def is_ready(self) -> bool:
        """Whether all of them serve."""
        return len(self.workers) == self.plan.workers and all(each.is_ready for each in self.workers.values())

    def start(self) -> None:
        """Starts all of them. Raises OSError."""
        for index in range(self.plan.workers):
            self._start(index)

    def leave(self) -> None:
        """Lets them go; those that have not ended after a while are killed."""
        self.is_leaving = True
        for call in self._waiting:
            call.cancel()
        self._waiting.clear()
        for worker in self.workers.values():
            worker.send(signal.SIGTERM)
        if self.workers:
            self._wait(END_LIMIT, self._kill)
        else:
            self.crowd.close()

    def told(self, worker: Worker, line: Line) -> None:
        """What a worker says."""
        match line:
            case Ready(owner):
                worker.is_ready = True
                worker.owner = owner
                while self._dead:
                    worker.tell(Recover(self._dead.pop()))
                if self._parent.is_detached:
                    worker.tell(Detach())
                self._parent.worker_ready(self)
            case Counted(counts):
                worker.counts = counts
            case _:
                raise ValueError("not for the parent")

    def ended(self, worker: Worker, reason: Failure) -> None:
        """A worker is no more: as it should be, or it is replaced."""
        del self.workers[worker.index]
        clear_part(self.crowd.memory, worker.index)
        self._parent.keep_counts(worker.counts)
        if self.is_leaving:
            if not self.workers:
                for call in self._waiting:
                    call.cancel()
                self._waiting.clear()
                self.crowd.close()
                self._parent.generation_ended(self)
            return
        if self._parent.worker_lost(self, worker, _manner(reason)):
            self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        heir = next((each for each in self.workers.values() if each.is_ready), None)
        if heir is not None:
            heir.tell(Recover(worker.owner))
        else:
            self._dead.append(worker.owner)
        lived = self._parent.seconds() - worker.started_at
        pause = 0.0 if lived >= STEADY and worker.is_ready else self._pauses.get(worker.index, 0.0)
        longest = LONGEST_PAUSE if worker.is_ready else LONGEST_PAUSE_UNREADY
        pause = min(pause, longest)
        self._pauses[worker.index] = min(max(pause * 2, FIRST_PAUSE), longest)
        self._wait(pause, lambda: self._start_again(worker.index))

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        def go() -> None:
            self._waiting.discard(call)
            then()

        call = self._parent.reactor.callLater(seconds, go)
        self._waiting.add(call)

    def _start_again(self, index: int) -> None:
        try:
            self._start(index)
        except OSError as error:
            self._parent.journal.record(Trouble(f"worker {index} can't be started: {error.strerror}"))
            self._wait(LONGEST_PAUSE_UNREADY, lambda: self._start_again(index))

    def _start(self, index: int) -> None:
        worker = Worker(index, self._parent.seconds(), self)
        inherited = [*self.ports.values(), self._parent.submissions, self._parent.control, self.crowd.file]
        numbers = range(worker_lines.FIRST_INHERITED, worker_lines.FIRST_INHERITED + len(inherited))
        descriptors: dict[int, int | str] = {0: "w", 1: 1, 2: 2, worker_lines.REPORTS: "r"}
        descriptors |= {number: each.fileno() for number, each in zip(numbers, inherited, strict=True)}
        *smtp, submissions, control, crowd = numbers
        shared = (
            SharedPort(number, "inet6" if port.addressFamily == socket.AF_INET6 else "inet", listener.tls_on_connect)
            for number, (listener, port) in zip(smtp, self.ports.items(), strict=True)
        )
        with as_root():
            self._parent.reactor.spawnProcess(
                worker,
                sys.executable,
                [sys.executable, "-P", "-m", "relay.daemon.worker"],
                env=_environment(),
                path=None,
                childFDs=descriptors,
            )
        self.workers[index] = worker
        worker.tell(
            Order(
                configuration=os.path.abspath(self.plan.path),
                macros=self.plan.macros,
                queue_interval=self.plan.wishes.queue_interval,
                index=index,
                ports=tuple(shared),
                submissions=SharedPort(submissions, "unix"),
                control=SharedPort(control, "unix"),
                crowd=crowd,
                crowd_key=self.crowd.key,
                self_signed=self._self_signed,
            )
        )

    def _kill(self) -> None:
        for worker in self.workers.values():
            worker.send(signal.SIGKILL)


def _environment() -> Mapping[str, str]:
    """Ours, and this very package is found, wherever the process begins."""
    place = str(Path(relay.__file__).parent.parent)
    before = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (place, before)))}


def _manner(reason: Failure) -> str:
    ended: Any = reason.value
    if isinstance(ended, (ProcessDone, ConnectionDone)):
        return "ended by itself"
    return f"was ended by signal {ended.signal}" if ended.signal else f"ended with status {ended.exitCode}"
