"""One run over the queue in a process of its own, as `exim -q` makes it (edge).

It opens the queue beside the daemon, which may run or not: whatever one of the two has claimed, the other leaves alone.
As Exim's, a run tries one message after the other, in the order of their ids; who is in a hurry asks the daemon
(`relay queue run`), which tries many at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from relay.daemon.alone import run_alone
from relay.daemon.build import Relay
from relay.daemon.orders import EVERYTHING, Selection
from relay.mail.events import DaemonNote
from relay.mail.queue import QueueEntry
from relay.mail.text import printable


@dataclass(frozen=True, slots=True)
class QueueRun:
    """Exim's letters: a second `q` is for two stages, which make no difference here; `i` only messages that were never
    tried, `f` retry times are not waited for, `ff` nor are frozen messages left out. `start` and `stop` bound the run
    by message ids."""

    two_stage: bool = False
    first_only: bool = False
    force: bool = False
    thaw: bool = False
    start: str = ""
    stop: str = ""
    selection: Selection = EVERYTHING

    def wants(self, entry: QueueEntry, now: float) -> bool:
        """Whether a message belongs to this run, which began `now`. One that was only queued has not been tried."""
        attempts = sum(each.attempts for each in entry.recipients)
        if entry.received_at > now:
            # It came while the run was under way, perhaps by one of its own deliveries: it belongs to the next one.
            return False
        if self.first_only and attempts:
            return False
        if entry.message_id < self.start or (self.stop and entry.message_id > self.stop):
            return False
        # Whoever names addresses does not want to wait for them (Exim: -R).
        is_forced = self.force or self.selection != EVERYTHING
        return (is_forced or attempts == 0 or entry.due <= now) and self.selection.takes(entry)

    @property
    def letters(self) -> str:
        """For the log, behind the process id: ` -qff -R example`, nothing for a plain run."""
        letters = "q" * self.two_stage + "i" * self.first_only + "f" * self.force + "f" * self.thaw
        chosen = self.selection
        recipient = f" -R{'r' * chosen.recipient_is_pattern} {printable(chosen.recipient)}" if chosen.recipient else ""
        sender = f" -S{'r' * chosen.sender_is_pattern} {printable(chosen.sender)}" if chosen.sender else ""
        return (f" -q{letters}" if letters else "") + recipient + sender


def run(configuration: str, macros: Mapping[str, str], runs: tuple[QueueRun, ...]) -> int:
    """Makes the runs one after the other and waits for their deliveries; the exit status. Raises ConfigurationError."""

    async def work(relay: Relay) -> int:
        for each in runs:
            await _run(relay, each)
        return 0

    return run_alone(configuration, macros, work)


async def _run(relay: Relay, wanted: QueueRun) -> None:
    began = relay.clock.now()
    relay.journal.record(DaemonNote(f"Start queue run: pid={os.getpid()}{wanted.letters}"))
    is_forced = wanted.force or wanted.selection != EVERYTHING
    await relay.runner.sweep(lambda entry: wanted.wants(entry, began), thaw=wanted.thaw, force=is_forced, in_order=True)
    await relay.runner.until_idle()
    relay.journal.record(DaemonNote(f"End queue run: pid={os.getpid()}{wanted.letters}"))
