"""One mailbox file to which messages are appended: opened, locked, written, synced or taken back (disk).

The order of things is Exim's. A lock file is made first, since a mailbox on NFS may have an old size once it is
open. Then the file is looked at (its kind, owner, mode, number of names), opened without following a link,
looked at again through the open file, locked, and looked up once more by its name: only then is it surely the
mailbox, and nobody else's. What was appended is synced before it counts as delivered; where any step fails the
file gets its old length back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence

from relay.delivery import quota
from relay.delivery.disk import (
    BlockingClock,
    Disk,
    MailboxTrouble,
    make_directories,
    may_create,
    quietly,
    step,
    write_all,
)
from relay.delivery.jobs import Append, NotDelivered, Report, Verdict, Written, deferred
from relay.mail.error_numbers import (
    EXISTENCE_UNCLEAR,
    FORMAT_UNKNOWN,
    INODE_CHANGED,
    LOCK_FAILED,
    NOT_REGULAR,
    WRONG_MODE,
    WRONG_OWNER,
)
from relay.mail.outcome import ErrorClass
from relay.mail.text import printable

_FORMAT_OCTETS = 256
# How often a blocking lock is tried.
_LOCK_PAUSE = 0.1
_CHANGED = (errno.ENOENT, errno.EEXIST, errno.ELOOP)


class MailboxWriter:
    """One message on its way into a mailbox. Blocking; every method but `abandon` may raise NotDelivered, after
    which the mailbox is as it was."""

    def __init__(self, job: Append, clock: BlockingClock, disk: Disk | None = None) -> None:
        self._job = job
        self._clock = clock
        self._disk = disk or Disk()
        self._lock_file = LockFile(job, clock, self._disk)
        self._file: int | None = None
        self._before: os.stat_result | None = None
        self._is_new = False
        self._size = 0
        self._shown = printable(job.path)
        self._crosses = False

    def write(self, pieces: Sequence[bytes]) -> None:
        """Appends octets as they are."""
        try:
            file = self._opened()
            for piece in pieces:
                write_all(self._disk, self._job.path, file, piece)
                self._size += len(piece)
        except NotDelivered:
            self.abandon()
            raise

    def complete(self, pieces: Sequence[bytes] = ()) -> Written:
        """Appends the last octets and makes them durable."""
        self.write(pieces)
        assert self._file is not None
        assert self._before is not None
        try:
            if stat.S_ISREG(self._before.st_mode):
                step("while syncing", self._job.path, self._disk.sync, self._file)
                if self._is_new:
                    directory = os.path.dirname(self._job.path)
                    step("while syncing", directory, self._disk.sync_directory, directory)
        except NotDelivered:
            self.abandon()
            raise
        return Written(self._size, self._before.st_ino)

    def deliver(self, _name: str = "") -> Report:
        """Gives the mailbox back with the message in it."""
        assert self._file is not None
        assert self._before is not None
        file, self._file = self._file, None
        # The time of the last reading is what tells a reader of new mail.
        quietly(os.utime, file, (self._before.st_atime, self._clock.now()))
        quietly(self._disk.close, file)
        self._lock_file.release()
        return Report(Verdict.DELIVERED, self._job.path, crosses=self._crosses)

    def finish(self, pieces: Sequence[bytes] = ()) -> Report:
        """`complete` and `deliver` in one."""
        self.complete(pieces)
        return self.deliver()

    def abandon(self) -> None:
        """Takes back what was written and unlocks. Does not fail."""
        file, self._file = self._file, None
        if file is not None:
            before = self._before
            if before is not None and stat.S_ISREG(before.st_mode):
                quietly(self._disk.truncate, file, before.st_size)
                quietly(os.utime, file, (before.st_atime, before.st_mtime))
            quietly(self._disk.close, file)
        self._lock_file.release()

    # Opening

    def _opened(self) -> int:
        if self._file is not None:
            return self._file
        job = self._job
        creatable = may_create(job.path, job.place)
        if job.place.create_directory and creatable:
            make_directories(self._disk, os.path.dirname(job.path), job.place.directory_mode, job.path)
        self._check_format_of_path()
        self._lock_file.take()
        file = self._open_and_lock(creatable)
        self._file, self._before = file, os.fstat(file)
        read_at = int(self._before.st_atime)
        usage = quota.Usage(self._before.st_size)
        quota.check(job.quota, usage, job.message_size, job.path, read_at)
        self._crosses = quota.crosses(job.quota, usage, job.message_size)
        return file

    def _open_and_lock(self, creatable: bool) -> int:
        locking, was_open = self._job.locking, False
        for attempt in range(max(locking.lock_retries, 1)):
            if attempt and was_open and not (locking.lock_fcntl_timeout or locking.lock_flock_timeout):
                self._clock.sleep(locking.lock_interval)
            file = self._open_once(creatable)
            if file is None:
                continue
            was_open = True
            if self._lock(file) and self._is_still_the_mailbox(file):
                return file
            quietly(self._disk.close, file)
        if was_open:
            raise deferred(f"failed to lock mailbox {self._shown} (fcntl/flock)", errno=LOCK_FAILED)
        raise deferred(f"mailbox {self._shown}: existence unclear", freeze=True, errno=EXISTENCE_UNCLEAR)

    def _open_once(self, creatable: bool) -> int | None:
        """The file, made where it is missing; None where it changed while it was looked at."""
        path = self._job.path
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return self._create(creatable)
        except OSError as error:
            raise MailboxTrouble("while looking at mailbox", path, error) from error
        self._check_owner(status, " (symlink)" if stat.S_ISLNK(status.st_mode) else "")
        is_link = stat.S_ISLNK(status.st_mode) and self._job.allow_symlink
        if is_link:
            try:
                status = os.stat(path)
            except FileNotFoundError:
                return self._create(creatable, through_link=True)
            except OSError as error:
                raise MailboxTrouble("while looking at mailbox", path, error) from error
            self._check_owner(status, "")
        return self._open_existing(status, is_link=is_link)

    def _create(self, creatable: bool, *, through_link: bool = False) -> int | None:
        job, path = self._job, self._job.path
        if job.file_must_exist:
            raise deferred(f"mailbox {self._shown} does not exist, but file_must_exist is set")
        if not creatable:
            what = f"mailbox {self._shown} does not exist, but creation outside the home directory is not permitted"
            raise deferred(what, ErrorClass.CREATION)
        try:
            if through_link:
                file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, job.place.mode)
            else:
                file = self._disk.create(path, job.place.mode)
        except FileExistsError:
            return None
        except OSError as error:
            trouble = MailboxTrouble("while creating mailbox", path, error)
            if job.is_redirected and error.errno in (errno.EPERM, errno.ENOENT, errno.EACCES):
                raise NotDelivered(Report(Verdict.FAILED, trouble.in_words)) from error
            raise trouble from error
        self._is_new = True
        return file

    def _open_existing(self, status: os.stat_result, *, is_link: bool) -> int | None:
        job, path = self._job, self._job.path
        is_fifo = job.allow_fifo and stat.S_ISFIFO(status.st_mode)
        if not is_fifo and not stat.S_ISREG(status.st_mode):
            what = " or named pipe" if job.allow_fifo else ""
            raise deferred(f"mailbox {self._shown} is not a regular file{what}", errno=NOT_REGULAR)
        mode = self._checked_mode(status)
        flags = os.O_WRONLY | os.O_NONBLOCK if is_fifo else os.O_RDWR | os.O_APPEND
        try:
            file = self._disk.open(path, flags | (0 if is_link else os.O_NOFOLLOW))
        except OSError as error:
            if error.errno in _CHANGED:
                return None
            if is_fifo and error.errno == errno.ENXIO:
                what = f"while opening named pipe {self._shown} (could mean no process is reading it)"
                raise deferred(what, errno=errno.ENXIO) from error
            raise MailboxTrouble("while opening mailbox", path, error) from error
        try:
            self._check_open(file, status, mode)
        except NotDelivered:
            quietly(self._disk.close, file)
            raise
        return file

    def _check_owner(self, status: os.stat_result, what: str) -> None:
        job = self._job
        if job.check_owner and status.st_uid != os.geteuid():
            owner = f"uid ({status.st_uid} != {os.geteuid()})"
            raise deferred(f"mailbox {self._shown}{what} has wrong {owner}", errno=WRONG_OWNER)
        if job.check_group and status.st_gid != os.getegid():
            group = f"gid ({status.st_gid} != {os.getegid()})"
            raise deferred(f"mailbox {self._shown}{what} has wrong {group}", errno=WRONG_OWNER)
        if status.st_nlink != 1:
            raise deferred(f"mailbox {self._shown}{what} has too many links ({status.st_nlink})", errno=NOT_REGULAR)

    def _checked_mode(self, status: os.stat_result) -> int:
        """The mode that the file has, or is given: rights are taken away, never added (mode_fail_narrower)."""
        mode, wanted = stat.S_IMODE(status.st_mode), self._job.place.mode
        if mode == wanted:
            return mode
        differing = mode ^ wanted
        if differing & mode == differing:
            step("while setting perms on mailbox", self._job.path, os.chmod, self._job.path, wanted)
            return wanted
        if self._job.mode_fail_narrower:
            raise deferred(f"mailbox {self._shown} has the wrong mode {mode:o} ({wanted:o} expected)", errno=WRONG_MODE)
        return mode

    def _check_open(self, file: int, seen: os.stat_result, mode: int) -> None:
        """What is open must be what was looked at."""
        status = step("while fstatting opened mailbox", self._job.path, os.fstat, file)
        if (status.st_ino, status.st_dev) != (seen.st_ino, seen.st_dev):
            what = f"opened mailbox {self._shown} inode number changed from {seen.st_ino} to {status.st_ino}"
            raise deferred(what, freeze=True, errno=INODE_CHANGED)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(seen.st_mode):
            kind = "named pipe" if stat.S_ISFIFO(seen.st_mode) else "regular file"
            raise deferred(f"opened mailbox {self._shown} is no longer a {kind}", freeze=True, errno=NOT_REGULAR)
        if (status.st_uid, status.st_gid) != (seen.st_uid, seen.st_gid):
            raise deferred(f"opened mailbox {self._shown} has wrong uid or gid", freeze=True, errno=WRONG_OWNER)
        if stat.S_IMODE(status.st_mode) != mode:
            found = stat.S_IMODE(status.st_mode)
            what = f"opened mailbox {self._shown} has wrong mode {found:o} ({mode:o} expected)"
            raise deferred(what, freeze=True, errno=WRONG_MODE)
        if self._job.formats and stat.S_ISREG(status.st_mode):
            start = os.pread(file, _FORMAT_OCTETS, 0)
            form = format_of(start, self._job)
            if form is None or form[1] != self._job.transport:
                raise deferred("open mailbox has changed format")

    def _check_format_of_path(self) -> None:
        if not self._job.formats:
            return
        try:
            file = os.open(self._job.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            start = os.read(file, _FORMAT_OCTETS)
        except OSError:
            return
        finally:
            os.close(file)
        other = format_of(start, self._job)
        if other is None:
            raise deferred("mailbox file format unrecognized", errno=FORMAT_UNKNOWN)
        if other[1] != self._job.transport:
            raise NotDelivered(Report(Verdict.ELSEWHERE, other[1], output=other[0]))

    # Locking

    def _lock(self, file: int) -> bool:
        locking = self._job.locking
        if locking.use_fcntl_lock and not self._try(_fcntl_lock, file, locking.lock_fcntl_timeout):
            return False
        return not locking.use_flock_lock or self._try(_flock_lock, file, locking.lock_flock_timeout)

    def _try(self, lock: _Lock, file: int, timeout: int) -> bool:
        """One lock; a timeout stands for Exim's blocking call."""
        waited = 0.0
        while not lock(file):
            if waited >= timeout:
                return False
            self._clock.sleep(_LOCK_PAUSE)
            waited += _LOCK_PAUSE
        return True

    def _is_still_the_mailbox(self, file: int) -> bool:
        """False where the file was renamed or removed while we waited for the lock."""
        try:
            named, opened = os.stat(self._job.path), os.fstat(file)
        except OSError:
            return False
        return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


_Lock = Callable[[int], bool]


def _fcntl_lock(file: int) -> bool:
    return _taken(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB))


def _flock_lock(file: int) -> bool:
    return _taken(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))


def _taken(lock: Callable[[], None]) -> bool:
    """False where somebody else has it."""
    try:
        lock()
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise deferred("while locking an open mailbox", errno=error.errno or 0) from error
    return True


def format_of(start: bytes, job: Append) -> tuple[str, str] | None:
    """How a file begins, and the transport for it; None where none is known. An empty file is of any format."""
    if not start:
        return "", job.transport
    return next((each for each in job.formats if start.startswith(os.fsencode(each[0]))), None)


class LockFile:
    """`MAILBOX.lock`, made as a link to a file of our own, which also works over NFS."""

    def __init__(self, job: Append, clock: BlockingClock, disk: Disk) -> None:
        self._job = job
        self._clock = clock
        self._disk = disk
        self._path = f"{job.path}.lock"
        self._is_ours = False

    def take(self) -> None:
        """Raises NotDelivered where somebody else keeps it. A lock older than lockfile_timeout is broken."""
        locking = self._job.locking
        if not locking.use_lockfile:
            return
        for attempt in range(max(locking.lock_retries, 1)):
            if attempt:
                self._clock.sleep(locking.lock_interval)
            if self._take_once():
                self._is_ours = True
                return
            self._break_if_old(locking.lockfile_timeout)
        raise deferred(f"failed to lock mailbox {printable(self._job.path)} (lock file)", errno=LOCK_FAILED)

    def release(self) -> None:
        """Never fails; nothing where there is no lock of ours."""
        if self._is_ours:
            self._is_ours = False
            quietly(self._disk.remove, self._path)

    def _take_once(self) -> bool:
        now = int(self._clock.now())
        ours = f"{self._path}.{self._job.hostname}.{now:08x}.{os.getpid():08x}"
        mode = self._job.locking.lockfile_mode
        try:
            file = self._disk.create(ours, mode)
        except OSError as error:
            ids = f"(euid={os.geteuid()} egid={os.getegid()})"
            what = f"creating lock file hitching post {printable(ours)} {ids}"
            raise deferred(what, errno=error.errno or 0) from error
        try:
            self._disk.link(ours, self._path)
            return True
        except OSError:
            # Over NFS the answer may be lost although the link was made: the number of names tells.
            return os.fstat(file).st_nlink == 2
        finally:
            quietly(self._disk.close, file)
            quietly(self._disk.remove, ours)

    def _break_if_old(self, timeout: int) -> None:
        try:
            if timeout > 0 and self._clock.now() - os.stat(self._path).st_ctime > timeout:
                self._disk.remove(self._path)
        except OSError:
            pass
