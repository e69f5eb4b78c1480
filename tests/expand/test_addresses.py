"""IP addresses as the language writes them, held against the standard library."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.addresses import IPAddress, looks_like_address, read_address, read_network, reversed_name


@given(st.ip_addresses())
def test_reading_and_showing(address):
    found = read_address(str(address))
    assert found == IPAddress(address.max_prefixlen, int(address))
    assert found is not None
    assert ipaddress.ip_address(found.full()) == address
    assert ipaddress.ip_address(found.short()) == address
    if address.version == 6:
        assert found.full() == address.exploded


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(0, 32))
def test_networks(address, base, length):
    network = read_network(f"{base}/{length}")
    assert network is not None
    inside = address in ipaddress.ip_network(f"{base}/{length}", strict=False)
    found = read_address(str(address))
    assert found is not None
    if found.as_v4() is found:
        assert network.holds(found) is inside


@given(st.text(alphabet="0123456789abf:./% x", max_size=24))
def test_any_text(text):
    read_address(text)
    read_network(text)
    looks_like_address(text)


@pytest.mark.parametrize(
    "text", ["1.2.3", "01.2.3.4", "256.1.1.1", "1.2.3.4%eth0", "1.2.3.4\n", "::g", ":::", "", "\uff11.2.3.4"]
)
def test_what_is_no_address(text):
    assert read_address(text) is None


def test_reverse_names():
    address = read_address("192.0.2.5")
    assert address is not None
    assert reversed_name(address) == "5.2.0.192"
