"""The parent of several workers, as a Twisted service (edge).

It owns the listening sockets, the pid file and the count of connections, and starts `worker.main` in processes of
their own, which inherit the sockets. It takes in nobody itself: no octet of a peer comes here. A worker that dies is
replaced, and its siblings are told to take its messages over.

Where it was started as root it acts as the daemon's user and becomes root again for the instant in which a worker is
started, since a worker needs that for local deliveries.

SIGHUP reads the configuration anew. If it is good, workers with it are started; when all of them serve, the old ones
are let go. Nobody who connects meanwhile is refused.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from relay.daemon import orders
from relay.daemon.build import make_world
from relay.daemon.control import open_socket
from relay.daemon.generation import Generation, Worker
from relay.daemon.listening import Listener, listening_on, open_port, smtp_listeners
from relay.daemon.metrics_page import listen_for_metrics
from relay.daemon.plan import Plan, read_plan, refuse_errors
from relay.daemon.privileges import as_root, hand_over, identity_of, lower
from relay.daemon.traces import (
    make_spool_directory,
    record_start,
    record_stop,
    remove_pid,
    remove_started,
    spool_problem,
    write_pid,
    write_started,
)
from relay.daemon.worker_lines import Detach
from relay.mail.events import DaemonNote, Trouble
from relay.mail.source import ConfigurationError, Location, Problem
from relay.observe.metrics import SharedMetrics
from relay.tls.files import TLSFileError
from relay.tls.identity import IdentityStore, to_pem


class WorkersService(Service):
    """A daemon of several processes."""

    def __init__(self, reactor: Any, plan: Plan) -> None:
        """Raises ConfigurationError for a user that does not exist and logs that can't be."""
        self.reactor = reactor
        world = make_world(plan.compiled, reactor)
        self.journal = world.journal
        self.submissions: socket.socket | None = None
        self.control: socket.socket | None = None
        self.is_detached = False
        self.begun: Deferred[None] = Deferred()
        """Fires when all workers serve; fails if one can't even begin."""
        self._plan = plan
        self._logs = world.logs
        self._clock = world.clock
        self._identities = IdentityStore()
        main = plan.compiled.main
        self._identity = identity_of(
            main.exim_user, main.exim_group, plan.compiled.place("exim_user"), main.spool_directory
        )
        self._pid_file = plan.wishes.pid_file or main.pid_file_path
        self._ports: dict[Listener, Any] = {}
        self._generations: list[Generation] = []
        self._past: dict[str, float] = {}
        self._ended: Deferred[None] | None = None
        self._is_begun = False
        self._page: Any = None

    def seconds(self) -> float:
        """The reactor's time."""
        now: float = self.reactor.seconds()
        return now

    def privilegedStartService(self) -> None:
        """Opens the ports. Raises ConfigurationError for one that can't be had."""
        self._ports = self._open(self._plan)
        registry = CollectorRegistry()
        registry.register(SharedMetrics(lambda: self.counts))
        compiled = self._plan.compiled
        address, location = compiled.main.metrics_address, compiled.place("metrics_address")
        self._page = listen_for_metrics(self.reactor, address, registry, location)

    def startService(self) -> None:
        """Starts the workers. Raises ConfigurationError."""
        location, directory = Location(self._plan.path), self._plan.compiled.main.spool_directory
        try:
            if self._identity is not None:
                hand_over(directory, self._identity)
                lower(self._identity)
                refuse_errors(self._plan.check())
            make_spool_directory(directory)
            self.submissions = open_socket(directory)
            self.control = open_socket(directory, orders.SOCKET_NAME)
            write_pid(self._pid_file)
            write_started(self._plan.compiled.main.spool_directory, self._plan)
            self._begin(Generation(self, self._plan, self._ports, self._self_signed(self._plan)))
        except OSError as error:
            raise spool_problem(location, directory, error) from None
        self.running = True

    def stopService(self) -> Deferred[None]:
        """Fires when all workers have ended."""
        self.running = False
        for port in self._ports.values():
            port.stopListening()
        self._ports = {}
        if self._page is not None:
            self._page.stopListening()
        for generation in self._generations:
            generation.leave()
        self._generations = [each for each in self._generations if each.workers]
        stopped: Deferred[None] = Deferred()
        stopped.addCallback(lambda _: self._stopped())
        self._ended = stopped
        if not self._generations:
            stopped.callback(None)
        return stopped

    def reopen_logs(self) -> None:
        """After a rotation (SIGUSR1)."""
        self._logs.reopen()
        self._signal(signal.SIGUSR1)

    def reload(self) -> None:
        """SIGHUP. A configuration with a mistake changes nothing but the log."""
        self.reopen_logs()
        try:
            plan = read_plan(self._plan.path, self._plan.macros, self._plan.wishes)
            with as_root():
                ports = self._open(plan)
        except ConfigurationError as error:
            for problem in error.problems:
                self.journal.record(Trouble(f"SIGHUP: {problem.location}: {problem.what}", problem.remedy))
            self.journal.record(DaemonNote("SIGHUP: the configuration before this stays in force"))
            return
        generation = Generation(self, plan, ports, self._self_signed(plan))
        try:
            self._begin(generation)
        except OSError as error:
            self.journal.record(Trouble(f"SIGHUP: workers can't be started: {error.strerror}"))
            self._give_up(generation)

    def detach(self) -> None:
        """Standard error belongs to who started us, who goes away."""
        self.is_detached = True
        for generation in self._generations:
            for worker in generation.workers.values():
                worker.tell(Detach())

    # What generations tell

    def worker_ready(self, generation: Generation) -> None:
        """All of a generation serve: those before it may go."""
        if not generation.is_ready:
            return
        for older in self._generations[: self._generations.index(generation)]:
            if not older.is_leaving:
                self._take_over(older, generation)
        if not self._is_begun:
            self._is_begun = True
            record_start(self.journal, self._plan, listening_on(self._ports.items()))
            self.begun.callback(None)

    def worker_lost(self, generation: Generation, worker: Worker, manner: str) -> bool:
        """Whether it is to be replaced."""
        if not worker.is_ready and generation is not self._generations[0]:
            self.journal.record(Trouble(f"SIGHUP: a worker {manner} before it served; what was before stays in force"))
            self._give_up(generation)
            return False
        if not worker.is_ready and not self._is_begun:
            self._is_begun = True
            self.begun.errback(ConfigurationError(Problem(Location(self._plan.path), f"a worker {manner}")))
            return False
        what = f"worker {worker.index} (pid {worker.pid}) {manner}"
        self.journal.record(Trouble(f"{what}: its messages are taken over, another is started"))
        return True

    def generation_ended(self, generation: Generation) -> None:
        """The last worker of a generation that was let go has ended."""
        self._generations.remove(generation)
        if self._ended is not None and not self._generations:
            self._ended.callback(None)

    def keep_counts(self, counts: Mapping[str, float]) -> None:
        """What a worker had counted when it ended."""
        for name, number in counts.items():
            self._past[name] = self._past.get(name, 0.0) + number

    @property
    def counts(self) -> Mapping[str, float]:
        """The counters of all workers, those that have ended among them."""
        total = dict(self._past)
        for generation in self._generations:
            for worker in generation.workers.values():
                for name, number in worker.counts.items():
                    total[name] = total.get(name, 0.0) + number
        return total

    @property
    def smtp_ports(self) -> tuple[int, ...]:
        """The TCP ports that are open, also where the configuration left the choice to the system."""
        return tuple(port.getHost().port for port in self._ports.values())

    def _begin(self, generation: Generation) -> None:
        self._generations.append(generation)
        generation.start()

    def _take_over(self, older: Generation, generation: Generation) -> None:
        for listener, port in older.ports.items():
            if listener not in generation.ports:
                port.stopListening()
        self._ports, self._plan = dict(generation.ports), generation.plan
        number = generation.plan.workers
        self.journal.record(DaemonNote(f"SIGHUP: {number} workers with the configuration as it is now"))
        older.leave()

    def _self_signed(self, plan: Plan) -> Mapping[str, str]:
        """The certificate of a set-up that names none: one for all workers and for as long as the daemon runs, so that
        who has pinned it finds it again. Where it can't be made, they say so."""
        name = plan.compiled.main.primary_hostname
        if plan.compiled.main.tls_certificate is not None:
            return {}
        try:
            return {name: to_pem(self._identities.self_signed(name, self._clock.now()))}
        except TLSFileError:
            return {}

    def _give_up(self, generation: Generation) -> None:
        for listener, port in generation.ports.items():
            if listener not in self._ports:
                port.stopListening()
        generation.leave()
        if not generation.workers:
            self._generations.remove(generation)

    def _open(self, plan: Plan) -> dict[Listener, Any]:
        """The ports of a configuration: those that are open stay. Raises ConfigurationError."""
        opened: dict[Listener, Any] = {}
        try:
            for listener in smtp_listeners(plan.compiled, plan.wishes):
                known = next((each for each in self._ports if _is_same(each, listener)), None)
                opened[listener if known is None else known] = (
                    open_port(self.reactor, listener, Factory()) if known is None else self._ports[known]
                )
        except ConfigurationError:
            for listener, port in opened.items():
                if listener not in self._ports:
                    port.stopListening()
            raise
        return opened

    def _signal(self, number: signal.Signals) -> None:
        for generation in self._generations:
            for worker in generation.workers.values():
                worker.send(number)

    def _stopped(self) -> None:
        if self.submissions is None:
            return
        for each in (self.submissions, self.control):
            if each is not None:
                os.unlink(each.getsockname())
                each.close()
        remove_pid(self._pid_file)
        remove_started(self._plan.compiled.main.spool_directory)
        record_stop(self.journal)


def _is_same(one: Listener, other: Listener) -> bool:
    """Wherever in the file it stands. Port 0 is a new one each time."""

    def wanted(listener: Listener) -> tuple[str, int, bool, str]:
        return listener.address, listener.port, listener.tls_on_connect, listener.endpoint

    return wanted(one) == wanted(other) and (one.port != 0 or one.endpoint != "")
