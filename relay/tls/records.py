"""Cuts the inbound octets of a connection into TLS records (machine).

OpenSSL gets one whole record at a time, because octets behind a close alert are clear text and can't be got back out
of its buffer. RFC 8446 5.1, RFC 5246 6.2.1: type, version, length, fragment.
"""

from __future__ import annotations

HEADER_SIZE = 5
# change_cipher_spec, alert, handshake, application_data
FIRST_TYPE, LAST_TYPE = 20, 23
HANDSHAKE = 22
# RFC 5246 6.2.3 allows 2^14 + 2048 for a protected fragment, RFC 8446 5.2 less.
FRAGMENT_LIMIT = 16384 + 2048


class NotTLS(Exception):
    """The octets can't be a TLS record: clear text, garbage, or an over-long record."""


def is_record_start(octet: int) -> bool:
    """True for the first octet of a TLS record; no SMTP command or reply begins with such a one."""
    return FIRST_TYPE <= octet <= LAST_TYPE


class RecordCutter:
    """A buffer that gives back whole records, and what follows the last one that was asked for."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def first_octet(self) -> int | None:
        """The octet that tells a record from clear text, None while nothing is there."""
        return self._buffer[0] if self._buffer else None

    def next_record(self) -> bytes | None:
        """The next whole record with its header, or None while it is incomplete. Raises NotTLS."""
        buffer = self._buffer
        if not buffer:
            return None
        if not is_record_start(buffer[0]):
            raise NotTLS("clear text where a TLS record was expected")
        if len(buffer) >= 2 and buffer[1] != 3:
            raise NotTLS("not a TLS record")
        if len(buffer) < HEADER_SIZE:
            return None
        length = buffer[3] << 8 | buffer[4]
        if length > FRAGMENT_LIMIT:
            raise NotTLS(f"a TLS record of {length} octets, longer than the protocol allows")
        end = HEADER_SIZE + length
        if len(buffer) < end:
            return None
        record = bytes(buffer[:end])
        del buffer[:end]
        return record

    def take_rest(self) -> bytes:
        """Everything that is left: octets of the next layer."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
