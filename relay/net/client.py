"""SMTP clients on Twisted: a connection as coroutines, a dialer, one ordinary factory (edge).

`ESMTPClient` drives the client machine (`esmtp.client`) and the stack for whoever awaits its methods: `delivery.remote`
as its `Link`, or a small program through `ESMTPClientFactory`. Each method gives one order to the machine and waits for
the event that ends it; a timeout, a lost connection or a 421 in between raises `LinkFailed`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Factory

from relay.delivery.remote import HandshakeFailed, LinkFailed, StartTLSRefused, Timeouts
from relay.esmtp.client import Client, ClientSettings, Protocol
from relay.esmtp.client_events import (
    BodyWanted,
    ClientEvent,
    Closed,
    Garbled,
    Greeted,
    HelloAccepted,
    LinkLost,
    Refused,
    Settled,
    TimedOut,
    TLSGoAhead,
    TLSRefused,
)
from relay.mail.envelope import Envelope
from relay.mail.facts import TLSFacts
from relay.mail.outcome import ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.text import printable
from relay.net.connection import LayeredConnection
from relay.tls.anchors import AnchorSet
from relay.tls.contexts import ContextCache, TLSContext, make_client_context
from relay.tls.engine import Handshake
from relay.tls.policy import ClientTLS, VerifyServer
from relay.tls.stack import ContextNeeded, LayerFailed, LayerUp, PeerClosed, PlainReceived

HANDSHAKE_TIMEOUT = 60.0
# Seconds that a server has for its reply to QUIT: the mail is safe, nobody waits for politeness.
QUIT_TIMEOUT = 5.0


class ESMTPClient(LayeredConnection):
    """One connection to a server."""

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings,
        contexts: ContextCache[ClientTLS],
        now: Callable[[], float],
        *,
        tls_on_connect: bool = False,
    ) -> None:
        super().__init__(reactor)
        self._settings = settings
        self._contexts = contexts
        self._now = now
        self._machine = Client(settings, reactor.seconds())
        self._tls_on_connect = tls_on_connect
        self._is_greeted = False
        self._failure: LinkFailed | None = None
        self._awaited: Deferred[Any] | None = None
        self._handshake: Deferred[Handshake] | None = None
        self._handshake_deadline: float | None = None
        self._results: list[ClientEvent] = []
        self._drained: Deferred[None] | None = None
        self.made: Deferred[ESMTPClient] = Deferred()

    def connectionMade(self) -> None:
        self.begin()
        self.run()
        self.made.callback(self)

    # The Link port

    async def hello(self) -> Mapping[str, str]:
        """Waits for the greeting where it has not come yet, then EHLO or HELO. Raises LinkFailed."""
        if not self._is_greeted:
            await self._event(Greeted)
            self._is_greeted = True
        self._order(self._machine.hello)
        accepted = await self._event(HelloAccepted)
        extensions: Mapping[str, str] = accepted.extensions
        return extensions

    async def start_tls(self, policy: ClientTLS, *, on_connect: bool) -> tuple[Handshake, AnchorSet]:
        """STARTTLS and the handshake.

        Raises StartTLSRefused, HandshakeFailed, LinkFailed, TLSFileError, BadCipherList.
        """
        context = self._contexts.get(policy, self._now())
        if context.anchor_fault is not None and policy.verify is VerifyServer.MUST:
            # No server could verify: the fault is in our own files, and the operator is to hear which.
            raise context.anchor_fault
        leftover = b""
        if not on_connect:
            self._order(self._machine.starttls)
            answer = await self._event(TLSGoAhead, TLSRefused)
            if isinstance(answer, TLSRefused):
                raise StartTLSRefused(answer.reply)
            leftover = self._machine.switch_layer()
        handshake = await self._shake(context, policy, leftover)
        return handshake, context.anchors

    async def _shake(self, context: TLSContext, policy: ClientTLS, leftover: bytes) -> Handshake:
        self._raise_failure()
        self._handshake = Deferred()
        self._handshake_deadline = self.reactor.seconds() + HANDSHAKE_TIMEOUT
        waiting = self._handshake
        self.stack.connect(context.ssl, server_name=policy.sni, already_received=leftover)
        self.run()
        handshake = await waiting
        if self._tls_on_connect and not self._is_greeted:
            # The greeting is still to come, inside the layer: the machine begins with it.
            self._machine = Client(self._settings, self.reactor.seconds(), _unjudged(handshake))
        else:
            self._machine.layer_changed(self.reactor.seconds(), _unjudged(handshake))
        self.run()
        return handshake

    async def send(self, envelope: Envelope, header: bytes, body: Body) -> tuple[Outcome, ...]:
        """One transaction. Trouble in the middle of it is in the outcomes; it raises only where none was begun."""
        self._raise_failure()
        self._order(lambda now: self._machine.transact(envelope, now))
        event = await self._event(BodyWanted, Settled)
        if isinstance(event, BodyWanted):
            try:
                await self._send_body(header, body)
            except LinkFailed:
                pass  # the machine has settled the transaction already
            except BaseException:
                # The queue could not give the body: without a final dot nothing has been sent.
                self.abort()
                raise
            event = await self._event(Settled)
        assert isinstance(event, Settled)
        return event.outcomes

    async def _send_body(self, header: bytes, body: Body) -> None:
        number = 0
        first = await body.piece(0)
        self._order(lambda now: self._machine.body(header + b"\r\n" + first, now))
        while first:
            number += 1
            first = await body.piece(number)
            if not first:
                break
            await self._room()
            self._order(lambda now, piece=first: self._machine.body(piece, now))  # type: ignore[misc]  # the default binds the loop's value
        self._order(self._machine.end_body)

    async def _room(self) -> None:
        """Waits until the server reads on. Raises LinkFailed."""
        self._raise_failure()
        if self.is_choked:
            self._drained = Deferred()
            await self._drained

    async def quit(self) -> None:
        """QUIT, its reply (not for long), close_notify, the end."""
        has_no_layer = self._tls_on_connect and not self.stack.is_protected
        if self.is_lost or self._failure is not None or has_no_layer:
            self.abort()
            return
        self._order(self._machine.quit)
        limit = self.reactor.callLater(QUIT_TIMEOUT, self.abort)
        try:
            await self._event(Closed)
        except LinkFailed:
            pass
        finally:
            if limit.active():
                limit.cancel()
        self.close()

    async def drop(self) -> None:
        """The end, at once."""
        self.abort()

    # Orders and events

    def _order(self, order: Callable[[float], None]) -> None:
        self._raise_failure()
        order(self.reactor.seconds())
        self.run()

    async def _event(self, *kinds: type) -> Any:
        """The next event of the machine, which has to be of one of these kinds. Raises LinkFailed for any other."""
        while not self._results:
            self._raise_failure()
            self._awaited = Deferred()
            await self._awaited
        event = self._results.pop(0)
        if isinstance(event, kinds):
            return event
        raise _failure_of(event)

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._results:
            raise self._failure

    # The pump

    def pump(self) -> None:
        while self._pump_stack() or self._pump_machine():
            pass

    def _pump_machine(self) -> bool:
        data = self._machine.data_to_send()
        if data:
            self.stack.send(data)
        event = self._machine.next_event()
        if event is None:
            return False
        self._results.append(event)
        self._wake()
        return True

    def _pump_stack(self) -> bool:
        event = self.stack.next_event()
        if event is None:
            return False
        match event:
            case PlainReceived(data):
                self._machine.receive(data, self.reactor.seconds())
            case LayerUp(handshake, _):
                self._handshake_deadline = None
                self._end_handshake(handshake)
            case LayerFailed(reason, by_peer, during_handshake):
                self._layer_failed(reason, by_peer, during_handshake)
            case PeerClosed():
                # A server that ends its layer without being asked to has nothing more to say.
                self._machine.receive_eof()
                self.stack.close()
            case ContextNeeded():
                raise AssertionError("a client is not asked for a context")
            case _ as never:
                assert_never(never)
        return True

    def _end_handshake(self, result: Handshake | LinkFailed) -> None:
        waiting, self._handshake = self._handshake, None
        if waiting is None:
            return
        # Not inside the pump: who waits gives the next order.
        if isinstance(result, Handshake):
            self.reactor.callLater(0, waiting.callback, result)
        else:
            self.reactor.callLater(0, waiting.errback, result)

    def _layer_failed(self, reason: str, by_peer: bool, during_handshake: bool) -> None:
        whose = "the server ended TLS" if by_peer else "TLS failed"
        text = f"{whose}: {reason}"
        if during_handshake:
            self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, text))
            return
        # TLS 1.3: the refusal of our certificate arrives with the first read after the handshake.
        self._fail(LinkFailed(ErrorClass.TLS_FAILED, text))
        self._machine.receive_eof()

    def _fail(self, failure: LinkFailed) -> None:
        self._failure = self._failure or failure
        self._wake()

    def _wake(self) -> None:
        waiting, self._awaited = self._awaited, None
        if waiting is not None:
            self.reactor.callLater(0, waiting.callback, None)
        drained, self._drained = self._drained, None
        if drained is not None:
            self.reactor.callLater(0, drained.callback, None)

    # Time, flow and end

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._wake()

    def deadline(self) -> float | None:
        if self._handshake_deadline is not None:
            return self._handshake_deadline
        return self._machine.deadline()

    def expired(self) -> None:
        if self._handshake_deadline is not None:
            self._handshake_deadline = None
            self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, "timeout in the TLS handshake"))
            return
        self._machine.expire(self.reactor.seconds())

    def input_ended(self) -> None:
        """A server that says no more is of no more use."""
        self.transport.loseConnection()

    def ended(self, how: str) -> None:
        while self._pump_stack():
            pass
        self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, "connection lost in the TLS handshake"))
        self._machine.receive_eof()
        while self._pump_machine():
            pass
        self._fail(LinkFailed(ErrorClass.LOST_CONNECTION, "connection lost"))


def _unjudged(handshake: Handshake) -> TLSFacts:
    """What the machine has to know of a layer: that there is one."""
    return TLSFacts(handshake.version, handshake.suite, handshake.bits)


def _failure_of(event: ClientEvent) -> LinkFailed:
    """The exception for an event that ends a session."""
    match event:
        case Refused(stage, reply):
            error = ErrorClass.OTHER
            return LinkFailed(
                error, f"SMTP error from remote mail server after {stage.value}: {printable(str(reply))}", reply
            )
        case LinkLost(stage, possible_duplicate):
            return LinkFailed(
                ErrorClass.LOST_CONNECTION,
                f"connection lost after {stage.value}",
                possible_duplicate=possible_duplicate,
            )
        case TimedOut(stage):
            return LinkFailed(ErrorClass.TIMEOUT, f"timeout after {stage.value}")
        case Garbled(text):
            return LinkFailed(ErrorClass.OTHER, printable(text))
        case Closed():
            return LinkFailed(ErrorClass.LOST_CONNECTION, "connection closed")
        case _:
            return LinkFailed(ErrorClass.OTHER, f"unexpected {type(event).__name__}")


class SocketDialer:
    """The `Dialer` port over the network; contexts are shared by all connections of a process."""

    def __init__(self, reactor: Any, now: Callable[[], float], contexts: ContextCache[ClientTLS] | None = None) -> None:
        self._reactor = reactor
        self._now = now
        self._contexts = contexts or ContextCache(make_client_context)

    async def dial(
        self, host: RemoteHost, helo_name: str, timeouts: Timeouts, *, lmtp: bool, tls_on_connect: bool
    ) -> ESMTPClient:
        """A connection to one address. Raises LinkFailed."""
        settings = ClientSettings(
            name=helo_name,
            protocol=Protocol.LMTP if lmtp else Protocol.SMTP,
            host=host,
            command_timeout=timeouts.command,
            data_timeout=timeouts.data,
            final_timeout=timeouts.final,
        )
        make = TCP6ClientEndpoint if ":" in host.address else TCP4ClientEndpoint
        endpoint = make(self._reactor, host.address, host.port, timeout=timeouts.connect)
        factory = _ClientFactory(
            lambda: ESMTPClient(self._reactor, settings, self._contexts, self._now, tls_on_connect=tls_on_connect)
        )
        try:
            client = await endpoint.connect(factory)
        except (error.ConnectError, OSError) as failure:
            raise LinkFailed(_class_of(failure), _why(failure)) from None
        assert isinstance(client, ESMTPClient)
        return client


class _ClientFactory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], ESMTPClient]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> ESMTPClient:
        return self._make()


_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


def _class_of(failure: Exception) -> ErrorClass:
    if isinstance(failure, error.TimeoutError):
        return ErrorClass.TIMEOUT_CONNECT
    if isinstance(failure, error.ConnectionRefusedError):
        return ErrorClass.CONNECTION_REFUSED
    number = getattr(failure, "osError", None) or getattr(failure, "errno", None)
    if isinstance(failure, error.NoRouteError) or number in _NO_ROUTE:
        return ErrorClass.NO_NETWORK
    return ErrorClass.OTHER


def _why(failure: Exception) -> str:
    match _class_of(failure):
        case ErrorClass.TIMEOUT_CONNECT:
            return "Connection timed out"
        case ErrorClass.CONNECTION_REFUSED:
            return "Connection refused"
        case ErrorClass.NO_NETWORK:
            return "No route to the host (offline?)"
        case _:
            return f"could not connect: {failure}"


class ESMTPClientFactory(ClientFactory):
    """For Twisted programs: `connected` fires with an `ESMTPClient` for each connection that is made.

    `name` is what EHLO says. Its methods `hello`, `start_tls`, `send` and `quit` are coroutines; nothing is sent before
    they are awaited.
    """

    noisy = False
    protocol = ESMTPClient

    def __init__(self, reactor: Any, name: str, now: Callable[[], float], *, tls_on_connect: bool = False) -> None:
        self._reactor = reactor
        self._settings = ClientSettings(name)
        self._now = now
        self._tls_on_connect = tls_on_connect
        self._contexts: ContextCache[ClientTLS] = ContextCache(make_client_context)

    def buildProtocol(self, addr: IAddress | None) -> ESMTPClient:
        return ESMTPClient(
            self._reactor, self._settings, self._contexts, self._now, tls_on_connect=self._tls_on_connect
        )
