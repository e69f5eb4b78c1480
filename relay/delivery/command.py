"""A command that gets a message as its input: run, fed, listened to, and judged by its end (disk).

The command is the leader of a process group, so that what it leaves behind ends with it when its time is over.
Its input and its output are served together: a command that writes much before it reads can't block us, and
one that reads nothing can't either. What it writes is kept up to a limit; who writes more is killed.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Sequence

from relay.delivery.jobs import Command, Report, Verdict, Written
from relay.mail.outcome import ErrorClass
from relay.mail.text import from_wire, printable, to_wire

_PIECE = 64 * 1024
_TOO_MUCH = "\n\n*** Too much output - remainder discarded ***\n"
_NOT_EXECUTED = 127

# The meanings of exit statuses, as sysexits.h has them.
_MEANINGS = {
    64: "usage or syntax error",
    65: "error in input data",
    66: "input data missing",
    67: "user nonexistent",
    68: "host nonexistent",
    69: "service or program unavailable",
    70: "internal software error",
    71: "internal operating system error",
    72: "system file missing",
    73: "can't create output file",
    74: "input/output error",
    75: "temporary error",
    76: "protocol error",
    77: "permission denied",
    78: "local configuration error",
    127: "unable to exec or command does not exist",
}


class CommandRun:
    """One command and the message for it. Blocking; it raises nothing: whatever happens is in the report."""

    def __init__(self, job: Command, elapsed: Callable[[], float]) -> None:
        """`elapsed` counts seconds from any point on and never goes back."""
        self._job = job
        self._elapsed = elapsed
        self._deadline = elapsed() + job.timeout if job.timeout > 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: Report | None = None
        self._timed_out_writing = False
        self._output = bytearray()
        self._is_flooded = False
        self._size = 0

    def write(self, pieces: Sequence[bytes]) -> None:
        """Hands octets over; what a command does not want to read is not forced on it."""
        if self._process is None and self._problem is None:
            self._start()
        for piece in pieces:
            self._size += len(piece)
            self._feed(memoryview(piece))

    def complete(self, pieces: Sequence[bytes] = ()) -> Written:
        """The last octets, then the end of the input."""
        self.write(pieces)
        self._end_input()
        return Written(self._size, 0)

    def deliver(self, _name: str = "") -> Report:
        """Waits for the end and says what it means."""
        if self._process is None:
            assert self._problem is not None
            return self._problem
        self._listen()
        status = self._ended()
        return self._judged(status)

    def finish(self, pieces: Sequence[bytes] = ()) -> Report:
        """`complete` and `deliver` in one."""
        self.complete(pieces)
        return self.deliver()

    def abandon(self) -> None:
        """Kills what runs."""
        if self._process is not None:
            self._kill()
            self._process.wait()
            self._close()

    # Running

    def _refresh(self) -> None:
        """The time begins anew."""
        if self._job.timeout > 0:
            self._deadline = self._elapsed() + self._job.timeout

    def _start(self) -> None:
        job = self._job
        if job.permit_coredump:
            _, most = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        environment = dict(each.partition("=")[::2] for each in job.environment)
        try:
            self._process = subprocess.Popen(
                [to_wire(each) for each in job.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={to_wire(name): to_wire(value) for name, value in environment.items()},
                umask=job.umask,
                start_new_session=True,
                preexec_fn=_default_signals,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            self._problem = self._by_status(_NOT_EXECUTED)
            if not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
                text = f"Failed to create child process for {job.transport} transport: {error}"
                self._problem = Report(Verdict.DEFERRED, text)
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def _feed(self, rest: memoryview) -> None:
        while rest and self._wants_input():
            ready = self._wait_for(writing=True)
            if ready is None:
                self._timed_out_writing = True
                self._end_input()
                return
            if select.POLLOUT in ready:
                rest = rest[self._write_some(rest) :]

    def _wants_input(self) -> bool:
        return self._process is not None and self._process.stdin is not None and not self._process.stdin.closed

    def _write_some(self, rest: memoryview) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            return os.write(self._process.stdin.fileno(), rest[:_PIECE])
        except BlockingIOError:
            return 0
        except OSError:
            # It has ended, or reads no more: its status will tell whether that was all right.
            self._end_input()
            return len(rest)

    def _end_input(self) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except OSError:
                pass

    def _listen(self) -> None:
        """Reads until nobody can write any more, or the time is over."""
        while self._hears():
            if self._wait_for(writing=False) is None:
                return

    def _hears(self) -> bool:
        return self._process is not None and self._process.stdout is not None and not self._process.stdout.closed

    def _left(self) -> float | None:
        """Seconds that the command still has."""
        if self._timed_out_writing:
            return 1.0
        return None if self._deadline is None else max(self._deadline - self._elapsed(), 0.0)

    def _wait_for(self, *, writing: bool) -> frozenset[int] | None:
        """Waits until something can be done, and takes what was written. None: the time is over."""
        assert self._process is not None
        process, waiting = self._process, select.poll()
        if self._hears():
            waiting.register(process.stdout, select.POLLIN)  # type: ignore[arg-type]
        if writing and process.stdin is not None:
            waiting.register(process.stdin, select.POLLOUT)
        left = self._left()
        events = waiting.poll(None if left is None else int(left * 1000))
        if not events:
            return None
        can: set[int] = set()
        for file, event in events:
            if process.stdout is not None and not process.stdout.closed and file == process.stdout.fileno():
                self._take_output(file)
            elif event & (select.POLLOUT | select.POLLERR | select.POLLHUP):
                can.add(select.POLLOUT)
        return frozenset(can)

    def _take_output(self, file: int) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(file, _PIECE)
        room = self._job.max_output - len(self._output)
        self._output += data[: max(room, 0)]
        if len(data) > room and not self._is_flooded:
            self._is_flooded = True
            self._kill()
        if not data or self._is_flooded:
            self._process.stdout.close()

    def _ended(self) -> int | None:
        """The exit status, negative for a signal; None where it had to be killed because of the time."""
        assert self._process is not None
        try:
            return self._process.wait(self._left())
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            return None
        finally:
            self._close()

    def _kill(self) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except OSError:
            pass

    def _close(self) -> None:
        assert self._process is not None
        self._end_input()
        if self._process.stdout is not None:
            self._process.stdout.close()

    # Judging

    def _judged(self, status: int | None) -> Report:
        job = self._job
        before = " (preceded by timeout while writing to pipe)" if self._timed_out_writing else ""
        if status is None:
            verdict = Verdict.DEFERRED if job.timeout_defer else Verdict.FAILED
            return self._report(verdict, f"pipe delivery process timed out{before}", ErrorClass.COMMAND)
        if status == 0:
            if self._timed_out_writing:
                verdict = Verdict.DEFERRED if job.timeout_defer else Verdict.FAILED
                return self._report(verdict, "timeout while writing to pipe", ErrorClass.TIMEOUT)
            return self._report(Verdict.DELIVERED, "")
        if status < 0:
            return self._by_signal(-status, before)
        return self._by_status(status, before)

    def _by_signal(self, number: int, before: str) -> Report:
        job = self._job
        text = (
            f"Child process of {job.transport} transport (running command {_quoted(job.command)}) was terminated by "
            f"signal {number} ({signal.strsignal(number)}){before}"
        )
        if job.freeze_signal:
            return self._report(Verdict.DEFERRED, text, freeze=True)
        return self._report(Verdict.DELIVERED if job.ignore_status else Verdict.FAILED, text)

    def _by_status(self, status: int, before: str = "") -> Report:
        job = self._job
        if status == _NOT_EXECUTED and job.freeze_exec_fail:
            return self._report(Verdict.DEFERRED, f"pipe process failed to exec {_quoted(job.command)}", freeze=True)
        if job.ignore_status:
            return self._report(Verdict.DELIVERED, "")
        temporary = job.all_errors_are_temporary or status in job.temp_errors
        meaning = f" (could mean {_MEANINGS[status]})" if status in _MEANINGS else ""
        if status > 128:
            ended_by = f"{status - 128} ({_signal_name(status - 128)})"
            meaning = f" (could mean shell command ended by signal {ended_by})"
        # The command alone, as in Exim's log: what it is told may be nobody's business.
        words = job.arguments[0]
        text = f"Child process of {job.transport} transport returned {status}{meaning} from command: {words}{before}"
        return self._report(Verdict.DEFERRED if temporary else Verdict.FAILED, text, ErrorClass.COMMAND)

    def _report(
        self, verdict: Verdict, text: str, error: ErrorClass = ErrorClass.OTHER, *, freeze: bool = False
    ) -> Report:
        output = from_wire(bytes(self._output)) + (_TOO_MUCH if self._is_flooded else "")
        return Report(verdict, text, error, freeze, output)


def _default_signals() -> None:
    """What a delivery ignores, a command does not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _quoted(command: str) -> str:
    return f'"{printable(command)}"'


def _signal_name(number: int) -> str:
    try:
        return signal.strsignal(number) or f"Unknown signal {number}"
    except ValueError:
        return f"Unknown signal {number}"
