"""The daemon as a Twisted service, and `relay run` (edge)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from relay.daemon.build import build
from relay.daemon.plan import read_plan
from relay.daemon.relay_service import OwnSockets, RelayService
from relay.daemon.steady_clock import use_steady_clock
from relay.daemon.wishes import NO_WISHES, Wishes
from relay.daemon.workers import WorkersService
from relay.mail.source import ConfigurationError


def make_service(
    reactor: Any, configuration: str, macros: Mapping[str, str], wishes: Wishes = NO_WISHES
) -> RelayService | WorkersService:
    """Reads, compiles, checks and joins everything. Raises ConfigurationError with every problem."""
    plan = read_plan(configuration, macros, wishes)
    if plan.workers > 1:
        return WorkersService(reactor, plan)
    relay = build(plan.compiled, reactor, configuration, wishes)
    return RelayService(OwnSockets(reactor), relay, plan)


def run(
    configuration: str,
    macros: Mapping[str, str],
    wishes: Wishes = NO_WISHES,
    started: Callable[[], None] | None = None,
) -> int:
    """Serves in the foreground until a signal; the exit status. `started` is called when everything is
    open; nothing is said to who started it from then on.

    Raises ConfigurationError before anything has begun.
    """
    from twisted.internet import reactor  # not at module level: who imports us may want another one

    log_to_standard_error()
    loop: Any = reactor
    use_steady_clock(loop)
    return serve(loop, make_service(reactor, configuration, macros, wishes), started)


def serve(reactor: Any, service: RelayService | WorkersService, started: Callable[[], None] | None = None) -> int:
    """Runs a service until a signal; the exit status. Raises ConfigurationError before anything has begun."""
    try:
        service.privilegedStartService()
        service.startService()
    except ConfigurationError:
        _ = service.stopService()
        raise
    status = [0]

    def failed(failure: Failure) -> None:
        status[0] = 1
        sys.stderr.write(f"{failure.getErrorMessage()}\n")
        reactor.callLater(0, reactor.stop)

    def begun(_: None) -> None:
        if started is not None:
            started()
            service.detach()

    service.begun.addCallbacks(begun, failed)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(take_signals, reactor, service)
    reactor.run()
    return status[0]


def log_to_standard_error() -> None:
    """Twisted's own complaints, which are faults of ours, go where a service manager sees them."""
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])],
        redirectStandardIO=False,
    )


def take_signals(reactor: Any, service: RelayService | WorkersService) -> None:
    """USR1 reopens the logs, HUP reads the configuration anew. To be called when the reactor runs."""
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(service.reopen_logs))
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(service.reload))
