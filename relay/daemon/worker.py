"""One of several workers: the process that `workers` starts (edge).

It reads its order from standard input, takes over the sockets that it inherits, serves like a daemon of its own, and
ends when its parent says so or is gone.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from relay.daemon import worker_lines
from relay.daemon.build import Relay, build
from relay.daemon.plan import read_plan
from relay.daemon.relay_service import RelayService
from relay.daemon.service import log_to_standard_error, serve
from relay.daemon.steady_clock import use_steady_clock
from relay.daemon.wishes import Wishes
from relay.daemon.worker_lines import Counted, Detach, Line, Order, Ready, Recover, SharedPort
from relay.mail.events import DaemonNote, Trouble
from relay.mail.ports import SpoolUnavailable
from relay.mail.source import ConfigurationError
from relay.net.crowd import SharedCrowd

# Seconds between two reports of the counters.
COUNT_INTERVAL = 2.0
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}


class InheritedSockets:
    """Those that the parent has opened."""

    def __init__(self, reactor: Any, order: Order) -> None:
        self._reactor = reactor
        self._order = order

    def smtp(self, relay: Relay) -> list[Any]:
        return [self._adopt(port, relay.secure if port.tls_on_connect else relay.plain) for port in self._order.ports]

    def submissions(self, relay: Relay) -> Any:
        return _ParentsSocket(self._adopt(self._order.submissions, relay.submissions))

    def orders(self, relay: Relay) -> Any:
        return _ParentsSocket(self._adopt(self._order.control, relay.control))

    def _adopt(self, port: SharedPort, factory: Factory) -> Any:
        made = self._reactor.adoptStreamPort(port.descriptor, _FAMILIES[port.family], factory)
        os.close(port.descriptor)
        made.stopReading()
        return made


class _ParentsSocket:
    """A port on `submit.sock` or `control.sock`. Twisted's own removes the socket's name when it is closed; that is
    the parent's."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def startReading(self) -> None:
        """Takes in who connects."""
        self._port.startReading()

    def getHost(self) -> Any:
        """Where it is."""
        return self._port.getHost()

    def stopListening(self) -> None:
        """Takes in nobody more; the end of the process closes it."""
        self._port.stopReading()
        self._port.factory.doStop()


class ParentLine(LineOnlyReceiver):
    """The line to the parent."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, relay: Relay) -> None:
        self._reactor = reactor
        self._relay = relay
        self._counted: dict[str, float] = {}
        self._counting = LoopingCall(self.count)

    def ready(self) -> None:
        """Says that this worker serves, and from now on what it counts."""
        self.say(Ready(self._relay.spool.owner))
        self._counting.start(COUNT_INTERVAL, now=False)

    def count(self) -> None:
        """Says what was counted since."""
        counts = self._relay.metrics.counts()
        if counts != self._counted:
            self._counted = counts
            self.say(Counted(counts))

    def say(self, line: Line) -> None:
        self.transport.write(worker_lines.encode(line))  # type: ignore[union-attr]  # set while connected

    def lineReceived(self, line: bytes) -> None:
        match worker_lines.decode(line):
            case Recover(owner):
                Deferred.fromCoroutine(self._recover(owner))
            case Detach():
                detach()
            case _:
                raise ValueError("not for a worker")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent is gone: without it nobody would ever end us."""
        if self._reactor.running:
            self._reactor.callLater(0, self._reactor.stop)

    async def _recover(self, owner: str) -> None:
        relay = self._relay
        try:
            recovery = await relay.spool.recover((owner,) if owner else ())
        except SpoolUnavailable as error:
            when = "until its lease is over, or for the next start"
            relay.journal.record(Trouble(f"messages of a dead worker wait {when}: {error}"))
            return
        if str(recovery):
            relay.journal.record(DaemonNote(str(recovery)))
        relay.runner.queue_run()


def detach() -> None:
    """Lets go of the terminal or pipe of who started the daemon."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def main() -> int:
    """Serves until the parent ends it; the exit status."""
    os.setsid()  # an interrupt on the terminal is the parent's, which tells us
    os.set_inheritable(worker_lines.REPORTS, False)
    order = worker_lines.decode(_first_line(0))
    assert isinstance(order, Order)
    from twisted.internet import reactor  # not at module level: who imports us may want another one

    loop: Any = reactor
    use_steady_clock(loop)
    log_to_standard_error()
    try:
        service, relay = _join(loop, order)
        line = ParentLine(loop, relay)
        service.begun.addCallback(lambda _: _connect(loop, line))
        loop.addSystemEventTrigger("after", "shutdown", line.count)
        return serve(loop, service)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _connect(reactor: Any, line: ParentLine) -> None:
    pipes: Any = StandardIO  # mypy knows Windows' class only, which has no descriptors
    pipes(line, stdin=0, stdout=worker_lines.REPORTS, reactor=reactor)
    line.ready()


def _join(reactor: Any, order: Order) -> tuple[RelayService, Relay]:
    # It listens nowhere by itself: the ports are the parent's.
    wishes = Wishes(interfaces="", queue_interval=order.queue_interval)
    plan = read_plan(order.configuration, order.macros, wishes)
    memory = memoryview(mmap.mmap(order.crowd, 0))
    os.close(order.crowd)
    crowd = SharedCrowd(memory, order.index, bytes.fromhex(order.crowd_key), plan.compiled.main.smtp_accept_max)
    relay = build(plan.compiled, reactor, order.configuration, wishes, crowd)
    relay.contexts.adopt(order.self_signed)
    service = RelayService(InheritedSockets(reactor, order), relay, plan, worker=order.index)
    return service, relay


def _first_line(descriptor: int) -> bytes:
    """Up to the line feed and not an octet more: what follows is for the reactor."""
    line = bytearray()
    while not line.endswith(b"\n"):
        octet = os.read(descriptor, 1)
        if not octet:
            raise SystemExit(1)
        line += octet
    return bytes(line)


if __name__ == "__main__":
    sys.exit(main())
