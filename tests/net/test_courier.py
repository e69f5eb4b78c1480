"""Deliveries in a process of their own: started, fed, answered, and given up without a trace."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from relay.delivery.carrying import Content, Naming
from relay.delivery.content import Form, MessageText
from relay.delivery.filtering import FilteredBody, FilterFailed, filter_input
from relay.delivery.jobs import (
    Append,
    Command,
    Filter,
    FilterEnd,
    Identity,
    Job,
    NewFile,
    Report,
    Verdict,
    Written,
    deferred,
)
from relay.mail.ports import SpoolUnavailable
from relay.net.courier import Courier

OWN = Identity(os.geteuid(), os.getegid())
NOBODY = pwd.getpwnam("nobody")
IS_ROOT = os.geteuid() == 0
RUNNER = Identity(NOBODY.pw_uid, NOBODY.pw_gid) if IS_ROOT else OWN


@dataclass
class Body:
    """A body of equal pieces; at number `broken` the queue fails."""

    piece_of: bytes
    count: int
    broken: int = -1

    async def piece(self, number: int) -> bytes:
        if number == self.broken:
            raise SpoolUnavailable("the database is locked")
        return self.piece_of if number < self.count else b""


@pytest.fixture
def courier() -> Iterator[Courier]:
    made = Courier(reactor, root_stays=IS_ROOT)
    yield made
    made.stop()


def content(body: Body | None = None) -> Content:
    return Content(b"start\n", body or Body(b"piece\r\n", 2), MessageText(Form()), b"end\n")


async def carried(
    courier: Courier,
    job: Job,
    identity: Identity = OWN,
    body: Body | None = None,
    naming: Naming | None = None,
) -> Report:
    return await courier.carry(job, identity, content(body), naming)


def append(path: Path) -> Append:
    return Append(transport="t", path=str(path))


def shell(script: str, **options: Any) -> Command:
    return Command(transport="p", command="sh", arguments=("/bin/sh", "-c", script), **options)


def in_reactor(test: Any) -> Any:
    """A coroutine as a test."""

    @pytest_twisted.inlineCallbacks
    def running(courier: Courier, tmp_path: Path) -> Any:
        yield ensureDeferred(test(courier, tmp_path))

    running.__name__ = test.__name__
    return running


@in_reactor
async def test_a_message_is_appended(courier: Courier, tmp_path: Path) -> None:
    for _ in range(2):
        report = await carried(courier, append(tmp_path / "box"))
        assert report == Report(Verdict.DELIVERED, str(tmp_path / "box"))
    assert (tmp_path / "box").read_bytes() == b"start\npiece\npiece\nend\n" * 2


@in_reactor
async def test_a_large_message(courier: Courier, tmp_path: Path) -> None:
    await carried(courier, append(tmp_path / "box"), body=Body(b"x" * 65534 + b"\r\n", 300))
    assert (tmp_path / "box").stat().st_size == 65535 * 300 + 10


@in_reactor
async def test_trouble_is_reported_to_the_end(courier: Courier, tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    report = await carried(courier, append(tmp_path / "box"), body=Body(b"x" * 65536, 50))
    assert report.verdict is Verdict.DEFERRED
    assert str(tmp_path / "box") in report.text


@in_reactor
async def test_a_queue_that_fails_leaves_the_mailbox_as_it_was(courier: Courier, tmp_path: Path) -> None:
    box = tmp_path / "box"
    await carried(courier, append(box))
    before = box.read_bytes()
    with pytest.raises(SpoolUnavailable):
        await carried(courier, append(box), body=Body(b"x" * 65536, 50, broken=40))
    # The lock is free only when everything has been taken back.
    await carried(courier, append(box))
    assert box.read_bytes() == before * 2
    assert os.listdir(tmp_path) == ["box"]


@in_reactor
async def test_a_name_is_asked_for(courier: Courier, tmp_path: Path) -> None:
    job = NewFile(transport="t", directory=str(tmp_path), temporary="temp", maildir=False)

    async def naming(written: Written) -> str:
        return f"m{written.size}"

    report = await carried(courier, job, naming=naming)
    assert report.text == str(tmp_path / "m22")
    assert os.listdir(tmp_path) == ["m22"]


@in_reactor
async def test_no_name_and_no_file(courier: Courier, tmp_path: Path) -> None:
    job = NewFile(transport="t", directory=str(tmp_path), temporary="temp", maildir=False)

    async def naming(_written: Written) -> str:
        raise deferred("no name")

    assert (await carried(courier, job, naming=naming)).text == "no name"
    await carried(courier, append(tmp_path / "box"))


@in_reactor
async def test_many_at_once(courier: Courier, tmp_path: Path) -> None:
    running = [ensureDeferred(carried(courier, append(tmp_path / f"box{number}"))) for number in range(8)]
    for each in running:
        assert (await each).verdict is Verdict.DELIVERED


@in_reactor
async def test_a_process_that_is_gone_is_started_again(courier: Courier, tmp_path: Path) -> None:
    await carried(courier, append(tmp_path / "box"))
    process = courier._process
    assert process is not None
    process.kill()
    process.wait()
    assert (await carried(courier, append(tmp_path / "box"))).verdict is Verdict.DELIVERED


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that everybody may reach and write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="fingerpost-courier-") as name:
        path = Path(name)
        path.chmod(0o777)
        (path / "roots").write_bytes(b"")
        (path / "roots").chmod(0o600)
        yield path


@pytest.mark.skipif(not IS_ROOT, reason="only root may become somebody else")
@in_reactor
async def test_a_delivery_runs_as_its_user(courier: Courier, tmp_path: Path) -> None:
    nobody = Identity(NOBODY.pw_uid, NOBODY.pw_gid, (), "/tmp")
    with open_directory() as place:
        report = await carried(courier, append(place / "box"), nobody)
        assert report.verdict is Verdict.DELIVERED, report.text
        owner = (place / "box").owner(), (place / "box").group()
        assert owner == (NOBODY.pw_name, grp.getgrgid(NOBODY.pw_gid).gr_name)
        report = await carried(courier, append(place / "roots"), nobody)
        assert report.text.endswith(f"has wrong uid (0 != {nobody.uid})")
    report = await carried(courier, shell("id -u; id -ru; id -G; pwd"), nobody)
    assert report.output.split("\n")[:4] == [str(nobody.uid), str(nobody.uid), str(nobody.gid), "/tmp"]


@pytest.mark.skipif(not IS_ROOT, reason="only root could run a command as root")
@in_reactor
async def test_no_command_runs_as_root(courier: Courier, tmp_path: Path) -> None:
    report = await carried(courier, shell("true"), Identity(0, 0))
    assert report.text == "User 0 set for p transport is on the never_users list"
    stern = Courier(reactor, root_stays=False)
    try:
        report = await carried(stern, append(tmp_path / "box"), Identity(0, 0))
    finally:
        stern.stop()
    assert "never_users" in report.text
    assert os.listdir(tmp_path) == []


def through(script: str, **options: Any) -> Filter:
    return Filter(transport="t", arguments=("/bin/sh", "-c", script), **options)


@in_reactor
async def test_a_message_goes_through_a_filter(courier: Courier, tmp_path: Path) -> None:
    source = filter_input(b"A: b\r\n\r\n", Body(b"piece\r\n", 2))
    filtered = await courier.filtered(through("echo X: y; cat; printf 'half a line'"), RUNNER, source)
    body = FilteredBody(filtered, source, Form(use_crlf=True))
    for _ in range(2):  # a second host gets the same
        assert await body.piece(0) == b"X: y\r\nA: b\r\n\r\npiece\r\npiece\r\nhalf a line"
        assert await body.piece(1) == b""
    filtered.close()


@in_reactor
async def test_the_output_of_a_filter_comes_in_pieces(courier: Courier, tmp_path: Path) -> None:
    line = b"0123456789abcde\r\n"
    source = filter_input(b"", Body(line * 1000, 20))
    filtered = await courier.filtered(through("cat"), RUNNER, source)
    pieces = []
    while piece := await filtered.piece(len(pieces)):
        pieces.append(piece)
    assert b"".join(pieces) == line.replace(b"\r\n", b"\n") * 20000
    assert len(pieces) > 2
    assert await filtered.piece(1) == pieces[1]
    filtered.close()


FAILURES = (
    (through("cat >/dev/null; exit 3"), FilterEnd(status=3)),
    (through("kill -9 $$"), FilterEnd(status=-9)),
    (Filter(transport="t", arguments=("/not/there",)), FilterEnd(status=127)),
    (through("exec sleep 20", timeout=1), FilterEnd(is_late=True)),
    (through("exec yes", limit=1000), FilterEnd(trouble="it writes without end")),
)


@in_reactor
async def test_filters_that_fail(courier: Courier, tmp_path: Path) -> None:
    for job, end in FAILURES:
        with pytest.raises(FilterFailed) as failed:
            await courier.filtered(job, RUNNER, filter_input(b"A: b\r\n\r\n", Body(b"x\r\n", 2)))
        assert failed.value.end == end


@in_reactor
async def test_a_claim_that_is_lost_while_the_filter_runs(courier: Courier, tmp_path: Path) -> None:
    body = Body(b"x\r\n", 2)
    source = filter_input(b"", body)
    filtered = await courier.filtered(through("cat"), RUNNER, source)
    after = FilteredBody(filtered, source, Form())
    assert await after.piece(0) == b"x\nx\n"
    body.broken = 2
    with pytest.raises(SpoolUnavailable):
        await after.piece(1)
    filtered.close()
