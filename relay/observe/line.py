"""One line of the logs, and which of Exim's three it goes to (values)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Log(enum.Enum):
    """Exim's three log files; the value is what `%s` of `log_file_path` stands for."""

    MAIN = "main"
    REJECT = "reject"
    PANIC = "panic"


MAIN = (Log.MAIN,)
MAIN_AND_REJECT = (Log.MAIN, Log.REJECT)
MAIN_AND_PANIC = (Log.MAIN, Log.PANIC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the logs that it goes to, the message it is about ("" for none), the text behind the two."""

    logs: tuple[Log, ...]
    message_id: str
    text: str
    header: tuple[str, ...] = ()
    """Further lines, for the reject log alone."""
    more: tuple[str, ...] = ()
    """Further lines in every log."""
