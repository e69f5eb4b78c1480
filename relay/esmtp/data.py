"""The message between 354 and the final dot: reading it out of the stream, writing it into one (machine).

Reading: a message ends at CRLF.CRLF and at nothing else, RFC 5321 4.1.1.4 (at .CRLF where it begins with
that). Dots that were added are taken off, RFC 5321 4.5.2. Whatever is wrong with a message, it is read to its
true end, so that nothing of it is ever taken for a command; what was wrong is told then. On a pipe LF ends a
line and the message comes out with CRLF.

Writing: dots are doubled however the message is cut into pieces, and a bare CR or LF leaves as CRLF: none is
ever sent, so that nobody behind us can see another end than we do.

All work is done on whole pieces by the search functions of `bytes`.
"""

from __future__ import annotations

import enum
import re

_END = b"\r\n.\r\n"
# The beginnings of _END that a piece may stop in, longest first.
_HELD_BACK = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")

_LOCAL_END = re.compile(rb"\n\.\r?\n")
_LOCAL_HELD_BACK = re.compile(rb"\r?\n\.\r?\Z|\r?\n\Z|\r\Z")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class DataFault(enum.Enum):
    """Why a message cannot be taken. Where both hold it is the bare line end."""

    BARE_LINE_END = "bare CR or LF"
    TOO_BIG = "too big"


class DataReader:
    """Reads one message. `size` counts its octets without added dots and final line, RFC 1870 3."""

    def __init__(self, size_limit: int = 0) -> None:
        """`size_limit` in octets; 0 for none. What is over it is read and thrown away."""
        self._size_limit = size_limit
        # A line end in front of the first line, so that a dot at the very start is at a line's start.
        self._carry = b"\r\n"
        self._unsent = 2
        self._has_bare_line_end = False
        self.size = 0
        self.ended = False
        self.rest = b""
        """After the end: what was received behind it."""

    @property
    def fault(self) -> DataFault | None:
        if self._has_bare_line_end:
            return DataFault.BARE_LINE_END
        if 0 < self._size_limit < self.size:
            return DataFault.TOO_BIG
        return None

    def feed(self, data: bytes) -> bytes:
        """More of the stream; gives the piece of the message that is certain, empty where it has a fault."""
        assert not self.ended
        text = self._carry + data if self._carry else data
        piece = self._decode(text)
        if self._unsent and piece:
            piece = piece[self._unsent :]
            self._unsent = 0
        self.size += len(piece)
        is_too_big = 0 < self._size_limit < self.size
        return b"" if self._has_bare_line_end or is_too_big else piece

    def _decode(self, text: bytes) -> bytes:
        end = text.find(_END)
        if end >= 0:
            self.ended, self._carry, self.rest = True, b"", text[end + 5 :]
            text = text[: end + 2]
        else:
            for beginning in _HELD_BACK:
                if text.endswith(beginning):
                    self._carry = beginning
                    text = text[: -len(beginning)]
                    break
            else:
                self._carry = b""
        pairs = text.count(b"\r\n")
        if text.count(b"\n") != pairs or text.count(b"\r") != pairs:
            self._has_bare_line_end = True
        return text.replace(b"\r\n.", b"\r\n")


class LocalDataReader(DataReader):
    """The same for a pipe or a terminal, where LF, CRLF and a CR alone all end a line.

    The end is a dot between two LF, with or without CR before the second: a CR alone never ends the message.
    """

    def _decode(self, text: bytes) -> bytes:
        end = _LOCAL_END.search(text)
        if end:
            self.ended, self._carry, self.rest = True, b"", text[end.end() :]
            text = text[: end.start() + 1]
        else:
            held = _LOCAL_HELD_BACK.search(text, max(len(text) - 4, 0))
            self._carry = held.group() if held else b""
            text = text[: len(text) - len(self._carry)]
        text = text.replace(b"\r\n", b"\n").replace(b"\n.", b"\n")
        return text.replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class DataWriter:
    """Encodes one message for the wire, piece by piece, and ends it."""

    def __init__(self) -> None:
        self.size = 0
        """Octets that were given."""
        self._at_line_start = True
        self._held = b""

    def encode(self, piece: bytes) -> bytes:
        """The piece with its dots doubled. A CR at its end waits for the next piece."""
        text = self._held + piece if self._held else piece
        if text.endswith(b"\r"):
            self._held = b"\r"
            text = text[:-1]
        else:
            self._held = b""
        if not text:
            return b""
        pairs = text.count(b"\r\n")
        if text.count(b"\n") != pairs or text.count(b"\r") != pairs:
            text = _BARE.sub(b"\r\n", text)
        encoded = text.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and text.startswith(b"."):
            encoded = b"." + encoded
        self._at_line_start = text.endswith(b"\r\n")
        self.size += len(encoded)
        return encoded

    def end(self) -> bytes:
        """What ends the message, with the line end that its last line may lack."""
        end = b".\r\n" if self._at_line_start and not self._held else b"\r\n.\r\n"
        self.size += len(end)
        return end
