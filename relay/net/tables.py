"""What lookups and lists read: linear files, directories, SQLite databases (disk).

Everything here blocks and belongs into a thread. Nothing is kept between two calls; who keeps a `LinearTable` knows by
its file's `Stamp` when to read it again. Each fault is a TemporaryFailure with the operator's text, in Exim's words
where it has them: a table that can't be read is never a table without the key.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import apsw

from relay.expand.addresses import Network, read_address, read_network
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import compile_expansion
from relay.expand.list_items import BadItem, ItemTest, ListKind, Subject
from relay.expand.list_scan import compile_item
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.expand.values import from_octets, lower, octets
from relay.mail.ports import NotOpened, TemporaryFailure

# Octets of a file that is read whole, and of what a query yields.
FILE_LIMIT = 64 * 1024 * 1024
RESULT_LIMIT = 16 * 1024 * 1024
# Milliseconds that a query waits for a writer (Exim: sqlite_lock_timeout), and how much work it may be: thousands of
# steps of SQLite's machine, about ten seconds of them.
BUSY_MILLISECONDS = 5000
QUERY_STEPS = 200_000

_SPACE = b" \t\n\v\f\r"
_QUOTED_KEY = re.compile(rb'"((?:[^"\\]|\\.|\\$)*)"?', re.DOTALL)
_BARE_KEY = re.compile(rb"[^: \t\n\v\f\r]*")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{0,2}|.)", re.DOTALL)
_NAMED_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


# Files


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds since the epoch."""


def stamp_of(path: str, purpose: str) -> Stamp:
    """Raises TemporaryFailure; `purpose` is how its text goes on: `for linear search`."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError) as error:
        raise _not_opened(path, purpose, error) from None


def read_file(path: str, purpose: str) -> tuple[Stamp, bytes]:
    """The content of a regular file. Raises TemporaryFailure."""
    try:
        # Opening a pipe the usual way would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _not_opened(path, purpose, error) from None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise NotOpened(f"{path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise NotOpened(f"failed to read {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > FILE_LIMIT:
        raise NotOpened(f"{path} is larger than {FILE_LIMIT >> 20} MB")
    return _stamp(about), data


def read_lines(data: bytes) -> tuple[str, ...]:
    """The lines without their ends."""
    lines = data.split(b"\n")
    return tuple(from_octets(line) for line in (lines if lines[-1] else lines[:-1]))


def _stamp(about: os.stat_result) -> Stamp:
    return Stamp(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def _not_opened(path: str, purpose: str, error: OSError | ValueError) -> NotOpened:
    why = error.strerror if isinstance(error, OSError) else "not a file name"
    if isinstance(error, PermissionError):
        why = f"{why} (euid={os.geteuid()} egid={os.getegid()})"
    return NotOpened(f"failed to open {path} {purpose}: {why}")


# Linear files. Exim: lsearch and its like


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a linear file, its continuation lines joined."""

    key: str
    data: str
    full: str
    """Key and data as they stand in the file (`ret=full`), a quoted key without its quotes."""


def read_records(data: bytes) -> tuple[Record, ...]:
    """The entries in their order.

    A key ends at a colon or white space; in double quotes it may hold both, and escapes. A line that begins with white
    space goes on with the entry. Comments (`#`) and empty lines are passed over, and what goes on behind one of them is
    lost, as it is in Exim, whatever its manual says.
    """
    physical = data.split(b"\n")
    lines = [line.rstrip(_SPACE) for line in physical[:-1]]
    if physical[-1]:
        lines.append(physical[-1])
    found: list[list[bytes]] = []
    goes_on = False
    for line in lines:
        if not line or line.startswith(b"#"):
            goes_on = False
        elif line[0] not in _SPACE:
            found.append([line])
            goes_on = True
        elif goes_on:
            found[-1].append(b" " + line.lstrip(_SPACE))
    return tuple(_record(first, b"".join(more)) for first, *more in found)


def _record(line: bytes, more: bytes) -> Record:
    match = _QUOTED_KEY.match(line)
    if match is not None:
        key = _ESCAPE.sub(_unescaped, match[1])
    else:
        match = _BARE_KEY.match(line)
        assert match is not None
        key = match[0]
    rest = line[match.end() :]
    value = rest.lstrip(_SPACE)
    if value.startswith(b":"):
        value = value[1:].lstrip(_SPACE)
    return Record(from_octets(key), from_octets(value + more), from_octets(key + rest + more))


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Exim: string_interpret_escape."""
    text = match[1]
    if text[:1].isdigit() and text[0] < ord("8"):
        return bytes((int(text, 8) & 0xFF,))
    if text[:1] == b"x":
        return bytes((int(text[1:] or b"0", 16),))
    return _NAMED_ESCAPES.get(text, text)


class LinearTable:
    """The entries of a linear file; the first that matches counts. Methods that compare patterns may take long."""

    __slots__ = ("_by_key", "_networks", "_tests", "records")

    def __init__(self, data: bytes) -> None:
        self.records = read_records(data)
        self._by_key: dict[bytes, Record] = {}
        for record in self.records:
            self._by_key.setdefault(_folded(record.key), record)
        self._networks: tuple[tuple[Network, Record], ...] | None = None
        self._tests: dict[tuple[str, bool], Callable[[str], bool]] = {}

    def exact(self, key: str) -> Record | None:
        """The entry with this key, ASCII letters alike in either case (lsearch)."""
        return self._by_key.get(_folded(key))

    def holding(self, key: str) -> Record | None:
        """The first network that an address is in; `*` finds the key `*` (iplsearch). Raises TemporaryFailure."""
        if key == "*":
            return self.exact(key)
        address = read_address(key)
        if address is None:
            wanted = "an IP address, with optional CIDR mask, is wanted"
            advice = "in a host list, use net-iplsearch as the search type"
            raise TemporaryFailure(f'"{key}" is not a valid iplsearch key ({wanted}): {advice}')
        if self._networks is None:
            read = ((read_network(record.key), record) for record in self.records)
            self._networks = tuple((network, record) for network, record in read if network is not None)
        return next((record for network, record in self._networks if network.holds(address)), None)

    def matching(self, key: str, *, expanded: bool) -> Record | None:
        """The first entry whose key, an item of a string list, matches (nwildlsearch; wildlsearch is `expanded`).

        Raises TemporaryFailure where the scan comes to a key that is none, or that can't be expanded.
        """
        for record in self.records:
            pattern = (record.key, expanded)
            test = self._tests.get(pattern)
            if test is None:
                test = self._tests[pattern] = _pattern_test(*pattern)
            if test(key):
                return record
        return None


def _folded(key: str) -> bytes:
    return octets(key).lower()


def _pattern_test(text: str, expanded: bool) -> Callable[[str], bool]:
    """A key as a test for text. Raises TemporaryFailure."""
    if expanded:
        text = _expanded(text)
    negated = text.startswith("!")
    try:
        test = compile_item(ListKind.STRING, text[1:].lstrip() if negated else text)
    except BadItem as error:
        raise TemporaryFailure(str(error)) from None
    return lambda key: _holds(test, key) != negated


def _expanded(text: str) -> str:
    """Keys are expanded before there is a session, so that they may hold escapes and `\\N`, but nothing that varies."""
    try:
        expansion = compile_expansion(text)
    except ExpansionError as error:
        raise TemporaryFailure(f'failed to expand "{text}" while checking a list: {error.message}') from None
    if expansion.constant is None:
        raise TemporaryFailure(f'failed to expand "{text}": keys of wildlsearch with variables are not served')
    return expansion.constant


def _holds(test: ItemTest, key: str) -> bool:
    """The answer of an item that asks nobody."""
    question = test(Subject(key, lower(key)), Scope())
    try:
        question.__await__().__next__()
    except StopIteration as done:
        return done.value is not None
    raise AssertionError("a string item without ports waits for something")


# Directories. Exim: dsearch


def find_in_directory(directory: str, key: str, options: Container[str]) -> str | None:
    """The name of an entry (with `ret=full` its path) if it is there. Raises TemporaryFailure.

    Options: `ret=full`, `filter=file`, `filter=dir`, `filter=subdir` (neither `.` nor `..`), `key=path` (slashes).
    """
    try:
        about = os.stat(directory)
    except (OSError, ValueError) as error:
        raise _not_opened(directory, "for directory search", error) from None
    if not stat.S_ISDIR(about.st_mode):
        raise NotOpened(f"{directory} is not a directory (dsearch lookup)")
    if "key=path" in options:
        if "/../" in f"/{key}/" or "/./" in f"/{key}/":
            raise TemporaryFailure(f"key for dsearch lookup contains bad component: {key}")
    elif "/" in key:
        raise TemporaryFailure(f"key for dsearch lookup contains a slash: {key}")
    path = f"{directory}/{key}"
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # no file has such a name
    except OSError as error:
        raise TemporaryFailure(f"{path}: lstat: {error.strerror}") from None
    if not _passes(mode, key, options):
        return None
    # The entry is there, so its name is no longer somebody else's word: plain text.
    return str(path) if "ret=full" in options else str(key)


def _passes(mode: int, key: str, options: Container[str]) -> bool:
    if "filter=file" in options:
        return stat.S_ISREG(mode)
    if "filter=subdir" in options:
        return stat.S_ISDIR(mode) and key not in (".", "..")
    return "filter=dir" not in options or stat.S_ISDIR(mode)


# Structured text. Exim: json


class JSONTable:
    """A file of JSON. Raises NotOpened for one that is none."""

    __slots__ = ("_content",)

    def __init__(self, data: bytes) -> None:
        try:
            self._content = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise NotOpened(f"json error on open: {error}") from None

    def find(self, key: str) -> str | None:
        """What a list of keys leads to, an index into an array among them; None: nothing, or null."""
        found = self._content
        for part in split_list(key).items:
            if not part.strip("0123456789"):
                number = int(part or 0) if len(part) < 10 else -1
                if not isinstance(found, list) or not 0 <= number < len(found):
                    return None
                found = found[number]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                return None
        return _json_text(found)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _json_text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:f}"
        case _:
            return json.dumps(value, ensure_ascii=False)


# Users. Exim: passwd


def find_user(name: str) -> str | None:
    """The entry of a user without its first field, as it stands in the file."""
    try:
        entry = pwd.getpwnam(from_octets(octets(name)))
    except (KeyError, ValueError):
        return None
    return f"*:{entry.pw_uid}:{entry.pw_gid}:{entry.pw_gecos}:{entry.pw_dir}:{entry.pw_shell}"


# Databases. Exim: sqlite


_ALLOWED = frozenset((apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE))


def query(path: str, statements: str) -> str | None:
    """What the statements select: rows in lines, several columns as `name=value `. None: no row.

    The database is opened for reading, and nothing but SELECT is let through, so that a key that was not quoted can
    neither change the database nor reach another file. Raises TemporaryFailure, also for what SQLite calls an error.
    """
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            connection.authorizer = _authorize
            connection.set_progress_handler(_Allowance(QUERY_STEPS), 1000)
            return _rows(connection.execute(statements))
        finally:
            connection.close(True)
    except (apsw.Error, ValueError) as error:
        raise TemporaryFailure(f"sqlite lookup in {path}: {error}") from None


def _authorize(action: int, *_about: str | None) -> int:
    return apsw.SQLITE_OK if action in _ALLOWED else apsw.SQLITE_DENY


class _Allowance:
    """Tells SQLite to give up when a query has been called back too often."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


def _rows(cursor: apsw.Cursor) -> str | None:
    lines: list[str] = []
    size = 0
    for row in cursor:
        if len(row) == 1:
            line = _shown(row[0])
        else:
            names = [str(column[0]) for column in cursor.get_description()]
            line = "".join(f"{name}={_quoted(_shown(value))} " for name, value in zip(names, row, strict=True))
        size += len(line) + 1
        if size > RESULT_LIMIT:
            raise ValueError("the result is too long")
        lines.append(line)
    return "\n".join(lines) if lines else None


def _shown(value: apsw.SQLiteValue) -> str:
    """A value as SQLite writes it."""
    match value:
        case None:
            return "<NULL>"
        case bytes():
            return from_octets(value)
        case float():
            text = f"{value:.15g}"
            return text if set(text) & set(".en") else f"{text}.0"
        case _:
            return str(value)


def _quoted(value: str) -> str:
    """Exim: lf_quote."""
    if value and not value.startswith('"') and not any(each in value for each in " \t\n\r"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
