"""How a job gets its message: the port of those who carry jobs out, and the one that does it in a thread
(decision)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from relay.delivery.content import MessageText
from relay.delivery.disk import BlockingClock, Disk
from relay.delivery.jobs import Identity, Job, NotDelivered, Report, Written, deferred
from relay.delivery.new_file import NameTaken
from relay.delivery.transports import BlockingCalls
from relay.delivery.writers import NAME_PAUSE, NAME_TRIES, Writer, writer_for
from relay.mail.ports import Body

# Octets that are gathered before the thread is called: what a delivery may hold in memory.
BATCH_SIZE = 256 * 1024

Naming = Callable[[Written], Awaitable[str]]
"""Gives the name of a file that is complete. Raises NotDelivered."""


class Content:
    """All octets that a delivery writes, in batches: text before, message, text behind."""

    def __init__(self, start: bytes, body: Body | None, text: MessageText, end: bytes) -> None:
        """`start` and `end` are final; the body goes through `text`. None: it is left out."""
        self._start = start
        self._body = body
        self._text = text
        self._end = end
        self._number = 0
        self._ended = False
        self._size = 0

    async def batch(self) -> bytes:
        """The next octets; b"" at the end. Raises SpoolUnavailable."""
        batch = await self._gathered()
        self._size += len(batch)
        return batch

    def measured(self, report: Report) -> Report:
        """A report on what was given, with its size."""
        each = tuple(replace(one, size=self._size) for one in report.each)
        return replace(report, each=each, size=self._size)

    async def _gathered(self) -> bytes:
        gathered, size = [self._start], len(self._start)
        self._start = b""
        while not self._ended:
            piece = b"" if self._body is None else await self._body.piece(self._number)
            self._number += 1
            if not piece:
                self._ended = True
                gathered += [self._text.end(), self._end]
                break
            gathered.append(self._text.body(piece))
            size += len(piece)
            if size + len(piece) > BATCH_SIZE:
                break
        return b"".join(gathered)

    async def check_claim(self) -> None:
        """Asks for the end of the body once more. Raises SpoolUnavailable where the message is no longer ours."""
        if self._body is not None and self._ended:
            await self._body.piece(self._number - 1)

    @property
    def is_ended(self) -> bool:
        """The batch that was given is the last one."""
        return self._ended


class Carrier(Protocol):
    """Carries jobs out as a user."""

    async def carry(self, job: Job, identity: Identity, content: Content, naming: Naming | None) -> Report:
        """The report. Raises what the content raises; then nothing is left behind."""
        ...


class InThreads:
    """Carries jobs out in this process, as its own user, each blocking step in a thread. For files of their own
    only: where locks and commands come in, a process of its own is called for."""

    def __init__(
        self, calls: BlockingCalls, clock: BlockingClock, elapsed: Callable[[], float], disk: Disk | None = None
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._elapsed = elapsed
        self._disk = disk

    async def carry(self, job: Job, identity: Identity, content: Content, naming: Naming | None) -> Report:
        writer = writer_for(job, self._clock, self._elapsed, self._disk)
        try:
            return await self._pour(writer, content, naming)
        except NotDelivered as error:
            return error.report
        except Exception:
            await self._calls.call(writer.abandon)
            raise

    async def _pour(self, writer: Writer, content: Content, naming: Naming | None) -> Report:
        while True:
            batch = await content.batch()
            if content.is_ended:
                break
            await self._calls.call(writer.write, (batch,))
        if naming is None:
            return await self._calls.call(writer.finish, (batch,))
        written = await self._calls.call(writer.complete, (batch,))
        try:
            return await self._named(writer, written, naming)
        except NotDelivered:
            await self._calls.call(writer.abandon)
            raise

    async def _named(self, writer: Writer, written: Written, naming: Naming) -> Report:
        last = ""
        for number in range(1, NAME_TRIES + 1):
            name = await naming(written)
            try:
                return await self._calls.call(writer.deliver, name)
            except NameTaken as taken:
                if number == NAME_TRIES or name == last:
                    raise taken.trouble from None
                last = name
                await self._calls.call(self._clock.sleep, NAME_PAUSE)
        raise deferred("no name was found")
