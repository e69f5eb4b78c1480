"""The verification of an address: what may be asked of it, and what was found (values).

An address that can be routed may still be nobody's. A callout goes to the hosts of its route and asks them, as far as
RCPT and no further: `delivery/callout.py` does that behind the port `Callouts`, and `address_verification.py` routes
behind the port `Addresses`. Exim: chapter "Access control lists", address verification.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.policy.routers.answers import Routed

_TIMEOUT = 30.0


# What was found


class Role(enum.Enum):
    """As what an address is verified."""

    SENDER = "sender"
    RECIPIENT = "recipient"
    LIST = "list"
    """EXPN asks what it stands for."""


class Finding(enum.Enum):
    """What became of the verification of an address."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It can't be said now."""


class Objection(enum.Enum):
    """What a host that was asked about an address objected to."""

    ADDRESS = "the address"
    POSTMASTER = "a postmaster of its domain"
    SETUP = "talking to us, or to a sender that is nobody"


@dataclass(frozen=True, slots=True)
class Verified:
    """An address after its verification: the reason where it is not good, what the router attached where it is."""

    finding: Finding
    reason: str = ""
    address_data: str = ""
    user_message: str = ""
    """What a client may be told, where that is something else; lines are parted by LF."""
    failure: str = ""
    """$sender_verify_failure and $recipient_verify_failure: `route`, `qualify`, or of a callout `mail`, `recipient`,
    `postmaster`, `random`."""
    objection: Objection = Objection.ADDRESS
    is_from_callout: bool = False
    """Somebody was asked, or could not be asked; False: it is routing that says so."""
    callout_address: str = ""
    """Whom a callout connected to last."""
    rewritten: Address | None = None
    """The address as the rewriting rules have made it, where they have; it is the one that was verified."""
    members: tuple[str, ...] = ()
    """What an address stands for that was asked of as a list."""
    discarded: bool = False
    """Mail to it goes nowhere."""


# What is asked


class MailFrom(enum.Enum):
    """Who the sender of a recipient's callout is."""

    NOBODY = "nobody"
    SENDER = "use_sender"
    POSTMASTER = "use_postmaster"
    TRANSPORT = "use_tptsender"


class Ways(enum.Flag):
    """How a callout is made."""

    PLAIN = 0
    NO_CACHE = enum.auto()
    """Neither is an earlier answer used, nor this one kept."""
    RANDOM = enum.auto()
    """First an address is tried that can't be: a host that takes it takes everything."""
    FULL_POSTMASTER = enum.auto()
    """Where the postmaster of the domain is refused, the one without a domain is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutOptions:
    """What stands behind `callout =`. Times in seconds; None: what follows from `timeout`."""

    timeout: float = _TIMEOUT
    """For each command."""
    connect: float | None = None
    maxwait: float | None = None
    """No further host is tried after this."""
    ways: Ways = Ways.PLAIN
    mail_from: str = ""
    """The sender where the sender of a header is asked about."""
    postmaster_from: str | None = None
    """The sender for the question whether there is a postmaster; None: it is not asked."""
    sender: MailFrom = MailFrom.NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What stands behind the slashes of `verify = recipient`, `sender` and `header_sender`."""

    defer_ok: bool = False
    callout_defer_ok: bool = False
    """Only a callout that could not be completed is as good as one that went well."""
    no_details: bool = False
    success_on_redirect: bool = False
    callout: CalloutOptions | None = None

    def passes(self, found: Verified) -> bool:
        """Whether an address is taken although nothing can be said of it now."""
        return self.defer_ok or (self.callout_defer_ok and found.is_from_callout)


ROUTED_ONLY = VerifyOptions()


# Who is asked


class Addresses(Protocol):
    """Whether mail to an address (for a sender: back to it) could be routed, and what the hosts of its route say."""

    async def verify(
        self, address: Address, role: Role, scope: Scope, options: VerifyOptions = ROUTED_ONLY
    ) -> Verified:
        """Routes the address, and asks about it where the options say so."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """An address to ask about, with its route."""

    address: Address
    role: Role
    options: CalloutOptions
    routed: Routed


class Callouts(Protocol):
    """Asks the hosts of a route about an address."""

    async def ask(self, question: Question, scope: Scope) -> Verified:
        """What they said. `scope` has the message. Where the route has no hosts there is nobody to ask, and the
        address is good."""
        ...
