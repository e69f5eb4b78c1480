"""The port `RedirectionFiles`: files of addresses, looked at as they were opened (edge).

Owner and mode are those of the file that is read, not of one that was there a moment before. With `beneath`, each part
of the path below that directory is opened by itself and must be no symbolic link, so that a user's list does not lead
out of it.
"""

from __future__ import annotations

import errno
import os
import stat

from relay.expand.scope import FileStatus
from relay.net.lookups import Call

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class LocalRedirectionFiles:
    """Files of this machine, by the `call` that was given."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def read(self, path: str, limit: int, beneath: str = "") -> tuple[FileStatus, bytes]:
        """Raises OSError."""
        return await self._call(read_file, path, limit, beneath)


def read_file(path: str, limit: int, beneath: str = "") -> tuple[FileStatus, bytes]:
    """Blocking. Raises OSError. Of what is no regular file nothing is read."""
    descriptor = _open_beneath(path, beneath) if beneath else os.open(os.fsencode(path), _READ)
    try:
        status = _status(descriptor)
        data = b""
        if stat.S_ISREG(status.mode):
            while len(data) < limit and (piece := os.read(descriptor, limit - len(data))):
                data += piece
        return status, data
    finally:
        os.close(descriptor)


def _open_beneath(path: str, beneath: str) -> int:
    """Opens each part below the directory in turn. Raises OSError."""
    parts = [part for part in path[len(beneath) :].split("/") if part]
    if ".." in parts:
        raise OSError(errno.ELOOP, "it leads out of its directory", path)
    descriptor = os.open(os.fsencode(beneath), _READ | os.O_DIRECTORY)
    for part in parts:
        try:
            following = os.open(os.fsencode(part), _READ | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor


def _status(descriptor: int) -> FileStatus:
    found = os.fstat(descriptor)
    return FileStatus(
        mode=found.st_mode,
        inode=found.st_ino,
        device=found.st_dev,
        links=found.st_nlink,
        owner=found.st_uid,
        group=found.st_gid,
        size=found.st_size,
        accessed=int(found.st_atime),
        modified=int(found.st_mtime),
        changed=int(found.st_ctime),
    )
