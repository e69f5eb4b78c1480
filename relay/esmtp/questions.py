"""What the server machine asks and tells (values).

Questions wait for `Server.answer`; at most one is open. Notices want no answer. `ServerEvent` is the union of
both, in the order in which the client caused them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.esmtp.xclient import ClientAttributes
from relay.mail.address import Address
from relay.mail.envelope import Parameters
from relay.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Connected:
    """A client is there: 220 greets it, anything else refuses it and leaves it nothing but QUIT."""


@dataclass(frozen=True, slots=True)
class HelloGiven:
    """EHLO (`extended`) or HELO. A good answer to EHLO carries the `Offers` of this session."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class TLSAsked:
    """STARTTLS: after 220 the octets behind it are the handshake's."""


@dataclass(frozen=True, slots=True)
class SenderGiven:
    """MAIL, its parameters offered and of the right form. A good answer opens a transaction."""

    sender: Address
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """RCPT, in an open transaction."""

    address: Address
    parameters: Parameters


class Transfer(enum.Enum):
    """How a message comes."""

    LINES = "DATA"
    CHUNKS = "BDAT"


@dataclass(frozen=True, slots=True)
class DataAsked:
    """DATA or a message's first BDAT, with at least one accepted recipient.

    Only 354 lets the message come. To BDAT it is not sent, as a chunk waits for nothing (RFC 3030 2); Exim asks no
    predata ACL then.
    """

    transfer: Transfer = Transfer.LINES


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """The whole message came, in the pieces before this. Whatever the answer, the transaction is over."""

    size: int
    """Octets, without added dots and final line."""


@dataclass(frozen=True, slots=True)
class VrfyAsked:
    """VRFY with its argument as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class ExpnAsked:
    """EXPN with its argument as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class EtrnAsked:
    """ETRN with its argument as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class AuthAsked:
    """AUTH, where it was offered: the mechanism as the client spells it, the initial response or None.

    334 (`reply.challenge`) makes the next line an `AuthResponse`; 235 ends the exchange with success, anything else
    without. Responses are as they came, in base64 or not; "=" is an empty initial response (RFC 4954 4).
    """

    mechanism: str
    initial: str | None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The client's answer to a 334. It is answered like `AuthAsked`."""

    text: str


@dataclass(frozen=True, slots=True)
class AuthAborted:
    """The exchange ends without a result: `*`, or a line that is none. `reply` is what is to be said to that."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class XclientGiven:
    """XCLIENT, where it was offered. After 220, with a banner, all is as at the start of a connection."""

    attributes: ClientAttributes


@dataclass(frozen=True, slots=True)
class QuitGiven:
    """QUIT: whatever the answer, the connection closes behind it."""


Question = (
    Connected
    | HelloGiven
    | TLSAsked
    | SenderGiven
    | RecipientGiven
    | DataAsked
    | MessageEnded
    | VrfyAsked
    | ExpnAsked
    | EtrnAsked
    | AuthAsked
    | AuthResponse
    | AuthAborted
    | XclientGiven
    | QuitGiven
)


@dataclass(frozen=True, slots=True)
class CommandRead:
    """A line was read as a command, whatever comes of it."""

    verb: str
    """Empty where it is none that we know, or has an argument that it must not have."""
    line: str

    @property
    def argument(self) -> str:
        """What stands behind the verb; behind the colon of MAIL FROM: and RCPT TO:."""
        separator = ":" if self.verb in ("MAIL", "RCPT") else " "
        return self.line.partition(separator)[2].lstrip(" \t")


@dataclass(frozen=True, slots=True)
class BodyPiece:
    """The next octets of the message, never empty, with CRLF line ends and without added dots."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TransactionReset:
    """The open transaction is gone: RSET, a new greeting, or a change of the TLS layer."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The client broke the protocol and was told so; `input` is what it sent, cut to a line's length."""

    what: str
    input: str = ""
    is_syntax: bool = False
    """A command was malformed or unknown, rather than out of place."""


@dataclass(frozen=True, slots=True)
class MessageSpoiled:
    """The message was refused by the machine at its end, with `reply`; what came of it is to be forgotten."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class HangUp:
    """The last event: the connection closes once `data_to_send` is written. `how` is for the log."""

    how: str


Notice = CommandRead | BodyPiece | TransactionReset | Violation | MessageSpoiled | HangUp
ServerEvent = Question | Notice
