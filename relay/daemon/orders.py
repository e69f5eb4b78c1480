"""What an operator may order of queued messages, and how it goes through `control.sock` (values).

A program connects and asks, a line of JSON each; the daemon answers each line with one, a run over the queue with
several. Nothing in a line is believed: who asks is what the kernel says of the socket. Both sides are here, so
that they can't drift apart: `Order`, `Run` and `Selection` go in, `Answer`, `Progress` and pieces of the queue come
out. The rows of the queue travel in the form that they have on disk (`spool/codec.py`).
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from typing import Any, TypeVar

from relay.expand.patterns import Pattern, PatternError
from relay.mail.queue import QueuedMessage, QueuedRecipient, QueueEntry, RecipientState
from relay.spool import codec

SOCKET_NAME = "control.sock"
LINE_LIMIT = 1024 * 1024
"""Octets of one line in either direction; a piece of a body takes less than a tenth of it."""
PAGE = 100
"""Messages in one answer."""

Fields = dict[str, Any]
T = TypeVar("T")


class BadOrder(ValueError):
    """A line is none of ours; the text is for whoever sent it."""


class Verb(enum.Enum):
    """What is to be done to a message."""

    FREEZE = "freeze"
    THAW = "thaw"
    REMOVE = "remove"
    GIVE_UP = "give up"
    """Fail all that is pending and report to the sender (Exim: -Mg)."""
    DELIVER = "deliver"
    """Try it now, frozen or not, whatever hosts have done before, and wait for the end (Exim: -M)."""
    DELIVER_IF_DUE = "deliver if due"
    """Try it now unless it is frozen, at hosts whose time has come (Exim: -Mc)."""
    MAKE_DUE = "make due"
    """Let the daemon try it at once; do not wait."""
    ADD_RECIPIENTS = "add recipients"
    MARK_DELIVERED = "mark delivered"
    MARK_ALL_DELIVERED = "mark all delivered"
    SET_SENDER = "set sender"


@dataclass(frozen=True, slots=True)
class Order:
    """One wish for one message; `addresses` as they were typed."""

    verb: Verb
    message_id: str
    addresses: tuple[str, ...] = ()


class Outcome(enum.Enum):
    """How it went."""

    DONE = "done"
    REFUSED = "refused"
    """It can't be done, for a reason that lies in the order or the message."""
    MISSING = "missing"
    """There is no such message."""
    LOCKED = "locked"
    """It is being delivered."""
    DENIED = "denied"
    """The caller may not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How it went, and what Exim says behind `Message ID `; "" where it says nothing."""

    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages. Texts are looked for anywhere in an address, in any case (Exim: -R, -S), or are regular
    expressions. All that is set must hold."""

    recipient: str = ""
    sender: str = ""
    domain: str = ""
    """Of a recipient that waits, whole."""
    host: str = ""
    """A name that the last error of a recipient that waits has in it."""
    frozen: bool = False
    """Only those that are."""
    before: float | None = None
    """Received before then, seconds since the epoch."""
    message_id: str = ""
    recipient_is_pattern: bool = False
    sender_is_pattern: bool = False

    def takes(self, entry: QueueEntry) -> bool:
        """Whether the message is one of them. Recipients that are done do not count. Raises
        PatternError, TemporaryFailure."""
        if self.message_id and entry.message_id != self.message_id:
            return False
        if (self.frozen and not entry.frozen) or (self.before is not None and entry.received_at >= self.before):
            return False
        if self.sender and not _is_in(self.sender, str(entry.sender), self.sender_is_pattern):
            return False
        if not (self.recipient or self.domain or self.host):
            return True
        pending = (each for each in entry.recipients if each.state is RecipientState.PENDING)
        return any(self._takes_recipient(each) for each in pending)

    def check(self) -> None:
        """Raises BadOrder for what is no regular expression and should be one."""
        patterns = ((self.recipient, self.recipient_is_pattern), (self.sender, self.sender_is_pattern))
        for text, is_pattern in patterns:
            try:
                _is_in(text, "", is_pattern)
            except PatternError as error:
                raise BadOrder(str(error)) from None

    def _takes_recipient(self, queued: QueuedRecipient) -> bool:
        address = queued.recipient.address
        return (
            (not self.recipient or _is_in(self.recipient, str(address), self.recipient_is_pattern))
            and (not self.domain or address.domain.lower() == self.domain.lower())
            and (not self.host or self.host.lower() in queued.last_error.lower())
        )


def _is_in(wanted: str, text: str, is_pattern: bool) -> bool:
    if is_pattern:
        return Pattern(wanted, caseless=True).search(text) is not None
    return wanted.lower() in text.lower()


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Run:
    """A run over the queue: `first_only` leaves out what was tried before, `force` does not wait for retry times,
    `thaw` takes frozen messages as well."""

    selection: Selection = EVERYTHING
    first_only: bool = False
    force: bool = False
    thaw: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: messages looked at, how many there were when it began, and how many of them are tried."""

    seen: int
    total: int
    tried: int
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class EntriesWish:
    """A page of the queue behind this message id."""

    after: str = ""
    limit: int = PAGE


@dataclass(frozen=True, slots=True)
class MessageWish:
    """A message without its body."""

    message_id: str


@dataclass(frozen=True, slots=True)
class PieceWish:
    """One piece of a message's body."""

    message_id: str
    number: int


@dataclass(frozen=True, slots=True)
class CountWish:
    """How many messages there are."""


Wish = Order | Run | EntriesWish | MessageWish | PieceWish | CountWish

_KINDS: dict[str, type[Wish]] = {
    "order": Order,
    "run": Run,
    "entries": EntriesWish,
    "message": MessageWish,
    "piece": PieceWish,
    "count": CountWish,
}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float | None": (int, float, type(None)),
    "Selection": (Selection,),
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """One line of JSON in ASCII."""
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


def decode_line(line: bytes) -> Fields:
    """Raises BadOrder."""
    try:
        fields = json.loads(line)
    except ValueError:
        raise BadOrder("not a line of JSON") from None
    if not isinstance(fields, dict):
        raise BadOrder("not a JSON object")
    return fields


def encode_wish(wish: Wish) -> bytes:
    """The line that asks for it."""
    fields: Fields = asdict(wish)
    if isinstance(wish, Order):
        fields["verb"] = wish.verb.value
    return encode_line({"ask": _NAMES[type(wish)], **fields})


def decode_wish(line: bytes) -> Wish:
    """What a line asks for. Raises BadOrder."""
    fields = decode_line(line)
    kind = _KINDS.get(str(fields.pop("ask", "")))
    if kind is None:
        raise BadOrder("what is asked for is not known here")
    try:
        if kind is Order:
            addresses = tuple(str(each) for each in fields["addresses"])
            return Order(Verb(fields["verb"]), str(fields["message_id"]), addresses)
        if kind is Run:
            fields["selection"] = _made(Selection, fields["selection"])
        return _made(kind, fields)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise BadOrder("what is asked for is not complete") from None


def _made(kind: type[T], values: Fields) -> T:
    """The value with these fields, each of which has the type that it should have. Raises TypeError, LookupError."""
    for each in fields_of(kind):  # type: ignore[arg-type]  # only dataclasses are made here
        if each.name in values and not isinstance(values[each.name], _TYPES[str(each.type)]):
            raise TypeError(each.name)
    return kind(**values)


def encode_answer(answer: Answer) -> bytes:
    """How an order went."""
    return encode_line({"outcome": answer.outcome.value, "text": answer.text})


def decode_answer(fields: Fields) -> Answer:
    """Raises BadOrder."""
    try:
        return Answer(Outcome(fields["outcome"]), str(fields["text"]))
    except (ValueError, LookupError):
        raise BadOrder("an answer that is none") from None


def encode_progress(progress: Progress) -> bytes:
    """How far a run is."""
    return encode_line({"run": asdict(progress)})


def decode_progress(fields: Fields) -> Progress:
    """Raises BadOrder."""
    try:
        return Progress(**fields["run"])
    except (TypeError, LookupError):
        raise BadOrder("the progress of a run that can't be read") from None


def encode_piece(data: bytes, *, is_last: bool) -> bytes:
    """A piece of a body."""
    return encode_line({"data": base64.b64encode(data).decode("ascii"), "last": is_last})


def decode_piece(fields: Fields) -> tuple[bytes, bool]:
    """The piece, and whether it is the last one. Raises BadOrder."""
    try:
        return base64.b64decode(fields["data"]), bool(fields["last"])
    except (TypeError, ValueError, LookupError):
        raise BadOrder("a piece of a body that can't be read") from None


def encode_entries(entries: tuple[QueueEntry, ...]) -> bytes:
    """A page of the queue."""
    rows = [
        {
            "id": each.message_id,
            "sender": [each.sender.local_part, each.sender.domain],
            "at": each.received_at,
            "size": each.size,
            "frozen": each.frozen,
            "due": each.due,
            "to": [_recipient(recipient) for recipient in each.recipients],
            "caller": each.caller,
            "frozen_at": each.frozen_at,
        }
        for each in entries
    ]
    return encode_line({"entries": rows})


def decode_entries(fields: Fields) -> tuple[QueueEntry, ...]:
    """Raises BadOrder."""
    try:
        return tuple(
            QueueEntry(
                message_id=str(row["id"]),
                sender=codec.address_of(row["sender"]),
                received_at=float(row["at"]),
                size=int(row["size"]),
                frozen=bool(row["frozen"]),
                due=float(row["due"]),
                recipients=tuple(_recipient_of(each) for each in row["to"]),
                caller=str(row["caller"]),
                frozen_at=None if row["frozen_at"] is None else float(row["frozen_at"]),
            )
            for row in fields["entries"]
        )
    except (TypeError, ValueError, LookupError):
        raise BadOrder("a page of the queue that can't be read") from None


def encode_message(message: QueuedMessage | None) -> bytes:
    """A message without its body, or that there is none."""
    if message is None:
        return encode_line({"message": None})
    return encode_line(
        {
            "message": {
                "id": message.message_id,
                "envelope": codec.encode_envelope(message),
                "to": [_recipient(each) for each in message.recipients],
                "header": base64.b64encode(message.header).decode("ascii"),
                "facts": codec.encode_facts(message.facts),
                "size": message.body_size,
                "frozen": message.frozen,
                "due": message.due,
                "attempts": message.attempts,
                "warnings": message.warnings,
            }
        }
    )


def decode_message(fields: Fields) -> QueuedMessage | None:
    """Raises BadOrder."""
    try:
        row = fields["message"]
        if row is None:
            return None
        sender, body_type, parameters, _ = codec.decode_envelope(row["envelope"])
        return QueuedMessage(
            message_id=str(row["id"]),
            sender=sender,
            recipients=tuple(_recipient_of(each) for each in row["to"]),
            header=base64.b64decode(row["header"]),
            facts=codec.decode_facts(row["facts"]),
            body_type=body_type,
            body_size=int(row["size"]),
            parameters=parameters,
            frozen=bool(row["frozen"]),
            due=float(row["due"]),
            attempts=int(row["attempts"]),
            warnings=int(row["warnings"]),
        )
    except (TypeError, ValueError, LookupError):
        raise BadOrder("a message that can't be read") from None


def _recipient(queued: QueuedRecipient) -> list[object]:
    return [
        queued.number,
        codec.encode_recipient(queued.recipient),
        queued.state.value,
        queued.attempts,
        queued.last_error,
        queued.first_failed,
        list(queued.done),
    ]


def _recipient_of(row: list[Any]) -> QueuedRecipient:
    number, recipient, state, attempts, last_error, first_failed, done = row
    return QueuedRecipient(
        number=int(number),
        recipient=codec.decode_recipient(recipient),
        state=RecipientState(state),
        attempts=int(attempts),
        last_error=str(last_error),
        first_failed=None if first_failed is None else float(first_failed),
        done=tuple(str(each) for each in done),
    )
