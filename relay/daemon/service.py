"""The daemon as a Twisted service, and `relay run` (edge).

Start: open the ports (as root where they need it), become the daemon's user, open the queue, deliver what waits, take
what was left in the maildrop. Stop: close the ports, say 421, let deliveries finish for a while, close the queue.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from relay.config.check import check_configuration
from relay.config.inspection import inspect
from relay.config.read import read_configuration
from relay.daemon.build import Relay, build
from relay.daemon.control import listen_for_submissions
from relay.daemon.listening import open_port
from relay.daemon.privileges import drop, hand_over
from relay.daemon.wishes import NO_WISHES, Wishes
from relay.mail.events import DaemonNote, Trouble
from relay.mail.ports import SpoolUnavailable
from relay.mail.source import ConfigurationError, Problem, Severity

# Seconds that deliveries under way have at a stop.
PATIENCE = 10.0


class RelayService(Service):
    """One process that receives and delivers."""

    def __init__(
        self,
        reactor: Any,
        relay: Relay,
        check: Callable[[], list[Problem]],
        warnings: tuple[Problem, ...] = (),
    ) -> None:
        """`check` looks at files and directories again, as the user that the daemon becomes."""
        self._reactor = reactor
        self._relay = relay
        self._check = check
        self._warnings = warnings
        self._ports: list[Any] = []
        self._started = False

    def privilegedStartService(self) -> None:
        """Opens the ports. Raises ConfigurationError for one that can't be had."""
        relay = self._relay
        for listener in relay.listeners:
            factory = relay.secure if listener.tls_on_connect else relay.plain
            self._ports.append(open_port(self._reactor, listener, factory))

    def startService(self) -> None:
        """Opens the queue and begins. Raises ConfigurationError."""
        relay = self._relay
        _start_courier(relay)
        if relay.identity is not None:
            hand_over(relay.spool_directory, relay.identity)
            drop(relay.identity)
            _refuse_errors(self._check())
        try:
            _make_spool_directory(relay.spool_directory)
            recovery = relay.spool.start(relay.clock.now())
            relay.maildrop_folder.prepare()
            self._ports.append(listen_for_submissions(self._reactor, relay.spool_directory, relay.submissions))
            _write_pid(relay.pid_file)
        except SpoolUnavailable as error:
            raise ConfigurationError(Problem(relay.location, f"the queue can't be opened: {error}")) from None
        except OSError as error:
            what = f"{error.filename or relay.spool_directory}: {error.strerror}"
            raise ConfigurationError(Problem(relay.location, what, "check spool_directory")) from None
        self.running = True
        self._started = True
        self._announce(recovery)
        # What waits in the maildrop comes before any delivery: its messages must not be found delivered and gone.
        self._begun = Deferred.fromCoroutine(self._begin())

    async def _begin(self) -> None:
        await self._relay.maildrop.start()
        if not self._started:
            return
        for port in self._ports:
            port.startReading()
        self._relay.runner.start()

    def _announce(self, recovery: object) -> None:
        where = self._where() or "nowhere"
        # The same words as Exim's, which log readers look for.
        self._relay.journal.record(
            DaemonNote(
                f"fingerpost {self._relay.version} daemon started: pid={os.getpid()}, listening for SMTP on {where}"
            )
        )
        for warning in self._warnings:
            self._relay.journal.record(Trouble(f"{warning.location}: {warning.what}", warning.remedy))
        text = str(recovery)
        if text:
            self._relay.journal.record(DaemonNote(text))

    def _where(self) -> str:
        return ", ".join(
            f"[{port.getHost().host}]:{port.getHost().port}" for port in self._ports if hasattr(port.getHost(), "port")
        )

    @property
    def smtp_ports(self) -> tuple[int, ...]:
        """The TCP ports that are open, also where the configuration left the choice to the system."""
        return tuple(port.getHost().port for port in self._ports if hasattr(port.getHost(), "port"))

    def stopService(self) -> Deferred[None]:
        """Fires when everything is closed; whatever had been promised is on disk by then."""
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        relay = self._relay
        for port in self._ports:
            closing = port.stopListening()
            if closing is not None:
                await closing
        self._ports.clear()
        if not self._started:
            return
        for factory in (relay.plain, relay.secure):
            for connection in list(factory.connections):
                connection.shut_down()
        relay.maildrop.stop()
        await relay.runner.stop(PATIENCE)
        await relay.spool.stop()
        relay.deliveries.courier.stop()
        _remove_pid(relay.pid_file)
        relay.journal.record(DaemonNote(f"fingerpost daemon stopped: pid={os.getpid()}"))

    def reopen_logs(self) -> None:
        """After a rotation (SIGUSR1)."""
        self._relay.reopen_logs()


def _start_courier(relay: Relay) -> None:
    try:
        relay.deliveries.start_as_root()
    except OSError as error:
        what = f"the process for local deliveries can't be started: {error.strerror or error}"
        raise ConfigurationError(Problem(relay.location, what)) from None


def _make_spool_directory(path: str) -> None:
    """The queue in it is ours alone; others may pass through, to the socket and the maildrop. Raises OSError."""
    os.makedirs(path, 0o755, exist_ok=True)


def _write_pid(path: str) -> None:
    Path(path).write_text(f"{os.getpid()}\n", "ascii")


def _remove_pid(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def read_file(path: str) -> str:
    """What the configuration reader is given; raises OSError and UnicodeError."""
    return Path(path).read_text("utf-8")


def make_service(
    reactor: Any, configuration: str, macros: Mapping[str, str], wishes: Wishes = NO_WISHES
) -> RelayService:
    """Reads, compiles, checks and joins everything. Raises ConfigurationError with every problem."""
    compiled = read_configuration(configuration, read_file, macros)

    def check() -> list[Problem]:
        now = time.time()
        return check_configuration(compiled, lambda files: inspect(files, now))

    problems = check()
    _refuse_errors(problems)
    warnings = tuple(problem for problem in problems if problem.severity is Severity.WARNING)
    return RelayService(reactor, build(compiled, reactor, configuration, wishes), check, warnings)


def _refuse_errors(problems: list[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise ConfigurationError(*errors)


def run(
    configuration: str,
    macros: Mapping[str, str],
    wishes: Wishes = NO_WISHES,
    started: Callable[[], None] | None = None,
) -> int:
    """Serves in the foreground until a signal; the exit status. `started` is called when everything is open.

    Raises ConfigurationError before anything has begun.
    """
    from twisted.internet import reactor  # not at module level: who imports us may want another one

    log_to_standard_error()
    service = make_service(reactor, configuration, macros, wishes)
    try:
        service.privilegedStartService()
        service.startService()
    except ConfigurationError:
        _ = service.stopService()
        raise
    if started is not None:
        started()
    loop: Any = reactor
    loop.addSystemEventTrigger("before", "shutdown", service.stopService)
    loop.callWhenRunning(_take_signals, loop, service)
    loop.run()
    return 0


def log_to_standard_error() -> None:
    """Twisted's own complaints, which are faults of ours, go where a service manager sees them."""
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])],
        redirectStandardIO=False,
    )


def _take_signals(reactor: Any, service: RelayService) -> None:
    """USR1 reopens the logs; HUP is not for us yet, and must not end us."""
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(service.reopen_logs))
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(service.reopen_logs))
