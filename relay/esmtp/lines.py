"""Cuts what a peer sends into lines: commands for a server, reply lines for a client (machine).

The buffer of a connection lives here, and whoever reads something else than lines (a message, a handshake)
takes the octets from here. A line ends with CRLF and with nothing else, RFC 5321 2.3.8; a line with a bare
CR, a bare LF or a NUL in it is read to its CRLF and reported as a fault, and so is one over the limit, so
that the reader is never out of step. On a pipe, where `LineEnd.LOCAL` is in force, LF ends a line too;
servers that end reply lines so are read with it as well.

How the octets were split on their way makes no difference to what comes out.
"""

from __future__ import annotations

import enum


class LineEnd(enum.Enum):
    """What ends a line."""

    CRLF = "CRLF"
    LOCAL = "LF or CRLF"


class LineFault(enum.Enum):
    """A line that is no line; it is gone from the buffer when this is reported."""

    TOO_LONG = "line too long"
    BARE_LINE_END = "bare CR or LF"
    NUL = "NUL"


class LineReader:
    """Octets in by `receive`, lines out by `next_line`, everything that is left out by `take`."""

    def __init__(self, limit: int, line_end: LineEnd = LineEnd.CRLF) -> None:
        """`limit` counts the octets of a line with its end."""
        self.limit = limit
        self._end = b"\r\n" if line_end is LineEnd.CRLF else b"\n"
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False

    def __len__(self) -> int:
        """Octets that were received and not yet looked at."""
        return len(self._buffer)

    @property
    def has_input(self) -> bool:
        """Something was received and not yet looked at."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def take_up_to(self, length: int) -> bytes:
        """The first `length` octets, or fewer where there are fewer."""
        if length >= len(self._buffer):
            return self.take()
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._searched = 0
        return data

    def take(self) -> bytes:
        """All that is in the buffer, which is empty then; a half-skipped line is forgotten."""
        data = bytes(self._buffer)
        self.clear()
        return data

    def put_back(self, data: bytes) -> None:
        """`data` as if it had just been received; the buffer must be empty."""
        assert not self._buffer
        self._buffer += data

    def clear(self) -> None:
        self._buffer.clear()
        self._searched = 0
        self._skipping = False

    def glimpse(self, length: int) -> bytes:
        """The first octets that were not looked at yet, for the log."""
        return bytes(self._buffer[:length])

    def next_line(self) -> bytes | LineFault | None:
        """The next line without its end, a fault in its place, or None as long as there is no whole line."""
        buffer = self._buffer
        found = buffer.find(self._end, self._searched)
        if found < 0:
            self._keep_searching()
            return None
        end = found + len(self._end)
        line = bytes(buffer[:found])
        del buffer[:end]
        self._searched = 0
        if self._skipping or end > self.limit:
            self._skipping = False
            return LineFault.TOO_LONG
        return self._checked(line)

    def _keep_searching(self) -> None:
        """No end of line yet: remembers how far was searched, and drops what is too long already.

        The last octet is kept, it may be the CR of the line's end.
        """
        length = len(self._buffer)
        if length >= self.limit:
            self._skipping = True
        if self._skipping:
            del self._buffer[: length - 1]
            length = len(self._buffer)
        self._searched = max(length - 1, 0)

    def _checked(self, line: bytes) -> bytes | LineFault:
        if self._end == b"\n" and line.endswith(b"\r"):
            line = line[:-1]
        if b"\r" in line or b"\n" in line:
            return LineFault.BARE_LINE_END
        if b"\0" in line:
            return LineFault.NUL
        return line
