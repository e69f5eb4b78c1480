"""The PROXY header in front of a connection, and connections counted over several factories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.esmtp.answers import Answer
from relay.esmtp.questions import Question
from relay.mail import reply
from relay.mail.facts import Endpoint, ProxyFacts, SessionFacts
from relay.net.crowd import Crowd
from relay.net.server import ESMTPServer, ESMTPServerFactory

HEADER = b"PROXY TCP4 203.0.113.5 203.0.113.6 4000 25\r\n"
PROXY = "192.0.2.7"


class Wire(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to delay."""


@dataclass
class Session:
    """One that says yes to everything."""

    facts: SessionFacts
    asked: list[Question] = field(default_factory=list)

    async def decide(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(reply.SERVICE_READY if len(self.asked) == 1 else reply.OK)

    async def left(self, how: str) -> None: ...
    async def abandon(self) -> None: ...
    def closed(self, how: str) -> None: ...
    def heard(self, command: object) -> None: ...
    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None: ...
    def violated(self, what: str, text: str, *, is_syntax: bool = False) -> None: ...

    must_end = ""


class House:
    """A factory, its clock, and the sessions that it has made."""

    def __init__(self, crowd: Crowd | None = None, proxies: frozenset[str] = frozenset({PROXY}), **more: Any) -> None:
        self.clock = Clock()
        self.sessions: list[Session] = []
        self.factory = ESMTPServerFactory(
            self.clock, self.make, is_proxy=self.is_proxy if proxies else None, crowd=crowd, **more
        )
        self.proxies = proxies
        self.answer: Any = None
        """Decides in place of the sessions."""

    def make(self, peer: Endpoint, local: Endpoint, on_connect: bool) -> Any:
        self.sessions.append(Session(SessionFacts(peer=peer, local=local)))
        if self.answer is not None:
            self.sessions[-1].decide = self.answer  # type: ignore[method-assign]  # of this one session
        return self.sessions[-1]

    async def is_proxy(self, peer: Endpoint) -> bool:
        if peer.address == "192.0.2.99":
            raise LookupError("nobody knows")
        return peer.address in self.proxies

    def connect(self, address: str = PROXY) -> tuple[Any, Wire]:
        protocol = self.factory.buildProtocol(None)
        wire = Wire(IPv4Address("TCP", "192.0.2.1", 25), IPv4Address("TCP", address, 40000))
        protocol.makeConnection(wire)
        return protocol, wire


def lose(protocol: ESMTPServer) -> None:
    protocol.connectionLost()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_header_says_who_the_client_is(step: int) -> None:
    house = House()
    protocol, wire = house.connect()
    assert house.sessions == []
    for start in range(0, len(HEADER), step):
        protocol.dataReceived(HEADER[start : start + step])
    (session,) = house.sessions
    assert session.facts.peer == Endpoint("203.0.113.5", 4000)
    assert session.facts.local == Endpoint("192.0.2.1", 25)
    assert wire.value().startswith(b"220 ")


def test_what_comes_with_the_header_is_the_clients() -> None:
    house = House()
    protocol, wire = house.connect()
    protocol.dataReceived(HEADER + b"NOOP\r\n")
    facts = house.sessions[0].facts
    assert facts.peer == Endpoint("203.0.113.5", 4000)
    assert facts.proxy == ProxyFacts(Endpoint(PROXY, 40000), Endpoint("203.0.113.6", 25))
    assert facts.local is not None
    assert facts.local.address == "192.0.2.1", "where the connection has come in"
    assert wire.value().startswith(b"220 ")
    assert b"\r\n250 OK\r\n" in wire.value()


def test_a_proxy_that_speaks_for_itself_is_the_client() -> None:
    house = House()
    protocol, _ = house.connect()
    protocol.dataReceived(b"PROXY UNKNOWN\r\n")
    assert house.sessions[0].facts.peer == Endpoint(PROXY, 40000)


@pytest.mark.parametrize("on_connect", [False, True])
def test_who_talks_while_it_is_asked_about_is_not_listened_to_for_ever(on_connect: bool) -> None:
    """Whether it is a proxy, or whether it may connect at all to a port where TLS comes first."""
    house = House(proxies=frozenset() if on_connect else frozenset({PROXY}), tls_on_connect=on_connect)
    waits: Deferred[None] = Deferred()

    async def asked(_: object) -> Any:
        await waits
        return Answer(reply.SERVICE_READY) if on_connect else False

    if on_connect:
        house.answer = asked
    else:
        house.factory.is_proxy = asked
    protocol, wire = house.connect()
    for _ in range(70):
        assert wire.producerState == "producing"
        protocol.dataReceived(b"x" * 1000)
        if wire.producerState == "paused":
            break
    assert wire.producerState == "paused"
    waits.callback(None)
    assert wire.producerState != "paused" or wire.disconnecting or wire.aborted


def test_others_need_no_header() -> None:
    house = House()
    _, wire = house.connect("192.0.2.8")
    assert wire.value().startswith(b"220 ")


@pytest.mark.parametrize("data", [b"EHLO x\r\n", b"PROXY TCP4 a b c d\r\n", b"PROXY " + b"x" * 200])
def test_without_a_header_all_is_refused(data: bytes) -> None:
    house = House()
    protocol, wire = house.connect()
    protocol.dataReceived(data)
    assert wire.value().startswith(b"220 ")
    protocol.dataReceived(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\n")
    assert wire.value().count(b"\r\n503 ") == 2
    assert house.sessions[0].facts.proxy is None
    protocol.dataReceived(b"QUIT\r\n")
    assert wire.value().endswith(b"\r\n250 OK\r\n"), "QUIT was asked about"


def test_the_header_has_three_seconds() -> None:
    house = House()
    protocol, wire = house.connect()
    protocol.dataReceived(HEADER[:10])
    house.clock.advance(2.9)
    assert wire.value() == b""
    house.clock.advance(0.2)
    protocol.dataReceived(HEADER + b"EHLO x\r\n")
    assert wire.value().count(b"\r\n503 ") == 2


def test_on_a_port_with_tls_there_is_nobody_to_tell_of_a_missing_header() -> None:
    house = House(tls_on_connect=True)
    protocol, wire = house.connect()
    protocol.dataReceived(b"EHLO x\r\n")
    assert wire.aborted
    assert house.sessions == []


def test_a_list_that_can_not_be_asked_lets_nobody_in() -> None:
    house = House()
    _, wire = house.connect("192.0.2.99")
    assert wire.aborted
    assert house.sessions == []


def test_on_a_port_with_tls_the_header_comes_first() -> None:
    house = House(tls_on_connect=True)
    protocol, wire = house.connect()
    protocol.dataReceived(HEADER)
    assert len(house.sessions) == 1
    assert wire.value() == b"", "no greeting before the handshake"


def test_connections_are_counted_over_all_factories() -> None:
    crowd = Crowd(2)
    one, other = House(crowd, frozenset()), House(crowd, frozenset())
    first, _ = one.connect()
    other.connect("192.0.2.8")
    assert (crowd.count, crowd.of(PROXY), crowd.of("192.0.2.8")) == (2, 1, 1)
    _, wire = one.connect()
    assert wire.value().startswith(b"421 ")
    lose(first)
    assert (crowd.count, crowd.of(PROXY)) == (1, 0)
    _, wire = other.connect()
    assert wire.value().startswith(b"220 ")


def test_one_that_is_lost_before_its_header_is_counted_no_more() -> None:
    crowd = Crowd()
    house = House(crowd)
    protocol, _ = house.connect()
    assert crowd.count == 1
    lose(protocol)
    assert crowd.count == 0
    assert house.sessions == []
