"""Who may not look or change, and what is said of it; the rest is played with programs (tests/system)."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.cli import main, queue_access, queue_actions
from relay.cli.sendmail import main as sendmail
from relay.daemon.orders import Answer, Order, Outcome
from relay.mail.address import Address
from relay.mail.facts import MessageFacts, SessionFacts
from relay.mail.queue import NewMessage
from relay.spool.sqlite import SQLiteStore

ID = "1aaaaa-aaaaaaaaaaa-0001"
NOW = 1_790_000_000.0


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "fingerpost.conf"
    path.write_text(f"primary_hostname = relay.example\nspool_directory = {tmp_path}/spool\n")
    store = SQLiteStore(tmp_path / "spool" / "queue")
    (tmp_path / "spool").mkdir()
    store.open(NOW)
    new = NewMessage(ID, Address("me", "x.test"), (), b"", MessageFacts(SessionFacts(), NOW), due=NOW)
    store.run([lambda queue: queue.accept_message(new, 0, b"secret\r\n")])
    store.close()
    return path


@pytest.fixture
def stranger(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a queue that is not the caller's."""
    monkeypatch.setattr(queue_access, "may_open_queue", lambda _: False)
    monkeypatch.setattr(queue_actions, "may_open_queue", lambda _: False)
    return configuration


@pytest.mark.parametrize("option", ["-Mf", "-Mt", "-Mrm", "-Mar", "-Mvh", "-Mvb", "-Mvc", "-Mvl"])
def test_a_stranger_is_denied_what_exim_denies(stranger: Path, capsys, option: str) -> None:
    assert sendmail(["sendmail", "-C", str(stranger), option, ID]) == 1
    assert (capsys.readouterr()) == ("Permission denied\n", "")


@pytest.mark.parametrize("words", [["-bp"], ["-bpc"], ["-M", ID], ["-Mg", ID], ["-q"], ["-R", "x"]])
def test_a_stranger_is_no_administrator(stranger: Path, capsys, words: list[str]) -> None:
    assert sendmail(["sendmail", "-C", str(stranger), *words]) == 1
    assert capsys.readouterr() == ("", "relay-sendmail: permission denied; not admin\n")


@pytest.mark.parametrize("words", [["list"], ["show", ID], ["hold", ID], ["run"], ["check"]])
def test_relay_queue_denies_in_its_own_words(stranger: Path, capsys, words: list[str]) -> None:
    assert main.main(["queue", words[0], "-C", str(stranger), *words[1:]]) == 1
    assert capsys.readouterr().err == ("relay: you may not (run it as root, or as a member of one of admin_groups)\n")


def test_only_one_message_is_shown_at_once(configuration: Path, capsys) -> None:
    assert sendmail(["sendmail", "-C", str(configuration), "-Mvh", ID, ID]) == 1
    assert capsys.readouterr().out == "*** Only one message can be listed at once\n"


def test_a_message_that_is_not_there_is_loaded_as_nothing(configuration: Path, capsys) -> None:
    words = ["-be", "-Mset", "1aaaaa-aaaaaaaaaaa-0002", "$message_exim_id"]
    assert sendmail(["sendmail", "-C", str(configuration), *words]) == 0
    assert capsys.readouterr().out == "Failed to load message 1aaaaa-aaaaaaaaaaa-0002\n\n"


class Fake:
    """A queue that answers what it was told to."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers

    def carry_out(self, orders: Sequence[Order]) -> tuple[Answer, ...]:
        assert len(orders) == len(self._answers)
        return self._answers


@pytest.mark.parametrize(
    "answer, said",
    [
        (Answer(Outcome.DONE), ""),
        (Answer(Outcome.MISSING), f"relay-sendmail: message {ID} is not in the queue\n"),
        (Answer(Outcome.LOCKED), f"relay-sendmail: message {ID} is being delivered\n"),
        (Answer(Outcome.REFUSED, "is frozen"), f"relay-sendmail: message {ID} is frozen\n"),
    ],
)
@pytest.mark.parametrize("option", ["-M", "-Mc", "-Mg"])
def test_a_delivery_that_did_not_begin_is_said_and_is_no_failure(
    configuration: Path, capsys, monkeypatch: pytest.MonkeyPatch, option: str, answer: Answer, said: str
) -> None:
    monkeypatch.setattr(queue_actions, "changing", lambda place, **how: Fake(answer))
    assert sendmail(["sendmail", "-C", str(configuration), option, ID]) == 0
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("option", ["-Mf", "-Mt", "-Mrm"])
def test_what_is_locked_is_said_to_be(
    configuration: Path, capsys, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    fake = Fake(Answer(Outcome.LOCKED), Answer(Outcome.DONE, "is done"))
    monkeypatch.setattr(queue_actions, "changing", lambda place, **how: fake)
    assert sendmail(["sendmail", "-C", str(configuration), option, ID, ID]) == 1
    assert capsys.readouterr() == (f"Message {ID} is locked\nMessage {ID} is done\n", "")


@pytest.mark.parametrize("option", ["-Mf", "-Mrm"])
def test_a_rehearsal_changes_no_message(
    configuration: Path, capsys, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(queue_actions, "changing", lambda place, **how: pytest.fail("the queue is changed"))
    assert sendmail(["sendmail", "-C", str(configuration), "-N", option, ID]) == 1
    assert capsys.readouterr().out == "Permission denied\n"


@pytest.mark.parametrize("words, rehearsal", [((), False), (("-N",), True)])
def test_a_delivery_may_be_a_rehearsal(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], rehearsal: bool
) -> None:
    asked: list[object] = []

    def changing(place: object, **how: object) -> Fake:
        asked.append(how)
        return Fake(Answer(Outcome.DONE))

    monkeypatch.setattr(queue_actions, "changing", changing)
    assert sendmail(["sendmail", "-C", str(configuration), *words, "-M", ID]) == 0
    assert asked == [{"alone": True, "rehearsal": rehearsal, "verbose": rehearsal}]
