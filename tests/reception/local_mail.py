"""Fakes for messages of local programs: ports that answer at once and refuse what they were not told."""

import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay.mail.address import Address
from relay.mail.events import Event
from relay.mail.facts import LocalCaller
from relay.mail.header import Field, make_field
from relay.mail.queue import NewMessage
from relay.reception.submission import (
    Arrival,
    Originator,
    Submission,
    SubmissionPorts,
    SubmissionSettings,
)

T = TypeVar("T")
NOW = 1795255200.0

SETTINGS = SubmissionSettings("relay.example", "example.org", "mail.example.org", allow_domain_literals=False)
ANNE = Originator(LocalCaller("anne", 1000, 1000), "Anne O'Neil")
ROOT = Originator(LocalCaller("root", 0, 0, trusted=True), "root")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose ports answer at once."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("it waits for something")


class FixedClock:
    def now(self) -> float:
        return NOW


@dataclass
class Events:
    recorded: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.recorded.append(event)


@dataclass
class Queue:
    """An intake in memory. `trouble` is raised by the method of its name; `taken` ids exist already."""

    trouble: dict[str, Exception] = field(default_factory=dict)
    pieces: dict[str, dict[int, bytes]] = field(default_factory=dict)
    accepted: list[NewMessage] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        self._trouble("append")
        assert 0 < len(chunk) <= 65536
        assert number == len(self.pieces.setdefault(message_id, {}))
        self.pieces[message_id][number] = chunk

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        self._trouble("accept")
        pieces = self.pieces.setdefault(message.message_id, {})
        assert number == len(pieces)
        if tail:
            pieces[number] = tail
        assert message.body_size == sum(map(len, pieces.values()))
        self.accepted.append(message)

    async def abandon(self, message_id: str) -> None:
        self.pieces.pop(message_id, None)
        self.abandoned.append(message_id)

    def _trouble(self, name: str) -> None:
        if name in self.trouble:
            raise self.trouble[name]

    def body(self, number: int = 0) -> bytes:
        pieces = self.pieces[self.accepted[number].message_id]
        return b"".join(pieces[each] for each in sorted(pieces))

    def header(self, number: int = 0) -> str:
        return self.accepted[number].header.decode("utf-8", "surrogateescape")


@dataclass
class Told:
    """Who delivers, and what it was told."""

    background: list[str] = field(default_factory=list)
    interactive: list[str] = field(default_factory=list)
    routed_only: set[str] = field(default_factory=set)
    is_full: bool = False

    def takes_new(self) -> bool:
        return not self.is_full

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        self.background.append(message_id)
        self.routed_only |= {message_id} if routes_only else set()

    async def attempt_now(self, message_id: str, *, routes_only: bool = False) -> None:
        self.interactive.append(message_id)
        self.routed_only |= {message_id} if routes_only else set()


class Pieces:
    """A message in the pieces given; an exception among them is raised in its turn."""

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self._pieces = list(pieces)

    async def next(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


async def received(arrival: Arrival) -> Field:
    return make_field("Received", f"from {arrival.session.caller.login} by relay.example id {arrival.message_id}")


async def nobody_may(_address: Address) -> bool:
    return False


@dataclass
class Office:
    """A submission with its fakes."""

    settings: SubmissionSettings = SETTINGS
    queue: Queue = field(default_factory=Queue)
    events: Events = field(default_factory=Events)
    told: Told = field(default_factory=Told)
    may_set_sender: Any = nobody_may
    source: random.Random = field(default_factory=lambda: random.Random(7))
    concurrency: Any = None
    capacity: Any = None

    @property
    def submission(self) -> Submission:
        ports = SubmissionPorts(
            self.queue,
            FixedClock(),
            self.events,
            received,
            self.may_set_sender,
            self.told,
            self.source,
            concurrency=self.concurrency,
            capacity=self.capacity,
        )
        return Submission(self.settings, ports)
