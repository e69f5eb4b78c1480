"""Looks now and then at how long the queue is, and says so where it is too long (edge)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from relay.mail.events import DaemonNote, Trouble
from relay.mail.ports import Clock, Journal, SpoolUnavailable
from relay.net.threads import ThreadedSpool

INTERVAL = 60.0
"""Seconds from one look to the next."""


class QueueSize:
    """How many messages are queued, counted once a minute at most (Exim: queue_count_cached)."""

    def __init__(self, spool: ThreadedSpool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._counted_at = 0.0
        self._count = 0

    async def now(self) -> int:
        """Raises SpoolUnavailable."""
        now = self._clock.now()
        if not 0 <= now - self._counted_at < INTERVAL:
            self._count = await self._spool.read(lambda queue: queue.count())
            self._counted_at = now
        return self._count


class QueueLength:
    """One line when the queue has grown longer than `most`, one when it is shorter again."""

    def __init__(self, reactor: Any, spool: ThreadedSpool, journal: Journal, most: int) -> None:
        """`most`: 0 for no limit (ours: queue_length_warning)."""
        self._spool = spool
        self._journal = journal
        self._most = most
        self._is_long = False
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looking.clock = reactor

    def start(self) -> None:
        """Looks at once, and then every so often."""
        if self._most:
            self._looking.start(INTERVAL)

    def stop(self) -> None:
        """Looks no more."""
        if self._looking.running:
            self._looking.stop()

    async def _look(self) -> None:
        try:
            count = await self._spool.read(lambda queue: queue.count())
        except SpoolUnavailable:
            return  # whoever needs the queue says so
        was_long, self._is_long = self._is_long, count > self._most
        if self._is_long and not was_long:
            what = f"there are {count} messages in the queue, more than {self._most} (queue_length_warning)"
            self._journal.record(Trouble(what, "see: relay queue list"))
        elif was_long and not self._is_long:
            self._journal.record(DaemonNote(f"there are {count} messages in the queue, which is no warning any more"))
