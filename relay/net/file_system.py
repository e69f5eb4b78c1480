"""The port `FileSystem`: files that expansions name (edge)."""

from __future__ import annotations

import os

from relay.expand.scope import FileStatus
from relay.net.lookups import Call


class LocalFileSystem:
    """The files of this machine, asked for by the `call` that was given."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def status(self, path: str) -> FileStatus:
        """Follows symbolic links. Raises OSError."""
        found = await self._call(os.stat, os.fsencode(path))
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

    async def contents(self, path: str, limit: int) -> bytes:
        """Raises OSError."""
        return await self._call(_read, path, limit)


def _read(path: str, limit: int) -> bytes:
    with open(os.fsencode(path), "rb") as file:
        return file.read(limit)
