"""What a client and a server say to each other, as Exim shows it to whoever watches a delivery (machine).

It reads along: octets in the order in which they go out and come in, each of our flushes as one piece. From these it
knows by itself where a message begins and ends, of which nothing is shown, and where credentials are sent, of which
only the length is shown. Exim: -v, smtp_debug_cmd, read_response_line.

    EHLO, MAIL …   `  SMTP>> `, or `  SMTP|> ` where more follows at once
    replies        `  SMTP<< `, further lines of the same one under it
    at the end     `cmdlog: '220:EHLO:250-:…'`, the dialog in short
"""

from __future__ import annotations

import re
from collections import deque

from relay.esmtp.client_words import without_secret
from relay.mail.ports import Watch
from relay.mail.text import from_wire, printable

_END = b"\r\n.\r\n"
_CHUNK = re.compile(rb"BDAT (\d+)", re.IGNORECASE)
# Characters of a command that the short form of the dialog has.
_SHORT = 8


class Transcript:
    """One connection's. `tell` gets each line."""

    def __init__(self, tell: Watch, *, in_callout: bool = False) -> None:
        """`in_callout`: nobody's message is sent, an ACL asks (Exim shows such a dialog one column further right)."""
        self._tell = tell
        self._indent = " " if in_callout else ""
        self._in_callout = in_callout
        self._awaited: deque[str] = deque()
        """Verbs of commands that have no whole answer yet."""
        self._received = b""
        self._tail = b"\r\n"
        self._in_message = False
        self._is_told_message = False
        self._chunk = 0
        """Octets that are left of the chunk that goes out."""
        self._in_reply = False
        self._is_secret = False
        """What we say next is an answer to a challenge."""
        self._short: list[str] = []
        self._is_over = False

    # The connection

    def connecting(self, name: str, address: str, port: int, interface: str | None = None) -> None:
        """A host is dialled, from an address of ours where one is set."""
        ours = f" from {interface}" if interface else ""
        self._say(f"Connecting to {printable(name)} [{address}]:{port}{ours} ...")

    def connected(self) -> None:
        """It has taken the connection."""
        self._say("connected")

    def not_connected(self, reason: str) -> None:
        """It has not, and this was all."""
        self._say(f" sock_connect failed: {printable(reason)}")
        self.report()

    def hung_up(self, reason: str = "closed") -> None:
        """The server is gone, or silent, while its answer was waited for."""
        if self._awaited or not self._short:
            self._say(f"  SMTP({reason})<<")

    def shut_down(self) -> None:
        """We have ended our direction."""
        self._say("  SMTP(shutdown)>>")

    def closed(self) -> None:
        """We have closed the connection."""
        if not self._is_over:
            self._is_over = True
            self._say("  SMTP(close)>>")
            self.report()

    def report(self) -> None:
        """The dialog in short; the next begins anew."""
        self._tell(f"cmdlog: '{':'.join(self._short)}'" if self._short else "cmdlog: (unset)")
        self._short.clear()

    # What we say

    def sent(self, data: bytes) -> None:
        """One flush: what goes out together."""
        while data:
            if self._chunk:
                taken = min(self._chunk, len(data))
                self._chunk -= taken
                data = data[taken:]
            elif self._in_message:
                data = self._message(data)
            else:
                line, _, data = data.partition(b"\r\n")
                self._command(from_wire(line), has_more=bool(data) and not _CHUNK.match(line))

    def _message(self, data: bytes) -> bytes:
        """Skips what belongs to the message; what is behind its end."""
        if not self._is_told_message:
            self._is_told_message = True
            self._say("  SMTP>> (writing message)")
        seen = self._tail + data
        end = seen.find(_END)
        if end < 0:
            self._tail = seen[1 - len(_END) :]
            return b""
        self._tail, self._in_message, self._is_told_message = b"\r\n", False, False
        rest = seen[end + len(_END) :]
        self._command(".", has_more=bool(rest))
        return rest

    def _command(self, text: str, *, has_more: bool) -> None:
        verb = text.partition(" ")[0]
        shown = printable(text)
        if self._is_secret:
            shown = verb = "*" * len(text)
        elif verb.upper() == "AUTH":
            shown = without_secret(text)
        elif chunk := _CHUNK.match(text.encode("ascii", "replace")):
            self._chunk = int(chunk[1])
        self._is_secret = False
        self._awaited.append(verb.upper())
        mark = ">"
        if verb == "." and has_more:
            mark = "+"
        elif verb == "QUIT":
            mark = ">" if self._in_callout else "+"
        elif has_more:
            mark = "|"
        self._say(f"  SMTP{mark}> {shown}")
        self._short.append(f"{verb[:_SHORT]}{mark if mark != '>' else ''}")

    # What the server says

    def received(self, data: bytes) -> None:
        """Octets of the server, cut anywhere."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._line(from_wire(line).rstrip())

    def _line(self, text: str) -> None:
        self._say(f"  {'      ' if self._in_reply else 'SMTP<<'} {printable(text)}")
        is_first, self._in_reply = not self._in_reply, text[3:4] == "-"
        if is_first:
            self._short.append(printable(text[:4] if self._in_reply else text[:3]))
        if self._in_reply:
            return
        verb = self._awaited.popleft() if self._awaited else ""
        goes_on = text[:1] == "3"
        self._in_message = self._in_message or (verb == "DATA" and goes_on)
        # Whatever is asked for beside a message may be a secret.
        self._is_secret = goes_on and verb not in ("DATA", "BDAT", ".")

    def _say(self, text: str) -> None:
        self._tell(f"{self._indent}{text}")
