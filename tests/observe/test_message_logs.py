"""The log of one message: when it has a file, what stands there, and who can't turn it elsewhere."""

import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from observe import happenings as here
from relay.mail import events
from relay.mail.address import Address
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed
from relay.observe.message_logs import MessageLogs

STAMP = "2026-11-21 10:00:00"
LOCAL = events.Arrived(here.ID, here.ANNE, here.LOCAL, 10)
LATE = events.AddressDeferred(here.ID, here.BOB, "smart", "smtp", Deferred("busy", ErrorClass.OTHER))
WAITED_FOR = replace(LATE, outcome=Deferred("retry time not reached", ErrorClass.OTHER, not_before=here.NOW + 60))
DONE = events.Completed(here.ID)


class SetClock:
    def now(self) -> float:
        return here.NOW


@pytest.fixture(autouse=True)
def in_greenwich(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def logs(tmp_path: Path, complaints: list[str]) -> MessageLogs:
    return MessageLogs(str(tmp_path), SetClock(), complain=complaints.append)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "msglog" / here.ID


def record(logs: MessageLogs, *happened: events.Event) -> None:
    for event in happened:
        logs.record(event)


def test_a_message_that_is_delivered_at_once_costs_nothing(
    logs: MessageLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("a file was opened"))
    record(logs, LOCAL, here.DELIVERED, here.FAILED, DONE)
    logs.close()
    assert list(tmp_path.iterdir()) == []


def test_what_happened_before_something_was_left_over_is_there_too(logs: MessageLogs, own: Path) -> None:
    record(logs, LOCAL, here.DELIVERED, LATE, here.FAILED)
    assert own.read_text().splitlines() == [
        f"{STAMP} Received from anne@example.org U=anne P=local S=10",
        f"{STAMP} bob@there.example: smtp transport succeeded",
        f"{STAMP} bob@there.example R=smart T=smtp defer (-1): busy",
        f"{STAMP} bob@there.example R=smart T=smtp : Unrouteable address",
    ]
    # The umask may take more away.
    assert stat.S_IMODE(own.stat().st_mode) & ~0o640 == 0


def test_a_message_that_waits_from_the_start_has_its_log_at_once(logs: MessageLogs, own: Path) -> None:
    queued = events.MessageNote(here.ID, events.QUEUED_BY_ACL, in_message_log=True)
    record(logs, replace(LOCAL, waits=True), queued, events.MessageNote(here.ID, "frozen by root"))
    assert [line[20:] for line in own.read_text().splitlines()] == [
        "Received from anne@example.org U=anne P=local S=10",
        "no immediate delivery: queued by ACL",
    ]


def test_the_log_goes_with_its_message(logs: MessageLogs, own: Path) -> None:
    record(logs, LOCAL, LATE)
    assert own.exists()
    record(logs, here.DELIVERED, DONE)
    assert not own.exists()


def test_another_process_goes_on_with_the_file_and_begins_none_for_a_delivery(
    logs: MessageLogs, own: Path, tmp_path: Path
) -> None:
    other = MessageLogs(str(tmp_path), SetClock())
    record(other, here.DELIVERED)
    assert not own.exists()
    record(logs, LOCAL, LATE)
    record(other, here.DELIVERED)
    assert own.read_text().endswith(f"{STAMP} bob@there.example: smtp transport succeeded\n")
    record(other, DONE)
    assert not own.exists()


def test_a_host_that_is_waited_for_is_told_at_the_first_attempt_alone(logs: MessageLogs, own: Path) -> None:
    record(logs, LOCAL, WAITED_FOR, replace(WAITED_FOR, is_first_attempt=False))
    assert own.read_text().count("retry time not reached") == 1


def test_what_is_held_is_written_at_the_end_of_the_process(logs: MessageLogs, own: Path) -> None:
    record(logs, LOCAL)
    assert not own.exists()
    logs.close()
    assert own.exists()


def test_a_kept_log_moves_also_where_the_message_never_waited(tmp_path: Path) -> None:
    logs = MessageLogs(str(tmp_path), SetClock(), preserve=True)
    record(logs, LOCAL, here.DELIVERED, DONE)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.glob("*/*"))] == [f"msglog.OLD/{here.ID}"]


def test_frozen_stands_there_without_a_time(logs: MessageLogs, own: Path) -> None:
    record(logs, LOCAL, events.Frozen(here.ID, "delivery error message"))
    assert own.read_text().splitlines()[1] == "*** Frozen (delivery error message)"


def test_an_address_that_nothing_was_found_for_says_so_and_the_end_of_a_wait_does_not(
    logs: MessageLogs, own: Path
) -> None:
    unrouted = events.AddressFailed(here.ID, here.BOB, "", "", Failed("Unrouteable address"))
    expired = replace(unrouted, outcome=Failed("late", is_expired=True))
    record(logs, LOCAL, LATE, unrouted, expired)
    assert own.read_text().splitlines()[2:] == [
        f"{STAMP} routing failed for bob@there.example : Unrouteable address"
    ]


@pytest.mark.parametrize(
    ("shown", "original", "words"),
    [
        ("bob", None, "bob@there.example"),
        ("", Address("all", "there.example"), "bob@there.example <all@there.example>"),
        ("/var/mail/x", None, "/var/mail/x <bob@there.example>"),
        ("|/bin/x y", Address("all", "there.example"), "|/bin/x y <all@there.example>"),
    ],
)
def test_a_delivery_names_the_whole_address(
    logs: MessageLogs, own: Path, shown: str, original: Address | None, words: str
) -> None:
    named = events.AddressNames(shown, original)
    delivered = events.AddressDelivered(here.ID, here.BOB, "local", "mailbox", Delivered(""), named=named)
    record(logs, LOCAL, LATE, delivered)
    assert own.read_text().splitlines()[2] == f"{STAMP} {words}: mailbox transport succeeded"


def test_a_copy_of_an_address_names_it_twice(logs: MessageLogs, own: Path) -> None:
    named = events.AddressNames("bob", has_parent=True)
    delivered = events.AddressDelivered(here.ID, here.BOB, "local", "mailbox", Delivered(""), named=named)
    record(logs, LOCAL, LATE, delivered)
    assert f"{STAMP} bob@there.example <bob@there.example>: mailbox transport succeeded" in own.read_text()


def _symbolic(own: Path, elsewhere: Path) -> None:
    own.parent.mkdir()
    own.symlink_to(elsewhere)


def _hard(own: Path, elsewhere: Path) -> None:
    own.parent.mkdir()
    own.hardlink_to(elsewhere)


def _folder(own: Path, elsewhere: Path) -> None:
    (elsewhere.parent / "folder").mkdir()
    own.parent.symlink_to(elsewhere.parent / "folder")


@pytest.mark.parametrize("link", [_symbolic, _hard, _folder])
def test_no_link_is_followed(
    link: object, logs: MessageLogs, own: Path, tmp_path: Path, complaints: list[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("as it was")
    assert callable(link)
    link(own, elsewhere)
    record(logs, LOCAL, LATE, here.DELIVERED)
    assert elsewhere.read_text() == "as it was"
    assert not (tmp_path / "folder" / here.ID).exists()
    assert len(complaints) == 1, "said once"


def test_a_folder_that_can_not_be_made_disturbs_nobody(own: Path, tmp_path: Path, complaints: list[str]) -> None:
    logs = MessageLogs(str(tmp_path / "gone"), SetClock(), complain=complaints.append)
    record(logs, LOCAL, LATE, here.DELIVERED, DONE)
    assert len(complaints) == 1
    assert here.ID in complaints[0]


def test_what_is_held_is_bounded_in_messages_and_in_events(logs: MessageLogs, own: Path, tmp_path: Path) -> None:
    for number in range(1001):
        logs.record(replace(LOCAL, message_id=f"1xUfyz-{number:06d}-2k"))
    assert [path.name for path in (tmp_path / "msglog").iterdir()] == ["1xUfyz-000000-2k"]
    record(logs, LOCAL, *[here.DELIVERED] * 200)
    assert own.read_text().count("succeeded") == 200
