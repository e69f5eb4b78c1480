"""A mailbox file: locked against others, exactly itself, and as it was where anything fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from delivery.local_post import FailingDisk, SleepingClock
from delivery.post import NOW
from relay.delivery.disk import Disk
from relay.delivery.jobs import Append, CreateFile, Locking, NotDelivered, Place, Quota, Report, Verdict
from relay.delivery.mbox import MailboxWriter
from relay.mail.outcome import ErrorClass

FIRST, SECOND = b"From a\none\n\n", b"From b\ntwo\n\n"


def job(path: Path, **options: object) -> Append:
    return Append(transport="box", path=str(path), **options)  # type: ignore[arg-type]


def appended(
    path: Path, *pieces: bytes, disk: Disk | None = None, clock: SleepingClock | None = None, **options: object
) -> Report:
    return MailboxWriter(job(path, **options), clock or SleepingClock(), disk).finish(pieces or (FIRST,))


def refused(path: Path, disk: Disk | None = None, clock: SleepingClock | None = None, **options: object) -> Report:
    with pytest.raises(NotDelivered) as caught:
        appended(path, disk=disk, clock=clock, **options)
    assert not list(path.parent.glob("*.lock*"))
    return caught.value.report


def other_process(path: Path, code: str) -> subprocess.Popen[bytes]:
    """Another process that does something with the file, says so, and waits for its input to end."""
    opened = f"import fcntl, os, sys\nf = os.open({str(path)!r}, os.O_RDWR)"
    program = f"{opened}\n{code}\nprint('x', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"x\n"
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


# What is written


def test_messages_stand_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert appended(path, FIRST) == Report(Verdict.DELIVERED, str(path))
    appended(path, *(SECOND[each : each + 1] for each in range(len(SECOND))))
    assert path.read_bytes() == FIRST + SECOND
    assert os.listdir(tmp_path) == ["box"]


def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        appended(tmp_path / "box", place=Place(mode=0o640))
    finally:
        os.umask(before)
    assert (tmp_path / "box").stat().st_mode & 0o777 == 0o640


def test_the_order_of_things(tmp_path: Path) -> None:
    disk = FailingDisk()
    appended(tmp_path / "box", b"x", disk=disk)
    lock = ["create", "link", "close", "remove"]
    assert disk.done == [*lock, "create", "write", "sync", "sync_directory", "close", "remove"]


def test_the_time_of_reading_stays(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(FIRST)
    path.chmod(0o600)
    os.utime(path, (1000, 2000))
    appended(path, SECOND)
    assert (path.stat().st_atime, path.stat().st_mtime) == (1000, NOW)


@pytest.mark.parametrize("step", ["create", "link", "open", "write", "sync"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_step_fails_the_mailbox_is_as_it_was(tmp_path: Path, step: str, after: int) -> None:
    path = tmp_path / "box"
    path.write_bytes(FIRST)
    path.chmod(0o600)
    os.utime(path, (1000, 2000))
    disk = FailingDisk(step, after=after)
    writer = MailboxWriter(job(path, locking=Locking(lock_retries=1)), SleepingClock(), disk)
    trouble: NotDelivered | None = None
    try:
        writer.write((SECOND[:9],))
        writer.finish((SECOND[9:],))
    except NotDelivered as error:
        trouble = error
    assert disk.failed is (trouble is not None)
    if trouble is None:
        assert path.read_bytes() == FIRST + SECOND
    else:
        assert trouble.report.verdict is Verdict.DEFERRED
        assert path.read_bytes() == FIRST
        assert path.stat().st_mtime == 2000
    assert os.listdir(tmp_path) == ["box"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    report = refused(tmp_path / "box", FailingDisk("write", errno.ENOSPC))
    assert report.error is ErrorClass.QUOTA
    assert "the disk is full" in report.text


def test_an_abandoned_message_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "box"
    appended(path, FIRST)
    writer = MailboxWriter(job(path), SleepingClock())
    writer.write((SECOND,))
    assert path.read_bytes() == FIRST + SECOND
    writer.abandon()
    writer.abandon()
    assert path.read_bytes() == FIRST
    assert os.listdir(tmp_path) == ["box"]


# Locking


def test_another_process_holds_an_fcntl_lock(tmp_path: Path) -> None:
    path, clock = tmp_path / "box", SleepingClock()
    appended(path, FIRST)
    other = other_process(path, "fcntl.lockf(f, fcntl.LOCK_EX)")
    report = refused(path, clock=clock)
    assert report.text == f"failed to lock mailbox {path} (fcntl/flock)"
    assert clock.slept == [3.0] * 9
    clock = SleepingClock(meanwhile=lambda: ended(other))
    assert appended(path, SECOND, clock=clock).verdict is Verdict.DELIVERED
    assert clock.slept == [3.0]
    assert path.read_bytes() == FIRST + SECOND


def test_another_process_holds_a_flock_lock(tmp_path: Path) -> None:
    path = tmp_path / "box"
    appended(path, FIRST)
    other = other_process(path, "fcntl.flock(f, fcntl.LOCK_EX)")
    locking = Locking(use_fcntl_lock=False, use_flock_lock=True, lock_retries=2)
    assert "(fcntl/flock)" in refused(path, locking=locking).text
    assert appended(path, SECOND).verdict is Verdict.DELIVERED  # by fcntl nobody has it
    ended(other)


def test_a_timeout_waits_at_a_stretch(tmp_path: Path) -> None:
    path, clock = tmp_path / "box", SleepingClock()
    appended(path, FIRST)
    other = other_process(path, "fcntl.lockf(f, fcntl.LOCK_EX)")
    clock.meanwhile = lambda: ended(other) if len(clock.slept) == 15 else None
    locking = Locking(lock_fcntl_timeout=5, lock_retries=1)
    assert appended(path, SECOND, clock=clock, locking=locking).verdict is Verdict.DELIVERED
    assert clock.time < NOW + 2


def test_another_process_is_kept_out_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "box"
    appended(path, FIRST)
    writer = MailboxWriter(job(path), SleepingClock())
    writer.write((SECOND,))
    assert (tmp_path / "box.lock").exists()
    code = "\ntry: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: pass\nelse: sys.exit('free')"
    other = other_process(path, code)
    ended(other)
    assert other.returncode == 0
    writer.finish()
    assert not (tmp_path / "box.lock").exists()


def test_a_lock_file_keeps_us_out_until_it_is_old(tmp_path: Path) -> None:
    path, lock = tmp_path / "box", tmp_path / "box.lock"
    lock.write_text("")
    clock = SleepingClock(time=lock.stat().st_ctime)
    with pytest.raises(NotDelivered, match=r"failed to lock mailbox .* \(lock file\)"):
        appended(path, clock=clock)
    assert lock.exists(), "somebody else's lock was taken away"
    assert not path.exists()
    assert os.listdir(tmp_path) == ["box.lock"]
    clock = SleepingClock(time=lock.stat().st_ctime + 1801)
    assert appended(path, clock=clock).verdict is Verdict.DELIVERED
    assert os.listdir(tmp_path) == ["box"]


def test_no_lock_file_where_none_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "box.lock").write_text("")
    appended(tmp_path / "box", locking=Locking(use_lockfile=False))
    assert (tmp_path / "box.lock").exists()


def test_a_mailbox_that_was_replaced_while_we_waited(tmp_path: Path) -> None:
    path = tmp_path / "box"
    appended(path, FIRST)
    other = other_process(path, "fcntl.lockf(f, fcntl.LOCK_EX)")

    def replaced() -> None:
        path.rename(tmp_path / "old")
        path.write_bytes(b"new\n")
        path.chmod(0o600)
        ended(other)

    appended(path, SECOND, clock=SleepingClock(meanwhile=replaced))
    assert path.read_bytes() == b"new\n" + SECOND
    assert (tmp_path / "old").read_bytes() == FIRST


# What a mailbox must be


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(FIRST)
    (tmp_path / "victim").chmod(0o600)
    (tmp_path / "box").symlink_to(tmp_path / "victim")
    assert refused(tmp_path / "box").text == f"mailbox {tmp_path}/box is not a regular file"
    appended(tmp_path / "box", SECOND, allow_symlink=True)
    assert (tmp_path / "victim").read_bytes() == FIRST + SECOND


def test_a_link_that_comes_in_between_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "box", tmp_path / "victim"
    for each in (path, victim):
        each.write_bytes(FIRST)
        each.chmod(0o600)

    class Swapping(Disk):
        def open(self, name: str, flags: int) -> int:
            path.unlink(missing_ok=True)
            path.symlink_to(victim)
            return super().open(name, flags)

    with pytest.raises(NotDelivered):
        appended(path, SECOND, disk=Swapping())
    assert victim.read_bytes() == FIRST


def test_a_link_to_nothing_is_not_made_a_file(tmp_path: Path) -> None:
    (tmp_path / "box").symlink_to(tmp_path / "victim")
    refused(tmp_path / "box")
    assert not (tmp_path / "victim").exists()
    appended(tmp_path / "box", allow_symlink=True)
    assert (tmp_path / "victim").read_bytes() == FIRST


def test_a_file_of_two_names_is_none_of_ours(tmp_path: Path) -> None:
    appended(tmp_path / "box")
    os.link(tmp_path / "box", tmp_path / "other")
    assert refused(tmp_path / "box").text == f"mailbox {tmp_path}/box has too many links (2)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    appended(tmp_path / "box")
    os.chown(tmp_path / "box", 12345, 12345)
    assert refused(tmp_path / "box").text == f"mailbox {tmp_path}/box has wrong uid (12345 != 0)"
    assert refused(tmp_path / "box", check_owner=False, check_group=True).text.endswith("wrong gid (12345 != 0)")
    assert appended(tmp_path / "box", check_owner=False).verdict is Verdict.DELIVERED


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "box"
    appended(path)
    path.chmod(0o666)
    appended(path, place=Place(mode=0o640))
    assert path.stat().st_mode & 0o777 == 0o640
    assert refused(path, place=Place(mode=0o660)).text == f"mailbox {path} has the wrong mode 640 (660 expected)"
    appended(path, place=Place(mode=0o660), mode_fail_narrower=False)
    assert path.stat().st_mode & 0o777 == 0o640


def test_named_pipes(tmp_path: Path) -> None:
    path = tmp_path / "box"
    os.mkfifo(path, 0o600)
    assert refused(path).text == f"mailbox {path} is not a regular file"
    assert "no process is reading it" in refused(path, allow_fifo=True).text
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    appended(path, FIRST, allow_fifo=True)
    assert os.read(reader, 100) == FIRST
    os.close(reader)


def test_directories_are_no_mailboxes(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    assert refused(tmp_path / "box").verdict is Verdict.DEFERRED


# Making files


def test_files_that_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert refused(path, file_must_exist=True).text.endswith("does not exist, but file_must_exist is set")
    assert not path.exists()


def test_files_outside_of_home(tmp_path: Path) -> None:
    place = Place(create=CreateFile.BELOW_HOME, home=str(tmp_path / "home"))
    report = refused(tmp_path / "box", place=place)
    assert report.text.endswith("does not exist, but creation outside the home directory is not permitted")
    assert appended(tmp_path / "home" / "a" / "box", place=place).verdict is Verdict.DELIVERED


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "box"
    place = Place(create_directory=False)
    locking = Locking(use_lockfile=False)
    assert "create_directory" in refused(path, place=place, locking=locking).text
    report = refused(path, place=place, locking=locking, is_redirected=True)
    assert report.verdict is Verdict.FAILED


def test_an_existence_that_stays_unclear_freezes(tmp_path: Path) -> None:
    class Racing(Disk):
        def create(self, path: str, mode: int) -> int:
            if path.endswith("/box"):
                raise FileExistsError(errno.EEXIST, "File exists")
            return super().create(path, mode)

    report = refused(tmp_path / "box", Racing())
    assert report.freeze
    assert report.text == f"mailbox {tmp_path}/box: existence unclear"


# Quota and format


def test_quota(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"x" * 90)
    path.chmod(0o600)
    assert "mailbox is full" in refused(path, quota=Quota(size=100), message_size=11).text
    assert path.stat().st_size == 90
    assert appended(path, b"y" * 10, quota=Quota(size=100), message_size=10).verdict is Verdict.DELIVERED


FORMATS = (("From ", "box"), ("*mbx*", "other"))


@pytest.mark.parametrize(
    "start, expected",
    [
        (b"", Verdict.DELIVERED),
        (b"From x\n", Verdict.DELIVERED),
        (b"*mbx*\n", Verdict.ELSEWHERE),
        (b"odd", Verdict.DEFERRED),
    ],
)
def test_formats(tmp_path: Path, start: bytes, expected: Verdict) -> None:
    path = tmp_path / "box"
    path.write_bytes(start)
    path.chmod(0o600)
    if expected is Verdict.DELIVERED:
        assert appended(path, formats=FORMATS).verdict is expected
        return
    report = refused(path, formats=FORMATS)
    assert report.verdict is expected
    assert report.text == ("other" if expected is Verdict.ELSEWHERE else "mailbox file format unrecognized")
    assert path.read_bytes() == start
