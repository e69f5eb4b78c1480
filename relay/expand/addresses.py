"""IP addresses as the language writes them: reading, masking, showing (machine).

Exim's own rules where they differ from the library's: a mask that is too big counts as the biggest one, a zone
(`%eth0`) is dropped, lookup keys show IPv6 addresses in full with dots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

_OCTET = r"(0|[1-9][0-9]{0,2})"
_V4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}", re.ASCII)
_LOOKS_V4 = re.compile(r"[0-9.]+(/.*)?")
_LOOKS_V6 = re.compile(r"(?=[^/%]*:)[0-9A-Fa-f:.]+([/%].*)?")


@dataclass(frozen=True, slots=True)
class IPAddress:
    """An address as a number of 32 or 128 bits."""

    bits: int
    number: int

    def as_v4(self) -> IPAddress:
        """The IPv4 address inside of `::ffff:a.b.c.d`; any other address itself."""
        if self.bits == 128 and self.number >> 32 == 0xFFFF:
            return IPAddress(32, self.number & 0xFFFFFFFF)
        return self

    def masked(self, length: int) -> IPAddress:
        """The address with all bits behind the first `length` zero; -1 and too big ones leave all."""
        if length < 0 or length >= self.bits:
            return self
        free = self.bits - length
        return IPAddress(self.bits, self.number >> free << free)

    def full(self, separator: str = ":") -> str:
        """IPv4 in dots, IPv6 as eight groups of four digits. Exim: host_nmtoa."""
        if self.bits == 32:
            return ".".join(str(self.number >> shift & 0xFF) for shift in (24, 16, 8, 0))
        digits = f"{self.number:032x}"
        return separator.join(digits[start : start + 4] for start in range(0, 32, 4))

    def short(self) -> str:
        """IPv4 in dots, IPv6 with its longest run of zeros, even of one, left out. Exim: ipv6_nmtoa."""
        if self.bits == 32:
            return self.full()
        groups = [f"{self.number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16)]
        text = ":".join(groups)
        runs = sorted(re.finditer(r"(?:(?<=:)|^)0(?::0)*(?=:|$)", text), key=lambda run: -len(run.group()))
        if not runs:
            return text
        run = runs[0]
        return f"{text[: run.start()].rstrip(':')}::{text[run.end() :].lstrip(':')}"


@dataclass(frozen=True, slots=True)
class Network:
    """An address with a mask, or without one (`length` None)."""

    address: IPAddress
    length: int | None

    def holds(self, address: IPAddress) -> bool:
        """Exim: host_is_in_net. A mapped IPv4 address is in an IPv4 network."""
        mine = self.address
        if address.bits != mine.bits:
            address = address.as_v4()
            if address.bits != mine.bits:
                return False
        free = 0 if self.length is None else max(mine.bits - self.length, 0)
        return address.number >> free == mine.number >> free


def read_address(text: str) -> IPAddress | None:
    """An address without a mask, a zone allowed behind IPv6; None if it is none. Exim: string_is_ip_address."""
    if ":" not in text:
        return _read_v4(text)
    bare, percent, zone = text.partition("%")
    if percent and not zone.isprintable():
        return None
    try:
        return IPAddress(128, int(IPv6Address(bare)))
    except AddressValueError:
        return None


def _read_v4(text: str) -> IPAddress | None:
    match = _V4.fullmatch(text)
    if match is None:
        return None
    number = 0
    for octet in match.groups():
        value = int(octet)
        if value > 255:
            return None
        number = number << 8 | value
    return IPAddress(32, number)


def read_network(text: str) -> Network | None:
    """An address with or without a mask in bits; None if it is none. The mask's size is not checked."""
    bare, slash, mask = text.partition("/")
    if slash and not (mask.isascii() and mask.isdigit() and len(mask) < 10 and "%" not in bare):
        return None
    address = read_address(bare)
    return None if address is None else Network(address, int(mask) if slash else None)


def looks_like_address(text: str) -> bool:
    """True for what was surely meant as an address and is none, such as `10.0.0/24`."""
    pattern = _LOOKS_V6 if ":" in text else _LOOKS_V4
    return pattern.fullmatch(text) is not None


def reversed_name(address: IPAddress) -> str:
    """The address as labels of the reverse zones, without the zone."""
    if address.bits == 32:
        return ".".join(reversed(address.full().split(".")))
    return ".".join(reversed(f"{address.number:032x}"))
