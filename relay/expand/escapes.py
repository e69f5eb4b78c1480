r"""Backslash escapes: `\n`, `\007`, `\x7F`, and any other character as itself (machine)."""

from __future__ import annotations

import re

_NAMED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{0,2})|(.))", re.DOTALL)


def unescape(text: str, position: int) -> tuple[str, int]:
    """Reads the escape whose backslash is at `position`: the character, and where it ends.

    Exim: string_interpret_escape.
    """
    match = _ESCAPE.match(text, position)
    if match is None:
        return "\\", position + 1
    octal, hexadecimal, other = match.groups()
    if octal is not None:
        return _octet(int(octal, 8) & 0xFF), match.end()
    if hexadecimal is not None:
        return _octet(int(hexadecimal or "0", 16)), match.end()
    return _NAMED.get(other, other), match.end()


def _octet(number: int) -> str:
    return chr(number) if number < 0x80 else chr(0xDC00 + number)
