"""How text from outside is made harmless before anybody reads it (values).

SMTP is bytes and the language is text: `from_wire` and `to_wire` convert one to the other without loss (bytes that
are no UTF-8 become surrogates). `printable` is the one escape for logs, replies, headers, terminals and pages:
what comes out is printable ASCII on one line, so that no peer can forge a line or move a cursor.
"""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")
# Letters and marks that str.isprintable() lets pass and nobody can see (Unicode: Default_Ignorable_Code_Point, and the
# blank of Braille).
_SHAPELESS = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_NAMED = {0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x08: b"\\b", 0x0B: b"\\v", 0x0C: b"\\f"}


def from_wire(data: bytes) -> str:
    """Bytes of a peer as text, reversible by `to_wire`."""
    return data.decode("utf-8", "surrogateescape")


def to_wire(text: str) -> bytes:
    """Text as the bytes that it came from. A lone surrogate that no byte gave becomes a question mark."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _escape(match: re.Match[bytes]) -> bytes:
    octet = match.group()[0]
    return _NAMED.get(octet) or b"\\%03o" % octet


def readable(text: str, limit: int = 0) -> str:
    """Text on one line for those who read what is outside US-ASCII: only what has no shape of its own (controls, marks
    that turn the direction of writing, blank letters, octets that are no text) is escaped as in `printable`."""
    shown = text
    if not text.isprintable() or _SHAPELESS.search(text):
        shown = "".join(printable(each) if not each.isprintable() or _SHAPELESS.match(each) else each for each in text)
    if limit and len(shown) > limit:
        return shown[: max(limit - 3, 0)] + "..."
    return shown


def printable(text: str, limit: int = 0) -> str:
    """Text with every byte outside printable ASCII as a backslash escape (Exim: string_printing).

    `limit` > 0 cuts the result to that many characters and marks the cut with three dots.
    """
    if text.isascii() and text.isprintable():
        shown = text
    else:
        shown = _UNPRINTABLE.sub(_escape, to_wire(text)).decode("ascii")
    if limit and len(shown) > limit:
        return shown[: max(limit - 3, 0)] + "..."
    return shown
