"""The port `FileSystem` over real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.net.file_system import LocalFileSystem
from relay.net.lookups import at_once


def answer(question):
    with pytest.raises(StopIteration) as stop:
        question.send(None)
    return stop.value.value


def test_status_and_contents(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_bytes(b"0123456789")
    path.chmod(0o640)
    files = LocalFileSystem(at_once)
    status = answer(files.status(str(path)))
    assert (status.mode, status.size, status.owner, status.links) == (0o100640, 10, os.getuid(), 1)
    assert status.inode == path.stat().st_ino
    assert answer(files.contents(str(path), 100)) == b"0123456789"
    assert answer(files.contents(str(path), 4)) == b"0123"


def test_what_is_not_there(tmp_path: Path) -> None:
    files = LocalFileSystem(at_once)
    for question in (files.status(str(tmp_path / "x")), files.contents(str(tmp_path / "x"), 1)):
        with pytest.raises(FileNotFoundError):
            question.send(None)
