"""Log files: appended, followed through rotations, and never in the way of the mail."""

import errno
import os
from pathlib import Path

import pytest

from observe.happenings import NOW
from relay.observe.files import LogFiles, LogStream, PanicShown, open_logs
from relay.observe.line import Log


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def files(tmp_path: Path, complaints: list[str]) -> LogFiles:
    return LogFiles(f"{tmp_path}/log/%slog", complain=complaints.append)


def test_lines_are_appended_each_log_to_its_file(files: LogFiles, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mainlog").write_text("before\n")
    files.write(Log.MAIN, b"one\n", NOW)
    files.write(Log.MAIN, b"two\n", NOW)
    files.write(Log.PANIC, b"three\n", NOW)
    assert (tmp_path / "log" / "mainlog").read_text() == "before\none\ntwo\n"
    assert (tmp_path / "log" / "paniclog").read_text() == "three\n"
    assert not (tmp_path / "log" / "rejectlog").exists()


def test_the_folder_is_made_and_others_may_not_read(files: LogFiles, tmp_path: Path) -> None:
    files.write(Log.MAIN, b"one\n", NOW)
    assert (tmp_path / "log" / "mainlog").stat().st_mode & 0o137 == 0


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_rotation_is_noticed_within_a_second(files: LogFiles, tmp_path: Path, how: str) -> None:
    path = tmp_path / "log" / "mainlog"
    files.write(Log.MAIN, b"one\n", NOW)
    old = path.rename(tmp_path / "log" / "mainlog.1")
    if how == "removed":
        old.unlink()
    files.write(Log.MAIN, b"two\n", NOW + 0.9)
    assert not path.exists()
    files.write(Log.MAIN, b"three\n", NOW + 1.1)
    assert path.read_text() == "three\n"


def test_reopening_on_request(files: LogFiles, tmp_path: Path) -> None:
    path = tmp_path / "log" / "mainlog"
    files.write(Log.MAIN, b"one\n", NOW)
    path.rename(tmp_path / "log" / "mainlog.1")
    files.reopen()
    files.write(Log.MAIN, b"two\n", NOW)
    assert path.read_text() == "two\n"


def test_a_clock_that_goes_back_puts_no_check_off(files: LogFiles, tmp_path: Path) -> None:
    path = tmp_path / "log" / "mainlog"
    files.write(Log.MAIN, b"one\n", NOW)
    path.unlink()
    files.write(Log.MAIN, b"two\n", NOW - 3600)
    assert path.read_text() == "two\n"


def test_failures_are_counted_and_said_once(
    files: LogFiles, complaints: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(3):
            files.write(Log.MAIN, b"lost\n", NOW)
    assert files.failures == 3
    assert complaints == [f"can't write {tmp_path}/log/mainlog: No space left on device; log lines are being lost"]
    files.write(Log.MAIN, b"one\n", NOW)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        files.write(Log.MAIN, b"lost\n", NOW)
    assert len(complaints) == 2


def test_a_short_write_is_a_failure(files: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: len(data) - 1)
        files.write(Log.MAIN, b"one\n", NOW)
    assert files.failures == 1


def test_a_folder_that_can_not_be_made(tmp_path: Path, complaints: list[str]) -> None:
    (tmp_path / "log").write_text("a file")
    files = LogFiles(f"{tmp_path}/log/%slog", complain=complaints.append)
    files.write(Log.MAIN, b"one\n", NOW)
    assert files.failures == 1


def test_a_link_is_not_followed(tmp_path: Path, complaints: list[str]) -> None:
    (tmp_path / "mainlog").symlink_to(tmp_path / "elsewhere")
    files = LogFiles(f"{tmp_path}/%slog", complain=complaints.append)
    files.write(Log.MAIN, b"one\n", NOW)
    assert files.failures == 1
    assert not (tmp_path / "elsewhere").exists()


def test_dates_in_the_name(tmp_path: Path) -> None:
    files = LogFiles(f"{tmp_path}/%s-%D")
    files.write(Log.MAIN, b"one\n", NOW)
    files.write(Log.MAIN, b"two\n", NOW + 86400)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert all(name.startswith("main-202611") for name in names)


def test_where_the_option_says(tmp_path: Path) -> None:
    for text, path in (("", "/s/log/mainlog"), ("/x/%s.log", "/x/main.log"), (":/x/all", "/x/all")):
        sink = open_logs(text, "/s")
        assert isinstance(sink, LogFiles)
        assert sink.path(Log.MAIN, NOW) == path


@pytest.mark.parametrize("text", ["syslog", "/x/%s : syslog", "relative/%s", "/a/%s:/b/%s"])
def test_values_that_can_not_be_used(text: str) -> None:
    with pytest.raises(ValueError):
        open_logs(text, "/s")


def test_a_stream() -> None:
    reading, writing = os.pipe()
    stream = LogStream(writing)
    stream.write(Log.MAIN, b"one\n", NOW)
    assert os.read(reading, 100) == b"one\n"
    os.close(writing)
    stream.write(Log.MAIN, b"two\n", NOW)
    assert stream.failures == 1
    os.close(reading)


def test_what_needs_somebody_is_shown_to_who_has_started_the_process(files: LogFiles, tmp_path: Path, capsys) -> None:
    sink = PanicShown(files)
    sink.write(Log.MAIN, b"a line\n", NOW)
    sink.write(Log.PANIC, b"caf\xc3\xa9 \xff\n", NOW)
    sink.reopen()
    assert capsys.readouterr().err == "caf\u00e9 \\xff\n"
    assert (tmp_path / "log" / "paniclog").read_bytes() == b"caf\xc3\xa9 \xff\n"
