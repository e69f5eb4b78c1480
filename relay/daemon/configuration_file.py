"""How the file of a configuration is read, by the daemon and by commands (edge)."""

from pathlib import Path


def read_file(path: str) -> str:
    """What the configuration's reader is given, in UTF-8 or, where it is not that, in ISO 8859-1. Raises OSError."""
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        return Path(path).read_text("latin-1")
