"""Reads a server's replies, strictly and within bounds (machine).

RFC 5321 4.2: lines of one reply have one code, all but the last a hyphen behind it. One leniency: a line may
end with a bare LF (small servers and test servers do so). Anything else that is no reply is reported as
`BadReply`, and nothing that follows it can be trusted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.esmtp.lines import LineEnd, LineFault, LineReader
from relay.mail.reply import Reply
from relay.mail.text import from_wire

_LINE = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
# RFC 2034 4: the class is that of the code.
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: (.*)|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BadReply:
    """What came is no reply; `text` shows the line, or says why."""

    text: str


class ReplyReader:
    """Octets in by `receive`, replies out by `next_reply`, everything that is left out by `take`."""

    def __init__(self, line_limit: int, max_lines: int) -> None:
        self._lines = LineReader(line_limit, LineEnd.LOCAL)
        self._max_lines = max_lines
        self._code = ""
        self._texts: list[str] = []

    @property
    def has_input(self) -> bool:
        """Something was received that is not part of a reply already given out."""
        return bool(len(self._lines) or self._texts)

    def allow_lines(self, limit: int) -> None:
        """How long a line may be from now on, in octets."""
        self._lines.limit = limit

    def receive(self, data: bytes) -> None:
        self._lines.receive(data)

    def take(self) -> bytes:
        """What is in the buffer, as it came."""
        self._code, self._texts = "", []
        return self._lines.take()

    def next_reply(self) -> Reply | BadReply | None:
        """The next whole reply; None as long as there is none."""
        while (line := self._lines.next_line()) is not None:
            if isinstance(line, LineFault):
                return BadReply(line.value)
            text = from_wire(line)
            match = _LINE.fullmatch(text)
            if not match:
                return BadReply(text.strip()[:200])
            code, mark, rest = match.groups()
            if self._texts and code != self._code:
                return BadReply(f"code {self._code} goes on as {code}")
            self._code = code
            self._texts.append(rest or "")
            if mark != "-":
                return self._finish()
            if len(self._texts) >= self._max_lines:
                return BadReply(f"more than {self._max_lines} lines")
        return None

    def _finish(self) -> Reply:
        code, texts = self._code, self._texts
        self._code, self._texts = "", []
        found = [_ENHANCED.match(text) for text in texts]
        first = found[0]
        if first and first.group(1)[0] == code[0]:
            status = first.group(1)
            # Each line has it, RFC 2034 4; a line that has another or none is left as it is.
            texts = [
                (match.group(2) or "") if match and match.group(1) == status else text
                for match, text in zip(found, texts, strict=True)
            ]
            return Reply(int(code), status, tuple(texts))
        return Reply(int(code), "", tuple(texts))
