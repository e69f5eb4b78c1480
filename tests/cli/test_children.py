"""Child processes: waiting for what they do, and not forgetting them."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli import children
from relay.cli.faults import Fault

ARRIVAL = "2026-11-21 10:00:00 1xxxxx-yyyyyy-zz <= a@b S=1 id=mark@b"
OTHER = "2026-11-21 10:00:00 1aaaaa-bbbbbb-cc <= a@b S=1 id=other@b"
DONE = "2026-11-21 10:00:01 1xxxxx-yyyyyy-zz Completed"


class Fake(children.Child):
    """A child that runs another program than the daemon."""

    def __init__(self, directory: Path, script: str) -> None:
        super().__init__("fake", directory / "c.conf", 1, directory / "mainlog", directory / "out")
        self.script = script

    def command(self) -> list[str]:
        return ["sh", "-c", self.script]


def test_a_log_from_now_on(tmp_path: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text("old\n")
    tail = children.LogTail(log)
    assert tail.read() == []
    with log.open("a") as file:
        file.write("new\nhalf")
        file.flush()
        assert tail.read() == ["new"]
        file.write(" done\n")
        file.flush()
        assert tail.read() == ["half done"]
    assert tail.seen == ["new", "half done"]


def test_a_log_that_comes_later_or_starts_anew(tmp_path: Path) -> None:
    tail = children.LogTail(tmp_path / "mainlog")
    assert tail.read() == []
    (tmp_path / "mainlog").write_text("first line\n")
    assert tail.read() == ["first line"]
    (tmp_path / "mainlog").write_text("anew\n")
    assert tail.read() == ["anew"]


def test_the_lines_of_one_message(tmp_path: Path) -> None:
    tail = children.LogTail(tmp_path / "mainlog")
    assert tail.of_message("mark@b") == ("", [])
    (tmp_path / "mainlog").write_text(f"{OTHER}\n{ARRIVAL}\nsome other line\n{DONE}\n")
    assert tail.of_message("mark@b") == ("1xxxxx-yyyyyy-zz", [ARRIVAL, DONE])


def test_children_are_stopped_whatever_happens(tmp_path: Path) -> None:
    child = Fake(tmp_path, "exec sleep 600")

    def break_off() -> None:
        with children.running([child]):
            assert child.ended() is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert child.ended() == -signal.SIGTERM


def test_one_that_can_not_start_stops_the_others(tmp_path: Path) -> None:
    first, second = Fake(tmp_path, "exec sleep 600"), Fake(tmp_path / "missing", "true")
    with pytest.raises(Fault, match="no such file"), children.running([first, second]):
        pass
    assert first.ended() == -signal.SIGTERM


def test_the_end_of_a_child_ends_the_waiting(tmp_path: Path) -> None:
    child = Fake(tmp_path, "echo relay: port 25 is in use; exit 1")
    with children.running([child]), pytest.raises(Fault) as caught:
        children.wait_for("what never comes", lambda: None, [child], 60)
    assert caught.value.format_message() == ("fake ended with status 1\nfake, last lines:\n  relay: port 25 is in use")


def test_waiting_ends_with_the_deadline_and_shows_the_logs(tmp_path: Path) -> None:
    child = Fake(tmp_path, "exec sleep 600")
    with children.running([child]):
        (tmp_path / "mainlog").write_text("a line\n")
        with pytest.raises(Fault) as caught:
            children.wait_for("what never comes", lambda: None, [child], 0)
    assert caught.value.format_message() == ("what never comes did not happen within 0 s\nfake, last lines:\n  a line")


def test_waiting_gives_the_answer(tmp_path: Path) -> None:
    answers = iter([None, None, "here"])
    assert children.wait_for("it", lambda: next(answers), [], 60) == "here"


@contextlib.contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use_is_not_free() -> None:
    with listening() as port:
        assert not children.is_free(port)
        assert port not in children.free_ports(2, port)
    assert children.is_free(port)


def test_free_ports_differ() -> None:
    assert len(set(children.free_ports(5))) == 5
    first, second = children.free_ports(2, 20000)
    assert 20000 <= first < second


def test_a_port_that_nobody_greets_on(tmp_path: Path) -> None:
    child = Fake(tmp_path, "true")
    (child.port,) = children.free_ports(1)
    assert not child.answers()


def test_the_command_is_the_daemon_of_this_interpreter(tmp_path: Path) -> None:
    child = children.Child("relay", tmp_path / "c.conf", 1, tmp_path / "l", tmp_path / "o")
    program, *words = child.command()
    assert os.access(program, os.X_OK)
    assert words == ["-m", "relay", "run", "-C", str(tmp_path / "c.conf")]
