"""Who has had an automatic reply and when, and the log of replies: two small files of an operator's choice (disk).

The first has an entry for each address: the time in eight octets of this machine's order, the address, a zero (Exim:
once_file_size). It is read and written whole under a lock, and what is too old for its size is left out at the front.
No link is followed: the directory may be one that others write to.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

LARGEST = 1024 * 1024
"""Octets that are read, and kept where the operator sets no size."""
_TIME = struct.Struct("=q")


def last_sent(path: str, mode: int, to: str) -> float:
    """When `to` was last written to, seconds since the epoch; 0: never. The file is made where there is none. Raises
    OSError."""
    with _opened(path, mode, os.O_RDWR) as descriptor:
        return next((when for when, address in _entries(_content(descriptor)) if address == _key(to)), 0)


def note_sent(path: str, mode: int, limit: int, to: str, now: float) -> None:
    """Writes down that `to` was written to; the first entry goes where the file would grow beyond `limit` octets, 0: a
    megabyte. Raises OSError."""
    with _opened(path, mode, os.O_RDWR) as descriptor:
        entries = list(_entries(_content(descriptor)))
        known = [address for _, address in entries]
        if (key := _key(to)) in known:
            entries[known.index(key)] = (int(now), key)
        else:
            entries.append((int(now), key))
        while len(entries) > 1 and sum(map(_size, entries)) > (limit or LARGEST):
            del entries[0]
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"".join(_TIME.pack(when) + address + b"\0" for when, address in entries), 0)


def append(path: str, mode: int, text: bytes) -> None:
    """A line or more at the end of a file. Raises OSError."""
    with _opened(path, mode, os.O_WRONLY | os.O_APPEND) as descriptor:
        os.write(descriptor, text)


@contextmanager
def _opened(path: str, mode: int, how: int) -> Iterator[int]:
    """A file of ours alone while it is open."""
    flags = how | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(os.fsencode(path), flags, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, LARGEST, 0)


def _key(to: str) -> bytes:
    return to.encode("utf-8", "surrogateescape").replace(b"\0", b"")


def _size(entry: tuple[int, bytes]) -> int:
    return _TIME.size + len(entry[1]) + 1


def _entries(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while (end := content.find(b"\0", place + _TIME.size)) >= 0:
        yield _TIME.unpack_from(content, place)[0], content[place + _TIME.size : end]
        place = end + 1
