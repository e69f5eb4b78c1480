"""Programs of ours without the second that each needs to load its modules: children of one process that has them.

    process = nursery.start("relay", ["run", "-C", path], output=file)
    done = nursery.run("relay.cli.sendmail", ["-C", path, "-bpc"])

What begins is what `python -m MODULE` begins, in a session of its own, with the caller's environment, directory and
mask. The process that has the modules is made when the first is asked for; it runs nothing of its own, opens nothing,
and ends with whoever made it. What the loading itself does is for tests that begin a program as anybody does
(`test_modes.py`, `test_without_daemon.py`, `test_demo.py`).
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, BinaryIO

# None of these may load the reactor: it holds descriptors, which all children would share. What does is left to them.
_LOADED = ("relay.cli.main", "relay.cli.run", "relay.cli.sendmail", "relay.daemon.build", "relay.daemon.generation")
_MOST = 1 << 17


class Process:
    """What the tests need of a `subprocess.Popen`."""

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self._told = told
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, a signal's number below zero; None while it runs."""
        if self._status is None and select.select([self._told], [], [], 0)[0]:
            self._status = int(self._told.recv(64) or b"-9")  # the nursery is gone, and it was killed with it
            self._told.close()
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self._status is None:
            select.select([self._told], [], [], timeout)
            if self.poll() is None:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        assert self._status is not None
        return self._status

    def terminate(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


class _Nursery:
    """The caller's side."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def start(self, order: Mapping[str, Any], descriptors: Sequence[int]) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno(), *descriptors])
        pid = ours.recv(64)
        assert pid, "the nursery is gone"
        return Process(int(pid), ours)

    def end(self) -> None:
        self._control.close()
        self._process.wait()


_lock = threading.Lock()
_made: list[_Nursery] = []


def run(
    module: str, arguments: Sequence[str], *, source: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """As `subprocess.run` with `capture_output`; it reads from a file."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(source)
        given.seek(0)
        process = _start(module, arguments, (given, output, errors))
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        for each in (output, errors):
            each.seek(0)
        return subprocess.CompletedProcess([module, *arguments], status, output.read(), errors.read())


def start(module: str, arguments: Sequence[str], *, output: BinaryIO) -> Process:
    """With nothing to read; what it prints goes into `output`."""
    with open(os.devnull, "rb") as nothing:
        return _start(module, arguments, (nothing, output, output))


def _start(module: str, arguments: Sequence[str], files: Sequence[IO[bytes]]) -> Process:
    with _lock:
        if not _made:
            _made.append(_Nursery())
            atexit.register(_made[0].end)
    mask = os.umask(0)
    os.umask(mask)
    order = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "mask": mask,
    }
    return _made[0].start(order, [each.fileno() for each in files])


# The process that has the modules


def _serve(control: socket.socket) -> Mapping[str, Any] | None:
    """The order of a child, in that child; None in the parent at its end."""
    running: dict[int, socket.socket] = {}
    waker, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    while True:
        ready, _, _ = select.select([control, waker], [], [])
        if waker in ready:
            os.read(waker, 512)
            _tell_the_ended(running)
        if control not in ready:
            continue
        octets, descriptors, _, _ = socket.recv_fds(control, _MOST, 8)
        if not octets:
            return None
        told = socket.socket(fileno=descriptors[0])
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (control, told, *running.values()):
                each.close()
            os.close(waker)
            os.close(woken)
            order: Mapping[str, Any] = json.loads(octets)
            _become(order, descriptors[1:])
            return order
        for each in descriptors[1:]:
            os.close(each)
        with suppress(OSError):  # whoever asked may be gone
            told.send(str(child).encode())
        running[child] = told


def _tell_the_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as told, suppress(OSError):
            told.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(order: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    os.setsid()
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    os.chdir(order["directory"])
    os.umask(order["mask"])
    sys.path[0] = order["directory"]


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    sys.path[0] = ""  # as it is with -m, not the directory of this file
    for each in _LOADED:
        __import__(each)
    assert "twisted.internet.reactor" not in sys.modules
    order = _serve(control)
    if order is not None:
        sys.argv[1:] = order["arguments"]
        if "." in order["module"]:
            sys.modules.pop(order["module"], None)  # it is to run as the program
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
