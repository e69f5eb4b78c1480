"""Mailboxes in maildir form: the transport appendfile with maildir_format (disk).

`MaildirWriter` is the blocking part: a file is written under tmp/, synced, linked into new/, and that
directory is synced; only then is the message delivered. Whatever step fails, new/ never holds half a message,
and what was written is removed. Each step is a method of `Disk`, so that a test can make it fail.

`MaildirDelivery` is the transport as an attempt calls it: it expands the directory, pulls the body piece by
piece and has the writer's steps done in a thread. A message that fits into one batch costs one trip to the
thread.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import ParamSpec, TypeVar

from relay.delivery.attempt import BlockingCalls
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.values import is_tainted
from relay.mail.envelope import Recipient
from relay.mail.header import Field, join_fields, make_field, split_header
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Outcome
from relay.mail.ports import Body, Clock, TemporaryFailure
from relay.mail.queue import QueuedMessage
from relay.mail.text import printable

P = ParamSpec("P")
T = TypeVar("T")

# Octets of body that are gathered before the thread is called: what a delivery may hold in memory.
BATCH_SIZE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirTransport:
    """The options of an appendfile transport with maildir_format, named and with defaults as in Exim."""

    name: str
    directory: Expansion
    create_directory: bool = True
    directory_mode: int = 0o700
    mode: int = 0o600
    return_path_add: bool = False
    envelope_to_add: bool = False
    delivery_date_add: bool = False


class Disk:
    """The steps of a delivery as the operating system offers them."""

    def make_directory(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def create(self, path: str, mode: int) -> int:
        """A new file, never an existing one and never through a link."""
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(file, mode)  # the umask is not the configuration's
        except OSError:
            os.close(file)
            raise
        return file

    def write(self, file: int, data: bytes | memoryview) -> int:
        return os.write(file, data)

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


class MailboxTrouble(Exception):
    """A step failed: what was being done, with which path, and the system's error."""

    def __init__(self, doing: str, path: str, cause: OSError) -> None:
        super().__init__(f"failed to {doing} {printable(path)}: {cause.strerror or cause}")
        self.cause = cause

    def outcome(self) -> Deferred:
        """In words that name the path and, where there is a usual one, the remedy."""
        remedy, error = _REMEDIES.get(self.cause.errno or 0, ("", ErrorClass.LOCAL))
        return Deferred(f"{self} ({remedy})" if remedy else str(self), error)


_NOT_ALLOWED = ("let the user that the daemon runs as write there", ErrorClass.LOCAL)
_REMEDIES: dict[int, tuple[str, ErrorClass]] = {
    errno.ENOSPC: ("the disk is full: make room on it", ErrorClass.QUOTA),
    errno.EDQUOT: ("the disk quota is used up: make room in it", ErrorClass.QUOTA),
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOENT: ("make the directory, or set create_directory", ErrorClass.LOCAL),
    errno.EROFS: ("the file system is mounted read-only", ErrorClass.LOCAL),
    errno.ENOTDIR: ("something that is no directory is in the way", ErrorClass.LOCAL),
}


def _step(doing: str, path: str, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    try:
        return function(*arguments, **keywords)
    except OSError as error:
        raise MailboxTrouble(doing, path, error) from error


def _quietly(function: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """A step of cleaning up: where it fails, what is left in tmp/ is no message to anybody."""
    try:
        function(*arguments, **keywords)
    except OSError:
        pass


class MaildirWriter:
    """One message on its way into one maildir. Blocking; `write` and `finish` may raise MailboxTrouble, after
    which nothing of the message is left behind."""

    def __init__(
        self,
        directory: str,
        file_name: str,
        *,
        create_directory: bool = True,
        directory_mode: int = 0o700,
        mode: int = 0o600,
        disk: Disk | None = None,
    ) -> None:
        self._directory = directory
        self._temporary = os.path.join(directory, "tmp", file_name)
        self._final = os.path.join(directory, "new", file_name)
        self._create_directory = create_directory
        self._directory_mode = directory_mode
        self._mode = mode
        self._disk = disk or Disk()
        self._file: int | None = None
        self._is_linked = False
        self._held = b""  # a CR at the end of a piece, until it is known what follows it

    def write(self, pieces: Sequence[bytes]) -> None:
        """Appends octets with CRLF line ends; the file gets LF."""
        try:
            self._append(pieces)
        except MailboxTrouble:
            self.abandon()
            raise

    def finish(self, pieces: Sequence[bytes] = ()) -> str:
        """Appends the last octets and delivers. Returns the path of the file, which is durable then."""
        try:
            self._append(pieces)
            self._deliver()
        except MailboxTrouble:
            self.abandon()
            raise
        return self._final

    def abandon(self) -> None:
        """Removes what there is of the message. Does not fail: a stray file under tmp/ is no message to
        anybody."""
        if self._file is None:
            return
        file, self._file = self._file, None
        _quietly(self._disk.close, file)
        if self._is_linked:
            _quietly(self._disk.remove, self._final)
        _quietly(self._disk.remove, self._temporary)

    def _append(self, pieces: Sequence[bytes]) -> None:
        file = self._opened()
        for piece in pieces:
            data = self._held + piece
            self._held = data[-1:] if data.endswith(b"\r") else b""
            self._write_all(file, data[: len(data) - len(self._held)].replace(b"\r\n", b"\n"))

    def _write_all(self, file: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[_step("write", self._temporary, self._disk.write, file, rest) :]

    def _opened(self) -> int:
        if self._file is None:
            if self._create_directory:
                self._make_directories()
            self._file = _step("create", self._temporary, self._disk.create, self._temporary, self._mode)
        return self._file

    def _make_directories(self) -> None:
        """The maildir, whatever is missing above it, and its three parts (the maildir format has no
        others)."""
        missing = []
        above = self._directory
        while above and not os.path.isdir(above) and above not in missing:
            missing.append(above)
            above = os.path.dirname(above)
        parts = (os.path.join(self._directory, part) for part in ("tmp", "new", "cur"))
        for path in (*reversed(missing), *(part for part in parts if not os.path.isdir(part))):
            try:
                self._disk.make_directory(path, self._directory_mode)
            except FileExistsError:
                continue  # another delivery was faster
            except OSError as error:
                raise MailboxTrouble("create directory", path, error) from error
            _step("sync", os.path.dirname(path), self._disk.sync_directory, os.path.dirname(path))

    def _deliver(self) -> None:
        file = self._opened()
        self._write_all(file, self._held)
        self._held = b""
        _step("sync", self._temporary, self._disk.sync, file)
        _step("deliver to", self._final, self._disk.link, self._temporary, self._final)
        self._is_linked = True
        new = os.path.dirname(self._final)
        _step("sync", new, self._disk.sync_directory, new)
        # Delivered: nothing that fails from here on may take it back.
        self._file, self._is_linked = None, False
        _quietly(self._disk.close, file)
        _quietly(self._disk.remove, self._temporary)


def added_fields(options: MaildirTransport, message: QueuedMessage, recipient: Recipient, now: float) -> bytes:
    """The header of the delivered copy: fields that the options ask for, then the message's own without older
    ones of the same names (RFC 5321 4.4: one Return-Path, made at the final delivery)."""
    added: list[Field] = []
    if options.return_path_add:
        added.append(make_field("Return-path", f"<{_on_one_line(str(message.sender))}>"))
    if options.envelope_to_add:
        added.append(make_field("Envelope-to", _on_one_line(str(recipient.address))))
    if options.delivery_date_add:
        added.append(make_field("Delivery-date", formatdate(now, localtime=True)))
    if not added:
        return message.header
    fields, rest = split_header(message.header)
    kept = tuple(field for field in fields if not any(field.is_named(each.name) for each in added))
    return join_fields((*added, *kept)) + rest


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else printable(text)


class MaildirDelivery:
    """The transport: what an attempt gives a recipient with this transport to."""

    def __init__(
        self,
        options: MaildirTransport,
        *,
        calls: BlockingCalls,
        clock: Clock,
        hostname: str,
        pid: int,
        disk: Disk | None = None,
    ) -> None:
        self._options = options
        self._calls = calls
        self._clock = clock
        self._place = f"P{pid}.{re.sub(r'[/:]', _octal, hostname)}"
        self._numbers = itertools.count()
        self._disk = disk

    async def deliver(self, recipient: Recipient, message: QueuedMessage, body: Body, scope: Scope) -> Outcome:
        """Delivered with the path of the file as confirmation, or Deferred. Raises SpoolUnavailable for the
        body."""
        try:
            directory = await self._directory_for(scope)
        except _Unusable as error:
            return Deferred(str(error), ErrorClass.LOCAL)
        now = self._clock.now()
        options = self._options
        writer = MaildirWriter(
            directory,
            self._file_name(now),
            create_directory=options.create_directory,
            directory_mode=options.directory_mode,
            mode=options.mode,
            disk=self._disk,
        )
        try:
            path = await self._pour(added_fields(options, message, recipient, now) + b"\r\n", body, writer)
        except MailboxTrouble as trouble:
            return trouble.outcome()
        except Exception:
            await self._calls.call(writer.abandon)
            raise
        return Delivered(path)

    async def _pour(self, header: bytes, body: Body, writer: MaildirWriter) -> str:
        """Header and body into the writer, a batch at a time."""
        batch, size = [header], len(header)
        for number in itertools.count():
            piece = await body.piece(number)
            if not piece:
                break
            if size + len(piece) > BATCH_SIZE:
                await self._calls.call(writer.write, tuple(batch))
                batch, size = [], 0
            batch.append(piece)
            size += len(piece)
        return await self._calls.call(writer.finish, tuple(batch))

    async def _directory_for(self, scope: Scope) -> str:
        name = self._options.name
        try:
            path = await self._options.directory.text(scope)
        except ForcedFailure as error:
            raise _Unusable(f"{name} transport: no directory: {error}") from error
        except (ExpansionFailed, TemporaryFailure) as error:
            raise _Unusable(f"failed to expand directory for {name} transport: {error}") from error
        if is_tainted(path):
            shown = printable(path, 200)
            raise _Unusable(
                f"Tainted '{shown}' (file or directory name for {name} transport) not permitted "
                "(use $local_part_data and $domain_data)"
            )
        if not os.path.isabs(path) or "\0" in path:
            raise _Unusable(f'directory name "{printable(path, 200)}" for {name} transport is not absolute')
        return path

    def _file_name(self, now: float) -> str:
        """Unique among all processes that deliver here: time, process, a count, host (the maildir
        convention)."""
        seconds = int(now)
        return f"{seconds}.M{int((now - seconds) * 1_000_000):06d}Q{next(self._numbers)}{self._place}"


class _Unusable(Exception):
    """The directory can't be used; the text is for the log."""


def _octal(found: re.Match[str]) -> str:
    return f"\\{ord(found.group()):03o}"
