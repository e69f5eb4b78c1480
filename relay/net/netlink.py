"""What the kernel says about addresses and routes, and whether that is a new network (machine).

Linux tells each change on a netlink socket (rtnetlink(7)) as messages of a header, a fixed part and attributes. Only
two things matter here: an address that others can reach us by, and a route that leads further than the own link. The
kernel repeats itself (each router advertisement renews addresses and routes), so that what is known already counts as
no news; what was lost and comes again does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
GROUPS = 0x10 | 0x40 | 0x100 | 0x400

_MESSAGE = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")

_NEW_ADDRESS, _LOST_ADDRESS, _NEW_ROUTE, _LOST_ROUTE = 20, 21, 24, 25
_UNIVERSE, _SITE = 0, 200
_TENTATIVE = 0x40
_MAIN_TABLE, _UNICAST = 254, 1
# Attributes that tell one address or route from another; the others are lifetimes, counters, preferences.
_OF_ADDRESS = frozenset({1, 2})
_OF_ROUTE = frozenset({1, 4, 5, 9})
_GATEWAYS = frozenset({5, 9})

_Key = tuple[object, ...]
# Nobody has more; a kernel that tells of more is started anew with.
_MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class _Change:
    key: _Key
    is_new: bool


class KnownNetwork:
    """Addresses and routes as far as they were told of."""

    def __init__(self) -> None:
        self._known: set[_Key] = set()

    def learn(self, datagram: bytes) -> bool:
        """Takes what came at once from the socket; True where there is a way that was not known. What is no such
        message is passed over."""
        is_news = False
        for change in _changes(datagram):
            if not change.is_new:
                self._known.discard(change.key)
            elif change.key not in self._known:
                is_news = True
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known.add(change.key)
        return is_news


def _changes(datagram: bytes) -> Iterator[_Change]:
    place = 0
    while place + _MESSAGE.size <= len(datagram):
        length, kind, _, _, _ = _MESSAGE.unpack_from(datagram, place)
        if length < _MESSAGE.size or place + length > len(datagram):
            return
        body = datagram[place + _MESSAGE.size : place + length]
        key = None
        if kind in (_NEW_ADDRESS, _LOST_ADDRESS):
            key = _address_key(body)
        elif kind in (_NEW_ROUTE, _LOST_ROUTE):
            key = _route_key(body)
        if key is not None:
            yield _Change(key, kind in (_NEW_ADDRESS, _NEW_ROUTE))
        place += _aligned(length)


def _address_key(body: bytes) -> _Key | None:
    """None for an address that nobody else can use, or that is not ours yet."""
    if len(body) < _ADDRESS.size:
        return None
    family, _, flags, scope, index = _ADDRESS.unpack_from(body)
    if scope not in (_UNIVERSE, _SITE) or flags & _TENTATIVE:
        return None
    found = tuple((kind, value) for kind, value in _attributes(body[_ADDRESS.size :]) if kind in _OF_ADDRESS)
    return ("address", family, index, found)


def _route_key(body: bytes) -> _Key | None:
    """None for a route that leads nowhere but to the own link, or that is not for everybody."""
    if len(body) < _ROUTE.size:
        return None
    family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if table != _MAIN_TABLE or kind != _UNICAST:
        return None
    attributes = tuple(_attributes(body[_ROUTE.size :]))
    if length and not any(kind in _GATEWAYS for kind, _ in attributes):
        return None
    return ("route", family, length, tuple(each for each in attributes if each[0] in _OF_ROUTE))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < _ATTRIBUTE.size or place + length > len(data):
            return
        yield kind, data[place + _ATTRIBUTE.size : place + length]
        place += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
