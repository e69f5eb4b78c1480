"""Time limits and parallel questions for coroutines that know no Twisted (edge)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")


class TwistedConcurrency:
    """The `Concurrency` port on a reactor."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    async def timeout(self, seconds: float, question: Awaitable[T]) -> T:
        """The answer, or TimeoutError after `seconds`."""
        running = Deferred.fromCoroutine(_ask(question))
        ended = False

        def give_up() -> None:
            nonlocal ended
            ended = True
            running.cancel()

        timer = self._reactor.callLater(seconds, give_up)
        try:
            return await running
        except CancelledError:
            if ended:
                raise TimeoutError(f"no answer within {seconds:g} s") from None
            raise
        finally:
            try:
                timer.cancel()
            except (AlreadyCalled, AlreadyCancelled):
                pass

    async def gather(self, questions: Sequence[Awaitable[T]]) -> list[T]:
        """All answers in order; the first exception cancels the others."""
        running = [Deferred.fromCoroutine(_ask(question)) for question in questions]
        try:
            return cast("list[T]", await gatherResults(running, consumeErrors=True))
        except FirstError as first:
            first.subFailure.raiseException()
        finally:
            for each in running:
                each.cancel()

    async def sleep(self, seconds: float) -> None:
        """Lets others go on for a while."""
        waiting: Any = deferLater(self._reactor, seconds, lambda: None)
        await waiting


async def _ask(question: Awaitable[T]) -> T:
    return await question
