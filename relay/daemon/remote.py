"""What the smtp transports of a process share: dialer, lines at hosts, records of failures (edge)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.daemon.retry_file import RetryFile
from relay.delivery.conversation import ConversationPorts
from relay.delivery.host_lines import HostLines, Promise
from relay.delivery.host_memory import HostMemory
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.schedule import Schedule
from relay.mail.ports import Clock, Journal, Watch
from relay.net.connection import is_cancellation
from relay.net.dialer import SocketDialer
from relay.net.threads import ThreadedSpool
from relay.policy.authenticate import AuthPorts
from relay.policy.event_action import NO_ACTIONS, EventActions
from relay.policy.retry import LONGEST_INTERVAL, RetryRule
from relay.spool.hints import Kind, RetryHint, forget_retry_hint, keep_retry_hint, retry_hint

# Seconds for which a connection waits for a message that is coming for it.
SUMMON_LIMIT = 5.0

_log = Logger()


@dataclass(frozen=True, slots=True)
class RetryTimes:
    """Main options, in seconds: retry_interval_max, retry_data_expire."""

    longest: float = LONGEST_INTERVAL
    expire: float = 7 * 86400.0


class SpoolHostRecords:
    """The `HostRecords` port: hints in the queue's database."""

    def __init__(self, spool: ThreadedSpool, keep: float, file: RetryFile | None = None) -> None:
        """`keep`: seconds for which a record is kept behind its next try (Exim: retry_data_expire). `file`: without it
        records end with their time alone."""
        self._spool = spool
        self._keep = keep
        self._file = file

    async def load(self, key: str, now: float) -> RetryHint | None:
        """Raises SpoolUnavailable."""
        return await self._spool.read(lambda queue: self._in_force(retry_hint(queue, Kind.HOST, key, now)))

    def _in_force(self, hint: RetryHint | None) -> RetryHint | None:
        is_void = hint is not None and self._file is not None and hint.mark != self._file.mark()
        return None if is_void else hint

    async def keep(self, key: str, hint: RetryHint) -> None:
        """Raises SpoolUnavailable."""
        await self._spool.write(lambda queue: keep_retry_hint(queue, Kind.HOST, key, self._marked(hint), self._keep))

    def _marked(self, hint: RetryHint) -> RetryHint:
        return hint if self._file is None else replace(hint, mark=self._file.make())

    async def forget(self, key: str) -> None:
        """Raises SpoolUnavailable."""
        await self._spool.write(lambda queue: forget_retry_hint(queue, Kind.HOST, key))


class Summons:
    """The `summon` port: who waits in the queue for a host comes for a connection to it."""

    def __init__(self, reactor: Any, lines: HostLines) -> None:
        self._reactor = reactor
        self._lines = lines
        self._begin: Callable[[str], Awaitable[None]] | None = None

    def answered_by(self, begin: Callable[[str], Awaitable[None]]) -> None:
        """`begin` begins with a message that waits for a host, and returns when the attempt is over."""
        self._begin = begin

    async def __call__(self, host: str) -> None:
        if self._begin is None:
            return
        offer = self._lines.offer(host)
        spawn(self._attempt(self._begin, host, offer))
        limit = self._reactor.callLater(SUMMON_LIMIT, self._lines.withdraw, host, offer)
        try:
            await offer
        finally:
            if limit.active():
                limit.cancel()

    async def _attempt(self, begin: Callable[[str], Awaitable[None]], host: str, offer: Promise) -> None:
        try:
            await begin(host)
        finally:
            self._lines.withdraw(host, offer)


def remote_ports(
    reactor: Any,
    clock: Clock,
    journal: Journal,
    source: random.Random,
    spool: ThreadedSpool,
    schedule: Schedule,
    retry_rules: Sequence[RetryRule],
    auth: AuthPorts | None = None,
    times: RetryTimes = RetryTimes(),
    file: RetryFile | None = None,
    events: EventActions = NO_ACTIONS,
    watch: Watch | None = None,
) -> tuple[RemotePorts, Summons]:
    """One for all transports of a process; its summons are answered by whoever begins with attempts."""
    lines = HostLines(schedule, Deferred)
    summons = Summons(reactor, lines)
    dialer = SocketDialer(reactor, clock.now, watch=watch)
    ports = RemotePorts(
        conversation=ConversationPorts(dialer, clock, journal, auth),
        lines=lines,
        memory=HostMemory(SpoolHostRecords(spool, times.expire, file), retry_rules, source, times.longest),
        spawn=spawn,
        source=source,
        summon=summons,
        events=events,
        watch=watch,
        asking=dialer.for_callouts(),
    )
    return ports, summons


def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs what nobody waits for; a fault in it is told in the daemon's own log."""
    Deferred.fromCoroutine(coroutine).addErrback(_report)


def _report(failure: Any) -> None:
    if not is_cancellation(failure):
        _log.failure("the end of a connection broke down", failure)
