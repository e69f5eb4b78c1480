"""What a local delivery writes: line ends, escaped lines, and the text around the message (machine).

A message comes with CRLF; a mailbox or a command gets LF, unless `use_crlf` asks otherwise. Lines that begin with
`check_string` begin with `escape_string` instead ("From " in a mailbox, a dot in batched SMTP). Everything goes
through piece by piece: an end of a piece that may be half a line end, or the half of what is to be escaped, is
held until more is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.mail.address import Address
from relay.mail.text import to_wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the octets of a message are written."""

    check: bytes = b""
    escape: bytes = b""
    escape_header: bool = False
    """Lines of the header are escaped as well (batched SMTP)."""
    use_crlf: bool = False
    ends_line: bool = False
    """Something follows the message, so that its last line must have an end."""


class MessageText:
    """The octets of one message on their way out. `header` once, then `body` as often as there are pieces, then
    `end`; each gives what can be written by now."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._escapes = bool(form.check)
        self._held_cr = b""
        self._held = b""
        self._at_line_start = True
        self._last = b"\n"

    def header(self, data: bytes) -> bytes:
        """The header section with the empty line behind it."""
        text = data.replace(b"\r\n", b"\n")
        if self._escapes and self._form.escape_header:
            text = (b"\n" + text).replace(b"\n" + self._form.check, b"\n" + self._form.escape)[1:]
        return self._ended(text)

    def body(self, piece: bytes) -> bytes:
        """A piece of the body."""
        data = self._held_cr + piece
        self._held_cr = data[-1:] if data.endswith(b"\r") else b""
        return self._ended(self._escaped(data[: len(data) - len(self._held_cr)].replace(b"\r\n", b"\n")))

    def end(self) -> bytes:
        """What was held back."""
        rest = self._ended(self._escaped(self._held_cr) + self._held)
        self._held_cr = self._held = b""
        if self._form.ends_line and self._last != b"\n":
            return rest + self._ended(b"\n")
        return rest

    def _escaped(self, text: bytes) -> bytes:
        if not self._escapes:
            return text
        check, escape = self._form.check, self._form.escape
        text = self._held + text
        # A line that has begun like `check` and is not as long yet.
        begin = text.rfind(b"\n") + 1
        tail = text[begin:]
        is_line = begin > 0 or self._at_line_start
        self._held = tail if is_line and len(tail) < len(check) and check.startswith(tail) else b""
        text = text[:begin] if self._held else text
        before = b"\n" if self._at_line_start else b""
        if text:
            self._at_line_start = text.endswith(b"\n")
        return (before + text).replace(b"\n" + check, b"\n" + escape)[len(before) :]

    def _ended(self, text: bytes) -> bytes:
        if not text:
            return text
        self._last = text[-1:]
        return text.replace(b"\n", b"\r\n") if self._form.use_crlf else text


def batched_smtp(sender: Address, recipients: Sequence[Address], *, use_crlf: bool) -> bytes:
    """The commands before a message in batched SMTP (Exim: use_bsmtp)."""
    end = "\r\n" if use_crlf else "\n"
    lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA"]
    return to_wire("".join(f"{line}{end}" for line in lines))


def batched_end(*, use_crlf: bool) -> bytes:
    """The line behind a message in batched SMTP."""
    return b".\r\n" if use_crlf else b".\n"
