"""The interface of a queue engine: what may be done in a transaction, and how transactions are run (disk).

A `Store` runs a batch of operations as one durable transaction; an operation is a plain function of a
`Transaction`. Each has a savepoint of its own, so that one that fails takes nothing with it; when the batch
can't be committed, all of them fail together. `run` returns only when what it reports as done is on disk and
synced: what is promised to a peer on the strength of a `Done` stays promised. Both engines are called from
ordinary threads and block.

The life of a message: `add_chunk`… `accept_message`, `claim_due` or `claim_one`, `settle`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.ports import SpoolUnavailable
from relay.mail.queue import NewMessage, QueuedMessage, QueueEntry, Settlement

T = TypeVar("T")


class MessageExists(SpoolUnavailable):
    """The message id is taken: refuse with 451, the next try gets another id."""


class PiecesMissing(SpoolUnavailable):
    """A message was to be accepted whose body is not complete in the queue: 451."""


@dataclass(frozen=True, slots=True)
class Done:
    """The operation's value; what it wrote is on disk and synced."""

    value: object


@dataclass(frozen=True, slots=True)
class Refused:
    """The operation failed and has changed nothing."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Unknown:
    """The commit failed: the operation was answered with an error, and yet a crash may bring its rows back.

    Who gave a message to the queue withdraws it (`Transaction.withdraw`) once the queue works again.
    """

    error: SpoolUnavailable


Result = Done | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a body. b"" with `is_last` is what is found behind the end."""

    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Damaged:
    """A row that can't be read. The message was set aside (frozen), nothing of it was deleted."""

    message_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Messages that are now this owner's, and those that had to be set aside on the way to them."""

    messages: tuple[QueuedMessage, ...]
    damaged: tuple[Damaged, ...] = ()


class Settled(enum.Enum):
    """What became of a message whose attempt was settled."""

    COMPLETED = "completed"
    """No recipient is pending: it is gone."""
    KEPT = "kept"
    """It waits for its next attempt."""
    LOST = "lost"
    """The claim was not ours any more: deliveries were recorded, the rest is left to who has it now."""


class Change(enum.Enum):
    """What became of an operator's wish for one message."""

    DONE = "done"
    MISSING = "missing"
    CLAIMED = "claimed"
    """It is being delivered; ask again."""
    ALREADY = "already"
    """It was so before."""


class Fault(enum.Enum):
    """What can be wrong with a row of the queue."""

    UNREADABLE = "can't be read"
    NO_RECIPIENTS = "has no recipients"
    SHORT_BODY = "does not have the body that it was accepted with"
    LOST_CHUNKS = "is gone, and pieces of its body are there"
    LOST_RECIPIENTS = "is gone, and recipients of it are there"
    LOST_CLAIM = "is claimed by an owner that does not exist"
    LOST_ARRIVAL = "is arriving for an owner that does not exist"
    DATABASE = "the database itself is damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `message_id` is "" for what concerns no message, `owner` where it is nobody's."""

    fault: Fault
    message_id: str
    detail: str = ""
    owner: str = ""

    def __str__(self) -> str:
        """For the operator."""
        text = f"{self.message_id}: {self.fault.value}" if self.message_id else self.fault.value
        return f"{text} ({self.detail})" if self.detail else text


class Mended(enum.Enum):
    """What a repair did."""

    SET_ASIDE = "frozen, nothing of it was deleted"
    MOVED = "moved into the table `aside`"
    RELEASED = "due again"
    LEFT = "left as it is"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What dead owners left: their number, the messages due again, the half-arrived ones that were dropped."""

    owners: int = 0
    released: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __add__(self, other: Recovery) -> Recovery:
        """Both."""
        return Recovery(self.owners + other.owners, self.released + other.released, self.dropped + other.dropped)

    def __str__(self) -> str:
        """For the log; empty where nothing was found."""
        if not self.owners:
            return ""
        return (
            f"took over from {self.owners} dead process(es): {len(self.released)} message(s) due again,"
            f" {len(self.dropped)} half-arrived one(s) forgotten"
        )


@dataclass(frozen=True, slots=True)
class SomethingDue:
    """Another process has put something into the queue, or given it back, that anybody may claim."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """This process was silent for longer than its lease: what it had claimed belongs to others now."""


@dataclass(frozen=True, slots=True)
class Owners:
    """So many processes share the queue now, this one among them."""

    number: int


News = SomethingDue | LeaseLost | Recovery | Owners
"""What an owner with a lease hears from the others, or did for them."""


class Reading(Protocol):
    """What can be asked without changing anything; all answers are of one moment."""

    def message(self, message_id: str) -> QueuedMessage | None:
        """A message whatever its state; None: there is none. Raises codec.Unreadable."""
        ...

    def owned_message(self, message_id: str) -> QueuedMessage | None:
        """The message if this process has it claimed."""
        ...

    def still_ours(self, message_id: str) -> bool:
        """Whether this process has the message claimed, by a lease that is not over."""
        ...

    def piece(self, message_id: str, number: int) -> Piece:
        """Piece `number` of the body, from 0."""
        ...

    def next_due(self) -> float | None:
        """When the next message that is neither frozen nor claimed is due, seconds since the epoch."""
        ...

    def entries(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        """A page of the queue, ordered by message id, which is the order of arrival by the second."""
        ...

    def frozen(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        """A page of those that are frozen and that nobody has, in the same order."""
        ...

    def count(self) -> int:
        """How many messages there are."""
        ...

    def hint(self, kind: str, key: str, now: float) -> str | None:
        """The JSON that was kept under this key, unless its time is over."""
        ...


class Transaction(Reading, Protocol):
    """What can be done. Each method is a complete step: an operation may be just one call."""

    def add_chunk(self, message_id: str, number: int, data: bytes) -> None:
        """A piece of a body that is still arriving. Raises MessageExists."""
        ...

    def accept_message(self, message: NewMessage, number: int, tail: bytes) -> None:
        """The message, with piece `number` of its body unless `tail` is empty.

        Without a due time it is this owner's at once, unless it is frozen. Raises MessageExists,
        PiecesMissing.
        """
        ...

    def abandon(self, message_id: str) -> None:
        """Forgets this owner's pieces of a message that will not be accepted."""
        ...

    def withdraw(self, message_id: str) -> None:
        """Forgets a message whose acceptance had the result `Unknown`: its client was told that it failed."""
        ...

    def claim_due(self, now: float, limit: int) -> Claim:
        """Up to `limit` due messages that nobody has, oldest due first."""
        ...

    def claim_waiting(self, host: str, limit: int) -> Claim:
        """Up to `limit` messages that nobody has and that wait for this host (`Settlement.waits_for`), whether due or
        not; oldest due first."""
        ...

    def claim_one(self, message_id: str) -> Claim:
        """One message whether due or not; nothing where it is gone, frozen or another's; ours stays ours."""
        ...

    def settle(self, settlement: Settlement) -> Settled:
        """Records an attempt, gives the claim back, and puts the bounce into the queue.

        As with any new message, a bounce without a due time is this owner's at once. Raises MessageExists, for the
        bounce; nothing is recorded then.
        """
        ...

    def release(self, message_id: str, due: float) -> bool:
        """Gives a claim back without an attempt; False where it was not ours."""
        ...

    def remove(self, message_id: str) -> Change:
        """Deletes a message that nobody has claimed."""
        ...

    def freeze(self, message_id: str) -> Change:
        """Holds a message back until it is thawed."""
        ...

    def set_due(self, message_id: str, due: float) -> Change:
        """When it is tried next; a frozen one stays so."""
        ...

    def set_sender(self, message_id: str, sender: Address) -> Change:
        """Gives it another envelope sender. Raises codec.Unreadable."""
        ...

    def add_recipients(self, message_id: str, recipients: Sequence[Recipient]) -> Change:
        """Further recipients, behind those that it has."""
        ...

    def mark_delivered(self, message_id: str, numbers: Sequence[int], note: str) -> Change:
        """Takes pending recipients for delivered, without an attempt; `note` is who says so."""
        ...

    def thaw(self, message_id: str, due: float) -> Change:
        """Lets a frozen message go on, due at `due`."""
        ...

    def advance(self, now: float, beyond: float) -> int:
        """Makes due at `now` what has been tried before and would only be due behind `beyond`; how many these are."""
        ...

    def put_hint(self, kind: str, key: str, value: str, expires: float) -> None:
        """Keeps a JSON text under this key, in place of an older one."""
        ...

    def remove_hint(self, kind: str, key: str) -> None:
        """Forgets a hint; one that does not exist is no error."""
        ...

    def expire_hints(self, now: float) -> int:
        """Forgets hints whose time is over; how many."""
        ...


Operation = Callable[[Transaction], object]


class Store(Protocol):
    """An engine. `run`, `maintain` and `recover` are for one thread at a time, `read` for another, `watch` for a
    third."""

    @property
    def owner(self) -> str:
        """The id under which this process holds claims; "" while the queue is not open."""
        ...

    @property
    def has_leases(self) -> bool:
        """Whether claims end without a word from their owner: then `watch` has to run, and who acts on a claim asks
        `still_ours` before what can't be undone. False: a claim ends with its process, and not before."""
        ...

    def open(self, now: float) -> Recovery:
        """Makes or upgrades the tables, registers this process as an owner, recovers what dead owners left.

        Raises SpoolUnavailable with a text for the operator.
        """
        ...

    def run(self, operations: Sequence[Operation]) -> list[Result]:
        """All operations as one transaction, durable on return; never raises, one result for each."""
        ...

    def maintain(self) -> None:
        """What is better done between batches, after their results went out; never raises."""
        ...

    def read(self, question: Callable[[Reading], T]) -> T:
        """An answer from one moment's state. Raises SpoolUnavailable."""
        ...

    def recover(self, dead: Collection[str] = ()) -> Recovery:
        """Takes over from owners that have died since; `dead` are owners whose process the caller knows to be gone,
        which need not be waited for. Raises SpoolUnavailable."""
        ...

    def close(self) -> None:
        """Ends this owner: what it still has claimed is due for others, what is still arriving is forgotten."""
        ...

    def close_reading(self) -> None:
        """Closes what `read` uses; called by the thread that reads."""
        ...

    def watch(self, tell: Callable[[News], object]) -> None:
        """Keeps this owner's lease, takes over from others whose lease is over, and tells what there is to hear;
        returns after `stop_watching`. Never raises."""
        ...

    def stop_watching(self) -> None:
        """Ends `watch`, from any thread."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there may be a queue at all: where there is none, an empty one is shown."""
        ...

    def check(self, limit: int) -> tuple[Finding, ...]:
        """What is wrong with the queue, up to `limit` findings of each kind; for the thread that reads, and also
        for a store that is not open. Every message is read. Raises SpoolUnavailable."""
        ...

    def repair(self, findings: Sequence[Finding], now: float) -> tuple[Mended, ...]:
        """Puts right what `check` found, each as one durable step, looking again first; for the thread that writes.

        A damaged message is frozen, rows that belong to nothing are moved aside: nothing is deleted. Other processes
        may have the queue open meanwhile: what one of them delivers or takes in is left as it is. Raises
        SpoolUnavailable.
        """
        ...
