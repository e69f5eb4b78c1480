"""What others find of a running daemon: its directory, its pid file, its first and last log line (edge)."""

from __future__ import annotations

import os
from pathlib import Path

from relay import __version__
from relay.daemon.plan import Plan
from relay.expand.variables import EXIM_VERSION
from relay.mail.events import DaemonNote
from relay.mail.ports import Journal
from relay.mail.source import ConfigurationError, Location, Problem
from relay.observe.words import elapsed_time
from relay.reception.request import STARTED_NAME, started_with


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


def write_started(spool_directory: str, plan: Plan) -> None:
    """What `relay-sendmail` compares with its own command line. Raises OSError."""
    path = os.path.join(spool_directory, STARTED_NAME)
    # A macro may be a secret.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(started_with(os.path.abspath(plan.path), plan.macros))


def remove_started(spool_directory: str) -> None:
    """Raises OSError; a file that is not there is no error."""
    Path(spool_directory, STARTED_NAME).unlink(missing_ok=True)


def record_start(journal: Journal, plan: Plan, where: str) -> None:
    """The line that log readers look for, in the same words as Exim's, and the configuration's warnings.

    Who calls us `exim` has log readers that look for that name too.
    """
    wishes = plan.wishes
    name = f"exim {EXIM_VERSION}" if wishes.program == "exim" else f"fingerpost {__version__}"
    runs = f"-q{elapsed_time(wishes.queue_interval)}" if wishes.queue_interval else "no queue runs"
    journal.record(DaemonNote(f"{name} daemon started: pid={os.getpid()}, {runs}, {where}"))
    for warning in plan.warnings:
        # Whatever stands in the panic log makes a system's daily mail: that is for what went wrong.
        remedy = f" ({warning.remedy})" if warning.remedy else ""
        journal.record(DaemonNote(f"{warning.location}: {warning.what}{remedy}", "configuration_notes"))


def record_stop(journal: Journal) -> None:
    """The last line."""
    journal.record(DaemonNote(f"fingerpost daemon stopped: pid={os.getpid()}", "daemon_stop"))
