"""Local deliveries for tests: done in this process, at once, with a clock that only sleeps by counting."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from delivery.post import NOW, Notebook, Pieces, StoppedClock, make_message, run
from relay.delivery.accounts import SystemAccounts
from relay.delivery.carrying import InThreads
from relay.delivery.disk import Disk
from relay.delivery.jobs import Identity
from relay.delivery.local import Driver, LocalDelivery, LocalPorts, LocalRules
from relay.delivery.local_address import LocalAddress
from relay.delivery.scopes import message_scope
from relay.expand.scope import AddressView, Scope
from relay.mail.outcome import Outcome
from relay.mail.queue import QueuedMessage

P = ParamSpec("P")
T = TypeVar("T")

OWN = Identity(os.geteuid(), os.getegid())


class FailingDisk(Disk):
    """A disk on which one step fails from its `after`-th time on; it keeps the order of what was done."""

    def __init__(self, step: str = "", number: int = errno.ENOSPC, after: int = 0) -> None:
        self._step, self._number, self._left = step, number, after
        self.done: list[str] = []
        self.failed = False

    def _note(self, step: str) -> None:
        if step == self._step:
            if self._left == 0:
                self.failed = True
                raise OSError(self._number, os.strerror(self._number))
            self._left -= 1
        self.done.append(step)

    def make_directory(self, path: str, mode: int) -> None:
        self._note("make_directory")
        super().make_directory(path, mode)

    def create(self, path: str, mode: int) -> int:
        self._note("create")
        return super().create(path, mode)

    def open(self, path: str, flags: int) -> int:
        self._note("open")
        return super().open(path, flags)

    def write(self, file: int, data: bytes | memoryview) -> int:
        self._note("write")
        return super().write(file, data[:7])  # short writes are the rule here

    def truncate(self, file: int, size: int) -> None:
        self._note("truncate")
        super().truncate(file, size)

    def sync(self, file: int) -> None:
        self._note("sync")
        super().sync(file)

    def close(self, file: int) -> None:
        self._note("close")
        super().close(file)

    def link(self, old: str, new: str) -> None:
        self._note("link")
        super().link(old, new)

    def remove(self, path: str) -> None:
        self._note("remove")
        super().remove(path)

    def sync_directory(self, path: str) -> None:
        self._note(f"sync_directory {os.path.basename(path)}" if path.endswith("/new") else "sync_directory")
        super().sync_directory(path)


@dataclass
class Calls:
    """Blocking calls, done at once and counted."""

    names: list[str] = field(default_factory=list)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.names.append(getattr(function, "__name__", "?"))
        return function(*args, **kwargs)


@dataclass
class SleepingClock:
    """Time that passes only by sleeping; `meanwhile` happens in each sleep."""

    time: float = NOW
    slept: list[float] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        self.meanwhile()


@dataclass
class Desk:
    """The ports of local deliveries, and what went through them."""

    notebook: Notebook = field(default_factory=Notebook)
    calls: Calls = field(default_factory=Calls)
    clock: SleepingClock = field(default_factory=SleepingClock)
    disk: Disk | None = None
    own: Identity = OWN
    may_become_others: bool = True
    never: frozenset[int] = frozenset()
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def ports(self, **changes: Any) -> LocalPorts:
        seconds = itertools.count()
        carrier = InThreads(self.calls, self.clock, lambda: next(seconds) * 0.001, self.disk)
        given: dict[str, Any] = {
            "calls": self.calls,
            "clock": StoppedClock(),
            "journal": self.notebook,
            "accounts": SystemAccounts(self.never),
            "threads": carrier,
            "courier": carrier,
            "own": self.own,
            "may_become_others": self.may_become_others,
            "filters": None,
            "hostname": "relay.test",
            "pid": 77,
            "numbers": self.numbers,
        }
        return LocalPorts(**{**given, **changes})

    def transport(self, rules: LocalRules, driver: Driver, **ports: Any) -> LocalDelivery:
        return LocalDelivery(rules, driver, self.ports(**ports))


def addresses(message: QueuedMessage, scope: Scope | None = None, **found: Any) -> tuple[LocalAddress, ...]:
    """The recipients of a message as an attempt would hand them over."""
    base = message_scope(message, scope or Scope(), NOW)
    made = []
    for each in message.recipients:
        address = each.recipient.address
        view = base.address or AddressView(local_part=address.local_part, domain=address.domain)
        made.append(LocalAddress(recipient=each.recipient, scope=base.child(address=view), **found))
    return tuple(made)


def deliver(transport: LocalDelivery, *pieces: bytes, message: QueuedMessage | None = None, **found: Any) -> Outcome:
    """One delivery of all recipients of a message."""
    message = message or make_message(body=b"".join(pieces))
    outcome, *others = run(transport.deliver(addresses(message, **found), message, Pieces(*pieces)))
    assert all(each == outcome for each in others)
    return outcome
