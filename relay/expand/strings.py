"""What operators and items do with the octets of a text (machine).

Cutting, hashing, quoting, and finding the parts of mail addresses. Counts are counts of octets.
"""

from __future__ import annotations

import re

from relay.expand.errors import ExpansionError, ExpansionFailed, NotServed, Span
from relay.expand.splitting import SPACE, join_list
from relay.expand.values import Quoted, from_octets, is_tainted, octets

_HASH_CODES = b"abcdefghijklmnopqrtsuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HASH_LETTERS = len(_HASH_CODES)
_PRIMES: tuple[int, ...] = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)
_PRIMES += (89, 97, 101, 103, 107, 109, 113)


def substring(text: str, start: int, length: int) -> str:
    """`length` octets (-1: no limit) from `start`, which counts from the right if negative; without a limit a negative
    start gives what lies before it. Exim: extract_substr."""
    data: str | bytes = text if text.isascii() else octets(text)
    size = len(data)
    if start < 0:
        start += size
        if start < 0:
            length = max(length + start, 0)
            start = 0
        elif length < 0:
            start, length = 0, start
    elif start > size:
        start, length = size, 0
    elif length < 0:
        length = size
    part = data[start : start + length]
    return part if isinstance(part, str) else from_octets(part)


def text_hash(text: str, length: int, letters: int) -> str:
    """`length` letters that depend on the text; a shorter text is its own hash. Exim: compute_hash."""
    data = bytearray(octets(text))
    if letters <= 0:
        letters = 26
    if letters > HASH_LETTERS:
        raise ExpansionFailed(f'hash count "{letters}" too big')
    if length <= 0:
        return ""
    if length >= len(data):
        return text
    target = 0
    for place in range(length, len(data)):
        octet = data[place]
        shift = (octet + place) & 7
        data[target] ^= ((octet << shift) | (octet >> (8 - shift))) & 0xFF
        target = (target + 1) % length
    return bytes(_HASH_CODES[octet % letters] for octet in data[:length]).decode("ascii")


def number_hash(text: str, first: int, second: int) -> str:
    """A number below `first`, or two as `a/b`. Exim: compute_nhash."""
    if first <= 0 or second == 0:
        raise ExpansionFailed("a limit of nhash is zero")
    total, index = 0, 0
    for octet in octets(text):
        if index == 0:
            index = len(_PRIMES) - 1
        total += _PRIMES[index] * octet
        index -= 1
    if second < 0:
        return str(total % first)
    total %= first * second
    return f"{total // second}/{total % second}"


def translate(text: str, characters: str, replacements: str) -> str:
    """Exim's `${tr`: the last place of a character in `characters` counts, too few replacements repeat the last one."""
    if not replacements:
        return text
    data, old, new = octets(text), octets(characters), octets(replacements)
    table = bytearray(range(256))
    for place, octet in enumerate(old):
        table[octet] = new[min(place, len(new) - 1)]
    return from_octets(data.translate(bytes(table)))


# Quoting

_LOOKUPS = frozenset(
    {"cdb", "dnsdb", "dsearch", "iplsearch", "json", "lsearch", "nwildlsearch", "passwd", "sqlite", "wildlsearch"}
)
_NEEDS_QUOTE = re.compile(r"[^A-Za-z0-9_.-]")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(\.+[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")


def quote(text: str, lookup: str) -> str:
    """Quotes where anything but letters, digits and `_.-` is in the text; `quote_sqlite` and its like for a lookup."""
    if lookup:
        return _quote_for_lookup(text, lookup)
    return _quoted(text) if not text or _NEEDS_QUOTE.search(text) else text


def _quote_for_lookup(text: str, lookup: str) -> str:
    if lookup != "sqlite":
        return text
    quoted = text.replace("'", "''")
    return Quoted(quoted) if is_tainted(text) else quoted


def check_quoting(span: Span, lookup: str) -> None:
    """Is there a way to quote for this type of lookup? Raises ExpansionError."""
    name, underscore, option = lookup.partition("_")
    if name not in _LOOKUPS:
        raise NotServed(f'unknown lookup type "{name}"', span)
    if underscore:
        raise ExpansionError(f'"{option}" unrecognized after "${{quote_{name}"', span)


def quote_local_part(text: str) -> str:
    """Quotes what RFC 5321 4.1.2 does not allow as a dot-string."""
    return text if _LOCAL_PART.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{inner}"'


def pattern_quote(text: str) -> str:
    """A backslash before everything but letters and digits, for use in a regular expression."""
    return from_octets(re.sub(rb"[^A-Za-z0-9]", rb"\\\g<0>", octets(text)))


def hex_quote(text: str) -> str:
    r"""Octets outside of 0x21 to 0x7E as `\xXX`."""
    return re.sub(rb"[^\x21-\x7e]", lambda found: b"\\x%02x" % found.group()[0], octets(text)).decode("ascii")


def escape_eight_bits(text: str) -> str:
    r"""Octets from 127 on, and the backslash, as `\ooo`."""
    return re.sub(rb"[\x7f-\xff\\]", lambda found: b"\\%03o" % found.group()[0], octets(text)).decode("ascii")


# Character sets


def from_utf8(text: str) -> str:
    """UTF-8 as ISO-8859-1, what does not fit as an underscore."""
    data = octets(text).decode("utf-8", "replace")
    return from_octets(bytes(ord(character) if ord(character) < 256 else 0x5F for character in data))


# What is kept (octets of overlong forms, too), or a sequence as far as it goes.
_UTF8 = re.compile(
    rb"([\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf4[\x80-\x8f][\x80-\xbf]{2}"
    rb"|[\xf0-\xf3][\x80-\xbf]{3})"
    # A lead octet takes what follows it and is no ASCII, up to the first that can't belong to it.
    rb"|[\xc2-\xdf][\xc0-\xff]|[\xe0-\xef][\x80-\xbf]{0,1}[\xc0-\xff]|[\xf0-\xf7][\x80-\xbf]{0,2}[\xc0-\xff]"
    rb"|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}|[\x80-\xff]",
    re.DOTALL,
)


def clean_utf8(text: str) -> str:
    """Each sequence that is no UTF-8 as a question mark. Exim: EOP_UTF8CLEAN."""
    return from_octets(_UTF8.sub(lambda found: found.group(1) or b"?", octets(text)))


def decode_xtext(text: str) -> str:
    """RFC 3461 4."""
    return from_octets(re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes.fromhex(found.group(1).decode()), octets(text)))


# Mail addresses

_ATOM = r"(?:[^\s()<>@,;:\\\".\[\]\x00-\x1f]|\\.)+"
_LOCAL = rf"\.*(?:{_ATOM}|\"(?:[^\"\\]|\\.)*\")(?:\.+(?:{_ATOM}|\"(?:[^\"\\]|\\.)*\"))*\.*"
_LABEL = r"[A-Za-z0-9_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff-]*"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[^\]\s]*\])"
_BARE = re.compile(rf"\s*(?P<local>{_LOCAL})\s*(?:@\s*(?P<domain>{_DOMAIN}))?\s*")
_ROUTE = re.compile(r"\s*@[^:<>]*:")
_ANGLE = re.compile(r"(?:[^<>@\"]|\"(?:[^\"\\]|\\.)*\")*<([^<>]*)>\s*")
_ADDRESS_LIMIT = 2048


def read_mailbox(text: str) -> tuple[str, str] | None:
    """Local part (as written) and domain of one address, with or without a display name; None where it is none.

    Enough for `${local_part:` and `${domain:`; commands and headers have readers of their own.
    """
    if len(text) > _ADDRESS_LIMIT:
        return None
    bare = without_comments(text).strip(SPACE)
    if bare in ("", "<>"):
        return ("", "") if bare else None
    match = _ANGLE.fullmatch(bare)
    inside = match.group(1) if match else bare
    if match:
        inside = _ROUTE.sub("", inside, count=1)
        if not inside.strip(SPACE):
            return "", ""
    found = _BARE.fullmatch(inside)
    return (found["local"], found["domain"] or "") if found else None


def without_comments(text: str) -> str:
    """The text without RFC 5322 comments; quoted strings are left alone."""
    if "(" not in text:
        return text
    shown: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and not depth:
            quoted = not quoted
        elif character == "(" and not quoted:
            depth += 1
            continue
        elif character == ")" and depth:
            depth -= 1
            continue
        if not depth:
            shown.append(character)
    return "".join(shown)


def address_of(text: str) -> str:
    """The bare address, empty where there is none."""
    found = read_mailbox(text)
    if found is None:
        return ""
    return f"{found[0]}@{found[1]}" if found[1] else found[0]


def local_part_of(text: str) -> str:
    """The local part of an address, empty where there is none."""
    found = read_mailbox(text)
    return found[0] if found else ""


def domain_of(text: str) -> str:
    """The domain of an address, empty where there is none."""
    found = read_mailbox(text)
    return found[1] if found else ""


def addresses_of(text: str) -> str:
    """The bare addresses of an RFC 5322 list as a list; `>c` at the start sets its separator."""
    separator = ":"
    bare = text.lstrip(SPACE)
    if bare.startswith(">"):
        if len(bare) < 2:
            raise ExpansionFailed(f"output separator missing in expanding ${{addresses:{bare}}}")
        separator, text = bare[1], bare[2:]
    found = (address_of(part) for part in split_addresses(text))
    return join_list((address for address in found if address), separator)


def split_addresses(text: str) -> list[str]:
    """Cuts at the commas that are in no quotes, comments or angles; the words around groups are dropped."""
    parts: list[str] = []
    start = depth = angle = 0
    quoted = escaped = False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and not depth:
            quoted = not quoted
        elif quoted:
            continue
        elif character in "()":
            depth = max(0, depth + (1 if character == "(" else -1))
        elif depth:
            continue
        elif character in "<>":
            angle = max(0, angle + (1 if character == "<" else -1))
        elif character in ",;" and not angle:
            parts.append(text[start:place])
            start = place + 1
        elif character == ":" and not angle and "@" not in text[start:place]:
            start = place + 1
    parts.append(text[start:])
    return parts
