"""The log vocabulary: one class per thing that happens (values).

Code below the edges records events, it does not write log lines; `observe` turns them into Exim's main log, JSON and
counters, and tests assert on them. Texts from a peer are carried as they came: escaping is the writer's duty.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.mail.address import Address
from relay.mail.facts import SessionFacts
from relay.mail.outcome import Deferred, Delivered, Failed


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message was committed: Exim's `<=` line."""

    message_id: str
    sender: Address
    session: SessionFacts
    size: int
    header_message_id: str = ""
    subject: str = ""
    recipients: tuple[Address, ...] = ()
    bounce_of: str = ""
    """Message id that a bounce reports on, Exim's `R=`."""
    denied: bool = False
    """The client was told that it was not (control = fakereject, fakedefer): Exim's `(=`."""
    waits: bool = False
    """No attempt follows on the arrival."""
    made_message_id: str = ""
    """The Message-ID: that was made for it; it came without one."""
    named: tuple[Address, ...] = ()
    """The recipients as they were named, before qualification and rewriting; empty: like that."""
    prdr: bool = False
    """Each recipient was asked about the message by itself."""
    by_chunks: bool = False
    """It came by BDAT."""
    body: str = ""
    """What BODY= of MAIL has said; empty: nothing."""


@dataclass(frozen=True, slots=True)
class AddressNames:
    """How a line names an address: `shown <original>`."""

    shown: str = ""
    """What stands in place of the address: its local part, a file, a command; "": the address itself."""
    original: Address | None = None
    """The recipient of the message, where the address was made of another one."""
    host: str = ""
    """The first host that a router found, where a local transport was to know it."""
    has_parent: bool = False
    """The address was made of another one, or of itself."""
    between: tuple[Address, ...] = ()
    """What stands between the address and `original`, the nearest to the address first."""
    is_text: bool = False
    """`shown` is a file or a command."""


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """What the line of a recipient may repeat of its message."""

    sender: Address
    return_path: Address | None = None
    """The sender of this recipient's copy; None where no transport has made one."""
    queued_for: float = 0.0
    """Seconds since the message came."""


@dataclass(frozen=True, slots=True)
class AddressDelivered:
    """A recipient was delivered: `=>` for the first of a transaction, `->` for each further one."""

    message_id: str
    address: Address
    router: str
    transport: str
    outcome: Delivered
    first: bool = True
    elapsed: float = 0.0
    named: AddressNames | None = None
    about: MessageFrame | None = None


@dataclass(frozen=True, slots=True)
class AddressDeferred:
    """A recipient waits: `==`. `router` and `transport` are empty where routing did not get so far."""

    message_id: str
    address: Address
    router: str
    transport: str
    outcome: Deferred
    named: AddressNames | None = None
    is_first_attempt: bool = True


@dataclass(frozen=True, slots=True)
class AddressFailed:
    """A recipient was given up: `**`."""

    message_id: str
    address: Address
    router: str
    transport: str
    outcome: Failed
    named: AddressNames | None = None
    about: MessageFrame | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """No recipient is pending any more; the message is gone from the queue."""

    message_id: str
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Frozen:
    """The message is held back; `why` names the reason or the operator."""

    message_id: str
    why: str


@dataclass(frozen=True, slots=True)
class MessageNote:
    """Anything else worth a line about a message (main log, with its id)."""

    message_id: str
    text: str
    in_message_log: bool = False
    """Whether it also stands in the log of the message alone."""


QUEUED_BY_ACL = "no immediate delivery: queued by ACL"
"""What is noted of a message that came with `control = queue`."""


@dataclass(frozen=True, slots=True)
class ChildrenComplete:
    """All that was made of an address is over (the log of the message alone)."""

    message_id: str
    address: Address


@dataclass(frozen=True, slots=True)
class HostFailed:
    """An attempt on one host of several failed; others may have been tried after it."""

    message_id: str
    outcome: Deferred


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A client connected (log selector smtp_connection); `count` is 0 where nobody counts connections."""

    session: SessionFacts
    count: int


@dataclass(frozen=True, slots=True)
class DataCut:
    """Where the data of a message broke off: "header", "after header", or "" in its body, where it has its id."""

    where: str
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A client's connection ended; `how` is "by QUIT", "lost", "timed out", …; `elapsed` seconds after it began.

    `in_transaction`: a message had been begun, and its data had not.
    """

    session: SessionFacts
    how: str
    elapsed: float = 0.0
    in_transaction: bool = False
    cut: DataCut | None = None
    """The connection was lost in the middle of a message."""


@dataclass(frozen=True, slots=True)
class NoMail:
    """A client's connection ended, and no MAIL was said in it; `commands` are the last verbs that were."""

    session: SessionFacts
    elapsed: float
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """What the reject log shows of a message that was refused at its end (log selector rejected_header)."""

    recipients: tuple[Address, ...]
    header: tuple[str, ...]
    """The fields as they are, without the line end of the last line."""


BY_NON_SMTP_ACL = "by non-SMTP ACL"
"""The command of a message that a local program has handed over: there is none."""


@dataclass(frozen=True, slots=True)
class CommandRejected:
    """A command or message was refused by policy or limits: `rejected RCPT <…>: why` in main and reject log."""

    session: SessionFacts
    command: str
    """What was refused, for people: "RCPT <a@b>", "EHLO", "after DATA"."""
    reason: str
    sender: Address | None = None
    temporary: bool = False
    message_id: str = ""
    logs: tuple[str, ...] = ("main", "reject")
    """Where it is written, Exim's names (log_reject_target)."""
    message: RefusedMessage | None = None


@dataclass(frozen=True, slots=True)
class NameNotFound:
    """A client's address has no name that leads back to it (log selector host_lookup_failed)."""

    session: SessionFacts


@dataclass(frozen=True, slots=True)
class ClientNote:
    """A command other than those of a message that is worth a line: the text, and behind it the client."""

    session: SessionFacts
    text: str
    with_ident: bool = True
    """Whether the client stands there as `H=… U=…` (Exim: host_and_ident) or in the middle of a sentence."""
    why: str = ""
    """In parentheses behind it."""


@dataclass(frozen=True, slots=True)
class TransactionBroken:
    """A client gave up a message between MAIL and its data, by a command or by going away (Exim:
    smtp_incomplete_transaction)."""

    session: SessionFacts
    sender: Address
    recipients: tuple[Address, ...]
    how: str


@dataclass(frozen=True, slots=True)
class ClientGone:
    """A client was gone when the fate of its message had been decided: nothing of it is kept."""

    session: SessionFacts
    message_id: str


@dataclass(frozen=True, slots=True)
class RecipientDiscarded:
    """An ACL took a recipient and threw it away."""

    session: SessionFacts
    sender: Address
    recipient: str
    """As it is shown: "<a@b>"."""
    by: str
    """Whose doing it was: "MAIL" or "RCPT"."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TooManyRecipients:
    """More recipients were named than a message may have; told once in a message."""

    session: SessionFacts
    what: str
    """What became of it: "message rejected", "excess temporarily rejected"."""
    sender: Address


@dataclass(frozen=True, slots=True)
class SenderUnverified:
    """An ACL asked whether a sender can be answered, and it can't; told once in a message."""

    session: SessionFacts
    sender: str
    reason: str
    temporary: bool = False
    message_id: str = ""
    """Of the message, where it has one already."""


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """A client was sent away before anything else: `why` is the option, or what there is too much of."""

    session: SessionFacts
    why: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """An AUTH command that did not succeed: `NAME authenticator failed for HOST: why`."""

    session: SessionFacts
    authenticator: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProtocolViolated:
    """The client broke the protocol: synchronisation, too many errors, bare line ends."""

    session: SessionFacts
    what: str
    input: str = ""
    commands: tuple[str, ...] = ()
    """The verbs of the last commands."""
    is_syntax: bool = False
    """A command was malformed or unknown, rather than out of place."""
    message_id: str = ""
    """Of the message that was being sent."""


@dataclass(frozen=True, slots=True)
class TLSStarted:
    """A TLS layer is up on a client's connection."""

    session: SessionFacts


@dataclass(frozen=True, slots=True)
class TLSEnded:
    """The client shut its TLS layer down and goes on in clear."""

    session: SessionFacts


@dataclass(frozen=True, slots=True)
class TLSFailed:
    """A handshake failed. `whose` says at whose side the fault lies ("ours", "peer", "network")."""

    session: SessionFacts
    whose: str
    reason: str


@dataclass(frozen=True, slots=True)
class TLSUnusable:
    """Our own TLS set-up does not work: the peer got 454."""

    session: SessionFacts
    reason: str


@dataclass(frozen=True, slots=True)
class TLSFileUnusable:
    """A file of our TLS set-up can't be used as it is now; the daemon goes on as `consequence` says."""

    fault: str
    consequence: str


@dataclass(frozen=True, slots=True)
class WrittenByACL:
    """A `logwrite` modifier's text. `log` names are Exim's: main, reject, panic."""

    text: str
    logs: tuple[str, ...] = ("main",)
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """A `log_message` of a warn statement that matched."""

    session: SessionFacts
    text: str
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class DaemonNote:
    """Start, stop, reload, listening addresses, queue runs: lines without a message.

    `selector`: of the log selectors the one that the line is written by; empty: it always is. `advice`: for a second
    line, which begins with a blank.
    """

    text: str
    selector: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something on our side needs an operator: main and panic log. `more` are lines behind the first."""

    text: str
    remedy: str = ""
    message_id: str = ""
    more: tuple[str, ...] = ()


Event = (
    Arrived
    | AddressDelivered
    | AddressDeferred
    | AddressFailed
    | Completed
    | Frozen
    | MessageNote
    | ChildrenComplete
    | HostFailed
    | ConnectionOpened
    | ConnectionClosed
    | NoMail
    | CommandRejected
    | NameNotFound
    | ClientNote
    | TransactionBroken
    | ClientGone
    | RecipientDiscarded
    | TooManyRecipients
    | SenderUnverified
    | ConnectionRefused
    | AuthenticationFailed
    | ProtocolViolated
    | TLSStarted
    | TLSEnded
    | TLSFailed
    | TLSUnusable
    | TLSFileUnusable
    | WrittenByACL
    | Warned
    | DaemonNote
    | Trouble
)
