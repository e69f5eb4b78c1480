"""Messages' lives that are cut short, and what has to hold afterwards."""

from collections.abc import Callable

from relay.mail.queue import CHUNK_SIZE, RecipientState, RecipientUpdate, Settlement
from relay.spool.store import Done, Operation, Settled, Store
from spool.samples import NOW, body_of, do, message, rows

BODY = bytes(range(256)) * (2 * CHUNK_SIZE // 256) + b"tail"
PIECES = [BODY[start : start + CHUNK_SIZE] for start in range(0, len(BODY), CHUNK_SIZE)]

Promise = Callable[[str], None]


def run(store: Store, promise: Promise, what: str, *operations: Operation) -> None:
    """LOST: the life before it was cut, so that there was nothing to settle."""
    if all(isinstance(result, Done) and result.value is not Settled.LOST for result in store.run(operations)):
        promise(what)


def accept_in_pieces(store: Store, promise: Promise) -> None:
    for number, piece in enumerate(PIECES[:-1]):
        run(store, promise, "", lambda queue, number=number, piece=piece: queue.add_chunk("big", number, piece))
    last = len(PIECES) - 1
    run(store, promise, "big", lambda queue: queue.accept_message(message("big"), last, PIECES[-1]))


def accept_a_batch(store: Store, promise: Promise) -> None:
    operations = [
        lambda queue, each=each: queue.accept_message(message(each), 0, each.encode()) for each in ("one", "two")
    ]
    run(store, promise, "one two", *operations)


def deliver_and_bounce(store: Store, promise: Promise) -> None:
    run(store, promise, "sent", lambda queue: queue.accept_message(message("sent", due=NOW), 0, b"sent"))
    run(store, promise, "", lambda queue: queue.claim_due(NOW, 10))
    failed = (RecipientUpdate(0, RecipientState.FAILED, "550 no"),)
    bounce = Settlement("sent", failed, NOW, bounce=message("bounce"), bounce_body=b"bounce")
    run(store, promise, "bounce", lambda queue: queue.settle(bounce))


def defer(store: Store, promise: Promise) -> None:
    run(store, promise, "late", lambda queue: queue.accept_message(message("late", recipients=2), 0, b"late"))
    updates = (
        RecipientUpdate(0, RecipientState.PENDING, "451", first_failed=NOW),
        RecipientUpdate(1, RecipientState.DELIVERED),
    )
    later = Settlement("late", updates, NOW + 900)
    run(store, promise, "deferred", lambda queue: queue.settle(later))


Life = Callable[[Store, Promise], None]
LIVES: tuple[Life, ...] = (accept_in_pieces, accept_a_batch, deliver_and_bounce, defer)

BODIES = {"big": BODY, "one": b"one", "two": b"two", "sent": b"sent", "bounce": b"bounce", "late": b"late"}


def look(store: Store, promised: list[str]) -> None:
    """At what is left, by who has just started."""
    found = {each.message_id: each for each in store.read(lambda queue: queue.entries(100))}

    for message_id in found:
        assert body_of(store, message_id) == BODIES[message_id]
    for each in promised:
        if each == "deferred":
            assert [one.state for one in found["late"].recipients] == [RecipientState.PENDING, RecipientState.DELIVERED]
        elif each == "sent":
            assert ("sent" in found) != ("bounce" in found), "a message and its bounce, or neither"
        else:
            assert each in found
    assert ("one" in found) or ("two" not in found)
    if "deferred" not in promised and "late" in found and found["late"].due == NOW:
        assert {one.state for one in found["late"].recipients} == {RecipientState.PENDING}

    # Nothing half-arrived is left, and nobody who is dead holds anything.
    pieces = sum(-(-len(BODIES[each]) // CHUNK_SIZE) for each in found)
    recipients = sum(len(each.recipients) for each in found.values())
    assert [rows(store, table) for table in ("chunk", "recipient", "arriving", "owner")] == [pieces, recipients, 0, 1]
    assert store.read(lambda queue: queue.next_due()) in ({None} if not found else {NOW, NOW + 900})
    claims = do(store, lambda queue: queue.claim_due(NOW + 900, 100))
    assert {each.message_id for each in claims[0].messages} == set(found)  # type: ignore[attr-defined]
