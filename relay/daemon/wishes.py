"""What the command line asks of a daemon beyond its configuration (values)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Shown(enum.Enum):
    """What of the log is on standard error as well."""

    NOTHING = "nothing"
    PANIC = "panic"
    """Lines of the panic log: the process was started by hand, and has not gone into the background."""
    EVERYTHING = "everything"
    """Every line, and dialogs (Exim: -v)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for beyond the configuration."""

    interfaces: str | None = None
    """Where to listen instead of local_interfaces and daemon_smtp_ports (Exim: -oX); empty: nowhere."""
    queue_interval: float = 0.0
    """Seconds until a message that was only queued is tried (Exim: -q with a time); 0: the default."""
    tls_on_connect: bool = False
    """Every port begins with TLS (Exim: -tls-on-connect)."""
    pid_file: str = ""
    """Where the process id is written instead of pid_file_path (Exim: -oP)."""
    program: str = ""
    """The name by which the program was called, without its directory."""
    shown: Shown = Shown.NOTHING


NO_WISHES = Wishes()
