"""Commands: fed and heard at once, bounded in time and output, judged by how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay.delivery.command import CommandRun
from relay.delivery.jobs import Command, Report, Verdict
from relay.mail.outcome import ErrorClass


def job(*arguments: str, **options: object) -> Command:
    return Command(transport="p", command=" ".join(arguments), arguments=arguments, **options)  # type: ignore[arg-type]


def fast() -> float:
    """A clock on which a second takes a tenth of one."""
    return time.monotonic() * 10


def ran(*arguments: str, message: tuple[bytes, ...] = (b"hello\n",), **options: object) -> Report:
    return CommandRun(job(*arguments, **options), fast).finish(message)


def shell(script: str, message: tuple[bytes, ...] = (b"hello\n",), **options: object) -> Report:
    return ran("/bin/sh", "-c", script, message=message, **options)


def test_the_message_is_its_input(tmp_path: Path) -> None:
    report = shell(f"cat > {tmp_path}/in; umask", environment=("A=b=c", "PATH=/bin:/usr/bin"), umask=0o027)
    assert report == Report(Verdict.DELIVERED, "", report.error, False, "0027\n")
    assert (tmp_path / "in").read_bytes() == b"hello\n"
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o640
    assert shell("echo $A", environment=("A=b=c",)).output == "b=c\n"


def test_much_in_both_directions_at_once() -> None:
    piece = b"x" * 65535 + b"\n"
    report = shell("cat", (piece,) * 40, max_output=10**7)
    assert report.verdict is Verdict.DELIVERED
    assert len(report.output) == 40 * 65536


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; echo done", "head -c 5 > /dev/null"])
def test_what_is_not_read_is_no_failure(script: str) -> None:
    assert shell(script, (b"x" * 100_000,) * 10).verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    "status, verdict, words",
    [
        (1, Verdict.FAILED, 'Child process of p transport returned 1 from command: /bin/sh'),
        (64, Verdict.FAILED, "returned 64 (could mean usage or syntax error) from command: "),
        (75, Verdict.DEFERRED, "returned 75 (could mean temporary error) from command: "),
        (73, Verdict.DEFERRED, "returned 73 (could mean can't create output file) from command: "),
        (137, Verdict.FAILED, "returned 137 (could mean shell command ended by signal 9 (Killed)) from command: "),
    ],
)
def test_statuses(status: int, verdict: Verdict, words: str) -> None:
    report = shell(f"exit {status}")
    assert report.verdict is verdict
    assert words in report.text
    assert report.error is ErrorClass.COMMAND


def test_which_statuses_are_temporary() -> None:
    assert shell("exit 9", temp_errors=(9,)).verdict is Verdict.DEFERRED
    assert shell("exit 75", temp_errors=(9,)).verdict is Verdict.FAILED
    assert shell("exit 1", all_errors_are_temporary=True).verdict is Verdict.DEFERRED
    assert shell("exit 1", ignore_status=True).verdict is Verdict.DELIVERED


def test_signals() -> None:
    report = shell("kill -TERM $$")
    assert report.verdict is Verdict.FAILED
    assert report.text == (
        'Child process of p transport (running command "/bin/sh -c kill -TERM $$") was terminated by signal 15 '
        "(Terminated)"
    )
    frozen = shell("kill -TERM $$", freeze_signal=True)
    assert (frozen.verdict, frozen.freeze) == (Verdict.DEFERRED, True)
    assert shell("kill -TERM $$", ignore_status=True).verdict is Verdict.DELIVERED


def test_what_a_delivery_ignores_a_command_does_not() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert "signal 15" in shell("kill -TERM $$").text
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_that_is_not_there() -> None:
    words = "returned 127 (could mean unable to exec or command does not exist) from command: /no/such"
    report = ran("/no/such", "a")
    assert report.verdict is Verdict.FAILED
    assert words in report.text
    frozen = ran("/no/such", "a", freeze_exec_fail=True)
    assert (frozen.verdict, frozen.freeze) == (Verdict.DEFERRED, True)
    assert frozen.text == 'pipe process failed to exec "/no/such a"'


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert "returned 127" in ran(str(tmp_path / "x")).text


def alive(process: int) -> bool:
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(status.stdout.strip()) and not status.stdout.startswith("Z")


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    report = shell(f"sleep 100 & echo $! > {tmp_path}/pid; cat > /dev/null; wait", timeout=3)
    assert report.verdict is Verdict.FAILED
    assert report.text == "pipe delivery process timed out"
    assert not alive(int((tmp_path / "pid").read_text()))
    assert shell("sleep 100", timeout=1, timeout_defer=True).verdict is Verdict.DEFERRED


def test_a_command_that_reads_nothing_for_too_long() -> None:
    report = shell("sleep 100", (b"x" * 10**6,), timeout=1)
    assert report.text == "pipe delivery process timed out (preceded by timeout while writing to pipe)"


def test_a_command_that_writes_too_much_is_killed() -> None:
    report = shell("yes", max_output=1000)
    assert report.verdict is Verdict.FAILED
    assert "terminated by signal 9" in report.text
    assert report.output == "y\n" * 500 + "\n\n*** Too much output - remainder discarded ***\n"


def test_abandoning_kills(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    run = CommandRun(job("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 100"), fast)
    run.write((b"hello\n",))
    process = int((tmp_path / "pid").read_text())  # waits until it has been written
    assert alive(process)
    run.abandon()
    assert not alive(process)


def test_nothing_of_ours_is_open_in_a_command(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        code = "import os; print(sorted(int(x) for x in os.listdir('/proc/self/fd'))[:4])"
        assert ran(sys.executable, "-c", code, message=()).output == "[0, 1, 2, 3]\n"
        listed = shell("ls /proc/$$/fd").output.split()
        assert str(descriptor) not in listed
    finally:
        os.close(descriptor)
