"""How full a mailbox is, and whether a message still fits (disk)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from relay.delivery.jobs import NotDelivered, Quota, deferred
from relay.mail.outcome import ErrorClass
from relay.mail.text import printable

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)([kKmMgG]?)(/no_check)?\s*")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LARGEST = 2**62
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Amount:
    """A limit as it was written: a number with K, M or G, and whether it is only for show."""

    value: int
    no_check: bool = False


def read_amount(text: str) -> Amount:
    """The value of `quota` and `quota_filecount`. Raises ValueError for anything else."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    value = int(float(match.group(1)) * _UNITS[match.group(2).lower()])
    if value > _LARGEST:
        raise ValueError(text)
    return Amount(value, bool(match.group(3)))


@dataclass(frozen=True, slots=True)
class Usage:
    """Octets and files of a mailbox."""

    size: int = 0
    files: int = 0


def measure(directory: str, size_regex: str = "") -> Usage:
    """What lies in a directory and below it. A file with several names counts with its share of the size; what
    can't be looked at counts nothing."""
    pattern = re.compile(os.fsencode(size_regex)) if size_regex else None
    return _measured(os.fsencode(directory), pattern, _DEEPEST)


def _measured(directory: bytes, pattern: re.Pattern[bytes] | None, levels: int) -> Usage:
    size = files = 0
    try:
        entries = os.scandir(directory)
    except OSError:
        return Usage()
    with entries:
        for entry in entries:
            files += 1
            named = pattern.search(entry.name) if pattern is not None else None
            if named is not None and named.re.groups and (named.group(1) or b"").isdigit():
                size += int(named.group(1))
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    below = _measured(entry.path, pattern, levels - 1) if levels else Usage()
                    size, files = size + below.size, files + below.files
                elif entry.is_file():
                    status = entry.stat()
                    size += status.st_size // max(status.st_nlink, 1)
            except OSError:
                continue
    return Usage(size, files)


def check(quota: Quota, usage: Usage, message_size: int, path: str, read_at: int = -1) -> None:
    """Raises NotDelivered where the message does not fit, in Exim's words. `read_at`: when somebody last looked into
    the mailbox, seconds since the epoch; -1: not known."""
    if not quota.is_set:
        return
    used = usage.size if quota.mailbox_size < 0 else quota.mailbox_size
    count = usage.files if quota.mailbox_files < 0 else quota.mailbox_files
    # Where both are exceeded, Exim names the number of files.
    if quota.files and not quota.ignores_files and count + (1 if quota.is_inclusive else 0) > quota.files:
        raise _full(" filecount", path, read_at)
    if not quota.ignores_size and used + (message_size if quota.is_inclusive else 0) > quota.size:
        raise _full("", path, read_at)


def crosses(quota: Quota, usage: Usage, message_size: int) -> bool:
    """Whether this message takes the mailbox over the threshold at which its owner is told."""
    used = usage.size if quota.mailbox_size < 0 else quota.mailbox_size
    return quota.threshold > 0 and used <= quota.threshold < used + message_size


def _full(what: str, path: str, read_at: int) -> NotDelivered:
    why = f"mailbox is full (MTA-imposed{what} quota exceeded while writing to {printable(path)})"
    return deferred(why, ErrorClass.QUOTA, read_at=read_at)
