"""The seams between layers: what decisions may ask of the world (values).

Each port has one to seven methods. Edges implement them over Twisted, tests with fakes that answer at once and refuse
what they were not told. A port's coroutine may raise `Cancelled`; nobody but the edge catches it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from relay.mail.events import Event
from relay.mail.queue import NewMessage, QueuedMessage, QueueEntry, Settlement

T = TypeVar("T")


class Cancelled(Exception):
    """The connection or attempt that asked is gone; unwind and release, answer nothing."""


class TemporaryFailure(Exception):
    """A port can't answer now (a lookup that failed, a database that is away); the text is for the log."""


class SpoolUnavailable(TemporaryFailure):
    """The queue can't take or give anything now: 451, never 250."""


class SpoolFull(SpoolUnavailable):
    """No room on the disk: 452."""


class Clock(Protocol):
    """Wall clock, seconds since the epoch."""

    def now(self) -> float: ...


Watch = Callable[[str], None]
"""Tells whoever watches this process at work (Exim: -v) a text of one or more lines, without the last one's end."""


class Journal(Protocol):
    """Where events go."""

    def record(self, event: Event) -> None: ...


class Concurrency(Protocol):
    """Time limits and parallel questions for coroutines that may not know Twisted."""

    async def timeout(self, seconds: float, question: Awaitable[T]) -> T:
        """The answer, or TimeoutError after `seconds`; the question is then cancelled."""
        ...

    async def gather(self, questions: Sequence[Awaitable[T]]) -> list[T]:
        """All answers, in order; the first exception cancels the others."""
        ...

    async def sleep(self, seconds: float) -> None: ...


# Seconds for which an answer may be believed where it says no less.
DNS_LIFE = 3600


class HostNotFound(Exception):
    """The name does not exist or has no address; asking again later gives the same answer."""

    seconds = DNS_LIFE
    """For how long that may be believed, by the zone (RFC 2308 5)."""


class Resolver(Protocol):
    """DNS, as much as hosts and routes need. Raises HostNotFound or TemporaryFailure."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Literal addresses of a host name in the order to try them."""
        ...

    async def names(self, address: str) -> tuple[str, ...]:
        """Names from the reverse zone, not yet confirmed forward."""
        ...


class NoRecords(HostNotFound):
    """The name exists in the DNS and has no records of the type that was asked for."""


@dataclass(frozen=True, slots=True)
class DNSAnswer:
    """Records of one type, at least one."""

    records: tuple[str, ...]
    """Their data as zone files have it: an address, `10 mx.example.`, `0 5 25 mx.example.`; names end with a dot."""
    name: str
    """The name that was asked for, completed where it was not a whole one; without a dot at its end."""
    is_secure: bool = False
    """DNSSEC: the resolver has validated it."""


class DNS(Protocol):
    """The DNS by itself, for routing by it. Raises NoRecords, HostNotFound, TemporaryFailure."""

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        """Records of a type; aliases are followed. `qualify` puts the default domain behind a name of one label,
        `parents` tries the domains of the search list (RES_DEFNAMES and RES_DNSRCH)."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """Records of one type, at least one."""

    data: tuple[str, ...]
    seconds: int = DNS_LIFE
    """For how long they may be believed."""


class Records(Protocol):
    """DNS records by type, for lists of hosts in the DNS. Raises HostNotFound or TemporaryFailure."""

    async def records(self, name: str, kind: str) -> Found:
        """The records (`A`: addresses, `TXT`: texts); aliases are followed."""
        ...


@dataclass(frozen=True, slots=True)
class HintChange(Generic[T]):
    """What becomes of a hint: its new text (None: it stays as it is), kept until `expires`, and the asker's answer."""

    answer: T
    text: str | None = None
    expires: float = 0.0


class Hints(Protocol):
    """Small texts that outlive a connection, by kind and key. Raises TemporaryFailure."""

    async def change(self, kind: str, key: str, step: Callable[[str | None], HintChange[T]]) -> T:
        """Hands the text that is kept to `step`, with nobody between its reading and its writing. `step` may run in
        a thread."""
        ...


class NotOpened(TemporaryFailure):
    """A table can't be opened: nothing was looked up in it."""


class Lookups(Protocol):
    """`${lookup` and lookup list items. Raises NotOpened or another TemporaryFailure."""

    async def find(self, kind: str, key: str, source: str) -> str | None:
        """What a table has for one key; None: no such key. `kind` is the name of a type, the type's own options behind
        commas (`dsearch,filter=file`), without `partial-` and defaults. For a query-style type `key` is the query, and
        `source` is a database's file or empty."""
        ...


class Intake(Protocol):
    """The queue as reception sees it. Each raises SpoolUnavailable (or SpoolFull)."""

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        """Stores piece `number` (from 0) of the body of a message that is still arriving."""
        ...

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        """Commits the message with the last piece of its body (`tail` may be empty: then there is no further piece).

        On return the message is on disk and synced: the point of responsibility.
        """
        ...

    async def abandon(self, message_id: str) -> None:
        """Forgets the pieces of a message that will not be accepted; unknown ids are no error."""
        ...


class Capacity(Protocol):
    """What this machine can take now."""

    async def check(self, size: int | None) -> None:
        """Raises SpoolFull where a message of so many octets would take what is to stay free; None: its size is not
        known."""
        ...

    async def only_queues(self, *, delivery_asked: bool = False) -> bool:
        """Whether a message that comes now waits for a queue run (Exim: queue_only, queue_only_load, …).
        `delivery_asked`: by hand, which goes before all but the files of queue_only_file."""
        ...

    async def routes_only(self) -> bool:
        """Whether the first attempt on a message leaves what goes to other hosts."""
        ...


class Body(Protocol):
    """The body of a queued message, to be pulled piece by piece."""

    async def piece(self, number: int) -> bytes:
        """Piece `number` from 0; b"" behind the last one.

        The end is only told to who still has the message claimed; anybody else gets SpoolUnavailable. So the last
        step of a delivery, the dot or the name of a file, is not taken without a claim.
        """
        ...


class Outgoing(Protocol):
    """The queue as delivery sees it. Each raises SpoolUnavailable."""

    async def claim(self, now: float, limit: int) -> tuple[QueuedMessage, ...]:
        """Up to `limit` due messages that nobody else has, oldest due first, now leased to this process."""
        ...

    async def claim_one(self, message_id: str, now: float) -> QueuedMessage | None:
        """One message whether due or not; None where it is gone, frozen or claimed by another process."""
        ...

    def body(self, message_id: str) -> Body: ...

    async def settle(self, settlement: Settlement, now: float) -> None:
        """Makes the result of an attempt durable and gives the claim back."""
        ...

    async def next_due(self) -> float | None:
        """When the next message that is neither frozen nor claimed is due, seconds since the epoch."""
        ...

    async def entries(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        """A page of the queue in the order of arrival, behind the message id `after`."""
        ...
