"""Takes a message apart as it arrives: header section in memory, body into the queue piece by piece (decision).

What a message may cost in memory is bounded: the header by `header_limit`, the body by one chunk. The header section
is complete before the first body chunk leaves, so that a message with a header too big, or too many hops, is known for
what it is as early as possible; the verdict still waits for the end of the data, to stay in step with the client.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.mail.header import Field, split_header
from relay.mail.ports import Intake, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE
from relay.mail.text import from_wire

# Exim: header_maxsize.
HEADER_LIMIT = 1024 * 1024
# Exim: message_body_visible.
BODY_VISIBLE = 500
# The beginning of a field, or of a line that goes on with one.
_HEADER_LINE = re.compile(rb"[!-9;-~\x80-\xff]+[ \t]*:|[ \t]")


class BodyGlance:
    """What variables may show of a body that has gone into the queue: its two ends, and what was counted."""

    __slots__ = ("_open_line", "_room", "end", "lines", "longest", "start", "zeros")

    def __init__(self, room: int) -> None:
        self._room = room
        self.start = b""
        self.end = b""
        self.lines = 0
        self.zeros = 0
        self.longest = 0
        """Octets of the longest line, its end left out."""
        self._open_line = 0

    def look(self, data: bytes) -> None:
        """Takes the next piece."""
        self.lines += data.count(b"\n")
        self.zeros += data.count(b"\0")
        self._measure(data)
        if len(self.start) < self._room:
            self.start += data[: self._room - len(self.start)]
        self.end = (self.end + data[-self._room :])[-self._room :] if self._room else b""

    def _measure(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        if not others:
            self._open_line += len(data)
            return
        self.longest = max(self.longest, self._open_line + len(first.removesuffix(b"\r")), longest_of(others[:-1]))
        self._open_line = len(others[-1])


def longest_of(lines: Sequence[bytes]) -> int:
    """Octets of the longest line, a CR at its end left out."""
    return max((len(line) - line.endswith(b"\r") for line in lines), default=0)


class IncomingMessage:
    """The data of one transaction under way."""

    def __init__(
        self, message_id: str, intake: Intake, header_limit: int = HEADER_LIMIT, visible: int = BODY_VISIBLE
    ) -> None:
        self.message_id = message_id
        self.fields: tuple[Field, ...] = ()
        self.header_too_big = False
        self.body_size = 0
        self.size = 0
        """Octets that have come, header section included, a line end counted as one (Exim: $message_size)."""
        self.lines = 0
        """Line ends that have come."""
        self._intake = intake
        self._header_limit = header_limit
        self._header: bytearray | None = bytearray()
        self._looked_at = 0
        self._tail = bytearray()
        self._chunks = 0
        # Variables show LF where CRLF came: twice as many octets are enough for any text.
        self.body = BodyGlance(2 * visible)
        self.trouble: SpoolUnavailable | None = None
        """What the queue said to a piece; answered at the end of the data, to stay in step."""

    @property
    def longest_line(self) -> int:
        """Octets of the longest line as far as it has come, without its end."""
        header = max((longest_of(field.raw.split(b"\n")) for field in self.fields), default=0)
        return max(header, self.body.longest)

    @property
    def longest_field(self) -> int:
        """Octets of the longest field with its continuation lines."""
        return max((len(field.raw) for field in self.fields), default=0)

    def spoil(self, trouble: SpoolUnavailable) -> None:
        """The queue can't take the message; its further pieces are dropped."""
        self.trouble = trouble
        self._tail.clear()
        self._header = None

    async def add(self, data: bytes) -> None:
        """Takes a piece of the message as it was sent, without dot-stuffing. Raises SpoolUnavailable."""
        lines = data.count(b"\n")
        self.lines += lines
        self.size += len(data) - lines
        if self.header_too_big or self.trouble is not None:
            return
        if self._header is None:
            await self._add_body(data)
            return
        self._header += data
        end = self._find_end()
        if (len(self._header) if end is None else end) > self._header_limit:
            self.header_too_big = True
            self._header = None
        elif end is not None:
            rest = bytes(self._header[end:])
            await self._add_body(self._cut_header(bytes(self._header[:end])) + rest)

    def _find_end(self) -> int | None:
        """The end of the first whole line that is no part of a header section: blank, or text of the body already."""
        header = self._header
        assert header is not None
        while (end := header.find(b"\n", self._looked_at) + 1) > 0:
            if not _HEADER_LINE.match(header, self._looked_at):
                return end
            self._looked_at = end
        return None

    def _cut_header(self, section: bytes) -> bytes:
        """Ends the header section; what is left of it (text before any blank line) begins the body."""
        self._header = None
        self.fields, rest = split_header(section)
        return rest

    async def _add_body(self, data: bytes) -> None:
        self.body_size += len(data)
        self.body.look(data)
        self._tail += data
        while len(self._tail) > CHUNK_SIZE:
            chunk = bytes(self._tail[:CHUNK_SIZE])
            del self._tail[:CHUNK_SIZE]
            await self._intake.append(self.message_id, self._chunks, chunk)
            self._chunks += 1

    async def finish(self) -> tuple[int, bytes]:
        """Ends the data: the number and content of the last piece, for `Intake.accept`. Raises SpoolUnavailable."""
        if self._header is not None:
            await self._add_body(self._cut_header(bytes(self._header)))
        return self._chunks, bytes(self._tail)

    def count_fields(self, name: str) -> int:
        """How many fields of a name the header section has (`Received` for loop detection)."""
        wanted = name.lower()
        return sum(1 for field in self.fields if field.name.lower() == wanted)

    def first_value(self, name: str) -> str:
        """The value of the first field of a name, unfolded; empty where there is none."""
        wanted = name.lower()
        return next((from_wire(field.value) for field in self.fields if field.name.lower() == wanted), "")

    async def abandon(self) -> None:
        """Takes back what has gone into the queue so far."""
        if self._chunks:
            await self._intake.abandon(self.message_id)
