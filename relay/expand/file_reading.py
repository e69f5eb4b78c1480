"""Files that an expansion names: `exists`, `${stat:…}`, `${readfile` (decision).

The files are the relay's own machine's, so a name may not come from outside, and what would show a file's contents or
its owner has to be permitted by a main option.
"""

from __future__ import annotations

import os
import stat

from relay.expand.compiling import check_size
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import SIZE_LIMIT, FileSystem, Frame
from relay.expand.values import from_octets, is_tainted
from relay.mail.ports import TemporaryFailure

# The main option, ours.
OPTION = "expand_reads_files"


def _file_system(frame: Frame, path: str) -> FileSystem:
    if is_tainted(path):
        raise ExpansionFailed(f"Tainted filename '{path}'")
    if frame.scope.file_system is None:
        raise TemporaryFailure(f"{path} can't be looked at here")
    return frame.scope.file_system


async def exists(frame: Frame, path: str) -> bool:
    """The condition `exists`: there is such a file and we may know it."""
    try:
        await _file_system(frame, path).status(path)
    except (OSError, ValueError):
        return False
    return True


async def status_text(frame: Frame, path: str) -> str:
    """`${stat:…}`: what stat(2) says, as `name=value` words. Raises ExpansionFailed."""
    if not frame.scope.may_read_files:
        raise ExpansionFailed(f"Use of the stat() expansion is not permitted (set {OPTION} = true to permit it)")
    try:
        found = await _file_system(frame, path).status(path)
    except (OSError, ValueError) as error:
        raise ExpansionFailed(f"stat({path}) failed: {_reason(error)}") from None
    return (
        f"mode={found.mode & 0o77777:04o} smode={stat.filemode(found.mode)} inode={found.inode} device={found.device}"
        f" links={found.links} uid={found.owner} gid={found.group} size={found.size}"
        f" atime={found.accessed} mtime={found.modified} ctime={found.changed}"
    )


async def contents(frame: Frame, path: str, line_end: str | None) -> str:
    """`${readfile{path}{line end}}`; None keeps the line feeds. Raises ExpansionFailed."""
    if not frame.scope.may_read_files:
        raise ExpansionFailed(f"file insertions are not permitted: readfile needs {OPTION} = true")
    try:
        data = await _file_system(frame, path).contents(path, SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ExpansionFailed(f"failed to open {path}: {_reason(error)}") from None
    check_size(len(data))
    text = from_octets(data)
    return text if line_end is None else text.replace("\n", line_end)


def _reason(error: OSError | ValueError) -> str:
    """The system's words; a name with an octet of zeros is none."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return "Invalid argument"
