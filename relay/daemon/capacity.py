"""Whether there is room for a message, and whether it is only to be queued: what the machine can take (edge).

Exim: check_spool_space, check_spool_inodes, check_log_space, check_log_inodes, queue_only, queue_only_file,
queue_only_load, smtp_accept_queue. The disks are asked at most once a second, not at every message; what a message
says of its own size is taken off what they had then.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from relay.mail.ports import Clock, SpoolFull

P = ParamSpec("P")
T = TypeVar("T")

# Seconds for which an answer of the disk holds.
_FRESH = 1.0
# What a message needs beside its own octets (Exim's number).
_OVERHEAD = 5000


class Calls(Protocol):
    """Where blocking code is run."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or its exception."""
        ...


@dataclass(frozen=True, slots=True)
class Reserve:
    """What must stay free in a directory: kibibytes and inodes, 0 for whatever there is."""

    name: str
    directory: str
    space: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds; Exim's names."""

    reserves: tuple[Reserve, ...] = ()
    """The queue's directory first."""
    counts_size: bool = True
    """smtp_check_spool_space: the size that a client announces is reckoned with."""
    queue_only: bool = False
    queue_only_files: tuple[str, ...] = ()
    """While one of these exists messages are only queued."""
    routes_only_files: tuple[str, ...] = ()
    """While one of these exists first attempts leave what goes to other hosts (smtp/… in queue_only_file)."""
    queue_only_load: float | None = None
    smtp_accept_queue: int = 0


@dataclass(frozen=True, slots=True)
class Free:
    """What a file system has left: kibibytes and inodes; None: it does not say."""

    space: int
    inodes: int | None


def free_of(directory: str) -> Free | None:
    """None where there is no such directory yet. Raises OSError."""
    try:
        found = os.statvfs(directory)
    except FileNotFoundError:
        return None
    return Free(found.f_bavail * found.f_frsize // 1024, found.f_favail if found.f_files > 0 else None)


class MachineCapacity:
    """The `Capacity` port of reception."""

    def __init__(
        self,
        limits: Limits,
        calls: Calls,
        clock: Clock,
        connections: Callable[[], int],
        *,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
        free: Callable[[str], Free | None] = free_of,
        exists: Callable[[str], bool] = os.path.exists,
    ) -> None:
        """`connections`: how many clients there are now."""
        self._limits = limits
        self._calls = calls
        self._clock = clock
        self._connections = connections
        self._load = load
        self._free = free
        self._exists = exists
        self._asked_at: float | None = None
        self._found: tuple[Free | None, ...] = ()
        self._file_asked_at: float | None = None
        self._existing_files: frozenset[str] = frozenset()

    async def check(self, size: int | None) -> None:
        """Raises SpoolFull where a message of so many octets would take what is to stay free."""
        needed = (size + _OVERHEAD) // 1024 if size and self._limits.counts_size else 0
        for reserve, free in zip(self._limits.reserves, await self._disks(), strict=True):
            if free is None:
                continue
            is_short = free.space - needed < reserve.space
            if is_short or (free.inodes is not None and free.inodes < reserve.inodes):
                inodes = -1 if free.inodes is None else free.inodes
                raise SpoolFull(f"{reserve.name} directory space check failed: space={free.space} inodes={inodes}")
            needed = 0  # what it needs is taken from the queue's disk

    async def only_queues(self, *, delivery_asked: bool = False) -> bool:
        """Whether a message that comes now waits for a queue run."""
        if not delivery_asked and self._is_busy():
            return True
        return await self._any_file(self._limits.queue_only_files)

    async def routes_only(self) -> bool:
        """Whether the first attempt on a message that comes now leaves what goes to other hosts."""
        return await self._any_file(self._limits.routes_only_files)

    def _is_busy(self) -> bool:
        limits = self._limits
        if limits.queue_only or (limits.smtp_accept_queue and self._connections() > limits.smtp_accept_queue):
            return True
        return limits.queue_only_load is not None and self._load() > limits.queue_only_load

    async def _disks(self) -> Sequence[Free | None]:
        now = self._clock.now()
        if not _is_fresh(self._asked_at, now):
            self._found = await self._calls.call(self._look)
            self._asked_at = now
        return self._found

    def _look(self) -> tuple[Free | None, ...]:
        try:
            return tuple(self._free(each.directory) for each in self._limits.reserves)
        except OSError as error:
            raise SpoolFull(f"cannot accept messages: {error.filename}: {error.strerror}") from None

    async def _any_file(self, files: tuple[str, ...]) -> bool:
        if not files:
            return False
        now = self._clock.now()
        if not _is_fresh(self._file_asked_at, now):
            found: Awaitable[frozenset[str]] = self._calls.call(self._existing)
            self._existing_files = await found
            self._file_asked_at = now
        return not self._existing_files.isdisjoint(files)

    def _existing(self) -> frozenset[str]:
        limits = self._limits
        return frozenset(filter(self._exists, (*limits.queue_only_files, *limits.routes_only_files)))


def _is_fresh(asked_at: float | None, now: float) -> bool:
    return asked_at is not None and 0 <= now - asked_at < _FRESH
