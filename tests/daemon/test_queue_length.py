"""A queue that grows too long is said to, once, and said to be well again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from twisted.internet.task import Clock

from delivery.post import Notebook, run
from relay.daemon.queue_length import INTERVAL, QueueLength, QueueSize
from relay.mail.ports import SpoolUnavailable


@dataclass
class Spool:
    number: int = 0
    looks: int = 0

    async def read(self, question: Callable[[Any], int]) -> int:
        self.looks += 1
        if self.number < 0:
            raise SpoolUnavailable("gone")
        return question(self)

    def count(self) -> int:
        return self.number


def test_each_change_is_one_line() -> None:
    clock, spool, journal = Clock(), Spool(), Notebook()
    length = QueueLength(clock, spool, journal, 10)  # type: ignore[arg-type]
    length.start()
    told = []
    for number in (10, 11, 500, -1, 500, 10, 3, 11):
        spool.number = number
        clock.advance(INTERVAL)
        told.append(journal.words()[:])
        journal.events.clear()
    assert told == [[], ["Trouble"], [], [], [], ["DaemonNote"], [], ["Trouble"]]
    length.stop()
    clock.advance(INTERVAL)
    assert spool.looks == 9


@pytest.mark.parametrize("most, looks", [(0, 0), (1, 1)])
def test_without_a_limit_nobody_looks(most: int, looks: int) -> None:
    spool = Spool()
    length = QueueLength(Clock(), spool, Notebook(), most)  # type: ignore[arg-type]
    length.start()
    assert spool.looks == looks
    length.stop()


def test_the_variable_counts_once_a_minute() -> None:
    @dataclass
    class Time:
        seconds: float = 1000.0

        def now(self) -> float:
            return self.seconds

    time, spool = Time(), Spool(3)
    size = QueueSize(spool, time)  # type: ignore[arg-type]
    found = []
    for seconds, number in ((0.0, 3), (INTERVAL - 1, 4), (1.0, 5), (-5000.0, 6)):
        time.seconds += seconds
        spool.number = number
        found.append(run(size.now()))
    assert found == [3, 3, 5, 6]
    assert spool.looks == 3
