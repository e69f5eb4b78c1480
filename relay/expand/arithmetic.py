"""Numbers in texts: comparisons, `${eval:…}`, times (machine).

Exim counts in signed 64-bit integers; results wrap around as in C. `eval` reads octal and hexadecimal numbers,
comparisons only decimal ones; K, M and G stand for powers of 1024.
"""

from __future__ import annotations

import re

from relay.expand.errors import ExpansionFailed
from relay.expand.splitting import SPACE

_MAX = 2**63 - 1
_MIN = -(2**63)
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)([kKmMgG]?)[ \t\n\v\f\r]*")
_EVAL_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|0[0-7]*|[1-9][0-9]*")
_DECIMAL = re.compile(r"[0-9]+")
_DIGITS_LIMIT = 40
_NESTING_LIMIT = 50


def integer(text: str, not_negative: bool = False) -> int:
    """A number in decimal with K, M or G behind it; blank text is 0. Raises ExpansionFailed.

    Exim: expanded_string_integer.
    """
    if not text.strip(SPACE):
        return 0
    match = _INTEGER.match(text)
    if match is None:
        raise ExpansionFailed(f'integer expected but "{text}" found')
    digits, suffix = match.groups()
    if len(digits) > _DIGITS_LIMIT:
        raise ExpansionFailed(f'absolute value of integer "{text[:80]}" is too large (overflow)')
    value = int(digits)
    if value < 0 and not_negative:
        raise ExpansionFailed(f'non-negative integer expected but "{text}" found')
    value *= _FACTORS[suffix.lower()]
    if not _MIN <= value <= _MAX:
        raise ExpansionFailed(f'absolute value of integer "{text}" is too large (overflow)')
    if match.end() != len(text):
        raise ExpansionFailed(f'invalid integer "{text}"')
    return value


def wrapped(value: int) -> int:
    """A result as a signed 64-bit integer has it."""
    return (value + 2**63) % 2**64 - 2**63


class _Problem(Exception):
    """What is wrong with an expression; where is the reader's position."""


class _Expression:
    """A reader of one expression; each method is a level of precedence, loosest first."""

    def __init__(self, text: str, decimal: bool) -> None:
        self.text = text
        self.decimal = decimal
        self.position = 0
        self.depth = 0

    def whole(self) -> int:
        value = self.level(0)
        if self.position < len(self.text):
            raise _Problem("expecting operator")
        return value

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def skip_space(self) -> None:
        while self.peek() and self.peek() in SPACE:
            self.position += 1

    def level(self, number: int) -> int:
        """Operators of one precedence, from the left."""
        if number == len(_LEVELS):
            return self.unary()
        left = self.level(number + 1)
        while (name := self.operator(_LEVELS[number])) is not None:
            left = self.apply(name, left, self.level(number + 1))
        return left

    def operator(self, names: tuple[str, ...]) -> str | None:
        for name in names:
            if self.text.startswith(name, self.position):
                self.position += len(name)
                return name
        return None

    def apply(self, name: str, left: int, right: int) -> int:
        match name:
            case "|":
                return left | right
            case "^":
                return left ^ right
            case "&":
                return left & right
            case "<<":
                return wrapped(left << (right & 63))
            case ">>":
                return left >> (right & 63)
            case "+" | "-":
                return self.add(left, right, name)
            case "*":
                return wrapped(left * right)
        if right == 0:
            raise _Problem("divide by zero" if name == "/" else "modulo by zero")
        if right == -1 and left == _MIN:
            return _MAX
        quotient = abs(left) // abs(right)
        if (left < 0) != (right < 0):
            quotient = -quotient
        return quotient if name == "/" else left - quotient * right

    def add(self, left: int, right: int, name: str) -> int:
        """Exim's own, careful test for an overflow: what it misses wraps around."""
        half = _MAX // 2
        if left >= half or (left <= -half and right <= -half):
            raise _Problem("overflow in sum" if name == "+" else "overflow in difference")
        return wrapped(left + right if name == "+" else left - right)

    def unary(self) -> int:
        signs = []
        self.skip_space()
        while self.peek() and self.peek() in "+-~":
            signs.append(self.peek())
            self.position += 1
            self.skip_space()
        value = self.number()
        for sign in reversed(signs):
            value = {"+": value, "-": wrapped(-value), "~": ~value}[sign]
        return value

    def number(self) -> int:
        if self.peek() == "(":
            return self.parenthesis()
        match = (_DECIMAL if self.decimal else _EVAL_NUMBER).match(self.text, self.position)
        if match is None:
            raise _Problem("expecting number or opening parenthesis")
        self.position = match.end()
        digits = match.group()
        if len(digits) > _DIGITS_LIMIT:
            value = _MAX
        elif self.decimal or not digits.startswith("0"):
            value = int(digits)
        else:
            value = int(digits[2:] or "0", 16) if digits[1:2] in ("x", "X") else int(digits, 8)
        value = min(value, _MAX)
        factor = _FACTORS.get(self.peek().lower(), 1)
        if factor != 1:
            self.position += 1
        self.skip_space()
        return wrapped(value * factor)

    def parenthesis(self) -> int:
        self.depth += 1
        if self.depth > _NESTING_LIMIT:
            raise _Problem("too many parentheses")
        self.position += 1
        value = self.level(0)
        if self.peek() != ")":
            raise _Problem("expecting closing parenthesis")
        self.position += 1
        self.skip_space()
        self.depth -= 1
        return value


_LEVELS: tuple[tuple[str, ...], ...] = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))


def evaluate(text: str, decimal: bool) -> int:
    """The value of an expression. Raises ExpansionFailed in Exim's words."""
    reader = _Expression(text, decimal)
    try:
        return reader.whole()
    except _Problem as problem:
        done = text[: reader.position]
        what = f'error in expression evaluation: {problem} (after processing "{done}")'
        raise ExpansionFailed(what) from None


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_INTERVAL = re.compile("(?:[0-9]{1,9}[wdhms])+")
_INTERVAL_PART = re.compile("([0-9]+)([wdhms])")


def seconds_of(text: str) -> int | None:
    """The seconds of an interval such as `1d5h`, units in any order; None if it is none.

    Exim: readconf_readtime.
    """
    if _INTERVAL.fullmatch(text) is None:
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in _INTERVAL_PART.findall(text))


def interval_of(seconds: int) -> str:
    """An interval as Exim prints it: `1w2d3h4m5s`, `0s`."""
    shown = []
    for unit, size in _UNITS.items():
        number, seconds = divmod(seconds, size)
        if number:
            shown.append(f"{number}{unit}")
    return "".join(shown) or "0s"
