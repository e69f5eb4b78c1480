"""The steps of writing a message into a file, each of which may fail (disk).

Each step is a method of `Disk`, so that a test can make it fail. What the system says becomes a `MailboxTrouble`
with the path and, where there is a usual one, the remedy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from relay.delivery.jobs import CreateFile, NotDelivered, Place, Report, Verdict
from relay.mail.outcome import ErrorClass
from relay.mail.text import printable

P = ParamSpec("P")
T = TypeVar("T")


class BlockingClock(Protocol):
    """Time for code that may block."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Disk:
    """The steps of a delivery as the operating system offers them."""

    def make_directory(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)
        os.chmod(path, mode)  # the umask is not the configuration's, and some bits mkdir never sets

    def create(self, path: str, mode: int) -> int:
        """A new file, never an existing one and never through a link."""
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(file, mode)  # the umask is not the configuration's
        except OSError:
            os.close(file)
            raise
        return file

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY)

    def write(self, file: int, data: bytes | memoryview) -> int:
        return os.write(file, data)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        os.fsync(file)

    def close(self, file: int) -> None:
        os.close(file)

    def link(self, old: str, new: str) -> None:
        os.link(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


class MailboxTrouble(NotDelivered):
    """A step failed: what was being done, with which path, and the system's error."""

    def __init__(self, doing: str, path: str, cause: OSError) -> None:
        remedy, error = _REMEDIES.get(cause.errno or 0, ("", ErrorClass.LOCAL))
        text = f"{doing} {printable(path)}"
        text = f"{text} ({remedy})" if remedy else text
        super().__init__(Report(Verdict.DEFERRED, text, error, errno=cause.errno or 0))
        self.cause = cause

    @property
    def in_words(self) -> str:
        """With what the system said, for somebody who does not see its number."""
        return f"{self.report.text}: {self.cause.strerror or self.cause}"


_NOT_ALLOWED = ("let the user that the delivery runs as write there", ErrorClass.LOCAL)
_REMEDIES: dict[int, tuple[str, ErrorClass]] = {
    errno.ENOSPC: ("the disk is full: make room on it", ErrorClass.QUOTA),
    errno.EDQUOT: ("mailbox is full: the disk quota is used up", ErrorClass.QUOTA),
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOENT: ("make the directory, or set create_directory", ErrorClass.LOCAL),
    errno.EROFS: ("the file system is mounted read-only", ErrorClass.LOCAL),
    errno.ENOTDIR: ("something that is no directory is in the way", ErrorClass.LOCAL),
}


def step(doing: str, path: str, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Does one step. Raises MailboxTrouble."""
    try:
        return function(*arguments, **keywords)
    except OSError as error:
        raise MailboxTrouble(doing, path, error) from error


def quietly(function: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """A step of cleaning up: where it fails, nothing more can be done."""
    try:
        function(*arguments, **keywords)
    except OSError:
        pass


def write_all(disk: Disk, path: str, file: int, data: bytes) -> None:
    """Writes however many steps it takes. Raises MailboxTrouble."""
    rest = memoryview(data)
    while rest:
        rest = rest[step("error while writing to", path, disk.write, file, rest) :]


def make_directories(disk: Disk, directory: str, mode: int, wanted: str = "") -> None:
    """A directory and whatever is missing above it, each durable; `wanted`: what for. Raises MailboxTrouble."""
    missing = []
    above = directory
    while above and not os.path.isdir(above) and above not in missing:
        missing.append(above)
        above = os.path.dirname(above)
    for path in reversed(missing):
        make_one(disk, path, mode, wanted)


def make_one(disk: Disk, path: str, mode: int, wanted: str = "") -> None:
    """One directory, unless another delivery was faster. Raises MailboxTrouble."""
    try:
        disk.make_directory(path, mode)
    except FileExistsError:
        return
    except OSError as error:
        raise MailboxTrouble("failed to create directories for", wanted or path, error) from error
    above = os.path.dirname(path)
    step("while syncing", above, disk.sync_directory, above)


def may_create(path: str, place: Place) -> bool:
    """Whether `create_file` lets a file of this name be made, links in its directories taken into account."""
    if not place.home or place.create is CreateFile.ANYWHERE:
        return True
    path = "/" + path.lstrip("/")
    home = place.home.rstrip("/")
    rest = path[len(home) + 1 :]
    if not path.startswith(home + "/") or not rest:
        return False
    if place.create is CreateFile.IN_HOME and "/" in rest:
        return False
    if ".." in rest.split("/"):
        return False
    existing = os.path.dirname(path)
    while not os.path.exists(existing) and existing not in ("", "/"):
        existing = os.path.dirname(existing)
    if not (existing + "/").startswith(home + "/"):
        return True  # home itself is still to be made: there are no links below it
    return (os.path.realpath(existing) + "/").startswith(os.path.realpath(home) + "/")
