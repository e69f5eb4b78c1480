"""The process that delivers as other users: it forks a child for each delivery, which becomes the user (edge).

It is started before the daemon gives root up, as a fresh interpreter with nothing of the daemon's in it: no
queue, no keys, no configuration. What it may do is little: a child takes one job, never as root unless the
daemon itself stays root (and then no command), and says what came of it.

Over the control socket comes one descriptor for each delivery, a socket to the daemon. On that: a line with the
user, a line with the job, then the octets in frames of a length and as many octets; a frame of length 0 ends
them. The child asks for a name where the job has none (`?` and what is known of the file, answered with a
line), and ends with its report (`=` and a line). A filter's report says how it ended; then the daemon asks for its
output, four octets with the number of a piece, and gets a frame for each. A socket that ends before its last frame
means: leave nothing behind.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from relay.delivery.filter_run import FilterRun
from relay.delivery.jobs import (
    BadRequest,
    Filter,
    FilterEnd,
    Identity,
    Job,
    NotDelivered,
    Report,
    decode,
    decode_job,
    deferred,
    encode,
    runs_command,
)
from relay.delivery.new_file import NameTaken
from relay.delivery.writers import NAME_PAUSE, NAME_TRIES, Writer, writer_for

# A line of the daemon's: a job with its arguments and environment.
LINE_LIMIT = 1024 * 1024
FRAME_LIMIT = 4 * 1024 * 1024
# Seconds that the daemon may be silent in the middle of a message.
SILENCE = 600.0


class _Clock:
    """The wall clock of this process."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Ended(Exception):
    """The daemon is gone, or has given the delivery up."""


def serve(control: socket.socket, *, root_stays: bool) -> None:
    """Forks a child for each descriptor that comes; returns when the daemon has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        if _fork() == 0:
            control.close()
            _errand(socket.socket(fileno=descriptors[0]), root_stays=root_stays)
        os.close(descriptors[0])


def _fork() -> int:
    """As os.fork; where the system has no room for a process the daemon finds its socket closed."""
    try:
        return os.fork()
    except OSError:
        return -1


def _errand(link: socket.socket, *, root_stays: bool) -> None:
    """One delivery, in the child. Does not return."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link.settimeout(SILENCE)
        Errand(link.makefile("rwb"), root_stays=root_stays).run()
        status = 0
    except (Ended, OSError, BadRequest):
        pass
    finally:
        os._exit(status)


class Errand:
    """One delivery: from the request to the report."""

    def __init__(self, link: Any, *, root_stays: bool, become: Callable[[Identity], None] | None = None) -> None:
        self._link: BinaryIO = link
        self._root_stays = root_stays
        self._become = become or become_user

    def run(self) -> None:
        """Raises Ended, BadRequest, OSError."""
        identity = decode(Identity, self._line())
        job = decode_job(self._line())
        try:
            self._check(identity, job)
            self._become(identity)
            if isinstance(job, Filter):
                self._filter(job)
                return
            writer = writer_for(job, _Clock(), time.monotonic)
        except NotDelivered as error:
            self._drain()
            self._tell("=", FilterEnd(trouble=str(error)) if isinstance(job, Filter) else error.report)
            return
        try:
            report = self._perform(writer, job)
        except BaseException:
            writer.abandon()
            raise
        self._tell("=", report)

    def _check(self, identity: Identity, job: Job) -> None:
        if identity.uid == 0 and (not self._root_stays or runs_command(job)):
            raise deferred(f"User 0 set for {job.transport} transport is on the never_users list")

    def _filter(self, job: Filter) -> None:
        """Runs it over all octets, says how it ended, and gives of its output what is asked for, by number."""
        run = FilterRun(job, time.monotonic)
        try:
            while frame := self._frame():
                run.write((frame,))
            end = run.end()
            self._tell("=", end)
            while end.is_good:
                piece = run.piece(int.from_bytes(self._octets(4), "big"))
                self._link.write(len(piece).to_bytes(4, "big") + piece)
                self._link.flush()
        finally:
            run.abandon()
            run.close()

    def _perform(self, writer: Writer, job: Job) -> Report:
        trouble: Report | None = None
        while frame := self._frame():
            try:
                if trouble is None:
                    writer.write((frame,))
            except NotDelivered as error:
                trouble = error.report  # the rest is still read, so that the report is
        if trouble is not None:
            return trouble
        try:
            if getattr(job, "final", "-"):
                return writer.finish()
            return self._named(writer)
        except NotDelivered as error:
            writer.abandon()
            return error.report

    def _named(self, writer: Writer) -> Report:
        written = writer.complete()
        last = ""
        for number in range(1, NAME_TRIES + 1):
            self._tell("?", written)
            answer = json.loads(self._line())
            if not isinstance(answer, str) or answer.startswith("/") or ".." in answer.split("/"):
                raise BadRequest("that is no name")
            if not answer:
                raise Ended
            try:
                return writer.deliver(answer)
            except NameTaken as taken:
                if number == NAME_TRIES or answer == last:
                    raise taken.trouble from None
                last = answer
                time.sleep(NAME_PAUSE)
        raise deferred("no name was found")

    def _tell(self, sign: str, value: object) -> None:
        self._link.write(f"{sign}{encode(value)}\n".encode("ascii"))
        self._link.flush()

    def _line(self) -> bytes:
        line = self._link.readline(LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise Ended
        return line

    def _frame(self) -> bytes:
        length = int.from_bytes(self._octets(4), "big")
        if length > FRAME_LIMIT:
            raise BadRequest("a frame is too long")
        return self._octets(length)

    def _octets(self, number: int) -> bytes:
        data = self._link.read(number)
        if len(data) != number:
            raise Ended
        return data

    def _drain(self) -> None:
        while self._frame():
            pass


def become_user(identity: Identity) -> None:
    """Takes user and groups on for good, with nothing of the old ones left, and goes to the directory. Raises
    NotDelivered."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        if os.geteuid() == 0:
            os.setgroups(identity.groups)
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        elif (os.geteuid(), os.getegid()) != (identity.uid, identity.gid):
            raise deferred(f"user {os.geteuid()} can't become user {identity.uid}, group {identity.gid}")
    except OSError as error:
        what = f"can't become user {identity.uid}, group {identity.gid}"
        raise deferred(what, errno=error.errno or 0) from error
    try:
        os.chdir(identity.directory)
    except OSError as error:
        raise deferred(f"failed to chdir to {identity.directory}", errno=error.errno or 0) from error


def main() -> int:
    """`python -m relay.net.courier_process DESCRIPTOR root|own`: the control socket, and whether root stays."""
    os.environ.clear()
    serve(socket.socket(fileno=int(sys.argv[1])), root_stays=sys.argv[2] == "root")
    return 0


if __name__ == "__main__":
    sys.exit(main())
