"""A message as a file of its own: in a maildir, or in a plain directory (disk).

The file is written under another name, synced, linked to its final name, and that directory is synced; only then
is the message delivered. Whatever step fails, no half message ever has a name that a reader looks for, and what
was written is removed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from relay.delivery import quota
from relay.delivery.disk import (
    BlockingClock,
    Disk,
    MailboxTrouble,
    make_directories,
    make_one,
    may_create,
    quietly,
    step,
    write_all,
)
from relay.delivery.jobs import NewFile, NotDelivered, Report, Verdict, Written, deferred
from relay.delivery.maildir_size import SizeFile
from relay.mail.outcome import ErrorClass
from relay.mail.text import printable

MAILDIR_PARTS = ("tmp", "new", "cur")

T = TypeVar("T")


class NameTaken(Exception):
    """There is a file of the final name already: another one may be asked for."""

    def __init__(self, trouble: MailboxTrouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


class NewFileWriter:
    """One message on its way into one directory. Blocking; every method but `abandon` may raise NotDelivered,
    after which nothing of the message is left behind."""

    def __init__(self, job: NewFile, clock: BlockingClock | None = None, disk: Disk | None = None) -> None:
        self._job = job
        self._disk = disk or Disk()
        self._temporary = os.path.join(job.directory, job.temporary)
        self._file: int | None = None
        self._final = ""
        self._size = 0
        self._crosses = False
        self._clock = clock
        self._size_file: SizeFile | None = None

    def write(self, pieces: Sequence[bytes]) -> None:
        """Appends octets as they are."""
        try:
            file = self._opened()
            for piece in pieces:
                write_all(self._disk, self._temporary, file, piece)
                self._size += len(piece)
        except NotDelivered:
            self.abandon()
            raise

    def complete(self, pieces: Sequence[bytes] = ()) -> Written:
        """Appends the last octets and makes them durable, still under the other name."""
        self.write(pieces)
        assert self._file is not None
        try:
            step("while syncing", self._temporary, self._disk.sync, self._file)
        except NotDelivered:
            self.abandon()
            raise
        return Written(self._size, os.fstat(self._file).st_ino)

    def deliver(self, name: str = "") -> Report:
        """Gives the file its name, which is durable then. Raises NameTaken where it is not free."""
        assert self._file is not None
        try:
            final = self._named(name or self._job.final)
        except NotDelivered:
            self.abandon()
            raise
        # Delivered: nothing that fails from here on may take it back.
        file, self._file = self._file, None
        quietly(self._disk.close, file)
        quietly(self._disk.remove, self._temporary)
        if self._size_file is not None:
            self._size_file.record(self._size)
            self._size_file.close()
        return Report(Verdict.DELIVERED, final, crosses=self._crosses)

    def finish(self, pieces: Sequence[bytes] = ()) -> Report:
        """`complete` and `deliver` in one, for a file whose name is known before."""
        self.complete(pieces)
        try:
            return self.deliver()
        except NameTaken as taken:
            self.abandon()
            raise taken.trouble from None

    def abandon(self) -> None:
        """Removes what there is of the message. Does not fail: a stray file of a temporary name is no message to
        anybody."""
        if self._size_file is not None:
            self._size_file.close()
        if self._file is None:
            return
        file, self._file = self._file, None
        quietly(self._disk.close, file)
        if self._final:
            quietly(self._disk.remove, self._final)
        quietly(self._disk.remove, self._temporary)

    def _named(self, name: str) -> str:
        """The path that it has then. A tag that leaves a name too long is left out (Exim: maildir_tag)."""
        final = os.path.join(self._job.directory, name)
        try:
            self._name(final)
        except MailboxTrouble as trouble:
            if trouble.cause.errno != errno.ENAMETOOLONG or self._job.spare in ("", name):
                raise
            final = os.path.join(self._job.directory, self._job.spare)
            self._name(final)
        return final

    def _name(self, final: str) -> None:
        try:
            self._despite_missing(lambda: step("while delivering to", final, self._disk.link, self._temporary, final))
        except MailboxTrouble as trouble:
            if trouble.cause.errno == errno.EEXIST and not self._job.final:
                raise NameTaken(trouble) from trouble
            raise
        self._final = final
        directory = os.path.dirname(final)
        step("while syncing", directory, self._disk.sync_directory, directory)

    def _opened(self) -> int:
        if self._file is None:
            self._prepare()
            mode = self._job.place.mode
            self._file = self._despite_missing(
                lambda: step("while creating file", self._temporary, self._disk.create, self._temporary, mode)
            )
        return self._file

    def _despite_missing(self, make: Callable[[], T]) -> T:
        """Directories are looked for where a step has found that one is missing: nearly always all are there."""
        try:
            return make()
        except MailboxTrouble as trouble:
            if trouble.cause.errno != errno.ENOENT or not self._job.place.create_directory:
                raise
        self._make_directories()
        return make()

    def _make_directories(self) -> None:
        job = self._job
        make_directories(self._disk, job.directory, job.place.directory_mode)
        for part in MAILDIR_PARTS if job.maildir else ():
            path = os.path.join(job.directory, part)
            if not os.path.isdir(path):
                make_one(self._disk, path, job.place.directory_mode)

    def _prepare(self) -> None:
        job = self._job
        if not may_create(os.path.join(job.directory, "any"), job.place):
            shown = printable(job.directory)
            what = f"tried to create file in {shown}, but file creation outside the home directory is not permitted"
            raise deferred(what, ErrorClass.CREATION)
        is_measured = job.quota.is_measured
        is_folder = job.folder_regex and re.search(os.fsencode(job.folder_regex), os.fsencode(job.directory))
        if job.place.create_directory and (is_measured or is_folder):
            self._make_directories()
        if is_folder:
            self._make_folder()
        if is_measured and self._counts():
            usage = self._usage()
            # Named as Exim does, which has gone into the directory.
            shown = os.path.relpath(self._temporary, job.directory)
            quota.check(job.quota, usage, job.message_size, shown, self._read_at())
            self._crosses = quota.crosses(job.quota, usage, job.message_size)

    def _make_folder(self) -> None:
        """The file by which a directory is known for a folder of another Maildir."""
        path = os.path.join(self._job.directory, "maildirfolder")
        if not os.path.lexists(path):
            step("while creating file", path, lambda: self._disk.close(self._disk.create(path, 0o600)))

    def _counts(self) -> bool:
        """Whether this folder of a Maildir counts: one that does not has neither a quota nor the file."""
        job, directory = self._job, self._measured_directory()
        if not job.quota.has_size_file or not job.quota.directory_regex:
            return True
        place = os.path.normpath(os.path.join(os.path.relpath(job.directory, directory), "new"))
        counts = re.search(os.fsencode(job.quota.directory_regex), os.fsencode(place)) is not None
        return counts or place.startswith("..")

    def _usage(self) -> quota.Usage:
        job, directory = self._job, self._measured_directory()
        if not (job.maildir and job.quota.has_size_file):
            return quota.measure(directory, job.quota.size_regex)
        temporary = os.path.join("tmp", f"{os.path.basename(job.temporary)}.size")
        self._size_file = SizeFile(directory, job.quota, job.place.mode, temporary)
        return self._size_file.usage(job.message_size, 0.0 if self._clock is None else self._clock.now())

    def _read_at(self) -> int:
        """Who reads a maildir takes messages out of `new`."""
        if not self._job.maildir:
            return -1
        try:
            return int(os.stat(os.path.join(self._job.directory, "new")).st_mtime)
        except OSError:
            return -1

    def _measured_directory(self) -> str:
        """A folder of a maildir counts together with the maildir that it belongs to (Maildir++)."""
        job = self._job
        if job.quota.directory:
            return job.quota.directory
        if job.maildir and os.path.exists(os.path.join(job.directory, "maildirfolder")):
            return os.path.dirname(job.directory.rstrip("/"))
        return job.directory
