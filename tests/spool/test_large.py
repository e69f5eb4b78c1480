"""A message of 50 MB goes in and out in pieces: what it takes of memory does not depend on its size."""

import tracemalloc

import pytest

from relay.mail.queue import CHUNK_SIZE
from relay.spool.store import Done, Store
from spool.samples import NOW, message

PIECES = 50 * 1024 * 1024 // CHUNK_SIZE
PER_BATCH = 10
BOUND = 4 * 1024 * 1024


def piece(number: int) -> bytes:
    return number.to_bytes(4, "big") * (CHUNK_SIZE // 4)


@pytest.mark.slow
def test_memory_is_bounded(store: Store) -> None:
    tracemalloc.start()
    try:
        for start in range(0, PIECES, PER_BATCH):
            batch = [
                lambda queue, number=number: queue.add_chunk("big", number, piece(number))
                for number in range(start, min(start + PER_BATCH, PIECES))
            ]
            assert all(isinstance(result, Done) for result in store.run(batch))
            store.maintain()
        size = PIECES * CHUNK_SIZE
        [result] = store.run([lambda queue: queue.accept_message(message("big", due=NOW, body_size=size), PIECES, b"")])
        assert isinstance(result, Done)
        for number in range(PIECES):
            found = store.read(lambda queue, number=number: queue.piece("big", number))
            assert found.data == piece(number)
            assert found.is_last == (number == PIECES - 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < BOUND
