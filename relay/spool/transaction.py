"""The steps of a message's life in SQL, the same for both engines (disk).

An engine gives one function, `execute`, which runs a statement of `schema.py` and returns all its rows. It
raises `Taken` for a key that exists already; every other trouble goes through this file to the engine, which
knows its kinds. Operations read before they write and check every claim with `owner = ours`, so that a
process that has lost its lease can record what it did and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.queue import (
    CHUNK_SIZE,
    NewMessage,
    QueuedMessage,
    QueuedRecipient,
    QueueEntry,
    RecipientState,
    RecipientUpdate,
    Replacement,
    Settlement,
)
from relay.spool import codec, schema
from relay.spool.store import Change, Claim, Damaged, MessageExists, Piece, PiecesMissing, Settled

Row = tuple[Any, ...]


class Taken(Exception):
    """A row with this key exists."""


class Execute(Protocol):
    """Runs one statement to its end and gives all its rows."""

    def __call__(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]: ...


class SQLReading:
    """`store.Reading` over one connection."""

    def __init__(self, execute: Execute, owner: str) -> None:
        self._execute = execute
        self._owner = owner

    @property
    def execute(self) -> Execute:
        """For what is no step of a message's life (`checking.py`)."""
        return self._execute

    def message(self, message_id: str) -> QueuedMessage | None:
        rows = self._execute(schema.MESSAGE_GET, (message_id,))
        return self._queued(rows[0]) if rows else None

    def owned_message(self, message_id: str) -> QueuedMessage | None:
        rows = self._execute(schema.MESSAGE_OWNER, (message_id,))
        return self.message(message_id) if rows and rows[0][0] == self._owner else None

    def still_ours(self, message_id: str) -> bool:
        return bool(self._execute(schema.MESSAGE_HELD, (message_id, self._owner)))

    def piece(self, message_id: str, number: int) -> Piece:
        rows = self._execute(schema.CHUNK_GET, (message_id, number, message_id, number))
        if not rows:
            return Piece(b"", True)
        data, more = rows[0]
        return Piece(bytes(data), not more)

    def next_due(self) -> float | None:
        due: float | None = self._execute(schema.NEXT_DUE)[0][0]
        return due

    def entries(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        return tuple(self._entry(row) for row in self._execute(schema.ENTRIES, (after, limit)))

    def frozen(self, limit: int, after: str = "") -> tuple[QueueEntry, ...]:
        return tuple(self._entry(row) for row in self._execute(schema.FROZEN_ENTRIES, (after, limit)))

    def count(self) -> int:
        return int(self._execute(schema.MESSAGE_COUNT)[0][0])

    def hint(self, kind: str, key: str, now: float) -> str | None:
        rows = self._execute(schema.HINT_GET, (kind, codec.column_text(key), now))
        try:
            return codec.text_of_column(str(rows[0][0])) if rows else None
        except ValueError:
            return None  # advice that can't be read is none

    def _recipients(self, message_id: str) -> tuple[QueuedRecipient, ...]:
        return tuple(
            QueuedRecipient(
                number=number,
                recipient=codec.decode_recipient(recipient),
                state=RecipientState(state),
                attempts=attempts,
                last_error=codec.text_of_column(last_error),
                first_failed=first_failed,
                done=tuple(codec.text_of_column(line) for line in done.split("\n")[:-1]),
            )
            for number, recipient, state, attempts, last_error, first_failed, done in self._execute(
                schema.RECIPIENTS, (message_id,)
            )
        )

    def _queued(self, row: Row) -> QueuedMessage:
        message_id, due, frozen, attempts, body_size, envelope, header, facts, warnings = row
        sender, body_type, parameters, _ = codec.decode_envelope(envelope)
        try:
            recipients = self._recipients(message_id)
        except ValueError as error:
            raise codec.Unreadable(f"a recipient can't be read: {error}") from error
        return QueuedMessage(
            message_id=message_id,
            sender=sender,
            recipients=recipients,
            header=bytes(header),
            facts=codec.decode_facts(facts),
            body_type=body_type,
            body_size=body_size,
            parameters=parameters,
            frozen=bool(frozen),
            due=due,
            attempts=attempts,
            warnings=warnings,
        )

    def _entry(self, row: Row) -> QueueEntry:
        message_id, envelope, received_at, size, frozen, due, frozen_at = row
        try:
            sender, _, _, caller = codec.decode_envelope(envelope)
            recipients = self._recipients(message_id)
        except ValueError:
            # A damaged row is still listed: the operator has to see its id to do something about it.
            sender, caller, recipients = NULL_SENDER, "", ()
        return QueueEntry(message_id, sender, received_at, size, bool(frozen), due, recipients, caller, frozen_at)


class SQLTransaction(SQLReading):
    """`store.Transaction` over one connection on which a transaction is open."""

    def add_chunk(self, message_id: str, number: int, data: bytes) -> None:
        try:
            if number == 0:
                self._execute(schema.ARRIVING_ADD, (message_id, self._owner))
            elif not self._execute(schema.ARRIVING_OWNED, (message_id, self._owner)):
                raise PiecesMissing(f"{message_id}: a piece of a body came without the one before it")
            self._execute(schema.CHUNK_ADD, (message_id, number, data))
        except Taken as error:
            raise _taken(message_id) from error

    def accept_message(self, message: NewMessage, number: int, tail: bytes) -> None:
        message_id = message.message_id
        if number:
            self._complete_arrival(message_id, number)
        try:
            if tail:
                self._execute(schema.CHUNK_ADD, (message_id, number, tail))
            self._insert(message)
        except Taken as error:
            raise _taken(message_id) from error

    def abandon(self, message_id: str) -> None:
        if self._execute(schema.ARRIVING_REMOVE, (message_id, self._owner)):
            self._execute(schema.CHUNKS_REMOVE, (message_id,))

    def withdraw(self, message_id: str) -> None:
        self.abandon(message_id)
        if self._execute(schema.MESSAGE_WITHDRAW, (message_id, self._owner)):
            self._execute(schema.RECIPIENTS_REMOVE, (message_id,))
            self._execute(schema.CHUNKS_REMOVE, (message_id,))

    def claim_due(self, now: float, limit: int) -> Claim:
        return self._claim(self._execute(schema.CLAIMABLE, (now, limit)))

    def claim_waiting(self, host: str, limit: int) -> Claim:
        return self._claim(self._execute(schema.CLAIMABLE_WAITING, (codec.column_text(host), limit)))

    def _claim(self, rows: Sequence[Row]) -> Claim:
        messages, damaged = [], []
        for row in rows:
            message_id = row[0]
            try:
                messages.append(self._queued(row))
            except codec.Unreadable as error:
                self._execute(schema.MESSAGE_SET_ASIDE, (message_id,))
                damaged.append(Damaged(message_id, str(error)))
            else:
                self._execute(schema.MESSAGE_SET_OWNER, (self._owner, message_id))
        return Claim(tuple(messages), tuple(damaged))

    def claim_one(self, message_id: str) -> Claim:
        rows = self._execute(schema.MESSAGE_CLAIM, (message_id,))
        if not rows:
            return Claim(())
        owner, frozen = rows[0]
        if frozen or owner not in {None, self._owner}:
            return Claim(())
        try:
            message = self.message(message_id)
        except codec.Unreadable as error:
            self._execute(schema.MESSAGE_SET_ASIDE, (message_id,))
            return Claim((), (Damaged(message_id, str(error)),))
        if owner is None:
            self._execute(schema.MESSAGE_SET_OWNER, (self._owner, message_id))
        return Claim((message,) if message is not None else ())

    def settle(self, settlement: Settlement) -> Settled:
        message_id = settlement.message_id
        pending = {row[0] for row in self._execute(schema.RECIPIENTS_PENDING, (message_id,))}
        finished = {each.number for each in settlement.updates if each.state is not RecipientState.PENDING}
        if pending <= finished:
            if not self._execute(schema.MESSAGE_REMOVE_OWNED, (message_id, self._owner)):
                return self._settle_lost(settlement)
            self._execute(schema.RECIPIENTS_REMOVE, (message_id,))
            self._execute(schema.CHUNKS_REMOVE, (message_id,))
            self._queue_bounces(settlement)
            return Settled.COMPLETED
        state = (int(settlement.freeze), settlement.frozen_at, codec.column_text(settlement.waits_for))
        kept = (settlement.due, *state, settlement.warnings, message_id, self._owner)
        if not self._execute(schema.MESSAGE_SETTLE, kept):
            return self._settle_lost(settlement)
        for each in settlement.updates:
            self._update_recipient(message_id, each)
        for wish in settlement.replacements:
            self._replace_recipient(message_id, wish)
        self._queue_bounces(settlement)
        return Settled.KEPT

    def release(self, message_id: str, due: float) -> bool:
        return bool(self._execute(schema.MESSAGE_RELEASE, (due, message_id, self._owner)))

    def remove(self, message_id: str) -> Change:
        change = self._may_change(message_id)
        if change is Change.DONE:
            self._execute(schema.MESSAGE_REMOVE, (message_id,))
            self._execute(schema.RECIPIENTS_REMOVE, (message_id,))
            self._execute(schema.CHUNKS_REMOVE, (message_id,))
        return change

    def freeze(self, message_id: str) -> Change:
        change = self._may_change(message_id, is_frozen=True)
        if change is Change.DONE:
            self._execute(schema.MESSAGE_SET_ASIDE, (message_id,))
        return change

    def thaw(self, message_id: str, due: float) -> Change:
        change = self._may_change(message_id, is_frozen=False)
        if change is Change.DONE:
            self._execute(schema.MESSAGE_THAW, (due, message_id))
        return change

    def set_due(self, message_id: str, due: float) -> Change:
        change = self._may_change(message_id)
        if change is Change.DONE:
            self._execute(schema.MESSAGE_SET_DUE, (due, message_id))
        return change

    def set_sender(self, message_id: str, sender: Address) -> Change:
        change = self._may_change(message_id)
        if change is Change.DONE:
            (envelope,) = self._execute(schema.MESSAGE_ENVELOPE, (message_id,))[0]
            self._execute(schema.MESSAGE_SET_ENVELOPE, (codec.with_sender(envelope, sender), message_id))
        return change

    def add_recipients(self, message_id: str, recipients: Sequence[Recipient]) -> Change:
        change = self._may_change(message_id)
        if change is Change.DONE:
            last = self._execute(schema.RECIPIENT_LAST, (message_id,))[0][0]
            for number, each in enumerate(recipients, 0 if last is None else last + 1):
                self._execute(schema.RECIPIENT_ADD, (message_id, number, codec.encode_recipient(each)))
        return change

    def mark_delivered(self, message_id: str, numbers: Sequence[int], note: str) -> Change:
        change = self._may_change(message_id)
        if change is Change.DONE:
            for number in numbers:
                self._execute(schema.RECIPIENT_MARK, (codec.column_text(note), message_id, number))
        return change

    def advance(self, now: float, beyond: float) -> int:
        return len(self._execute(schema.DEFERRED_DUE, (now, beyond)))

    def put_hint(self, kind: str, key: str, value: str, expires: float) -> None:
        self._execute(schema.HINT_PUT, (kind, codec.column_text(key), codec.column_text(value), expires))

    def remove_hint(self, kind: str, key: str) -> None:
        self._execute(schema.HINT_REMOVE, (kind, codec.column_text(key)))

    def expire_hints(self, now: float) -> int:
        return len(self._execute(schema.HINTS_EXPIRE, (now,)))

    def _complete_arrival(self, message_id: str, number: int) -> None:
        stored = self._execute(schema.CHUNK_COUNT, (message_id,))[0][0]
        if not self._execute(schema.ARRIVING_REMOVE, (message_id, self._owner)) or stored != number:
            raise PiecesMissing(f"{message_id}: of the first {number} pieces of its body {stored} are there")

    def _insert(self, message: NewMessage) -> None:
        owner = self._owner if message.due is None and not message.frozen else None
        due = message.facts.received_at if message.due is None else message.due
        self._execute(
            schema.MESSAGE_ADD,
            (
                message.message_id,
                owner,
                due,
                int(message.frozen),
                message.facts.received_at,
                len(message.header),
                message.body_size,
                codec.encode_envelope(message),
                message.header,
                codec.encode_facts(message.facts),
            ),
        )
        for number, each in enumerate(message.recipients):
            self._execute(schema.RECIPIENT_ADD, (message.message_id, number, codec.encode_recipient(each)))

    def _update_recipient(self, message_id: str, update: RecipientUpdate) -> None:
        if update.done:
            self._add_done(message_id, update)
        if not update.is_attempt:
            return
        changed = (update.state.value, codec.column_text(update.error), update.first_failed)
        self._execute(schema.RECIPIENT_UPDATE, (*changed, message_id, update.number))

    def _replace_recipient(self, message_id: str, wish: Replacement) -> None:
        number = self._execute(schema.RECIPIENT_LAST, (message_id,))[0][0] + 1
        self._execute(schema.RECIPIENT_ADD, (message_id, number, codec.encode_recipient(wish.recipient)))
        if wish.is_attempt:
            update = RecipientUpdate(number, RecipientState.PENDING, wish.error, wish.first_failed)
            self._update_recipient(message_id, update)
        if wish.key:
            self._add_done(message_id, RecipientUpdate(wish.number, RecipientState.PENDING, done=(wish.key,)))
        else:
            self._execute(schema.RECIPIENT_MARK, ("", message_id, wish.number))

    def _add_done(self, message_id: str, update: RecipientUpdate) -> None:
        lines = "".join(f"{codec.column_text(key)}\n" for key in update.done)
        self._execute(schema.RECIPIENT_DONE, (lines, message_id, update.number))

    def _settle_lost(self, settlement: Settlement) -> Settled:
        """A delivery that happened is recorded whoever has the message now, so that it is not repeated."""
        for each in settlement.updates:
            if each.state is RecipientState.DELIVERED:
                self._update_recipient(settlement.message_id, each)
            elif each.done:
                self._add_done(settlement.message_id, each)
        return Settled.LOST

    def _queue_bounces(self, settlement: Settlement) -> None:
        for bounce in settlement.bounces:
            message_id = bounce.message.message_id
            try:
                for number, start in enumerate(range(0, len(bounce.body), CHUNK_SIZE)):
                    piece = bounce.body[start : start + CHUNK_SIZE]
                    self._execute(schema.CHUNK_ADD, (message_id, number, piece))
                self._insert(bounce.message)
            except Taken as error:
                raise _taken(message_id) from error

    def _may_change(self, message_id: str, *, is_frozen: bool | None = None) -> Change:
        """`is_frozen`: what the change would bring about, where that may be so already."""
        rows = self._execute(schema.MESSAGE_CHANGE, (message_id,))
        if not rows:
            return Change.MISSING
        owner, frozen = rows[0]
        if owner is not None:
            return Change.CLAIMED
        return Change.ALREADY if is_frozen is not None and bool(frozen) is is_frozen else Change.DONE


def release_owner(execute: Execute, owner: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The end of an owner: the messages that are due again, and those still arriving that are forgotten."""
    execute(schema.OWNER_ARRIVING_CHUNKS, (owner,))
    arriving = tuple(str(row[0]) for row in execute(schema.OWNER_ARRIVING, (owner,)))
    claims = tuple(str(row[0]) for row in execute(schema.OWNER_CLAIMS, (owner,)))
    execute(schema.BATCH_REMOVE, (owner,))
    execute(schema.OWNER_REMOVE, (owner,))
    return claims, arriving


def _taken(message_id: str) -> MessageExists:
    return MessageExists(f"{message_id}: this message id is in the queue already")
