"""SMTP servers on Twisted: one protocol, one ordinary factory (edge).

`ESMTPServerFactory` takes a function that makes a `ServerSession` for each connection, and limits. The session decides,
the machine (`esmtp.server`) keeps order, the stack (`tls.stack`) keeps the layers apart; this file carries octets,
questions and answers between the three:

    network -> stack -> machine -> session
    network <- stack <- machine <- session

While a question is open nothing is taken from machine or stack, so that no command overtakes a decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TCPProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.esmtp.answers import Answer
from relay.esmtp.commands import State as SMTPState
from relay.esmtp.proxy import Proxied, ProxyFault, ProxyReader
from relay.esmtp.questions import (
    BodyPiece,
    CommandRead,
    Connected,
    HangUp,
    MessageEnded,
    MessageSpoiled,
    TransactionReset,
    Violation,
)
from relay.esmtp.server import Server, ServerSettings
from relay.mail import reply
from relay.mail.facts import Endpoint, ProxyFacts
from relay.net.connection import LayeredConnection, is_cancellation
from relay.net.crowd import Crowd
from relay.net.server_session import IsProxy, MakeSession, ServerSession
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.hello import ClientHello
from relay.tls.stack import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    ContextNeeded,
    HandshakeRefused,
    LayerFailed,
    LayerUp,
    PeerClosed,
    PlainReceived,
    State,
)

# Seconds for a whole TLS handshake, however the peer spreads its octets.
HANDSHAKE_TIMEOUT = 60.0
# Our answer to a close_notify goes out at once, or within this many seconds where a decision is open, or never: a
# client that went on in clear would take a later one for text.
CLOSE_ANSWER_LIMIT = 2.0
# Seconds for a PROXY header (Exim: proxy_protocol_timeout).
PROXY_TIMEOUT = 3.0
# With more connections than these a port waits for nobody whom it turns away.
_PATIENCE = 100
# Octets that are held while it is asked whether the client is a proxy.
_EARLY_LIMIT = 65536


class ESMTPServer(LayeredConnection):
    """One client's connection."""

    _log = Logger()

    def __init__(self, factory: ESMTPServerFactory) -> None:
        super().__init__(factory.reactor)
        self._factory = factory
        self._machine = Server(factory.settings, self.reactor.seconds(), tls=factory.tls_on_connect)
        self._session: ServerSession | None = None
        self._busy = False
        self._open_commit = False
        self._is_ahead = False
        self._at_eof = False
        self._turn = 0
        self._handshake_deadline: float | None = None
        self._close_deadline: float | None = None
        self._how = ""
        self._is_unwanted = False
        """Refused a handshake for who it is, not for what it sent: it may not stay."""
        self._proxy: ProxyReader | None = None
        self._proxy_deadline: float | None = None
        self._early = b""
        self._is_admitted = not factory.tls_on_connect
        self._welcome: Answer | None = None
        """What a client gets to hear in the layer with which its connection begins."""
        self._counted = ""

    @property
    def session(self) -> ServerSession:
        assert self._session is not None
        return self._session

    def connectionMade(self) -> None:
        self.begin()
        peer, local = self.peer_and_local()
        self._factory.connections.add(self)
        self._factory.crowd.enter(peer.address)
        self._counted = peer.address
        if self._factory.is_proxy is None:
            self._begin_session(peer, local)
        else:
            self._busy = True
            asked = self.spawn(_asked(self._factory.is_proxy, peer))
            asked.addCallbacks(lambda found: self._proxy_or_not(found, peer, local), self._proxy_unknown)

    def _begin_session(self, peer: Endpoint, local: Endpoint, proxy: ProxyFacts | None = None) -> None:
        self._session = self._factory.make_session(peer, local, self._factory.tls_on_connect)
        if proxy is not None:
            self._session.facts = replace(self._session.facts, proxy=proxy)
        self.run()

    # TLS on connect: who may not connect is not worth a handshake

    def _admitted(self, answer: Answer) -> None:
        """The client is told of a yes in the layer, of a no not at all (Exim: acl_smtp_connect)."""
        if self.is_lost:
            return
        self._busy = False
        if answer.hang_up or not answer.reply.is_positive or self._at_eof:
            self._not_wanted()
            return
        self._is_admitted, self._welcome = True, answer
        self._expect_handshake()
        early, self._early = self._early, b""
        self.stack.accept(early)
        self.run()

    def _not_admitted(self, failure: Failure) -> None:
        if not is_cancellation(failure):
            self._log.failure("a decision failed", failure)
        self._busy = False
        self._not_wanted()

    def _not_wanted(self) -> None:
        """Whoever may not connect takes nobody's place among those that are served while it is turned away."""
        self._leave_crowd()
        if self._early or self._at_eof or len(self._factory.connections) > _PATIENCE:
            self.abort()
        else:
            self.turn_away()

    # The PROXY header, in front of every layer

    def _proxy_or_not(self, is_proxy: bool, peer: Endpoint, local: Endpoint) -> None:
        self._busy = False
        if self.is_lost:
            return
        if not is_proxy:
            self._begin_session(peer, local)
            return
        self._proxy = ProxyReader()
        self._proxy_deadline = self.reactor.seconds() + self._factory.proxy_timeout
        early, self._early = self._early, b""
        self._arm()
        if early:
            self._read_proxy(early)

    def _proxy_unknown(self, failure: Failure) -> None:
        """Nobody can say now whether a header has to come: whatever we took the client for might be wrong."""
        if is_cancellation(failure):
            return
        self._log.failure("a host list could not be asked", failure)
        self._busy = False
        self.abort()

    def _read_proxy(self, data: bytes) -> None:
        reader = self._proxy
        assert reader is not None
        reader.receive(data)
        match reader.result:
            case None:
                return
            case ProxyFault(why):
                self._refuse_proxy(why)
                return
            case Proxied(source, destination):
                proxy, local = self.peer_and_local()
                self._proxy = self._proxy_deadline = None
                self._begin_session(source, local, ProxyFacts(proxy, destination))
            case _:
                self._proxy = self._proxy_deadline = None
                self._begin_session(*self.peer_and_local())
        if reader.rest:
            self.dataReceived(reader.rest)

    def _refuse_proxy(self, why: str) -> None:
        """Nobody knows for whom the proxy speaks: it may say QUIT. Where TLS comes first there is nobody to tell."""
        self._log.info("PROXY header: {why}", why=why)
        self._proxy = self._proxy_deadline = None
        if self._factory.tls_on_connect:
            self.abort()
            return
        self._machine.poison(reply.PROXY_HEADER_MISSING)
        self._begin_session(*self.peer_and_local())

    # The pump

    def pump(self) -> None:
        """Machine first, then stack: what a layer has said is worked off before the layer changes."""
        if self._session is None:
            return
        while not self._busy and not self._closing and not self.is_choked:
            if self._handshake_deadline is None and self._pump_machine():
                continue
            if self._pump_stack():
                continue
            if not self._at_eof or self._machine.at_eof:
                return
            # Only now, behind all that came before the end and had to wait for a decision.
            self._machine.receive_eof()

    def _pump_machine(self) -> bool:
        event = self._machine.next_event()
        if event is None:
            self._send_replies()
            if self._close_deadline is not None:
                self._answer_close()
            return False
        match event:
            case CommandRead():
                self.session.heard(event)
            case BodyPiece(data):
                self._decide(self.session.body(data), self._go_on)
            case TransactionReset() | MessageSpoiled():
                self._decide(self.session.abandon(), self._go_on)
            case Violation(what, text, is_syntax):
                self.session.violated(what, text, is_syntax=is_syntax)
            case HangUp(how):
                self._how = how
                self._send_replies()
                self.close()
            case Connected() if not self._is_admitted:
                self._decide(self.session.decide(event), self._admitted, self._not_admitted)
            case _:
                self._open_commit = isinstance(event, MessageEnded)
                self._decide(self.session.decide(event), self._answered)
        return True

    def _pump_stack(self) -> bool:
        event = self.stack.next_event()
        if event is None:
            return False
        match event:
            case PlainReceived(data):
                self._machine.receive(data, self.reactor.seconds())
            case ContextNeeded(hello):
                self._decide(self.session.tls_context(hello), self._context_chosen, self._context_refused)
            case LayerUp(handshake, hello):
                self._layer_up(handshake, hello)
            case PeerClosed():
                self._peer_closed()
            case LayerFailed():
                self._layer_failed(event)
        return True

    def _send_replies(self) -> None:
        data = self._machine.data_to_send()
        if data:
            self.stack.send(data)

    def _decide(
        self, decision: Any, then: Callable[[Any], None], otherwise: Callable[[Failure], None] | None = None
    ) -> None:
        """Runs a decision; most are done at once, then nothing is deferred.

        An answer that comes when the layer that asked is gone finds another turn, and is dropped.
        """
        self._busy = True
        turn = self._turn

        def in_turn(use: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda result: use(result) if turn == self._turn else None

        self.spawn(decision).addCallbacks(in_turn(then), in_turn(otherwise or self._failed))

    def _done(self) -> None:
        self._busy = self._is_ahead = False
        self._open_commit = False
        self.run()

    def _go_on(self, _: None) -> None:
        self._done()

    def _answered(self, answer: Answer) -> None:
        if self.is_lost:
            return
        if self._machine.open_question is not None:
            if answer.poison is not None:
                self._machine.poison(answer.poison)
            if answer.hang_up:
                self._machine.close_after_reply()
            if answer.settings is not None:
                self._machine.use(answer.settings)
            if self._is_ahead and self._has_unread:
                self._machine.more_waits(self.stack.waiting)
            self._machine.answer(answer.reply, answer.offers, self.reactor.seconds(), answer.before)
            if answer.aside:
                self._send_replies()
                self.stack.send(answer.aside)
            if self._machine.state is SMTPState.SWITCHING:
                self._switch_layer()
        self._done()

    def _failed(self, failure: Failure) -> None:
        """A decision raised what it must not: the fault is ours, the client gets 451 and no detail."""
        if is_cancellation(failure):
            self._busy = False
            return
        self._log.failure("a decision failed", failure)
        if not self.is_lost and self._machine.open_question is not None:
            self._machine.answer(reply.LOCAL_PROBLEM, None, self.reactor.seconds())
        self._done()

    # Layers

    def _switch_layer(self) -> None:
        self._send_replies()
        self.flush()
        self._expect_handshake()
        self.stack.accept(self._machine.switch_layer())

    def _expect_handshake(self) -> None:
        self._handshake_deadline = self.reactor.seconds() + self._factory.handshake_timeout

    def _context_chosen(self, context: TLSContext) -> None:
        if not self.is_lost and self.stack.state is State.AWAITING_CONTEXT:
            self.stack.use_context(context.ssl)
        self._done()

    def _context_refused(self, failure: Failure) -> None:
        if is_cancellation(failure):
            return
        if self.stack.state is State.AWAITING_CONTEXT:
            refused = failure.value
            if isinstance(refused, HandshakeRefused) and refused.alert != INTERNAL_ERROR:
                self._is_unwanted = refused.alert == ACCESS_DENIED
                self.stack.refuse(str(refused), refused.alert)
            else:
                self.stack.refuse(f"no TLS context for this client: {failure.getErrorMessage()}")
        self._done()

    def _layer_up(self, handshake: Handshake, hello: ClientHello) -> None:
        self._handshake_deadline = None
        self.session.layer_up(handshake, hello)
        if self.session.must_end:
            self.session.handshake_failed(self.session.must_end, False)
            self._how = "TLS failed"
            self.close()
            return
        self._machine.layer_changed(self.reactor.seconds(), tls=True)
        welcome, self._welcome = self._welcome, None
        if welcome is not None:
            self._answered(welcome)

    def _layer_failed(self, event: LayerFailed) -> None:
        """As Exim does: after a handshake that failed the client may say QUIT, in clear; all else is refused."""
        self._how = "by EOF" if self._at_eof else "TLS failed"
        if event.during_handshake:
            self.session.handshake_failed(event.reason, event.by_peer, event.verify_fault)
        self.flush()
        ends = self._factory.tls_on_connect or self._is_unwanted or self._at_eof
        if ends or not event.during_handshake:
            self.close()
            return
        self._handshake_deadline = None
        self.stack.go_on_in_clear()
        self._fall_back_to_clear()
        self._machine.poison(reply.SECURITY_FAILURE)

    def _peer_closed(self) -> None:
        """The client's close_notify. Replies to what it had sent before still go out inside its layer."""
        if self._factory.tls_on_connect:
            self._how = "by close_notify"
            self.close()
            return
        self._close_deadline = self.reactor.seconds() + CLOSE_ANSWER_LIMIT
        if not self._busy:
            self._answer_close()

    def _answer_close(self) -> None:
        self._close_deadline = None
        self._send_replies()
        self.stack.close()
        self.flush()
        self._fall_back_to_clear()

    def _fall_back_to_clear(self) -> None:
        self.session.layer_down()
        self._machine.layer_changed(self.reactor.seconds(), tls=False)

    # Time and end

    def deadline(self) -> float | None:
        times = [self._handshake_deadline, self._close_deadline, self._proxy_deadline]
        if self._handshake_deadline is None and not self._busy and self._session is not None:
            times.append(self._machine.deadline())
        due = [time for time in times if time is not None]
        return min(due) if due else None

    def expired(self) -> None:
        now = self.reactor.seconds()
        if self._proxy_deadline is not None:
            self._refuse_proxy("it did not come in time")
        elif self._handshake_deadline is not None and self._handshake_deadline <= now:
            self._handshake_timed_out()
        elif self._close_deadline is not None and self._close_deadline <= now:
            self._close_deadline = None
            if not self._at_eof:
                self._leave_decision_behind()
        else:
            self._machine.expire(now)

    def _handshake_timed_out(self) -> None:
        """There is no layer, so what is still to be said goes out in clear, as the answer to STARTTLS did (Exim)."""
        self.session.handshake_failed("timed out", True)
        self._how = "timed out"
        if self._factory.tls_on_connect or self.is_choked:
            self.abort()
            return
        self._machine.time_out()
        self.transport.write(self._machine.data_to_send())
        self.close()

    def dataReceived(self, data: bytes) -> None:
        if self._proxy is not None:
            self._read_proxy(data)
            return
        if self._session is None or not (self._is_admitted or self._closing):
            # Whether this is the beginning of a PROXY header is being asked, or whether there is to be a handshake.
            self._early += data
            self.read_or_not()
            return
        self._is_ahead = self._busy
        super().dataReceived(data)

    def _leave_decision_behind(self) -> None:
        """Too late for an answer in TLS: the open decision is void, the client goes on in clear."""
        if not self._open_commit:
            self.cancel_tasks()
        self._turn += 1
        self._busy = self._open_commit = False
        self.stack.abandon()
        self._fall_back_to_clear()

    @property
    def wants_input(self) -> bool:
        # Most clients wait for our reply, so reading is paused only for one that does not.
        if self._session is None or not self._is_admitted:
            return len(self._early) < _EARLY_LIMIT
        return not (self._busy and self._is_ahead and self._has_unread) and not self._machine.is_full

    @property
    def _has_unread(self) -> bool:
        """The client has sent commands that were not obeyed yet; what ends its layer is none."""
        return self._machine.has_input or bool(self.stack.waiting)

    def input_ended(self) -> None:
        """What was sent before is still obeyed and answered, then the connection ends."""
        self._at_eof = True
        if self._session is None:
            self.abort()
            return
        self._tell_if_gone(self._session)

    def ended(self, how: str) -> None:
        self._factory.connections.discard(self)
        self._leave_crowd()
        if self._session is None:
            self.cancel_tasks()
            return
        self._tell_if_gone(self._session)
        # A message that is being committed stays one: its decision goes on without us, nothing can be lost by it.
        if not self._open_commit:
            self.cancel_tasks()
        Deferred.fromCoroutine(self._session.left(self._how or how)).addErrback(self._swallow)
        if not self._open_commit:
            Deferred.fromCoroutine(self._session.abandon()).addErrback(self._swallow)
        self._session.closed(self._how or how)

    def _leave_crowd(self) -> None:
        if self._counted:
            self._factory.crowd.leave(self._counted)
            self._counted = ""

    def _tell_if_gone(self, session: ServerSession) -> None:
        """Who has said QUIT behind its message may go at once; who has said nothing waits for the reply, or is gone."""
        if self._open_commit and not self._has_unread:
            session.gone()

    def _swallow(self, failure: Failure) -> None:
        if not is_cancellation(failure):
            self._log.failure("the end of a connection went wrong", failure)

    def shut_down(self) -> None:
        """421 as soon as no decision is open, then the end; for the daemon that stops."""
        if self._session is None:
            self.abort()
            return
        if self._busy or self._handshake_deadline is not None:
            self._machine.close_after_reply("shutting down")
            return
        self.stack.send(reply.SHUTTING_DOWN.encode())
        self._how = "shutting down"
        self.close()


async def _asked(is_proxy: IsProxy, peer: Endpoint) -> bool:
    return await is_proxy(peer)


class ESMTPServerFactory(Factory):
    """Listens with any Twisted endpoint.

    `make_session(peer, local, tls_on_connect)` gives the `ServerSession` of a connection; `settings` are the limits of
    the dialog; `tls_on_connect` starts with TLS instead of a greeting (RFC 8314 3.3), for clients that the answer to
    `Connected` lets in; `accept_max` is the number of connections served at once, further ones get 421 (0: no limit);
    with a `crowd` that several factories share, its limit holds for all of them. Hosts for which `is_proxy` says so
    must send a PROXY header within `proxy_timeout` seconds, before everything else.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        make_session: MakeSession,
        settings: ServerSettings | None = None,
        *,
        tls_on_connect: bool = False,
        accept_max: int = 0,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        crowd: Crowd | None = None,
        is_proxy: IsProxy | None = None,
        proxy_timeout: float = PROXY_TIMEOUT,
    ) -> None:
        self.reactor = reactor
        self.make_session = make_session
        self.settings = settings or ServerSettings()
        self.tls_on_connect = tls_on_connect
        self.crowd = crowd if crowd is not None else Crowd(accept_max)
        self.is_proxy = is_proxy
        self.proxy_timeout = proxy_timeout
        self.handshake_timeout = handshake_timeout
        self.connections: set[ESMTPServer] = set()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.crowd.is_full:
            return _Refusal()
        return ESMTPServer(self)


class _Refusal(TCPProtocol):
    """One connection too many: 421 and away."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        self.transport.write(reply.TOO_MANY_CONNECTIONS.encode())
        self.transport.loseConnection()
