"""Where files may be made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from relay.delivery.disk import Disk, MailboxTrouble, make_directories, may_create
from relay.delivery.jobs import CreateFile, Place

BELOW, IN, ANYWHERE = CreateFile.BELOW_HOME, CreateFile.IN_HOME, CreateFile.ANYWHERE


@pytest.mark.parametrize(
    "path, create, allowed",
    [
        ("{home}/box", BELOW, True),
        ("{home}/a/b", BELOW, True),
        ("{home}/a/b", IN, False),
        ("{home}/box", IN, True),
        ("//{home}/box", BELOW, True),
        ("{home}/../box", BELOW, False),
        ("{home}/a/../b", BELOW, False),
        ("{home}other/box", BELOW, False),
        ("{home}", BELOW, False),
        ("/elsewhere", BELOW, False),
        ("/elsewhere", ANYWHERE, True),
        ("{home}/out/box", BELOW, False),
        ("{home}/inside/box", BELOW, True),
    ],
)
def test_create_file(tmp_path: Path, path: str, create: CreateFile, allowed: bool) -> None:
    home = tmp_path / "home"
    (home / "real").mkdir(parents=True)
    (home / "out").symlink_to("/tmp")
    (home / "inside").symlink_to(home / "real")
    assert may_create(path.format(home=home), Place(create=create, home=str(home))) is allowed


def test_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    home = tmp_path / "later"
    assert may_create(f"{home}/box", Place(create=BELOW, home=str(home)))


def test_directories_are_made_durable(tmp_path: Path) -> None:
    make_directories(Disk(), str(tmp_path / "a" / "b"), 0o750)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o750
    (tmp_path / "file").write_text("")
    with pytest.raises(MailboxTrouble, match="no directory is in the way"):
        make_directories(Disk(), str(tmp_path / "file" / "b"), 0o750)


def test_a_directory_has_the_mode_that_is_wanted_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_directories(Disk(), str(tmp_path / "open"), 0o3777)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o3777
