"""Where the real servers are, and what running any of them takes.

`make peers` installs them. A server gets a directory of its own under the system's temporary one, because it
runs under several users that cannot look into pytest's; it is removed when the server has been stopped.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

PEERS = Path(os.environ.get("FINGERPOST_PEERS", "/opt/fingerpost-peers"))
EXIM = PEERS / "exim/usr/sbin/exim4"
POSTFIX = PEERS / "postfix/usr/sbin/postfix"
# Clients that would want to be this machine's mail server, so that they are only unpacked.
PROGRAMS = {
    "bsd-mailx": PEERS / "bsd-mailx/usr/bin/bsd-mailx",
    "haproxy": PEERS / "haproxy/usr/sbin/haproxy",
    "msmtp": PEERS / "msmtp/usr/bin/msmtp",
    "mutt": PEERS / "mutt/usr/bin/mutt",
    "nullmailer": PEERS / "nullmailer/usr/sbin/nullmailer-send",
    "s-nail": PEERS / "s-nail/usr/bin/s-nail",
}
HOST = "127.0.0.1"
MAIL_USER = "fingerpost-mail"

START_SECONDS = 60.0
STOP_SECONDS = 10.0
PAUSE_SECONDS = 0.01
"""Between two looks whether something has happened."""

_MOST_HELD = 256
"""Of ports: more than any test has in use, and far below the limit of open files."""
_held: deque[int] = deque()  # Open files; of the process, as its ports are.


class DidNotStart(Exception):
    """The text holds what the server printed and logged."""


def missing(name: str) -> str:
    """Why `exim`, `postfix` or a program cannot be used here; empty if it can."""
    match name:
        case "exim" | "postfix":
            if not (PEERS / name / ".complete").exists():
                return f"{name} is not installed (make peers)"
            if os.geteuid() != 0:
                return f"{name} needs root (it runs under several users)"
        case _:
            if not shutil.which(PROGRAMS.get(name, name)):
                return f"{name} is not installed (make peers)"
    return ""


def free_port() -> int:
    """A port of the loopback address that nobody listens on, and that nobody is given by chance.

    The port stays bound, without listening, for as long as it is among the last ones that were asked for: the
    system then gives it neither to a connection that somebody else opens nor to who asks for any port, and a
    server may listen on it, go, and come back (SO_REUSEADDR, which every server here sets).
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    if len(_held) == _MOST_HELD:
        os.close(_held.popleft())
    port = int(holder.getsockname()[1])
    _held.append(holder.detach())
    return port


@contextlib.contextmanager
def directory(name: str) -> Iterator[Path]:
    """A directory that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix=f"fingerpost-{name}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_directory(path: Path, owner: str, group: str | None = None, mode: int = 0o755) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    shutil.chown(path, owner, group or owner)
    path.chmod(mode)
    return path


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, port: int | None, output: Path, logs: Path) -> Iterator[int]:
    """Runs a server for as long as the block; it has begun to listen on `port` (None: it listens nowhere).

    Yields the process id. The server is told to stop by SIGTERM; then its whole process group is killed.
    """
    with output.open("ab") as out:
        process = begin(command, out)
    with supervised(process):
        if port is not None:
            wait_for_start(process, lambda: _listens(port), [output, *sorted(logs.glob("*"))])
        yield process.pid


class Process(Protocol):
    """What is needed of a server that was started in a session of its own, such as a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


def begin(command: Sequence[str | Path], output: BinaryIO) -> Process:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


@contextlib.contextmanager
def supervised(process: Process) -> Iterator[None]:
    """Stops a server at the end of the block, as `running` does."""
    try:
        yield
    finally:
        _stop(process)


def wait_for_start(process: Process, has_started: Callable[[], bool], told: Sequence[Path]) -> None:
    """Raises DidNotStart, with what is in the files of `told`, where the server ends before or takes too long."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if has_started():
            return
        time.sleep(PAUSE_SECONDS)
    texts = [path.read_text(errors="replace") for path in told if path.is_file()]
    raise DidNotStart(f"it has not started (exit status {process.poll()})\n" + "\n".join(texts))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _stop(process: Process) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    # Children (deliveries, Postfix' services) are in the session that was made for the server.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


def processes_with(argument: str) -> list[int]:
    """The ids of all processes that were started with this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def wait_until(what: str, condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Returns as soon as the condition holds; AssertionError where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(PAUSE_SECONDS)
