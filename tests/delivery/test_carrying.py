"""Octets in batches, each step in a thread, names asked for when a file is complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from delivery.local_post import OWN, Calls, FailingDisk, SleepingClock
from delivery.post import Pieces, run
from relay.delivery.carrying import BATCH_SIZE, Content, InThreads, Naming
from relay.delivery.content import Form, MessageText
from relay.delivery.disk import Disk
from relay.delivery.jobs import NewFile, Report, Verdict, Written, deferred
from relay.mail.ports import SpoolUnavailable


def content(*pieces: bytes, start: bytes = b"<", end: bytes = b">") -> Content:
    return Content(start, Pieces(*pieces), MessageText(Form()), end)


def job(tmp_path: Path, final: str = "one") -> NewFile:
    return NewFile(transport="t", directory=str(tmp_path), temporary="temp", final=final, maildir=False)


def carried(
    job: NewFile,
    content: Content,
    naming: Naming | None = None,
    calls: Calls | None = None,
    disk: Disk | None = None,
    clock: SleepingClock | None = None,
) -> Report:
    carrier = InThreads(calls or Calls(), clock or SleepingClock(), lambda: 0.0, disk)
    return run(carrier.carry(job, OWN, content, naming))


def test_a_small_message_is_one_trip_to_the_thread(tmp_path: Path) -> None:
    calls = Calls()
    assert carried(job(tmp_path), content(b"a\r\n", b"b\r\n"), calls=calls).verdict is Verdict.DELIVERED
    assert (tmp_path / "one").read_bytes() == b"<a\nb\n>"
    assert calls.names == ["finish"]


def test_a_message_without_its_body(tmp_path: Path) -> None:
    carried(job(tmp_path), Content(b"header\n", None, MessageText(Form()), b""))
    assert (tmp_path / "one").read_bytes() == b"header\n"


def test_a_large_body_goes_in_bounded_batches(tmp_path: Path) -> None:
    pieces = [(b"x" * 62 + b"\r\n") * 1024] * 20
    text = content(*pieces)
    sizes = []
    while not text.is_ended:
        sizes.append(len(run(text.batch())))
    assert sum(sizes) == 20 * 63 * 1024 + 2
    assert max(sizes) <= BATCH_SIZE
    assert len(sizes) > 4
    calls = Calls()
    carried(job(tmp_path), content(*pieces), calls=calls)
    assert calls.names == ["write"] * (len(sizes) - 1) + ["finish"]


def test_a_body_that_can_not_be_read_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Pieces):
        async def piece(self, number: int) -> bytes:
            if number == 8:
                raise SpoolUnavailable("the database is locked")
            return b"x" * 65536

    calls = Calls()
    with pytest.raises(SpoolUnavailable):
        carried(job(tmp_path), Content(b"", Broken(), MessageText(Form()), b""), calls=calls)
    assert "write" in calls.names
    assert os.listdir(tmp_path) == []


def test_a_step_that_fails_is_reported(tmp_path: Path) -> None:
    report = carried(job(tmp_path), content(b"a"), disk=FailingDisk("sync"))
    assert report.verdict is Verdict.DEFERRED
    assert os.listdir(tmp_path) == []


def test_a_name_is_asked_for_with_what_is_known(tmp_path: Path) -> None:
    asked = []

    async def naming(written: Written) -> str:
        asked.append(written)
        return f"m{written.size}"

    assert carried(job(tmp_path, ""), content(b"abc"), naming).text == str(tmp_path / "m5")
    assert asked[0].inode == (tmp_path / "m5").stat().st_ino


def test_another_name_is_tried_where_the_first_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    names, clock = iter(["a", "b"]), SleepingClock()

    async def naming(_written: Written) -> str:
        return next(names)

    assert carried(job(tmp_path, ""), content(b"abc"), naming, clock=clock).text == str(tmp_path / "b")
    assert (tmp_path / "a").read_text() == "mine"
    assert clock.slept == [1.0]


def test_the_same_name_twice_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")

    async def naming(_written: Written) -> str:
        return "a"

    report = carried(job(tmp_path, ""), content(b"abc"), naming)
    assert report.errno == errno.EEXIST
    assert os.listdir(tmp_path) == ["a"]


def test_a_name_that_can_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    async def naming(_written: Written) -> str:
        raise deferred("no name")

    assert carried(job(tmp_path, ""), content(b"abc"), naming).text == "no name"
    assert os.listdir(tmp_path) == []
