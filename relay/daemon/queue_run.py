"""One run over the queue in a process of its own, as `exim -q` makes it (edge).

It opens the queue beside the daemon, which may run or not: whatever one of the two has claimed, the other leaves alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.config.read import read_configuration
from relay.daemon.build import Relay, Wishes, build
from relay.daemon.privileges import drop
from relay.daemon.service import log_to_standard_error, read_file
from relay.mail.events import DaemonNote
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import QueueEntry
from relay.mail.source import ConfigurationError, Location, Problem

# Seconds that deliveries have which are under way when the run is interrupted.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class QueueRun:
    """Exim's letters: `i` only messages that were never tried, `f` retry times are not waited for, `ff` nor are
    frozen messages left out. `start` and `stop` bound the run by message ids."""

    first_only: bool = False
    force: bool = False
    thaw: bool = False
    start: str = ""
    stop: str = ""

    def wants(self, entry: QueueEntry, now: float) -> bool:
        """Whether a message belongs to this run. One that was only queued has not been tried: it does."""
        attempts = sum(each.attempts for each in entry.recipients)
        if self.first_only and attempts:
            return False
        if entry.message_id < self.start or (self.stop and entry.message_id > self.stop):
            return False
        return self.force or attempts == 0 or entry.due <= now

    @property
    def letters(self) -> str:
        """For the log: `-qff`."""
        return "-q" + "i" * self.first_only + "f" * self.force + "f" * self.thaw


def run(configuration: str, macros: Mapping[str, str], runs: tuple[QueueRun, ...]) -> int:
    """Makes the runs one after the other and waits for their deliveries; the exit status. Raises ConfigurationError."""
    from twisted.internet import reactor  # not at module level: who imports us may want another one

    log_to_standard_error()
    compiled = read_configuration(configuration, read_file, macros)
    loop: Any = reactor
    relay = build(compiled, loop, configuration, Wishes(interfaces=""))
    if relay.identity is not None:
        drop(relay.identity)
    failures: list[Failure] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(_run(relay, runs))
        running.addErrback(failures.append)
        running.addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    for failure in failures:
        if not isinstance(failure.value, SpoolUnavailable):
            failure.raiseException()
        what = f"the queue can't be opened: {failure.getErrorMessage()}"
        raise ConfigurationError(Problem(Location(configuration), what))
    return 0


async def _run(relay: Relay, runs: tuple[QueueRun, ...]) -> None:
    relay.spool.start(relay.clock.now())
    try:
        for each in runs:
            now = relay.clock.now()
            relay.journal.record(DaemonNote(f"Start queue run: pid={os.getpid()} {each.letters}"))
            await relay.runner.sweep(lambda entry, run=each, began=now: run.wants(entry, began), thaw=each.thaw)  # type: ignore[misc]  # the defaults bind the loop's values
            relay.journal.record(DaemonNote(f"End queue run: pid={os.getpid()} {each.letters}"))
        await relay.runner.stop(PATIENCE)
    finally:
        await relay.spool.stop()
