"""What conditions of ACLs remember: in the queue's database, or as long as the process (edge)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from relay.mail.ports import Clock, HintChange
from relay.net.threads import ThreadedSpool
from relay.spool.hints import change_hint

# Seconds from one clearing away of hints whose time is over to the next.
_CLEARING = 3600.0

T = TypeVar("T")


class SpoolHints:
    """The `Hints` port. A change runs in the writer's thread, together with whatever else is written then."""

    def __init__(self, spool: ThreadedSpool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._cleared = clock.now()

    async def change(self, kind: str, key: str, step: Callable[[str | None], HintChange[T]]) -> T:
        """Raises SpoolUnavailable."""
        now = self._clock.now()
        if not 0 <= now - self._cleared < _CLEARING:
            self._cleared = now
            await self._spool.write(lambda queue: queue.expire_hints(now))
        return await self._spool.write(lambda queue: change_hint(queue, kind, key, now, step))


class MemoryHints:
    """The `Hints` port of a session that is only played: it begins without any, and nothing is kept."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}

    async def change(self, kind: str, key: str, step: Callable[[str | None], HintChange[T]]) -> T:
        """Answers at once."""
        change = step(self._kept.get((kind, key)))
        if change.text is not None:
            self._kept[kind, key] = change.text
        return change.answer
