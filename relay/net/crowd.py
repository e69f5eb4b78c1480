"""How many connections are served now, in all and from one address (edge).

`Crowd` knows those of one process. `SharedCrowd` adds its siblings': each worker writes its own part of a shared
memory and reads the others'. Nobody waits for anybody, so two that let somebody in at the same instant may be over a
limit by one connection for each further worker.
"""

from __future__ import annotations

import hashlib
from collections import Counter

BUCKETS = 16384
"""Counts that a worker keeps for addresses; a power of two."""
PART = 1 + BUCKETS
"""Numbers in the part of one worker: all connections, then those of the addresses that share a bucket."""
_NUMBER = 4


def memory_size(workers: int) -> int:
    """Octets of shared memory for so many workers."""
    return workers * PART * _NUMBER


class Crowd:
    """The connections of a process, over all of its factories. `most` 0: no limit."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._own = 0
        self._by_address: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """All connections."""
        return self._own

    @property
    def is_full(self) -> bool:
        return 0 < self.most <= self.count

    def of(self, address: str) -> int:
        """Connections from one address."""
        return self._by_address[address]

    def enter(self, address: str) -> None:
        self._own += 1
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        self._own -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]


class SharedCrowd(Crowd):
    """The connections of all workers. `memory` is theirs, of `memory_size` octets, the part `index` is this one's.

    Of its siblings' addresses a worker sees buckets: it may count a stranger's connections as well. `key` decides who
    shares a bucket with whom, so that nobody can choose to.
    """

    def __init__(self, memory: memoryview, index: int, key: bytes, most: int = 0) -> None:
        super().__init__(most)
        self._numbers = memory.cast("B").cast("i")
        self._workers = len(self._numbers) // PART
        self._index = index
        self._key = key
        clear_part(memory, index)

    @property
    def count(self) -> int:
        return sum(self._numbers[worker * PART] for worker in range(self._workers))

    def of(self, address: str) -> int:
        place = self._place(address)
        others = (worker for worker in range(self._workers) if worker != self._index)
        return super().of(address) + sum(self._numbers[worker * PART + place] for worker in others)

    def enter(self, address: str) -> None:
        super().enter(address)
        self._add(address, 1)

    def leave(self, address: str) -> None:
        super().leave(address)
        self._add(address, -1)

    def _add(self, address: str, number: int) -> None:
        part = self._index * PART
        self._numbers[part] += number
        self._numbers[part + self._place(address)] += number

    def _place(self, address: str) -> int:
        digest = hashlib.blake2s(address.encode(), key=self._key, digest_size=4).digest()
        return 1 + int.from_bytes(digest, "big") % BUCKETS


def clear_part(memory: memoryview, index: int) -> None:
    """Forgets the connections of a worker that is no more."""
    size = PART * _NUMBER
    memory.cast("B")[index * size : (index + 1) * size] = bytes(size)


def connections_in(memory: memoryview) -> int:
    """All connections of all workers."""
    numbers = memory.cast("B").cast("i")
    return sum(numbers[part] for part in range(0, len(numbers), PART))
