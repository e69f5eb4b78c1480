"""Daemons as child processes, for as long as a command runs (edge).

A child's own output goes to a file, its log is read from where its configuration puts it. Everything that
is waited for is a condition with a deadline, looked at a few times a second, and a child that ends
meanwhile ends the waiting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from relay.cli.faults import Fault, fault_of_system

T = TypeVar("T")

_LOOK_EVERY = 0.05
_STOP_WITHIN = 10.0
_TAIL_LINES = 12


class LogTail:
    """The lines that a log file gains from now on; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self.seen: list[str] = []

    def read(self) -> list[str]:
        """The complete lines that came since the last call."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._position:
                    self._position = 0
                file.seek(self._position)
                data = file.read()
                self._position = file.tell()
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        new = [line.decode("utf-8", "replace") for line in lines]
        self.seen += new
        return new

    def of_message(self, mark: str) -> tuple[str, list[str]]:
        """The id of the message whose arrival line has `mark` in it, and all its lines so far; empty if
        there is none."""
        self.read()
        arrival = next((line for line in self.seen if " <= " in line and mark in line), None)
        if arrival is None:
            return "", []
        message_id = arrival.split(" <= ", 1)[0].rsplit(" ", 1)[-1]
        return message_id, [line for line in self.seen if f" {message_id} " in line]


class Child:
    """One `relay run` of a configuration."""

    def __init__(self, name: str, configuration: Path, port: int, log: Path, output: Path) -> None:
        self.name = name
        self.configuration = configuration
        self.port = port
        self.log = LogTail(log)
        self.output = output
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What is run: the daemon, by the interpreter that runs us."""
        return [sys.executable, "-m", "relay", "run", "-C", str(self.configuration)]

    def start(self) -> None:
        """Starts the process; raises Fault."""
        try:
            with self.output.open("wb") as output:
                self._process = subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
        except OSError as error:
            raise fault_of_system(error) from None

    def ended(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll() if self._process else 0

    def answers(self) -> bool:
        """True when somebody greets on its port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(4).startswith(b"220")
        except OSError:
            return False

    def stop(self) -> None:
        """Asks it to end, and makes it end where it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> list[str]:
        """The last lines of its output and its log, for whoever must find out what went wrong."""
        self.log.read()
        lines = [f"{self.name}, last lines:"]
        with contextlib.suppress(OSError):
            output = self.output.read_text("utf-8", "replace").splitlines()
            lines += [f"  {line}" for line in output[-_TAIL_LINES:]]
        return lines + [f"  {line}" for line in self.log.seen[-_TAIL_LINES:]]


@contextlib.contextmanager
def running(children: Sequence[Child]) -> Iterator[None]:
    """Starts all; stops them in the opposite order, whatever happens."""
    try:
        for child in children:
            child.start()
        yield
    finally:
        for child in reversed(children):
            child.stop()


def wait_for(what: str, condition: Callable[[], T | None], children: Sequence[Child], within: float) -> T:
    """The first true answer of the condition; a Fault with the last lines of every child when there is none.

    `within` is in seconds.
    """
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        gone = next((child for child in children if child.ended() is not None), None)
        if gone is not None:
            raise Fault("\n".join([f"{gone.name} ended with status {gone.ended()}", *gone.tail()]))
        if time.monotonic() > deadline:
            tails = [line for child in children for line in child.tail()]
            raise Fault("\n".join([f"{what} did not happen within {within:.0f} s", *tails]))
        time.sleep(_LOOK_EVERY)


def free_ports(count: int, base: int = 0) -> tuple[int, ...]:
    """Loopback ports that nobody listens on: the first ones from `base` on, or whichever the system gives."""
    if not base:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return tuple(each.getsockname()[1] for each in sockets)
    found: list[int] = []
    for port in range(base, min(base + 1000, 65536)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise Fault(f"no {count} free ports from {base} on", remedy="choose another --port-base")


def is_free(port: int) -> bool:
    """True if the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
