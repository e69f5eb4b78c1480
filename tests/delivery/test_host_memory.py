"""Hosts that failed are left alone until their time, others are tried; what is a host's failure and what is not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from delivery.post import run
from delivery.servers import HOURLY, NOW, ONE, TWO, Records, Sent, Server, lost
from relay.delivery.host_memory import FRESH, HostMemory, blamed_on_host, record_key
from relay.delivery.link import LinkFailed
from relay.delivery.smtp_rules import HostRules
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, RemoteHost
from relay.mail.ports import SpoolUnavailable
from relay.mail.reply import Reply
from relay.mail.source import Location
from relay.policy.retry import parse_rules
from relay.spool.hints import RetryHint

SENDER = address_from_text("anna@laptop.test")
DOWN = Deferred("Connection refused", ErrorClass.CONNECTION_REFUSED, host=ONE, host_wide=True)
KEY = "one.test:192.0.2.1:25"


def hint(**changes: Any) -> RetryHint:
    usual = RetryHint(NOW - 7200, NOW - 600, NOW + 3000, "Connection refused", "refused")
    return replace(usual, **changes)


def make_memory(records: Records, rules: Any = HOURLY) -> HostMemory:
    return HostMemory(records, rules, random.Random(1))


# In a delivery


def test_a_failure_is_remembered_until_the_rules_say_so() -> None:
    sent = Sent(Server(dial=LinkFailed(ErrorClass.CONNECTION_REFUSED, "Connection refused")))
    sent.outcomes  # noqa: B018 - the delivery runs
    kept = sent.records.hints[KEY]
    assert (kept.first_failed, kept.last_try, kept.next_try) == (NOW, NOW, NOW + 3600)
    assert (kept.reason, kept.error, kept.exhausted) == ("Connection refused", "refused", False)


def test_a_host_before_its_time_is_not_dialled() -> None:
    sent = Sent(Server(), records=Records({KEY: hint()}))
    outcome = sent.outcome
    assert sent.servers[0].story == []
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "retry time not reached for any host for 'far.test'"
    assert (outcome.error, outcome.host, outcome.not_before) == (ErrorClass.CONNECTION_REFUSED, ONE, NOW + 3000)
    assert outcome.cause == "Connection refused"
    assert sent.records.hints == {KEY: hint()}, "that is no failure of its own"


def test_but_the_others_are() -> None:
    sent = Sent(Server(), Server(), records=Records({KEY: hint()}))
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == TWO
    assert sent.servers[0].story == []


@pytest.mark.parametrize("next_try", [NOW, NOW - 1])
def test_its_time_has_come(next_try: float) -> None:
    sent = Sent(Server(), records=Records({KEY: hint(next_try=next_try)}))
    assert isinstance(sent.outcome, Delivered)
    assert sent.records.hints == {}, "a success ends it"


@pytest.mark.parametrize("after_cutoff, is_newer", [(True, True), (True, False), (False, True), (False, False)])
def test_a_host_that_failed_for_too_long(after_cutoff: bool, is_newer: bool) -> None:
    """Exim: delay_after_cutoff. Without it each message that came after the last try has one of its own."""
    records = Records({KEY: hint(exhausted=True)})
    received_at = NOW - 10 if is_newer else NOW - 6000
    options = {"hosts": HostRules(delay_after_cutoff=after_cutoff)}
    sent = Sent(Server(), records=records, received_at=received_at, options=options)
    outcome = sent.outcome
    if after_cutoff:
        assert isinstance(outcome, Failed)
        words = "all hosts for 'far.test' have been failing for a long time (and retry time not reached)"
        assert (outcome.reason, outcome.told, outcome.host) == (words, words, None)
    elif is_newer:
        assert isinstance(outcome, Delivered)
    else:
        assert isinstance(outcome, Deferred)


def test_each_recipient_hears_of_its_own_domain() -> None:
    sent = Sent(Server(), records=Records({KEY: hint()}), recipients=("bert@far.test", "carl@near.test"))
    words = [each.reason for each in sent.outcomes if isinstance(each, Deferred)]
    assert words == [f"retry time not reached for any host for '{name}.test'" for name in ("far", "near")]


@pytest.mark.parametrize("records, waits", [({KEY: hint()}, True), ({}, False)])
def test_who_only_asks_is_told_without_dialling(records: dict[str, RetryHint], waits: bool) -> None:
    sent = Sent(Server(), records=Records(records))
    (outcome,) = sent.held_back()
    assert isinstance(outcome, Deferred) is waits
    assert sent.servers[0].story == []


def test_without_the_address_in_the_key() -> None:
    options = {"hosts": HostRules(include_address=False)}
    sent = Sent(Server(dial=lost()), options=options)
    sent.outcomes  # noqa: B018 - the delivery runs
    assert list(sent.records.hints) == ["one.test:25"]


def test_one_address_of_a_host_is_left_out() -> None:
    other = RemoteHost(ONE.name, "192.0.2.7", 25)
    sent = Sent(Server(), records=Records({KEY: hint()}), routed=(ONE, other))
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == other


def test_a_queue_of_records_that_is_away_delays_nothing() -> None:
    sent = Sent(Server(), records=Records({KEY: hint()}, trouble=SpoolUnavailable("away")))
    assert isinstance(sent.outcome, Delivered)
    failing = Sent(Server(dial=lost()), records=Records(trouble=SpoolUnavailable("away")))
    assert isinstance(failing.outcome, Deferred)


@pytest.mark.parametrize(
    "server, is_blamed",
    [
        (Server(dial=LinkFailed(ErrorClass.TIMEOUT_CONNECT, "Connection timed out")), True),
        (Server(hello=lost()), True),
        (Server(outcomes=lost()), True),
        (Server(dial=LinkFailed(ErrorClass.NO_NETWORK, "offline")), False),
        (Server(outcomes=lost(possible_duplicate=True)), False),
        (Server(outcomes={"bert@far.test": Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "", ("x",)))}), False),
        (Server(outcomes={"bert@far.test": Failed("no", Reply(550, "", ("x",)))}), False),
        (Server(hello=LinkFailed(ErrorClass.OTHER, "no", Reply(554, "", ("no",)))), True),
        (Server(hello=LinkFailed(ErrorClass.OTHER, "later", Reply(421, "", ("later",)))), True),
    ],
)
def test_whose_failure_it_is(server: Server, is_blamed: bool) -> None:
    sent = Sent(server)
    sent.outcomes  # noqa: B018 - the delivery runs
    assert bool(sent.records.hints) is is_blamed


def test_some_recipients_of_many_are_no_failure_of_the_host() -> None:
    assert blamed_on_host((DOWN, DOWN)) == DOWN
    assert blamed_on_host((DOWN, Delivered())) is None
    assert blamed_on_host(()) is None


# The records themselves


def test_the_name_of_a_record() -> None:
    host = RemoteHost("Mail.Far.Test.", "2001:db8::1", 587)
    assert record_key(host, with_address=True) == "mail.far.test:2001:db8::1:587"
    assert record_key(host, with_address=False) == "mail.far.test:587"


def test_intervals_grow_and_end() -> None:
    rules = parse_rules([(Location("test", 1), "* * F,2h,1h; G,4h,1h,2")])
    records = Records()
    memory = make_memory(records, rules)
    now, gaps = NOW, []
    for _ in range(5):
        run(memory.failed(KEY, DOWN, SENDER, Scope(), now))
        kept = records.hints[KEY]
        gaps.append((kept.next_try - now, kept.exhausted))
        now = kept.next_try
    assert gaps[0] == (3600, False)
    assert gaps[-1][1], "behind the last cutoff"
    assert all(gap > 0 for gap, _ in gaps)
    assert records.hints[KEY].first_failed == NOW


def test_no_rule_no_record() -> None:
    records = Records()
    run(make_memory(records, ()).failed(KEY, DOWN, SENDER, Scope(), NOW))
    assert records.hints == {}


def test_what_was_read_is_read_again_after_a_while() -> None:
    records = Records()
    memory = make_memory(records)
    for time in (0, 10, FRESH - 1):
        assert run(memory.in_force(KEY, NOW + time)) is None
    assert len(records.asked) == 1
    records.hints[KEY] = hint(next_try=NOW + 9000)
    assert run(memory.in_force(KEY, NOW + FRESH)) == records.hints[KEY]


def test_somebody_wants_all_hosts_tried() -> None:
    records = Records({KEY: hint()})
    memory = make_memory(records)
    memory.forgive(NOW)
    assert run(memory.in_force(KEY, NOW)) is None
    run(memory.failed(KEY, DOWN, SENDER, Scope(), NOW + 1))
    assert run(memory.in_force(KEY, NOW + 2)) is not None, "once"


def test_time_in_which_nobody_tried_is_no_failure() -> None:
    """Five days later somebody writes again, or the laptop is opened: that one failure more is not the end."""
    records = Records({})
    memory = make_memory(records)
    run(memory.failed(KEY, DOWN, SENDER, Scope(), NOW))
    later = NOW + 5 * 86400
    run(make_memory(records).failed(KEY, DOWN, SENDER, Scope(), later))
    kept = records.hints[KEY]
    assert (kept.exhausted, kept.last_try - kept.first_failed) == (False, 3600)


@pytest.mark.parametrize(
    "changes, in_force",
    [
        ({}, True),
        ({"first_failed": NOW + 90000, "last_try": NOW + 90000, "next_try": NOW + 93600}, False),
        ({"next_try": NOW + 2 * 86400}, False),
    ],
)
def test_a_clock_that_was_set_back_keeps_no_host_away(changes: dict[str, float], in_force: bool) -> None:
    memory = make_memory(Records({KEY: hint(**changes)}))
    assert (run(memory.in_force(KEY, NOW)) is not None) is in_force


def test_no_wait_is_longer_than_the_operator_lets_it_be() -> None:
    records = Records({})
    memory = HostMemory(records, HOURLY, random.Random(1), longest=60.0)
    run(memory.failed(KEY, DOWN, SENDER, Scope(), NOW))
    assert records.hints[KEY].next_try == NOW + 60
