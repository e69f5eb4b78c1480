"""`relay queue check`: damage is told, and set aside where that is wished, beside others who have the queue open."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli import main, queue_check
from relay.cli.faults import Fault
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Fault as Damage
from relay.spool.store import Finding, Mended
from spool.samples import NOW, do, message, rows, write


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "fingerpost.conf"
    path.write_text(f"primary_hostname = a.example\nspool_directory = {tmp_path}\nqueue = sqlite:{tmp_path}/spool\n")
    return path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Another process that has the queue open."""
    store = SQLiteStore(tmp_path / "spool")
    store.open(NOW)
    for name in ("bad", "good"):
        do(store, lambda queue: queue.accept_message(message(name, due=NOW, body_size=1), 0, b"x"))  # noqa: B023
    do(store, lambda queue: queue.accept_message(message("theirs"), 0, b""))
    yield store
    store.close_reading()
    store.close()


def check(configuration: Path, *more: str) -> int:
    return main.main(["queue", "check", "-C", str(configuration), *more])


def test_nothing_is_changed_without_being_asked(
    configuration: Path, daemon: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    write(daemon, "DELETE FROM recipient WHERE message_id = 'bad'")
    for _ in range(2):
        assert check(configuration) == 1
        assert capsys.readouterr().out == "bad: has no recipients\n3 messages, 1 finding\n"


def test_a_queue_in_order_needs_no_repair(
    configuration: Path, daemon: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(configuration, "--repair") == 0
    assert capsys.readouterr().out == "3 messages, no findings\n"


def test_a_repair_sets_bad_rows_aside(
    configuration: Path, daemon: SQLiteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_check, "AT_ONCE", 1)
    write(daemon, "DELETE FROM recipient WHERE message_id IN ('bad', 'good')")
    write(daemon, "INSERT INTO chunk (message_id, number, data) VALUES ('gone', 0, 'x')")
    assert check(configuration, "--repair") == 0
    assert capsys.readouterr().out.splitlines() == [
        "gone: is gone, and pieces of its body are there (1 of them)",
        "bad: has no recipients",
        "3 messages, 2 findings",
        "gone: moved into the table `aside`",
        "bad: frozen, nothing of it was deleted",
        "good: frozen, nothing of it was deleted",
        "after the repair: no findings",
    ]
    assert (rows(daemon, "message"), rows(daemon, "aside"), rows(daemon, "owner")) == (3, 1, 1)
    assert check(configuration) == 0


def test_what_another_process_has_is_left(
    configuration: Path, daemon: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    write(daemon, "UPDATE message SET facts = '{' WHERE message_id IN ('bad', 'theirs')")
    assert check(configuration, "--repair", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["messages"] == 3
    assert [each["outcome"] for each in told["repaired"]] == [Mended.SET_ASIDE.value, Mended.LEFT.value]
    assert told["left"] == told["findings"][1:]
    assert told["left"][0].startswith("theirs: ")


def test_a_damaged_database_is_not_written_to(daemon: SQLiteStore) -> None:
    write(daemon, "DELETE FROM recipient WHERE message_id = 'bad'")
    findings = daemon.check(10)
    with pytest.raises(Fault, match="nothing was changed"):
        queue_check.repair(daemon, (Finding(Damage.DATABASE, "", "page 7"), *findings), lambda: NOW)
    assert daemon.check(10) == findings
