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

from relay.mail.queue import RecipientState, RecipientUpdate, Settlement
from relay.spool.sqlite import SQLiteStore
from spool.lives import LIVES, Promise, accept_a_batch, look, run
from spool.samples import NOW, die, do, message, opened


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


@pytest.mark.parametrize("life", [*LIVES, checkpoint])
def test_killed_before_every_statement(tmp_path: Path, life: Callable[[SQLiteStore, Promise], None]) -> None:
    killed, step = True, 0
    while killed:
        directory = tmp_path / str(step)
        killed, promised = killed_at(step, directory, life)
        store = opened(directory)
        look(store, promised)
        assert store._reading().pragma("integrity_check") == "ok"
        store.close_reading()
        store.close()
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
