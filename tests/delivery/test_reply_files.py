"""Who has had a reply, and the log of replies."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from relay.delivery.reply_files import append, last_sent, note_sent


def test_each_address_has_its_time(tmp_path: Path) -> None:
    file = str(tmp_path / "once")
    assert last_sent(file, 0o600, "anna@a.test") == 0
    assert os.stat(file).st_mode & 0o777 == 0o600
    for to, now in (("anna@a.test", 100.0), ("bert@b.test", 200.0), ("anna@a.test", 300.0)):
        note_sent(file, 0o600, 0, to, now)
    assert [last_sent(file, 0o600, each) for each in ("anna@a.test", "bert@b.test", "carl@c.test")] == [300, 200, 0]
    assert (
        Path(file).read_bytes() == struct.pack("=q", 300) + b"anna@a.test\0" + struct.pack("=q", 200) + b"bert@b.test\0"
    )


def test_the_oldest_entry_makes_room(tmp_path: Path) -> None:
    file = str(tmp_path / "once")
    for number in range(5):
        note_sent(file, 0o600, 30, f"user{number}", 1.0)
    assert [last_sent(file, 0o600, f"user{number}") for number in range(5)] == [0, 0, 0, 1, 1]
    note_sent(file, 0o600, 1, "alone", 2.0)
    assert last_sent(file, 0o600, "alone") == 2


def test_what_is_no_entry_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "once").write_bytes(b"\xff" * 7 + b"\0short")
    assert last_sent(str(tmp_path / "once"), 0o600, "short") == 0


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        note_sent(str(tmp_path / "link"), 0o600, 0, "anna@a.test", 1.0)
    with pytest.raises(OSError):
        append(str(tmp_path / "link"), 0o600, b"line\n")
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_the_log_grows(tmp_path: Path) -> None:
    file = str(tmp_path / "log")
    append(file, 0o640, b"one\n")
    append(file, 0o640, b"two\n")
    assert Path(file).read_bytes() == b"one\ntwo\n"
