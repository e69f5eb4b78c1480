"""Locks between processes, played by two descriptors each of which is a holder of its own."""

import os
import stat
from pathlib import Path

import pytest

from relay.spool import files


def test_the_lock_is_held_by_one(tmp_path: Path) -> None:
    pauses: list[float] = []
    one = files.WriteLock(tmp_path, pauses.append, 0.1)
    other = files.WriteLock(tmp_path, pauses.append, 0.1)

    with one.held(), pytest.raises(TimeoutError, match=r"write\.lock: another process has held the lock for 0\.1 s"):
        other.held().__enter__()

    assert 0.1 <= sum(pauses) < 0.2
    with other.held():
        pass
    one.close()
    other.close()


def test_who_waits_is_next(tmp_path: Path) -> None:
    """While somebody waits, the one who has just written can't take the lock again."""
    order: list[str] = []

    def busy_neighbour(_pause: float) -> None:
        # Called while `waiting` stands in line: the writer is done, and tries to begin its next batch.
        if not order:
            holding.__exit__(None, None, None)
            with pytest.raises(TimeoutError):
                writer.held().__enter__()
            order.append("writer had to wait")

    writer = files.WriteLock(tmp_path, lambda _: None, 0.0)
    waiting = files.WriteLock(tmp_path, busy_neighbour, 1.0)
    holding = writer.held()
    holding.__enter__()
    with waiting.held():
        order.append("waiting came in")

    assert order == ["writer had to wait", "waiting came in"]
    with writer.held():
        pass
    writer.close()
    waiting.close()


def test_an_owner_lives_as_long_as_its_descriptor(tmp_path: Path) -> None:
    owner = files.OwnerFile(tmp_path)
    with files.dead_owner(tmp_path, owner.owner) as dead:
        assert not dead
    assert files.owner_ids(tmp_path) == (owner.owner,)

    os.close(owner._descriptor)
    with files.dead_owner(tmp_path, owner.owner) as dead:
        assert dead
        with files.dead_owner(tmp_path, owner.owner) as dead_for_others:
            assert not dead_for_others
    assert files.owner_ids(tmp_path) == ()


def test_a_block_that_fails_leaves_the_dead_owner_to_others(tmp_path: Path) -> None:
    owner = files.OwnerFile(tmp_path)
    os.close(owner._descriptor)

    with pytest.raises(RuntimeError), files.dead_owner(tmp_path, owner.owner):
        raise RuntimeError

    assert files.owner_ids(tmp_path) == (owner.owner,)


def test_a_new_owner_whose_file_was_cleaned_away_takes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    real = files.try_lock

    def cleaned_meanwhile(descriptor: int) -> bool:
        if not taken:
            [path] = tmp_path.glob("*.lock")
            path.unlink()
            taken.append(path.stem)
        return real(descriptor)

    monkeypatch.setattr(files, "try_lock", cleaned_meanwhile)
    owner = files.OwnerFile(tmp_path)

    assert owner.owner != taken[0]
    assert files.owner_ids(tmp_path) == (owner.owner,)
    owner.close()


def test_directories_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.make_directory(tmp_path / "a" / "b")
        os.close(files.make_file(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(before)
    for path, mode in (("a", 0o700), ("a/b", 0o700), ("a/b/c", 0o600)):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    files.make_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750
