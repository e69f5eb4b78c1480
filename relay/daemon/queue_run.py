"""One run over the queue in a process of its own, as `exim -q` makes it (edge).

It opens the queue beside the daemon, which may run or not: whatever one of the two has claimed, the other leaves alone.
As Exim's, a run tries one message after the other, in the order of their ids, but for those that wait for a server:
they go side by side, and one hands its connection to the next. The first of two stages only finds out what waits for
which. Who is in a hurry asks the daemon (`relay queue run`), which tries many at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from relay.daemon.alone import run_alone
from relay.daemon.build import Relay
from relay.daemon.orders import EVERYTHING, Selection
from relay.delivery.attempt import AttemptPorts
from relay.delivery.first_pass import Extent
from relay.delivery.not_due import NotDue
from relay.mail.events import DaemonNote
from relay.mail.queue import QueueEntry
from relay.mail.text import printable
from relay.spool.codec import Unreadable


@dataclass(frozen=True, slots=True)
class QueueRun:
    """Exim's letters: a second `q` is for two stages, so that connections are shared; `i` only messages that were never
    tried, `f` retry times are not waited for, `ff` nor are frozen messages left out, `l` nothing goes to other hosts.
    `rehearsal`: no transport is run (-N). `start` and `stop` bound the run by message ids."""

    two_stage: bool = False
    first_only: bool = False
    force: bool = False
    thaw: bool = False
    local_only: bool = False
    rehearsal: bool = False
    start: str = ""
    stop: str = ""
    selection: Selection = EVERYTHING

    def wants(self, entry: QueueEntry, now: float) -> bool:
        """Whether a message belongs to this run, which began `now`. One that was only queued has not been tried; of one
        that is frozen the run tells."""
        return self._takes(entry, now) and (self.is_forced or entry.frozen or _is_due(entry, now))

    def is_early(self, entry: QueueEntry, now: float) -> bool:
        """Whether it would belong to this run if its time had come."""
        return self._takes(entry, now) and not self.wants(entry, now)

    @property
    def is_forced(self) -> bool:
        """Whoever names addresses does not want to wait for them (Exim: -R)."""
        return self.force or self.selection != EVERYTHING

    def _takes(self, entry: QueueEntry, now: float) -> bool:
        if entry.received_at > now:
            # It came while the run was under way, perhaps by one of its own deliveries: it belongs to the next one.
            return False
        if self.first_only and _attempts(entry):
            return False
        if entry.message_id < self.start or (self.stop and entry.message_id > self.stop):
            return False
        return self.selection.takes(entry)

    @property
    def letters(self) -> str:
        """For the log, behind the process id: ` -qff -R example`, nothing for a plain run."""
        letters = "q" * self.two_stage + "i" * self.first_only + "f" * self.force + "f" * self.thaw
        letters += "l" * self.local_only
        chosen = self.selection
        recipient = f" -R{'r' * chosen.recipient_is_pattern} {printable(chosen.recipient)}" if chosen.recipient else ""
        sender = f" -S{'r' * chosen.sender_is_pattern} {printable(chosen.sender)}" if chosen.sender else ""
        return (f" -q{letters}" if letters else "") + recipient + sender


def _attempts(entry: QueueEntry) -> int:
    return sum(each.attempts for each in entry.recipients)


def _is_due(entry: QueueEntry, now: float) -> bool:
    return _attempts(entry) == 0 or entry.due <= now


def run(configuration: str, macros: Mapping[str, str], runs: tuple[QueueRun, ...], *, verbose: bool = False) -> int:
    """Makes the runs one after the other and waits for their deliveries; the exit status. Raises ConfigurationError."""

    async def work(relay: Relay) -> int:
        for each in runs:
            await _run(relay, each)
        return 0

    return run_alone(configuration, macros, work, verbose=verbose)


async def _run(relay: Relay, wanted: QueueRun) -> None:
    began = relay.clock.now()
    relay.journal.record(DaemonNote(f"Start queue run: pid={os.getpid()}{wanted.letters}", selector="queue_run"))
    relay.runner.is_rehearsal = wanted.rehearsal
    last = Extent.LOCAL if wanted.local_only else Extent.WHOLE
    relay.runner.everything_is_awaited()
    not_due = NotDue()

    async def tell(entry: QueueEntry, ports: AttemptPorts) -> None:
        if not wanted.is_early(entry, began):
            return
        await relay.runner.until_idle()  # the lines stand in the order of the run
        try:
            message = await relay.spool.read(lambda queue: queue.message(entry.message_id))
        except Unreadable:
            return  # it is set aside when it is claimed
        if message is not None:
            await not_due.tell(message, relay.spool.body(entry.message_id), ports)

    # Where no line would be written, nobody is asked for what it would say.
    is_told = "retry_defer" in relay.logs.selectors
    for extent in (Extent.STAGE, last) if wanted.two_stage else (last,):
        await relay.runner.sweep(
            lambda entry: wanted.wants(entry, began),
            thaw=wanted.thaw,
            force=wanted.is_forced,
            in_order=True,
            extent=extent,
            passed_over=tell if is_told and extent is last else None,
        )
        await relay.runner.until_idle()
    relay.journal.record(DaemonNote(f"End queue run: pid={os.getpid()}{wanted.letters}", selector="queue_run"))
