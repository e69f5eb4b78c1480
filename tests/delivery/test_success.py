"""Reports of success: for whom, and what they promise."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.post import NOW, make_message, make_recipient
from delivery.reports import blocks, parts, read, words
from relay.delivery.report import Action, ReportSettings
from relay.delivery.settle import Result
from relay.delivery.success import make_success_report, to_confirm
from relay.mail.outcome import Deferred, Delivered, Failed, Outcome, RemoteHost

HUB = RemoteHost("hub.test", "192.0.2.7", 25)
HERE = Delivered("/box/new/1")
THERE = Delivered("250 OK", HUB)


def asked(notify: str | None, outcome: Outcome, **result: Any) -> Result:
    row = make_recipient(
        "bert@far.test", parameters={"ORCPT": "rfc822;b@old.test", **({"NOTIFY": notify} if notify else {})}
    )
    return Result(row, outcome, "r", "t", **result)


@pytest.mark.parametrize(
    "notify, outcome, action",
    [
        ("SUCCESS", HERE, Action.DELIVERED),
        ("FAILURE,SUCCESS", THERE, Action.DELIVERED),
        ("SUCCESS", Delivered("250 OK", HUB, passes_dsn=True), None),
        ("SUCCESS", Deferred("busy"), None),
        ("SUCCESS", Failed("no"), None),
        ("FAILURE", HERE, None),
        ("NEVER", HERE, None),
        (None, HERE, None),
    ],
)
def test_what_is_confirmed(notify: str | None, outcome: Outcome, action: Action | None) -> None:
    told = to_confirm(make_message(), [asked(notify, outcome)])
    assert [each.action for each in told] == ([action] if action else [])


def test_the_null_sender_is_told_nothing() -> None:
    assert to_confirm(make_message(sender=""), [asked("SUCCESS", HERE)]) == ()


def test_one_delivery_is_confirmed_once() -> None:
    assert to_confirm(make_message(), [asked("SUCCESS", HERE, is_echo=True)]) == ()


def test_the_report() -> None:
    message = make_message(parameters={"ENVID": "QQ314159", "RET": "FULL"})
    told = to_confirm(message, [asked("SUCCESS", HERE), asked("SUCCESS", THERE)])
    report = make_success_report(message, told, ReportSettings("relay.test", "example.org"), "1ZZZZZ-YYYYYY-XX", NOW)
    assert report.message.sender.is_null
    assert [str(each.address) for each in report.message.recipients] == ["anna@laptop.test"]
    assert read(report)["Auto-Submitted"] == "auto-generated"
    assert read(report)["Subject"] == "Delivery Status Notification"
    human, machine, original = parts(report)
    assert 'bert@far.test> (relayed via non "Remote SMTP" router)' in words(human)
    assert "bert@far.test> (relayed to non-DSN-aware mailer)" in words(human)
    about, second, first = blocks(machine)
    assert about["Original-Envelope-Id"] == "QQ314159"
    assert (first["Action"], first["Status"], first["Original-Recipient"]) == (
        "delivered",
        "2.0.0",
        "rfc822;b@old.test",
    )
    assert (second["Action"], second["Remote-MTA"]) == ("delivered", "dns; hub.test")
    assert second["Diagnostic-Code"] == "smtp; 250 Ok"
    assert first["Diagnostic-Code"] == "X-Exim; relayed via non SMTP router"
    assert original.get_content_type() == "text/rfc822-headers"
