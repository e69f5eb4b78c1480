"""SASLprep: names and passwords in the one form in which two sides compare them (machine).

RFC 4013, a profile of stringprep (RFC 3454) over Unicode 3.2; the tables are the standard library's.
"""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class NotPreparable(ValueError):
    """The text holds what no name and no password may hold."""


def prepare(text: str, *, stored: bool = False) -> str:
    """The text to compare. Raises NotPreparable.

    `stored`: what is going to be kept may hold no code points that Unicode 3.2 did not know (RFC 3454 7).
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    for each in prepared:
        if any(prohibited(each) for prohibited in _PROHIBITED):
            raise NotPreparable("a character that is not allowed in names and passwords")
        if stored and stringprep.in_table_a1(each):
            raise NotPreparable("a character that Unicode 3.2 does not know")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 6: text from right to left is that from its first character to its last, unmixed."""
    if not any(stringprep.in_table_d1(each) for each in text):
        return
    if any(stringprep.in_table_d2(each) for each in text):
        raise NotPreparable("text of both directions")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise NotPreparable("text from right to left that begins or ends with something else")
