"""The envelope: who sends, who receives, and what was asked for with it (values).

RFC 5321 2.3.1, with the parameters of MAIL and RCPT that travel with the message.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from relay.mail.address import Address


class BodyType(enum.Enum):
    """The BODY= parameter of MAIL, RFC 6152 and RFC 3030."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


@dataclass(frozen=True, slots=True)
class Parameters:
    """MAIL or RCPT parameters by upper-case keyword, value as given ("" for a keyword alone), RFC 5321 4.1.2."""

    items: tuple[tuple[str, str], ...] = ()

    def get(self, keyword: str) -> str | None:
        return dict(self.items).get(keyword)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path with its parameters."""

    address: Address
    parameters: Parameters = field(default_factory=Parameters)
    original: Address | None = None
    """The recipient that it was made of, where delivery has put it in that one's place (Exim: one_time)."""
    errors_to: Address | None = None
    """Who is told of its failure, None: the sender."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A transaction as it goes into the queue, and as a client machine is asked to send it."""

    sender: Address
    recipients: tuple[Recipient, ...]
    body: BodyType = BodyType.SEVENBIT
    size: int = 0
    """Octets of the message as it goes over the wire before dot-stuffing; 0 where unknown."""
    parameters: Parameters = field(default_factory=Parameters)
