"""Frozen messages: when they go on by themselves, and what operators are told."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace

import pytest

from delivery.post import HOUR, NOW, make_message, make_recipient
from delivery.reports import text_of
from relay.delivery.frozen import NEVER_RELEASED, FrozenRules, Release, make_freeze_notice, release_of
from relay.delivery.report import ReportSettings
from relay.mail.address import NULL_SENDER, address_from_text
from relay.mail.queue import QueueEntry

SENDER = address_from_text("anna@laptop.test")
ENTRY = QueueEntry("1AAAAA-BBBBBB-CC", SENDER, NOW, 100, True, NOW, (), frozen_at=NOW + HOUR)
BOUNCE = replace(ENTRY, sender=NULL_SENDER)
RULES = FrozenRules(timeout_frozen_after=100 * HOUR, auto_thaw=5 * HOUR, ignore_bounce_errors_after=10 * HOUR)


@pytest.mark.parametrize(
    "entry, hours, release",
    [
        (ENTRY, 5.9, None),
        (ENTRY, 6.1, Release.AUTO_THAW),
        (replace(ENTRY, frozen_at=None), 90, None),
        (replace(ENTRY, frozen_at=None), 100, Release.CANCELLED),
        (ENTRY, 100, Release.CANCELLED),
        (BOUNCE, 9.9, None),
        (BOUNCE, 10, Release.OLD_BOUNCE),
        (BOUNCE, 100, Release.CANCELLED),
    ],
)
def test_when_a_message_goes_on(entry: QueueEntry, hours: float, release: Release | None) -> None:
    assert release_of(entry, NOW + hours * HOUR, RULES) is release


def test_without_options_a_message_stays() -> None:
    assert release_of(ENTRY, NOW + 10_000 * HOUR, FrozenRules()) is None
    assert release_of(BOUNCE, NOW + 10_000 * HOUR, NEVER_RELEASED) is None
    assert release_of(BOUNCE, NOW + 70 * 24 * HOUR, FrozenRules()) is Release.OLD_BOUNCE


def test_operators_are_told() -> None:
    row = replace(make_recipient("bert@far.test"), last_error="odd\r\nthing")
    to = (address_from_text("post@example.org"), address_from_text("root@example.org"))
    settings = ReportSettings("relay.test", "example.org")
    report = make_freeze_notice(make_message(row), "host lookup", to, settings, "1ZZZZZ-YYYYYY-XX", NOW)
    assert [str(each.address) for each in report.message.recipients] == ["post@example.org", "root@example.org"]
    assert report.message.sender.is_null
    notice = email.message_from_bytes(report.message.header + b"\r\n" + report.body, policy=email.policy.default)
    assert not notice.defects
    assert (notice["Subject"], notice["To"]) == ("Message frozen", "post@example.org, root@example.org")
    text = text_of(notice)  # type: ignore[arg-type]
    assert "Message 1AAAAA-BBBBBB-CC has been frozen (host lookup).\nThe sender is <anna@laptop.test>." in text
    assert "  bert@far.test: odd\\r\\nthing\n" in text
