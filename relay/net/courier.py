"""Local deliveries in a process of their own: the daemon's end of it (edge).

`Courier` starts `courier_process` and hands it one end of a socket pair for each delivery; on the other end the
job goes out, then the octets of the message as fast as the child takes them, and the report comes back.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

import relay
from relay.delivery.carrying import Content, Naming
from relay.delivery.filtering import FilterFailed
from relay.delivery.jobs import (
    BadRequest,
    Filter,
    FilterEnd,
    Identity,
    Job,
    NotDelivered,
    Report,
    Verdict,
    Written,
    decode,
    encode,
)
from relay.mail.outcome import ErrorClass
from relay.mail.ports import SpoolUnavailable

_REPORT_LIMIT = 16 * 1024 * 1024
_LOST = Report(Verdict.DEFERRED, "the process of a local delivery ended without a report", ErrorClass.LOCAL)


class Lost(Exception):
    """The child is gone."""


class Courier:
    """The `Carrier` that uses a process. To be started while root is still root."""

    def __init__(self, reactor: Any, *, root_stays: bool = False) -> None:
        """`root_stays`: the daemon has no other user than root."""
        self._reactor = reactor
        self._root_stays = root_stays
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Starts the process, unless it runs. Raises OSError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            # Only this package and the standard library are to be found, nothing of the current directory.
            environment = {"PYTHONPATH": str(Path(relay.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "relay.net.courier_process",
                    str(theirs.fileno()),
                    "root" if self._root_stays else "own",
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # It says everything through its socket; a pipe of whoever started us must not stay open by it.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        self._control = ours

    def stop(self) -> None:
        """Lets the process end; children that have a whole message finish it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def carry(self, job: Job, identity: Identity, content: Content, naming: Naming | None) -> Report:
        """The report of a child. Raises what the content raises; the child then leaves nothing behind."""
        try:
            errand = self._errand()
        except OSError as error:
            reason = f"a process for a local delivery can't be had: {error.strerror or error}"
            return Report(Verdict.DEFERRED, reason, ErrorClass.LOCAL)
        try:
            return await _converse(errand, job, identity, content, naming)
        except Lost:
            return _LOST
        except BadRequest as error:
            return Report(Verdict.DEFERRED, f"the process of a local delivery answers nonsense: {error}")
        finally:
            errand.close()

    async def filtered(self, job: Filter, identity: Identity, content: Content) -> CourierFiltered:
        """What a filter makes of the content, all of it. Raises FilterFailed, and what the content raises."""
        try:
            errand = self._errand()
        except OSError as error:
            raise FilterFailed(FilterEnd(trouble=f"no process can be had: {error.strerror or error}")) from error
        try:
            await _send(errand, job, identity, content)
            line = await errand.line()
            if line[:1] != b"=":
                raise BadRequest("that is no report")
            end = decode(FilterEnd, line[1:])
        except (Lost, BadRequest) as error:
            errand.close()
            raise FilterFailed(FilterEnd(trouble="its process is gone")) from error
        except BaseException:
            errand.close()
            raise
        if not end.is_good:
            errand.close()
            raise FilterFailed(end)
        return CourierFiltered(errand)

    def _errand(self) -> _Errand:
        self.start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            socket.send_fds(self._control, [b"!"], [theirs.fileno()])
            errand = _Errand()
            factory = Factory.forProtocol(lambda: errand)
            factory.noisy = False
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        return errand


class CourierFiltered:
    """The output of a filter, which a child keeps until `close`."""

    def __init__(self, errand: _Errand) -> None:
        self._errand = errand

    async def piece(self, number: int) -> bytes:
        """Piece `number` from 0; b"" behind the last one. Raises SpoolUnavailable."""
        try:
            await self._errand.send(number.to_bytes(4, "big"))
            length = int.from_bytes(await self._errand.octets(4), "big")
            return await self._errand.octets(length)
        except Lost:
            raise SpoolUnavailable("the output of the transport's filter is gone") from None

    def close(self) -> None:
        """Lets the child end."""
        self._errand.close()


async def _converse(errand: _Errand, job: Job, identity: Identity, content: Content, naming: Naming | None) -> Report:
    await _send(errand, job, identity, content)
    while True:
        line = await errand.line()
        if line[:1] == b"=":
            return decode(Report, line[1:])
        if line[:1] != b"?" or naming is None:
            raise BadRequest("neither a question nor a report")
        try:
            name = await naming(decode(Written, line[1:]))
        except NotDelivered as error:
            return error.report
        await errand.send(json.dumps(name).encode("ascii") + b"\n")


async def _send(errand: _Errand, job: Job, identity: Identity, content: Content) -> None:
    """Who it is for, what is to be done, and all octets."""
    await errand.send(f"{encode(identity)}\n{encode(job)}\n".encode("ascii"))
    while not content.is_ended:
        batch = await content.batch()
        if batch:
            await errand.send(len(batch).to_bytes(4, "big") + batch)
    await errand.send(bytes(4))


@implementer(IPushProducer)
class _Errand(Protocol):
    """Our end of one delivery: what is sent waits until the child has taken what went before."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: deque[bytes] = deque()
        self._waiting: Deferred[bytes] | None = None
        self._wanted = -1
        """Octets that are waited for; negative: a line is."""
        self._paused: Deferred[None] | None = None
        self._is_lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]

    async def send(self, data: bytes) -> None:
        """Raises Lost."""
        if self._paused is not None:
            await self._paused
        if self._is_lost or self.transport is None:
            return  # a report may have come before the end: whoever reads the answer sees
        self.transport.write(data)

    async def line(self) -> bytes:
        """The next line of the child's. Raises Lost."""
        if self._lines:
            return self._lines.popleft()
        if self._is_lost:
            raise Lost
        self._waiting = Deferred()
        return await self._waiting

    async def octets(self, number: int) -> bytes:
        """As many octets as that; nobody may wait for a line then. Raises Lost."""
        if len(self._buffer) < number:
            if self._is_lost:
                raise Lost
            self._wanted = number
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._wanted = -1
        found = bytes(self._buffer[:number])
        del self._buffer[:number]
        return found

    def close(self) -> None:
        """Nothing more is wanted."""
        if self.transport is not None and not self._is_lost:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if self._wanted >= 0:
            waiting = self._waiting
            if len(self._buffer) >= self._wanted and waiting is not None:
                self._waiting = None
                waiting.callback(b"")
            return
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.callback(line)
            else:
                self._lines.append(line)
        if len(self._buffer) > _REPORT_LIMIT:
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        self.resumeProducing()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Lost())

    # IPushProducer: the transport says when it is full.

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()
