"""Locks and directories beside the database: who may write now, and who is still alive (disk).

All locks are `flock`: they belong to an open file, not to a process, and the kernel drops them when the last
holder is gone, however it went. Nothing here is ever decided by a process id or a clock, so that a laptop
that slept for a night has lost no claim when it wakes.

`WriteLock` is a turnstile: who wants to write first takes the turn, then waits for the lock. Whoever has just
written finds the turn taken and stands behind, so that two busy processes alternate instead of one starving
the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01


def make_directory(path: Path) -> None:
    """Makes the directory (0700) where it does not exist, and its name durable."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    give_to_owner_of(path.parent, path)
    sync_directory(path.parent)


def make_file(path: Path) -> int:
    """Opens a file for locking or writing, made with mode 0600 where it does not exist; the descriptor."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner_of(path.parent, path)
        sync_directory(path.parent)
        return descriptor


def give_to_owner_of(directory: Path, path: Path) -> None:
    """What root makes in a queue has to be the queue's user's, or the daemon could not open it."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def sync_directory(path: Path) -> None:
    """Makes names that were added to or removed from the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Takes the exclusive lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class WriteLock:
    """The one lock over write transactions and checkpoints of all processes.

    `pause` waits for some seconds; `patience` is after how many seconds of waiting TimeoutError is raised.
    """

    def __init__(self, directory: Path, pause: Callable[[float], object], patience: float) -> None:
        self._pause = pause
        self._patience = patience
        self.path = directory / "write.lock"
        self._turn = make_file(directory / "turn.lock")
        self._write = make_file(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock. Raises TimeoutError."""
        self._wait_for(self._turn)
        try:
            self._wait_for(self._write)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._write, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._turn)
        os.close(self._write)

    def _wait_for(self, descriptor: int) -> None:
        waited, pause = 0.0, _FIRST_PAUSE
        while not try_lock(descriptor):
            if waited >= self._patience:
                raise TimeoutError(f"{self.path}: another process has held the lock for {self._patience:g} s")
            self._pause(pause)
            waited += pause
            pause = min(pause * 2, _LONGEST_PAUSE)


class OwnerFile:
    """A file that this process holds locked for as long as it lives: `owners/ID.lock`.

    The id is random and used once. The lock is inherited over a fork: a child that is to outlive its parent
    must have been forked before the queue was opened, or execute another program (the descriptor closes
    itself then).
    """

    def __init__(self, directory: Path) -> None:
        while True:
            self.owner = secrets.token_hex(8)
            self._path = _owner_path(directory, self.owner)
            self._descriptor = make_file(self._path)
            # Between making the file and locking it, a neighbour may have taken it for a dead owner's.
            if try_lock(self._descriptor) and self._is_in_place():
                return
            os.close(self._descriptor)

    def _is_in_place(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return found.st_ino == os.fstat(self._descriptor).st_ino

    def close(self) -> None:
        """The end of this owner."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def owner_ids(directory: Path) -> tuple[str, ...]:
    """Every owner that has a file, dead or alive."""
    return tuple(path.stem for path in directory.glob("*.lock"))


@contextmanager
def dead_owner(directory: Path, owner: str) -> Iterator[bool]:
    """Whether the owner is dead. If so nobody else finds that until the block ends; its file then goes."""
    path = _owner_path(directory, owner)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        dead = try_lock(descriptor)
        yield dead
        if dead:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _owner_path(directory: Path, owner: str) -> Path:
    return directory / f"{owner}.lock"
