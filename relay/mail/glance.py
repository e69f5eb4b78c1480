"""What is known of a body when it has been looked through once: its two ends, and what was counted (machine)."""

from __future__ import annotations

# Exim: message_body_visible.
BODY_VISIBLE = 500
_CR = 0x0D


class BodyGlance:
    """What variables may show of a body that has gone into the queue: its two ends, and what was counted."""

    __slots__ = ("_cut_at_cr", "_open_line", "_room", "end", "lines", "longest", "start", "zeros")

    def __init__(self, room: int) -> None:
        self._room = room
        self.start = b""
        self.end = b""
        self.lines = 0
        self.zeros = 0
        self.longest = 0
        """Octets of the longest line, its end left out."""
        self._open_line = 0
        self._cut_at_cr = False

    def look(self, data: bytes) -> None:
        """Takes the next piece."""
        self.lines += data.count(b"\n")
        self.zeros += data.count(b"\0")
        self._measure(data)
        if len(self.start) < self._room:
            self.start += data[: self._room - len(self.start)]
        self.end = (self.end + data[-self._room :])[-self._room :] if self._room else b""

    def _measure(self, data: bytes) -> None:
        first, last = data.find(b"\n"), data.rfind(b"\n")
        if first < 0:
            self._open_line += len(data)
        else:
            ends_in_cr = data[first - 1] == _CR if first else self._cut_at_cr
            self.longest = max(self.longest, self._open_line + first - ends_in_cr)
            if first < last:
                self.longest = max(self.longest, longest_line(data[first + 1 : last + 1]))
            self._open_line = len(data) - last - 1
        if data:
            self._cut_at_cr = data[-1] == _CR


def longest_line(text: bytes) -> int:
    """Octets of the longest line of a text, its end (LF or CRLF) left out."""
    return max(map(len, text.replace(b"\r\n", b"\n").split(b"\n")))
