"""The PROXY protocol, versions 1 and 2: the header that a proxy puts in front of a connection (machine).

It says whom the proxy speaks for. It is read before anything else, before TLS too, and only from hosts that are
listed; from those it must come. Octets go in by `receive` until `result` is there; `rest` is what belongs to the
connection behind it. Nothing is guessed: what is not a header to the letter is a fault, and the connection of no
use. The time that a proxy may take for it is the edge's to limit.

The proxy speaks for itself (health checks: LOCAL, UNKNOWN), or for a TCP client of either family.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from relay.mail.facts import Endpoint

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
_V1_LIMIT = 107
# What version 2 may carry behind its addresses; more than any known proxy sends.
_V2_LIMIT = 4096
_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?")


@dataclass(frozen=True, slots=True)
class Proxied:
    """A client of the proxy: where it is, and where it thought it was connecting to."""

    source: Endpoint
    destination: Endpoint


@dataclass(frozen=True, slots=True)
class ProxyItself:
    """The proxy speaks for itself, or does not know for whom: the connection's own addresses hold."""


@dataclass(frozen=True, slots=True)
class ProxyFault:
    """What came is no header."""

    why: str


ProxyResult = Proxied | ProxyItself | ProxyFault


class ProxyReader:
    """Reads one header."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.result: ProxyResult | None = None
        """None as long as more is needed."""
        self.rest = b""
        """With a result: what was received behind the header."""

    def receive(self, data: bytes) -> None:
        """Octets from the start of the connection, of any number; none after the result."""
        assert self.result is None
        self._buffer += data
        start = bytes(self._buffer[:_FIXED])
        if _SIGNATURE.startswith(start[: len(_SIGNATURE)]):
            self._read_binary()
        elif b"PROXY ".startswith(start[:6]):
            self._read_line()
        else:
            self._end(0, ProxyFault("no PROXY header"))

    def receive_eof(self) -> None:
        """The proxy sends no more."""
        if self.result is None:
            self._end(0, ProxyFault("connection lost in the PROXY header"))

    def _end(self, length: int, result: ProxyResult) -> None:
        self.result = result
        if not isinstance(result, ProxyFault):
            self.rest = bytes(self._buffer[length:])
        self._buffer.clear()

    def _read_line(self) -> None:
        end = self._buffer.find(b"\r\n", 0, _V1_LIMIT)
        if end >= 0:
            self._end(end + 2, _read_v1(bytes(self._buffer[:end])))
        elif len(self._buffer) >= _V1_LIMIT:
            self._end(0, ProxyFault("PROXY line too long"))

    def _read_binary(self) -> None:
        if len(self._buffer) < _FIXED:
            return
        version_and_command, family, length = struct.unpack_from("!BBH", self._buffer, len(_SIGNATURE))
        if version_and_command >> 4 != 2:
            self._end(0, ProxyFault(f"PROXY version {version_and_command >> 4}"))
        elif length > _V2_LIMIT:
            self._end(0, ProxyFault("PROXY header too long"))
        elif len(self._buffer) >= _FIXED + length:
            body = bytes(self._buffer[_FIXED : _FIXED + length])
            self._end(_FIXED + length, _read_v2(version_and_command & 15, family, body))


def _read_v1(line: bytes) -> ProxyResult:
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyItself()
    match = _V1.fullmatch(line)
    if not match:
        return ProxyFault("malformed PROXY line")
    version = 4 if match.group(1) == b"TCP4" else 6
    try:
        source = _endpoint(match.group(2).decode(), int(match.group(4)), version)
        destination = _endpoint(match.group(3).decode(), int(match.group(5)), version)
    except ValueError:
        return ProxyFault("malformed address in a PROXY line")
    return Proxied(source, destination)


def _read_v2(command: int, family: int, body: bytes) -> ProxyResult:
    if command == 0:
        return ProxyItself()
    if command != 1:
        return ProxyFault(f"PROXY command {command}")
    match family:
        case 0x11:
            form, version = "!4s4sHH", 4
        case 0x21:
            form, version = "!16s16sHH", 6
        case 0x00:
            # The sender may not know; the receiver is to use the connection's own addresses.
            return ProxyItself()
        case _:
            return ProxyFault(f"PROXY for something other than TCP: {family:#04x}")
    if len(body) < struct.calcsize(form):
        return ProxyFault("PROXY header too short")
    source, destination, source_port, destination_port = struct.unpack_from(form, body)
    return Proxied(
        _endpoint(str(ipaddress.ip_address(source)), source_port, version),
        _endpoint(str(ipaddress.ip_address(destination)), destination_port, version),
    )


def _endpoint(text: str, port: int, version: int) -> Endpoint:
    """Raises ValueError."""
    address = ipaddress.ip_address(text)
    if address.version != version or port > 65535:
        raise ValueError(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Endpoint(str(address), port)
