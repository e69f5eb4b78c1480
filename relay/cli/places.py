"""Where Fingerpost keeps its files when nobody says otherwise (edge).

One file name is the configuration of a machine, whether it is a relay or a laptop: `fingerpost.conf`. A
person who has one of their own uses that, everybody else the system's. This module is imported by commands
that must start fast, so it imports next to nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION_NAME = "fingerpost.conf"
KEY_NAME = "key.pem"
CERTIFICATE_NAME = "certificate.pem"
TRUSTED_NAME = "trusted"
SYSTEM_DIRECTORY = Path("/etc/fingerpost")


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one installation: configuration with key and trusted certificates, queue, mail,
    logs."""

    directory: Path
    spool: Path
    mail: Path
    log: Path

    @property
    def configuration(self) -> Path:
        return self.directory / CONFIGURATION_NAME

    @property
    def key(self) -> Path:
        return self.directory / KEY_NAME

    @property
    def certificate(self) -> Path:
        return self.directory / CERTIFICATE_NAME

    @property
    def trusted(self) -> Path:
        """The directory of the certificates that vouch for themselves."""
        return self.directory / TRUSTED_NAME


def places_under(directory: Path) -> Places:
    """Everything in one directory: what `--dir` asks for."""
    return Places(directory, directory / "spool", directory / "mail", directory / "log")


def default_places() -> Places:
    """Root's places are the system's; a person's follow the XDG base directories."""
    if os.geteuid() == 0:
        state = Path("/var/spool/fingerpost")
        return Places(SYSTEM_DIRECTORY, state, Path("/var/mail/fingerpost"), Path("/var/log/fingerpost"))
    state = _base_directory("XDG_STATE_HOME", ".local/state") / "fingerpost"
    return Places(personal_directory(), state / "spool", state / "mail", state / "log")


def personal_directory() -> Path:
    """Where a person's own configuration is."""
    return _base_directory("XDG_CONFIG_HOME", ".config") / "fingerpost"


def default_configuration() -> Path:
    """The file that is read without `-C`: one's own where there is one, the system's otherwise."""
    if os.geteuid() != 0:
        own = personal_directory() / CONFIGURATION_NAME
        if own.exists():
            return own
    return SYSTEM_DIRECTORY / CONFIGURATION_NAME


def _base_directory(variable: str, below_home: str) -> Path:
    """XDG Base Directory Specification: a relative path in the variable is to be ignored."""
    named = os.environ.get(variable, "")
    return Path(named) if named.startswith("/") else Path.home() / below_home
