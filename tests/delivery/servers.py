"""Servers that do as they are told, and deliveries to them, for the tests of the smtp transport."""

from __future__ import annotations

import datetime
import random
from collections.abc import Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from delivery.post import Notebook, Pieces, StoppedClock, make_message, run
from relay.delivery.conversation import ConversationPorts
from relay.delivery.host_lines import HostLines, Parked
from relay.delivery.host_memory import HostMemory
from relay.delivery.jobs import Identity
from relay.delivery.link import AuthAnswer, HandshakeFailed, LinkFailed, Manners
from relay.delivery.remote import SMTPTransport
from relay.delivery.remote_ports import RemotePorts
from relay.delivery.schedule import Limits as ScheduleLimits
from relay.delivery.schedule import Schedule
from relay.delivery.smtp_rules import SMTPRules
from relay.esmtp.client_events import AuthAccepted, Stage
from relay.esmtp.parameters import Limits
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import ListKind, MatchList, compile_list
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope, Recipient
from relay.mail.events import HostFailed
from relay.mail.facts import Endpoint, MessageFacts, SessionFacts
from relay.mail.outcome import Delivered, ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.reply import Reply
from relay.mail.source import Location
from relay.policy.authenticate import AuthPorts
from relay.policy.event_action import NO_ACTIONS, EventActions
from relay.policy.retry import RetryRule, parse_rules
from relay.policy.tls import ClientTLSRules
from relay.spool.hints import RetryHint
from relay.tls.anchors import AnchorSet
from relay.tls.engine import Handshake
from relay.tls.names import read_certificate
from relay.tls.policy import ClientTLS

import certs
from certs import CertKey

NOW = datetime.datetime.now(datetime.UTC).timestamp()
ONE, TWO = RemoteHost("one.test", "192.0.2.1", 25), RemoteHost("two.test", "192.0.2.2", 25)
SENT = Delivered("250 OK id=far")
FAILS = compile_expansion("${expand:\\${bad}}")
FORCED = compile_expansion("${if eq{1}{2}{a}fail}")
EVERY = compile_list(ListKind.HOST, "*")
HOURLY = parse_rules([(Location("test", 1), "* * F,4d,1h")])


def hosts(text: str) -> MatchList:
    return compile_list(ListKind.HOST, text)


class Pause:
    """An answer that takes its time."""

    def __await__(self) -> Generator[str, None, None]:
        yield "waiting for the server"


class Promise:
    """Something to wait on, for coroutines that a test drives."""

    def __init__(self) -> None:
        self.is_kept = False
        self.result: Parked | None = None

    def callback(self, result: Parked | None) -> None:
        self.is_kept, self.result = True, result

    def __await__(self) -> Generator[str, None, Parked | None]:
        while not self.is_kept:
            yield "waiting in line"
        return self.result


@dataclass
class Server:
    """What a server does. `story` tells what was done to it, in order."""

    offers_tls: bool = True
    starttls: Exception | None = None
    """What comes of STARTTLS or of the handshake; None: a session."""
    shown: CertKey | None = field(default_factory=certs.relay)
    hello: Exception | None = None
    hello_in_tls: Exception | None = None
    dial: Exception | None = None
    outcomes: Mapping[str, Outcome] | Exception = field(default_factory=dict)
    """By recipient; the others are delivered."""
    later: Server | None = None
    """What it does from the second message of a connection on, where that is something else."""
    slow: bool = False
    slow_send: bool = False
    clear: Exception | None = None
    """What comes of the greeting in clear behind a TLS session; None: it is answered."""
    offers: Mapping[str, str] = field(default_factory=dict)
    """Further words of its greeting."""
    limits: Limits = field(default_factory=Limits)
    auth: list[AuthAnswer] = field(default_factory=list)
    closes_after_message: bool = False
    says: Mapping[str, Reply | Exception] = field(default_factory=dict)
    """To commands that are asked by themselves; the others are accepted."""
    story: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


class Link:
    """One connection to a server; says hello twice, sends before hello, or goes on after the end: not here."""

    def __init__(self, server: Server, host: RemoteHost, manners: Manners, anchors: tuple[CertKey, ...]) -> None:
        self.server = server
        self.host = host
        self.manners = manners
        self.on_connect = manners.tls_on_connect
        self.anchors = anchors
        self.tls = False
        self.had_tls = False
        self.greeted = False
        self.over = False
        self.policy: ClientTLS | None = None
        self.session_keys: list[str] = []
        self.envelopes: list[Envelope] = []
        self.hello_text = "one.test Hello"
        self.is_open = True

    @property
    def limits(self) -> Limits:
        return self.server.limits

    @property
    def recipients(self) -> list[str]:
        return [str(each.address) for each in self.envelopes[-1].recipients]

    @property
    def _does(self) -> Server:
        return self.server.later if self.server.later is not None and self.envelopes else self.server

    def tell(self, what: str) -> None:
        assert not self.over, f"{what} after the end"
        self.server.story.append(what)

    def _end(self) -> None:
        self.is_open = False

    @property
    def our_end(self) -> tuple[str, int]:
        return "192.0.2.77", 40001

    async def greeting(self) -> str:
        return "220 one.test ESMTP"

    async def hello(self) -> Mapping[str, str]:
        assert not self.greeted
        assert self.tls or not self.on_connect, "a greeting is awaited in clear from a server that speaks TLS at once"
        self.tell("hello")
        if self.server.slow:
            await Pause()
        fault = self._does.hello_in_tls if self.tls else self._does.hello
        if fault is not None:
            if not isinstance(fault, LinkFailed) or fault.reply is None or fault.reply.code == 421:
                self._end()
            raise fault
        self.greeted = True
        return self._offers()

    def _offers(self) -> Mapping[str, str]:
        tls = {"STARTTLS": ""} if self._does.offers_tls and not self.tls else {}
        return {**self._does.offers, **tls}

    async def start_tls(
        self, policy: ClientTLS, *, on_connect: bool, session_key: str = ""
    ) -> tuple[Handshake, AnchorSet]:
        assert not self.tls
        assert on_connect is self.on_connect
        assert self.greeted is not on_connect
        self.tell("tls")
        self.policy = policy
        self.session_keys.append(session_key)
        fault = self._does.starttls
        if fault is not None:
            if isinstance(fault, HandshakeFailed):
                self.greeted = False
                self._end()
            raise fault
        self.tls, self.had_tls, self.greeted = True, True, False
        return handshake(self._does.shown), AnchorSet([each.certificate for each in self.anchors], [])

    async def authenticate(self, mechanism: str, initial: str | None) -> AuthAnswer:
        assert self.greeted
        self.tell(f"auth {mechanism} {initial}" + ("" if self.tls else " in clear"))
        return self._auth_answer()

    async def respond(self, text: str) -> AuthAnswer:
        self.tell(f"respond {text}")
        return self._auth_answer()

    def _auth_answer(self) -> AuthAnswer:
        answers = self.server.auth
        return answers.pop(0) if answers else AuthAccepted(Reply(235, "2.7.0", ("welcome",)))

    async def ask(self, command: str, stage: Stage) -> Reply:
        assert self.greeted
        assert command.startswith(stage.value.split()[0])
        self.tell(command if self.tls else f"{command} in clear")
        answer = self.server.says.get(command, Reply(250, "", ("OK",)))
        if isinstance(answer, Exception):
            self._end()
            raise answer
        return answer

    async def send(self, envelope: Envelope, header: bytes, body: Body) -> tuple[Outcome, ...]:
        assert self.greeted
        assert self.tls or not self.had_tls, "a message in clear on a connection that was private"
        does = self._does
        self.tell("send in TLS" if self.tls else "send in clear")
        if self.server.slow_send:
            await Pause()
        if isinstance(does.outcomes, Exception):
            self._end()
            raise does.outcomes
        self.envelopes.append(envelope)
        if does.closes_after_message:
            self._end()
        return tuple(does.outcomes.get(each, SENT) for each in self.recipients)

    async def go_clear(self, limit: float) -> Mapping[str, str]:
        assert self.tls
        self.tell("clear")
        if self.server.clear is not None:
            self._end()
            raise self.server.clear
        self.tls = False
        return self._offers()

    async def quit(self) -> None:
        self.tell("quit")
        self.over = True
        self._end()

    async def drop(self) -> None:
        self.tell("drop")
        self.over = True
        self._end()


@dataclass
class Dialer:
    """Dials the servers it was told of."""

    servers: Mapping[str, Server]
    anchors: tuple[CertKey, ...]
    manners: list[Manners] = field(default_factory=list)
    dialled: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def helo_names(self) -> list[str]:
        return [each.helo_name for each in self.manners]

    async def dial(self, hosts: tuple[RemoteHost, ...], manners: Manners) -> Link:
        host = hosts[0]
        server = self.servers[host.name]
        server.story.append("dial")
        self.manners.append(manners)
        self.dialled.append(tuple(each.address for each in hosts))
        if server.dial is not None:
            raise server.dial
        link = Link(server, host, manners, self.anchors)
        server.links.append(link)
        return link


def handshake(shown: CertKey | None) -> Handshake:
    chain = () if shown is None else (shown.certificate, *shown.issuers)
    peer = read_certificate(chain[0]) if chain else None
    return Handshake("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, "x25519", "", False, None, peer, chain, b"b" * 32)


@dataclass
class Records:
    """Host records in memory."""

    hints: dict[str, RetryHint] = field(default_factory=dict)
    trouble: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def load(self, key: str, now: float) -> RetryHint | None:
        self.asked.append(key)
        if self.trouble is not None:
            raise self.trouble
        return self.hints.get(key)

    async def keep(self, key: str, hint: RetryHint) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.hints[key] = hint

    async def forget(self, key: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.hints.pop(key, None)


class Crowd:
    """Coroutines that wait for one another, driven in turns until nobody can go on."""

    def __init__(self) -> None:
        self.running: list[Coroutine[Any, Any, Any]] = []
        self.results: dict[int, Any] = {}
        self.waits: dict[int, object] = {}

    def add(self, coroutine: Coroutine[Any, Any, Any]) -> int:
        self.running.append(coroutine)
        number = len(self.running) - 1
        self.step(number)
        return number

    def step(self, number: int) -> None:
        """Lets one go on to its next wait."""
        if number in self.results:
            return
        try:
            self.waits[number] = self.running[number].send(None)
        except StopIteration as stop:
            self.results[number] = stop.value

    def settle(self) -> None:
        """Lets everybody go on until all are done."""
        for _ in range(200):
            for number in range(len(self.running)):
                self.step(number)
        left = [self.waits[number] for number in range(len(self.running)) if number not in self.results]
        assert not left, f"somebody waits for ever: {left}"


def make_ports(
    dialer: Dialer,
    journal: Notebook,
    *,
    clock: StoppedClock | None = None,
    schedule: Schedule | None = None,
    records: Records | None = None,
    rules: Sequence[RetryRule] = HOURLY,
    spawn: Any = run,
    auth: AuthPorts | None = None,
    filters: Any = None,
    events: EventActions = NO_ACTIONS,
) -> RemotePorts:
    source = random.Random(1)
    return RemotePorts(
        conversation=ConversationPorts(dialer, clock or StoppedClock(NOW), journal, auth),
        lines=HostLines(schedule or Schedule(ScheduleLimits()), Promise),
        memory=HostMemory(records or Records(), rules, source),
        spawn=spawn,
        source=source,
        filters=filters,
        own=Identity(4242, 4343),
        events=events,
    )


class Sent:
    """One delivery and all that came of it."""

    def __init__(
        self,
        *servers: Server,
        recipients: tuple[str, ...] = ("bert@far.test",),
        anchors: tuple[CertKey, ...] = (),
        helo_data: Expansion | None = None,
        options: Mapping[str, Any] | None = None,
        records: Records | None = None,
        received_at: float = NOW - 60,
        auth: AuthPorts | None = None,
        routed: tuple[RemoteHost, ...] | None = None,
        parameters: Mapping[str, str] | None = None,
        scope: Mapping[str, Any] | None = None,
        session: SessionFacts | None = None,
        is_rehearsal: bool = False,
        filters: Any = None,
        events: EventActions = NO_ACTIONS,
        **tls: Any,
    ) -> None:
        going_to = (ONE, TWO)[: len(servers)] if routed is None else routed
        self.servers = servers
        named = dict(zip((ONE.name, TWO.name), servers, strict=False))
        self.dialer = Dialer(named, anchors or (certs.relay(),))
        self.journal = Notebook()
        self.records = records or Records()
        rules = SMTPRules("smtp", ClientTLSRules(**tls), helo_data, **(options or {}))
        main = {"primary_hostname": "laptop.test", "qualify_domain": "here.test"}
        world = Scope(main=main, **(scope or {}))
        more: dict[str, Any] = {"auth": auth, "filters": filters, "events": events}
        self.ports = make_ports(self.dialer, self.journal, records=self.records, **more)
        transport = SMTPTransport(rules, self.ports, world)
        message = make_message(*recipients, parameters=parameters)
        facts = MessageFacts(session or SessionFacts(peer=Endpoint("192.0.2.1", 4000)), received_at)
        message = replace(message, facts=replace(facts, is_rehearsal=is_rehearsal))
        envelope = Envelope(
            message.sender,
            tuple(Recipient(address_from_text(each)) for each in recipients),
            parameters=message.parameters,
            size=message.size,
        )
        body = Pieces(b"body\r\n")
        self.delivery = transport.deliver(going_to, envelope, message, body)
        self._ask = partial(transport.held_back, going_to, envelope, message, body, world)

    def held_back(self) -> tuple[Outcome | None, ...]:
        """What is said without a delivery."""
        self.delivery.close()
        return run(self._ask())

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return run(self.delivery)

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome

    @property
    def hosts_that_failed(self) -> list[tuple[str, ErrorClass]]:
        return [
            (each.outcome.host.name, each.outcome.error)
            for each in self.journal.of(HostFailed)
            if each.outcome.host is not None
        ]


def lost(text: str = "lost", **more: Any) -> LinkFailed:
    return LinkFailed(ErrorClass.LOST_CONNECTION, text, **more)
