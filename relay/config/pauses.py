"""How clients are slowed down: the value of smtp_ratelimit_mail and smtp_ratelimit_rcpt (machine)."""

from __future__ import annotations

import re

from relay.config.options import BadValue, read_fixed, read_small_integer, read_time
from relay.reception.rules import Slowing

_FRACTION = re.compile(r"([0-9]+\.[0-9]{1,3})s")


def read_slowing(text: str, name: str) -> Slowing | None:
    """`number,first pause,factor,longest pause`, such as `2,0.5s,1.05,4m`; None for nothing. Raises BadValue."""
    if not text.strip():
        return None
    parts = [each.strip() for each in text.split(",")]
    if len(parts) != 4:
        raise BadValue(f"{name}: four values are expected", "write number,first pause,factor,longest pause")
    number, first, factor, longest = parts
    return Slowing(
        read_small_integer(number, name), _seconds(first, name), read_fixed(factor, name), _seconds(longest, name)
    )


def _seconds(text: str, name: str) -> float:
    match = _FRACTION.fullmatch(text)
    return float(match.group(1)) if match else float(read_time(text, name))
