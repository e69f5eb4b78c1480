"""XCLIENT: what a proxy that we trust says of the client behind it (machine).

The command is Postfix's (XCLIENT_README); the session offers it, as the text behind XCLIENT in its `Offers`, to
hosts of a list and to nobody else, and decides what becomes of the values.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from relay.esmtp.parameters import decode_xtext

ATTRIBUTES = ("ADDR", "NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT", "PROTO", "HELO")
# PROTO and HELO are understood, and not offered: the proxy says EHLO for the client anyway, as to an Exim.
OFFER = ("XCLIENT", " ".join(name for name in ATTRIBUTES if name not in ("PROTO", "HELO")))
_UNAVAILABLE = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_LONGEST = 255
_PLAIN = re.compile(r"[!-~]+")


class BadAttribute(ValueError):
    """An attribute that is unknown, doubled or malformed; the text is for the peer."""


@dataclass(frozen=True, slots=True)
class ClientAttributes:
    """Attributes by upper-case name, in the order in which they came; None: the proxy does not know."""

    items: tuple[tuple[str, str | None], ...]

    def __contains__(self, name: str) -> bool:
        return any(each == name for each, _ in self.items)

    def get(self, name: str) -> str | None:
        return dict(self.items).get(name)


def read_attributes(argument: str) -> ClientAttributes:
    """The argument of XCLIENT. Addresses come out without `IPV6:`, in their usual spelling. Raises BadAttribute."""
    found: dict[str, str | None] = {}
    for word in argument.split():
        given, equals, value = word.partition("=")
        name = given.upper()
        if name not in ATTRIBUTES:
            raise BadAttribute(f"XCLIENT: unrecognised parameter '{given[:_LONGEST]}'")
        if not equals:
            raise BadAttribute(f"XCLIENT: missing value for parameter '{name}'")
        if not value:
            raise BadAttribute("XCLIENT: zero-length value for param")
        if name in found:
            raise BadAttribute(f"XCLIENT: {name} can be specified once only")
        found[name] = _read_value(name, value)
    if not found:
        raise BadAttribute("XCLIENT must have at least one operand")
    return ClientAttributes(tuple(found.items()))


def _read_value(name: str, value: str) -> str | None:
    text = decode_xtext(value)
    if text.upper() in _UNAVAILABLE:
        return None
    if len(text) > _LONGEST or not _PLAIN.fullmatch(text):
        raise BadAttribute(f"XCLIENT: invalid value for {name}")
    match name:
        case "ADDR" | "DESTADDR":
            return _address(name, text)
        case "PORT" | "DESTPORT":
            if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
                raise BadAttribute(f"XCLIENT: invalid value for {name}")
            return text
        case "PROTO":
            if text.upper() not in ("SMTP", "ESMTP"):
                raise BadAttribute("XCLIENT: invalid value for PROTO")
            return text.upper()
        case _:
            return text


def _address(name: str, text: str) -> str:
    has_mark = text[:5].upper() == "IPV6:"
    try:
        address = ipaddress.ip_address(text[5:] if has_mark else text)
    except ValueError:
        raise BadAttribute(f"XCLIENT: invalid value for {name}") from None
    if (has_mark and address.version != 6) or "%" in text:
        raise BadAttribute(f"XCLIENT: invalid value for {name}")
    return str(address)
