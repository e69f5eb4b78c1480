"""Room on the disks, and whether messages are only queued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from delivery.post import StoppedClock, run
from relay.config.read import read_configuration
from relay.daemon.capacity import Free, Limits, MachineCapacity, Reserve, free_of
from relay.daemon.capacity_settings import capacity_limits
from relay.mail.ports import SpoolFull

SPOOL, LOG = Reserve("spool", "/spool", 1000, 50), Reserve("log", "/log", 500, 0)


@dataclass
class Machine:
    """A machine whose every state is what the test says."""

    limits: Limits
    disks: dict[str, Free | None] = field(default_factory=lambda: {"/spool": Free(5000, 500), "/log": Free(5000, None)})
    files: set[str] = field(default_factory=set)
    load: float = 0.0
    connections: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self.clock = StoppedClock()
        self.capacity = MachineCapacity(
            self.limits,
            self,
            self.clock,
            lambda: self.connections,
            load=lambda: self.load,
            free=self._free,
            exists=self.files.__contains__,
        )

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.looks += 1
        return function(*args, **kwargs)

    def _free(self, directory: str) -> Free | None:
        return self.disks[directory]

    def has_room(self, size: int | None = None) -> bool:
        try:
            run(self.capacity.check(size))
        except SpoolFull:
            return False
        return True

    def only_queues(self, *, delivery_asked: bool = False) -> bool:
        return run(self.capacity.only_queues(delivery_asked=delivery_asked))


@pytest.mark.parametrize(
    "spool, log, size, room",
    [
        (Free(1000, 50), Free(500, 0), None, True),
        (Free(999, 50), Free(500, 0), None, False),
        (Free(1000, 49), Free(500, 0), None, False),
        (Free(1000, None), Free(500, None), None, True),
        (Free(1000, 50), Free(499, 0), None, False),
        (None, None, 10**9, True),
        (Free(1000, 50), Free(500, 0), 1, False),
        (Free(2000, 50), Free(500, 0), 1000 * 1024 - 5000, True),
        (Free(2000, 50), Free(500, 0), 1001 * 1024, False),
    ],
)
def test_what_is_reserved_stays_free(spool: Free | None, log: Free | None, size: int | None, room: bool) -> None:
    machine = Machine(Limits((SPOOL, LOG)), {"/spool": spool, "/log": log})
    assert machine.has_room(size) is room


def test_a_size_that_is_announced_need_not_count() -> None:
    machine = Machine(Limits((SPOOL,), counts_size=False), {"/spool": Free(1000, 50)})
    assert machine.has_room(10**9)


def test_why_there_is_no_room_is_said() -> None:
    machine = Machine(Limits((SPOOL,)), {"/spool": Free(7, None)})
    with pytest.raises(SpoolFull, match=r"^spool directory space check failed: space=7 inodes=-1$"):
        run(machine.capacity.check(None))


def test_the_disk_is_asked_once_a_second_even_where_the_clock_is_set_back() -> None:
    machine = Machine(Limits((SPOOL,)))
    assert [machine.has_room() for _ in range(9)] == [True] * 9
    assert machine.looks == 1
    machine.disks["/spool"] = Free(1, 1)
    machine.clock.time -= 100
    assert not machine.has_room()
    machine.disks["/spool"] = Free(5000, 500)
    machine.clock.time += 1
    assert machine.has_room()


@pytest.mark.parametrize(
    "limits, load, connections, files, queued",
    [
        (Limits(), 99.0, 99, {"/a"}, False),
        (Limits(queue_only=True), 0.0, 0, set(), True),
        (Limits(queue_only_load=2.5), 2.5, 0, set(), False),
        (Limits(queue_only_load=2.5), 2.6, 0, set(), True),
        (Limits(smtp_accept_queue=3), 0.0, 3, set(), False),
        (Limits(smtp_accept_queue=3), 0.0, 4, set(), True),
        (Limits(queue_only_files=("/a", "/b")), 0.0, 0, set(), False),
        (Limits(queue_only_files=("/a", "/b")), 0.0, 0, {"/b"}, True),
    ],
)
def test_when_messages_are_only_queued(
    limits: Limits, load: float, connections: int, files: set[str], queued: bool
) -> None:
    assert Machine(limits, files=files, load=load, connections=connections).only_queues() is queued


@pytest.mark.parametrize("files, routes_only", [(set(), False), ({"/a"}, False), ({"/b"}, True)])
def test_a_file_may_leave_first_attempts_at_routing(files: set[str], routes_only: bool) -> None:
    machine = Machine(Limits(queue_only_files=("/a",), routes_only_files=("/b",)), files=files)
    assert run(machine.capacity.routes_only()) is routes_only
    assert machine.only_queues() is ("/a" in files)


def test_a_file_goes_before_what_was_asked_for_by_hand() -> None:
    busy = Limits(queue_only=True, queue_only_load=1.0, queue_only_files=("/a",))
    assert not Machine(busy, load=2.0).only_queues(delivery_asked=True)
    assert Machine(busy, files={"/a"}).only_queues(delivery_asked=True)


def test_a_real_disk_is_asked(tmp_path: Path) -> None:
    free = free_of(str(tmp_path))
    assert free is not None
    assert free.space > 0
    assert free_of(str(tmp_path / "none")) is None


def limits_of(tmp_path: Path, text: str) -> Limits:
    path = str(tmp_path / "c")
    return capacity_limits(read_configuration(path, lambda _: f"spool_directory = /s\n{text}", {}))


def test_what_the_configuration_says(tmp_path: Path) -> None:
    assert limits_of(tmp_path, "") == Limits((Reserve("spool", "/s", 10240, 100), Reserve("log", "/s/log", 10240, 100)))
    text = """check_spool_space = 1M
check_spool_inodes = 0
check_log_space = 0
check_log_inodes = 7
log_file_path = : /l/%slog
smtp_check_spool_space = no
queue_only_load = 2.5
queue_only_file = /a : smtp/b
smtp_accept_queue = 9
"""
    assert limits_of(tmp_path, text) == Limits(
        (Reserve("spool", "/s", 1024, 0), Reserve("log", "/l", 0, 7)), False, False, ("/a",), ("/b",), 2.5, 9
    )
