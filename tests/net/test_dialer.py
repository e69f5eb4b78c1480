"""Dialling: addresses raced on a clock that the test moves, and what a failure is called."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.delivery.link import LinkFailed
from relay.mail.outcome import ErrorClass
from relay.net.dialer import RACE_DISTANCE, _leads_nowhere, _Race, _what_failed


class Connection:
    """What a dial gives."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class Track:
    """A race of so many addresses; each dial ends when the test says so."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.dialled: list[Deferred[Any]] = []
        self.results: list[Any] = []
        race = _Race(self.clock, [self._dial] * count)
        self.running = Deferred.fromCoroutine(race.run())
        self.running.addBoth(self.results.append)

    async def _dial(self) -> Any:
        ended: Deferred[Any] = Deferred()
        self.dialled.append(ended)
        return await ended

    def fail(self, number: int, why: str = "Connection refused") -> None:
        self.dialled[number].errback(LinkFailed(ErrorClass.CONNECTION_REFUSED, why))


def test_the_second_is_dialled_a_moment_later() -> None:
    track = Track(3)
    assert len(track.dialled) == 1
    track.clock.advance(RACE_DISTANCE)
    assert len(track.dialled) == 2
    track.clock.advance(RACE_DISTANCE)
    assert len(track.dialled) == 3
    assert track.results == []


def test_the_first_that_answers_wins_and_the_others_are_given_up() -> None:
    track = Track(3)
    track.clock.advance(RACE_DISTANCE)
    won = Connection()
    track.dialled[1].callback(won)
    assert track.results == [won]
    assert track.dialled[0].called, "cancelled"
    assert track.clock.getDelayedCalls() == []
    assert not won.is_aborted


def test_a_failure_lets_the_next_go_at_once() -> None:
    track = Track(2)
    track.fail(0)
    assert len(track.dialled) == 2
    won = Connection()
    track.dialled[1].callback(won)
    assert track.results == [won]
    assert track.clock.getDelayedCalls() == []


def test_where_all_fail_the_first_failure_is_told() -> None:
    track = Track(2)
    track.fail(0, "first")
    track.fail(1, "second")
    (failure,) = track.results
    assert str(failure.value) == "first"


def test_who_is_not_waited_for_dials_no_more() -> None:
    track = Track(2)
    track.running.cancel()
    track.clock.advance(RACE_DISTANCE)
    assert len(track.dialled) == 1
    (failure,) = track.results
    assert isinstance(failure, Failure)
    assert failure.check(CancelledError, LinkFailed)


NOT_OURS = os.strerror(errno.EADDRNOTAVAIL)
OFFLINE = (ErrorClass.NO_NETWORK, "No route to the host: this machine is offline")


@pytest.mark.parametrize(
    "failure, online, offline",
    [
        (error.TimeoutError(), (ErrorClass.TIMEOUT_CONNECT, "Connection timed out"), None),
        (error.ConnectionRefusedError(), (ErrorClass.CONNECTION_REFUSED, "Connection refused"), None),
        (error.NoRouteError(), (ErrorClass.NO_ROUTE, "No route to host"), OFFLINE),
        (error.ConnectError(osError=errno.ENETUNREACH), (ErrorClass.NO_ROUTE, "Network is unreachable"), OFFLINE),
        (error.ConnectError(osError=errno.EHOSTUNREACH), (ErrorClass.NO_ROUTE, "No route to host"), OFFLINE),
        (OSError(errno.ENETDOWN, "down"), (ErrorClass.NO_ROUTE, "Network is down"), OFFLINE),
        (
            error.ConnectBindError(osError=errno.EADDRNOTAVAIL),
            (ErrorClass.NO_ROUTE, NOT_OURS),
            (ErrorClass.NO_NETWORK, NOT_OURS),
        ),
        (OSError(errno.EINVAL, "odd"), (ErrorClass.NO_ROUTE, "Invalid argument"), None),
        (OSError(errno.EACCES, "no"), (ErrorClass.OTHER, "could not connect: [Errno 13] no"), None),
    ],
)
def test_what_a_failure_is_called(failure: Exception, online: Any, offline: Any) -> None:
    """A host without a way to it is the host's failure, as long as there are ways to others: otherwise its mail would
    never be given up."""
    assert _what_failed(failure, lambda: True) == online
    assert _what_failed(failure, lambda: False) == (offline or online)


@pytest.mark.parametrize(
    "address, nowhere",
    [
        ("224.0.0.1", True),
        ("240.0.0.1", True),
        ("0.0.0.0", True),
        ("ff02::1", True),
        ("192.0.2.1", False),
        ("fe80::1", False),
        ("localhost", False),
    ],
)
def test_an_address_that_no_network_leads_to_is_no_sign_of_being_offline(address: str, nowhere: bool) -> None:
    assert _leads_nowhere(address) is nowhere
