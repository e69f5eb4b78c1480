"""The file `maildirsize`, in which those who deliver into a Maildir add up what is in it (disk).

Its first line has the quota that it was made for (`1000000S,200C`), each further one the octets and the files that came
or went. Whoever finds it wrong, too long, made for another quota, or telling that the Maildir is full, counts anew.
Nothing depends on it: where it can't be read or written the directories are measured. The rules are those of Maildir++;
Exim: maildir_ensure_sizefile.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass

from relay.delivery.jobs import Quota
from relay.delivery.quota import Usage, measure

NAME = "maildirsize"
LONGEST = 5120
"""Octets; a longer one is made anew."""
STALE = 15 * 60.0
"""Seconds after which one that tells of a full Maildir is not believed."""
# The file is its owner's, who may write anything: a number that Python can't hold is none.
_NUMBER = re.compile(rb"-?\d{1,18}")
_LIMIT = re.compile(rb"(-?\d{1,18}(?:\.\d{1,18})?)([A-Za-z])")
_NESTED = 8


@dataclass(frozen=True, slots=True)
class _Told:
    """What a file says, and in how many lines."""

    usage: Usage
    lines: int


class SizeFile:
    """The file of one Maildir, for one delivery. Blocking; nothing here raises."""

    def __init__(self, maildir: str, quota: Quota, mode: int, temporary: str) -> None:
        """`temporary`: a name that nobody else has, for a new one."""
        self._maildir = maildir
        self._quota = quota
        self._mode = mode
        self._temporary = temporary
        self._path = os.path.join(maildir, NAME)
        self._file: int | None = None

    def usage(self, message_size: int, now: float) -> Usage:
        """What the Maildir has in it, of which a message of so many octets may be too much."""
        told = self._read()
        if told is None or (self._is_full(told.usage, message_size) and self._is_doubtful(told, now)):
            return self._recounted()
        return told.usage

    def record(self, size: int) -> None:
        """A message of so many octets has come."""
        if self._file is not None:
            try:
                os.write(self._file, b"%d 1\n" % size)
            except OSError:
                pass

    def close(self) -> None:
        """Lets the file go."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.close(file)
            except OSError:
                pass

    def _read(self) -> _Told | None:
        """None: there is none, or none to be believed."""
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(self._path, flags)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                return None  # a pipe would keep us waiting
            text = os.read(self._file, LONGEST)
        except OSError:
            return None
        if len(text) >= LONGEST:
            return None
        first, *lines = text.split(b"\n")
        return _added_up(lines) if _limits(first) == (self._quota.size, self._quota.files) else None

    def _is_full(self, usage: Usage, message_size: int) -> bool:
        quota = self._quota
        size, files = (message_size, 1) if quota.is_inclusive else (0, 0)
        return quota.is_set and (
            usage.size + size > quota.size or bool(quota.files and usage.files + files > quota.files)
        )

    def _is_doubtful(self, told: _Told, now: float) -> bool:
        assert self._file is not None
        return told.lines > 1 or now - os.fstat(self._file).st_mtime > STALE

    def _recounted(self) -> Usage:
        self.close()
        regex = re.compile(os.fsencode(self._quota.directory_regex)) if self._quota.directory_regex else None
        counted, latest = _counted(self._maildir, regex, self._quota.size_regex)
        made = os.path.join(self._maildir, self._temporary)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        first = f"{self._quota.size}S,{self._quota.files}C\n{counted.size} {counted.files}\n"
        try:
            self._file = os.open(made, flags, self._mode)
            os.write(self._file, first.encode("ascii"))
            os.rename(made, self._path)
            if _counted(self._maildir, regex, None)[1] > latest:
                # Somebody has been here meanwhile, and is not counted.
                os.unlink(self._path)
                self.close()
        except OSError:
            self.close()
            with contextlib.suppress(OSError):
                os.unlink(made)
        return counted


def _limits(line: bytes) -> tuple[int, int] | None:
    """Octets and files that the first line names; None where it is no such line."""
    found = {b"S": 0, b"C": 0}
    for each in line.split(b","):
        match = _LIMIT.fullmatch(each)
        if match is None:
            return None
        found[match[2]] = int(float(match[1]))
    return found[b"S"], found[b"C"]


def _added_up(lines: list[bytes]) -> _Told | None:
    size = files = count = 0
    for line in lines:
        if not line:
            continue
        parts = line.split()
        if len(parts) != 2 or not all(_NUMBER.fullmatch(each) for each in parts):
            return None
        size, files, count = size + int(parts[0]), files + int(parts[1]), count + 1
    return _Told(Usage(size, files), count) if size >= 0 and files >= 0 else None


def _counted(
    path: str, regex: re.Pattern[bytes] | None, size_regex: str | None, levels: int = _NESTED
) -> tuple[Usage, float]:
    """What lies in the directories of messages whose names the pattern takes, those of folders included, and when the
    last of them was changed. `size_regex` None: nothing is counted. Links are not followed: a few that lead back here
    would be counted for ever."""
    size, files, latest = 0, 0, 0.0
    try:
        with os.scandir(path) as entries:
            directories = [each for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return Usage(), latest
    for directory in directories:
        if regex is not None and not regex.search(os.fsencode(directory.name)):
            continue
        try:
            latest = max(latest, directory.stat(follow_symlinks=False).st_mtime)
        except OSError:
            continue
        if directory.name.startswith("."):
            found, changed = _counted(directory.path, regex, size_regex, levels - 1) if levels else (Usage(), 0.0)
            latest = max(latest, changed)
        else:
            found = measure(directory.path, size_regex) if size_regex is not None else Usage()
        size, files = size + found.size, files + found.files
    return Usage(size, files), latest
