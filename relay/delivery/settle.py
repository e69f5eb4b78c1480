"""What the outcomes of an attempt mean for a message: who is done, who waits until when, who is given up
(machine).

An attempt brings one `Result` per recipient, with the retry steps that are for it where it has to wait.
`judge` turns them into the rows to be written and the time of the next attempt; it dials nothing, logs
nothing and keeps nothing. Building the bounce for those given up, and writing it all down, is the caller's
part.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from relay.mail.address import Address
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState, RecipientUpdate
from relay.policy.retry import LONGEST_INTERVAL, Step, next_try, replayed_gap

# How soon a recipient is tried again whose host can't be reached because there is no network. A network that
# comes back wakes the queue earlier, so this is only the safety net.
OFFLINE_INTERVAL = 300.0

RETRY_TIMEOUT = "retry timeout exceeded"


@dataclass(frozen=True, slots=True)
class SettleRules:
    """What holds for all messages, times in seconds."""

    longest_interval: float = LONGEST_INTERVAL
    """Exim: retry_interval_max."""
    ignore_bounce_errors_after: float = 70 * 86400.0
    """The age from which a failure of a bounce is forgotten (Exim's name)."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one recipient. `router` and `transport` are empty where routing did not get so far."""

    recipient: QueuedRecipient
    outcome: Outcome
    router: str = ""
    transport: str = ""
    steps: tuple[Step, ...] = ()
    """The retry rule for a delay; empty: it is given up at once."""
    freeze: bool = False
    """Routing asked for the message to be held (`host_find_failed = freeze`, `self = freeze`)."""
    key: str = ""
    """What is written down when this is over; "": it is the recipient of the message itself, whose state tells."""
    is_echo: bool = False
    """Another result of the same delivery, for a further recipient that leads to it."""
    original: Address | None = None
    """The recipient of the message where the address was made of it; `recipient` then has the address itself."""
    shown: str = ""
    """What a log line names instead of the address."""
    errors_to: Address | None = None
    """Who is told of a failure, None: the sender; the null sender: nobody."""
    is_hidden: bool = False
    """A report names the original address alone (Exim: hide_child_in_errmsg)."""
    is_logged: bool = True


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A recipient that gets no further attempt. `last` is the delay that lasted too long, None after a
    refusal."""

    result: Result
    failed: Failed
    last: Deferred | None = None
    is_ignored: bool = False
    """Nobody can be told, and nobody is to be asked what to do about it (Exim: error ignored)."""

    def is_told_to(self, sender: Address) -> Address | None:
        """Who is told: None: nobody can be, the sender being null; the null sender: nobody is to be."""
        if self.result.errors_to is not None:
            return self.result.errors_to
        return None if sender.is_null else sender


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recipient that has to wait."""

    result: Result
    deferred: Deferred
    until: float | None = None
    """When it is given up, seconds since the epoch; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be written: recipients' rows, the next attempt, whether to hold the message, and whom to
    report."""

    updates: tuple[RecipientUpdate, ...]
    due: float
    given_up: tuple[GivenUp, ...] = ()
    freeze: str = ""
    """Why the message is to be held; empty where it is not."""
    is_complete: bool = False
    """No recipient is pending any more."""
    waiting: tuple[Waiting, ...] = ()
    """Whom the sender may have to be told of."""


@dataclass(frozen=True, slots=True)
class _Waits:
    update: RecipientUpdate
    due: float
    waiting: Waiting


_Verdict = RecipientUpdate | _Waits | GivenUp


def judge(
    message: QueuedMessage,
    results: Sequence[Result],
    now: float,
    source: random.Random,
    rules: SettleRules = SettleRules(),
) -> Judgement:
    """The judgement on an attempt that ended at `now`.

    Recipients without a result stay as they are and due at `now`. A recipient of a bounce who is refused stays pending
    instead, and the message is frozen: there is nobody to tell (Exim: "delivery error message"). It is forgotten where
    it was only late, or where the bounce is old enough.
    """
    forgets = now - message.facts.received_at >= rules.ignore_bounce_errors_after
    judged = ((result, _verdict(message, result, now, source, rules)) for result in results)
    verdicts = [(result, _forgotten(message, verdict, forgets)) for result, verdict in judged]
    stuck = {id(verdict) for _, verdict in verdicts if _is_stuck(message, verdict)}
    by_number: dict[int, list[tuple[Result, _Verdict]]] = {}
    for result, verdict in verdicts:
        by_number.setdefault(result.recipient.number, []).append((result, verdict))
    updates = tuple(_update_of(number, group, stuck) for number, group in by_number.items())

    waiting = [verdict.due for _, verdict in verdicts if isinstance(verdict, _Waits)]
    untouched = any(recipient.number not in by_number for recipient in message.pending)
    freeze = next((_words(result.outcome) for result in results if result.freeze), "")
    if stuck:
        freeze = "delivery error message"
    ordered = [verdict for result, verdict in verdicts if not result.is_echo]
    return Judgement(
        updates=updates,
        due=now if untouched else min(waiting, default=now),
        given_up=tuple(verdict for verdict in ordered if isinstance(verdict, GivenUp)),
        freeze=freeze,
        is_complete=not (waiting or untouched or stuck),
        waiting=tuple(verdict.waiting for verdict in ordered if isinstance(verdict, _Waits)),
    )


def _forgotten(message: QueuedMessage, verdict: _Verdict, forgets: bool) -> _Verdict:
    """A failure that nobody can be told of, and that is no matter for an operator either."""
    if not isinstance(verdict, GivenUp) or verdict.is_told_to(message.sender) is not None:
        return verdict
    return replace(verdict, is_ignored=forgets or verdict.last is not None)


def _is_stuck(message: QueuedMessage, verdict: _Verdict) -> bool:
    """A failure that there is nobody to tell of."""
    return isinstance(verdict, GivenUp) and not verdict.is_ignored and verdict.is_told_to(message.sender) is None


def _update_of(number: int, group: Sequence[tuple[Result, _Verdict]], stuck: Collection[int]) -> RecipientUpdate:
    """One row for all that a recipient stands for: it waits while any of that waits."""
    waits: RecipientUpdate | None = None
    failed: RecipientUpdate | None = None
    delivered: RecipientUpdate | None = None
    done: list[str] = []
    for result, verdict in group:
        match verdict:
            case RecipientUpdate():
                delivered = delivered or verdict
            case _Waits(row):
                waits = waits or row
                continue
            case GivenUp(failed=why):
                is_stuck = id(verdict) in stuck
                state = RecipientState.PENDING if is_stuck else RecipientState.FAILED
                row = RecipientUpdate(number, state, why.reason, result.recipient.first_failed)
                if is_stuck:
                    waits = waits or row
                    continue
                failed = failed or row
            case _ as never:
                assert_never(never)
        if result.key:
            done.append(result.key)
    if waits is not None:
        return replace(waits, done=tuple(done))
    update = failed or delivered
    assert update is not None, "a group has a result"
    return update


def _verdict(message: QueuedMessage, result: Result, now: float, source: random.Random, rules: SettleRules) -> _Verdict:
    number = result.recipient.number
    match result.outcome:
        case Delivered(confirmation):
            return RecipientUpdate(number, RecipientState.DELIVERED, confirmation, None)
        case Failed() as failed:
            return GivenUp(result, failed)
        case Deferred(error=ErrorClass.NO_NETWORK | ErrorClass.HELD) as deferred:
            return _offline(message, result, deferred, now)
        case Deferred() as deferred:
            return _deferred(message, result, deferred, now, source, rules.longest_interval)
        case _ as never:
            assert_never(never)


def _deferred(
    message: QueuedMessage, result: Result, deferred: Deferred, now: float, source: random.Random, longest: float
) -> _Verdict:
    recipient = result.recipient
    if result.freeze:
        # Whoever thaws the message wants it tried at once, and the time on ice is no failure of the host.
        return _Waits(_update(recipient, deferred, recipient.first_failed), now, Waiting(result, deferred))
    first_failed = _counted_from(message, recipient, now)
    gap = replayed_gap(result.steps, first_failed, recipient.attempts, now, longest)
    due = next_try(result.steps, first_failed, gap, now, source, longest)
    if due is None:
        return GivenUp(result, expired(deferred), deferred)
    if deferred.not_before is not None:
        due = min(max(deferred.not_before, now), now + longest)
    until = first_failed + result.steps[-1].cutoff
    return _Waits(_update(recipient, deferred, first_failed), due, Waiting(result, deferred, until))


def _counted_from(message: QueuedMessage, recipient: QueuedRecipient, now: float) -> float:
    """From when its time counts. An attempt that is late by more than an interval means that this host slept, was off
    or had no daemon: nobody tried meanwhile, and that uses up nothing."""
    if recipient.first_failed is None:
        return now
    late = now - message.due
    return min(recipient.first_failed + late, now) if late > OFFLINE_INTERVAL else min(recipient.first_failed, now)


def _offline(message: QueuedMessage, result: Result, deferred: Deferred, now: float) -> _Waits:
    """Time without a network does not count: the first failure moves along with it.

    The wait that lies ahead is taken off in advance, and so is the time that this attempt came late; what an
    earlier wake-up gives back is less than one interval.
    """
    first_failed = result.recipient.first_failed
    if first_failed is not None:
        first_failed = min(first_failed + OFFLINE_INTERVAL + max(now - message.due, 0.0), now)
    update = _update(result.recipient, deferred, first_failed)
    return _Waits(update, now + OFFLINE_INTERVAL, Waiting(result, deferred))


def _update(recipient: QueuedRecipient, deferred: Deferred, first_failed: float | None) -> RecipientUpdate:
    return RecipientUpdate(recipient.number, RecipientState.PENDING, deferred.reason, first_failed)


def expired(deferred: Deferred) -> Failed:
    """The failure that a delay becomes when its time is over, in Exim's words."""
    reason = f"{deferred.reason}: {RETRY_TIMEOUT}" if deferred.reason else RETRY_TIMEOUT
    return Failed(reason, deferred.reply, deferred.host, is_expired=True)


def _words(outcome: Outcome) -> str:
    return outcome.confirmation if isinstance(outcome, Delivered) else outcome.reason


def delivered_only(results: Sequence[Result]) -> tuple[RecipientUpdate, ...]:
    """The rows that can be written before the attempt is over: a delivery is final whatever happens to the
    others. Of a recipient that stands for others only those are written down that are done."""
    updates: list[RecipientUpdate] = []
    for each in results:
        if not isinstance(each.outcome, Delivered):
            continue
        number = each.recipient.number
        if each.key:
            updates.append(RecipientUpdate(number, RecipientState.PENDING, done=(each.key,), is_attempt=False))
        else:
            updates.append(RecipientUpdate(number, RecipientState.DELIVERED, each.outcome.confirmation))
    return tuple(updates)


def without(message: QueuedMessage, done: Sequence[RecipientUpdate]) -> QueuedMessage:
    """The message as it stands once `done` is written."""
    states = {update.number: update.state for update in done if update.is_attempt}
    return replace(
        message,
        recipients=tuple(replace(each, state=states.get(each.number, each.state)) for each in message.recipients),
    )
