"""Files of their own: what has a reader's name is whole and durable, whatever step fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from delivery.local_post import FailingDisk
from relay.delivery.disk import Disk, MailboxTrouble
from relay.delivery.jobs import CreateFile, NewFile, NotDelivered, Place, Quota, Report, Verdict
from relay.delivery.new_file import NameTaken, NewFileWriter
from relay.mail.outcome import ErrorClass

BODY = b"one\ntwo\n"
STEPS = ("make_directory", "create", "write", "sync", "link", "sync_directory")


def maildir_job(maildir: Path, **options: object) -> NewFile:
    given = {"transport": "box", "directory": str(maildir), "temporary": "tmp/one", "final": "new/one"}
    return NewFile(**{**given, **options})  # type: ignore[arg-type]


def writer(maildir: Path, disk: Disk | None = None, **options: object) -> NewFileWriter:
    return NewFileWriter(maildir_job(maildir, **options), disk=disk)


def files_in(maildir: Path) -> dict[str, list[str]]:
    return {part: sorted(os.listdir(maildir / part)) for part in ("tmp", "new", "cur") if (maildir / part).is_dir()}


def test_a_message_is_written_synced_linked_and_synced(tmp_path: Path) -> None:
    maildir, disk = tmp_path / "box", FailingDisk()
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    report = writer(maildir, disk).finish([b"Subject: x\n\n", BODY])
    assert report == Report(Verdict.DELIVERED, str(maildir / "new" / "one"))
    assert Path(report.text).read_bytes() == b"Subject: x\n\none\ntwo\n"
    assert files_in(maildir) == {"tmp": [], "new": ["one"], "cur": []}
    order = [step for step in disk.done if step not in ("write", "make_directory", "sync_directory")]
    assert order == ["create", "sync", "link", "sync_directory new", "close", "remove"]


@pytest.mark.parametrize("missing", ["tmp", "new", "box"])
@pytest.mark.parametrize("may_be_made", [True, False])
def test_a_directory_that_is_missing_is_made_where_that_is_permitted(
    tmp_path: Path, missing: str, may_be_made: bool
) -> None:
    maildir = tmp_path / "box"
    for part in {"tmp", "new", "cur"} - {missing} if missing != "box" else ():
        (maildir / part).mkdir(parents=True)
    box = writer(maildir, place=Place(create_directory=may_be_made))
    if may_be_made:
        box.finish([BODY])
        assert files_in(maildir) == {"tmp": [], "new": ["one"], "cur": []}
    else:
        with pytest.raises(MailboxTrouble, match="make the directory, or set create_directory"):
            box.finish([BODY])
        assert not any(files_in(maildir).values())


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        report = writer(tmp_path / "box").finish([BODY])
    finally:
        os.umask(before)
    assert os.stat(report.text).st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / "box").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_whatever_step_fails_new_holds_nothing(tmp_path: Path, step: str, after: int) -> None:
    maildir, disk = tmp_path / "deep" / "box", FailingDisk(step, after=after)
    box = writer(maildir, disk)
    trouble: NotDelivered | None = None
    try:
        box.write([BODY])
        box.finish([BODY])
    except NotDelivered as error:
        trouble = error
    failed = trouble is not None
    assert failed is disk.failed
    left = files_in(maildir)
    assert not left.get("tmp")
    assert left.get("new", []) == ([] if failed else ["one"])
    # The same message can be delivered once the trouble is over.
    if trouble is not None:
        assert trouble.report.error is ErrorClass.QUOTA
        assert "the disk is full" in trouble.report.text
        assert Path(writer(maildir).finish([BODY]).text).read_bytes() == b"one\ntwo\n"


def test_the_directory_that_can_not_be_synced_gives_the_message_back(tmp_path: Path) -> None:
    with pytest.raises(MailboxTrouble):
        writer(tmp_path / "box", FailingDisk("sync_directory new", errno.EIO)).finish([BODY])
    assert files_in(tmp_path / "box") == {"tmp": [], "new": [], "cur": []}


def test_a_failure_to_clean_up_does_not_take_a_delivery_back(tmp_path: Path) -> None:
    report = writer(tmp_path / "box", FailingDisk("remove", errno.EIO)).finish([BODY])
    assert Path(report.text).read_bytes() == b"one\ntwo\n"


def test_abandoning_leaves_nothing(tmp_path: Path) -> None:
    box = writer(tmp_path / "box")
    box.write([BODY])
    assert files_in(tmp_path / "box")["tmp"] == ["one"]
    box.abandon()
    box.abandon()
    assert files_in(tmp_path / "box") == {"tmp": [], "new": [], "cur": []}


def test_an_existing_message_is_never_replaced(tmp_path: Path) -> None:
    report = writer(tmp_path / "box").finish([b"first\n"])
    with pytest.raises(MailboxTrouble) as caught:
        writer(tmp_path / "box").finish([b"second\n"])
    assert caught.value.in_words.endswith(": File exists")
    assert Path(report.text).read_bytes() == b"first\n"
    assert files_in(tmp_path / "box")["tmp"] == []


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    for part in ("tmp", "new", "cur"):
        (tmp_path / "box" / part).mkdir(parents=True)
    (tmp_path / "box" / "tmp" / "one").symlink_to(tmp_path / "victim")
    with pytest.raises(MailboxTrouble):
        writer(tmp_path / "box").finish([BODY])
    assert not (tmp_path / "victim").exists()


def test_a_name_that_was_asked_for(tmp_path: Path) -> None:
    job = NewFile(transport="box", directory=str(tmp_path), temporary="temp.1", maildir=False)
    box = NewFileWriter(job)
    written = box.complete([BODY])
    assert (written.size, written.inode) == (len(BODY), (tmp_path / "temp.1").stat().st_ino)
    (tmp_path / "taken").write_text("")
    with pytest.raises(NameTaken):
        box.deliver("taken")
    assert box.deliver("free").text == str(tmp_path / "free")
    assert sorted(os.listdir(tmp_path)) == ["free", "taken"]


def test_a_name_that_is_too_long_without_another(tmp_path: Path) -> None:
    box = NewFileWriter(NewFile(transport="box", directory=str(tmp_path), temporary="temp.1", maildir=False))
    box.complete([BODY])
    with pytest.raises(MailboxTrouble) as caught:
        box.deliver("x" * 300)
    assert caught.value.cause.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []


def test_a_directory_outside_of_home(tmp_path: Path) -> None:
    place = Place(create=CreateFile.BELOW_HOME, home=str(tmp_path / "home"))
    with pytest.raises(NotDelivered, match="file creation outside the home directory is not permitted"):
        writer(tmp_path / "box", place=place).finish([BODY])
    writer(tmp_path / "home" / "box", place=place).finish([BODY])


def test_quotas_count_the_whole_maildir(tmp_path: Path) -> None:
    maildir = tmp_path / "box"
    folder = maildir / ".Sent"
    writer(maildir).finish([b"x" * 90])
    folder.mkdir()
    (folder / "maildirfolder").write_text("")
    quota = Quota(size=100)
    for place in (maildir, folder):
        with pytest.raises(NotDelivered, match=r"mailbox is full .* while writing to tmp/two\)"):
            writer(place, quota=quota, message_size=11, temporary="tmp/two", final="new/two").finish([BODY])
    assert files_in(maildir)["new"] == ["one"]
    writer(maildir, quota=quota, message_size=10, temporary="tmp/two", final="new/two").finish([BODY])
