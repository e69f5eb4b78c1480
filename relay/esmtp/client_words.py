"""What a client waits for, and what it says of a server that fails it, in Exim's words (values)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.esmtp.client_events import Stage
from relay.mail.text import printable

_SECRET = frozenset({Stage.AUTH, Stage.CHALLENGED})
_NAMED = {Stage.BODY: "sending data block", Stage.CHUNK: "sending data block"}


def without_secret(command: str) -> str:
    """AUTH with its mechanism; of what stands behind that, or of an answer to a challenge, the length."""
    verb, mechanism, *rest = (*command.split(" ", 2), "", "")[:3]
    if verb.upper() != "AUTH":
        return "*" * len(command)
    return " ".join(filter(None, (verb, printable(mechanism), "*" * len(rest[0]))))


@dataclass(frozen=True, slots=True)
class After:
    """Behind what it happened: a `command`, where one is waited for, in a group of commands or alone; `written` octets
    of the message had gone out."""

    stage: Stage
    command: str = ""
    in_group: bool = False
    written: int = 0

    @property
    def text(self) -> str:
        """The command itself; of credentials the length."""
        command = without_secret(self.command) if self.stage in _SECRET else self.command
        shown = command or _NAMED.get(self.stage, self.stage.value)
        return f"pipelined {shown}" if self.in_group and self.stage is not Stage.GREETING else shown

    def timeout(self) -> str:
        """There was no answer in time."""
        text = self.text.removeprefix("pipelined ") if self.stage is Stage.RCPT else self.text
        return f"SMTP timeout after {text}{f' ({self.written} bytes written)' if self.written else ''}"

    def malformed(self, line: str) -> str:
        """What came is no reply."""
        if not line:
            return f"Malformed SMTP reply (an empty line) in response to {self.text}"
        return f"Malformed SMTP reply in response to {self.text}: {printable(line)}"

    def closed(self) -> str:
        """The connection has ended."""
        return f"Remote host closed connection in response to {self.text}"


class What(enum.Enum):
    """What an awaited reply answers, beyond its stage."""

    COMMAND = "a command"
    QUESTION = "a command of the driver's own"
    EXTENDED_HELLO = "EHLO"
    LONE_DOT = "the dot after a 354 that was of no use"
    USELESS = "the end of a message that was refused before"
    JUDGED = "the end of the message, for one of several recipients (PRDR)"


@dataclass(frozen=True, slots=True)
class Awaited:
    """A reply that is still to come."""

    stage: Stage
    place: int | None = None
    """The recipient that is meant."""
    what: What = What.COMMAND
    command: str = ""
