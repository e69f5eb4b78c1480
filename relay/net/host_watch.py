"""What happens to this machine: another network, sleep, a clock that is set back (edge).

A laptop's mail waits for the network, not for a retry time. The kernel tells of networks on a socket (`netlink`); sleep
is found by two clocks, of which one stands still meanwhile; a clock that was set by the difference of a third. Systems
without rtnetlink or CLOCK_BOOTTIME tell less: the retry times remain.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from relay.net.netlink import GROUPS, KnownNetwork

# Seconds between two looks at the clocks.
LOOK = 20.0
# Seconds from the first news of a network until it counts: addresses, routes and name servers come one after the other.
SETTLING = 2.0
# Differences below are the clocks' own business, seconds.
_NOTICEABLE = 5.0

NETWORK = "the network has changed"
SLEEP = "this machine was asleep"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Three clocks at one moment, in seconds: the wall's, one that runs on while the machine sleeps, and one that does
    not."""

    wall: float
    running: float
    awake: float

    def slept_since(self, before: Clocks) -> bool:
        """Whether the machine was asleep in between."""
        return (self.running - before.running) - (self.awake - before.awake) > _NOTICEABLE

    def set_back_since(self, before: Clocks) -> bool:
        """Whether somebody has set the wall clock back in between."""
        return (self.running - before.running) - (self.wall - before.wall) > _NOTICEABLE


def read_clocks() -> Clocks:
    """The machine's."""
    awake = time.monotonic()
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return Clocks(time.time(), awake if boot_time is None else time.clock_gettime(boot_time), awake)


def open_netlink() -> socket.socket | None:
    """A socket that is told of addresses and routes; None where there is none to be had."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        opened.setblocking(False)
        opened.bind((0, GROUPS))
    except OSError:
        opened.close()
        return None
    return opened


@implementer(IReadDescriptor)
class HostWatch:
    """Calls `changed` with the reason when deliveries may go where they could not go before, and `set_back` when the
    clock was."""

    def __init__(
        self,
        reactor: Any,
        changed: Callable[[str], None],
        set_back: Callable[[], None],
        *,
        open_socket: Callable[[], socket.socket | None] = open_netlink,
        clocks: Callable[[], Clocks] = read_clocks,
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._set_back = set_back
        self._open_socket = open_socket
        self._clocks = clocks
        self._last = clocks()
        self._network = KnownNetwork()
        self._socket: socket.socket | None = None
        self._look: Any = None
        self._settling: Any = None

    def start(self) -> None:
        """Watches from now on."""
        self._last = self._clocks()
        self._look = self._reactor.callLater(LOOK, self._look_at_clocks)
        self._socket = self._open_socket()
        if self._socket is not None:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Ends it; may be called again, and without a start."""
        for call in (self._look, self._settling):
            if call is not None and call.active():
                call.cancel()
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def _look_at_clocks(self) -> None:
        before, self._last = self._last, self._clocks()
        self._look = self._reactor.callLater(LOOK, self._look_at_clocks)
        if self._last.set_back_since(before):
            self._set_back()
        if self._last.slept_since(before):
            self._changed(SLEEP)

    # IReadDescriptor

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def doRead(self) -> None:
        assert self._socket is not None
        is_news = False
        for _ in range(64):
            try:
                is_news |= self._network.learn(self._socket.recv(65536))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._close()
                    break
                is_news = True  # so much has happened that some of it was lost
        if is_news and self._settling is None:
            self._settling = self._reactor.callLater(SETTLING, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._changed(NETWORK)

    def logPrefix(self) -> str:
        return "netlink"

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the socket up."""
        self._close()
