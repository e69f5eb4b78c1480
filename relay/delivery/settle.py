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

from relay.delivery.host_lines import line_of
from relay.mail.address import Address
from relay.mail.error_numbers import with_system_error
from relay.mail.events import MessageFrame
from relay.mail.outcome import WAITS_FOR_RUN, Deferred, Delivered, ErrorClass, Failed, Outcome
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState, RecipientUpdate, Replacement
from relay.policy.retry import LONGEST_INTERVAL, Step, next_try, replayed_gap

# How soon a recipient is tried again whose host can't be reached because there is no network. A network that
# comes back wakes the queue earlier, so this is only the safety net.
OFFLINE_INTERVAL = 300.0

RETRY_TIMEOUT = "retry timeout exceeded"

_NOT_SPOKEN_TO = frozenset(
    {
        ErrorClass.AUTH_FAILED,
        ErrorClass.CONNECTION_REFUSED,
        ErrorClass.NO_NETWORK,
        ErrorClass.NO_ROUTE,
        ErrorClass.TIMEOUT_CONNECT,
    }
)
"""The host has not heard of the message: what is said of it at the end does not name the host (Exim: host_used)."""


@dataclass(frozen=True, slots=True)
class SettleRules:
    """What holds for all messages, times in seconds."""

    longest_interval: float = LONGEST_INTERVAL
    """Exim: retry_interval_max."""
    ignore_bounce_errors_after: float = 70 * 86400.0
    """The age from which a failure of a bounce is forgotten (Exim's name)."""
    queue_interval: float | None = 1800.0
    """How long what was left for a queue run waits if none comes before; None: until it would have been tried."""


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
    """What is named instead of the address: a file or a command."""
    routed_as: str = ""
    """How a log line writes the address, where that is not as it came."""
    host: str = ""
    """The first host that the router found for a local transport."""
    has_parent: bool = False
    """The address was made of another one, or of itself (Exim: unseen)."""
    errors_to: Address | None = None
    """Who is told of a failure, None: the sender; the null sender: nobody."""
    is_distant: bool = False
    """There is another address between `original` and the recipient."""
    between: tuple[Address, ...] = ()
    """The addresses between the two, the nearest to the recipient first."""
    is_text: bool = False
    """`shown` is a file or a command."""
    is_hidden: bool = False
    """A report names the original address alone (Exim: hide_child_in_errmsg)."""
    is_logged: bool = True
    replacement: Replacement | None = None
    """The recipient to be, where this has to wait (Exim: one_time)."""


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
    is_stuck: bool = False
    """It is to be held because there is nobody to be told of a failure."""
    is_complete: bool = False
    """No recipient is pending any more."""
    waits_for: str = ""
    """The line at the host for which somebody waits, where it is the host's fault."""
    waiting: tuple[Waiting, ...] = ()
    """Whom the sender may have to be told of."""
    replacements: tuple[Replacement, ...] = ()


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

    waiting = [verdict for _, verdict in verdicts if isinstance(verdict, _Waits)]
    untouched = any(recipient.number not in by_number for recipient in message.pending)
    freeze = next((_words(result.outcome) for result in results if result.freeze), "")
    if stuck:
        freeze = "delivery error message"
    ordered = [verdict for result, verdict in verdicts if not result.is_echo]
    return Judgement(
        updates=updates,
        due=now if untouched else min((each.due for each in waiting), default=now),
        given_up=tuple(verdict for verdict in ordered if isinstance(verdict, GivenUp)),
        freeze=freeze,
        is_stuck=bool(stuck),
        is_complete=not (waiting or untouched or stuck),
        waits_for=next((name for each in waiting if (name := _line(each.waiting.deferred))), ""),
        waiting=tuple(verdict.waiting for verdict in ordered if isinstance(verdict, _Waits)),
        replacements=_replacements(waiting),
    )


def _replacements(waiting: Sequence[_Waits]) -> tuple[Replacement, ...]:
    """One for each address, whatever waits below it."""
    found: dict[Address, Replacement] = {}
    for each in waiting:
        wish, row = each.waiting.result.replacement, each.update
        if wish is not None:
            kept = replace(wish, error=row.error, first_failed=row.first_failed, is_attempt=row.is_attempt)
            found.setdefault(wish.recipient.address, kept)
    return tuple(found.values())


def _line(deferred: Deferred) -> str:
    """The line at the host whose fault a delay was."""
    return line_of(deferred.host) if deferred.host_wide and deferred.host is not None else ""


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
    is_replaced = False
    for result, verdict in group:
        match verdict:
            case RecipientUpdate():
                delivered = delivered or verdict
            case _Waits() if result.replacement is not None:
                is_replaced = True
                continue
            case _Waits(row):
                waits = row if waits is None or not waits.is_attempt else waits
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
    if is_replaced:
        return RecipientUpdate(number, RecipientState.PENDING, done=tuple(done), is_attempt=False)
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
        case Deferred(error=ErrorClass.NO_NETWORK | ErrorClass.HELD | ErrorClass.TRANSPORT) as deferred:
            return _offline(message, result, deferred, now)
        case Deferred(error=error) as deferred if error in WAITS_FOR_RUN:
            return _left(message, result, deferred, now, rules.queue_interval)
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


def _left(
    message: QueuedMessage, result: Result, deferred: Deferred, now: float, queue_interval: float | None
) -> _Waits:
    """Nobody has tried it, so that no row says that."""
    due = message.due if queue_interval is None else now + queue_interval
    update = replace(_update(result.recipient, deferred, None), is_attempt=False)
    return _Waits(update, due, Waiting(result, deferred))


def _update(recipient: QueuedRecipient, deferred: Deferred, first_failed: float | None) -> RecipientUpdate:
    return RecipientUpdate(recipient.number, RecipientState.PENDING, _in_words(deferred), first_failed)


def _in_words(deferred: Deferred) -> str:
    """The reason where no number stands beside it: with the system's words, if it has a number of its own."""
    return with_system_error(deferred) if deferred.errno else deferred.reason


def expired(deferred: Deferred) -> Failed:
    """The failure that a delay becomes when its time is over, in Exim's words."""
    reason = f"{_in_words(deferred)}: {RETRY_TIMEOUT}" if deferred.reason else RETRY_TIMEOUT
    words = deferred.told or (deferred.reason if deferred.reply is not None else "")
    told = f"{words}: {RETRY_TIMEOUT}" if words else RETRY_TIMEOUT
    host = None if deferred.error in _NOT_SPOKEN_TO else deferred.host
    return Failed(reason, deferred.reply, host, told=told, is_expired=True)


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


def frame_of(message: QueuedMessage, result: Result, now: float) -> MessageFrame:
    """What the line of a recipient may repeat of its message."""
    return_path = message.sender if result.errors_to is None else result.errors_to
    if not isinstance(result.outcome, Deferred) and result.outcome.return_path is not None:
        return_path = result.outcome.return_path
    return MessageFrame(message.sender, return_path if result.transport else None, now - message.facts.received_at)
