"""The main, reject and panic logs in Exim's format, written as events arrive (edge).

`lines` knows what a line says, `files` where it goes; here it gets its time, its process id and its end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from relay.mail.events import Event
from relay.mail.ports import Clock
from relay.observe.files import Sink
from relay.observe.line import Log
from relay.observe.lines import EximLines
from relay.observe.selectors import DEFAULT_SELECTORS, LogSelectors, parse_selector

__all__ = ["MainLog", "LogSelectors", "Stamp", "parse_selector"]


class Stamp:
    """Local time in Exim's form, `2026-11-21 10:00:00`; made once a second.

    `millisec` adds `.123`, `zone` adds ` +0100` (Exim: log_timezone).
    """

    def __init__(self, *, millisec: bool = False, zone: bool = False) -> None:
        self._millisec = millisec
        self._zone = zone
        self._second = -1
        self._text = ""
        self._tail = ""

    def at(self, now: float) -> str:
        """The stamp of that moment, seconds since the epoch."""
        second = int(now // 1)
        if second != self._second:
            local = time.localtime(second)
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", local)
            self._tail = time.strftime(" %z", local) if self._zone else ""
            self._second = second
        if self._millisec:
            return f"{self._text}.{int((now - second) * 1000):03d}{self._tail}"
        return self._text + self._tail


class MainLog:
    """An observer that writes Exim's logs."""

    def __init__(
        self,
        sink: Sink,
        clock: Clock,
        selectors: LogSelectors = DEFAULT_SELECTORS,
        *,
        zone: bool = False,
        one_stream: bool = False,
        rejects: bool = True,
        process_id: Callable[[], int] = os.getpid,
    ) -> None:
        """`one_stream`: a line that belongs to several logs is written once. `rejects`: there is a reject log (Exim:
        write_rejectlog)."""
        self.selectors = selectors
        self._sink = sink
        self._clock = clock
        self._lines = EximLines(selectors)
        self._stamp = Stamp(millisec="millisec" in selectors, zone=zone)
        self._process_id = process_id if "pid" in selectors else None
        self._one_stream = one_stream
        self._rejects = rejects

    def record(self, event: Event) -> None:
        """Writes the event's line, if it has one."""
        line = self._lines.line(event)
        if line is None:
            return
        now = self._clock.now()
        process = f" [{self._process_id()}]" if self._process_id is not None else ""
        subject = f" {line.message_id}" if line.message_id else ""
        # What is in a line is printable, and ASCII but for addresses; the rest is for text of our own that is not.
        text = "\n".join((f"{self._stamp.at(now)}{process}{subject} {line.text}", *line.more, ""))
        octets = text.encode("utf-8", "backslashreplace")
        logs = tuple(log for log in line.logs if self._rejects or log is not Log.REJECT)
        for log in logs[:1] if self._one_stream else logs:
            more = "".join(f"{each}\n" for each in line.header) if log is Log.REJECT else ""
            self._sink.write(log, octets + more.encode("utf-8", "backslashreplace"), now)

    def reopen(self) -> None:
        """After a rotation, on SIGUSR1."""
        self._sink.reopen()
