"""A message on its way through the queue, as values (values).

`NewMessage` is what reception hands over; `QueuedMessage` is what delivery gets back. The body travels beside them in
chunks, so that neither holds it whole.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field

from relay.mail.address import Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import MessageFacts

# A body is stored and read in pieces of at most this many octets.
CHUNK_SIZE = 65536

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def make_message_id(now: float, source: random.Random) -> str:
    """A message id in the form that Exim has since 4.97, `tttttt-rrrrrrrrrrr-ffff`.

    The first part is the second of arrival, the second begins with the microsecond, so that ids stand in the order of
    arrival, as Exim's do; the rest is random (40 and 20 bits), since several processes and hosts give ids without
    asking each other. The spool refuses an id that is taken.
    """
    second = int(now)
    middle = (int((now - second) * 1e6) << 40) | source.getrandbits(40)
    return f"{_base62(second, 6)}-{_base62(middle, 11)}-{_base62(source.getrandbits(20), 4)}"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An accepted message before it is committed. `header` has our Received: field already, each line with CRLF, no
    empty line at its end."""

    message_id: str
    sender: Address
    recipients: tuple[Recipient, ...]
    header: bytes
    facts: MessageFacts
    body_type: BodyType = BodyType.SEVENBIT
    body_size: int = 0
    parameters: Parameters = field(default_factory=Parameters)
    frozen: bool = False
    due: float | None = None
    """When the first attempt is due, seconds since the epoch; None: at once, committed as claimed by its owner."""


class RecipientState(enum.Enum):
    """What is known of one recipient of a queued message."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One row of the recipient table. `number` is its place in the envelope, its key within the message."""

    number: int
    recipient: Recipient
    state: RecipientState = RecipientState.PENDING
    attempts: int = 0
    last_error: str = ""
    first_failed: float | None = None
    """When this recipient was first deferred, seconds since the epoch."""
    done: tuple[str, ...] = ()
    """Of the addresses that it stands for, those that are dealt with (keys that delivery makes)."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message as it stands in the queue, without its body."""

    message_id: str
    sender: Address
    recipients: tuple[QueuedRecipient, ...]
    header: bytes
    facts: MessageFacts
    body_type: BodyType
    body_size: int
    parameters: Parameters
    frozen: bool
    due: float
    attempts: int
    warnings: int = 0
    """How many times its sender should have been told that it waits."""

    @property
    def pending(self) -> tuple[QueuedRecipient, ...]:
        return tuple(each for each in self.recipients if each.state is RecipientState.PENDING)

    @property
    def size(self) -> int:
        """Octets of header, empty line and body."""
        return len(self.header) + 2 + self.body_size


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A line of a queue listing."""

    message_id: str
    sender: Address
    received_at: float
    size: int
    frozen: bool
    due: float
    recipients: tuple[QueuedRecipient, ...]
    caller: str = ""
    """The login of a local caller who is not trusted."""
    frozen_at: float | None = None
    """When delivery has frozen it; None: it is not frozen, or somebody did it by hand."""


@dataclass(frozen=True, slots=True)
class RecipientUpdate:
    """What an attempt changed for one recipient."""

    number: int
    state: RecipientState
    error: str = ""
    first_failed: float | None = None
    done: tuple[str, ...] = ()
    """What is dealt with now of the addresses that it stands for."""
    is_attempt: bool = True
    """False where only `done` is to be written: the attempt goes on."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A further recipient, in the place of the one that it was made of (Exim: one_time)."""

    recipient: Recipient
    number: int
    """The row that has stood for it."""
    key: str = ""
    """What of that row is dealt with now; "": all of it."""
    error: str = ""
    first_failed: float | None = None
    is_attempt: bool = True
    """False where it was not tried yet."""


@dataclass(frozen=True, slots=True)
class NewBounce:
    """A report for the queue, with its body."""

    message: NewMessage
    body: bytes


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of an attempt as one durable step: recipients' states, when to try again, what else goes into the
    queue (a bounce) in the same transaction. A message without pending recipients is removed."""

    message_id: str
    updates: tuple[RecipientUpdate, ...]
    due: float
    freeze: bool = False
    bounce: NewMessage | None = None
    bounce_body: bytes = b""
    frozen_at: float | None = None
    """When it was frozen, seconds since the epoch."""
    warnings: int | None = None
    """How many warnings its sender has had; None: as many as before."""
    waits_for: str = ""
    """The host for which it waits, name and port, where a host was at fault: when that takes mail again, this message
    may go over the same connection (Exim: the wait- databases)."""
    replacements: tuple[Replacement, ...] = ()
    """Written only where the message is kept by who settles it: elsewhere their rows stand for them still."""
    more_bounces: tuple[NewBounce, ...] = ()
    """Reports to others than the first one's recipient."""
    is_complete: bool = False
    """Nobody waits any more, so that nothing becomes due by it; unless somebody has changed the message meanwhile."""

    @property
    def bounces(self) -> tuple[NewBounce, ...]:
        """All reports."""
        first = () if self.bounce is None else (NewBounce(self.bounce, self.bounce_body),)
        return (*first, *self.more_bounces)
