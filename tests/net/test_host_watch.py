"""Sleep, clocks that are set, networks that come: what the watch makes of them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

import relay
from net.test_netlink import address
from relay.net.host_watch import LOOK, NETWORK, SETTLING, SLEEP, Clocks, HostWatch, open_netlink, read_clocks


class Reactor(Clock):
    """A clock that also keeps who wants to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class Machine:
    """A watch on a machine that sleeps and moves as the test says."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.slept = self.wall_set = 0.0
        self.news: list[str] = []
        self.kernel, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.watch = HostWatch(
            self.reactor,
            self.news.append,
            lambda: self.news.append("set back"),
            open_socket=lambda: self.ours,
            clocks=self.clocks,
        )
        self.watch.start()

    def clocks(self) -> Clocks:
        awake = self.reactor.seconds()
        running = awake + self.slept
        return Clocks(1_790_000_000 + running + self.wall_set, running, awake)

    def pass_time(self, seconds: float) -> None:
        self.reactor.pump([1.0] * int(seconds))

    def tell(self, *datagrams: bytes) -> None:
        for each in datagrams:
            self.kernel.send(each)
        self.watch.doRead()

    def close(self) -> None:
        self.watch.stop()
        self.kernel.close()
        self.ours.close()


@pytest.fixture
def machine() -> Any:
    found = Machine()
    yield found
    found.close()


def test_a_quiet_day(machine: Machine) -> None:
    machine.pass_time(600)
    assert machine.news == []


def test_waking_up(machine: Machine) -> None:
    machine.pass_time(100)
    machine.slept = 8 * 3600.0
    machine.pass_time(LOOK)
    assert machine.news == [SLEEP]
    machine.pass_time(600)
    assert machine.news == [SLEEP]


def test_it_looks_at_least_every_half_minute() -> None:
    assert LOOK <= 30


@pytest.mark.parametrize("step, news", [(-3600.0, ["set back"]), (3600.0, []), (-1.0, [])])
def test_a_clock_that_is_set(machine: Machine, step: float, news: list[str]) -> None:
    machine.wall_set = step
    machine.pass_time(600)
    assert machine.news == news


def test_a_new_network(machine: Machine) -> None:
    machine.tell(address(), address(index=3))
    assert machine.news == []
    machine.pass_time(SETTLING)
    assert machine.news == [NETWORK]
    machine.tell(address())
    machine.pass_time(60)
    assert machine.news == [NETWORK]


def test_no_end_of_news_does_not_put_it_off(machine: Machine) -> None:
    for number in range(6):
        machine.tell(address(index=number + 9))
        machine.pass_time(1)
    assert machine.news


def test_what_was_lost_on_the_way_may_have_been_a_network(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self) -> None:
            self.errors: list[OSError] = [BlockingIOError(), OSError(105, "No buffer space available")]

        def recv(self, size: int) -> bytes:
            raise self.errors.pop()

    monkeypatch.setattr(machine.watch, "_socket", Full())
    machine.watch.doRead()
    monkeypatch.undo()
    machine.pass_time(SETTLING)
    assert machine.news == [NETWORK]


def test_after_a_stop_there_is_no_news(machine: Machine) -> None:
    machine.tell(address())
    machine.watch.stop()
    machine.slept = 3600.0
    machine.pass_time(600)
    assert machine.news == []
    assert not machine.reactor.readers
    assert machine.reactor.getDelayedCalls() == []
    machine.watch.stop()


def test_a_system_that_tells_nothing() -> None:
    reactor = Reactor()
    watch = HostWatch(reactor, lambda _: None, lambda: None, open_socket=lambda: None)
    watch.start()
    assert not reactor.readers
    watch.stop()


def test_the_real_clocks() -> None:
    one, other = read_clocks(), read_clocks()
    assert not other.slept_since(one)
    assert not other.set_back_since(one)


# In a network of its own a process brings its one interface up and waits to be told.
_IN_A_NETWORK = """
import select, subprocess, sys
from relay.net.host_watch import open_netlink
from relay.net.netlink import KnownNetwork
opened, network = open_netlink(), KnownNetwork()
def told():
    while select.select([opened], [], [], 10)[0]:
        if network.learn(opened.recv(65536)):
            return True
    return False
ip = sys.argv[1]
subprocess.run([ip, "link", "set", "lo", "up"], check=True)
subprocess.run([ip, "address", "add", "192.0.2.7/24", "dev", "lo"], check=True)
assert told(), "the address"
subprocess.run([ip, "route", "add", "default", "via", "192.0.2.1"], check=True)
assert told(), "the route"
print("told")
"""


def test_a_real_network_that_comes() -> None:
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if unshare is None or ip is None:
        pytest.skip("needs unshare and ip")
    may = subprocess.run([unshare, "-rn", ip, "link", "set", "lo", "up"], capture_output=True, check=False)
    if may.returncode:
        pytest.skip("this system lets nobody make a network of their own")
    done = subprocess.run(
        [unshare, "-rn", sys.executable, "-c", _IN_A_NETWORK, ip],
        env={**os.environ, "PYTHONPATH": str(Path(relay.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "told\n", done.stderr


def test_the_real_socket() -> None:
    opened = open_netlink()
    if opened is None:
        pytest.skip("this system has no rtnetlink")
    with opened, pytest.raises(BlockingIOError):
        opened.recv(65536)
