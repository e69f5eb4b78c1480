"""Standard input and output as the transport of an SMTP session (edge).

What a `LayeredConnection` wants of a transport beyond what Twisted's StandardIO has.
"""

from __future__ import annotations

import socket
import stat
from os import dup, fstat
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO


class _Pipes(StandardIO):
    """Pipes, files or a terminal. There is no peer; who asks gets an empty address."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits for more here."""

    def abortConnection(self) -> None:
        self.loseConnection()  # type: ignore[no-untyped-call]  # Twisted's class has no types

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "", 0)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "", 0)


def start_on_pipes(protocol: Protocol, reactor: Any) -> None:
    """Connects the protocol with standard input and output."""
    _Pipes(protocol, reactor=reactor)  # type: ignore[no-untyped-call]  # Twisted's class has no types


def network_socket(descriptor: int) -> socket.socket | None:
    """A TCP connection that stands at this descriptor, as inetd and systemd hand it over; None for anything else.

    The socket is a second handle of the connection.
    """
    if not stat.S_ISSOCK(fstat(descriptor).st_mode):
        return None
    connection = socket.socket(fileno=dup(descriptor))
    if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
        return connection
    connection.close()
    return None
