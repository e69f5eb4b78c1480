"""The addresses of this host, and the items of `local_interfaces` that are Twisted's endpoints (edge).

An item such as `endpoint:systemd:domain=INET6:index=0` is a description that Twisted's `serverFromString` knows: a
socket that was opened by somebody else (systemd, for one), or a TCP port with options. Behind `endpoint-tls:` each
connection begins with TLS. Ours; Exim has none.
"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from relay.mail.source import ConfigurationError, Location, Problem

_SIOCGIFADDR = 0x8915  # <linux/sockios.h>
_NAME_SIZE = 16


_ENDPOINT = re.compile(r"endpoint(-tls)?:(.*)", re.DOTALL)
_TCP_PORT = re.compile(r"endpoint(?:-tls)?:tcp6?:(?:port=)?(\d{1,5})\b")
_SERVED = ("tcp", "tcp6", "systemd")


@dataclass(frozen=True, slots=True)
class EndpointItem:
    """A description of Twisted's, and whether connections to it begin with TLS."""

    description: str
    tls: bool = False


def endpoint_item(text: str, location: Location) -> EndpointItem | None:
    """What an item of `local_interfaces` says of an endpoint; None for an address. Raises ConfigurationError."""
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None:
        return None
    description = match.group(2).strip()
    kind = description.partition(":")[0]
    if kind not in _SERVED or "domain=UNIX" in description:
        remedy = "write endpoint:tcp:PORT, or endpoint:systemd:domain=INET6:index=0; endpoint-tls: begins with TLS"
        raise ConfigurationError(Problem(location, f'local_interfaces: "{description}" can\'t be served', remedy))
    return EndpointItem(description, match.group(1) is not None)


def endpoint_port(text: str) -> int | None:
    """The port of such an item, where it says one."""
    match = _TCP_PORT.match(text.strip())
    return int(match.group(1)) if match is not None else None


def local_addresses() -> tuple[str, ...]:
    """Literal addresses of all interfaces, loopback first; what `@[]` means in a host list."""
    found = ["127.0.0.1", "::1", *_ipv4(), *_ipv6()]
    return tuple(dict.fromkeys(found))


def _ipv4() -> list[str]:
    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[: _NAME_SIZE - 1])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            addresses.append(socket.inet_ntoa(answer[20:24]))
    return addresses


def _ipv6() -> list[str]:
    try:
        lines = Path("/proc/net/if_inet6").read_text("ascii").splitlines()
    except OSError:
        return []
    return [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in lines if line.strip()]
