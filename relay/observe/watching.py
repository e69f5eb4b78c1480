"""Log lines as Exim shows them to whoever watches it at work: -v (edge).

Each line of a log comes with the logs that it is for, and without its time and the message's id; what selectors leave
out of the log is shown as well, with the selector's name.
"""

from __future__ import annotations

import sys

from relay.mail.events import (
    AddressDeferred,
    ConnectionClosed,
    ConnectionOpened,
    DaemonNote,
    Event,
    MessageNote,
    NameNotFound,
)
from relay.mail.ports import Watch
from relay.observe.line import Log
from relay.observe.lines import EximLines, only_waits
from relay.observe.selectors import LogSelectors

# Those that decide whether there is a line, and not what stands in it.
_WHETHER = frozenset(
    {
        "host_lookup_failed",
        "lost_incoming_connection",
        "queue_run",
        "retry_defer",
        "smtp_connection",
        "smtp_protocol_error",
    }
)
# As Exim names them.
_ORDER = (Log.MAIN, Log.PANIC, Log.REJECT)


class Watching:
    """An observer that tells lines as they are written."""

    def __init__(self, tell: Watch, selectors: LogSelectors) -> None:
        self._tell = tell
        self._lines = EximLines(LogSelectors(selectors.names | _WHETHER))

    def record(self, event: Event) -> None:
        """Tells the event's line, if it has one."""
        line = self._lines.line(event)
        if line is None:
            return
        names = " ".join(("LOG:", *_selector(event), *(log.name for log in sorted(line.logs, key=_ORDER.index))))
        self._tell("\n".join((f"{names}\n  {line.text}", *line.more)))


def _selector(event: Event) -> tuple[str, ...]:
    """The selector that Exim asks for such a line, where it asks for one."""
    match event:
        case ConnectionOpened():
            return ("smtp_connection",)
        case ConnectionClosed():
            is_lost = event.how.startswith("timed out") or event.cut is not None
            is_lost = is_lost or (event.how == "lost" and event.in_transaction)
            return ("lost_incoming_connection" if is_lost else "smtp_connection",)
        case NameNotFound():
            return ("host_lookup_failed",)
        case DaemonNote() if event.selector:
            return (event.selector,)
        case AddressDeferred() if only_waits(event.outcome):
            return ("retry_defer",)
        case MessageNote() if event.text.startswith("no immediate delivery: "):
            return ("delay_delivery",)
        case _:
            return ()


def show(text: str) -> None:
    """For who watches a command: on its standard error."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody watches any more
