"""Takes a message apart as it arrives: header section in memory, body into the queue piece by piece (decision).

What a message may cost in memory is bounded: the header by `header_limit`, the body by one chunk. The header section
is complete before the first body chunk leaves, so that a message with a header too big, or too many hops, is known for
what it is as early as possible; the verdict still waits for the end of the data, to stay in step with the client.
"""

from __future__ import annotations

import re

from relay.mail.events import DataCut
from relay.mail.glance import BODY_VISIBLE, BodyGlance, longest_line
from relay.mail.header import Field, split_header
from relay.mail.ports import Intake, SpoolUnavailable
from relay.mail.queue import CHUNK_SIZE
from relay.mail.text import from_wire

# Exim: header_maxsize.
HEADER_LIMIT = 1024 * 1024
# The beginning of a field, or of a line that goes on with one.
_HEADER_LINE = re.compile(rb"[!-9;-~\x80-\xff]+[ \t]*:|[ \t]")


def cut_in_header(so_far: bytes | bytearray) -> DataCut:
    """Where data broke off that had no blank line yet (Exim: between two fields the header may have been whole)."""
    return DataCut("after header" if so_far.endswith(b"\n") else "header")


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
        self._longest_header_line = 0
        self._tail = bytearray()
        self._chunks = 0
        # Variables show LF where CRLF came: twice as many octets are enough for any text.
        self.body = BodyGlance(2 * visible)
        self.trouble: SpoolUnavailable | None = None
        """What the queue said to a piece; answered at the end of the data, to stay in step."""

    @property
    def begins_with_text(self) -> bool:
        """Whether its first line is anything but blank."""
        return bool(self.fields or self._header or self.body.start.lstrip(b"\r")[:1] not in (b"", b"\n"))

    @property
    def longest_line(self) -> int:
        """Octets of the longest line as far as it has come, without its end."""
        return max(self._longest_header_line, self.body.longest)

    @property
    def longest_field(self) -> int:
        """Octets of the longest field with its continuation lines."""
        return max((len(field.raw) for field in self.fields), default=0)

    @property
    def cut(self) -> DataCut:
        """Where it would break off now. A header section is known to be over by the line behind it."""
        if self._header is None:
            return DataCut("", self.message_id)
        return cut_in_header(self._header)

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
        self._longest_header_line = longest_line(section[: len(section) - len(rest)])
        # A line that ends the header without a blank one is counted in both, as in Exim.
        self.lines += rest.endswith(b"\n")
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
