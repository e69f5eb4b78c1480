"""A thread that does jobs in batches: whatever has gathered while it did the last one (edge).

Nothing here knows what a job is. The reactor submits jobs one by one, each for a Deferred; under load a batch grows by
itself, and a lone job waits for nobody. The answers of a batch come back by one call into the reactor.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from relay.mail.ports import SpoolUnavailable
from relay.spool.store import Refused, Result

Job = TypeVar("Job")

BATCH_LIMIT = 256
"""Operations in one transaction; what it may hold in memory follows from it (a piece of a body is 64 kB)."""
QUEUE_LIMIT = 4096
"""Operations that may wait. Each belongs to somebody who waits for it, so this is a limit for faults, not for load."""


class CallsFromThreads(Protocol):
    """The one method of a reactor that is used here."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> object: ...


class BatchThread(Generic[Job]):
    """A thread that takes whatever jobs have gathered and runs them as one batch.

    `execute` gets a batch and gives one result for each job, in order; `after` is called when the results are
    on their way; `finish` when the thread ends. All three are called in the thread. An exception of `execute`
    is the answer to every job of its batch.
    """

    def __init__(
        self,
        reactor: CallsFromThreads,
        name: str,
        execute: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        after: Callable[[], object] = lambda: None,
        finish: Callable[[], object] = lambda: None,
        limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
    ) -> None:
        self._reactor = reactor
        self._execute = execute
        self._after = after
        self._finish = finish
        self._limit = limit
        self._batch_limit = batch_limit
        self._waiting: deque[tuple[Job, Deferred[Result]]] = deque()
        self._changed = threading.Condition()
        self._is_urgent = False
        """Whether one of those that wait may not wait for company."""
        self._stopping = False
        self._stopped: Deferred[None] = Deferred()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def submit(self, job: Job, *, is_urgent: bool = True) -> Deferred[Result]:
        """Puts a job into the next batch. To be called in the reactor's thread.

        One that is not urgent goes with the next one that is, or after `hurry`.
        """
        answer: Deferred[Result] = Deferred()
        with self._changed:
            if self._stopping:
                refusal = "the queue is being closed"
            elif len(self._waiting) >= self._limit:
                refusal = f"{self._limit} operations are waiting for the disk already"
            else:
                self._waiting.append((job, answer))
                if is_urgent:
                    self._is_urgent = True
                    self._changed.notify()
                return answer
        answer.callback(Refused(SpoolUnavailable(refusal)))
        return answer

    def hurry(self) -> bool:
        """Lets nobody wait any longer; False where nobody did."""
        with self._changed:
            self._is_urgent = bool(self._waiting)
            self._changed.notify()
            return self._is_urgent

    def stop(self) -> Deferred[None]:
        """Takes no more jobs, finishes those that wait, ends the thread; fires when it has ended."""
        with self._changed:
            already = self._stopping
            self._stopping = True
            self._changed.notify()
        if not already and self._thread.ident is None:
            self._stopped.callback(None)
        waiting: Deferred[None] = Deferred()
        _ = self._stopped.addCallback(lambda _: waiting.callback(None))
        return waiting

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                results = self._execute([job for job, _ in batch])
            except Exception as error:  # noqa: BLE001 - the thread has to live on; who asked gets the error
                results = [Refused(error)] * len(batch)
            self._reactor.callFromThread(_answer, [answer for _, answer in batch], results)
            self._after()
        try:
            self._finish()
        finally:
            self._reactor.callFromThread(self._ended)

    def _next_batch(self) -> list[tuple[Job, Deferred[Result]]]:
        """What has gathered, waiting for the first; empty at the end."""
        with self._changed:
            while not self._is_urgent and not self._stopping:
                self._changed.wait()
            size = min(len(self._waiting), self._batch_limit)
            self._is_urgent = size < len(self._waiting)
            return [self._waiting.popleft() for _ in range(size)]

    def _ended(self) -> None:
        self._thread.join()
        self._stopped.callback(None)


def _answer(answers: Sequence[Deferred[Result]], results: Sequence[Result]) -> None:
    for answer, result in zip(answers, results, strict=True):
        answer.callback(result)
