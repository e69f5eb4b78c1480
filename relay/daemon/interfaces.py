"""The addresses of this host (edge)."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

_SIOCGIFADDR = 0x8915  # <linux/sockios.h>
_NAME_SIZE = 16


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
