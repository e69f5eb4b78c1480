"""Where an ACL runs and what comes of it: places, effects, controls, verdicts (values).

A verdict names the statement that decided. What a statement did on its way (a header field, a control, a
variable) is gathered in `Effects`, because in Exim it stays done even if a later statement refuses. What an ACL
is, and what it is run with, is in `acl_program.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from relay.mail.reply import Reply
from relay.mail.source import Location


class Where(enum.Enum):
    """The point of a session (or of another journey) at which an ACL runs; the value is Exim's name of it."""

    RCPT = "RCPT"
    MAIL = "MAIL"
    PREDATA = "PREDATA"
    MIME = "MIME"
    DKIM = "DKIM"
    DATA = "DATA"
    PRDR = "PRDR"
    NOT_SMTP = "non-SMTP"
    AUTH = "AUTH"
    CONNECT = "connection"
    ETRN = "ETRN"
    EXPN = "EXPN"
    HELO = "EHLO or HELO"
    MAILAUTH = "MAILAUTH"
    NOT_SMTP_START = "non-SMTP-start"
    NOTQUIT = "NOTQUIT"
    QUIT = "QUIT"
    STARTTLS = "STARTTLS"
    VRFY = "VRFY"
    DELIVERY = "delivery"


class Verb(enum.Enum):
    """What a statement does when its conditions hold (`require`: when they do not)."""

    ACCEPT = "accept"
    DEFER = "defer"
    DENY = "deny"
    DISCARD = "discard"
    DROP = "drop"
    REQUIRE = "require"
    WARN = "warn"


# Before and at the end of the transaction: there is a message whose header an ACL may change.
MESSAGE_PLACES = frozenset(
    {Where.RCPT, Where.MAIL, Where.PREDATA, Where.MIME, Where.DKIM, Where.DATA, Where.PRDR, Where.NOT_SMTP}
)
# `discard` makes sense where a message or a recipient can be thrown away.
DISCARD_PLACES = MESSAGE_PLACES - {Where.PREDATA}


# Controls


class Switch(enum.Enum):
    """Controls without arguments, by Exim's names."""

    ALLOW_AUTH_UNADVERTISED = "allow_auth_unadvertised"
    CASEFUL_LOCAL_PART = "caseful_local_part"
    CASELOWER_LOCAL_PART = "caselower_local_part"
    DKIM_DISABLE_VERIFY = "dkim_disable_verify"
    DMARC_DISABLE_VERIFY = "dmarc_disable_verify"
    ENFORCE_SYNC = "enforce_sync"
    NO_ENFORCE_SYNC = "no_enforce_sync"
    NO_CALLOUT_FLUSH = "no_callout_flush"
    NO_DELAY_FLUSH = "no_delay_flush"
    NO_MULTILINE_RESPONSES = "no_multiline_responses"
    NO_PIPELINING = "no_pipelining"
    SUPPRESS_LOCAL_FIXUPS = "suppress_local_fixups"


@dataclass(frozen=True, slots=True)
class Submission:
    """`control = submission`: the message is treated as a local user's. `domain` None: qualify_domain."""

    sender_retain: bool = False
    domain: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Freeze:
    """`control = freeze`: the message is accepted and held."""

    tell: bool = True


@dataclass(frozen=True, slots=True)
class Queueing:
    """`control = queue_only`: no delivery at once. `route` asks for routing (not delivering) on arrival."""

    route: bool = False


@dataclass(frozen=True, slots=True)
class FakeReply:
    """`control = fakereject` and `fakedefer`: the message is accepted and the client told otherwise."""

    temporary: bool
    text: str


@dataclass(frozen=True, slots=True)
class Downconvert:
    """`control = utf8_downconvert`: 1 yes, 0 no, -1 if the next hop needs it."""

    when: int = 1


@dataclass(frozen=True, slots=True)
class NoEffect:
    """A control of Exim's that has nothing to act on here (`debug`, `dscp`)."""

    name: str


Control = Switch | Submission | Freeze | Queueing | FakeReply | Downconvert | NoEffect


# Effects


class Place(enum.Enum):
    """Where in the header section an added field goes."""

    END = ":at_end:"
    START = ":at_start:"
    AFTER_RECEIVED = ":after_received:"
    START_RFC = ":at_start_rfc:"


@dataclass(frozen=True, slots=True)
class AddedField:
    """A header field that an ACL adds; `text` has LF between the lines of a folded one and none at its end."""

    text: str
    place: Place = Place.END


@dataclass(slots=True)
class Effects:
    """What ACLs have done so far; the session makes a new one for each message.

    `warned` holds what was logged by `warn` already, so that it is logged once; it may be shared over a
    connection.
    """

    added: list[AddedField] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    queue: str = ""
    warned: set[str] = field(default_factory=set)

    def has(self, switch: Switch) -> bool:
        """Whether a control without arguments was given."""
        return switch in self.controls


# Traces


# Verdicts

DEFAULT_LOGS: tuple[str, ...] = ("main", "reject")


@dataclass(frozen=True, slots=True)
class Accepted:
    """Go on. `message` is the text of the success reply that the ACL asks for, "" for the usual one."""

    statement: Location | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Discarded:
    """Say yes and throw it away."""

    statement: Location | None
    log_text: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """Refuse; `drop` closes the connection after the reply. `statement` is None at the end of an ACL, or
    without one.

    `logs` are Exim's log names for the rejection (log_reject_target), none at all where it is empty.
    """

    reply: Reply
    log_text: str
    statement: Location | None
    drop: bool = False
    logs: tuple[str, ...] = DEFAULT_LOGS


@dataclass(frozen=True, slots=True)
class Deferred:
    """Refuse for now: a `defer` statement, a lookup without an answer, or a mistake that shows only now."""

    reply: Reply
    log_text: str
    statement: Location | None
    logs: tuple[str, ...] = DEFAULT_LOGS
    message: str = ""
    """What a statement has said where nothing can be refused, at the end of a connection."""


Verdict = Accepted | Discarded | Denied | Deferred
