"""One SMTP session on standard input and output, in a process of its own (edge).

`-bs` for a program that speaks SMTP through a pipe; for inetd or a systemd unit with `Accept=yes`, where
standard input is a TCP connection, it is a session of the network like any other. `-bh ADDRESS` plays a session from
that address and keeps nothing. Exim: -bs, -bh.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred

from relay.daemon.alone import run_alone, run_without_queue
from relay.daemon.build import Relay
from relay.daemon.callers import Credentials
from relay.daemon.hints import MemoryHints
from relay.daemon.told_options import ToldOptions
from relay.delivery.callout import HostCallouts
from relay.esmtp.answers import Answer
from relay.esmtp.questions import CommandRead, Connected, HelloGiven, MessageEnded, Question
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail import reply
from relay.mail.events import ConnectionOpened, Event
from relay.mail.facts import Endpoint, SessionFacts, make_connection_id
from relay.mail.ports import Concurrency, Journal
from relay.mail.queue import NewMessage
from relay.net.server import ESMTPServer, ESMTPServerFactory
from relay.net.standard_io import network_socket, start_on_pipes
from relay.observe.lines import EximLines
from relay.observe.selectors import LogSelectors
from relay.policy.acl_program import ConditionPorts
from relay.policy.address_verification import RoutedAddresses
from relay.policy.verification import Callouts, Finding, Verified
from relay.policy.verification import Question as CalloutQuestion
from relay.reception.given import Given, session_of
from relay.reception.request import DeliveryMode
from relay.reception.rules import Ports, Rules
from relay.reception.session import Session, TLSRefused, make_facts
from relay.tls.engine import Handshake
from relay.tls.hello import ClientHello
from relay.tls.names import read_certificate


@dataclass(frozen=True, slots=True)
class SessionWish:
    """How the session is to be held."""

    delivery: DeliveryMode = DeliveryMode.BACKGROUND
    tls_on_connect: bool = False
    given: Given = field(default_factory=Given)
    session: type[Session] | None = None
    """Another session than the usual one."""
    chain: tuple[x509.Certificate, ...] = ()
    """What the client of a played session has shown in its handshake."""
    verbose: bool = False
    """Whoever looks at standard error can watch."""
    routes_only: bool = False
    """-odqs: first attempts leave what goes to other hosts."""
    delivery_asked: bool = False
    """`delivery` was said on the command line (Exim: queue_only_override)."""


_TURNED_AWAY = "turned away"


@dataclass(frozen=True, slots=True)
class _Client:
    """Where the other end is."""

    connection: Any
    """A socket, or None for pipes."""
    facts: SessionFacts
    full_name: str = ""


def serve_standard_input(configuration: str, macros: Mapping[str, str], wish: SessionWish) -> int:
    """Holds the session and waits for the deliveries of what it brought. Raises ConfigurationError."""
    caller = Credentials(os.getuid(), os.getgid())

    async def work(relay: Relay) -> int:
        connection = network_socket(0)
        originator = relay.callers.identify_owner(caller)
        given = replace(session_of(originator.caller, wish.given), in_dialog=True, given_protocol="")
        facts = SessionFacts() if connection else given
        ports = relay.reception.ports
        if wish.delivery is DeliveryMode.INTERACTIVE:
            relay.runner.everything_is_awaited()
        how = await _hold(relay, _Client(connection, facts, originator.full_name), ports, wish)
        await relay.runner.until_idle()
        return 0 if connection is not None or how in ("by QUIT", _TURNED_AWAY) else 1

    return run_alone(configuration, macros, work, verbose=wish.verbose)


def play_session(
    configuration: str,
    macros: Mapping[str, str],
    given: Given,
    tell: Callable[[str], None],
    certificate: bytes = b"",
    *,
    calls_out: bool = False,
) -> int:
    """A session as if from `given.peer`: decided and told, nothing is kept.

    With a `certificate` (PEM, with its issuers behind it) it is as if TLS were up and the client had shown it.
    `calls_out`: hosts are asked about addresses where an ACL wants it (Exim: -bhc). Raises ConfigurationError, and
    ValueError for what is no certificate.
    """
    chain = tuple(x509.load_pem_x509_certificates(certificate)) if certificate else ()

    async def work(relay: Relay) -> int:
        ports = relay.reception.ports
        log = _Told(tell, relay.logs.selectors)
        ports = replace(
            ports,
            intake=_NothingKept(),
            runner=_NothingDelivered(),
            journal=log,
            concurrency=_NoDelays(ports.concurrency),
            conditions=_played(ports.conditions, tell, log, calls_out=calls_out),
            crowd=None,
            turns=None,
            notes=Notes(tell),
        )
        await _hold(relay, _Client(None, given.facts(None)), ports, SessionWish(session=_PlayedSession, chain=chain))
        return 0

    return run_without_queue(configuration, macros, work)


def _played(
    conditions: ConditionPorts, tell: Callable[[str], None], log: Journal, *, calls_out: bool
) -> ConditionPorts:
    hints, addresses = MemoryHints(), conditions.addresses
    if isinstance(addresses, RoutedAddresses):
        callouts: Callouts = _NobodyCalled(tell)
        if calls_out and isinstance(addresses.callouts, HostCallouts):
            callouts = addresses.callouts.with_hints(hints)
        addresses = addresses.with_callouts(callouts).with_journal(log)
    return replace(conditions, hints=hints, addresses=addresses)


class _NobodyCalled:
    """Callouts of a session that is only played."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    async def ask(self, question: CalloutQuestion, scope: Scope) -> Verified:
        """What can be routed is good."""
        if question.routed.hosts:
            self._tell(">>> Attempting full verification using callout")
            self._tell(">>> ... callout omitted by default when host testing")
            self._tell(">>> (Use -bhc if you want the callouts to happen.)")
        return Verified(Finding.GOOD)


class _NothingKept:
    """The queue of a session that is only played."""

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        """Forgets it."""

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        """Forgets it."""

    async def abandon(self, message_id: str) -> None:
        """There is nothing to forget."""


class _NothingDelivered:
    """Deliveries of a session that is only played."""

    def takes_new(self) -> bool:
        return False

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        """There is no such message."""


class _NoDelays:
    """Time limits as usual, but nobody has to sit out an ACL's `delay`."""

    def __init__(self, real: Concurrency) -> None:
        self.timeout = real.timeout
        self.gather = real.gather

    async def sleep(self, seconds: float) -> None:
        """It is over at once."""


class _Told:
    """The log of a session that is only played."""

    def __init__(self, tell: Callable[[str], None], selectors: LogSelectors) -> None:
        self._tell = tell
        self._lines = EximLines(selectors)

    def record(self, event: Event) -> None:
        line = self._lines.line(event)
        if line is not None:
            self._tell(f"LOG: {line.message_id} {line.text}" if line.message_id else f"LOG: {line.text}")


async def _hold(relay: Relay, client: _Client, ports: Ports, wish: SessionWish) -> str:
    """Serves the client until its connection ends; how it did."""
    rules = relay.reception.rules
    settings = relay.reception.settings
    if client.connection is None:
        settings = replace(settings, local=True)
        rules = replace(rules, server_settings=settings)
    queueing = replace(rules.queueing, routes_only=wish.routes_only)
    asked = wish.delivery_asked and rules.queue_only_override
    queue_only = wish.delivery is DeliveryMode.QUEUE or (rules.queue_only and not asked)
    rules = replace(rules, queue_only=queue_only, delivery_asked=asked, queueing=queueing)
    session_class = wish.session or (_PatientSession if wish.delivery is DeliveryMode.INTERACTIVE else _OneSession)
    sessions: list[Session] = []

    def make_session(peer: Endpoint, local: Endpoint, on_connect: bool) -> Session:
        number = make_connection_id(ports.clock.now(), ports.random)
        facts = replace(client.facts, connection_id=number)
        if client.connection is not None:
            facts = make_facts(peer, local, tls_on_connect=on_connect, connection_id=number)
        ports.journal.record(ConnectionOpened(facts, 0))
        session = session_class(rules, ports, facts, client.full_name)
        if isinstance(session, _PatientSession):
            session.settled = relay.runner.until_idle
        elif isinstance(session, _PlayedSession):
            session.chain = wish.chain
        sessions.append(session)
        return session

    factory = ESMTPServerFactory(relay.reactor, make_session, settings, tls_on_connect=wish.tls_on_connect)
    ended: Deferred[str] = Deferred()
    protocol = _Once(factory, ended)
    if client.connection is None:
        start_on_pipes(protocol, relay.reactor)
    else:
        factory.buildProtocol = lambda addr: protocol  # type: ignore[method-assign]  # one connection, this one
        relay.reactor.adoptStreamConnection(client.connection.fileno(), client.connection.family, factory)
        client.connection.close()
    how = await ended
    return _TURNED_AWAY if any(isinstance(each, _OneSession) and each.is_turned_away for each in sessions) else how


class _Once(ESMTPServer):
    """The one connection of this process; tells when it has ended."""

    def __init__(self, factory: ESMTPServerFactory, over: Deferred[str]) -> None:
        super().__init__(factory)
        self._over = over

    def ended(self, how: str) -> None:
        super().ended(how)
        self._over.callback(self._how or how)


# What two of the libraries of today would agree on.
_PLAYED_LAYER = ("TLS1.3", "TLS_AES_256_GCM_SHA384", 256)


_NOT_REAL = b"\n**** SMTP testing: that is not a real message id!\n\n"


class _PlayedSession(Session):
    """Says behind each message that it was none."""

    chain: tuple[x509.Certificate, ...] = ()

    def __init__(self, rules: Rules, ports: Ports, facts: SessionFacts, full_name: str = "") -> None:
        super().__init__(rules, ports, facts, full_name)
        assert ports.notes is not None
        self._options = ToldOptions(rules, ports.notes)

    async def decide(self, question: Question) -> Answer:
        match question:
            case Connected():
                await self._options.connected(self.scope())
            case HelloGiven(name):
                await self._options.greeted(name, self.scope())
            case MessageEnded():
                transaction = self._client.transaction
                incoming = transaction.incoming if transaction is not None else None
                if incoming is not None and incoming.begins_with_text:
                    await self._options.received(self.scope())
        if self.chain and isinstance(question, Connected):
            try:
                await self._shake_hands()
            except TLSRefused as error:
                return Answer(reply.TLS_NOT_AVAILABLE.with_text(str(error)), hang_up=True)
        answer = await super().decide(question)
        if isinstance(question, HelloGiven) and question.extended and answer.reply.is_positive:
            await self._options.offered(self.scope())
        elif isinstance(question, MessageEnded):
            self._options.next_message()
            if answer.reply.is_positive:
                return replace(answer, aside=_NOT_REAL)
        return answer

    def heard(self, command: CommandRead) -> None:
        super().heard(command)
        # A list of addresses is asked at once; what takes longer is told when it is known.
        Deferred.fromCoroutine(self._options.commanded(command.verb, self.scope()))

    async def _shake_hands(self) -> None:
        """As if a TLS layer had come up in which the client has shown its certificate. Raises TLSRefused."""
        hello = ClientHello()
        await self.tls_context(hello)
        leaf = read_certificate(self.chain[0])
        version, suite, bits = _PLAYED_LAYER
        self.layer_up(Handshake(version, suite, bits, "", "", False, None, leaf, self.chain, b""), hello)


class _OneSession(Session):
    """Knows whether the client was let in at all: one that was not has nothing to say QUIT to."""

    is_turned_away = False

    async def decide(self, question: Question) -> Answer:
        answer = await super().decide(question)
        if isinstance(question, Connected):
            self.is_turned_away = not answer.reply.is_positive
        return answer


class _PatientSession(_OneSession):
    """With -odi the reply to a message comes when its delivery has been tried."""

    settled: Callable[[], Any]

    async def decide(self, question: Question) -> Answer:
        answer = await super().decide(question)
        if isinstance(question, MessageEnded):
            await self.settled()
        return answer
