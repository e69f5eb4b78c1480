"""What the smtp transports of a process share: dialer, lines at hosts, records of failures (edge)."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.delivery.conversation import ConversationPorts
from relay.delivery.host_lines import HostLines
from relay.delivery.host_memory import HostMemory
from relay.delivery.remote import RemotePorts
from relay.delivery.schedule import Schedule
from relay.mail.ports import Clock, Journal
from relay.net.connection import is_cancellation
from relay.net.dialer import SocketDialer
from relay.net.threads import ThreadedSpool
from relay.policy.authenticate import AuthPorts
from relay.policy.retry import LONGEST_INTERVAL, RetryRule
from relay.spool.hints import Kind, RetryHint, forget_retry_hint, keep_retry_hint, retry_hint

_log = Logger()


@dataclass(frozen=True, slots=True)
class RetryTimes:
    """Main options, in seconds: retry_interval_max, retry_data_expire."""

    longest: float = LONGEST_INTERVAL
    expire: float = 7 * 86400.0


class SpoolHostRecords:
    """The `HostRecords` port: hints in the queue's database."""

    def __init__(self, spool: ThreadedSpool, keep: float) -> None:
        """`keep`: seconds for which a record is kept behind its next try (Exim: retry_data_expire)."""
        self._spool = spool
        self._keep = keep

    async def load(self, key: str, now: float) -> RetryHint | None:
        """Raises SpoolUnavailable."""
        return await self._spool.read(lambda queue: retry_hint(queue, Kind.HOST, key, now))

    async def keep(self, key: str, hint: RetryHint) -> None:
        """Raises SpoolUnavailable."""
        await self._spool.write(lambda queue: keep_retry_hint(queue, Kind.HOST, key, hint, self._keep))

    async def forget(self, key: str) -> None:
        """Raises SpoolUnavailable."""
        await self._spool.write(lambda queue: forget_retry_hint(queue, Kind.HOST, key))


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
) -> RemotePorts:
    """One for all transports of a process."""
    return RemotePorts(
        conversation=ConversationPorts(SocketDialer(reactor, clock.now), clock, journal, auth),
        lines=HostLines(schedule, Deferred),
        memory=HostMemory(SpoolHostRecords(spool, times.expire), retry_rules, source, times.longest),
        spawn=spawn,
        source=source,
    )


def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs what nobody waits for; a fault in it is told in the daemon's own log."""
    Deferred.fromCoroutine(coroutine).addErrback(_report)


def _report(failure: Any) -> None:
    if not is_cancellation(failure):
        _log.failure("the end of a connection broke down", failure)
