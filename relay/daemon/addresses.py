"""The addresses of this host (edge)."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import sys
from collections.abc import Iterator

_AT_HAND = ("127.0.0.1", "::1")
# Where an address stands in its struct sockaddr, and how long it is.
_PLACES = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}


class _Interface(ctypes.Structure):
    """struct ifaddrs, as far as it is read."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def local_addresses() -> tuple[str, ...]:
    """Literal addresses of all interfaces, all that each has, loopback first; what `@[]` means in a host list."""
    found = list(_AT_HAND)
    with contextlib.suppress(OSError, AttributeError):  # a system without getifaddrs
        found += _of_interfaces()
    return tuple(dict.fromkeys(found))


def _of_interfaces() -> Iterator[str]:
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs")
    try:
        place = first
        while ctypes.cast(place, ctypes.c_void_p).value:
            interface = place.contents
            if interface.address and (text := _shown(interface.address)):
                yield text
            place = interface.next
    finally:
        library.freeifaddrs(first)


def _shown(pointer: int) -> str:
    """The address at a struct sockaddr, "" for one that is of no internet family."""
    head = ctypes.string_at(pointer, 2)
    # BSD has the length in the first octet and the family in the second.
    number = int.from_bytes(head, sys.byteorder) if sys.platform == "linux" else head[1]
    family = next((each for each in _PLACES if each == number), None)
    if family is None:
        return ""
    start, size = _PLACES[family]
    return socket.inet_ntop(family, ctypes.string_at(pointer + start, size))
