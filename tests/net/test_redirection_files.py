"""Files of addresses, read as they were opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from relay.net.redirection_files import read_file


def test_content_and_status_are_of_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(b"anna, bert\n")
    file.chmod(0o640)
    status, data = read_file(str(file), 100)
    assert data == b"anna, bert\n"
    assert (stat.S_IMODE(status.mode), status.size, status.owner) == (0o640, 11, os.getuid())


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"x" * 100)
    status, data = read_file(str(tmp_path / "list"), 10)
    assert (len(data), status.size) == (10, 100)


def test_of_what_is_no_file_nothing_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        status, data = read_file(str(tmp_path / name), 10)
        assert data == b""
        assert not stat.S_ISREG(status.mode)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "none"), 10)


def test_below_a_directory_no_link_is_followed(tmp_path: Path) -> None:
    secret, lists = tmp_path / "secret", tmp_path / "lists"
    (lists / "a").mkdir(parents=True)
    secret.write_text("secret")
    (lists / "a" / "plain").write_text("plain")
    (lists / "link").symlink_to(secret)
    (lists / "b").symlink_to(lists / "a")
    assert read_file(f"{lists}/a//plain", 10, str(lists))[1] == b"plain"
    assert read_file(f"{lists}/link", 10)[1] == b"secret"
    for path in ("link", "b/plain", "../secret", "a/../../secret"):
        with pytest.raises(OSError) as caught:
            read_file(f"{lists}/{path}", 10, str(lists))
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR), path
