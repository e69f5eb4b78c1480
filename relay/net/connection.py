"""A TCP connection that may carry TLS layers, from its first byte ours (edge).

Twisted's startTLS can't be undone, so this protocol sits on the plain transport and holds a `tls.stack.Stack`. It does
what server and client have in common: octets in and out, one timer that follows a deadline, back-pressure in both
directions, and the end of the connection. What the octets mean is the business of `server.py` and `client.py`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.mail.facts import Endpoint
from relay.mail.ports import Cancelled
from relay.tls.stack import Stack

T = TypeVar("T")

# How long a peer may take to read our last words before the connection is cut, seconds.
LINGER = 10.0
# How long a peer that is sent away without a word may be silent itself, seconds.
HEARING = 2.0
# How long a peer may leave unread what we have written before the connection is cut, seconds. RFC 5321 4.5.3.2.
UNREAD_LIMIT = 300.0


@implementer(IPushProducer, IHalfCloseableProtocol)
class LayeredConnection(Protocol, abc.ABC):
    """The common part. Subclasses give `pump`, `deadline`, `expired`, `input_ended` and `ended`."""

    transport: Any
    """A TCP transport: Twisted spreads its methods over four interfaces."""

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor = reactor
        self.stack = Stack()
        self.is_lost = False
        self._timer: IDelayedCall | None = None
        self._pumping = False
        self._pump_again = False
        self._choked = False
        self._choked_until: float | None = None
        self._send_now: Callable[[bytes], int | Exception] | None = None
        self._paused = False
        self._closing = False
        self._is_turned_away = False
        self._tasks: set[Deferred[Any]] = set()

    # What subclasses give

    @abc.abstractmethod
    def pump(self) -> None:
        """Works off events until there is nothing to do."""

    @abc.abstractmethod
    def deadline(self) -> float | None:
        """When `expired` is to be called, in the reactor's seconds; None: never."""

    @abc.abstractmethod
    def expired(self) -> None:
        """The deadline has passed."""

    @abc.abstractmethod
    def input_ended(self) -> None:
        """The peer will send nothing more."""

    @abc.abstractmethod
    def ended(self, how: str) -> None:
        """The connection is gone."""

    # Twisted

    def dataReceived(self, data: bytes) -> None:
        if self._is_turned_away:
            self.transport.abortConnection()
        if self._closing:
            return
        self.stack.receive(data)
        self.run()

    def readConnectionLost(self) -> None:
        """The peer has ended its direction and may wait for what we have to say; Twisted would close both."""
        if self._is_turned_away:
            self.transport.abortConnection()
            return
        self.stack.receive_eof()
        self.input_ended()
        self.run()

    def writeConnectionLost(self) -> None:
        """We end our direction only together with the other one."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        self.stack.connection_lost()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self.ended("lost")

    def pauseProducing(self) -> None:
        """The peer does not read what we write: read nothing from it either, and do not wait for ever."""
        self._choked = True
        self._choked_until = self.reactor.seconds() + UNREAD_LIMIT
        self.read_or_not()
        if not self._is_over():
            self._arm()

    def resumeProducing(self) -> None:
        if self._choked:
            self._choked, self._choked_until = False, None
            self.run()

    def stopProducing(self) -> None:
        self._choked = True

    # For subclasses

    def begin(self) -> None:
        """Call first in connectionMade."""
        self._send_now = getattr(self.transport, "writeSomeData", None)
        # One that is pulled is told whenever nothing is left to write; when to pause we know ourselves. Without a way
        # to send now the transport has to say that too.
        self.transport.registerProducer(self, self._send_now is None)
        self.transport.setTcpNoDelay(True)

    @property
    def is_choked(self) -> bool:
        """True while the peer does not read what we have written."""
        return self._choked

    def run(self) -> None:
        """Pumps, sends, and arms the timer; safe to call from anywhere, also from inside of a pump."""
        if self._pumping:
            self._pump_again = True
            return
        if self._is_over():
            return
        self._pumping = True
        try:
            while True:
                self._pump_again = False
                if not self._choked:
                    self.pump()
                if not self._pump_again:
                    break
        finally:
            self._pumping = False
        self.flush()
        if not self._is_over():
            self._arm()
            self.read_or_not()

    def read_or_not(self) -> None:
        """Reading goes on or pauses, as `wants_input` says."""
        pause = self._choked or not self.wants_input
        if pause == self._paused or self.is_lost or self._closing:
            return
        self._paused = pause
        if pause:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _is_over(self) -> bool:
        return self.is_lost or self._closing

    def flush(self) -> None:
        """Writes what the stack has for the network.

        At once where nothing is waiting: Twisted's own queue takes another turn of the reactor and two more system
        calls for every reply. What the system does not take now goes there, and we pause until it is gone.
        """
        data = self.stack.data_to_send()
        if not data or self.is_lost:
            return
        if self._send_now is not None and not self._choked:
            sent = self._send_now(data)
            if sent == len(data):
                return
            if isinstance(sent, int):
                self.transport.write(data[sent:])
                self.pauseProducing()
                return
            # The transport will find this error itself, behind what the peer has said before it went.
        self.transport.write(data)

    @property
    def wants_input(self) -> bool:
        """False while the layer above can take no more."""
        return True

    def close(self) -> None:
        """Ends the connection in order: close_notify, the last octets, FIN. A peer that does not read is cut off."""
        if self._closing or self.is_lost:
            return
        self._closing = True
        self.stack.close()
        self.flush()
        if self._paused:
            # Read on, so that unread input does not turn our last words into a reset.
            self._paused = False
            self.transport.resumeProducing()
        self.hang_up()
        self._set_timer(LINGER, self.transport.abortConnection)

    def turn_away(self) -> None:
        """Ends the connection without a word, as soon as the peer has said something: before that it might not notice,
        and write into the void."""
        if self._closing or self.is_lost:
            return
        self._closing = self._is_turned_away = True
        self._set_timer(HEARING, self.transport.abortConnection)

    def hang_up(self) -> None:
        """Ends the connection when what was written has gone. A transport waits for a producer that it knows."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Ends the connection at once."""
        if not self.is_lost:
            self._closing = True
            self.transport.abortConnection()

    def spawn(self, coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Runs a decision; it is cancelled with `cancel_tasks`."""
        deferred = Deferred.fromCoroutine(coroutine)
        if not deferred.called:
            self._tasks.add(deferred)
            deferred.addBoth(self._forget_task, deferred)
        return deferred

    def _forget_task(self, result: Any, deferred: Deferred[Any]) -> Any:
        self._tasks.discard(deferred)
        return result

    def cancel_tasks(self) -> None:
        """Every open decision gets `Cancelled`."""
        for deferred in list(self._tasks):
            deferred.cancel()

    def peer_and_local(self) -> tuple[Endpoint, Endpoint]:
        """Both ends; IPv4 in IPv6 clothes is IPv4."""
        return _endpoint(self.transport.getPeer()), _endpoint(self.transport.getHost())

    # Inner life

    def _arm(self) -> None:
        """One timer, moved only towards earlier deadlines: when it rings too early it is set anew."""
        deadline = self._next_deadline()
        if deadline is None:
            return
        timer = self._timer
        if timer is not None and timer.active():
            if timer.getTime() <= deadline:
                return
            timer.cancel()
        self._set_timer(max(deadline - self.reactor.seconds(), 0), self._ring)

    def _next_deadline(self) -> float | None:
        due = [time for time in (self.deadline(), self._choked_until) if time is not None]
        return min(due) if due else None

    def _set_timer(self, delay: float, function: Any) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.reactor.callLater(delay, function)

    def _ring(self) -> None:
        self._timer = None
        if self._choked_until is not None and self._choked_until <= self.reactor.seconds():
            # Nothing that we say would arrive, so nothing is said.
            self.abort()
            return
        deadline = self.deadline()
        if deadline is not None and deadline <= self.reactor.seconds():
            self.expired()
            self.run()
        elif not self.is_lost and not self._closing:
            self._arm()


def _endpoint(address: Any) -> Endpoint:
    host = str(address.host)
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return Endpoint(host.partition("%")[0], int(address.port))


def is_cancellation(failure: Failure) -> bool:
    """True where a decision ended because its connection did."""
    return isinstance(failure.value, Cancelled | CancelledError)
