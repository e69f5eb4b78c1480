"""Messages in chunks (RFC 3030): reading them out of the stream, writing them into one (machine).

A chunk is a number of octets behind a BDAT command. Text is text however it travels: unless the message was
declared BODY=BINARYMIME its lines end with CRLF, and a bare CR or LF makes it refused just as after DATA, so
that whoever it is sent on to by DATA sees the same lines as we do. A chunk may end between CR and LF. Where the
last line has no end it gets one. The body of a binary message is kept octet by octet; its header section is text
like any other.

Whatever is wrong with a message, its chunks are read to their ends, so that no octet of them is taken for a
command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.esmtp.data import DataFault

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# RFC 3030 2: bdat-cmd
_ARGUMENT = re.compile(r"([0-9]{1,18})(?: +(.*))?")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A BDAT command: so many octets follow it. `is_well_formed`: nothing but LAST stood behind the number."""

    size: int
    is_last: bool = False
    is_well_formed: bool = True


def read_chunk(argument: str) -> Chunk | None:
    """The argument of BDAT; None where it does not say how much follows."""
    match = _ARGUMENT.fullmatch(argument)
    if not match:
        return None
    word = (match.group(2) or "").upper()
    return Chunk(int(match.group(1)), word == "LAST", word in ("", "LAST"))


class ChunkReader:
    """Reads one message, chunk after chunk. `size` counts its octets as they came."""

    def __init__(self, size_limit: int = 0, *, binary: bool = False, local: bool = False) -> None:
        """`size_limit` in octets; 0 for none. What is over it is read and thrown away. `local`: on a pipe a bare
        line end is one, and comes out as CRLF."""
        self._size_limit = size_limit
        self._is_local = local
        self._is_text = True
        self._is_binary = binary
        self._carry = b""
        # What came last, with a line end in front of the first line: finds the empty line behind a header section.
        self._tail = b"\r\n"
        self._has_bare_line_end = False
        self.chunk = Chunk(0)
        self.left = 0
        """Octets of the chunk that are still to come."""
        self.size = 0

    @property
    def fault(self) -> DataFault | None:
        if self._has_bare_line_end:
            return DataFault.BARE_LINE_END
        if 0 < self._size_limit < self.size:
            return DataFault.TOO_BIG
        return None

    def begin(self, chunk: Chunk) -> None:
        """The next chunk; the one before has been read to its end."""
        assert not self.left
        self.chunk, self.left = chunk, chunk.size

    def feed(self, data: bytes) -> bytes:
        """Octets of this chunk, at most `left`; gives the piece that is certain, empty where it has a fault."""
        self.left -= len(data)
        self.size += len(data)
        if self._has_bare_line_end:
            return b""
        piece = self._decode(self._carry + data if self._carry else data)
        return b"" if self.fault else piece

    def end(self) -> bytes:
        """The last chunk has ended: what is to be put behind the message."""
        if self._carry and self._is_text:
            self._has_bare_line_end = not self._is_local
        if self.fault or self._is_binary or self._tail.endswith(b"\r\n"):
            return b""
        return b"\r\n"

    def _decode(self, text: bytes) -> bytes:
        if not self._is_text:
            return text
        self._carry = b""
        end = len(text)
        if self._is_binary:
            # Where the header section ends, if it does; three octets of the empty line may have come before.
            found = (self._tail + text).find(b"\r\n\r\n")
            if found >= 0:
                self._is_text = False
                end = found + 4 - len(self._tail)
        if self._is_text and text.endswith(b"\r"):
            self._carry = b"\r"
            text = text[:-1]
            end -= 1
        line_ends = text.count(b"\r\n", 0, end)
        if text.count(b"\n", 0, end) != line_ends or text.count(b"\r", 0, end) != line_ends:
            if not self._is_local:
                self._has_bare_line_end = True
            else:
                text = _BARE.sub(b"\r\n", text[:end]) + text[end:]
        self._tail = (self._tail + text[-3:])[-3:]
        return text


class ChunkWriter:
    """Cuts one message into chunks for the wire. Nothing but CRLF ends a line of it, unless it is binary."""

    def __init__(self, size: int, binary: bool = False) -> None:
        """`size`: as soon as so many octets have gathered they go out."""
        self.size = 0
        """Octets of the message that were given, without the commands."""
        self._size = size
        self._is_binary = binary
        self._gathered = bytearray()
        self._held = b""
        self._at_line_start = True

    def encode(self, piece: bytes) -> bytes:
        """The next octets of the message; gives a chunk with its command where there is enough for one."""
        self._gathered += piece if self._is_binary else self._with_line_ends(piece)
        return self._take("") if len(self._gathered) >= self._size else b""

    def end(self) -> bytes:
        """The last chunk."""
        if not self._is_binary:
            if self._held or not self._at_line_start:
                self._gathered += b"\r\n"
            self._held = b""
        return self._take(" LAST")

    def _take(self, word: str) -> bytes:
        self.size += len(self._gathered)
        chunk = b"BDAT %d%s\r\n" % (len(self._gathered), word.encode()) + self._gathered
        self._gathered.clear()
        return chunk

    def _with_line_ends(self, piece: bytes) -> bytes:
        text = self._held + piece if self._held else piece
        self._held = b""
        if text.endswith(b"\r"):
            self._held = b"\r"
            text = text[:-1]
        if not text:
            return b""
        line_ends = text.count(b"\r\n")
        if text.count(b"\n") != line_ends or text.count(b"\r") != line_ends:
            text = _BARE.sub(b"\r\n", text)
        self._at_line_start = text.endswith(b"\r\n")
        return text
