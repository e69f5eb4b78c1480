"""Header fields as the language shows them: joined, decoded, or raw (machine).

Several fields of one name are joined: raw ones as they stand, address fields with a comma, others with a line feed.
Line ends inside are line feeds, as in Exim's own store.
"""

from __future__ import annotations

import base64
import binascii
import re

from relay.expand.splitting import join_list
from relay.expand.tree import HeaderForm
from relay.expand.values import from_octets, lower
from relay.mail.header import Field

# Octets of header text that a variable shows. Exim: header_insert_maxlen.
SIZE_OF_HEADERS = 65536
# Fields that hold addresses; several of a name are one list. Exim: find_header.
_ADDRESS_FIELDS = frozenset({"bcc", "cc", "from", "reply-to", "sender", "to"})

_ENCODED_WORD = re.compile(rb"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(rb"(\?=)[ \t\r\n]+(?==\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)")


def header_text(header: tuple[Field, ...], name: str | None, form: HeaderForm) -> str | None:
    """The fields called `name` (None: all, with their names) in one of the four forms; None where there is none."""
    found = [field for field in header if name is None or field.is_named(name)]
    if not found:
        return None
    bodies = [_body(field, name is None) for field in found]
    match form:
        case HeaderForm.RAW:
            return from_octets(b"".join(bodies)[:SIZE_OF_HEADERS])
        case HeaderForm.LIST:
            return join_list([from_octets(body.rstrip(b"\n")) for body in bodies])[:SIZE_OF_HEADERS]
        case HeaderForm.DECODED | HeaderForm.UNCONVERTED:
            joiner = b",\n" if name is not None and lower(name) in _ADDRESS_FIELDS else b"\n"
            joined = joiner.join(part for body in bodies if (part := body.strip()))
            return decode_words(joined[:SIZE_OF_HEADERS], convert=form is HeaderForm.DECODED)


def _body(field: Field, whole: bool) -> bytes:
    raw = field.raw.replace(b"\r\n", b"\n")
    return raw if whole else raw.split(b":", 1)[1]


def decode_words(data: bytes, convert: bool = True) -> str:
    """Encoded words as their text, RFC 2047; one that is broken stays as it is.

    Without `convert` the octets of a word are kept whatever its character set.
    """
    if b"=?" not in data:
        return from_octets(data)

    def decode(match: re.Match[bytes]) -> bytes:
        charset, encoding, text = match.groups()
        try:
            octets = base64.b64decode(text, validate=True) if encoding in b"bB" else _decode_q(text)
            if not convert:
                return octets
            return octets.decode(charset.decode("ascii")).encode("utf-8", "replace")
        except (binascii.Error, LookupError, UnicodeError, ValueError):
            return match.group()

    return from_octets(_ENCODED_WORD.sub(decode, _BETWEEN.sub(rb"\1", data)))


def _decode_q(text: bytes) -> bytes:
    return binascii.a2b_qp(text.replace(b"_", b" "), header=False)
