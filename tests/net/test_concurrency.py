"""Time limits and parallel questions, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from relay.mail.ports import TemporaryFailure
from relay.net.concurrency import TwistedConcurrency

T = TypeVar("T")


class Asked:
    """A coroutine that was started, and what it came to."""

    def __init__(self, question: Coroutine[Any, Any, Any]) -> None:
        self.results: list[Any] = []
        self.running = Deferred.fromCoroutine(question)
        self.running.addBoth(self.results.append)

    @property
    def error(self) -> BaseException:
        (failure,) = self.results
        error = failure.value
        assert isinstance(error, BaseException)
        return error


class Question:
    """Somebody who is asked and takes their time; knows when nobody waits for them any more."""

    def __init__(self) -> None:
        self.given_up = 0
        self.answer: Deferred[str] = Deferred(self._cancelled)

    def _cancelled(self, _: Deferred[str]) -> None:
        self.given_up += 1

    async def __call__(self) -> str:
        return await self.answer


async def at_once(value: str) -> str:
    return value


async def failing(error: Exception) -> str:
    raise error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def concurrency(clock: Clock) -> TwistedConcurrency:
    return TwistedConcurrency(clock)


# A limit on time


def test_an_answer_in_time(clock: Clock, concurrency: TwistedConcurrency) -> None:
    question = Question()
    asked = Asked(concurrency.timeout(5.0, question()))
    clock.advance(4.9)
    question.answer.callback("yes")
    assert asked.results == ["yes"]
    assert clock.getDelayedCalls() == []


def test_an_answer_at_once(clock: Clock, concurrency: TwistedConcurrency) -> None:
    assert Asked(concurrency.timeout(5.0, at_once("yes"))).results == ["yes"]
    assert clock.getDelayedCalls() == []


def test_no_answer_in_time(clock: Clock, concurrency: TwistedConcurrency) -> None:
    question = Question()
    asked = Asked(concurrency.timeout(5.0, question()))
    clock.advance(4.9)
    assert asked.results == []
    clock.advance(0.1)
    assert isinstance(asked.error, TimeoutError)
    assert question.given_up == 1
    assert clock.getDelayedCalls() == []


def test_a_deferred_may_be_asked_as_well(clock: Clock, concurrency: TwistedConcurrency) -> None:
    question = Question()
    asked = Asked(concurrency.timeout(5.0, question.answer))
    clock.advance(5.0)
    assert isinstance(asked.error, TimeoutError)
    assert question.given_up == 1


def test_an_error_in_time_is_the_answer(clock: Clock, concurrency: TwistedConcurrency) -> None:
    error = TemporaryFailure("no answer")
    assert Asked(concurrency.timeout(5.0, failing(error))).error is error
    assert clock.getDelayedCalls() == []


def test_who_is_cancelled_did_not_time_out(clock: Clock, concurrency: TwistedConcurrency) -> None:
    question = Question()
    asked = Asked(concurrency.timeout(5.0, question()))
    asked.running.cancel()
    assert isinstance(asked.error, CancelledError)
    assert question.given_up == 1
    assert clock.getDelayedCalls() == []


def test_a_limit_inside_of_a_limit(clock: Clock, concurrency: TwistedConcurrency) -> None:
    question = Question()
    asked = Asked(concurrency.timeout(3.0, concurrency.timeout(5.0, question())))
    clock.advance(3.0)
    assert "within 3 s" in str(asked.error)
    assert question.given_up == 1
    assert clock.getDelayedCalls() == []


# Several at a time


def test_answers_come_in_the_order_of_the_questions(concurrency: TwistedConcurrency) -> None:
    first, second = Question(), Question()
    asked = Asked(concurrency.gather([first(), at_once("between"), second()]))
    second.answer.callback("second")
    assert asked.results == []
    first.answer.callback("first")
    assert asked.results == [["first", "between", "second"]]


def test_nothing_to_ask(concurrency: TwistedConcurrency) -> None:
    assert Asked(concurrency.gather([])).results == [[]]


def test_the_first_error_is_raised_as_it_is_and_cancels_the_others(concurrency: TwistedConcurrency) -> None:
    first, second, third = Question(), Question(), Question()
    error = TemporaryFailure("no answer")
    asked = Asked(concurrency.gather([first(), second(), third()]))
    third.answer.callback("third")
    second.answer.errback(error)
    assert (first.given_up, second.given_up, third.given_up) == (1, 0, 0)
    assert asked.error is error


def test_cancelled_questions(concurrency: TwistedConcurrency) -> None:
    first, second = Question(), Question()
    asked = Asked(concurrency.gather([first(), second()]))
    asked.running.cancel()
    assert (first.given_up, second.given_up) == (1, 1)
    assert isinstance(asked.error, CancelledError)


# Sleeping


def test_sleep(clock: Clock, concurrency: TwistedConcurrency) -> None:
    asked = Asked(concurrency.sleep(10.0))
    clock.advance(9.9)
    assert asked.results == []
    clock.advance(0.1)
    assert asked.results == [None]


def test_a_sleeper_can_be_cancelled(clock: Clock, concurrency: TwistedConcurrency) -> None:
    asked = Asked(concurrency.sleep(10.0))
    asked.running.cancel()
    assert isinstance(asked.error, CancelledError)
    assert clock.getDelayedCalls() == []
