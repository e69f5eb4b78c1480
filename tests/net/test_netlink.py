"""What the kernel tells of addresses and routes, and which of it is a new network."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.net.netlink import KnownNetwork

NEW_ADDRESS, LOST_ADDRESS, NEW_ROUTE, LOST_ROUTE = 20, 21, 24, 25
HOME, OTHER = socket.inet_aton("192.0.2.7"), socket.inet_aton("192.0.2.8")
ROUTER = socket.inet_aton("192.0.2.1")


def attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def message(kind: int, body: bytes) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body
    return data + bytes(-len(data) % 4)


def address(value: bytes = HOME, *, kind: int = NEW_ADDRESS, flags: int = 0, scope: int = 0, index: int = 2) -> bytes:
    fixed = struct.pack("=BBBBI", socket.AF_INET, 24, flags, scope, index)
    return message(kind, fixed + attribute(1, value) + attribute(3, b"wlan0\0"))


def route(
    gateway: bytes = ROUTER, *, kind: int = NEW_ROUTE, length: int = 0, table: int = 254, of: int = 1, more: bytes = b""
) -> bytes:
    fixed = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, table, 16, 0, of, 0)
    return message(kind, fixed + (attribute(5, gateway) if gateway else b"") + attribute(4, b"\2\0\0\0") + more)


@pytest.mark.parametrize(
    "datagram, is_news",
    [
        (address(), True),
        (address(scope=200), True),
        (address(scope=253), False),
        (address(scope=254), False),
        (address(flags=0x40), False),
        (address(kind=LOST_ADDRESS), False),
        (route(), True),
        (route(b""), True),
        (route(length=16), True),
        (route(b"", length=24), False),
        (route(table=255), False),
        (route(of=3), False),
        (route(kind=LOST_ROUTE), False),
        (message(16, bytes(16)), False),
        (message(NEW_ADDRESS, b"short"), False),
        (message(NEW_ROUTE, b"short"), False),
        (address(scope=254) + route(), True),
    ],
)
def test_what_is_news(datagram: bytes, is_news: bool) -> None:
    assert KnownNetwork().learn(datagram) is is_news


def test_what_is_known_is_no_news() -> None:
    """A router advertisement renews the lifetimes of what is there."""
    network = KnownNetwork()
    assert network.learn(route(more=attribute(12, b"\1" * 32)) + address())
    assert not network.learn(route(more=attribute(12, b"\2" * 32)) + address())


def test_what_was_lost_and_comes_again_is_news() -> None:
    network = KnownNetwork()
    assert network.learn(address())
    assert not network.learn(address(kind=LOST_ADDRESS))
    assert network.learn(address())


@pytest.mark.parametrize("other", [address(OTHER), address(index=3), route()])
def test_another_address_or_interface_is_news(other: bytes) -> None:
    network = KnownNetwork()
    network.learn(address())
    assert network.learn(other)


def test_memory_is_bounded() -> None:
    network = KnownNetwork()
    for number in range(10_000):
        network.learn(address(number.to_bytes(4, "big")))
    assert len(network._known) <= 4096


@given(st.one_of(st.binary(max_size=80), st.integers(0, 60).map(lambda cut: (address() + route())[:cut])))
def test_whatever_comes_is_survived(datagram: bytes) -> None:
    KnownNetwork().learn(datagram)
