"""Dials servers: the `Dialer` port over the network (edge).

Contexts, and TLS sessions that may be resumed, are shared by all connections of a process. The addresses of one host
are raced, each a moment behind the one before it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from relay.delivery.link import LinkFailed, Manners
from relay.esmtp.client import ClientSettings, Protocol
from relay.esmtp.transcript import Transcript
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.ports import Watch
from relay.net.client import ESMTPClient
from relay.net.resolver import has_network
from relay.tls.contexts import ContextCache, make_client_context
from relay.tls.policy import ClientTLS
from relay.tls.sessions import TLSSessions

# Seconds between the dialling of two addresses of a host. RFC 8305 5: Connection Attempt Delay.
RACE_DISTANCE = 0.25


class SocketDialer:
    """The `Dialer` port over the network; contexts are shared by all connections of a process."""

    def __init__(
        self,
        reactor: Any,
        now: Callable[[], float],
        contexts: ContextCache[ClientTLS] | None = None,
        watch: Watch | None = None,
        sessions: TLSSessions | None = None,
        *,
        in_callout: bool = False,
    ) -> None:
        """`watch`: somebody who is told what is said in each connection; `in_callout`: it is an ACL that asks."""
        self._reactor = reactor
        self._now = now
        self._contexts = contexts or ContextCache(make_client_context)
        self._sessions = TLSSessions() if sessions is None else sessions
        self._watch = watch
        self._in_callout = in_callout

    def for_callouts(self) -> SocketDialer:
        """The same, for connections in which an ACL asks: they are told as such."""
        common = (self._reactor, self._now, self._contexts, self._watch, self._sessions)
        return SocketDialer(*common, in_callout=True)

    async def dial(self, hosts: tuple[RemoteHost, ...], manners: Manners) -> ESMTPClient:
        """A connection to the first address that takes it: each is dialled a moment after the one before it, or as
        soon as that has failed (RFC 8305 5). Raises LinkFailed."""
        race = _Race(self._reactor, [lambda each=each: self._dial_one(each, manners) for each in hosts])  # type: ignore[misc]  # the default binds the loop's value
        return await race.run()

    async def _dial_one(self, host: RemoteHost, manners: Manners) -> ESMTPClient:
        settings = ClientSettings(
            name=manners.helo_name,
            protocol=Protocol.LMTP if manners.lmtp else Protocol.SMTP,
            host=host,
            extended=manners.esmtp,
            pipelining=manners.pipelining,
            chunking=manners.chunking,
            prdr=manners.prdr,
            a_labels=manners.a_labels,
            command_timeout=manners.timeouts.command,
            data_timeout=manners.timeouts.data,
            final_timeout=manners.timeouts.final,
        )
        is_ipv6 = ":" in host.address
        make = TCP6ClientEndpoint if is_ipv6 else TCP4ClientEndpoint
        ours = next((each for each in manners.interfaces if (":" in each) == is_ipv6), None)
        endpoint = make(
            self._reactor,
            host.address,
            host.port,
            timeout=manners.timeouts.connect,
            bindAddress=(ours, 0) if ours is not None else None,
        )
        transcript = Transcript(self._watch, in_callout=self._in_callout) if self._watch is not None else None
        if transcript is not None:
            transcript.connecting(host.name, host.address, host.port, ours)
        factory = _ClientFactory(
            lambda: ESMTPClient(
                self._reactor,
                settings,
                self._contexts,
                self._now,
                tls_on_connect=manners.tls_on_connect,
                keepalive=manners.keepalive,
                sessions=self._sessions,
                transcript=transcript,
            )
        )
        try:
            client = await endpoint.connect(factory)
        except (error.ConnectError, OSError) as failure:
            failed = LinkFailed(*_what_failed(failure, lambda: has_network() or _leads_nowhere(host.address)))
            failed.host = host
            if transcript is not None:
                transcript.not_connected(str(failed))
            if isinstance(failure, error.ConnectBindError):
                failed.notes = (f"bind of [{ours}]:0 failed",)
            raise failed from None
        assert isinstance(client, ESMTPClient)
        return client


class _Race:
    """Dials one after the other with a short distance; the first connection wins, the others are closed."""

    def __init__(self, reactor: Any, dials: Sequence[Callable[[], Coroutine[Any, Any, ESMTPClient]]]) -> None:
        self._reactor = reactor
        self._dials = list(dials)
        self._running: list[Deferred[ESMTPClient]] = []
        self._won: Deferred[ESMTPClient] = Deferred(self._cancelled)
        self._failure: Failure | None = None
        self._timer: Any = None
        self._is_over = False

    async def run(self) -> ESMTPClient:
        self._next()
        return await self._won

    def _next(self) -> None:
        self._stop_timer()
        if not self._dials:
            return
        running = Deferred.fromCoroutine(self._dials.pop(0)())
        self._running.append(running)
        if self._dials:
            self._timer = self._reactor.callLater(RACE_DISTANCE, self._next)
        running.addCallbacks(self._connected, self._failed, (running,), errbackArgs=(running,))

    def _connected(self, client: ESMTPClient, running: Deferred[ESMTPClient]) -> None:
        self._running.remove(running)
        if self._is_over:
            client.abort()
            return
        self._end()
        self._won.callback(client)

    def _failed(self, failure: Failure, running: Deferred[ESMTPClient]) -> None:
        self._running.remove(running)
        if self._is_over:
            return
        self._failure = self._failure or failure
        if self._dials:
            self._next()
        elif not self._running:
            self._end()
            self._won.errback(self._failure)

    def _end(self) -> None:
        # Before the others are cancelled: their failures come at once, and are none of the race any more.
        self._is_over = True
        self._stop_timer()
        self._dials.clear()
        for each in list(self._running):
            each.cancel()

    def _cancelled(self, _: Deferred[ESMTPClient]) -> None:
        self._end()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _ClientFactory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], ESMTPClient]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> ESMTPClient:
        return self._make()


def _leads_nowhere(address: str) -> bool:
    """Whether no network would help: nobody can be connected to at such an address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return ip.is_multicast or ip.is_reserved or ip.is_unspecified


_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


def _what_failed(failure: Exception, is_online: Callable[[], bool]) -> tuple[ErrorClass, str]:
    """The kind of failure, and the words for it. Without a way to one host there may be ways to others: only a machine
    that has none at all is offline, and its time does not count."""
    if isinstance(failure, error.TimeoutError):
        return ErrorClass.TIMEOUT_CONNECT, "Connection timed out"
    if isinstance(failure, error.ConnectionRefusedError):
        return ErrorClass.CONNECTION_REFUSED, "Connection refused"
    number = getattr(failure, "osError", None) or getattr(failure, "errno", None)
    if isinstance(failure, error.NoRouteError) or number in _NO_ROUTE:
        text = os.strerror(number if number in _NO_ROUTE else errno.EHOSTUNREACH)
        if is_online():
            return ErrorClass.NO_ROUTE, text
        is_ours = number == errno.EADDRNOTAVAIL
        return ErrorClass.NO_NETWORK, text if is_ours else "No route to the host: this machine is offline"
    if number == errno.EINVAL:
        return ErrorClass.NO_ROUTE, os.strerror(number)
    return ErrorClass.OTHER, f"could not connect: {failure}"
