"""What an expansion yields: text, text from outside, or a certificate (values).

Exim counts, cuts and compares octets. Text is kept as `str` (see `mail/text.py`), so whatever counts goes through
`octets` and `from_octets`; for ASCII, which is nearly everything, both are cheap.
"""

from __future__ import annotations

from typing import TypeAlias

from relay.mail.facts import Certificate
from relay.mail.text import from_wire, to_wire


class Tainted(str):
    """Text from outside. It is never parsed as an expansion and never used as a file name.

    Operations of `str` give plain text: whoever makes a new text of a tainted one marks it again, with `taint_like`.
    """

    __slots__ = ()


class Quoted(Tainted):
    """Text from outside that `quote_sqlite` has made harmless in a query, or text of ours with nothing else in it."""

    __slots__ = ()


class Folded(Tainted):
    """Text from outside in a header field that is folded: behind each of its line breaks is white space, and more."""

    __slots__ = ()


def from_a_header(text: str) -> Tainted:
    """What a field has brought. Its line breaks are kept as far as they fold it: they begin no other field."""
    first, *more = text.split("\n")
    folds = bool(more) and all(line[:1] in (" ", "\t") and line.strip() for line in more)
    has_others = any(len(line.splitlines()) > 1 for line in (first, *more))
    return Folded(text) if folds and not has_others else Tainted(text)


class Absent(str):
    """The empty text that stands for a thing that is not there, such as the hash of no certificate.

    It is empty, and `def` and `eq` see it as that; but it is in no list, so that an empty item in a list of
    fingerprints lets nobody in who has no certificate.
    """

    __slots__ = ()


ABSENT = Absent()

Value: TypeAlias = "str | Certificate"


def is_tainted(value: Value) -> bool:
    """True for text that a peer had a hand in."""
    return isinstance(value, Tainted)


def taint_like(text: str, *sources: Value) -> str:
    """`text`, tainted if one of the values that it was made of is."""
    for source in sources:
        if isinstance(source, Tainted):
            return text if isinstance(text, Tainted) else Tainted(text)
    return text


def text_of(value: Value) -> str:
    """A value as text: a certificate has none of its own and gives `<cert>` as in Exim."""
    return "<cert>" if isinstance(value, Certificate) else value


def octets(text: str) -> bytes:
    """The text as the octets that Exim would see."""
    return to_wire(text)


def from_octets(data: bytes) -> str:
    """The inverse of `octets`."""
    return from_wire(data)


def same_text(one: str, other: str) -> bool:
    """Equality of octets: text that was cut inside a character and joined again equals the uncut one."""
    return one == other or (not (one.isascii() and other.isascii()) and to_wire(one) == to_wire(other))


_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def lower(text: str) -> str:
    """ASCII letters in lower case, everything else untouched."""
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def upper(text: str) -> str:
    """ASCII letters in upper case, everything else untouched."""
    return text.upper() if text.isascii() else text.translate(_ASCII_UPPER)
