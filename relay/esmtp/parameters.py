"""What the parameters of MAIL and RCPT mean, where they ask for more than a reply (machine).

`extensions.py` has checked their form; here they are read: delivery status notifications (RFC 3461), future
release (RFC 4865), and xtext, the form in which such values travel.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.mail.envelope import Parameters
from relay.mail.text import from_wire, to_wire

_HEX = re.compile(r"\+([0-9A-Fa-f]{2})")
_IN_XTEXT = re.compile(rb"[^!-*,-<>-~]")


def decode_xtext(text: str) -> str:
    """The meaning of an xtext, RFC 3461 4. What is none of it is left as it is."""
    return from_wire(to_wire(_HEX.sub(_octet, text)))


def _octet(match: re.Match[str]) -> str:
    value = int(match.group(1), 16)
    return chr(value if value < 0x80 else 0xDC00 + value)


def encode_xtext(text: str) -> str:
    """Any text as xtext, RFC 3461 4."""
    return _IN_XTEXT.sub(lambda match: b"+%02X" % match.group()[0], to_wire(text)).decode("ascii")


class Return(enum.Enum):
    """How much of a message its notifications carry, RFC 3461 4.3."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(enum.Enum):
    """When the sender wants to hear of a recipient, RFC 3461 4.1."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """ORCPT: the recipient as the sender gave it, RFC 3461 4.2."""

    address_type: str
    address: str


def wanted_return(mail: Parameters) -> Return | None:
    """RET of MAIL; None leaves the choice to us."""
    value = mail.get("RET")
    return Return(value.upper()) if value else None


def envelope_id(mail: Parameters) -> str:
    """ENVID of MAIL, decoded; empty where there is none."""
    return decode_xtext(mail.get("ENVID") or "")


def wanted_notices(rcpt: Parameters) -> frozenset[Notify] | None:
    """NOTIFY of RCPT: the empty set for NEVER, None where nothing was said (RFC 3461 4.1: FAILURE, and perhaps
    DELAY)."""
    value = (rcpt.get("NOTIFY") or "").upper()
    if not value:
        return None
    return frozenset(Notify(word) for word in value.split(",") if word != "NEVER")


def original_recipient(rcpt: Parameters) -> OriginalRecipient | None:
    """ORCPT of RCPT, decoded."""
    address_type, semicolon, address = (rcpt.get("ORCPT") or "").partition(";")
    return OriginalRecipient(address_type.lower(), decode_xtext(address)) if semicolon else None


def release_time(mail: Parameters, now: float) -> float | None:
    """When a message that was sent with HOLDFOR or HOLDUNTIL may leave, RFC 4865; seconds since the epoch."""
    if interval := mail.get("HOLDFOR"):
        return now + int(interval)
    if moment := mail.get("HOLDUNTIL"):
        return _moment(moment)
    return None


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None


def is_moment(text: str) -> bool:
    """Whether a date-time of the right form is one that exists."""
    return _moment(text) is not None


def limits_offer(messages: int, recipients: int) -> tuple[str, str] | None:
    """The row of LIMITS for `Offers`, RFC 9422 4; 0 for no limit, None where there is nothing to say."""
    said = [("MAILMAX", messages), ("RCPTMAX", recipients)]
    text = " ".join(f"{name}={limit}" for name, limit in said if limit > 0)
    return ("LIMITS", text) if text else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server said of itself by LIMITS; 0 for nothing said."""

    messages: int = 0
    recipients: int = 0
    domains: int = 0


_LIMIT = re.compile(r"(MAILMAX|RCPTMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})")


def read_limits(text: str) -> Limits:
    """The text behind LIMITS in a server's EHLO reply; what is malformed or unknown is passed over (RFC 9422 3)."""
    said = {}
    for word in text.split():
        if match := _LIMIT.fullmatch(word.upper()):
            said[match.group(1)] = int(match.group(2))
    return Limits(said.get("MAILMAX", 0), said.get("RCPTMAX", 0), said.get("RCPTDOMAINMAX", 0))


def future_release_offer(seconds: int, until: float) -> tuple[str, str]:
    """The row of FUTURERELEASE for `Offers`: the longest time, and the last moment (RFC 4865 4)."""
    moment = datetime.fromtimestamp(until, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ("FUTURERELEASE", f"{seconds} {moment}")
