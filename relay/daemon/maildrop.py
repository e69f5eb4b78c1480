"""Messages that were handed over while the daemon was down: `maildrop/` is emptied at a start and now and
then (edge).

Others may write into the folder and not read it (mode 1733); a file is a message once it has its final name,
and its owner is its caller. Accepted means: on disk in the queue, then removed here, then delivered, in this
order, and the message's id is made from the file; so whenever the machine stops in between, the message comes
through exactly once. The queue must have been put in order (dead owners cleaned) before the first scan, and
only one process scans.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from relay.daemon.callers import Credentials, TrustedCallers
from relay.daemon.control import Submit
from relay.mail.events import DaemonNote, Trouble
from relay.mail.ports import Clock, Journal
from relay.mail.queue import make_message_id
from relay.mail.text import printable
from relay.reception.request import (
    FRAME_LIMIT,
    MAILDROP_NAME,
    REQUEST_LIMIT,
    BadRequest,
    Status,
    SubmissionRequest,
    decode_request,
)
from relay.reception.submission import Drop

DIRECTORY_MODE = 0o1733
BROKEN_NAME = "broken"
# `new.` and 32 hexadecimal digits: what `relay-sendmail` renames a whole file to.
_WHOLE = re.compile(r"new\.[0-9a-f]{32}")
_HALF = re.compile(r"tmp\.[0-9a-f]{32}")
_HALF_AGE = 36 * 3600.0

T = TypeVar("T")


class Call(Protocol):
    """Runs a blocking function elsewhere (a thread) and gives its result."""

    def __call__(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]: ...


class Unusable(Exception):
    """A file in the maildrop that is no message; the text says why."""


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """An open maildrop file behind its request line. `message_id` is the same whenever the file is looked
    at."""

    name: str
    descriptor: int
    owner: Credentials
    request: SubmissionRequest
    message_id: str


class MaildropFolder:
    """The folder itself: plain blocking calls."""

    def __init__(self, spool_directory: str) -> None:
        self.path = os.path.join(spool_directory, MAILDROP_NAME)

    def prepare(self) -> None:
        """Makes the folder with its mode, whatever the umask. Raises OSError."""
        os.makedirs(self.path, exist_ok=True)
        os.chmod(self.path, DIRECTORY_MODE)
        os.makedirs(os.path.join(self.path, BROKEN_NAME), 0o700, exist_ok=True)

    def lock(self) -> int | None:
        """A descriptor that holds the right to scan, None where another process has it."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def names(self, now: float) -> list[str]:
        """The whole files, oldest first. What programs left half-written long ago is removed on the way."""
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                try:
                    changed = entry.stat(follow_symlinks=False).st_mtime
                    if _WHOLE.fullmatch(entry.name):
                        found.append((changed, entry.name))
                    elif _HALF.fullmatch(entry.name) and changed < now - _HALF_AGE:
                        os.unlink(entry.path)
                except FileNotFoundError:
                    continue
        return [name for _, name in sorted(found)]

    def open(self, name: str) -> DroppedFile:
        """Opens a file and reads its request. Raises Unusable, or OSError."""
        path = os.path.join(self.path, name)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unusable(f"can't be opened: {error.strerror}") from None
        try:
            status = os.fstat(descriptor)
            # A second name could be somebody else's: a link to a file that its owner never meant for us.
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise Unusable("is not a file with one name")
            request = _read_request(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        # Not a secret: the same file must give the same id again.
        seed = random.Random(hashlib.sha256(name.encode()).digest())  # noqa: S311
        message_id = make_message_id(status.st_mtime, seed)
        return DroppedFile(name, descriptor, Credentials(status.st_uid, status.st_gid), request, message_id)

    def read(self, file: DroppedFile) -> bytes:
        """The next octets of the message, b"" at its end."""
        return os.read(file.descriptor, FRAME_LIMIT)

    def remove(self, name: str) -> None:
        """The message is in the queue. A file that can't be removed is found again, with the same id."""
        try:
            os.unlink(os.path.join(self.path, name))
        except FileNotFoundError:
            pass

    def set_aside(self, name: str) -> str:
        """Moves a file that is no message out of the way; returns where it is now."""
        kept = os.path.join(self.path, BROKEN_NAME, name)
        os.rename(os.path.join(self.path, name), kept)
        return kept


def _read_request(descriptor: int) -> SubmissionRequest:
    """Reads the first line and leaves the descriptor behind it."""
    line = bytearray()
    while b"\n" not in line:
        piece = os.read(descriptor, 65536)
        if not piece or len(line) > REQUEST_LIMIT:
            raise Unusable("has no request in its first line")
        line += piece
    end = line.index(b"\n")
    os.lseek(descriptor, end + 1, os.SEEK_SET)
    try:
        return decode_request(bytes(line[:end]))
    except BadRequest as error:
        raise Unusable(f"has a bad request: {error}") from None


class _FilePieces:
    """A dropped file as the pieces of a message."""

    def __init__(self, folder: MaildropFolder, file: DroppedFile, call: Call) -> None:
        self._folder = folder
        self._file = file
        self._call = call

    async def next(self) -> bytes:
        return await self._call(self._folder.read, self._file)


class Maildrop:
    """Empties the folder: `scan` once, or `start` for a scan now and at every interval."""

    def __init__(
        self,
        reactor: IReactorTime,
        folder: MaildropFolder,
        submit: Submit,
        callers: TrustedCallers,
        journal: Journal,
        clock: Clock,
        call: Call,
        *,
        interval: float = 20.0,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._submit = submit
        self._callers = callers
        self._journal = journal
        self._clock = clock
        self._call = call
        self._interval = interval
        self._loop: LoopingCall | None = None
        self._running: Deferred[LoopingCall] | None = None
        self._said = ""

    def start(self) -> Deferred[None]:
        """Begins; the Deferred fires when the first scan is over, which is when deliveries may start."""
        first: Deferred[None] = Deferred()

        async def scan_and_tell() -> None:
            await self._scan_and_tell()
            if not first.called:
                first.callback(None)

        self._loop = LoopingCall(lambda: ensureDeferred(scan_and_tell()))
        self._loop.clock = self._reactor
        self._running = self._loop.start(self._interval, now=True)
        return first

    def stop(self) -> None:
        """No further scan; one under way ends by itself."""
        loop, self._loop = self._loop, None
        if loop is not None and loop.running:
            loop.stop()

    async def _scan_and_tell(self) -> None:
        """A scan whose failure ends nothing and is said once until it changes."""
        try:
            await self.scan()
        except OSError as error:
            text = f"can't look into {self._folder.path}: {error.strerror}"
            if text != self._said:
                self._journal.record(Trouble(text, "give the folder back to the daemon's user, mode 1733"))
            self._said = text
        else:
            self._said = ""

    async def scan(self) -> int:
        """Takes what is there; returns how many messages were accepted. Raises OSError."""
        lock = await self._call(self._folder.lock)
        if lock is None:
            return 0
        accepted = 0
        try:
            for name in await self._call(self._folder.names, self._clock.now()):
                try:
                    status = await self._take(name)
                except FileNotFoundError:
                    continue
                if status is Status.DEFERRED:
                    break  # the queue takes nothing now: the others would fare no better
                accepted += status is Status.ACCEPTED
        finally:
            os.close(lock)
        return accepted

    async def _take(self, name: str) -> Status:
        try:
            file = await self._call(self._folder.open, name)
        except Unusable as error:
            await self._set_aside(name, str(error))
            return Status.REFUSED
        try:
            originator = self._callers.identify(file.owner)
            drop = Drop(file.message_id, lambda: self._folder.remove(name))
            pieces = _FilePieces(self._folder, file, self._call)
            answer = await self._submit(file.request, originator, pieces, drop)
        finally:
            os.close(file.descriptor)
        if answer.status is Status.REFUSED:
            await self._set_aside(name, f"from {originator.caller.login} is refused: {answer.text}")
        elif answer.status is Status.DEFERRED:
            self._journal.record(DaemonNote(f"{MAILDROP_NAME}/{name} waits: {answer.text}"))
        return answer.status

    async def _set_aside(self, name: str, why: str) -> None:
        kept = await self._call(self._folder.set_aside, name)
        self._journal.record(Trouble(f"{MAILDROP_NAME}/{printable(name)} {why}", f"it is kept as {printable(kept)}"))
