"""What ACLs remember goes through the queue's writer, and what is over is cleared away."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay.daemon.hints import MemoryHints, SpoolHints
from relay.mail.ports import HintChange

T = TypeVar("T")


def answer(question: Coroutine[Any, Any, T]) -> T:
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits for something")


@dataclass
class Spool:
    """A writer, and the transaction that it runs operations in."""

    kept: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    cleared: list[float] = field(default_factory=list)

    async def write(self, operation: Callable[[Any], T]) -> T:
        return operation(self)

    def hint(self, kind: str, key: str, now: float) -> str | None:
        text, expires = self.kept.get((kind, key), ("", 0.0))
        return text if expires > now else None

    def put_hint(self, kind: str, key: str, value: str, expires: float) -> None:
        self.kept[kind, key] = value, expires

    def expire_hints(self, now: float) -> int:
        self.cleared.append(now)
        return 0


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time


def test_hints_are_kept_and_cleared_once_an_hour() -> None:
    spool, clock = Spool(), Clock()
    hints = SpoolHints(spool, clock)  # type: ignore[arg-type]

    def more(text: str | None) -> HintChange[int]:
        number = int(text or 0) + 1
        return HintChange(number, str(number), clock.time + 86400)

    seen = []
    for _ in range(4):
        seen.append(answer(hints.change("counts", "a", more)))
        clock.time += 1500
    assert seen == [1, 2, 3, 4]
    assert spool.cleared == [1000.0 + 3 * 1500]


def test_hints_of_a_played_session_last_as_long_as_it() -> None:
    hints = MemoryHints()
    assert answer(hints.change("counts", "a", lambda text: HintChange(text, "1"))) is None
    assert answer(hints.change("counts", "a", lambda text: HintChange(text))) == "1"
    assert answer(hints.change("counts", "a", lambda text: HintChange(text, "2"))) == "1"
    assert answer(MemoryHints().change("counts", "a", lambda text: HintChange(text))) is None
