"""Reads server name and ALPN out of a ClientHello before OpenSSL sees a byte (machine).

The answer to *which context?* may need lookups; OpenSSL's servername callback can't wait and takes over only a part of
a second context. So the records of the ClientHello are collected here first. RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.tls.records import HANDSHAKE, HEADER_SIZE, NotTLS

_CLIENT_HELLO = 1
_EXTENSION_SERVER_NAME = 0
_EXTENSION_STATUS_REQUEST = 5
_EXTENSION_ALPN = 16
_EXTENSION_SESSION_TICKET = 35
_EXTENSION_PRE_SHARED_KEY = 41
_EXTENSION_PSK_MODES = 45
# A post-quantum hello with tickets stays under 4 kB; what is longer than this nobody needs.
HELLO_LIMIT = 65536
# One octet a record is legal but nobody's practice beyond a few hundred pieces.
RECORD_LIMIT = 1024


class Wish(enum.Enum):
    """What a client may ask for beside a session."""

    STAPLE = "an OCSP response"
    TICKET = "a ticket to resume with"
    RESUMPTION = "to resume an earlier session"


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client asked for. `server_name` is as sent, empty where it sent none; only syntax is checked."""

    server_name: str = ""
    alpn: tuple[str, ...] = ()
    wishes: frozenset[Wish] = frozenset()


class HelloReader:
    """Collects the records of one ClientHello. Afterwards `records` are to be fed to the engine unchanged."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._message = bytearray()

    def feed(self, record: bytes) -> ClientHello | None:
        """The hello once it is whole, None before. Raises NotTLS for anything that can't become one."""
        if record[0] != HANDSHAKE:
            raise NotTLS("the TLS handshake does not begin with a ClientHello")
        if len(record) == HEADER_SIZE:
            raise NotTLS("an empty handshake record")
        self.records.append(record)
        if len(self.records) > RECORD_LIMIT:
            raise NotTLS("a ClientHello in too many pieces")
        message = self._message
        message += record[HEADER_SIZE:]
        if message[0] != _CLIENT_HELLO:
            raise NotTLS("the TLS handshake does not begin with a ClientHello")
        if len(message) < 4:
            return None
        length = int.from_bytes(message[1:4], "big")
        if length > HELLO_LIMIT:
            raise NotTLS(f"a ClientHello of {length} octets")
        if len(message) < 4 + length:
            return None
        return parse_client_hello(bytes(message[4 : 4 + length]))


class _Reader:
    """A cursor over vectors with length prefixes, RFC 8446 3.4."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self.data)

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise NotTLS("a ClientHello that is cut short")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))


def protocol_fault(hello: ClientHello, accepted: tuple[str, ...], *, required: bool) -> str:
    """Why the protocol names that a client offers (ALPN) are not enough, or "" (Exim: tls_alpn, hosts_require_alpn).

    A client that means another protocol is one that somebody has led here; it gets no session. RFC 7301 3.2.
    """
    if not accepted:
        return ""
    if not hello.alpn:
        return "ALPN required but not negotiated" if required else ""
    if len(hello.alpn) == 1 and hello.alpn[0] in accepted:
        return ""
    return f"Bad ALPN presented ({':'.join(hello.alpn)})"


class Resumption(enum.IntFlag):
    """The bits of `$tls_in_resumption` (Exim: RESUME_SUPPORTED and on)."""

    BUILT_IN = 1
    TICKET_ASKED = 2
    SESSION_OFFERED = 4
    TICKET_ISSUED = 8
    RESUMED = 16


def resumption(hello: ClientHello, *, allowed: bool, resumed: bool, version: str) -> Resumption:
    """What a server can say of resumption after a handshake; `allowed`: by tls_resumption_hosts."""
    bits = Resumption.BUILT_IN
    if not allowed:
        return bits
    if Wish.TICKET in hello.wishes:
        bits |= Resumption.TICKET_ASKED
        # TLS 1.3 issues a new one each time, TLS 1.2 only after a full handshake.
        if not resumed or version == "TLS1.3":
            bits |= Resumption.TICKET_ISSUED
    if Wish.RESUMPTION in hello.wishes:
        bits |= Resumption.SESSION_OFFERED
    return bits | Resumption.RESUMED if resumed else bits


def parse_client_hello(body: bytes) -> ClientHello:
    """The body of a ClientHello message without its four octets of type and length. Raises NotTLS."""
    reader = _Reader(body)
    reader.take(2 + 32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    if reader.is_at_end:
        return ClientHello()
    extensions = reader.vector(2)
    server_name = ""
    alpn: tuple[str, ...] = ()
    wishes: set[Wish] = set()
    while not extensions.is_at_end:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind == _EXTENSION_SERVER_NAME:
            server_name = _server_name(content)
        elif kind == _EXTENSION_ALPN:
            alpn = _alpn(content)
        else:
            wishes |= _wishes(kind, content.data)
    return ClientHello(server_name, alpn, frozenset(wishes))


def _wishes(kind: int, content: bytes) -> set[Wish]:
    """RFC 6066 8, RFC 5077 3.2, RFC 8446 4.2.9 and 4.2.11."""
    if kind == _EXTENSION_STATUS_REQUEST:
        return {Wish.STAPLE}
    if kind == _EXTENSION_SESSION_TICKET:
        return {Wish.TICKET, Wish.RESUMPTION} if content else {Wish.TICKET}
    if kind == _EXTENSION_PSK_MODES:
        return {Wish.TICKET}
    return {Wish.RESUMPTION} if kind == _EXTENSION_PRE_SHARED_KEY else set()


def _server_name(content: _Reader) -> str:
    names = content.vector(2)
    while not names.is_at_end:
        kind = names.number(1)
        name = names.vector(2).data
        if kind == 0:
            return name.decode("utf-8", "surrogateescape")
    return ""


def _alpn(content: _Reader) -> tuple[str, ...]:
    protocols = content.vector(2)
    found = []
    while not protocols.is_at_end:
        found.append(protocols.vector(1).data.decode("latin-1"))
    return tuple(found)
