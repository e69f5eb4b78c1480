"""A relay in a process of its own, for one piece of work beside the daemon or without one (edge).

`exim -q`, `-odi` without a daemon, `-bs`: each reads the configuration, opens the queue (which other processes
may have open as well), does its work on Twisted's reactor and ends. It listens nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.config.read import read_configuration
from relay.daemon.build import Relay, build
from relay.daemon.configuration_file import read_file
from relay.daemon.privileges import drop
from relay.daemon.service import log_to_standard_error
from relay.daemon.steady_clock import use_steady_clock
from relay.daemon.wishes import Shown, Wishes
from relay.mail.ports import SpoolUnavailable
from relay.mail.source import ConfigurationError, Location, Problem

# Seconds that deliveries have which are under way when the work is interrupted.
PATIENCE = 10.0

Work = Callable[[Relay], Coroutine[Deferred[Any], Any, int]]


def run_alone(configuration: str, macros: Mapping[str, str], work: Work, *, verbose: bool = False) -> int:
    """Does the work on an open queue and waits for the deliveries that it began; its exit status.

    `verbose`: whoever looks at standard error can watch. Raises ConfigurationError, also where the queue can't be
    opened.
    """
    return run_without_queue(configuration, macros, lambda relay: _with_queue(relay, work), verbose=verbose)


def run_without_queue(configuration: str, macros: Mapping[str, str], work: Work, *, verbose: bool = False) -> int:
    """Does work that keeps nothing; its exit status. Raises ConfigurationError."""
    from twisted.internet import reactor  # not at module level: who imports us may want another one

    log_to_standard_error()
    compiled = read_configuration(configuration, read_file, macros)
    loop: Any = reactor
    use_steady_clock(loop)
    relay = build(compiled, loop, configuration, Wishes(interfaces="", shown=_shown(verbose=verbose)))
    relay.deliveries.start_as_root()
    if relay.identity is not None:
        drop(relay.identity)
    ends: list[int | Failure] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(work(relay))
        running.addBoth(ends.append)
        running.addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    (end,) = ends or (1,)
    if isinstance(end, int):
        return end
    if not isinstance(end.value, SpoolUnavailable):
        end.raiseException()
    what = f"the queue can't be opened: {end.getErrorMessage()}"
    raise ConfigurationError(Problem(Location(configuration), what))


def _shown(*, verbose: bool) -> Shown:
    """Where a network connection is on standard input (inetd), standard error may be the same connection."""
    if verbose:
        return Shown.EVERYTHING
    try:
        is_connection = stat.S_ISSOCK(os.fstat(0).st_mode)
    except OSError:
        is_connection = False
    return Shown.NOTHING if is_connection else Shown.PANIC


async def _with_queue(relay: Relay, work: Work) -> int:
    relay.spool.start(relay.clock.now())
    try:
        status = await work(relay)
        await relay.runner.stop(PATIENCE)
    finally:
        if relay.message_logs is not None:
            relay.message_logs.close()
        await relay.spool.stop()
        relay.deliveries.courier.stop()
    return status
