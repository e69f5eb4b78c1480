"""Dialling: addresses raced on a clock that the test moves, and what a failure is called."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.delivery.link import LinkFailed
from relay.mail.outcome import ErrorClass
from relay.net.dialer import RACE_DISTANCE, _Race, _what_failed


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


OFFLINE = (ErrorClass.NO_NETWORK, "No route to the host: this machine is offline")


@pytest.mark.parametrize(
    "failure, online, offline",
    [
        (error.TimeoutError(), (ErrorClass.TIMEOUT_CONNECT, "Connection timed out"), None),
        (error.ConnectionRefusedError(), (ErrorClass.CONNECTION_REFUSED, "Connection refused"), None),
        (error.NoRouteError(), (ErrorClass.OTHER, "No route to host"), OFFLINE),
        (error.ConnectError(osError=errno.ENETUNREACH), (ErrorClass.OTHER, "Network is unreachable"), OFFLINE),
        (error.ConnectError(osError=errno.EHOSTUNREACH), (ErrorClass.OTHER, "No route to host"), OFFLINE),
        (OSError(errno.ENETDOWN, "down"), (ErrorClass.OTHER, "Network is down"), OFFLINE),
        (OSError(errno.EACCES, "no"), (ErrorClass.OTHER, "could not connect: [Errno 13] no"), None),
    ],
)
def test_what_a_failure_is_called(failure: Exception, online: Any, offline: Any) -> None:
    """A host without a way to it is the host's failure, as long as there are ways to others: otherwise its mail would
    never be given up."""
    assert _what_failed(failure, lambda: True) == online
    assert _what_failed(failure, lambda: False) == (offline or online)
