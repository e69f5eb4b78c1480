"""Constant databases: keys and data in one file that is never changed, only replaced (machine).

A header of 256 pairs (position, slots) leads to 256 hash tables, whose slots (hash, position) lead to the records: the
lengths of key and data, then both. All numbers are of four octets, the least first. Source: https://cr.yp.to/cdb.html.
"""

from __future__ import annotations

import struct

_PAIR = struct.Struct("<II")
_TABLES = 256
_HEADER = _TABLES * _PAIR.size


class CorruptFile(Exception):
    """The file is no constant database, or a part of one."""


class ConstantDatabase:
    """The octets of a file. Raises CorruptFile."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER:
            raise CorruptFile("too short")
        self._data = data

    def find(self, key: bytes) -> bytes | None:
        """The data of the first record with this key. Raises CorruptFile."""
        wanted = key_hash(key)
        table, slots = self._pair(wanted % _TABLES * _PAIR.size)
        first = (wanted >> 8) % slots if slots else 0
        if table + slots * _PAIR.size > len(self._data):
            raise CorruptFile("too short")
        for step in range(slots):
            found, position = self._pair(table + (first + step) % slots * _PAIR.size)
            if not position:
                return None
            if found == wanted:
                key_length, length = self._pair(position)
                start = position + _PAIR.size
                if self._data[start : start + key_length] == key:
                    return self._part(start + key_length, length)
        return None

    def _pair(self, position: int) -> tuple[int, int]:
        one, other = _PAIR.unpack(self._part(position, _PAIR.size))
        return one, other

    def _part(self, position: int, length: int) -> bytes:
        part = self._data[position : position + length]
        if len(part) != length:
            raise CorruptFile("too short")
        return part


def key_hash(key: bytes) -> int:
    """The hash of a key, 32 bits."""
    number = 5381
    for octet in key:
        number = (number * 33 & 0xFFFFFFFF) ^ octet
    return number
