"""Where log lines end up: files that survive rotation, or a stream (edge).

A line is one `write` on a descriptor opened for appending, so lines of several processes do not mix. A log
that can't be written never disturbs the mail: the failure is counted and said once on standard error, and
said again only after a line has gone through in between.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay.observe.line import Log

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
_CHECK_INTERVAL = 1.0


class Sink(Protocol):
    """What `MainLog` writes to."""

    def write(self, log: Log, line: bytes, now: float) -> None:
        """Appends one line, which has its line end; never raises."""
        ...

    def reopen(self) -> None:
        """Opens everything anew at the next line: after a rotation, on SIGUSR1."""
        ...


def complain(text: str) -> None:
    """The last resort when a log can't be written: a line on standard error, if there is one."""
    _show(f"relay: {text}\n")


def _show(line: str) -> None:
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody is left to be told


@dataclass(slots=True)
class _OpenFile:
    descriptor: int
    path: str
    device: int
    inode: int


class LogFiles:
    """Files named by a pattern like Exim's `log_file_path`: `%s` is the log's name, `%D` and `%M` the date as
    `20261121` and `202611`, in local time.

    Without `%s` all logs share one file. A file that was renamed or removed is noticed within a second.
    """

    def __init__(self, pattern: str, *, complain: Callable[[str], None] = complain) -> None:
        if not pattern.startswith("/"):
            raise ValueError(f'path for log file "{pattern}" is not absolute')
        self._pattern = pattern
        self._dated = "%D" in pattern or "%M" in pattern
        self._complain = complain
        self._open: dict[Log, _OpenFile] = {}
        self._next_check: dict[Log, float] = {}
        self._complained = False
        self.failures = 0
        """Lines that could not be written."""

    def path(self, log: Log, now: float) -> str:
        """The name of a log's file at that time."""
        path = self._pattern.replace("%s", log.value)
        if self._dated:
            day = time.localtime(now)
            path = path.replace("%D", time.strftime("%Y%m%d", day)).replace("%M", time.strftime("%Y%m", day))
        return path

    def write(self, log: Log, line: bytes, now: float) -> None:
        """Appends the line with a single write."""
        try:
            file = self._file(log, now)
            written = os.write(file.descriptor, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} octets written")
        except OSError as error:
            self._failed(log, error, now)
            return
        self._complained = False

    def reopen(self) -> None:
        """Closes all files; the next line opens its own."""
        for file in self._open.values():
            os.close(file.descriptor)
        self._open.clear()
        self._next_check.clear()

    close = reopen

    def _file(self, log: Log, now: float) -> _OpenFile:
        file = self._open.get(log)
        if file is not None:
            due = self._next_check[log]
            # A clock that was set back must not put the check off.
            if due - _CHECK_INTERVAL <= now < due or self._is_in_place(file, log, now):
                if not due - _CHECK_INTERVAL <= now < due:
                    self._next_check[log] = now + _CHECK_INTERVAL
                return file
            os.close(file.descriptor)
            del self._open[log]
        file = self._open[log] = _open(self.path(log, now))
        self._next_check[log] = now + _CHECK_INTERVAL
        return file

    def _is_in_place(self, file: _OpenFile, log: Log, now: float) -> bool:
        if self._dated and self.path(log, now) != file.path:
            return False
        try:
            found = os.stat(file.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (file.device, file.inode)

    def _failed(self, log: Log, error: OSError, now: float) -> None:
        self.failures += 1
        if not self._complained:
            self._complained = True
            self._complain(f"can't write {self.path(log, now)}: {error.strerror or error}; log lines are being lost")


def _open(path: str) -> _OpenFile:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, FILE_MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)
        descriptor = os.open(path, flags, FILE_MODE)
    status = os.fstat(descriptor)
    return _OpenFile(descriptor, path, status.st_dev, status.st_ino)


class LogStream:
    """All logs on one descriptor, standard error of `relay run`. A line that goes to several logs appears
    once.
    """

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self.failures = 0

    def write(self, log: Log, line: bytes, now: float) -> None:
        """Writes main log lines, and those that no main log has."""
        try:
            os.write(self._descriptor, line)
        except OSError:
            self.failures += 1

    def reopen(self) -> None:
        """A stream has nothing to open."""


class PanicShown:
    """Lines of the panic log are on standard error as well: whoever has started the process by hand sees them at once
    (Exim: log_stderr)."""

    def __init__(self, sink: Sink, show: Callable[[str], None] | None = None) -> None:
        """`show` writes a line, which has its line end."""
        self._sink = sink
        self._show = show or _show

    def write(self, log: Log, line: bytes, now: float) -> None:
        """Shows it before it is written: the log itself may be what is in trouble."""
        if log is Log.PANIC:
            self._show(line.decode("utf-8", "backslashreplace"))
        self._sink.write(log, line, now)

    def reopen(self) -> None:
        """As of what it writes to."""
        self._sink.reopen()


def open_logs(log_file_path: str, spool_directory: str) -> Sink:
    """The sink that an expanded `log_file_path` asks for; empty means Exim's place under the spool directory.

    ValueError says why a value can't be used. `syslog` is refused: a service manager reads standard error.
    """
    names = [part.strip() for part in log_file_path.split(":")] if log_file_path.strip() else [""]
    if "syslog" in names:
        raise ValueError("log_file_path: syslog is not served; name files, or run in the foreground")
    chosen = [name for name in names if name] or [f"{spool_directory}/log/%slog"]
    if len(chosen) > 1:
        raise ValueError("log_file_path: more than one path")
    return LogFiles(chosen[0])
