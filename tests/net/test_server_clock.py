"""A server's patience with handshakes, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from net.test_proxy_header import House, Session, Wire
from relay.esmtp import questions
from relay.esmtp.answers import Answer
from relay.esmtp.extensions import Offers
from relay.mail import reply
from relay.mail.facts import Endpoint, SessionFacts
from relay.net.connection import HEARING
from relay.net.crowd import Crowd

PATIENCE = 7.0


@dataclass
class Upward(Session):
    """One that offers STARTTLS, and notes what comes of it."""

    told: list[str] = field(default_factory=list)

    async def decide(self, question: questions.Question) -> Answer:
        match question:
            case questions.Connected():
                return Answer(reply.SERVICE_READY)
            case questions.HelloGiven():
                return Answer(reply.OK, Offers((("STARTTLS", ""),)))
            case questions.TLSAsked():
                return Answer(reply.TLS_GO_AHEAD)
            case _:
                return Answer(reply.OK)

    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None:
        self.told.append(reason)

    def closed(self, how: str) -> None:
        self.told.append(how)


class Tower(House):
    def make(self, peer: Endpoint, local: Endpoint, on_connect: bool) -> Any:
        self.sessions.append(Upward(SessionFacts(peer=peer, local=local)))
        return self.sessions[-1]

    @property
    def told(self) -> list[str]:
        (session,) = self.sessions
        assert isinstance(session, Upward)
        return session.told


def in_handshake(tower: Tower) -> tuple[Any, Wire]:
    """A client whose STARTTLS was taken."""
    protocol, wire = tower.connect()
    protocol.dataReceived(b"EHLO us.test\r\n")
    protocol.dataReceived(b"STARTTLS\r\n")
    assert wire.value().splitlines()[-1].startswith(b"220 ")
    wire.clear()
    return protocol, wire


def test_a_client_that_never_begins_is_told_in_clear() -> None:
    tower = Tower(proxies=frozenset(), handshake_timeout=PATIENCE)
    protocol, wire = in_handshake(tower)
    tower.clock.advance(PATIENCE - 0.1)
    assert wire.value() == b""
    tower.clock.advance(0.2)
    assert wire.value() == b"421 SMTP command timeout - closing connection\r\n"
    protocol.connectionLost()
    assert tower.told == ["timed out", "timed out"]


def test_where_tls_comes_first_nothing_is_said_in_clear() -> None:
    tower = Tower(proxies=frozenset(), handshake_timeout=PATIENCE, tls_on_connect=True)
    _, wire = tower.connect()
    tower.clock.advance(PATIENCE + 0.1)
    assert wire.value() == b""
    assert wire.aborted


class Gate(Upward):
    """One that asks somebody else who may connect."""

    def __init__(self, facts: SessionFacts) -> None:
        super().__init__(facts)
        self.verdict: Deferred[Answer] = Deferred()

    async def decide(self, question: questions.Question) -> Answer:
        assert isinstance(question, questions.Connected)
        return await self.verdict


class Gatehouse(House):
    def make(self, peer: Endpoint, local: Endpoint, on_connect: bool) -> Any:
        self.sessions.append(Gate(SessionFacts(peer=peer, local=local, tls_on_connect=on_connect)))
        return self.sessions[-1]

    def gate(self) -> Gate:
        """The session of the connection that came last."""
        session = self.sessions[-1]
        assert isinstance(session, Gate)
        return session


NOT_TLS = b"EHLO us.test\r\n"
FAILURES = [Answer(reply.RELAY_NOT_PERMITTED), Answer(reply.SERVICE_READY, hang_up=True), LookupError("nobody knows")]


def answer(house: Gatehouse, verdict: Answer | Exception) -> None:
    if isinstance(verdict, Answer):
        house.gate().verdict.callback(verdict)
    else:
        house.gate().verdict.errback(verdict)


@pytest.mark.parametrize("verdict", FAILURES, ids=["no", "hang up", "trouble"])
@pytest.mark.parametrize("is_early", [True, False])
def test_who_may_not_connect_gets_neither_a_handshake_nor_a_word(verdict: Answer | Exception, is_early: bool) -> None:
    house = Gatehouse(proxies=frozenset(), tls_on_connect=True)
    protocol, wire = house.connect()
    if is_early:
        protocol.dataReceived(NOT_TLS)
    answer(house, verdict)
    assert wire.aborted is is_early
    protocol.dataReceived(NOT_TLS)
    assert wire.aborted
    assert wire.value() == b""
    assert house.gate().told == [], "no handshake has failed"


@pytest.mark.parametrize("ends", [True, False])
def test_who_is_not_wanted_and_says_nothing_has_not_long(ends: bool) -> None:
    house = Gatehouse(proxies=frozenset(), tls_on_connect=True)
    protocol, wire = house.connect()
    answer(house, FAILURES[0])
    assert not wire.aborted
    if ends:
        protocol.readConnectionLost()
    else:
        house.clock.advance(HEARING + 0.1)
    assert wire.aborted


def test_who_is_not_wanted_takes_nobodys_place() -> None:
    """Otherwise a host that is refused could keep all others out, a place for two seconds at the cost of a packet."""
    house = Gatehouse(Crowd(1), proxies=frozenset(), tls_on_connect=True)
    _, wire = house.connect()
    answer(house, FAILURES[0])
    assert not wire.aborted
    assert house.factory.crowd.count == 0
    for _ in range(200):
        _, wire = house.connect()
        answer(house, FAILURES[0])
    assert wire.aborted, "with many of them it is not waited for any"
    house.clock.advance(HEARING + 0.1)
    assert house.factory.crowd.count == 0


def test_what_comes_before_the_verdict_belongs_to_the_handshake() -> None:
    house = Gatehouse(proxies=frozenset(), tls_on_connect=True)
    protocol, wire = house.connect()
    protocol.dataReceived(NOT_TLS)
    assert house.gate().told == []
    house.gate().verdict.callback(Answer(reply.SERVICE_READY))
    (reason,) = house.gate().told
    assert reason == "clear text where a TLS record was expected"
    assert b"220" not in wire.value()


def test_who_goes_before_the_verdict_is_not_waited_for() -> None:
    house = Gatehouse(proxies=frozenset(), tls_on_connect=True)
    protocol, wire = house.connect()
    protocol.readConnectionLost()
    house.gate().verdict.callback(Answer(reply.SERVICE_READY))
    assert wire.aborted
    assert house.gate().told == []


def test_a_client_that_hangs_up_has_ended_the_connection() -> None:
    tower = Tower(proxies=frozenset())
    protocol, _ = in_handshake(tower)
    protocol.readConnectionLost()
    protocol.connectionLost()
    assert tower.told[-1] == "by EOF"
