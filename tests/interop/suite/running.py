"""A test under way, and the processes that it starts (edge).

    code = shell(run, "./bin/client 127.0.0.1 1225 >>test-stdout", lines=("quit\\r\\n",))

Commands go through the shell, as in the suite's `runtest`, with few variables in their environment. Each process gets a
group of its own, so that it can be ended with all that it has started.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from interop.suite.stage import Stage
from interop.suite.substitutions import Words

START_SECONDS = 9.0


class OutOfTime(Exception):
    """The test's time is over."""


class Unplayable(Exception):
    """The test needs what this player, or this machine, does not have."""


class WrongCode(Exception):
    """A command has ended with a code that the script does not expect."""


@dataclass(slots=True)
class Run:
    """A test under way. `server` is the scripted one of the suite; `daemon` the program under test."""

    stage: Stage
    test: str
    words: Words
    deadline: float
    custom: str = ""
    server: subprocess.Popen[bytes] | None = None
    daemon: subprocess.Popen[bytes] | None = None
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    listener: socket.socket | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.stage.directory

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left

    def put(self, text: str) -> str:
        return self.words.put_into(text, self.test)


def end(run: Run) -> None:
    """Ends every process that a step has started."""
    for process in run.started:
        with contextlib.suppress(OSError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError, ValueError):
            if process.stdin:
                process.stdin.close()
        process.wait()


def shell(run: Run, command: str, *, lines: tuple[str, ...] = (), hold: int = 0, root: bool = False) -> int:
    """The code with which the shell's command ends; its input is what the lines say."""
    process = start(run, command, root=root)
    writer = threading.Thread(target=_feed, args=(run, process, lines, hold), daemon=True)
    writer.start()
    try:
        code = process.wait(run.left())
    except subprocess.TimeoutExpired as error:
        raise OutOfTime from error
    writer.join(0.5)
    return code if code >= 0 else 128 - code


def start(run: Run, command: str, *, root: bool = False, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    words = run.words
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "USER": words.caller,
        "SHELL": f"{words.directory}/aux-var/sh",
        "TERM": "dumb",
        "EXIM_TEST_NUMBER": run.test,
        **run.settings,
    }
    drop = os.geteuid() == 0 and words.caller_uid != 0 and not root
    process = subprocess.Popen(
        ["/bin/sh", "-c", command.encode("latin-1")],
        cwd=run.directory,
        env=environment,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=0o022,
        user=words.caller_uid if drop else None,
        group=words.caller_gid if drop else None,
        extra_groups=[words.exim_gid] if drop else None,
    )
    run.started.append(process)
    return process


def _feed(run: Run, process: subprocess.Popen[bytes], lines: tuple[str, ...], hold: int) -> None:
    assert process.stdin
    with contextlib.suppress(OSError):
        for line in lines:
            for piece in _pieces(run, run.put(line)):
                process.stdin.write(piece.encode("latin-1"))
                process.stdin.flush()
        time.sleep(hold)
    with contextlib.suppress(OSError):
        process.stdin.close()


def _pieces(run: Run, line: str) -> Iterator[str]:
    """What a line of input stands for: itself, or what its `:command:` says."""
    found = re.match(r":(\S+?):(.*)", line)
    match found[1] if found else "":
        case "eval":
            assert found
            yield unescaped(found[2])
        case "noeol":
            assert found
            yield found[2].rstrip("\r\n")
        case "sleep":
            assert found
            time.sleep(float(found[2]))
        case "file":
            assert found
            yield (run.directory / found[2]).read_bytes().decode("latin-1")
        case "":
            yield line
        case _:
            assert found
            yield found[2]


def unescaped(text: str) -> str:
    """A Perl string in double quotes, as far as scripts use it."""
    named = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "e": "\x1b"}

    def value(found: re.Match[str]) -> str:
        code = found[1]
        if code.startswith("x"):
            return chr(int(code.strip("x{}") or "0", 16) & 0xFF)
        if code.isdigit() and len(code) > 1:
            return chr(int(code, 8))
        return named.get(code, code)

    return re.sub(r"\\(x\{[0-9A-Fa-f]*\}|x[0-9A-Fa-f]{0,2}|[0-7]{2,3}|.)", value, text)


def wait(run: Run, happened: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    until = time.monotonic() + min(seconds, run.left())
    while not happened() and time.monotonic() < until:
        time.sleep(0.05)
