"""SMTP clients on Twisted: a connection as coroutines, one ordinary factory (edge).

`ESMTPClient` drives the client machine (`esmtp.client`) and the stack for whoever awaits its methods: `delivery.remote`
as its `Link`, or a small program through `ESMTPClientFactory`. Each method gives one order to the machine and waits for
the event that ends it; a timeout, a lost connection or a 421 in between raises `LinkFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory

from relay.delivery.link import AuthAnswer, HandshakeFailed, LinkFailed, StartTLSRefused
from relay.esmtp.client import Client, ClientSettings
from relay.esmtp.client_events import (
    Answered,
    AuthAccepted,
    AuthChallenge,
    AuthRefused,
    BodyWanted,
    ClientEvent,
    Closed,
    Garbled,
    Greeted,
    HelloAccepted,
    LinkLost,
    Refused,
    Settled,
    Stage,
    TimedOut,
    TLSGoAhead,
    TLSRefused,
)
from relay.esmtp.parameters import Limits
from relay.esmtp.transcript import Transcript
from relay.mail.envelope import Envelope
from relay.mail.facts import TLSFacts
from relay.mail.outcome import ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.reply import Reply
from relay.mail.text import printable
from relay.net.connection import LayeredConnection
from relay.tls.anchors import AnchorSet
from relay.tls.contexts import ContextCache, TLSContext, make_client_context
from relay.tls.engine import Handshake
from relay.tls.policy import ClientTLS, VerifyServer
from relay.tls.sessions import TLSSessions
from relay.tls.stack import ContextNeeded, LayerFailed, LayerUp, PeerClosed, PlainReceived, State
from relay.trust.requirement import does_not_verify

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
        keepalive: bool = False,
        sessions: TLSSessions | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        """`transcript`: somebody watches."""
        super().__init__(reactor)
        self._transcript = transcript
        self._keepalive = keepalive
        self._sessions = sessions
        self._hello_text = ""
        self._clear_deadline: float | None = None
        self._session_place: tuple[TLSContext, str] | None = None
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
        self._our_end = ("", 0)
        self.made: Deferred[ESMTPClient] = Deferred()

    def connectionMade(self) -> None:
        ours = self.transport.getHost()  # Asked now: a server may be gone when the log wants to know.
        self._our_end = ours.host, ours.port
        self.begin()
        if self._keepalive:
            self.transport.setTcpKeepAlive(True)
        if self._transcript is not None:
            self._transcript.connected()
        self.run()
        self.made.callback(self)

    # The Link port

    @property
    def host(self) -> RemoteHost:
        """The one that was dialled."""
        assert self._settings.host is not None, "only a connection of a dialer knows its host"
        return self._settings.host

    @property
    def our_end(self) -> tuple[str, int]:
        """Our own address and port on it."""
        return self._our_end

    @property
    def limits(self) -> Limits:
        """What the greeting in force says that the server takes."""
        return self._machine.limits

    @property
    def hello_text(self) -> str:
        """The lines of the answer to the last greeting."""
        return self._hello_text

    @property
    def is_open(self) -> bool:
        """False as soon as it is known that nothing more can be said."""
        return not self.is_lost and self._failure is None and self._machine.stage is Stage.IDLE

    async def greeting(self) -> str:
        """Waits for the server's first lines. Raises LinkFailed."""
        greeted = await self._event(Greeted)
        self._is_greeted = True
        return _lines_of(greeted.reply)

    async def hello(self) -> Mapping[str, str]:
        """Waits for the greeting where it has not come yet, then EHLO or HELO. Raises LinkFailed."""
        if not self._is_greeted:
            await self.greeting()
        self._order(self._machine.hello)
        accepted = await self._event(HelloAccepted)
        self._hello_text = _lines_of(accepted.reply)
        extensions: Mapping[str, str] = accepted.extensions
        return extensions

    async def authenticate(self, mechanism: str, initial: str | None) -> AuthAnswer:
        """AUTH; `initial` in base64. Raises LinkFailed."""
        self._order(lambda now: self._machine.authenticate(mechanism, initial, now))
        return await self._auth_answer()

    async def respond(self, text: str) -> AuthAnswer:
        """The answer to a challenge, in base64; "*" breaks the exchange off. Raises LinkFailed."""
        self._order(lambda now: self._machine.respond(text, now))
        return await self._auth_answer()

    async def _auth_answer(self) -> AuthAnswer:
        answer: AuthAnswer = await self._event(AuthChallenge, AuthAccepted, AuthRefused)
        return answer

    async def go_clear(self, limit: float) -> Mapping[str, str]:
        """Sends close_notify and, without waiting for the server's, EHLO in clear; what the server offers then.

        What comes next is told by its first octet: a record belongs to the old session, anything else is the reply, and
        the end of the connection means that this server does not go on. Raises LinkFailed.
        """
        self._raise_failure()
        if not self.stack.is_protected:
            raise LinkFailed(ErrorClass.LOST_CONNECTION, "the server has ended the TLS session")
        self._clear_deadline = self.reactor.seconds() + limit
        try:
            self._keep_session()
            self.stack.close()
            self._machine.layer_changed(self.reactor.seconds(), None)
            return await self.hello()
        finally:
            self._clear_deadline = None

    async def start_tls(
        self, policy: ClientTLS, *, on_connect: bool, session_key: str = ""
    ) -> tuple[Handshake, AnchorSet]:
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
        handshake = await self._shake(context, policy, leftover, session_key)
        return handshake, context.anchors

    async def _shake(self, context: TLSContext, policy: ClientTLS, leftover: bytes, session_key: str) -> Handshake:
        self._raise_failure()
        session = None
        self._session_place = None
        if session_key and self._sessions is not None:
            self._session_place = (context, session_key)
            session = self._sessions.take(context, session_key)
        self._handshake = Deferred()
        limit = min(HANDSHAKE_TIMEOUT, self._settings.command_timeout)
        self._handshake_deadline = self.reactor.seconds() + limit
        waiting = self._handshake
        self.stack.connect(
            context.ssl,
            server_name=policy.sni,
            already_received=leftover,
            session=session,
            wants_staple=policy.request_ocsp or policy.require_ocsp,
        )
        self.run()
        handshake = await waiting
        if self._tls_on_connect and not self._is_greeted:
            # The greeting is still to come, inside the layer: the machine begins with it.
            self._machine = Client(self._settings, self.reactor.seconds(), _unjudged(handshake))
        else:
            self._machine.layer_changed(self.reactor.seconds(), _unjudged(handshake))
        self.run()
        return handshake

    async def ask(self, command: str, stage: Stage) -> Reply:
        """MAIL, RCPT or RSET by itself. Raises LinkFailed."""
        self._order(lambda now: self._machine.ask(command, stage, now))
        answered = await self._event(Answered)
        assert isinstance(answered, Answered)
        return answered.reply

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
        start = header + b"\r\n" if header else b""
        self._order(lambda now: self._machine.body(start + first, now))
        while first:
            number += 1
            first = await body.piece(number)
            if not first or self._machine.is_body_refused:
                break
            await self._room()
            self._order(lambda now, piece=first: self._machine.body(piece, now))  # type: ignore[misc]  # the default binds the loop's value
        self._order(self._machine.end_body)

    async def _room(self) -> None:
        """Waits until the server reads on. Raises LinkFailed where nobody will read any more."""
        self._raise_failure()
        if self.is_choked and not self._results:
            self._drained = Deferred()
            await self._drained
        if self._results:
            raise LinkFailed(ErrorClass.LOST_CONNECTION, "the transaction is over")

    def _keep_session(self) -> None:
        """What a later handshake with this server may begin from."""
        place, engine = self._session_place, self.stack.engine
        session = engine.session() if place is not None and engine is not None and self.stack.is_protected else None
        if place is not None and session is not None and self._sessions is not None:
            self._sessions.keep(*place, session)

    async def quit(self) -> None:
        """QUIT, its reply (not for long), close_notify, the end."""
        await self._say_goodbye()
        self._tell_closed()

    async def _say_goodbye(self) -> None:
        has_no_layer = self._tls_on_connect and not self.stack.is_protected
        is_over = self.is_lost or self._failure is not None or self._machine.stage is Stage.CLOSED
        if is_over or has_no_layer:
            self.abort()
            return
        try:
            self._order(self._machine.quit)
        except LinkFailed:
            self.abort()
            return
        self._keep_session()
        self._end_direction()
        limit = self.reactor.callLater(QUIT_TIMEOUT, self.abort)
        try:
            await self._event(Closed)
        except LinkFailed:
            pass
        finally:
            if limit.active():
                limit.cancel()
        self.close()

    def _end_direction(self) -> None:
        """Behind QUIT we have no more to say, but for the close_notify of a layer (Exim: SMTP(shutdown))."""
        if not (self.stack.is_protected or self.is_lost or self.is_choked):
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()
            if self._transcript is not None:
                self._transcript.shut_down()

    async def drop(self) -> None:
        """The end, at once, but for the alert that tells why there is no layer."""
        if self.stack.state is State.FAILED:
            self.close()
        else:
            self.abort()
        self._tell_closed()

    def _tell_closed(self) -> None:
        if self._transcript is not None:
            self._transcript.closed()

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
        if isinstance(event, LinkLost) and self._failure is not None and self._failure.error is ErrorClass.TLS_FAILED:
            raise self._failure  # the line was not lost, it was ended, and here is why
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
            if self._transcript is not None:
                self._transcript.sent(data)
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
                if self._transcript is not None:
                    self._transcript.received(data)
                self._machine.receive(data, self.reactor.seconds())
            case LayerUp(handshake, _):
                self._handshake_deadline = None
                self._end_handshake(handshake)
            case LayerFailed():
                self._layer_failed(event)
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

    def _layer_failed(self, failed: LayerFailed) -> None:
        text = _layer_fault(failed.reason, failed.by_peer)
        if failed.during_handshake:
            what = f"TLS session: (SSL_connect): error:{text}"
            if failed.verify_fault:
                what = does_not_verify(failed.reason)
            self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, what, verify_fault=failed.verify_fault))
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
        deadline = self._machine.deadline()
        if self._clear_deadline is not None:
            return self._clear_deadline if deadline is None else min(deadline, self._clear_deadline)
        return deadline

    def expired(self) -> None:
        if self._handshake_deadline is not None:
            self._handshake_deadline = None
            self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, "TLS session: (tls lib connect fn): timed out"))
            return
        if self._clear_deadline is not None and self.reactor.seconds() >= self._clear_deadline:
            self._clear_deadline = None
            self._fail(LinkFailed(ErrorClass.TIMEOUT, "the server does not answer in clear"))
            self.abort()
            return
        if self._transcript is not None:
            self._transcript.hung_up("Connection timed out")
        self._machine.expire(self.reactor.seconds())
        while self._pump_machine():
            pass  # also where the server reads nothing, and so nobody pumps

    def input_ended(self) -> None:
        """A server that says no more is of no more use."""
        if self._transcript is not None:
            self._transcript.hung_up()
        self.hang_up()

    def ended(self, how: str) -> None:
        while self._pump_stack():
            pass
        self._end_handshake(HandshakeFailed(ErrorClass.TLS_FAILED, _LOST_IN_HANDSHAKE))
        self._machine.receive_eof()
        while self._pump_machine():
            pass
        self._fail(LinkFailed(ErrorClass.LOST_CONNECTION, "connection lost"))


_LOST_IN_HANDSHAKE = "TLS session: (SSL_connect): error:the server hung up in the handshake"


def _lines_of(reply: Reply) -> str:
    """A reply as it came."""
    *more, last = reply.lines
    return "\n".join([*(f"{reply.code}-{line}" for line in more), f"{reply.code} {last}"])


def _unjudged(handshake: Handshake) -> TLSFacts:
    """What the machine has to know of a layer: that there is one."""
    return TLSFacts(handshake.version, handshake.suite, handshake.bits)


def _failure_of(event: ClientEvent) -> LinkFailed:
    """The exception for an event that ends a session."""
    match event:
        case Refused(stage, reply, after):
            what = f"SMTP error from remote mail server after {after or stage.value}"
            return LinkFailed(ErrorClass.OTHER, f"{what}: {printable(reply.as_sent)}", reply)
        case LinkLost(_, possible_duplicate, reason):
            return LinkFailed(ErrorClass.LOST_CONNECTION, reason, possible_duplicate=possible_duplicate)
        case TimedOut(_, reason):
            return LinkFailed(ErrorClass.TIMEOUT, reason)
        case Garbled(text, error):
            return LinkFailed(error, printable(text))
        case Closed():
            return LinkFailed(ErrorClass.LOST_CONNECTION, "connection closed")
        case _:
            return LinkFailed(ErrorClass.OTHER, f"unexpected {type(event).__name__}")


# What servers say of a certificate that they do not take (RFC 8446 6.2), in OpenSSL's words.
_ABOUT_OUR_CERTIFICATE = (
    "unknown ca",
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "certificate required",
    "access denied",
)


def _layer_fault(reason: str, by_peer: bool) -> str:
    """What ended a layer, in words that say whose fault it is."""
    if not by_peer:
        return f"TLS failed: {reason}"
    for each in _ABOUT_OUR_CERTIFICATE:
        if each in reason:
            return f"the server refused our certificate: {each}"
    return f"the server ended TLS: {reason}"


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
