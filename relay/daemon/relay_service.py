"""One process that receives and delivers, as a Twisted service (edge).

Start: open the ports (as root where they need it), become the daemon's user, open the queue, deliver what waits, take
what was left in the maildrop. Stop: close the ports, say 421, let deliveries finish for a while, close the queue.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.daemon.build import Relay
from relay.daemon.control import listen_for_submissions
from relay.daemon.listening import listening_on, open_port
from relay.daemon.metrics_page import listen_for_metrics
from relay.daemon.operator_socket import listen_for_orders
from relay.daemon.plan import Plan, refuse_errors
from relay.daemon.privileges import drop, hand_over
from relay.daemon.traces import (
    make_spool_directory,
    record_start,
    record_stop,
    remove_pid,
    remove_started,
    spool_problem,
    write_pid,
    write_started,
)
from relay.mail.events import DaemonNote
from relay.mail.ports import SpoolUnavailable
from relay.mail.source import ConfigurationError, Problem

# Seconds that deliveries under way have at a stop.
PATIENCE = 10.0


class Sockets(Protocol):
    """What a daemon listens on. Nobody is taken in before the queue is open: the system keeps them waiting."""

    def smtp(self, relay: Relay) -> list[Any]:
        """The ports for SMTP, not reading yet; called while root is still root. Raises ConfigurationError."""
        ...

    def submissions(self, relay: Relay) -> Any:
        """The port for local programs; called as the daemon's user. Raises OSError."""
        ...

    def orders(self, relay: Relay) -> Any:
        """The port for administrators; called as the daemon's user. Raises OSError."""
        ...


class OwnSockets:
    """Those of a daemon that is one process: it opens them."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def smtp(self, relay: Relay) -> list[Any]:
        return [
            open_port(self._reactor, listener, relay.secure if listener.tls_on_connect else relay.plain)
            for listener in relay.listeners
        ]

    def submissions(self, relay: Relay) -> Any:
        return listen_for_submissions(self._reactor, relay.spool_directory, relay.submissions)

    def orders(self, relay: Relay) -> Any:
        return listen_for_orders(self._reactor, relay.spool_directory, relay.control)


class RelayService(Service):
    """One process that receives and delivers: a daemon, or a worker of one."""

    def __init__(
        self,
        sockets: Sockets,
        relay: Relay,
        plan: Plan,
        *,
        worker: int | None = None,
    ) -> None:
        """`plan` is what `relay` was built from.

        `worker` is its number among several; None: it is the daemon, says so in the log and has the pid file. One
        process empties the maildrop: the daemon, or worker 0.
        """
        self._sockets = sockets
        self._relay = relay
        self._plan = plan
        self._worker = worker
        self._ports: list[Any] = []
        self._page: Any = None
        self._started = False
        self.begun: Deferred[None] = Deferred()
        """Fires when it serves."""

    def privilegedStartService(self) -> None:
        """Opens the ports. Raises ConfigurationError for one that can't be had."""
        relay = self._relay
        self._ports.extend(self._sockets.smtp(relay))
        if self._worker is None:
            registry = relay.metrics.registry
            self._page = listen_for_metrics(relay.reactor, relay.metrics_address, registry, relay.location)

    def startService(self) -> None:
        """Opens the queue and begins. Raises ConfigurationError."""
        relay = self._relay
        _start_courier(relay)
        if relay.identity is not None:
            hand_over(relay.spool_directory, relay.identity)
            drop(relay.identity)
            refuse_errors(self._plan.check())
        try:
            make_spool_directory(relay.spool_directory)
            recovery = relay.spool.start(relay.clock.now())
            relay.maildrop_folder.prepare()
            self._ports += (self._sockets.submissions(relay), self._sockets.orders(relay))
            if self._worker is None:
                write_pid(relay.pid_file)
                write_started(relay.spool_directory, self._plan)
        except SpoolUnavailable as error:
            raise ConfigurationError(Problem(relay.location, f"the queue can't be opened: {error}")) from None
        except OSError as error:
            raise spool_problem(relay.location, relay.spool_directory, error) from None
        if self.smtp_ports and not self._worker:  # of several workers, the first says it for all
            on_connect = any(listener.tls_on_connect for listener in relay.listeners)
            relay.contexts.start(relay.reception.rules.tls, on_connect=on_connect)
        self.running = True
        self._started = True
        if self._worker is None:
            where = listening_on(zip(relay.listeners, self._ports, strict=False))
            record_start(relay.journal, self._plan, where)
        if str(recovery):
            relay.journal.record(DaemonNote(str(recovery)))
        # What waits in the maildrop comes before any delivery: its messages must not be found delivered and gone.
        Deferred.fromCoroutine(self._begin()).chainDeferred(self.begun)

    async def _begin(self) -> None:
        if self._worker in (None, 0):
            await self._relay.maildrop.start()
        if not self._started:
            return
        for port in self._ports:
            port.startReading()
        self._relay.runner.start()
        self._relay.spool.let_settlements_wait(self._relay.reactor.callLater)
        self._relay.watch.start()
        if self._worker in (None, 0):
            self._relay.queue_length.start()

    @property
    def smtp_ports(self) -> tuple[int, ...]:
        """The TCP ports that are open, also where the configuration left the choice to the system."""
        return tuple(port.getHost().port for port in self._ports if hasattr(port.getHost(), "port"))

    def stopService(self) -> Deferred[None]:
        """Fires when everything is closed; whatever had been promised is on disk by then."""
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        relay = self._relay
        for port in self._ports:
            closing = port.stopListening()
            if closing is not None:
                await closing
        self._ports.clear()
        if self._page is not None:
            await self._page.stopListening()
        if not self._started:
            return
        for factory in (relay.plain, relay.secure):
            for connection in list(factory.connections):
                connection.shut_down()
        relay.watch.stop()
        relay.maildrop.stop()
        relay.queue_length.stop()
        await relay.runner.stop(PATIENCE)
        if relay.message_logs is not None:
            relay.message_logs.close()
        await relay.spool.stop()
        relay.deliveries.courier.stop()
        relay.contexts.stop()
        if self._worker is None:
            remove_pid(relay.pid_file)
            remove_started(relay.spool_directory)
            record_stop(relay.journal)

    def reopen_logs(self) -> None:
        """After a rotation (SIGUSR1)."""
        self._relay.logs.reopen()

    def detach(self) -> None:
        """There is nobody to be told."""

    def reload(self) -> None:
        """SIGHUP. A process that has given root up can't begin anew: it reopens its logs, and says so."""
        self.reopen_logs()
        self._relay.journal.record(
            DaemonNote("SIGHUP: logs reopened; a changed configuration needs a restart where worker_processes is 1")
        )


def _start_courier(relay: Relay) -> None:
    try:
        relay.deliveries.start_as_root()
    except OSError as error:
        what = f"the process for local deliveries can't be started: {error.strerror or error}"
        raise ConfigurationError(Problem(relay.location, what)) from None
