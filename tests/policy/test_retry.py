"""Retry rules: read as Exim reads them, and calculated with as Exim calculates."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import NOW, run
from relay.expand.scope import Scope
from relay.mail.address import NULL_SENDER, address_from_text
from relay.mail.outcome import Deferred, ErrorClass, RemoteHost
from relay.mail.reply import Reply
from relay.mail.source import ConfigurationError, Location
from relay.policy.retry import (
    LONGEST_INTERVAL,
    Fixed,
    Geometric,
    Randomized,
    RetryRule,
    choose_rule,
    host_key,
    next_try,
    outcome_named,
    parse_rules,
    replayed_gap,
)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
EXIM_DEFAULT = "*  *  F,2h,15m; G,16h,1h,1.5; F,4d,6h"
SENDER = address_from_text("anna@laptop.test")


def rules_of(*lines: str) -> tuple[RetryRule, ...]:
    return parse_rules([(Location("relay.conf", number), line) for number, line in enumerate(lines, 1)])


def chosen(rules: tuple[RetryRule, ...], outcome: Deferred, *keys: Any, sender: Any = SENDER) -> int | None:
    """The line of the rule that is found."""
    rule = run(choose_rule(rules, keys, outcome, sender, Scope()))
    return rule.location.line if rule else None


def problem_of(*lines: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        rules_of(*lines)
    return str(caught.value)


# Reading


def test_the_default_rule_is_read() -> None:
    (rule,) = rules_of(EXIM_DEFAULT)
    assert rule.steps == (
        Fixed(2 * HOUR, 15 * MINUTE),
        Geometric(16 * HOUR, HOUR, 1.5),
        Fixed(4 * DAY, 6 * HOUR),
    )


def test_small_letters_spaces_and_h_are_read() -> None:
    (rule,) = rules_of("* * f, 1h, 10m ;h,1d12h,1h,2")
    assert rule.steps == (Fixed(HOUR, 600.0), Randomized(36 * HOUR, HOUR, 2.0))


def test_a_rule_without_steps_is_allowed() -> None:
    assert rules_of("gone.test *")[0].steps == ()


@pytest.mark.parametrize("by_mx", [True, False])
def test_errors_that_say_how_the_host_was_found(by_mx: bool) -> None:
    rules = rules_of("* Timeout_Connect_MX F,1h,1m", "* timeout_a F,1h,1m", "* refused_mx F,1h,1m", "* refused F,1h,1m")
    host = RemoteHost("hub.test", "192.0.2.7", 25, by_mx=by_mx)
    late = Deferred("", ErrorClass.TIMEOUT_CONNECT, host=host)
    refused = Deferred("", ErrorClass.CONNECTION_REFUSED, host=host)
    assert [rule.covers(late) for rule in rules] == [by_mx, not by_mx, False, False]
    assert [rule.covers(refused) for rule in rules] == [False, False, by_mx, True]


def test_a_host_is_the_same_however_it_was_found() -> None:
    assert RemoteHost("hub.test", "192.0.2.7", 25, by_mx=True) == RemoteHost("hub.test", "192.0.2.7", 25)


def test_a_mailbox_that_was_not_read_for_long() -> None:
    rules = rules_of("* quota_7d F,1h,1m", "* quota_1d F,1h,1m", "* quota F,2h,1m")
    full = Deferred("", ErrorClass.QUOTA, read_at=NOW - 2 * DAY)
    unknown = Deferred("", ErrorClass.QUOTA)
    other = Deferred("", ErrorClass.LOCAL, read_at=NOW - 2 * DAY)
    assert [rule.covers(full, NOW) for rule in rules] == [False, True, True]
    assert [rule.covers(unknown, NOW) for rule in rules] == [False, False, True]
    assert not any(rule.covers(other, NOW) for rule in rules)


@pytest.mark.parametrize(
    "word",
    [
        "*",
        "auth_failed",
        "lookup",
        "lost_connection",
        "quota",
        "quota_7d",
        "refused",
        "refused_MX",
        "refused_A",
        "timeout",
        "timeout_A",
        "timeout_MX",
        "timeout_connect",
        "timeout_connect_MX",
        "tls_required",
        "rcpt_45x",
        "data_4xx",
    ],
)
def test_a_failure_by_its_name_is_one_that_the_rule_of_that_name_is_for(word: str) -> None:
    (rule,) = rules_of(f"* {word} F,1h,1m")
    assert rule.covers(outcome_named(word, NOW), NOW)


def test_a_timeout_by_its_name_is_none_while_connecting() -> None:
    (rule,) = rules_of("* timeout_connect F,1h,1m")
    assert not rule.covers(outcome_named("timeout", NOW), NOW)


@pytest.mark.parametrize(
    "line, words",
    [
        ("*", "missing error type"),
        ("* nonsense F,1h,1m", "unknown or malformed retry error"),
        ("* rcpt_4z F,1h,1m", "must be followed by xx, dx, or dd"),
        ("* quota_soon F,1h,1m", "is not a time"),
        ("* lookup_MX F,1h,1m", "unknown or malformed retry error"),
        ("* * F,1h", "write F,cutoff,interval"),
        ("* * G,1h,1m", "write G,cutoff,interval,factor"),
        ("* * X,1h,1m", "unknown retry rule letter"),
        ("* * F,soon,1m", '"soon" is not a time'),
        ("* * F,15,1m", '"15" is not a time'),
        ("* * F,0s,1m", "more than none"),
        ("* * G,1h,1m,0.5", "1 or more"),
    ],
)
def test_mistakes_are_named(line: str, words: str) -> None:
    text = problem_of(line)
    assert text.startswith(("relay.conf:1: retry rule: ", "relay.conf:1: bad parameters for retry rule ("))
    assert words in text


def test_all_mistakes_are_found_at_once() -> None:
    text = problem_of("* nonsense", EXIM_DEFAULT, "* * X,1h,1m")
    assert [line.split(": ")[0] for line in text.splitlines()] == ["relay.conf:1", "relay.conf:3"]


PARTS = st.sampled_from(
    ["*", "rcpt_4", "x", "F", "G", ",", ";", "1h", "15m", '"', "\\", "$", "{", " ", "senders", "=", "^", "@", "!"]
)


@given(st.one_of(st.text(max_size=30), st.lists(PARTS, max_size=12).map("".join)))
@settings(max_examples=200)
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        rules = rules_of(line)
    except ConfigurationError:
        return
    assert all(step.cutoff > 0 and step.interval > 0 for rule in rules for step in rule.steps)


# Choosing


def deferred(error: ErrorClass, code: int = 0) -> Deferred:
    return Deferred("", error, Reply(code) if code else None)


@pytest.mark.parametrize(
    "name, covered, others",
    [
        ("*", list(ErrorClass), []),
        ("timeout", [ErrorClass.TIMEOUT, ErrorClass.TIMEOUT_CONNECT], [ErrorClass.LOST_CONNECTION]),
        ("timeout_connect", [ErrorClass.TIMEOUT_CONNECT], [ErrorClass.TIMEOUT]),
        ("refused", [ErrorClass.CONNECTION_REFUSED], [ErrorClass.TIMEOUT_CONNECT]),
        ("tls_required", [ErrorClass.TLS_REQUIRED, ErrorClass.TLS_FAILED], [ErrorClass.AUTH_FAILED]),
        ("auth_failed", [ErrorClass.AUTH_FAILED], [ErrorClass.TLS_FAILED]),
        ("lookup", [ErrorClass.LOOKUP], [ErrorClass.OTHER]),
        ("lost_connection", [ErrorClass.LOST_CONNECTION], [ErrorClass.TIMEOUT]),
        ("quota", [ErrorClass.QUOTA], [ErrorClass.LOCAL]),
    ],
)
def test_errors_by_name(name: str, covered: list[ErrorClass], others: list[ErrorClass]) -> None:
    (rule,) = rules_of(f"* {name} F,1h,1m")
    assert all(rule.covers(deferred(error)) for error in covered)
    assert not any(rule.covers(deferred(error)) for error in others)


@pytest.mark.parametrize(
    "name, error, code, covers",
    [
        ("rcpt_4xx", ErrorClass.RCPT_4XX, 450, True),
        ("rcpt_4xx", ErrorClass.MAIL_4XX, 450, False),
        ("rcpt_45x", ErrorClass.RCPT_4XX, 452, True),
        ("rcpt_45x", ErrorClass.RCPT_4XX, 421, False),
        ("data_452", ErrorClass.DATA_4XX, 452, True),
        ("data_452", ErrorClass.DATA_4XX, 451, False),
        ("mail_4xx", ErrorClass.MAIL_4XX, 421, True),
    ],
)
def test_errors_by_reply_code(name: str, error: ErrorClass, code: int, covers: bool) -> None:
    (rule,) = rules_of(f"* {name} F,1h,1m")
    assert rule.covers(deferred(error, code)) is covers


def test_the_first_rule_that_fits_is_taken() -> None:
    rules = rules_of("far.test refused F,1h,1m", "bert@far.test *", "far.test * F,2h,1m", "* * F,3h,1m")
    bert, carl = address_from_text("bert@far.test"), address_from_text("carl@far.test")
    refused, timed_out = deferred(ErrorClass.CONNECTION_REFUSED), deferred(ErrorClass.TIMEOUT)
    assert chosen(rules, refused, bert) == 1
    assert chosen(rules, timed_out, bert) == 2
    assert chosen(rules, timed_out, carl) == 3
    assert chosen(rules, timed_out, host_key("FAR.test")) == 3
    assert chosen(rules, timed_out, host_key("near.test")) == 4
    assert chosen(rules, timed_out, host_key("mx.near.test"), host_key("far.test")) == 3


def test_a_pattern_may_have_colons() -> None:
    rules = rules_of(r"\N^[^:]+@far\.test$\N * F,1h,1m")
    assert chosen(rules, deferred(ErrorClass.OTHER), address_from_text("bert@far.test")) == 1
    assert chosen(rules, deferred(ErrorClass.OTHER), address_from_text("bert@near.test")) is None


def test_senders_narrow_a_rule() -> None:
    rules = rules_of('* * senders = ":" F,1h,1m', "* * senders=*@laptop.test F,4d,1h")
    other = deferred(ErrorClass.OTHER)
    assert chosen(rules, other, host_key("far.test"), sender=NULL_SENDER) == 1
    assert chosen(rules, other, host_key("far.test"), sender=SENDER) == 2
    assert chosen(rules, other, host_key("far.test"), sender=address_from_text("x@y.test")) is None


# Arithmetic


class Unasked(random.Random):
    """Only H may draw."""

    def uniform(self, a: float, b: float) -> float:
        raise AssertionError("nothing was to be drawn")


STEPS = rules_of(EXIM_DEFAULT)[0].steps


@pytest.mark.parametrize(
    "failing_for, last_gap, gap",
    [
        (0, 0, 15 * MINUTE),
        (30 * MINUTE, 15 * MINUTE, 15 * MINUTE),
        (2 * HOUR, 15 * MINUTE, 15 * MINUTE),  # the cutoff itself is still inside
        (2 * HOUR + 1, 15 * MINUTE, HOUR),  # the last gap was shorter than the interval
        (4 * HOUR, HOUR, 1.5 * HOUR),
        (5 * HOUR, 1.5 * HOUR, 2.25 * HOUR),
        (17 * HOUR, 3 * HOUR, 6 * HOUR),
        (4 * DAY, 6 * HOUR, 6 * HOUR),
        (4 * DAY + 1, 6 * HOUR, None),
        (-HOUR, 0, 15 * MINUTE),  # the clock was set back
    ],
)
def test_the_default_schedule(failing_for: float, last_gap: float, gap: float | None) -> None:
    found = next_try(STEPS, NOW - failing_for, last_gap, NOW, Unasked())
    assert found == (None if gap is None else NOW + gap)


def test_without_steps_there_is_no_next_try() -> None:
    assert next_try((), NOW, 0.0, NOW, Unasked()) is None


def test_no_gap_is_longer_than_a_day() -> None:
    steps = (Geometric(30 * DAY, HOUR, 10.0),)
    assert next_try(steps, NOW, 20 * HOUR, NOW, Unasked()) == NOW + LONGEST_INTERVAL


@given(st.floats(0, 20 * HOUR), st.integers(0, 1000))
@settings(max_examples=50)
def test_h_draws_from_the_upper_half(last_gap: float, seed: int) -> None:
    found = next_try((Randomized(DAY, HOUR, 2.0),), NOW, last_gap, NOW, random.Random(seed))
    assert found is not None
    gap, room = found - NOW, max(last_gap * 2.0 - HOUR, 0.0)
    assert HOUR + room / 2 - 1e-3 <= gap <= min(HOUR + room, LONGEST_INTERVAL) + 1e-3 or gap == LONGEST_INTERVAL


def test_the_whole_life_of_a_message_under_the_default_rule() -> None:
    """Tries on time from the first failure to the last: the gaps, replayed each time, are those that were planned."""
    first, now, gap, gaps = NOW, NOW, 0.0, []
    for tries in range(200):
        assert replayed_gap(STEPS, first, tries, now) == gap
        following = next_try(STEPS, first, gap, now, Unasked())
        if following is None:
            break
        gap, now = following - now, following
        gaps.append(gap / HOUR)
    assert gaps[:9] == [0.25] * 9
    assert gaps[9:15] == [1, 1.5, 2.25, 3.375, 5.0625, 7.59375]
    assert set(gaps[15:]) == {6}
    assert now - first > 4 * DAY
    assert now - first - gaps[-1] * HOUR <= 4 * DAY


def test_a_try_that_came_late_counts_with_its_planned_gap() -> None:
    steps = (Geometric(30 * DAY, HOUR, 2.0),)
    assert replayed_gap(steps, NOW - 20 * DAY, 3, NOW) == 4 * HOUR


def test_a_try_that_was_forced_early_shortens_the_gap() -> None:
    steps = (Geometric(30 * DAY, HOUR, 2.0),)
    assert replayed_gap(steps, NOW - 10 * MINUTE, 50, NOW) == 10 * MINUTE
    assert next_try(steps, NOW - 10 * MINUTE, 10 * MINUTE, NOW, Unasked()) == NOW + HOUR


@given(st.floats(-DAY, 10 * DAY), st.integers(0, 10_000))
@settings(max_examples=100)
def test_a_replay_ends_and_never_looks_ahead(failing_for: float, tries: int) -> None:
    gap = replayed_gap(STEPS, NOW - failing_for, tries, NOW)
    assert 0 <= gap <= max(failing_for, 0.0) + 1e-3
