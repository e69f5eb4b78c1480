"""Messages and settlements that the tests of the queue share."""

import os
from pathlib import Path

from relay.mail.address import Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import Endpoint, Hello, MessageFacts, SessionFacts
from relay.mail.queue import NewMessage, RecipientState, RecipientUpdate, Settlement
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done, Operation, Store

NOW = 1_790_000_000.0
HEADER = b"Received: from laptop\r\nSubject: hello\r\n"


def message(
    message_id: str = "1aaaaa-aaaaaa-01",
    *,
    due: float | None = None,
    recipients: int = 1,
    body_size: int = 0,
    frozen: bool = False,
) -> NewMessage:
    return NewMessage(
        message_id=message_id,
        sender=Address("alice", "example.org"),
        recipients=tuple(
            Recipient(Address(f"bob{number}", "example.net"), Parameters((("NOTIFY", "NEVER"),)))
            for number in range(recipients)
        ),
        header=HEADER,
        facts=MessageFacts(
            SessionFacts(Endpoint("192.0.2.1", 4711), Endpoint("192.0.2.2", 25), hello=Hello("laptop", True)),
            received_at=NOW,
            acl_variables={"acl_m0": "x"},
        ),
        body_type=BodyType.EIGHTBITMIME,
        body_size=body_size,
        parameters=Parameters((("RET", "HDRS"),)),
        frozen=frozen,
        due=due,
    )


def delivered(message_id: str = "1aaaaa-aaaaaa-01", *numbers: int) -> Settlement:
    updates = tuple(RecipientUpdate(number, RecipientState.DELIVERED) for number in numbers or (0,))
    return Settlement(message_id, updates, due=NOW)


def deferred(message_id: str = "1aaaaa-aaaaaa-01", due: float = NOW + 900) -> Settlement:
    update = RecipientUpdate(0, RecipientState.PENDING, "451 later \udcff\x00", first_failed=NOW)
    return Settlement(message_id, (update,), due)


def opened(directory: Path, **arguments: object) -> SQLiteStore:
    store = SQLiteStore(directory / "queue", **arguments)  # type: ignore[arg-type]
    store.open(NOW)
    return store


def do(store: Store, *operations: Operation) -> list[object]:
    """Runs the operations as one batch; all must succeed; their values."""
    values = []
    for result in store.run(operations):
        assert isinstance(result, Done), result
        values.append(result.value)
    return values


def die(store: SQLiteStore) -> None:
    """What the kernel does for a killed process: everything is closed, nothing is put in order."""
    store.close_reading()
    store._close_writer()
    assert store._owner is not None
    os.close(store._owner._descriptor)
    store._owner = None
    store._let_go()


def body_of(store: Store, message_id: str) -> bytes:
    pieces, number = [], 0
    while True:
        piece = store.read(lambda queue, number=number: queue.piece(message_id, number))
        pieces.append(piece.data)
        if piece.is_last:
            return b"".join(pieces)
        number += 1


def rows(store: Store, table: str) -> int:
    """How many rows a table has."""
    found = store.read(lambda queue: queue._execute(f"SELECT count(*) FROM {table}"))  # type: ignore[attr-defined]
    return int(found[0][0])


def write(store: Store, statement: str) -> None:
    """A change that no operation makes: damage."""
    do(store, lambda queue: queue._execute(statement))  # type: ignore[attr-defined]
