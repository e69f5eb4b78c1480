"""How words of the configuration are read where several readers need them: times, switches, near misses
(values)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_TIME_PART = re.compile(r"([0-9]{1,10})([wdhms])")
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy that names the most similar known word, or "" where none is similar.

    Long words are not compared: nobody mistypes a hundred letters, and the comparison would take its time.
    """
    if len(word) > 64:
        return ""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""


def read_time(text: str) -> int | None:
    """Seconds of a time such as `5m30s` or `2w`, None where the text is none; units stand in any order, as
    in Exim."""
    position = total = 0
    while position < len(text):
        match = _TIME_PART.match(text, position)
        if match is None:
            return None
        total += int(match.group(1)) * _SECONDS[match.group(2)]
        position = match.end()
    return total if text else None


def read_switch(text: str) -> bool | None:
    """What the text of a condition means (Exim: the ACL condition `condition`), None where it means nothing.

    A number is true unless it is zero, nothing at all is false, and so are `no` and `false`.
    """
    digits = text.removeprefix("-")
    if not digits or (digits.isascii() and digits.isdigit()):
        return bool(digits.strip("0"))
    word = text.lower()
    if word in ("yes", "true"):
        return True
    if word in ("no", "false"):
        return False
    return None
