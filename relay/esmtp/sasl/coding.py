"""Base64 and the other small forms in which an AUTH exchange goes over the wire (machine).

RFC 4954 4. Base64 is read strictly: nothing but its alphabet, padded, nothing behind the padding.
"""

from __future__ import annotations

import binascii

from relay.esmtp.sasl.steps import STRINGS_LIMIT
from relay.mail.text import from_wire

CANCEL = "*"
"""The line that breaks an exchange off."""
EMPTY = "="
"""An initial response of no octets."""


def encode(data: bytes) -> str:
    """Octets for the wire."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(text: str) -> bytes | None:
    """Octets from the wire; None: that is no base64."""
    if len(text) % 4:
        return None  # the library lets padding behind whole groups pass
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:  # binascii.Error is one, and so is text outside ASCII
        return None


def decode_initial(text: str) -> bytes | None:
    """The same for an initial response, which says with `=` that it is empty."""
    return b"" if text == EMPTY else decode(text)


def encode_initial(data: bytes | None) -> str | None:
    """The inverse; None where there is no initial response."""
    return None if data is None else encode(data) or EMPTY


def cut(data: bytes) -> tuple[str, ...]:
    """The strings between zero octets, at least one; a zero octet at the very end begins none (Exim: get_data.c)."""
    pieces = data.split(b"\0")
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    return tuple(from_wire(piece) for piece in pieces[:STRINGS_LIMIT])
