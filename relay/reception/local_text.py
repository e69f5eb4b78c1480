"""Text of a local program as a message: line ends, the header section and where it ends (machine).

On a pipe LF is the line end. Whatever a program gives, what leaves here has CRLF everywhere and neither a CR
nor an LF alone, so that nothing can be smuggled to the next server. As Exim does with local input, a bare CR
ends a line of the body, and in the header it starts a continuation line, so that text put into a field never
becomes a field of its own.
"""

from __future__ import annotations

import re

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_FROM_LINE = re.compile(rb">?From (\S+) .*\d\d?:\d\d")


class HeaderTooLong(ValueError):
    """The header section did not end within its limit."""


def header_line_ends(raw: bytes) -> bytes:
    """The header section with CRLF at the end of each line and bare CRs made harmless."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n ")
    if text and not text.endswith(b"\n"):
        text += b"\n"
    return text.replace(b"\n", b"\r\n")


class BodyLineEnds:
    """Makes every line end CRLF, piece by piece."""

    def __init__(self) -> None:
        self._held_cr = False
        self._at_line_start = True

    def feed(self, piece: bytes) -> bytes:
        """The piece with CRLF line ends; a CR at its end waits for what follows."""
        if self._held_cr:
            piece = b"\r" + piece
        self._held_cr = piece.endswith(b"\r")
        if self._held_cr:
            piece = piece[:-1]
        if not piece:
            return b""
        self._at_line_start = piece[-1] in b"\n\r"
        return _with_crlf(piece)

    def finish(self) -> bytes:
        """What is still missing at the end: the last line always has its end."""
        if self._held_cr or not self._at_line_start:
            return b"\r\n"
        return b""


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class HeaderCutter:
    """Collects the beginning of a message until its header section is whole.

    It ends at an empty line, or before the first line that is no field: a message may come without any
    header. A line `From address date` before the first field, which mailbox files have, is left out.
    """

    def __init__(self, limit: int, field_limit: int = 0) -> None:
        """`field_limit`: octets of a field with its continuation lines, 0: any number."""
        self._limit = limit
        self._field_limit = field_limit
        self._field_start = 0
        self._raw = bytearray()
        self._start = 0
        self._position = 0
        self.from_line_sender = ""
        """The address in the `From ` line, if there was one."""

    def feed(self, piece: bytes) -> tuple[bytes, bytes] | None:
        """(header with CRLF line ends, first octets of the body as they came), or None: more is needed.

        HeaderTooLong if there is no end within the limit, or a field is longer than its own.
        """
        self._raw += piece
        return self._cut(at_end=False)

    def finish(self) -> tuple[bytes, bytes]:
        """The same where the message is over."""
        cut = self._cut(at_end=True)
        assert cut is not None
        return cut

    def _cut(self, *, at_end: bool) -> tuple[bytes, bytes] | None:
        while True:
            newline = self._raw.find(b"\n", self._position)
            if newline < 0 and not at_end:
                self._check(len(self._raw))
                return None
            end = len(self._raw) if newline < 0 else newline + 1
            line = bytes(self._raw[self._position : end])
            self._check(end)
            if not line:
                return self._parts(end, end)
            if line in (b"\n", b"\r\n", b"\r"):
                return self._parts(self._position, end)
            if self._position == self._start and (found := _FROM_LINE.match(line)):
                self.from_line_sender = self.from_line_sender or found.group(1).decode("utf-8", "surrogateescape")
                self._start = self._position = end
                continue
            is_continuation = line[:1] in b" \t" and self._position > self._start
            if not is_continuation and not _FIELD.match(line):
                return self._parts(self._position, self._position)
            self._field_start = self._field_start if is_continuation else self._position
            if 0 < self._field_limit < end - self._field_start:
                raise HeaderTooLong(f"message header line longer than {self._field_limit} characters received")
            self._position = end

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise HeaderTooLong(f"message header longer than {self._limit} characters received")

    def _parts(self, header_end: int, body_start: int) -> tuple[bytes, bytes]:
        return header_line_ends(bytes(self._raw[self._start : header_end])), bytes(self._raw[body_start:])
