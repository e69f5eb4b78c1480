"""A filter run over a message: fed, its output kept in a file without a name, read from there piece by piece (disk).

The whole output is there before a transport gets any of it: a filter that fails has sent nothing to anybody, and a
second host gets what the first one did.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from relay.delivery.command import CommandRun
from relay.delivery.jobs import Command, Filter, FilterEnd, Verdict

PIECE = 64 * 1024
_ENVIRONMENT = ("PATH=/bin:/usr/bin",)


class FilterRun(CommandRun):
    """One filter and one message. Blocking; it raises OSError where the file can't be had."""

    def __init__(self, job: Filter, elapsed: Callable[[], float]) -> None:
        command = Command(
            transport=job.transport,
            command=" ".join(job.arguments),
            arguments=job.arguments,
            environment=_ENVIRONMENT,
            umask=0o077,
            timeout=job.timeout,
        )
        super().__init__(command, elapsed)
        self._filter = job
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self._written = 0
        self._trouble = ""
        self._status: int | None = 0

    def end(self) -> FilterEnd:
        """The end of the input; how the filter ended."""
        self.complete()
        report = self.deliver()
        if self._trouble:
            return FilterEnd(trouble=self._trouble)
        if self._process is None:
            return FilterEnd(status=127) if report.verdict is Verdict.FAILED else FilterEnd(trouble=report.text)
        if self._status is None or self._timed_out_writing:
            return FilterEnd(is_late=True)
        return FilterEnd(status=self._status)

    def piece(self, number: int) -> bytes:
        """Piece `number` of the output; b"" behind the last one."""
        return os.pread(self._file.fileno(), PIECE, number * PIECE)

    def close(self) -> None:
        """Forgets the output."""
        self._file.close()

    def _take_output(self, file: int) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        data = os.read(file, PIECE)
        self._refresh()
        self._written += len(data)
        if self._written > self._filter.limit:
            self._trouble = "it writes without end"
        else:
            self._keep(data)
        if self._trouble:
            self._kill()
        if not data or self._trouble:
            self._process.stdout.close()

    def _keep(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            self._trouble = f"its output can't be kept: {error.strerror}"

    def _write_some(self, rest: memoryview) -> int:
        self._refresh()
        return super()._write_some(rest)

    def _ended(self) -> int | None:
        self._status = super()._ended()
        return self._status
