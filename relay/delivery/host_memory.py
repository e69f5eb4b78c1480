"""Which hosts have failed, and when they are to be tried again (decision).

Exim keeps such records per host and address, and so do we: a message for a host that failed does not dial it before its
next time, other hosts are tried meanwhile. The records are hints in the queue's database (`spool.hints`), shared by all
processes; what was read stays in memory for a minute. Without an answer from the database a host counts as good.

Failures of our own, a missing network and what concerns a message are no failures of a host.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.outcome import Deferred, ErrorClass, Outcome, RemoteHost
from relay.mail.ports import TemporaryFailure
from relay.policy.retry import LONGEST_INTERVAL, RULES_UNAVAILABLE, RetryRule, Step, choose_rule, host_key, next_try
from relay.spool.hints import RetryHint

# Seconds for which what was read counts as known.
FRESH = 60.0
# What a host is not blamed for.
_NOT_THE_HOSTS = frozenset(
    {
        ErrorClass.FILTER,
        ErrorClass.JUDGED_4XX,
        ErrorClass.LOCAL,
        ErrorClass.LOOKUP,
        ErrorClass.NO_NETWORK,
        ErrorClass.QUOTA,
        ErrorClass.RCPT_4XX,
    }
)


class HostRecords(Protocol):
    """Where the records are kept. Each raises TemporaryFailure."""

    async def load(self, key: str, now: float) -> RetryHint | None: ...

    async def keep(self, key: str, hint: RetryHint) -> None: ...

    async def forget(self, key: str) -> None: ...


@dataclass(slots=True)
class _Known:
    hint: RetryHint | None
    read_at: float


def record_key(host: RemoteHost, *, with_address: bool) -> str:
    """The name that a host's failures are kept under (Exim: retry_include_ip_address)."""
    name = host.name.lower().rstrip(".")
    return f"{name}:{host.address}:{host.port}" if with_address else f"{name}:{host.port}"


class HostMemory:
    """The records of one process."""

    def __init__(
        self,
        records: HostRecords,
        rules: Sequence[RetryRule],
        source: random.Random,
        longest: float = LONGEST_INTERVAL,
    ) -> None:
        """`longest` is the longest time between two tries, in seconds (Exim: retry_interval_max)."""
        self._records = records
        self._rules = rules
        self._source = source
        self._longest = longest
        self._known: dict[str, _Known] = {}
        self._forgiven_at = float("-inf")

    def forgive(self, now: float) -> None:
        """Every host may be tried again: somebody asked for it (a forced queue run)."""
        self._forgiven_at = now

    async def in_force(self, key: str, now: float) -> RetryHint | None:
        """The failure because of which the host is not to be tried now."""
        hint = await self._hint(key, now)
        if hint is None or now >= hint.next_try or hint.last_try <= self._forgiven_at:
            return None
        # A time before the last try, or too far from the next one: the clock was set back.
        return None if now < hint.last_try or hint.next_try > now + self._longest else hint

    async def failed(self, key: str, outcome: Deferred, sender: Address, scope: Scope, now: float) -> None:
        """The host failed, now. The time of the next try is the retry rules'."""
        earlier = await self._hint(key, now)
        steps = await self._steps(outcome, sender, scope)
        if not steps:
            return
        first, gap = now, 0.0
        if earlier is not None:
            # That nobody has tried, because there was nothing to send or this machine slept, is no failure.
            first = min(earlier.first_failed + max(now - earlier.next_try, 0.0), now)
            gap = max(min(now, earlier.next_try) - earlier.last_try, 0.0)
        due = next_try(steps, first, gap, now, self._source, self._longest)
        hint = RetryHint(
            first_failed=first,
            last_try=now,
            next_try=due if due is not None else now + min(steps[-1].interval, self._longest),
            reason=outcome.reason,
            error=outcome.error.value,
            exhausted=due is None,
        )
        self._known[key] = _Known(hint, now)
        try:
            await self._records.keep(key, hint)
        except TemporaryFailure:
            pass

    async def worked(self, key: str, now: float) -> None:
        """The host takes mail."""
        if await self._hint(key, now) is None:
            return
        self._known[key] = _Known(None, now)
        try:
            await self._records.forget(key)
        except TemporaryFailure:
            pass

    async def _hint(self, key: str, now: float) -> RetryHint | None:
        known = self._known.get(key)
        if known is not None and 0 <= now - known.read_at < FRESH:
            return known.hint
        try:
            hint = await self._records.load(key, now)
        except TemporaryFailure:
            return None
        if len(self._known) >= 4096:
            self._known.clear()
        self._known[key] = _Known(hint, now)
        return hint

    async def _steps(self, outcome: Deferred, sender: Address, scope: Scope) -> tuple[Step, ...]:
        assert outcome.host is not None
        try:
            rule = await choose_rule(self._rules, (host_key(outcome.host.name),), outcome, sender, scope)
        except (ExpansionFailed, TemporaryFailure):
            return RULES_UNAVAILABLE
        return rule.steps if rule is not None else ()


def blamed_on_host(outcomes: Sequence[Outcome]) -> Deferred | None:
    """The failure of the host that outcomes tell of; None where it talked to us as it should."""
    for each in outcomes:
        if not isinstance(each, Deferred) or not each.host_wide or each.possible_duplicate:
            return None
        if each.error in _NOT_THE_HOSTS:
            return None
    return outcomes[0] if outcomes and isinstance(outcomes[0], Deferred) else None
