"""Exim's list notation: cutting a text into items and putting items together (machine).

Items are separated by colons or by the character that follows a `<` at the start; a doubled separator is data, unless
it is a control character; white space around items is no part of them; a separator at the very end starts no item.
Exim: string_nextinlist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.expand.values import Tainted, is_tainted

SPACE = " \t\n\v\f\r"
_CHANGE = re.compile(r"[ \t\n\v\f\r]*<([!-/:-@\[-`{-~\x00-\x1f\x7f])")


@dataclass(frozen=True, slots=True)
class Split:
    """The items of a list, and the separator that was in force."""

    items: tuple[str, ...]
    separator: str


def split_list(text: str, separator: str = "") -> Split:
    """Cuts a list. With `separator` the text can't change it; text from outside can't either."""
    body = text
    if not separator:
        separator = ":"
        if (match := _CHANGE.match(text)) and not is_tainted(text):
            separator, body = match.group(1), text[match.end() :]
    items = _items(body, separator)
    if is_tainted(text):
        items = [Tainted(item) for item in items]
    return Split(tuple(items), separator)


def _items(text: str, separator: str) -> list[str]:
    if separator * 2 in text and not _is_control(separator):
        parts = _parts(text, separator)
    else:
        parts = text.split(separator)
    if not parts[-1].strip(SPACE):
        parts.pop()
    return [part.strip(SPACE) for part in parts]


def _parts(text: str, separator: str) -> list[str]:
    """Cuts at single separators; of a doubled one the first is dropped and the second is data."""
    return [part for part, _, _ in _spans(text, separator)]


def _spans(text: str, separator: str) -> list[tuple[str, int, int]]:
    """The parts with where they begin and end in `text`."""
    parts: list[tuple[str, int, int]] = []
    current: list[str] = []
    doubles = not _is_control(separator)
    position = start = 0
    while (end := text.find(separator, position)) >= 0:
        current.append(text[position:end])
        position = end + 1
        if doubles and text.startswith(separator, position):
            current.append(separator)
            position += 1
        else:
            parts.append(("".join(current), start, end))
            current, start = [], position
    current.append(text[position:])
    parts.append(("".join(current), start, len(text)))
    return parts


def _is_control(separator: str) -> bool:
    return separator < " " or separator == "\x7f"


def split_pieces(pieces: list[str], separator: str = "") -> tuple[str, ...]:
    """The items of a list that comes in pieces: an item is tainted if text of a tainted piece is in it."""
    whole = "".join(pieces)
    borders: list[tuple[int, int]] = []
    position = 0
    for piece in pieces:
        if is_tainted(piece) and piece:
            borders.append((position, position + len(piece)))
        position += len(piece)
    offset = 0
    if not separator:
        separator = ":"
        if (match := _CHANGE.match(whole)) and not any(start < match.end() for start, _ in borders):
            separator, offset = match.group(1), match.end()
    if not borders:
        return tuple(_items(whole[offset:], separator))
    items = []
    spans = _spans(whole[offset:], separator)
    if not spans[-1][0].strip(SPACE):
        spans.pop()
    for part, start, end in spans:
        item = part.strip(SPACE)
        outside = any(low < end + offset and start + offset < high for low, high in borders)
        items.append(Tainted(item) if outside else item)
    return tuple(items)


def join_list(items: Iterable[str], separator: str = ":") -> str:
    """A list of the items; separators inside them are doubled, an empty one becomes a space. Exim: `${map`."""
    shown: list[str] = []
    for item in items:
        text = item.replace(separator, separator * 2)
        if shown and (not text or text.startswith(separator)):
            text = " " + text
        shown.append(text)
    return separator.join(shown)
