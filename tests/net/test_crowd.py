"""Connections are counted over all workers."""

import mmap

from relay.net.crowd import BUCKETS, Crowd, SharedCrowd, clear_part, connections_in, memory_size

KEY = b"k" * 16


def shared(workers: int, most: int = 0) -> tuple[memoryview, list[SharedCrowd]]:
    memory = memoryview(mmap.mmap(-1, memory_size(workers)))
    return memory, [SharedCrowd(memory, index, KEY, most) for index in range(workers)]


def test_one_process() -> None:
    crowd = Crowd(2)
    crowd.enter("192.0.2.1")
    assert (crowd.count, crowd.of("192.0.2.1"), crowd.of("192.0.2.2"), crowd.is_full) == (1, 1, 0, False)
    crowd.enter("192.0.2.2")
    assert crowd.is_full
    crowd.leave("192.0.2.1")
    assert (crowd.count, crowd.of("192.0.2.1"), crowd.is_full) == (1, 0, False)


def test_what_one_worker_lets_in_all_count() -> None:
    memory, (first, second, third) = shared(3, most=3)
    first.enter("192.0.2.1")
    second.enter("192.0.2.1")
    second.enter("2001:db8::1")
    assert [each.count for each in (first, second, third)] == [3, 3, 3]
    assert [each.of("192.0.2.1") for each in (first, second, third)] == [2, 2, 2]
    assert third.is_full
    assert connections_in(memory) == 3
    second.leave("2001:db8::1")
    assert (third.count, third.of("2001:db8::1"), third.is_full) == (2, 0, False)


def test_a_dead_worker_has_no_connections() -> None:
    memory, (first, second) = shared(2)
    first.enter("192.0.2.1")
    second.enter("192.0.2.1")
    clear_part(memory, 1)
    assert (first.count, first.of("192.0.2.1")) == (1, 1)
    second.enter("192.0.2.1")
    successor = SharedCrowd(memory, 1, KEY)
    assert (successor.count, successor.of("192.0.2.1")) == (1, 1)


def test_a_full_table_never_counts_too_little() -> None:
    _, (first, second) = shared(2)
    for number in range(2 * BUCKETS):
        first.enter(f"2001:db8::{number:x}")
    assert second.count == 2 * BUCKETS
    assert all(second.of(f"2001:db8::{number:x}") >= 1 for number in range(0, 2 * BUCKETS, 97))
    for number in range(2 * BUCKETS):
        first.leave(f"2001:db8::{number:x}")
    assert second.count == 0
    assert not any(second.of(f"2001:db8::{number:x}") for number in range(0, 2 * BUCKETS, 97))
