"""The file maildirsize: when it is believed, when the Maildir is counted anew, and that nothing depends on it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.jobs import NewFile, NotDelivered, Quota
from relay.delivery.maildir_size import STALE, SizeFile, _added_up
from relay.delivery.new_file import NewFileWriter
from relay.delivery.quota import Usage

QUOTA = Quota(size=1000, files=9, has_size_file=True, directory_regex=r"^(?:cur|new|\.(?!Trash).*)$")
NUMBERS = itertools.count()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    for part in ("tmp", "new", "cur", ".Sub/new", ".Trash/new", "other"):
        (tmp_path / part).mkdir(parents=True)
    for name, size in (("new/a", 10), ("cur/b", 20), (".Sub/new/c", 30), (".Trash/new/d", 400), ("other/e", 500)):
        (tmp_path / name).write_bytes(b"x" * size)
    return tmp_path


def usage(box: Path, quota: Quota = QUOTA, message: int = 1, now: float | None = None) -> Usage:
    file = SizeFile(str(box), quota, 0o600, f"tmp/{next(NUMBERS)}")
    found = file.usage(message, (box / "new").stat().st_mtime if now is None else now)
    file.close()
    return found


def text(box: Path) -> str:
    return (box / "maildirsize").read_text()


def test_a_missing_one_is_made_of_what_counts(box: Path) -> None:
    assert usage(box) == Usage(60, 3)
    assert text(box) == "1000S,9C\n60 3\n"
    assert os.stat(box / "maildirsize").st_mode & 0o777 == 0o600
    assert os.listdir(box / "tmp") == []


def test_one_is_believed_and_added_to(box: Path) -> None:
    (box / "maildirsize").write_text("1000S,9C\n100 1\n-40 -1\n7 1\n")
    file = SizeFile(str(box), QUOTA, 0o600, "tmp/x")
    assert file.usage(5, 0.0) == Usage(67, 1)
    file.record(5)
    file.close()
    assert text(box).endswith("7 1\n5 1\n")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "1000S\n1 1\n",
        "2000S,9C\n1 1\n",
        "rubbish\n1 1\n",
        "1000S,9C\n1 one\n",
        "1000S,9C\n-5 1\n",
        "1000S,9C\n" + "1 1\n" * 1300,
    ],
)
def test_one_that_is_wrong_is_made_anew(box: Path, wrong: str) -> None:
    (box / "maildirsize").write_text(wrong)
    assert usage(box) == Usage(60, 3)
    assert text(box) == "1000S,9C\n60 3\n"


@pytest.mark.parametrize(
    ("lines", "age", "found"), [("990 3\n", 0, 990), ("500 1\n490 2\n", 0, 60), ("990 3\n", 1, 60)]
)
def test_a_full_box_is_counted_again_unless_that_was_done_just_now(
    box: Path, lines: str, age: int, found: int
) -> None:
    (box / "maildirsize").write_text(f"1000S,9C\n{lines}")
    now = (box / "maildirsize").stat().st_mtime + age * (STALE + 1)
    assert usage(box, message=50, now=now).size == found


def test_no_link_is_followed_and_nothing_depends_on_the_file(box: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other" / "secret"
    elsewhere.write_text("1000S,9C\n1 1\n")
    (box / "maildirsize").symlink_to(elsewhere)
    assert usage(box).size == 60
    assert elsewhere.read_text() == "1000S,9C\n1 1\n"
    for each in (box / "tmp", box):
        each.chmod(0o500)
    try:
        assert usage(box).size in (60, 1)
    finally:
        for each in (box, box / "tmp"):
            each.chmod(0o700)


def test_links_that_lead_back_are_counted_once(box: Path) -> None:
    for number in range(12):
        (box / f".{number}").symlink_to(box)
    assert usage(box) == Usage(60, 3)


@pytest.mark.parametrize("numbers", ["1" + "0" * 400 + "S,9C\n1 1\n", "1000S,9C\n" + "1" * 4500 + " 1\n"])
def test_numbers_beyond_all_bounds_are_none(box: Path, numbers: str) -> None:
    (box / "maildirsize").write_text(numbers)
    assert usage(box) == Usage(60, 3)


def test_a_pipe_is_not_read(box: Path) -> None:
    os.mkfifo(box / "maildirsize")
    pipe = os.open(box / "maildirsize", os.O_RDWR)
    try:
        os.write(pipe, b"1000S,9C\n1 1\n")
        assert usage(box) == Usage(60, 3)
    finally:
        os.close(pipe)


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_any_lines_are_read_or_not(lines: list[bytes]) -> None:
    told = _added_up(lines)
    assert told is None or (told.usage.size >= 0 and told.usage.files >= 0)


# With a delivery


def deliver(directory: Path, quota: Quota = QUOTA, folder_regex: str = "", body: bytes = b"12345") -> None:
    number = next(NUMBERS)
    job = NewFile(
        transport="box", directory=str(directory), temporary=f"tmp/{number}", final=f"new/{number}", quota=quota,
        message_size=len(body), folder_regex=folder_regex,
    )  # fmt: skip
    NewFileWriter(job).finish([body])


def test_a_delivery_is_written_down(tmp_path: Path) -> None:
    box = tmp_path / "box"
    deliver(box)
    deliver(box)
    assert text(box) == "1000S,9C\n0 0\n5 1\n5 1\n"


def test_without_a_quota_it_is_kept_all_the_same(tmp_path: Path) -> None:
    deliver(tmp_path / "box", Quota(has_size_file=True, directory_regex=QUOTA.directory_regex))
    assert text(tmp_path / "box") == "0S,0C\n0 0\n5 1\n"


def test_a_delivery_that_does_not_fit_is_not(tmp_path: Path) -> None:
    box = tmp_path / "box"
    with pytest.raises(NotDelivered, match="quota exceeded"):
        deliver(box, body=b"x" * 1001)
    assert text(box) == "1000S,9C\n0 0\n"


def test_a_folder_counts_with_its_box_unless_its_name_is_left_out(tmp_path: Path) -> None:
    box = tmp_path / "box"
    deliver(box)
    for name in (".Sub", ".Trash"):
        deliver(box / name, folder_regex=r"/\.[^/]+$")
        assert (box / name / "maildirfolder").exists()
    assert text(box) == "1000S,9C\n0 0\n5 1\n5 1\n"
    assert not (box / "maildirfolder").exists()
    assert not (box / ".Trash" / "maildirsize").exists()
