"""Messages, clocks and ports for the tests of delivery: they answer at once and refuse what they were not told."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from relay.mail.address import address_from_text
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.events import Event
from relay.mail.facts import Endpoint, MessageFacts, SessionFacts
from relay.mail.ports import HostNotFound, TemporaryFailure
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState, Settlement

T = TypeVar("T")

NOW = 1_790_000_000.0
HOUR = 3600.0
HEADER = b"Received: from laptop\r\nFrom: anna@laptop.test\r\nMessage-ID: <one@laptop.test>\r\nSubject: hello\r\n"
BODY = b"one\r\ntwo\r\n"


def run(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("a port did not answer at once")


def make_message(
    *recipients: str | QueuedRecipient,
    sender: str = "anna@laptop.test",
    header: bytes = HEADER,
    body: bytes = BODY,
    due: float = NOW,
    parameters: Mapping[str, str] | None = None,
) -> QueuedMessage:
    """A claimed message; recipients by address or as rows."""
    rows = tuple(
        each if isinstance(each, QueuedRecipient) else make_recipient(each, number)
        for number, each in enumerate(recipients or ("bert@far.test",))
    )
    return QueuedMessage(
        message_id="1AAAAA-BBBBBB-CC",
        sender=address_from_text(sender),
        recipients=rows,
        header=header,
        facts=MessageFacts(SessionFacts(peer=Endpoint("192.0.2.1", 4000)), NOW - 60),
        body_type=BodyType.EIGHTBITMIME,
        body_size=len(body),
        parameters=Parameters(tuple((parameters or {}).items())),
        frozen=False,
        due=due,
        attempts=0,
    )


def make_recipient(
    address: str,
    number: int = 0,
    *,
    attempts: int = 0,
    first_failed: float | None = None,
    parameters: Mapping[str, str] | None = None,
) -> QueuedRecipient:
    recipient = Recipient(address_from_text(address), Parameters(tuple((parameters or {}).items())))
    return QueuedRecipient(number, recipient, attempts=attempts, first_failed=first_failed)


class Pieces:
    """A body in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def piece(self, number: int) -> bytes:
        return self._pieces[number] if number < len(self._pieces) else b""


@dataclass
class StoppedClock:
    """A clock that stands still."""

    time: float = NOW

    def now(self) -> float:
        return self.time


@dataclass
class Notebook:
    """A journal that keeps what it was told; also what the queue was told, in one order."""

    events: list[Event | Settlement] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def words(self) -> list[str]:
        """The kinds of what happened, in order."""
        return [type(each).__name__ for each in self.events]

    def of(self, kind: type[T]) -> list[T]:
        return [each for each in self.events if isinstance(each, kind)]


class Names:
    """DNS as a value: a name gives addresses, or raises what is kept for it. Each question is counted."""

    def __init__(self, known: Mapping[str, tuple[str, ...] | Exception]) -> None:
        self._known = known
        self.asked: list[str] = []

    async def addresses(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        if ":" in name:
            return (name,)
        answer = self._known[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def names(self, address: str) -> tuple[str, ...]:
        raise AssertionError(f"nobody was to ask for the names of {address}")


NO_SUCH_NAME = HostNotFound("no such name")
NO_ANSWER = TemporaryFailure("the name server does not answer")


@dataclass
class Queue:
    """The queue as an attempt sees it. Settling goes into the notebook; `rivals` take the message after that many
    settlements; `troubles` are raised by settlements, in order."""

    notebook: Notebook
    message: QueuedMessage
    rivals_after: int | None = None
    trouble: Exception | None = None

    async def settle(self, settlement: Settlement, now: float) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.notebook.events.append(settlement)
        rows = {update.number: update for update in settlement.updates}
        self.message = replace(
            self.message,
            recipients=tuple(
                replace(each, state=rows[each.number].state) if each.number in rows else each
                for each in self.message.recipients
            ),
        )

    async def claim_one(self, message_id: str, now: float) -> QueuedMessage | None:
        assert message_id == self.message.message_id
        settled = len(self.notebook.of(Settlement))
        return None if self.rivals_after is not None and settled >= self.rivals_after else self.message

    async def claim(self, now: float, limit: int) -> tuple[QueuedMessage, ...]:
        raise AssertionError("an attempt claims no other messages")

    def body(self, message_id: str) -> Pieces:
        raise AssertionError("an attempt is given its body")

    async def next_due(self) -> float | None:
        raise AssertionError("an attempt does not schedule")

    async def entries(self, limit: int, after: str = "") -> tuple[Any, ...]:
        raise AssertionError("an attempt lists nothing")


def states(message: QueuedMessage) -> Iterable[RecipientState]:
    return (each.state for each in message.recipients)
