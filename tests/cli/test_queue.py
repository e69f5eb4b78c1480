"""`relay queue list`: what is in the queue, for people and for programs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from relay.cli import main, queue, queue_access
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.facts import MessageFacts, SessionFacts
from relay.mail.queue import NewMessage, QueuedRecipient, QueueEntry, RecipientState
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done

NOW = 1_800_000_000.0


def message(number: int, *recipients: str, frozen: bool = False) -> NewMessage:
    return NewMessage(
        message_id=f"1abcd{number}-000000-00",
        sender=Address("me", "laptop.example"),
        recipients=tuple(Recipient(Address(name, "world.example")) for name in recipients),
        header=b"Subject: x\r\n",
        facts=MessageFacts(SessionFacts(), NOW),
        frozen=frozen,
        due=NOW,
    )


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "fingerpost.conf"
    path.write_text(f"primary_hostname = relay.example\nqueue = sqlite:{tmp_path}/spool\n")
    return path


def fill(directory: Path, *messages: NewMessage) -> None:
    store = SQLiteStore(directory / "spool")
    store.open(NOW)
    for each in messages:
        (result,) = store.run([lambda transaction: transaction.accept_message(each, 0, b"text\r\n")])  # noqa: B023
        assert isinstance(result, Done)
    store.close()


def listing(configuration: Path, *more: str) -> int:
    return main.main(["queue", "list", "-C", str(configuration), *more])


def test_json(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(configuration.parent, message(1, "you", "they"), message(2, "you", frozen=True))
    assert listing(configuration, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["message_id"] == "1abcd1-000000-00"
    assert first["sender"] == "me@laptop.example"
    assert [each["address"] for each in first["recipients"]] == ["you@world.example", "they@world.example"]
    assert (first["frozen"], second["frozen"]) == (False, True)


def test_a_line_for_each_recipient(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(configuration.parent, message(1, "you", "they"))
    assert listing(configuration) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["MESSAGE", "AGE", "SIZE"]
    assert first.startswith("1abcd1-000000-00 ")
    assert first.endswith(" you@world.example")
    assert second.strip() == "they@world.example"


def test_more_than_a_page(
    configuration: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_access, "PAGE", 2)
    fill(configuration.parent, *(message(number, "you") for number in range(5)))
    assert listing(configuration, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 5


def test_an_empty_queue(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(configuration.parent)
    assert listing(configuration) == 0
    assert capsys.readouterr().out == "the queue is empty\n"


def test_no_queue_at_all(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listing(configuration) == 1
    error = capsys.readouterr().err
    assert f"{configuration.parent}/spool/" in error
    assert error.count("\n") == 1


def test_another_engine(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration.write_text("queue = postgresql://me:secret@127.0.0.1:1/queue\n")
    assert listing(configuration) == 1
    error = capsys.readouterr().err
    assert "postgresql://127.0.0.1:1/queue: the database does not answer" in error
    assert "secret" not in error
    assert error.count("\n") == 1


def entry(*recipients: QueuedRecipient, due: float = NOW, frozen: bool = False) -> QueueEntry:
    return QueueEntry("1abcde-000000-00", NULL_SENDER, NOW - 90, 2048, frozen, due, recipients)


def test_only_those_who_wait_are_listed_and_their_trouble_is_escaped() -> None:
    done = QueuedRecipient(0, Recipient(Address("a", "b")), RecipientState.DELIVERED)
    waits = QueuedRecipient(1, Recipient(Address("c", "d")), last_error="451 later\x1b[2J")
    (row,) = queue.as_rows(entry(done, waits, due=NOW + 7200), NOW)
    assert row == ("1abcde-000000-00", "1m", "2.0K", "in 2h", "<>", "c@d", "451 later\x1b[2J")


def test_a_peer_s_text_can_not_move_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    queue.print_table(("A", "B"), [("x", "451 later\x1b[2J\nforged")])
    assert capsys.readouterr().out == "A  B\nx  451 later\\033[2J\\nforged\n"


def test_frozen() -> None:
    (row,) = queue.as_rows(entry(frozen=True), NOW)
    assert row[3] == "frozen"


@pytest.mark.parametrize(
    "seconds, shown", [(-5, "0s"), (59.9, "59s"), (60, "1m"), (3600, "1h"), (200000, "55h"), (300000, "3d")]
)
def test_spans(seconds: float, shown: str) -> None:
    assert queue.span(seconds) == shown


@pytest.mark.parametrize(
    "octets, shown", [(0, "0"), (1023, "1023"), (1024, "1.0K"), (20000, "19K"), (3_000_000, "2.9M")]
)
def test_sizes(octets: int, shown: str) -> None:
    assert queue.size(octets) == shown


def test_the_first_page_of_a_long_queue_is_bounded_work(
    configuration: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(configuration.parent / "spool")
    store.open(NOW)
    ids = [f"1abcde-{number:011d}-0000" for number in range(10_000)]
    for start in range(0, len(ids), 1000):
        messages = [replace(message(1, "you"), message_id=each) for each in ids[start : start + 1000]]
        store.run([lambda queue, each=each: queue.accept_message(each, 0, b"x") for each in messages])
    store.close()
    statements, rows = 0, 0
    executor = SQLiteStore._executor

    def counting(store: SQLiteStore, connection: object) -> Callable[..., list[tuple[object, ...]]]:
        execute = executor(store, connection)  # type: ignore[arg-type]

        def counted(statement: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
            nonlocal statements, rows
            found = execute(statement, parameters)
            statements, rows = statements + 1, rows + len(found)
            return found

        return counted

    monkeypatch.setattr(SQLiteStore, "_executor", counting)
    assert listing(configuration, "--json", "--limit", "20") == 0
    printed = capsys.readouterr()
    assert [each["message_id"] for each in json.loads(printed.out)] == ids[:20]
    assert printed.err == f"relay: there are more; go on with --after {ids[19]}\n"
    assert statements < 60
    assert rows < 60
    assert listing(configuration, "--json", "--limit", "2", "--after", ids[-3]) == 0
    assert [each["message_id"] for each in json.loads(capsys.readouterr().out)] == ids[-2:]


@pytest.mark.parametrize(
    "words, numbers",
    [
        (["--sender", "LAPTOP"], [1, 2]),
        (["--sender", "nobody"], []),
        (["--recipient", "they"], [1]),
        (["--domain", "world.example"], [1, 2]),
        (["--frozen"], [2]),
        (["--older-than", "1s"], [1, 2]),
        (["--older-than", "100w"], []),
        (["--host", "mx"], []),
    ],
)
def test_a_listing_is_narrowed(
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    numbers: list[int],
) -> None:
    monkeypatch.setattr(queue.time, "time", lambda: NOW + 60)
    fill(configuration.parent, message(1, "you", "they"), message(2, "you", frozen=True))
    assert listing(configuration, "--json", *words) == 0
    found = [each["message_id"] for each in json.loads(capsys.readouterr().out)]
    assert found == [f"1abcd{number}-000000-00" for number in numbers]


def test_a_time_that_is_none_is_a_fault_of_the_command_line(configuration: Path, capsys) -> None:
    assert listing(configuration, "--older-than", "soon") == 2
    assert "'soon' is no time" in capsys.readouterr().err
