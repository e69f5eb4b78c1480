"""Log lines as who watches sees them."""

from dataclasses import replace

import pytest

from observe import happenings as here
from relay.mail import events
from relay.observe.selectors import parse_selector
from relay.observe.watching import Watching, show


def seen(event: events.Event, selectors: str = "") -> list[str]:
    told: list[str] = []
    Watching(told.append, parse_selector(selectors)).record(event)
    return told


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (events.Completed(here.ID), "LOG: MAIN\n  Completed"),
        (events.Trouble("disk full"), "LOG: MAIN PANIC\n  disk full"),
        (
            events.CommandRejected(here.LOCAL, "RCPT <a@b>", "no", here.ANNE),
            "LOG: MAIN REJECT\n  U=anne F=<anne@example.org> rejected RCPT <a@b>: no",
        ),
        (events.ConnectionOpened(here.LOCAL, 0), "LOG: smtp_connection MAIN\n  SMTP connection from anne"),
        (
            events.ConnectionClosed(here.LOCAL, "by QUIT"),
            "LOG: smtp_connection MAIN\n  SMTP connection from anne D=0s closed by QUIT",
        ),
        (
            events.ConnectionClosed(here.LOCAL, "lost", cut=events.DataCut("header")),
            "LOG: lost_incoming_connection MAIN\n  SMTP connection from anne lost while reading message data (header)",
        ),
        (
            events.MessageNote(here.ID, events.QUEUED_BY_ACL),
            "LOG: delay_delivery MAIN\n  no immediate delivery: queued by ACL",
        ),
    ],
)
def test_a_line_with_its_logs_and_its_selector(event: events.Event, text: str) -> None:
    assert seen(event) == [text]


def test_fields_are_those_of_the_log() -> None:
    subject = replace(here.ARRIVED, subject="Hello")
    assert "T=" not in seen(subject)[0]
    assert ' T="Hello"' in seen(subject, "+subject")[0]


def test_a_note_of_more_lines() -> None:
    note = events.DaemonNote("x", "daemon_stop", "y")
    assert seen(note, "+fingerpost") == ["LOG: daemon_stop MAIN\n  x\n y"]


def test_what_has_no_line_is_not_told() -> None:
    assert seen(events.TLSEnded(here.PLAIN)) == []


def test_the_text_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show("one\ntwo")
    assert capsys.readouterr().err == "one\ntwo\n"
