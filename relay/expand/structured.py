"""Texts with a structure: fields by number or by name, JSON (machine)."""

from __future__ import annotations

import json
import re

from relay.expand.errors import ExpansionFailed
from relay.expand.escapes import unescape
from relay.expand.splitting import SPACE


def field_by_number(text: str, number: int, separators: str) -> str | None:
    """Field `number` of a text cut at each of the characters; negative ones count from the right, 0 is all of it.

    Exim: expand_gettokened.
    """
    if number == 0:
        return text
    fields = re.split(f"[{re.escape(separators)}]", text) if separators else [text]
    if abs(number) > len(fields):
        return None
    return fields[number - 1 if number > 0 else number]


_KEY = re.compile(r"[^= \t\n\v\f\r]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_WORD = re.compile(r"[^ \t\n\v\f\r]*")


def field_by_name(text: str, key: str) -> str | None:
    """The value in `key=value key="a value"`, the key in any case. Exim: expand_getkeyed."""
    position = _skip(text, 0)
    while position < len(text):
        name = _match_at(_KEY, text, position)
        position = _skip(text, position + len(name))
        if text.startswith("=", position):
            position = _skip(text, position + 1)
        if text.startswith('"', position):
            raw = _match_at(_QUOTED, text, position)
            value = unescaped(raw[1:-1] if len(raw) > 1 and raw.endswith('"') else raw[1:])
        else:
            raw = value = _match_at(_WORD, text, position)
        position += len(raw)
        if name.lower() == key.lower():
            return value
        after = _skip(text, position)
        if after == position and not raw and not name:
            position += 1
        position = max(after, position)
    return None


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in SPACE:
        position += 1
    return position


def _match_at(pattern: re.Pattern[str], text: str, position: int) -> str:
    match = pattern.match(text, position)
    return match.group() if match else ""


def unescaped(text: str) -> str:
    """The text of a quoted string."""
    if "\\" not in text:
        return text
    shown, position = [], 0
    while position < len(text):
        if text[position] == "\\":
            character, position = unescape(text, position)
        else:
            character, position = text[position], position + 1
        shown.append(character)
    return "".join(shown)


_DECODER = json.JSONDecoder()


def from_json(text: str, key: str, numbered: bool, strip_quotes: bool) -> str | None:
    """An element of a JSON array, or a member of an object, as the text that stands there; with `strip_quotes` a string
    without its quotes (escapes stay). Exim: EITEM_EXTRACT json.
    """
    if numbered:
        if int(key) <= 0:
            raise ExpansionFailed('first argument of "extract" must be greater than zero')
        elements = _elements(text, "[]")
        found = elements[int(key) - 1][1] if int(key) <= len(elements) else None
    else:
        found = dict(reversed(_elements(text, "{}"))).get(key)
    return found if found is None or not strip_quotes else _without_quotes(found)


def json_items(text: str, strip_quotes: bool) -> list[str]:
    """The elements of a JSON array as texts, for `forany_json` and its relatives."""
    return [_without_quotes(item) if strip_quotes else item for _, item in _elements(text, "[]")]


def _without_quotes(text: str) -> str:
    if len(text) < 2 or text[0] != '"':
        raise ExpansionFailed("missing '\"' wrapping string result for extract jsons")
    return text[1:-1]


def _elements(text: str, brackets: str) -> list[tuple[str, str]]:
    """(key, text) of each element of an array (keys empty) or an object."""
    opening, closing = brackets[0], brackets[1]
    position = _skip(text, 0)
    if not text.startswith(opening, position):
        what = "array" if opening == "[" else "object"
        raise ExpansionFailed(f"missing '{opening}' wrapping {what} for extract json")
    found: list[tuple[str, str]] = []
    position = _skip(text, position + 1)
    while not text.startswith(closing, position):
        key = ""
        if opening == "{":
            key, position = _json_value(text, position)
            key = _without_quotes(key)
            position = _expect(text, position, ":")
        value, position = _json_value(text, position)
        found.append((key, value))
        if text.startswith(closing, position):
            break
        position = _expect(text, position, ",")
    return found


def _json_value(text: str, position: int) -> tuple[str, int]:
    try:
        _, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError):
        raise ExpansionFailed("bad JSON text for extract json") from None
    return text[position:end], _skip(text, end)


def _expect(text: str, position: int, character: str) -> int:
    if not text.startswith(character, position):
        raise ExpansionFailed(f"missing '{character}' in JSON text for extract json")
    return _skip(text, position + 1)
