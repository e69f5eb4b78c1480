"""Signed senders for bounces, the tags of BATV's PRVS scheme (machine).

`prvs=` key number, day of expiry, the first digits of a keyed hash, `=` and the address. The day is the number of days
since the epoch, its last three digits; the hash is HMAC-SHA-1 over key number, day and address.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from relay.expand.errors import ExpansionFailed
from relay.expand.values import from_octets, octets, taint_like

_DAY = 86400
# Days that a signature is good for, and the day numbers around the turn from 999 to 0.
_LIFETIME = 7
_TURN = 993
_SIGNED = re.compile(rb"prvs=([0-9])([0-9]{3})([A-F0-9]{6})=(.+)@(.+)", re.IGNORECASE)
_KEY_LIMIT = 64


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """What is read of `prvs=…`; whether it is genuine only the key can tell."""

    address: str
    key_number: str
    day: str
    mark: str
    captures: tuple[str, ...] = ()
    """$0 and on, which the reading sets."""

    def is_genuine(self, key: str, now: float) -> bool:
        """The mark was made with this key and is still good. Raises ExpansionFailed for an impossible key."""
        own = _mark(self.address, key, self.key_number, self.day, "hmac-sha1 conversion failed")
        if not hmac.compare_digest(own.encode(), self.mark.encode()):
            return False
        today, expires = int(_day(now, 0)), int(self.day)
        return expires >= (0 if expires < _LIFETIME and today >= _TURN else today)


def sign(address: str, key: str, number: str, now: float) -> str:
    """The address with its tag, for `${prvs`. Raises ExpansionFailed."""
    local_part, at, domain = address.rpartition("@")
    if not (at and local_part and domain):
        raise ExpansionFailed("prvs first argument must be a qualified email address")
    if not re.fullmatch("[0-9]", number):
        raise ExpansionFailed("prvs third argument must be a single digit")
    day = _day(now, _LIFETIME)
    return f"prvs={number}{day}{_mark(address, key, number, day, 'prvs hmac-sha1 conversion failed')}={address}"


def read_signed(text: str) -> SignedAddress | None:
    """A tagged address; None where the text is none."""
    match = _SIGNED.fullmatch(octets(text))
    if match is None:
        return None
    found = [from_octets(group) for group in match.groups()]
    number, day, mark, local_part, domain = found
    return SignedAddress(
        f"{local_part}@{domain}", number, day, mark, tuple(taint_like(each, text) for each in (text, *found))
    )


def _day(now: float, offset: int) -> str:
    days = str(int(now + offset * _DAY) // _DAY)
    return days[-3:] if len(days) >= 3 else "100"


def _mark(address: str, key: str, number: str, day: str, problem: str) -> str:
    secret = octets(key)
    if len(secret) > _KEY_LIMIT:
        raise ExpansionFailed(problem)
    return hmac.new(secret, octets(f"{number}{day}{address}"), "sha1").hexdigest()[:6]
