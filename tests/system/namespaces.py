"""Networks that are the test's own: one for a database, one for each daemon, and cables between that can be cut.

Nothing in them reaches the machine's network or is reached from it. A daemon in one listens on its own 127.0.0.1;
a thread of the test `enter`s the namespace to talk to it.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

_NEW_NETWORK = 0x40000000


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def missing() -> str:
    """Why no namespaces can be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed (make peers)"
    if os.geteuid() != 0:
        return "network namespaces are root's"
    name = f"fingerpost-{os.getpid()}-try"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"network namespaces are not permitted here: {done.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


def enter(name: str) -> None:
    """The calling thread is in that namespace from now on; others are not."""
    with open(f"/run/netns/{name}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Networks:
    """A hub, and other networks with a cable to it each; the addresses are those of RFC 5737, which nobody has."""

    def __init__(self, count: int) -> None:
        self.hub = f"fingerpost-{os.getpid()}-hub"
        self.names = [f"fingerpost-{os.getpid()}-{number}" for number in range(count)]

    def make(self) -> None:
        _ip("netns", "add", self.hub)
        _ip("-n", self.hub, "link", "set", "lo", "up")
        for number, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            cable = f"cable{number}"
            _ip("link", "add", cable, "netns", self.hub, "type", "veth", "peer", "name", "hub", "netns", name)
            _ip("-n", self.hub, "addr", "add", f"{self.address(number)}/30", "dev", cable)
            _ip("-n", name, "addr", "add", f"192.0.2.{4 * number + 2}/30", "dev", "hub")
            _ip("-n", name, "link", "set", "hub", "up")
            self.join(number)

    def address(self, number: int) -> str:
        """The hub's, as that network sees it."""
        return f"192.0.2.{4 * number + 1}"

    def cut(self, number: int) -> None:
        """Nothing goes through any more, in either direction, and nobody is told."""
        _ip("-n", self.hub, "link", "set", f"cable{number}", "down")

    def join(self, number: int) -> None:
        """The cable is whole."""
        _ip("-n", self.hub, "link", "set", f"cable{number}", "up")

    def remove(self) -> None:
        for name in (self.hub, *self.names):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextlib.contextmanager
def made(count: int) -> Iterator[Networks]:
    """That many networks around a hub, for as long as the block."""
    if why := missing():
        pytest.skip(why)
    networks = Networks(count)
    try:
        networks.make()
        yield networks
    finally:
        networks.remove()
