"""kill -9 between any two steps: what was promised is there, once and whole, and the rest left no trace.

A child process plays a message's life and is killed by SIGKILL just before its Nth statement, for every N; it
tells by a pipe what it had been promised before that. The queue is then opened again and looked at.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from relay.mail.queue import CHUNK_SIZE, RecipientState, RecipientUpdate, Settlement
from relay.spool.sqlite import SQLiteStore
from relay.spool.store import Done, Operation
from spool.samples import NOW, body_of, die, do, message, opened, rows

BODY = bytes(range(256)) * (2 * CHUNK_SIZE // 256) + b"tail"
PIECES = [BODY[start : start + CHUNK_SIZE] for start in range(0, len(BODY), CHUNK_SIZE)]

Promise = Callable[[str], None]


def run(store: SQLiteStore, promise: Promise, what: str, *operations: Operation) -> None:
    if all(isinstance(result, Done) for result in store.run(operations)):
        promise(what)


def accept_in_pieces(store: SQLiteStore, promise: Promise) -> None:
    for number, piece in enumerate(PIECES[:-1]):
        run(store, promise, "", lambda queue, number=number, piece=piece: queue.add_chunk("big", number, piece))
    last = len(PIECES) - 1
    run(store, promise, "big", lambda queue: queue.accept_message(message("big"), last, PIECES[-1]))


def accept_a_batch(store: SQLiteStore, promise: Promise) -> None:
    operations = [
        lambda queue, each=each: queue.accept_message(message(each), 0, each.encode()) for each in ("one", "two")
    ]
    run(store, promise, "one two", *operations)


def deliver_and_bounce(store: SQLiteStore, promise: Promise) -> None:
    run(store, promise, "sent", lambda queue: queue.accept_message(message("sent", due=NOW), 0, b"sent"))
    run(store, promise, "", lambda queue: queue.claim_due(NOW, 10))
    failed = (RecipientUpdate(0, RecipientState.FAILED, "550 no"),)
    bounce = Settlement("sent", failed, NOW, bounce=message("bounce"), bounce_body=b"bounce")
    run(store, promise, "bounce", lambda queue: queue.settle(bounce))


def defer(store: SQLiteStore, promise: Promise) -> None:
    run(store, promise, "late", lambda queue: queue.accept_message(message("late", recipients=2), 0, b"late"))
    updates = (
        RecipientUpdate(0, RecipientState.PENDING, "451", first_failed=NOW),
        RecipientUpdate(1, RecipientState.DELIVERED),
    )
    later = Settlement("late", updates, NOW + 900)
    run(store, promise, "deferred", lambda queue: queue.settle(later))


def checkpoint(store: SQLiteStore, promise: Promise) -> None:
    run(store, promise, "one", lambda queue: queue.accept_message(message("one"), 0, b"one"))
    store._checkpoint_at = 1
    store.maintain()
    run(store, promise, "two", lambda queue: queue.accept_message(message("two"), 0, b"two"))


def killed_at(step: int, directory: Path, life: Callable[[SQLiteStore, Promise], None]) -> tuple[bool, list[str]]:
    """Plays the life in a child that is killed before that statement. Whether it was, and what it had been promised."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            store = SQLiteStore(directory / "queue")
            store.open(NOW)
            left = step

            def kill(_cursor: object, _statement: str, _bindings: object) -> bool:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return True

            assert store._writer is not None
            store._writer.exec_trace = kill
            life(store, lambda what: os.write(writing, f"{what} ".encode()) and None)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        promised = told.read().split()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status), promised


BODIES = {"big": BODY, "one": b"one", "two": b"two", "sent": b"sent", "bounce": b"bounce", "late": b"late"}


def look(directory: Path, promised: list[str]) -> None:
    store = opened(directory)
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
    connection = store._reading()
    assert connection.pragma("integrity_check") == "ok"
    store.close_reading()
    store.close()


@pytest.mark.parametrize("life", [accept_in_pieces, accept_a_batch, deliver_and_bounce, defer, checkpoint])
def test_killed_before_every_statement(tmp_path: Path, life: Callable[[SQLiteStore, Promise], None]) -> None:
    killed, step = True, 0
    while killed:
        directory = tmp_path / str(step)
        killed, promised = killed_at(step, directory, life)
        look(directory, promised)
        step += 1
    assert step > 8


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Each of three children adds, claims and settles; every message is claimed by exactly one of them."""
    opened(tmp_path).close()
    told, tell = os.pipe()
    children = []
    for name in "abc":
        child = os.fork()
        if not child:
            try:
                store = opened(tmp_path, patience=60.0)
                for number in range(25):
                    new = message(f"{name}{number:02}", due=NOW)
                    do(store, lambda queue, new=new: queue.accept_message(new, 0, b"x" * 3000))
                    [claim] = do(store, lambda queue: queue.claim_due(NOW, 2))
                    for each in claim.messages:  # type: ignore[attr-defined]
                        os.write(tell, f"{each.message_id} ".encode())
                        done = Settlement(each.message_id, (RecipientUpdate(0, RecipientState.DELIVERED),), NOW)
                        do(store, lambda queue, done=done: queue.settle(done))
                    store._checkpoint_at = 5
                    store.maintain()
                store.close()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    os.close(tell)
    with os.fdopen(told) as reading:
        claimed = reading.read().split()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]

    store = opened(tmp_path)
    left = [each.message_id for each in store.read(lambda queue: queue.entries(1000))]
    assert sorted(claimed + left) == sorted(f"{name}{number:02}" for name in "abc" for number in range(25))
    assert store._reading().pragma("integrity_check") == "ok"
    store.close_reading()
    store.close()


def test_a_killed_writer_does_not_block_its_neighbours(tmp_path: Path) -> None:
    killed, _ = killed_at(3, tmp_path, accept_a_batch)
    assert killed
    store = opened(tmp_path, patience=0.0)
    do(store, lambda queue: queue.accept_message(message(), 0, b"x"))
    die(store)
    other = apsw.Connection(str(store.path))
    assert other.execute("SELECT count(*) FROM message").get == 1
    other.close()
