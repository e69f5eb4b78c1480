"""How a command says that it could not do its work (edge).

Whoever runs a command gets one line per fault on stderr: where, what, and in brackets what to do. Status 1
is a fault of the world, 2 a fault of the command line. A traceback is only for those who ask (`relay
--debug …`).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from relay.mail.source import Location, Problem


class Fault(click.ClickException):
    """The command can't go on: what is wrong, with what, and the remedy in the imperative."""

    exit_code = 1

    def __init__(self, what: str, *, where: Path | str | None = None, remedy: str = "") -> None:
        tail = f" ({remedy})" if remedy else ""
        super().__init__(f"{where}: {what}{tail}" if where is not None else f"{what}{tail}")
        self.what = what
        self.where = where
        self.remedy = remedy


class Problems(Fault):
    """Several faults at once, one line each, as the configuration reader finds them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems) or "nothing is known of the fault")


_REMEDIES = {
    errno.EACCES: "run the command as the owner of the file, or mend its permissions",
    errno.EPERM: "run the command as the owner of the file, or mend its permissions",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is no directory",
    errno.EISDIR: "name a file: this is a directory",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EROFS: "choose a place that can be written to",
    errno.EADDRINUSE: "stop the program that has the port, or choose another port",
}


def fault_of_system(error: OSError, where: Path | str | None = None) -> Fault:
    """A system error as one line that names the file."""
    place = where if where is not None else error.filename
    what = error.strerror or (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
    return Fault(what[:1].lower() + what[1:], where=place, remedy=_REMEDIES.get(error.errno or 0, ""))


def problem_of_system(error: OSError, where: Path | str) -> Problem:
    """The same as a problem of a configuration."""
    fault = fault_of_system(error, where)
    return Problem(Location(str(where)), fault.what, fault.remedy)
