"""What the client machine tells its driver (values).

Every `transact` ends in exactly one `Settled`, whatever becomes of the connection; where the connection is
lost, refused or of no use, an event that says so follows it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.mail.outcome import ErrorClass, Outcome
from relay.mail.reply import Reply


class Stage(enum.Enum):
    """What a client waits for. The values are for logs: "timeout after …"."""

    GREETING = "initial connection"
    IDLE = "nothing"
    HELLO = "EHLO or HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    CHALLENGED = "AUTH challenge"
    """It is our turn to respond."""
    SWITCHING = "TLS handshake"
    RESET = "RSET"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    BODY = "message data"
    CHUNK = "BDAT"
    END_OF_DATA = "end of data"
    QUIT = "QUIT"
    CLOSED = "closed connection"


@dataclass(frozen=True, slots=True)
class Greeted:
    """The server's 220: now `hello`."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """The server does not want to talk: its greeting, its answer to the hello, or 421 at any point."""

    stage: Stage
    reply: Reply
    after: str = field(default="", compare=False)
    """The command, as logs name it; empty: the stage."""


@dataclass(frozen=True, slots=True)
class HelloAccepted:
    """EHLO (`extended`) or HELO or LHLO was accepted. `extensions`: keyword to the text behind it."""

    reply: Reply
    extensions: Mapping[str, str]
    extended: bool


@dataclass(frozen=True, slots=True)
class TLSGoAhead:
    """220 to STARTTLS: call `switch_layer`, shake hands, call `layer_changed`."""


@dataclass(frozen=True, slots=True)
class TLSRefused:
    """Any other answer to STARTTLS. The session goes on in clear if the driver so wishes."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class AuthChallenge:
    """334: call `respond`, or `cancel_auth`. `text` as it came, in base64 or not."""

    text: str


@dataclass(frozen=True, slots=True)
class AuthAccepted:
    """2xx: the client is authenticated."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """Any other answer. The session goes on."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class BodyWanted:
    """354, or it goes by chunks: call `body` for each piece of the message, then `end_body`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The transaction is over: one outcome for each recipient, in the order of the envelope."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Idle:
    """RSET was answered: the next transaction may come."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a command that was asked by itself (`ask`), 2xx or from 400 on."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection ended. `possible_duplicate`: between the final dot and its reply."""

    stage: Stage
    possible_duplicate: bool
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Garbled:
    """What the server says is no SMTP, or no answer to what was said. Close the connection."""

    text: str
    error: ErrorClass = field(default=ErrorClass.OTHER, compare=False)


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The server kept us waiting. Close the connection."""

    stage: Stage
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """QUIT was answered, or the connection ended in place of the answer. Close it."""


ClientEvent = (
    Greeted
    | Refused
    | HelloAccepted
    | TLSGoAhead
    | TLSRefused
    | AuthChallenge
    | AuthAccepted
    | AuthRefused
    | BodyWanted
    | Settled
    | Idle
    | Answered
    | LinkLost
    | Garbled
    | TimedOut
    | Closed
)
