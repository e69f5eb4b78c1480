"""A message handed to an LMTP server behind a Unix socket, or to a command that is one (disk).

The dialog is the client machine's (`esmtp.client`); here are the octets: both directions served at once, so that a
server that writes much before it reads can't block us, and bounded in time at every step. Each recipient has a report
of its own, RFC 2033 4.2. Exim: transports/lmtp.c.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence

from relay.delivery.jobs import LMTPJob, Report, Verdict, Written
from relay.esmtp.client import Client, ClientSettings, Protocol
from relay.esmtp.client_events import (
    BodyWanted,
    ClientEvent,
    Garbled,
    Greeted,
    HelloAccepted,
    LinkLost,
    Refused,
    Settled,
    TimedOut,
)
from relay.esmtp.transaction import OF_ONE
from relay.mail.address import address_from_text
from relay.mail.envelope import BodyType, Envelope, Parameters, Recipient
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Outcome
from relay.mail.text import printable

_PIECE = 64 * 1024
# Seconds for the answer to QUIT, and for a command to end afterwards.
_FAREWELL = 1.0
_PATIENCE = 10.0
# What the machine says of SMTP, in Exim's words for this transport.
_WORDS = (
    (OF_ONE, "LMTP error after end of data: "),
    ("SMTP error from remote mail server after pipelined ", "LMTP error after "),
    ("Remote host closed connection in response to pipelined ", "LMTP connection closed after "),
    ("SMTP timeout after pipelined ", "LMTP timeout after "),
    ("SMTP error from remote mail server after ", "LMTP error after "),
    ("Remote host closed connection in response to ", "LMTP connection closed after "),
    ("SMTP timeout after ", "LMTP timeout after "),
    ("Malformed SMTP reply in response to pipelined ", "Malformed LMTP response after "),
    ("Malformed SMTP reply in response to ", "Malformed LMTP response after "),
)


class LMTPRun:
    """One message. Blocking; it raises nothing: whatever happens is in the report."""

    def __init__(self, job: LMTPJob, elapsed: Callable[[], float]) -> None:
        """`elapsed` counts seconds from any point on and never goes back."""
        self._job = job
        self._elapsed = elapsed
        self._machine: Client | None = None
        self._problem: Report | None = None
        self._outcomes: tuple[Outcome, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reads, self._writes = -1, -1
        self._out = bytearray()
        self._is_heard = True
        self._is_body_wanted = False
        self._size = 0

    def write(self, pieces: Sequence[bytes]) -> None:
        """Hands octets over; a server that wants no more of them gets no more."""
        if self._machine is None and self._problem is None:
            self._begin()
        for piece in pieces:
            self._size += len(piece)
            if self._is_under_way and self._machine is not None:
                self._machine.body(piece, self._elapsed())
                self._talk(lambda: not self._out or not self._is_under_way)

    def complete(self, pieces: Sequence[bytes] = ()) -> Written:
        """The last octets, and the answers to them."""
        self.write(pieces)
        if self._is_under_way and self._machine is not None:
            self._machine.end_body(self._elapsed())
            self._talk(lambda: not self._is_under_way)
        self._part()
        return Written(self._size, 0)

    def deliver(self, _name: str = "") -> Report:
        """A report for each recipient; one for all where the server did not get as far as them."""
        if self._outcomes:
            return Report(Verdict.DELIVERED, each=tuple(_report(each) for each in self._outcomes))
        return self._problem or _deferred(f"no answer in {self._job.transport} transport")

    def finish(self, pieces: Sequence[bytes] = ()) -> Report:
        """`complete` and `deliver` in one."""
        self.complete(pieces)
        return self.deliver()

    def abandon(self) -> None:
        """Ends the dialog without a final dot: what the server has of the message is void."""
        self._close()

    # Beginning and end

    @property
    def _is_under_way(self) -> bool:
        """The server wants the message and has not settled anything."""
        return self._is_body_wanted and not self._outcomes and self._problem is None

    def _begin(self) -> None:
        job, timeout = self._job, float(self._job.timeout)
        try:
            self._open()
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else "") or str(error)
            what = f"connect to socket {printable(job.socket)}" if job.socket else "create child process"
            self._problem = _deferred(f"Failed to {what} for {job.transport} transport: {why}")
            return
        settings = ClientSettings(
            job.hostname,
            Protocol.LMTP,
            command_timeout=timeout,
            data_timeout=timeout,
            final_timeout=timeout,
        )
        self._machine = Client(settings, self._elapsed())
        self._talk(lambda: self._is_body_wanted or bool(self._outcomes) or self._problem is not None)

    def _open(self) -> None:
        """Raises OSError, and ValueError for a command that is none."""
        job = self._job
        if job.socket:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(max(job.timeout, 1))
            self._socket.connect(job.socket)
            self._reads = self._writes = self._socket.fileno()
        else:
            self._process = subprocess.Popen(
                job.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(each.split("=", 1) for each in job.environment),
                start_new_session=True,
                bufsize=0,
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._reads, self._writes = self._process.stdout.fileno(), self._process.stdin.fileno()
        os.set_blocking(self._reads, False)
        os.set_blocking(self._writes, False)

    def _part(self) -> None:
        """QUIT where the server still listens, then the end."""
        if self._machine is not None and self._is_heard and self._outcomes:
            limit = self._elapsed() + _FAREWELL
            self._machine.quit(self._elapsed())
            self._talk(lambda: not self._is_heard or self._elapsed() >= limit, limit)
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        process = self._process
        if process is not None:
            for file in (process.stdin, process.stdout):
                if file is not None:
                    file.close()
            try:
                process.wait(_PATIENCE if self._outcomes else 0)
            except subprocess.TimeoutExpired:
                _kill(process)
                process.wait()
        self._socket = self._process = None
        self._is_heard = False

    # The dialog

    def _talk(self, is_enough: Callable[[], bool], limit: float | None = None) -> None:
        """Moves octets until it is enough, or nothing more can come."""
        machine = self._machine
        assert machine is not None
        while True:
            self._attend(machine)
            if is_enough() or not self._is_heard:
                return
            due = [time for time in (machine.deadline(), limit) if time is not None]
            self._move(machine, min(due) - self._elapsed() if due else None)
            machine.expire(self._elapsed())

    def _attend(self, machine: Client) -> None:
        while (event := machine.next_event()) is not None:
            self._hear(machine, event)
        self._out += machine.data_to_send()

    def _hear(self, machine: Client, event: ClientEvent) -> None:
        match event:
            case Greeted():
                machine.hello(self._elapsed())
            case HelloAccepted():
                machine.transact(self._envelope(), self._elapsed())
            case BodyWanted():
                self._is_body_wanted = True
            case Settled(outcomes):
                self._outcomes = outcomes
            case Refused(stage, reply, after):
                text = f"LMTP error after {after or stage.value}: {printable(reply.as_sent)}"
                self._end(Report(Verdict.FAILED if reply.is_permanent else Verdict.DEFERRED, text, ErrorClass.OTHER))
            case LinkLost(_, _, reason):
                self._end(_deferred(_in_words(reason), ErrorClass.LOST_CONNECTION))
            case TimedOut(_, reason):
                self._end(_deferred(_in_words(reason), ErrorClass.OTHER))
            case Garbled(text, error):
                self._end(_deferred(_in_words(printable(text)), error))
            case _:
                self._is_heard = False

    def _end(self, problem: Report) -> None:
        self._is_heard = False
        self._problem = self._problem or problem

    def _envelope(self) -> Envelope:
        job = self._job
        wish = Parameters((("IGNOREQUOTA", ""),)) if job.ignore_quota else Parameters()
        recipients = tuple(Recipient(address_from_text(each), wish) for each in job.recipients)
        return Envelope(address_from_text(job.sender), recipients, BodyType.EIGHTBITMIME)

    def _move(self, machine: Client, seconds: float | None) -> None:
        """Waits for octets in either direction, and moves some."""
        waiting = select.poll()
        waiting.register(self._reads, select.POLLIN)
        if self._out:
            # One descriptor may stand for both directions.
            waiting.register(self._writes, select.POLLOUT | (select.POLLIN if self._writes == self._reads else 0))
        for file, event in waiting.poll(None if seconds is None else max(int(seconds * 1000) + 1, 0)):
            if file == self._writes and event & (select.POLLOUT | select.POLLERR) and self._out:
                self._write_some()
            if file == self._reads and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read_some(machine)

    def _write_some(self) -> None:
        try:
            del self._out[: os.write(self._writes, self._out[:_PIECE])]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # it reads no more: what it has said before is still read

    def _read_some(self, machine: Client) -> None:
        try:
            data = os.read(self._reads, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            machine.receive(data, self._elapsed())
            return
        machine.receive_eof()
        self._attend(machine)
        self._is_heard = False


def _report(outcome: Outcome) -> Report:
    match outcome:
        case Delivered(confirmation):
            return Report(Verdict.DELIVERED, confirmation)
        case Deferred(reason, error):
            # The silence of an LMTP server has no number of its own in Exim, so that no retry rule for hosts meets it;
            # what it says of one recipient has one, as it has not where the smtp transport speaks LMTP.
            named = ErrorClass.OTHER if error is ErrorClass.TIMEOUT else error
            named = ErrorClass.DATA_4XX if reason.startswith(OF_ONE) else named
            return Report(Verdict.DEFERRED, _in_words(reason), named)
        case _:
            return Report(Verdict.FAILED, _in_words(outcome.reason))


def _in_words(reason: str) -> str:
    for ours, exims in _WORDS:
        if reason.startswith(ours):
            return exims + reason.removeprefix(ours)
    return reason


def _deferred(text: str, error: ErrorClass = ErrorClass.LOCAL) -> Report:
    return Report(Verdict.DEFERRED, text, error)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
