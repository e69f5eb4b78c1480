"""Outcomes, retry steps and the time become rows, a next attempt, and those who are given up."""

from __future__ import annotations

import errno
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import HOUR, NOW, make_message, make_recipient
from relay.delivery.settle import (
    OFFLINE_INTERVAL,
    GivenUp,
    Judgement,
    Result,
    SettleRules,
    delivered_only,
    expired,
    judge,
    without,
)
from relay.mail.facts import MessageFacts, SessionFacts
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.queue import QueuedMessage, RecipientState, RecipientUpdate, Replacement
from relay.mail.reply import Reply
from relay.policy.retry import Fixed, Step

PENDING, DELIVERED, FAILED = RecipientState.PENDING, RecipientState.DELIVERED, RecipientState.FAILED
STEPS: tuple[Step, ...] = (Fixed(2 * HOUR, 900.0), Fixed(96 * HOUR, 6 * HOUR))
REFUSED = Failed("no such user", Reply(550, "5.1.1", ("no such user",)))
BUSY = Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "4.2.1", ("busy",)), RemoteHost("hub.test", "192.0.2.7", 25))
OFFLINE = Deferred("Network is unreachable", ErrorClass.NO_NETWORK)
HELD = Deferred("domain is held", ErrorClass.HELD)


def judged(message: QueuedMessage, *outcomes: Outcome, steps: tuple[Step, ...] = STEPS) -> Judgement:
    results = [
        Result(recipient, outcome, "smarthost", "smtp", steps)
        for recipient, outcome in zip(message.pending, outcomes, strict=False)
    ]
    return judge(message, results, NOW, random.Random(1))


def one(outcome: Outcome, first_failed: float | None = None, attempts: int = 0, **more: object) -> Judgement:
    recipient = make_recipient("bert@far.test", attempts=attempts, first_failed=first_failed)
    return judged(make_message(recipient, **more), outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outcome, first_failed, state, kept, due",
    [
        (Delivered("250 OK"), None, DELIVERED, None, NOW),
        (REFUSED, None, FAILED, None, NOW),
        (BUSY, None, PENDING, NOW, NOW + 900),
        (BUSY, NOW - HOUR, PENDING, NOW - HOUR, NOW + 900),
        (BUSY, NOW - 3 * HOUR, PENDING, NOW - 3 * HOUR, NOW + 6 * HOUR),
        (BUSY, NOW - 96 * HOUR, PENDING, NOW - 96 * HOUR, NOW + 6 * HOUR),
        (BUSY, NOW - 97 * HOUR, FAILED, NOW - 97 * HOUR, NOW),
        (OFFLINE, None, PENDING, None, NOW + OFFLINE_INTERVAL),
        (HELD, None, PENDING, None, NOW + OFFLINE_INTERVAL),
        (Deferred("unset", ErrorClass.TRANSPORT), None, PENDING, None, NOW + OFFLINE_INTERVAL),
        (OFFLINE, NOW - 97 * HOUR, PENDING, NOW - 97 * HOUR + OFFLINE_INTERVAL, NOW + OFFLINE_INTERVAL),
    ],
)
def test_one_recipient(
    outcome: Outcome, first_failed: float | None, state: RecipientState, kept: float | None, due: float
) -> None:
    judgement = one(outcome, first_failed)
    (update,) = judgement.updates
    assert (update.number, update.state, update.first_failed) == (0, state, kept)
    assert judgement.due == due
    assert judgement.is_complete is (state is not PENDING)
    assert bool(judgement.given_up) is (state is FAILED)
    assert judgement.freeze == ""


def test_the_error_is_kept_with_the_row() -> None:
    assert one(BUSY).updates[0].error == "busy"
    assert one(REFUSED).updates[0].error == "no such user"


def test_who_ran_out_of_time_is_told_with_the_last_delay() -> None:
    (given_up,) = one(BUSY, NOW - 97 * HOUR).given_up
    assert given_up.last == BUSY
    late = "busy: retry timeout exceeded"
    assert given_up.failed == Failed(late, BUSY.reply, BUSY.host, told=late, is_expired=True)
    assert expired(Deferred("")).reason == "retry timeout exceeded"


def test_only_a_number_of_its_own_is_put_in_words() -> None:
    late = Deferred("SMTP timeout after DATA", ErrorClass.TIMEOUT)
    assert expired(late).reason == "SMTP timeout after DATA: retry timeout exceeded"
    closed = Deferred("creating lock file /mail/x.lock", errno=errno.EACCES)
    assert expired(closed).reason == "creating lock file /mail/x.lock: Permission denied: retry timeout exceeded"


def test_without_a_rule_a_delay_is_a_failure() -> None:
    judgement = judged(make_message(), BUSY, steps=())
    assert [each.last for each in judgement.given_up] == [BUSY]


def test_without_a_network_no_rule_is_asked() -> None:
    judgement = judged(make_message(), OFFLINE, steps=())
    assert judgement.given_up == ()


def test_a_week_without_network_uses_up_nothing() -> None:
    """A failure, a week of attempts without network, and the same failure again: hardly any time has counted."""
    first_failed, now = NOW, NOW + 900
    while now < NOW + 7 * 24 * HOUR:
        message = make_message(make_recipient("b@far.test", attempts=5, first_failed=first_failed), due=now)
        judgement = judge(message, [Result(message.recipients[0], OFFLINE)], now + 1, random.Random(1))
        (update,) = judgement.updates
        assert update.first_failed is not None
        first_failed, now = update.first_failed, judgement.due
    message = make_message(make_recipient("b@far.test", attempts=5, first_failed=first_failed), due=now)
    result = Result(message.recipients[0], BUSY, steps=STEPS)
    assert judge(message, [result], now, random.Random(1)).due - now == 900


def test_a_suspended_laptop_that_wakes_offline_loses_no_time() -> None:
    message = make_message(make_recipient("b@far.test", first_failed=NOW - 50 * HOUR), due=NOW - 49 * HOUR)
    (update,) = judged(message, OFFLINE).updates
    assert update.first_failed == NOW - HOUR + OFFLINE_INTERVAL


def test_time_without_network_never_puts_the_first_failure_into_the_future() -> None:
    message = make_message(make_recipient("b@far.test", first_failed=NOW - 10), due=0.0)
    assert judged(message, OFFLINE).updates[0].first_failed == NOW


def test_the_next_attempt_is_the_first_that_anybody_waits_for() -> None:
    message = make_message(
        make_recipient("a@far.test", 0, first_failed=NOW - 3 * HOUR), make_recipient("b@far.test", 1), "c@far.test"
    )
    assert judged(message, BUSY, BUSY, Delivered()).due == NOW + 900


def test_recipients_without_a_result_are_due_at_once() -> None:
    judgement = judged(make_message("a@far.test", "b@far.test"), BUSY)
    assert judgement.due == NOW
    assert not judgement.is_complete
    assert [update.number for update in judgement.updates] == [0]


def test_a_bounce_that_fails_is_frozen_and_not_answered() -> None:
    judgement = one(REFUSED, sender="")
    assert judgement.freeze == "delivery error message"
    assert judgement.updates[0].state is PENDING
    assert not judgement.is_complete


def test_a_bounce_that_waits_is_not_frozen() -> None:
    assert one(BUSY, sender="").freeze == ""


def test_routing_may_ask_to_hold_the_message() -> None:
    message = make_message()
    result = Result(message.recipients[0], Deferred("lookup failed"), "smarthost", "", STEPS, freeze=True)
    judgement = judge(message, [result], NOW, random.Random(1))
    assert judgement.freeze == "lookup failed"
    assert judgement.updates[0] == RecipientUpdate(0, PENDING, "lookup failed", None)
    assert judgement.given_up == ()


def test_deliveries_can_be_written_before_the_others() -> None:
    message = make_message("a@far.test", "b@far.test")
    results = [Result(message.recipients[0], Delivered("250 OK")), Result(message.recipients[1], REFUSED)]
    done = delivered_only(results)
    assert done == (RecipientUpdate(0, DELIVERED, "250 OK"),)
    assert [each.number for each in without(message, done).pending] == [1]


OUTCOMES = st.sampled_from([Delivered("ok"), REFUSED, BUSY, OFFLINE])
AGES = st.one_of(st.none(), st.floats(-HOUR, 200 * HOUR))


@given(st.lists(st.tuples(OUTCOMES, AGES), min_size=1, max_size=6), st.sampled_from(["", "anna@laptop.test"]))
@settings(max_examples=100)
def test_whatever_happens_the_judgement_is_whole(cases: list[tuple[Outcome, float | None]], sender: str) -> None:
    rows = [
        make_recipient("x@far.test", number, first_failed=None if age is None else NOW - age)
        for number, (_, age) in enumerate(cases)
    ]
    message = make_message(*rows, sender=sender)
    judgement = judged(message, *(outcome for outcome, _ in cases))
    by_number = {update.number: update for update in judgement.updates}
    assert sorted(by_number) == list(range(len(cases)))
    for number, (outcome, _) in enumerate(cases):
        assert (by_number[number].state is DELIVERED) is isinstance(outcome, Delivered)
    pending = any(update.state is PENDING for update in judgement.updates)
    assert judgement.is_complete is not pending
    assert judgement.due >= NOW
    if sender:
        failed = {number for number, update in by_number.items() if update.state is FAILED}
        assert {each.result.recipient.number for each in judgement.given_up} == failed
        assert judgement.freeze == ""
    else:
        failed = {number for number, update in by_number.items() if update.state is FAILED}
        late = {each.result.recipient.number for each in judgement.given_up if each.last is not None}
        assert failed == late == {each.result.recipient.number for each in judgement.given_up if each.is_ignored}
    assert all(isinstance(each, GivenUp) for each in judgement.given_up)


def test_an_attempt_that_comes_late_uses_up_nothing() -> None:
    """The laptop was closed for five days; nobody tried, and one failure more is not the end."""
    recipient = make_recipient("bert@far.test", attempts=1, first_failed=NOW - 120 * HOUR - 900)
    message = make_message(recipient, due=NOW - 120 * HOUR)
    (update,) = judged(message, BUSY).updates
    assert (update.state, update.first_failed) == (PENDING, NOW - 900)


def test_an_attempt_in_time_counts_from_the_first_failure() -> None:
    recipient = make_recipient("bert@far.test", attempts=1, first_failed=NOW - 120 * HOUR)
    assert judged(make_message(recipient, due=NOW - 60), BUSY).updates[0].state is FAILED


def test_a_bounce_that_was_late_too_long_is_forgotten() -> None:
    judgement = one(BUSY, NOW - 97 * HOUR, sender="")
    assert (judgement.freeze, judgement.is_complete) == ("", True)
    assert [each.is_ignored for each in judgement.given_up] == [True]


@pytest.mark.parametrize("age, is_frozen", [(HOUR - 1, True), (HOUR, False)])
def test_an_old_bounce_that_is_refused_is_forgotten(age: float, is_frozen: bool) -> None:
    message = replace(make_message(sender=""), facts=MessageFacts(SessionFacts(), NOW - age))
    rules = SettleRules(ignore_bounce_errors_after=HOUR)
    judgement = judge(message, [Result(message.recipients[0], REFUSED)], NOW, random.Random(1), rules)
    assert bool(judgement.freeze) is is_frozen
    assert judgement.is_complete is not is_frozen


def test_no_wait_is_longer_than_the_operator_lets_it_be() -> None:
    message = make_message(make_recipient("bert@far.test", first_failed=NOW - 3 * HOUR, attempts=9))
    row = message.recipients[0]
    rules = SettleRules(longest_interval=HOUR)
    far = replace(BUSY, not_before=NOW + 1000 * HOUR)
    for outcome in (BUSY, far):
        judgement = judge(message, [Result(row, outcome, steps=STEPS)], NOW, random.Random(1), rules)
        assert judgement.due == NOW + HOUR


def test_who_waits_is_told_with_the_end_of_the_waiting() -> None:
    (waiting,) = one(BUSY, NOW - HOUR).waiting
    assert (waiting.deferred, waiting.until) == (BUSY, NOW + 95 * HOUR)
    assert one(OFFLINE).waiting[0].until is None
    assert one(REFUSED).waiting == ()


def test_who_waits_for_a_host_is_known_by_it() -> None:
    hub = RemoteHost("Hub.Test", "192.0.2.7", 2525)
    away = Deferred("Connection refused", ErrorClass.OTHER, host=hub, host_wide=True)
    assert one(away).waits_for == "hub.test:2525"
    assert one(BUSY).waits_for == "", "the host was there"
    assert one(replace(away, host=None)).waits_for == ""
    message = make_message("a@far.test", "b@far.test", "c@far.test")
    assert judged(message, Delivered("250 OK"), BUSY, away).waits_for == "hub.test:2525"
    assert judged(message, REFUSED, REFUSED, REFUSED).waits_for == ""


@pytest.mark.parametrize("wait, due", [(600.0, NOW + 600), (None, NOW - 5)])
def test_what_was_left_for_a_queue_run_counts_as_not_tried(wait: float | None, due: float) -> None:
    left = Deferred("domain is in queue_domains", ErrorClass.QUEUED)
    message = replace(make_message("a@b.test"), due=NOW - 5)
    result = Result(message.recipients[0], left)
    judgement = judge(message, [result], NOW, random.Random(1), SettleRules(queue_interval=wait))
    assert (judgement.due, judgement.updates[0].is_attempt) == (due, False)


def test_a_part_that_was_tried_counts_for_its_recipient_whatever_was_left() -> None:
    message = make_message("a@b.test")
    left = Result(message.recipients[0], Deferred("left", ErrorClass.ROUTED_ONLY), key="x")
    tried = Result(message.recipients[0], BUSY, key="y", steps=STEPS)
    for results in ([left, tried], [tried, left]):
        judgement = judge(message, results, NOW, random.Random(1))
        assert [each.is_attempt for each in judgement.updates] == [True]


def test_one_recipient_is_made_of_an_address_whatever_waits_below_it() -> None:
    message = make_message("list@b.test")
    wish = Replacement(make_recipient("new@b.test").recipient, 0)
    results = [Result(message.recipients[0], BUSY, key=key, steps=STEPS, replacement=wish) for key in ("x", "y")]
    judgement = judge(message, results, NOW, random.Random(1))
    assert judgement.replacements == (replace(wish, error="busy", first_failed=NOW),)
    assert (judgement.is_complete, judgement.updates[0].is_attempt) == (False, False)


@pytest.mark.parametrize(
    "error, is_named",
    [
        (ErrorClass.CONNECTION_REFUSED, False),
        (ErrorClass.TIMEOUT_CONNECT, False),
        (ErrorClass.AUTH_FAILED, False),
        (ErrorClass.TIMEOUT, True),
        (ErrorClass.RCPT_4XX, True),
    ],
)
def test_a_host_that_has_not_heard_of_the_message_is_not_named_at_the_end(error: ErrorClass, is_named: bool) -> None:
    host = RemoteHost("hub.test", "192.0.2.7", 25)
    assert expired(Deferred("late", error, host=host)).host == (host if is_named else None)
