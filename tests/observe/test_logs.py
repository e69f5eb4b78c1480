"""The logs as files have them: time, process, message, text."""

import re
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observe import happenings as here
from relay.mail import events
from relay.observe.line import Log
from relay.observe.logs import MainLog, Stamp
from relay.observe.selectors import parse_selector


@dataclass
class Sheet:
    """A sink that keeps what was written."""

    lines: list[tuple[Log, bytes]] = field(default_factory=list)
    reopened: int = 0

    def write(self, log: Log, line: bytes, now: float) -> None:
        self.lines.append((log, line))

    def reopen(self) -> None:
        self.reopened += 1


@dataclass
class SetClock:
    time: float = here.NOW

    def now(self) -> float:
        return self.time


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def logged(event: events.Event, selectors: str = "", **options: object) -> list[tuple[Log, str]]:
    sheet = Sheet()
    MainLog(sheet, SetClock(), parse_selector(selectors), process_id=lambda: 42, **options).record(event)
    return [(log, line.decode("ascii")) for log, line in sheet.lines]


def test_a_line_with_its_time_and_message() -> None:
    ((log, line),) = logged(events.Completed(here.ID))
    assert (log, line) == (Log.MAIN, "2026-11-21 11:00:00 1xUfyz-0002Cc-2k Completed\n")


def test_the_header_of_a_refused_message_stands_in_the_reject_log_alone() -> None:
    message = events.RefusedMessage((), ("To: b@c",))
    (_, main), (log, rejected) = logged(events.CommandRejected(here.PLAIN, "after DATA", "no", message=message))
    assert log is Log.REJECT
    assert rejected == f"{main}Envelope-from: <>\nT To: b@c\n"


def test_a_line_without_a_message() -> None:
    assert logged(events.DaemonNote("started")) == [(Log.MAIN, "2026-11-21 11:00:00 started\n")]


def test_process_milliseconds_and_zone() -> None:
    ((_, line),) = logged(events.Completed(here.ID), "+pid +millisec", zone=True)
    assert line == "2026-11-21 11:00:00.000 +0100 [42] 1xUfyz-0002Cc-2k Completed\n"


def test_a_rejection_is_in_two_logs_and_once_on_a_stream() -> None:
    assert [log for log, _ in logged(here.REJECTED)] == [Log.MAIN, Log.REJECT]
    assert [log for log, _ in logged(here.REJECTED, one_stream=True)] == [Log.MAIN]
    assert [log for log, _ in logged(here.REJECTED, rejects=False)] == [Log.MAIN]


def test_the_stamp_follows_the_clock() -> None:
    stamp = Stamp(millisec=True)
    assert stamp.at(here.NOW + 0.25) == "2026-11-21 11:00:00.250"
    assert stamp.at(here.NOW + 0.999) == "2026-11-21 11:00:00.999"
    assert stamp.at(here.NOW + 1) == "2026-11-21 11:00:01.000"
    assert stamp.at(here.NOW - 1) == "2026-11-21 10:59:59.000"


def test_reopening_goes_to_the_files() -> None:
    sheet = Sheet()
    MainLog(sheet, SetClock()).reopen()
    assert sheet.reopened == 1


@pytest.mark.parametrize("event", here.ALL, ids=lambda event: type(event).__name__)
def test_every_line_has_one_end(event: events.Event) -> None:
    for _, line in logged(event, "+all -millisec -pid"):
        assert re.fullmatch(r"2026-11-21 11:00:00 [ -~]+\n", line)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_text_of_our_own_is_one_line_too(text: str) -> None:
    ((_, line),) = logged(events.DaemonNote(text))
    assert line.count("\n") == 1
