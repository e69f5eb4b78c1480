"""The PROXY header: by the letter of its specification, in every split, and nothing else."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.proxy import Proxied, ProxyFault, ProxyItself, ProxyReader, ProxyResult
from relay.mail.facts import Endpoint

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = Proxied(Endpoint("192.0.2.1", 4321), Endpoint("198.51.100.7", 25))
V6 = Proxied(Endpoint("2001:db8::1", 4321), Endpoint("2001:db8::2", 25))


def v2(body: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


BODY4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + struct.pack("!HH", 4321, 25)
BODY6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 4321, 25)
)
GOOD: list[tuple[bytes, ProxyResult]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 4321 25\r\n", V4),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 4321 25\r\n", V6),
    (b"PROXY UNKNOWN\r\n", ProxyItself()),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxyItself()),
    (v2(BODY4), V4),
    (v2(BODY6, 0x21), V6),
    (v2(BODY4 + b"\x03\0\x04\0\0\0\0"), V4),
    (v2(b"", 0, 0x20), ProxyItself()),
    (v2(BODY4, 0x11, 0x20), ProxyItself()),
    (v2(b"", 0), ProxyItself()),
    (
        v2(b"\0" * 10 + b"\xff\xff\xc0\0\2\1" + b"\0" * 16 + struct.pack("!HH", 1, 2), 0x21),
        Proxied(Endpoint("192.0.2.1", 1), Endpoint("::", 2)),
    ),
]
BAD = [
    b"EHLO x\r\n",
    b"\x16\x03\x01\x02\0\x01",
    b"PROXY\r\n" + b" " * 110,
    b"proxy TCP4 192.0.2.1 198.51.100.7 4321 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 4321 25\n" + b" " * 110,
    b"PROXY TCP4  192.0.2.1 198.51.100.7 4321 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 04321 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 4321 25 \r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 4321 25\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.7 4321 25\r\n",
    b"PROXY TCP5 192.0.2.1 198.51.100.7 4321 25\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    v2(BODY4, 0x12),
    v2(BODY4, 0x31),
    v2(BODY4, 0x11, 0x22),
    v2(BODY4, 0x11, 0x11),
    v2(BODY4[:-1]),
    v2(BODY4, 0x21),
    v2(b"x" * 4097),
]


@pytest.mark.parametrize("header, result", GOOD)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_a_header(header: bytes, result: ProxyResult, step: int) -> None:
    reader = ProxyReader()
    data = header + b"EHLO x\r\n"
    read = 0
    while reader.result is None:
        reader.receive(data[read : read + step])
        read += step
    assert reader.result == result
    assert data.startswith(header + reader.rest)


@pytest.mark.parametrize("data", BAD)
@pytest.mark.parametrize("step", [1, 10000])
def test_what_is_none(data: bytes, step: int) -> None:
    reader = ProxyReader()
    for start in range(0, len(data), step):
        if reader.result is None:
            reader.receive(data[start : start + step])
    assert isinstance(reader.result, ProxyFault)
    assert reader.rest == b""


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_no_input_raises_and_the_end_is_an_end(data: bytes, start: bytes) -> None:
    reader = ProxyReader()
    for octet in start + data:
        if reader.result is None:
            reader.receive(bytes([octet]))
    reader.receive_eof()
    assert reader.result is not None
