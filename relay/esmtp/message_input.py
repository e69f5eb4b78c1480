"""Where the octets of a session go when they are not commands: a message, or a chunk that nobody wants (machine).

Each of these takes from the session's buffer what is its own and nothing more, so that what stands behind it is
read as commands again. A message that is refused is still taken, to its end or to a bound.
"""

from __future__ import annotations

from relay.esmtp.chunks import Chunk, ChunkReader
from relay.esmtp.data import DataFault, DataReader, LocalDataReader
from relay.esmtp.limits import ServerSettings
from relay.esmtp.lines import LineReader
from relay.mail.reply import Reply


class LineInput:
    """A message behind DATA, to its final dot."""

    def __init__(self, settings: ServerSettings) -> None:
        make = LocalDataReader if settings.local else DataReader
        self._reader = make(settings.size_limit)
        self._bound = _bound(settings)

    def take(self, lines: LineReader) -> bytes | None:
        """The next piece of the message; None: nothing is there to be read."""
        data = lines.take()
        if not data:
            return None
        piece = self._reader.feed(data)
        if self._reader.ended:
            lines.put_back(self._reader.rest)
        return piece

    @property
    def is_done(self) -> bool:
        return self._reader.ended

    @property
    def is_beyond_bound(self) -> bool:
        """So much was over the limit that the rest is not read."""
        return 0 < self._bound < self._reader.size

    @property
    def size(self) -> int:
        return self._reader.size

    @property
    def fault(self) -> DataFault | None:
        return self._reader.fault


class ChunkInput:
    """A message in chunks; it is the session's input while one of them comes."""

    def __init__(self, settings: ServerSettings, binary: bool) -> None:
        self._reader = ChunkReader(settings.size_limit, binary=binary, local=settings.local)
        self._bound = _bound(settings)

    def begin(self, chunk: Chunk) -> None:
        self._reader.begin(chunk)

    def take(self, lines: LineReader) -> bytes | None:
        """The next piece of the message; None: nothing is there to be read."""
        data = lines.take_up_to(self._reader.left)
        return self._reader.feed(data) if data else None

    def end(self) -> bytes:
        """The last chunk is done: what the message lacks at its end."""
        return self._reader.end()

    @property
    def is_done(self) -> bool:
        """This chunk has come; the next may be to come."""
        return not self._reader.left

    @property
    def is_beyond_bound(self) -> bool:
        """So much will be over the limit that it is not read."""
        return 0 < self._bound < self._reader.size + self._reader.left

    @property
    def size(self) -> int:
        return self._reader.size

    @property
    def fault(self) -> DataFault | None:
        return self._reader.fault


class SkippedChunk:
    """A chunk that was refused before it came. RFC 3030 2: it is read and thrown away, then comes the reply."""

    is_beyond_bound = False

    def __init__(self, chunk: Chunk, reply: Reply, what: str, line: bytes) -> None:
        """`what`: why, if that counts as an error; `line` is the command."""
        self._left = chunk.size
        self.reply = reply
        self.what = what
        self.line = line

    def take(self, lines: LineReader) -> bytes | None:
        """Nothing that is of use to anybody; None: nothing is there to be read."""
        data = lines.take_up_to(self._left)
        self._left -= len(data)
        return b"" if data else None

    @property
    def is_done(self) -> bool:
        return not self._left


MessageInput = LineInput | ChunkInput | SkippedChunk


def _bound(settings: ServerSettings) -> int:
    return settings.size_limit + settings.wasted_limit if settings.size_limit else 0
