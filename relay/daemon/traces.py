"""What others find of a running daemon: its directory, its pid file, its first and last log line (edge)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from relay import __version__
from relay.mail.events import DaemonNote
from relay.mail.ports import Journal
from relay.mail.source import ConfigurationError, Location, Problem


def make_spool_directory(path: str) -> None:
    """The queue in it is ours alone; others may pass through, to the socket and the maildrop. Raises OSError."""
    os.makedirs(path, 0o755, exist_ok=True)


def spool_problem(location: Location, directory: str, error: OSError) -> ConfigurationError:
    """For what can't be made in the spool directory."""
    what = f"{error.filename or directory}: {error.strerror}"
    return ConfigurationError(Problem(location, what, "check spool_directory"))


def write_pid(path: str) -> None:
    """Raises OSError."""
    Path(path).write_text(f"{os.getpid()}\n", "utf-8")


def remove_pid(path: str) -> None:
    """Raises OSError; a file that is not there is no error."""
    Path(path).unlink(missing_ok=True)


def record_start(journal: Journal, where: str, warnings: Iterable[Problem]) -> None:
    """The line that log readers look for, in the same words as Exim's, and the configuration's warnings."""
    text = f"fingerpost {__version__} daemon started: pid={os.getpid()}, {where}"
    journal.record(DaemonNote(text))
    for warning in warnings:
        # Whatever stands in the panic log makes a system's daily mail: that is for what went wrong.
        remedy = f" ({warning.remedy})" if warning.remedy else ""
        journal.record(DaemonNote(f"{warning.location}: {warning.what}{remedy}"))


def record_stop(journal: Journal) -> None:
    """The last line."""
    journal.record(DaemonNote(f"fingerpost daemon stopped: pid={os.getpid()}"))
