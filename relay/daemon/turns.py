"""What ETRN sets going: deliveries for a domain, or a command of the operator's (edge)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from relay.daemon.remote import spawn
from relay.daemon.runner import DeliveryRunner
from relay.mail.ports import TemporaryFailure
from relay.mail.queue import QueueEntry, RecipientState

_PATH = "/usr/local/bin:/usr/bin:/bin"


class QueueTurns:
    """The `Turns` port of reception."""

    def __init__(self, reactor: Any, runner: DeliveryRunner) -> None:
        self._reactor = reactor
        self._runner = runner
        self._running: set[str] = set()

    async def deliver(self, domain: str) -> None:
        """Begins with it and does not wait; a run for the same text that is under way is enough."""
        wanted = domain.strip().lower()
        if not wanted or wanted in self._running:
            return
        self._running.add(wanted)
        spawn(self._sweep(wanted))

    async def _sweep(self, wanted: str) -> None:
        def wants(entry: QueueEntry) -> bool:
            pending = (each for each in entry.recipients if each.state is RecipientState.PENDING)
            return any(wanted in str(each.recipient.address).lower() for each in pending)

        try:
            await self._runner.sweep(wants, thaw=False)
        finally:
            self._running.discard(wanted)

    async def run(self, words: tuple[str, ...], key: str) -> bool:
        """Starts the program with nothing to read and its output thrown away. Raises TemporaryFailure."""
        if key and key in self._running:
            return False
        if not words or shutil.which(words[0]) is None:
            raise TemporaryFailure(f'"{words[0] if words else ""}" is no program that can be run')
        if any("\0" in word for word in words):
            raise TemporaryFailure("a word with an octet of zeros")
        if key:
            self._running.add(key)
        ended = _Ended(lambda: self._running.discard(key))
        self._reactor.spawnProcess(ended, words[0], [os.fsencode(word) for word in words], {"PATH": _PATH}, "/")
        return True


class _Ended(ProcessProtocol):
    """A command whose end is all that matters of it."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def connectionMade(self) -> None:
        process: IProcessTransport = self.transport  # type: ignore[assignment]  # Twisted says None before it is there
        process.closeStdin()

    def processEnded(self, reason: Failure) -> None:
        self._ended()
