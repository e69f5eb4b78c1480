"""The addresses of this host, as its kernel lists them."""

from __future__ import annotations

import ipaddress
import socket
import subprocess

import pytest

from relay.daemon import addresses


def test_loopback_comes_first_and_all_are_addresses() -> None:
    found = addresses.local_addresses()
    assert found[:2] == ("127.0.0.1", "::1")
    assert len(set(found)) == len(found)
    for each in found:
        ipaddress.ip_address(each)


def test_what_can_be_bound_to_is_ours() -> None:
    for each in addresses.local_addresses()[2:]:
        address = ipaddress.ip_address(each)
        if address.is_link_local:
            continue
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
            probe.bind((each, 0))


def test_all_that_an_interface_has() -> None:
    try:
        done = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no ip(8)")
    listed = {line.split()[3].partition("/")[0] for line in done.stdout.splitlines()}
    assert listed <= set(addresses.local_addresses())


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(addresses.ctypes, "CDLL", refuse)
    assert addresses.local_addresses() == ("127.0.0.1", "::1")
