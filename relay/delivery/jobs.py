"""What a local delivery comes to once everything is expanded: a file to append to, a new file, a command (values).

A job holds no expansion and asks for no decision, so that it can be carried out in a thread or handed, as a
line of JSON, to a process that has become another user. Reading it back is strict: names and types must be
those of the job, since the reader may be root.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that a delivery runs as, with the groups it is a member of, and where."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    directory: str = "/"
    """The current directory."""


class CreateFile(enum.Enum):
    """Where a file that is not there may be made (Exim: create_file)."""

    ANYWHERE = "anywhere"
    BELOW_HOME = "belowhome"
    IN_HOME = "inhome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How files and directories are made."""

    create: CreateFile = CreateFile.ANYWHERE
    home: str = ""
    """The directory that `create` speaks of; "": nothing is checked."""
    create_directory: bool = True
    directory_mode: int = 0o700
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Locking:
    """How a mailbox file is locked, Exim's options of the same names; times in seconds."""

    use_lockfile: bool = True
    use_fcntl_lock: bool = True
    use_flock_lock: bool = False
    lock_retries: int = 10
    lock_interval: int = 3
    lock_fcntl_timeout: int = 0
    lock_flock_timeout: int = 0
    lockfile_timeout: int = 1800
    lockfile_mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How large a mailbox may become; 0: no limit."""

    size: int = 0
    files: int = 0
    is_inclusive: bool = True
    """The message counts already when it is decided whether it still fits."""
    ignores_size: bool = False
    """`/no_check`: the amount is known, and nothing is refused."""
    ignores_files: bool = False
    size_regex: str = ""
    """Finds the size of a file in its name."""
    directory: str = ""
    """What is measured, where it is not the mailbox itself."""
    mailbox_size: int = -1
    """What is there already, where somebody else has counted; -1: it is measured."""
    mailbox_files: int = -1
    has_size_file: bool = False
    """What is in a Maildir is added up in a file of its own (Exim: maildir_use_size_file)."""
    directory_regex: str = ""
    """Finds the directories of a Maildir that count then."""
    threshold: int = 0
    """Octets beyond which the owner is told; 0: never."""

    @property
    def is_set(self) -> bool:
        return self.size > 0

    @property
    def is_measured(self) -> bool:
        """Whether it has to be known what is there."""
        return self.is_set or self.has_size_file or self.threshold > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """A message behind the others in one file."""

    transport: str
    path: str
    place: Place = field(default_factory=Place)
    locking: Locking = field(default_factory=Locking)
    quota: Quota = field(default_factory=Quota)
    message_size: int = 0
    file_must_exist: bool = False
    allow_symlink: bool = False
    allow_fifo: bool = False
    check_owner: bool = True
    check_group: bool = False
    mode_fail_narrower: bool = True
    is_redirected: bool = False
    """A redirection named the file: that it can't be made is its author's mistake, and final."""
    formats: tuple[tuple[str, str], ...] = ()
    """How existing files may begin, and which transport each is for (Exim: file_format)."""
    hostname: str = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A message as a file of its own in a directory."""

    transport: str
    directory: str
    temporary: str
    """The name while it is written, below the directory."""
    final: str = ""
    """The name afterwards; "": it is asked for when the file is complete."""
    spare: str = ""
    """The name where the one that was asked for is too long for the file system; "": there is no other."""
    maildir: bool = True
    folder_regex: str = ""
    """Finds the directories that are folders of another Maildir (Exim: maildirfolder_create_regex)."""
    place: Place = field(default_factory=Place)
    quota: Quota = field(default_factory=Quota)
    message_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A message as the input of a command. Times in seconds, `max_output` in octets."""

    transport: str
    command: str
    """As it was written, for messages about it."""
    arguments: tuple[str, ...]
    environment: tuple[str, ...] = ()
    umask: int = 0o022
    timeout: int = 3600
    timeout_defer: bool = False
    max_output: int = 20480
    temp_errors: tuple[int, ...] = (75, 73)
    all_errors_are_temporary: bool = False
    ignore_status: bool = False
    freeze_exec_fail: bool = False
    freeze_signal: bool = False
    permit_coredump: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LMTPJob:
    """A message for an LMTP server: one behind a Unix socket, or a command that is one. `timeout` in seconds, for each
    answer."""

    transport: str
    hostname: str
    sender: str
    recipients: tuple[str, ...]
    socket: str = ""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    timeout: int = 300
    ignore_quota: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A command that a message goes through on its way to a transport (Exim: transport_filter)."""

    transport: str
    arguments: tuple[str, ...]
    timeout: int = 300
    """Seconds in which it has to read or to write something."""
    limit: int = 64 * 1024 * 1024
    """Octets that it may write."""


@dataclass(frozen=True, slots=True)
class FilterEnd:
    """How a filter has ended."""

    status: int = 0
    """Negative for a signal, 127 where it could not be run."""
    is_late: bool = False
    """It was killed because it did nothing for too long."""
    trouble: str = ""
    """What else went wrong; "": nothing."""

    @property
    def is_good(self) -> bool:
        return not (self.status or self.is_late or self.trouble)

    def text(self, *, where: str = "") -> str:
        """In Exim's words; `where` follows the status."""
        if self.is_late:
            return "transport filter timeout"
        if self.trouble:
            return f"transport filter process failed: {self.trouble}"
        unknown = ": unable to execute command" if self.status == 127 else ""
        return f"transport filter process failed ({self.status}){where}{unknown}"


Job = Append | NewFile | Command | LMTPJob | Filter
_JOBS: dict[str, type[Append] | type[NewFile] | type[Command] | type[LMTPJob] | type[Filter]] = {
    "append": Append,
    "new_file": NewFile,
    "command": Command,
    "lmtp": LMTPJob,
    "filter": Filter,
}


def runs_command(job: Job) -> bool:
    """Whether a program is started for it, which root's must never be."""
    return isinstance(job, Command | Filter) or (isinstance(job, LMTPJob) and bool(job.arguments))


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of a file that is complete and has no name yet."""

    size: int
    inode: int


class Verdict(enum.Enum):
    """What became of a job."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"
    """The file is of another format: `text` is the transport for it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a job, as it comes back."""

    verdict: Verdict
    text: str = ""
    error: ErrorClass = ErrorClass.LOCAL
    freeze: bool = False
    output: str = ""
    """What a command has written, or how a mailbox of another format begins."""
    each: tuple[Report, ...] = ()
    """One for each recipient, where they are told apart (LMTP); what stands above is then of no account."""
    read_at: int = -1
    """When somebody last looked into a mailbox that is full, seconds since the epoch; -1: not known."""
    is_misconfigured: bool = False
    """What is wrong is how the transport is set up."""
    size: int = 0
    """Octets that were written; who gives them knows."""
    errno: int = 0
    """As in `Deferred`."""
    crosses: bool = False
    """The message has taken the mailbox over its threshold."""

    def outcome(self) -> Outcome:
        """The outcome for each recipient of the delivery."""
        match self.verdict:
            case Verdict.DELIVERED:
                return Delivered(self.text, size=self.size)
            case Verdict.FAILED:
                return Failed(self.text)
            case Verdict.DEFERRED | Verdict.ELSEWHERE:
                read_at = float(self.read_at) if self.read_at >= 0 else None
                return Deferred(
                    self.text,
                    self.error,
                    freeze=self.freeze,
                    read_at=read_at,
                    is_misconfigured=self.is_misconfigured,
                    errno=self.errno,
                )
            case _ as never:
                typing.assert_never(never)


class NotDelivered(Exception):
    """A job came to its end without a delivery; the text is for the log."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.text)
        self.report = report


def deferred(
    reason: str, error: ErrorClass = ErrorClass.LOCAL, *, freeze: bool = False, read_at: int = -1, errno: int = 0
) -> NotDelivered:
    """To be raised: not now."""
    return NotDelivered(Report(Verdict.DEFERRED, reason, error, freeze, read_at=read_at, errno=errno))


def misconfigured(reason: str, error: ErrorClass = ErrorClass.LOCAL) -> NotDelivered:
    """To be raised: not before somebody has mended how the transport is set up."""
    return NotDelivered(Report(Verdict.DEFERRED, reason, error, is_misconfigured=True))


def failed(reason: str) -> NotDelivered:
    """To be raised: never."""
    return NotDelivered(Report(Verdict.FAILED, reason))


# JSON


class BadRequest(ValueError):
    """What was read is none of our values."""


def encode(value: Any) -> str:
    """A value of this module as one line of JSON."""
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        kinds = [name for name, kind in _JOBS.items() if isinstance(value, kind)]
        fields = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return {"kind": kinds[0], **fields} if kinds else fields
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def decode_job(line: str | bytes) -> Job:
    """Reads a job. Raises BadRequest."""
    fields = _object(line)
    kind = _JOBS.get(str(fields.pop("kind", "")))
    if kind is None:
        raise BadRequest("there is no such job")
    return _made(kind, fields)


def decode(kind: type[T], line: str | bytes) -> T:
    """Reads another value of this module. Raises BadRequest."""
    return _made(kind, _object(line))


def _object(line: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise BadRequest("that is no JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("that is no object")
    return value


def _made(kind: type[T], fields: dict[str, Any]) -> T:
    hints = typing.get_type_hints(kind)
    if set(fields) != set(hints):
        raise BadRequest(f"{kind.__name__} has other fields")
    return kind(**{name: _typed(hints[name], value) for name, value in fields.items()})


def _typed(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)
        if inner[1:] == (...,):
            return tuple(_typed(inner[0], each) for each in value)
        if len(inner) == len(value):
            return tuple(_typed(one, each) for one, each in zip(inner, value, strict=True))
    elif dataclasses.is_dataclass(hint) and isinstance(value, dict) and isinstance(hint, type):
        return _made(hint, value)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            pass
    elif type(value) is hint:
        return value
    raise BadRequest(f"{hint} was expected")
