"""What a daemon leaves for others to find."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from relay.cli.handover import is_set_up_otherwise
from relay.daemon.plan import Plan
from relay.daemon.traces import record_start, record_stop, remove_started, write_started
from relay.daemon.wishes import Wishes
from relay.mail.events import DaemonNote, Event
from relay.mail.source import Location, Problem


@dataclass
class Notebook:
    events: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)


def plan(
    path: str = "/etc/conf", wishes: Wishes | None = None, warnings: tuple[Problem, ...] = (), **macros: str
) -> Plan:
    return Plan(cast(Any, None), path, macros, wishes or Wishes(), warnings)


@pytest.mark.parametrize(
    ("wishes", "start", "runs"),
    [
        (Wishes(), "fingerpost ", "no queue runs"),
        (Wishes(program="relay-sendmail", queue_interval=7), "fingerpost ", "-q7s"),
        (Wishes(program="exim", queue_interval=1800), "exim 4.", "-q30m"),
    ],
)
def test_the_first_line(wishes: Wishes, start: str, runs: str) -> None:
    book = Notebook()
    record_start(book, plan(wishes=wishes), "listening for SMTP on port 25 (IPv4)")
    (note,) = book.events
    assert isinstance(note, DaemonNote)
    assert note.selector == ""
    assert note.text.startswith(start)
    assert note.text.endswith(f" daemon started: pid={os.getpid()}, {runs}, listening for SMTP on port 25 (IPv4)")


def test_notes_on_the_configuration_and_the_end_are_ours() -> None:
    book = Notebook()
    record_start(book, plan(warnings=(Problem(Location("conf", 3), "acts on nothing", "take it out"),)), "there")
    record_stop(book)
    _, note, end = book.events
    assert note == DaemonNote("conf:3: acts on nothing (take it out)", "configuration_notes")
    assert isinstance(end, DaemonNote)
    assert end.selector == "daemon_stop"


def test_what_a_daemon_was_started_with(tmp_path: Path) -> None:
    spool = str(tmp_path)
    assert not is_set_up_otherwise(spool, "/etc/conf", {})
    write_started(spool, plan(A="1", B="x=y"))
    assert not is_set_up_otherwise(spool, "/etc/conf", {"B": "x=y", "A": "1"})
    for path, macros in (("/etc/other", {"A": "1", "B": "x=y"}), ("/etc/conf", {"A": "1"}), ("/etc/conf", {})):
        assert is_set_up_otherwise(spool, path, macros)
    (started,) = tmp_path.iterdir()
    assert started.stat().st_mode & 0o777 == 0o600
    remove_started(spool)
    remove_started(spool)
    assert list(tmp_path.iterdir()) == []
