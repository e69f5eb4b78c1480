"""Header fields as the language shows them: joined, decoded, or raw (machine).

Several fields of one name are joined: raw ones as they stand, address fields with a comma, others with a line feed.
Line ends inside are line feeds, as in Exim's own store. And the other way: encoded words, folded lines.
"""

from __future__ import annotations

import base64
import binascii
import re

from relay.expand.splitting import SPACE, join_list
from relay.expand.tree import HeaderForm
from relay.expand.values import from_octets, lower, octets
from relay.mail.header import Field

# Octets of header text that a variable shows. Exim: header_insert_maxlen.
SIZE_OF_HEADERS = 65536
# Fields that hold addresses; several of a name are one list. Exim: find_header.
_ADDRESS_FIELDS = frozenset({"bcc", "cc", "from", "reply-to", "sender", "to"})

_ENCODED_WORD = re.compile(rb"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(rb"(\?=)[ \t\r\n]+(?==\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)")


def header_text(header: tuple[Field, ...], name: str | None, form: HeaderForm) -> str | None:
    """The fields called `name` (None: all, with their names) in one of the four forms; None where there is none. A
    field without any octets is none."""
    found = [field for field in header if field.raw and (name is None or field.is_named(name))]
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


# Words and lines to be written

# Octets of a word, with its beginning, after which another one begins; and how long it may get in all, RFC 2047 2.
_WORD_GROWS_TO = 67
_WORD_LIMIT = 75
_CODED = re.compile(rb"[^!-~]|[?=()<>@,;:\\\".\[\]_]")


def encode_words(text: str, charset: str) -> str:
    """RFC 2047 words where the text has more than plain words in printable ASCII; else the text. A character of
    several octets is not divided. Exim: parse_quote_2047."""
    data = octets(text)
    if not _CODED.search(data.replace(b" ", b"")):
        return text
    start = f"=?{charset}?Q?".encode("ascii", "replace")
    limit = max(_WORD_LIMIT, len(start) + 16)
    words: list[bytes] = []
    current, pairs = start, 0
    for character in _characters(data, charset):
        put = _CODED.sub(_coded_octet, character)
        # Exim takes coded octets for halves of characters and never parts a first from a second one.
        if (len(current) > _WORD_GROWS_TO and pairs % 2 == 0) or len(current) + len(put) + len(b"?=") > limit:
            words.append(current)
            current = start
        current += put
        pairs = pairs + len(put) // 3 if put.startswith(b"=") else 0
    return b" ".join(word + b"?=" for word in (*words, current)).decode("ascii")


def _characters(data: bytes, charset: str) -> list[bytes]:
    if charset.lower() in ("utf-8", "utf8"):
        return [octets(character) for character in from_octets(data)]
    return [bytes([octet]) for octet in data]


def _coded_octet(found: re.Match[bytes]) -> bytes:
    return b"_" if found.group() == b" " else b"=%02X" % found.group()[0]


# Columns that the tab of a continuation line takes. Exim: EOP_HEADERWRAP.
_INDENT_COLUMNS = 8


def wrap(text: str, columns: int, limit: int) -> str:
    """The text of a header field cut into lines of at most `columns`, at white space where there is some, and to about
    `limit` octets; 0 is no limit. A line feed, also one that is written as a backslash and n, ends a line."""
    data = octets(text)
    columns = columns if columns > 0 else len(data) + _INDENT_COLUMNS
    limit = limit if limit > 0 else SIZE_OF_HEADERS + 10 * len(data)
    wrapped = bytearray()
    used = position = 0
    while data:
        escaped = data.find(b"\\", position)
        if escaped >= 0 and data.startswith(b"\\n", escaped):
            end, following = escaped, escaped + 2
        elif (end := data.find(b"\n", position)) >= 0:
            following = end + 1
        else:
            end = following = len(data)
        if used + end - position > columns:
            end, following = _cut(data, position, columns - used)
        wrapped += data[position:end]
        position = following
        if position >= len(data):
            break
        if len(wrapped) >= limit:
            del wrapped[limit:]
            break
        wrapped += b"\n\t"
        used = _INDENT_COLUMNS
    return from_octets(bytes(wrapped))


def _cut(data: bytes, position: int, room: int) -> tuple[int, int]:
    """Where a line that is too long ends, and where the next one begins."""
    white = SPACE.encode()
    for end in range(position + room, position + 10, -1):
        if data[end] in white:
            following = end + 1
            while end > position + 1 and data[end - 1] in white:
                end -= 1
            while following < len(data) and data[following] in white:
                following += 1
            return end, following
    end = position + max(room, 0)
    return end, end
