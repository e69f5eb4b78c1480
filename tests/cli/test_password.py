"""`relay password`: the line, the file, and what is refused."""

import io
import stat
from pathlib import Path

import pytest

from relay.cli import main
from relay.trust.passwords import matches, read_entries


class Input:
    """Standard input of a program: octets."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch):
    def said(data: bytes, *words: str) -> int:
        monkeypatch.setattr("sys.stdin", Input(data))
        return main.main(["password", *words])

    return said


@pytest.mark.parametrize("kind", ["argon2id", "scram", "sha512"])
def test_the_line_is_printed(kind: str, say, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("gehüim\r\n".encode(), "ada", "--stdin", "--kind", kind) == 0
    user, _, stored = capsys.readouterr().out.strip().partition(":")
    assert user == "ada"
    assert matches("gehüim".encode(), stored)


def test_the_file_is_made_changed_and_kept_private(tmp_path: Path, say) -> None:
    path = tmp_path / "passwords"
    assert say(b"one\n", "ada", "--stdin", "--kind", "scram", "--file", str(path)) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    assert say(b"two\n", "bob", "--stdin", "--kind", "scram", "--file", str(path)) == 0
    assert say(b"three", "ada", "--stdin", "--kind", "scram", "--file", str(path)) == 0
    entries = read_entries(path.read_text())
    assert list(entries) == ["ada", "bob"]
    assert matches(b"three", entries["ada"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert say(b"", "ada", "--remove", "--file", str(path)) == 0
    assert list(read_entries(path.read_text())) == ["bob"]
    assert [each.name for each in tmp_path.iterdir()] == ["passwords"]


def test_a_link_stays_one(tmp_path: Path, say) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("")
    link.symlink_to(real)
    assert say(b"x\n", "ada", "--stdin", "--kind", "scram", "--file", str(link)) == 0
    assert link.is_symlink()
    assert "ada" in read_entries(real.read_text())


@pytest.mark.parametrize(
    "data, words, status",
    [
        (b"", ["ada", "--stdin"], 1),
        (b"\n", ["ada", "--stdin"], 1),
        (b"a\0b\n", ["ada", "--stdin"], 1),
        (b"x" * 2000, ["ada", "--stdin"], 1),
        (b"\x07\n", ["ada", "--stdin", "--kind", "scram"], 1),
        (b"x\n", ["a:b", "--stdin"], 2),
        (b"x\n", ["", "--stdin"], 2),
        (b"x\n", ["ada", "--stdin", "--kind", "md5"], 2),
        (b"", ["ada", "--remove"], 2),
        (b"x\n", ["ada", "--stdin", "--file", "/nowhere/passwords"], 1),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    data: bytes, words: list[str], status: int, say, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(data, *words) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("relay: ")
    assert said.err.count("\n") == 1


def test_a_broken_file_is_left_alone(tmp_path: Path, say, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords"
    path.write_text("ada:x\nnonsense\n")
    assert say(b"x\n", "bob", "--stdin", "--kind", "scram", "--file", str(path)) == 1
    assert f"{path}:2: " in capsys.readouterr().err
    assert path.read_text() == "ada:x\nnonsense\n"


def test_who_is_not_there_can_not_be_taken_out(tmp_path: Path, say) -> None:
    path = tmp_path / "passwords"
    path.write_text("ada:x\n")
    assert say(b"", "bob", "--remove", "--file", str(path)) == 1
    assert path.read_text() == "ada:x\n"
