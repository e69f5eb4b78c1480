"""Notices about delays: when they are due, who gets them, and what they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.post import HOUR, NOW, make_message, make_recipient
from delivery.reports import blocks, parts, read, text_of, words
from relay.delivery.delay import due_warning, in_words, make_delay_notice, to_warn
from relay.delivery.report import Report, ReportSettings, Wording
from relay.delivery.settle import Result, Waiting
from relay.mail.address import NULL_SENDER, address_from_text
from relay.mail.outcome import Deferred, ErrorClass, RemoteHost
from relay.mail.queue import QueuedMessage
from relay.mail.reply import Reply

SETTINGS = ReportSettings("relay.test", "example.org")
HUB = RemoteHost("hub.test", "192.0.2.7", 25)
BUSY = Deferred("busy", ErrorClass.RCPT_4XX, Reply(450, "4.2.1", ("busy",)), HUB)
NO_TLS = Deferred("a TLS session is required, but the server did not offer TLS", ErrorClass.TLS_REQUIRED, host=HUB)


def waiting(deferred: Deferred = BUSY, recipient: Any = "bert@far.test", **result: Any) -> Waiting:
    row = make_recipient(recipient) if isinstance(recipient, str) else recipient
    return Waiting(Result(row, deferred, "r", "t", **result), deferred, NOW + 72 * HOUR)


def notice_of(message: QueuedMessage, *late: Waiting, delay: float = 24 * HOUR, **more: Any) -> Report:
    return make_delay_notice(
        message,
        late or (waiting(),),
        delay,
        SETTINGS,
        "1ZZZZZ-YYYYYY-XX",
        NOW,
        to=more.pop("to", message.sender),
        **more,
    )


@pytest.mark.parametrize(
    "times, hours, count, delay",
    [
        ((), 1000, 0, 0),
        ((24,), 23.9, 0, 0),
        ((24,), 24, 1, 24),
        ((24,), 47, 1, 24),
        ((24,), 49, 2, 48),
        ((4, 8, 24), 5, 1, 4),
        ((4, 8, 24), 9, 2, 8),
        ((4, 8, 24), 39, 3, 24),
        ((4, 8, 24), 41, 4, 40),
        ((4, 8, 24), 57, 5, 56),
    ],
)
def test_when_a_warning_is_due(times: tuple[float, ...], hours: float, count: int, delay: float) -> None:
    due = due_warning([each * HOUR for each in times], hours * HOUR)
    assert (due.count, due.delay) == (count, delay * HOUR)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True).map(sorted), st.floats(0, 10**8))
def test_there_are_never_fewer_warnings_later(times: list[int], age: float) -> None:
    assert due_warning(times, age).count <= due_warning(times, age + 1000).count
    assert due_warning(times, age).delay <= age


def test_the_delay_in_words() -> None:
    assert [in_words(each) for each in (30 * 60, 119 * 60, 2 * HOUR, 24 * HOUR)] == [
        "30 minutes",
        "119 minutes",
        "2 hours",
        "24 hours",
    ]


def test_the_notice() -> None:
    report = notice_of(make_message())
    assert report.message.sender.is_null
    assert [str(each.address) for each in report.message.recipients] == ["anna@laptop.test"]
    header = read(report)
    assert header["Subject"] == "Warning: message 1AAAAA-BBBBBB-CC delayed 24 hours"
    assert header["Auto-Submitted"] == "auto-replied"
    assert header["References"] == "<one@laptop.test>"
    assert header["X-Failed-Recipients"] is None
    human, machine, original = parts(report)
    text = words(human)
    assert "has not yet been delivered to one or more of its recipients after more than 24 hours on the queue" in text
    assert "The subject of the message is: hello" in text
    assert "The address to which the message has not yet been delivered is: bert@far.test host hub.test" in text
    assert "Delay reason: busy No action is required on your part." in text
    _, block = blocks(machine)
    assert (block["Action"], block["Status"]) == ("delayed", "4.2.1")
    assert block["Remote-MTA"] == "dns; hub.test"
    assert original.get_content_type() == "text/rfc822-headers"


def test_missing_tls_is_told_in_plain_words() -> None:
    human = parts(notice_of(make_message(), waiting(NO_TLS)))[0]
    assert "A private (encrypted) connection to the server hub.test is required" in words(human)


def test_why_a_host_waits_is_for_the_log() -> None:
    held = Deferred("retry time not reached", ErrorClass.TIMEOUT_CONNECT, host=HUB, not_before=NOW, cause="timed out")
    human, machine, _ = parts(notice_of(make_message(), waiting(held)))
    assert "Delay reason" not in words(human)
    assert "Diagnostic-Code" not in blocks(machine)[1]


def test_somebody_else_is_told_whose_message_it_is() -> None:
    report = notice_of(make_message(), to=address_from_text("owner@lists.test"))
    assert "A message sent by <anna@laptop.test> has not yet been delivered" in words(parts(report)[0])


def test_the_operators_words() -> None:
    texts = ("Subject: Slow\n", "It takes its time.\n")
    human = text_of(parts(notice_of(make_message(), wording=Wording(texts=texts)))[0])
    assert human.startswith("It takes its time.\n\n  bert@far.test\n")
    assert "No action" not in human
    human = text_of(parts(notice_of(make_message(), wording=Wording(texts=(*texts, "Wait.\n"))))[0])
    assert human.endswith("\n\nWait.\n")


@pytest.mark.parametrize(
    "notify, told", [(None, True), ("DELAY", True), ("SUCCESS,DELAY", True), ("FAILURE", False), ("NEVER", False)]
)
def test_notify_is_obeyed(notify: str | None, told: bool) -> None:
    row = make_recipient("bert@far.test", parameters={} if notify is None else {"NOTIFY": notify})
    assert bool(to_warn(make_message(row), [waiting(recipient=row)])) is told


def test_a_missing_network_is_told_too() -> None:
    offline = waiting(Deferred("offline", ErrorClass.NO_NETWORK))
    assert to_warn(make_message(), [offline]) == {make_message().sender: (offline,)}
    assert "This server had no connection to the network." in words(parts(notice_of(make_message(), offline))[0])


def test_nobody_is_told_of_a_bounce() -> None:
    assert to_warn(make_message(sender=""), [waiting()]) == {}
    assert to_warn(make_message(), [waiting(errors_to=NULL_SENDER)]) == {}


def test_each_is_told_of_what_concerns_them() -> None:
    owner = address_from_text("owner@lists.test")
    mine, theirs = waiting(), waiting(errors_to=owner)
    assert to_warn(make_message(), [mine, theirs]) == {make_message().sender: (mine,), owner: (theirs,)}
