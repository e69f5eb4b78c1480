"""Faults of a configuration as Exim tells them, on standard error and in the panic log."""

import re
from pathlib import Path

import pytest

from relay.cli.sendmail import main

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.conf"


def fault(path: Path, text: str, *words: str, program: str = "exim") -> int:
    path.write_text(f"log_file_path = {path.parent}/%slog\n{text}\n")
    return main([program, "-C", str(path), *words])


def panic(path: Path) -> str:
    log = path.parent / "paniclog"
    return log.read_text() if log.exists() else ""


def test_the_first_mistake_stands_with_its_last_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(path, 'hold_domains = "a : \\\n  b\nnosuch = 1', "-be", "x") == 1
    said = capsys.readouterr().err
    pattern = rf"{STAMP}Exim configuration error in line 3 of {path}:\n  missing quote at end of string value .*\n"
    assert re.fullmatch(pattern, said)
    assert panic(path) == said


def test_who_asks_for_options_sees_it_as_a_log_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(path, "finduser_retries = Q", "-bP", "finduser_retries") == 1
    text = f"Exim configuration error in line 2 of {path}:\n  integer expected for finduser_retries\n"
    assert capsys.readouterr().err == f"LOG: PANIC DIE\n  {text}"
    assert re.fullmatch(STAMP + re.escape(text), panic(path))


def test_a_test_leaves_no_trace(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(path, "nosuch = 1", "-bV") == 1
    assert 'main option "nosuch" unknown' in capsys.readouterr().err
    assert panic(path) == ""


def test_what_is_not_about_a_line_names_its_subject(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    router = "begin routers\nr1:\n  driver = redirect\n  data = x\n  unseen\n  one_time"
    assert fault(path, router, "-q") == 1
    assert 'Exim configuration error for r1 router:\n  "unseen" may not' in capsys.readouterr().err
    both = "\n".join(f"{name}:\n driver = plaintext\n public_name = PLAIN\n server_condition = x" for name in "ab")
    assert fault(path, f"begin authenticators\n{both}", "-q") == 1
    assert "Exim configuration error:\n  two server authenticators (a and b)" in capsys.readouterr().err


def test_all_that_is_not_served_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drivers = "\n".join(f"{name}:\n driver = queryprogram\n transport = t" for name in "ab")
    assert fault(path, f"begin routers\n{drivers}\nbegin transports\nt:\n driver = smtp", "-q") == 1
    said = capsys.readouterr().err
    assert panic(path).count("is not served yet") == 2
    assert said.endswith(panic(path))  # before it may stand what Twisted's logger had kept for whoever listens first


def test_a_log_that_is_named_below_the_fault_is_not_known(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path.parent / "more").write_text(f"log_file_path = {path.parent}/%slog\n")
    path.write_text(f"nosuch = 1\n.include {path.parent}/more\n")
    assert main(["exim", "-C", str(path), "-q"]) == 1
    assert "in line 1 of" in capsys.readouterr().err
    assert panic(path) == ""


def test_by_our_own_name_everything_is_said_at_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(path, "nosuch = 1\nfinduser_retries = Q", "-q", program="relay-sendmail") == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == [f"{path}:2", f"{path}:3"]
    assert panic(path) == ""


def test_a_mistake_comes_before_a_missing_recipient(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(path, ".include /nowhere/at/all") == 1
    assert "failed to open included configuration file /nowhere/at/all\n" in capsys.readouterr().err
