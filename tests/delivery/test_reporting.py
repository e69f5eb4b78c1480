"""Which reports follow from an attempt, and what the operator's options make of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from delivery.post import BODY, HOUR, NOW, Notebook, Pieces, make_message, make_recipient, run
from delivery.reports import parts, read, text_of
from relay.delivery.report import Report, ReportSettings
from relay.delivery.reporting import Reporting, ReportRules, Reports
from relay.delivery.scopes import message_scope
from relay.delivery.settle import Result, judge
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import FileStatus, Scope
from relay.mail.address import address_from_text
from relay.mail.events import Trouble
from relay.mail.facts import LocalCaller, MessageFacts, SessionFacts
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome
from relay.mail.queue import QueuedMessage
from relay.mail.source import Location
from relay.policy.error_copies import parse_error_copies
from relay.policy.retry import Fixed

SETTINGS = ReportSettings("relay.test", "example.org")
REFUSED, SENT, BUSY = Failed("no"), Delivered("/box/new/1"), Deferred("busy", ErrorClass.RCPT_4XX)
DAY = 24 * HOUR
USUAL_CONDITION = (
    "${if or {{!eq{$h_list-id:$h_list-post:$h_list-subscribe:}{}}{match{$h_precedence:}{(?i)bulk|list|junk}}"
    "{match{$h_auto-submitted:}{(?i)auto-generated|auto-replied}}}{no}{yes}}"
)


class Files:
    """The operator's files."""

    def __init__(self, known: dict[str, bytes]) -> None:
        self._known = known

    async def status(self, path: str) -> FileStatus:
        raise AssertionError("nobody is to ask")

    async def contents(self, path: str, limit: int) -> bytes:
        if path not in self._known:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._known[path][:limit]


class Office:
    """All that reports are made from."""

    def __init__(self, files: dict[str, bytes] | None = None, **rules: Any) -> None:
        self.notebook = Notebook()
        self.rules = ReportRules(settings=SETTINGS, **rules)
        self.files = Files(files or {})

    def reports(self, message: QueuedMessage, *outcomes: Outcome, freeze: bool = False) -> Reports:
        results = [
            Result(row, outcome, "r", "t", (Fixed(9 * DAY, 60.0),), freeze=freeze)
            for row, outcome in zip(message.recipients, outcomes, strict=True)
        ]
        source = random.Random(1)
        scope = message_scope(message, Scope(file_system=self.files), NOW)
        reporting = Reporting(message, Pieces(BODY), scope, self.rules, self.notebook, source, NOW)
        return run(reporting.reports(judge(message, results, NOW, source), results))

    def only(self, message: QueuedMessage, *outcomes: Outcome) -> Report:
        (report,) = self.reports(message, *outcomes).reports
        return report

    @property
    def troubles(self) -> list[str]:
        return [each.text for each in self.notebook.of(Trouble)]


def aged(message: QueuedMessage, age: float, **more: Any) -> QueuedMessage:
    return replace(message, facts=MessageFacts(SessionFacts(), NOW - age), **more)


def subjects(found: Reports) -> list[str]:
    return [str(read(each)["Subject"]) for each in found.reports]


def test_each_kind_has_its_own_report() -> None:
    rows = [
        make_recipient(f"{name}@far.test", n, parameters={"NOTIFY": "SUCCESS,FAILURE,DELAY"})
        for n, name in enumerate("abc")
    ]
    found = Office(delay_warning=(DAY,)).reports(aged(make_message(*rows), DAY), SENT, REFUSED, BUSY)
    assert subjects(found) == [
        "Delivery Status Notification",
        "Mail delivery failed: returning message to sender",
        "Warning: message 1AAAAA-BBBBBB-CC delayed 24 hours",
    ]
    assert found.warnings == 1
    assert len({each.message.message_id for each in found.reports}) == 3


@pytest.mark.parametrize(
    "age, had, count", [(DAY - 1, 0, None), (DAY, 0, 1), (DAY, 1, None), (2 * DAY, 1, 2), (9 * DAY, 0, 9)]
)
def test_a_warning_for_each_time(age: float, had: int, count: int | None) -> None:
    found = Office(delay_warning=(DAY,)).reports(aged(make_message(), age, warnings=had), BUSY)
    assert found.warnings == count
    assert len(found.reports) == (0 if count is None else 1)


@pytest.mark.parametrize(
    "header, warned",
    [
        (b"Subject: a\r\n", True),
        (b"Precedence: bulk\r\n", False),
        (b"List-Id: <a.test>\r\n", False),
        (b"Auto-Submitted: auto-replied\r\n", False),
    ],
)
def test_senders_that_are_no_people_are_not_warned(header: bytes, warned: bool) -> None:
    office = Office(delay_warning=(DAY,), delay_warning_condition=compile_expansion(USUAL_CONDITION))
    found = office.reports(aged(make_message(header=header), DAY), BUSY)
    assert bool(found.reports) is warned
    assert (found.warnings == 1) is warned


def test_a_condition_that_can_not_be_told_waits_for_the_next_attempt() -> None:
    office = Office(delay_warning=(DAY,), delay_warning_condition=compile_expansion("${if >{a}{b}{yes}}"))
    assert office.reports(aged(make_message(), DAY), BUSY) == Reports()
    assert office.troubles[0].startswith("delay_warning_condition: ")


def test_nobody_is_warned_of_a_bounce_or_of_a_message_that_is_held() -> None:
    office = Office(delay_warning=(DAY,))
    assert office.reports(aged(make_message(sender=""), DAY), BUSY) == Reports()
    assert office.reports(aged(make_message(), DAY), BUSY, freeze=True) == Reports()


def test_who_is_told_of_a_frozen_message() -> None:
    office = Office(freeze_tell=(address_from_text("post@example.org"),))
    assert subjects(office.reports(make_message(), BUSY, freeze=True)) == ["Message frozen"]
    assert subjects(office.reports(make_message(sender=""), REFUSED)) == ["Message frozen"]
    ours = replace(make_message(sender=""), facts=MessageFacts(SessionFacts(caller=SETTINGS.caller), NOW))
    assert office.reports(ours, REFUSED) == Reports()
    somebodys = replace(ours, facts=MessageFacts(SessionFacts(caller=LocalCaller("anna", 1, 1, trusted=False)), NOW))
    assert len(office.reports(somebodys, REFUSED).reports) == 1


def test_the_sender_of_reports() -> None:
    office = Office(dsn_from=compile_expansion("Post <post@${lc:EXAMPLE.org}>"))
    assert read(office.only(make_message(), REFUSED))["From"] == "Post <post@example.org>"
    office = Office(dsn_from=compile_expansion("${if >{a}{b}{x}}"))
    assert read(office.only(make_message(), REFUSED))["From"] == "Mail Delivery System <Mailer-Daemon@example.org>"
    assert office.troubles[0].startswith("dsn_from: ")


def test_copies_of_bounces_only() -> None:
    copies = parse_error_copies("*@laptop.test post@$domain", Location("conf", 1))
    office = Office(errors_copy=copies, delay_warning=(DAY,))
    report = office.only(make_message(), REFUSED)
    assert [str(each.address) for each in report.message.recipients] == ["anna@laptop.test", "post@laptop.test"]
    assert len(office.only(aged(make_message(), DAY), BUSY).message.recipients) == 1


def test_the_operators_words() -> None:
    file = b"Subject: For $bounce_recipient\n****\nDear $bounce_recipient\n"
    office = Office({"/etc/bounce": file}, bounce_message_file=compile_expansion("/etc/bounce"))
    report = office.only(make_message(), REFUSED)
    assert read(report)["Subject"] == "For anna@laptop.test"
    assert text_of(parts(report)[0]).startswith("Dear anna@laptop.test\n\n")


def test_the_operators_words_about_delays() -> None:
    file = b"Subject: $warn_message_delay\n****\nDear $warn_message_recipients\n****\nBye\n"
    office = Office({"/w": file}, warn_message_file=compile_expansion("/w"), delay_warning=(DAY,))
    report = office.only(aged(make_message(), DAY), BUSY)
    assert read(report)["Subject"] == "24 hours"
    text = text_of(parts(report)[0])
    assert text.startswith("Dear anna@laptop.test\n\n")
    assert text.endswith("\n\nBye\n")


@pytest.mark.parametrize(
    "path, trouble",
    [
        ("/missing", "bounce_message_file: /missing: No such file or directory"),
        ("bounce", "bounce_message_file is not absolute after expansion: 'bounce'"),
        ("/$sender_address_local_part", "bounce_message_file is not untainted after expansion: '/anna'"),
        ("/broken", "bounce_message_file: /broken: "),
    ],
)
def test_without_its_file_a_report_has_our_words(path: str, trouble: str) -> None:
    office = Office({"/broken": b"Subject: ${oops\n", "/anna": b""}, bounce_message_file=compile_expansion(path))
    report = office.only(make_message(), REFUSED)
    assert read(report)["Subject"] == "Mail delivery failed: returning message to sender"
    assert len(office.troubles) == 1
    assert office.troubles[0].startswith(trouble)
