"""What became of an attempt to deliver, one value per recipient (values).

Delivered, Deferred, Failed are final for the attempt. Each says who caused it in words that a reader of the log or of
a bounce understands; `Reply` is the remote server's where there was one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from relay.mail.address import Address
from relay.mail.facts import TLSFacts
from relay.mail.reply import Reply


class ErrorClass(enum.Enum):
    """Why a host or an address failed, in the words of Exim's retry rules (retry section, second field)."""

    AUTH_FAILED = "auth_failed"
    CONNECTION_REFUSED = "refused"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT = "timeout"
    LOST_CONNECTION = "lost_connection"
    MALFORMED = "malformed"
    """What the server has said is no reply."""
    TLS_REQUIRED = "tls_required"
    TLS_FAILED = "tls_failed"
    MAIL_4XX = "mail_4xx"
    RCPT_4XX = "rcpt_4xx"
    DATA_4XX = "data_4xx"
    JUDGED_4XX = "judged_4xx"
    """The server has judged the message for this recipient, apart from the others (PRDR)."""
    LOOKUP = "lookup"
    NO_NETWORK = "no_network"
    """No route to the host exists: a laptop's offline time, which uses up no retry budget. Ours."""
    NO_ROUTE = "no_route"
    """There is no way to this host, or from the address that it should be spoken to from, while there is a network."""
    QUOTA = "quota"
    HELD = "held"
    """The operator keeps the domain's mail here, which uses up no retry budget (Exim: hold_domains)."""
    QUEUED = "queued"
    """The domain's mail waits for a queue run, which uses up no retry budget (Exim: queue_domains)."""
    ROUTED_ONLY = "routed_only"
    """The first attempt only routes what goes to other hosts, which uses up no retry budget (Exim: -odqs)."""
    ROUTED_ONLY_DOMAIN = "routed_only_domain"
    """The same for this domain (Exim: queue_smtp_domains)."""
    LOCAL_ONLY = "local_only"
    """The attempt was for local deliveries alone, which uses up no retry budget (Exim: -ql)."""
    NOT_DUE_FOR_ROUTING = "not_due_for_routing"
    """Its retry time has not come, so that it is not routed: nobody was asked."""
    NOT_DUE_HERE = "not_due_here"
    """The same of a delivery here."""
    LOCAL = "local"
    CREATION = "creation"
    """A file would have to be made where none may be (Exim: create_file)."""
    COMMAND = "command"
    """A command of a pipe transport said so, or did not come to its end."""
    TRANSPORT = "transport"
    """A router names no transport for what it has found, or none that there is, which uses up no retry budget."""
    REDIRECTION = "redirection"
    """The data of a redirection are wrong, or not permitted."""
    EVENT = "event"
    """An event action wanted no connection (Exim: event_action, tcp:connect)."""
    FILTER = "filter"
    """The filter of a transport has failed."""
    OTHER = "other"


WAITS_FOR_RUN = frozenset(
    {ErrorClass.QUEUED, ErrorClass.ROUTED_ONLY, ErrorClass.ROUTED_ONLY_DOMAIN, ErrorClass.LOCAL_ONLY}
)
"""Nothing has failed: what was left for a queue run is not tried before."""


class DNSSEC(enum.Enum):
    """What the resolver has validated of a host's records. The value is what $lookup_dnssec_authenticated says."""

    NOT_ASKED = ""
    NO = "no"
    YES = "yes"

    def and_then(self, further: DNSSEC) -> DNSSEC:
        """Of a host that was found in two steps. A step that nobody was asked for (an address that is written down)
        takes nothing away."""
        if DNSSEC.NOT_ASKED in (self, further):
            return further if self is DNSSEC.NOT_ASKED else self
        return DNSSEC.YES if self is further is DNSSEC.YES else DNSSEC.NO


@dataclass(frozen=True, slots=True)
class RemoteHost:
    """The server that was spoken to: its name as routed, the address and port that were dialled."""

    name: str
    address: str
    port: int
    by_mx: bool = field(default=False, compare=False)
    """An MX record led to it. It is the same host by any other way."""
    dnssec: DNSSEC = field(default=DNSSEC.NOT_ASKED, compare=False)
    """Of the records that led to it."""
    our_end: tuple[str, int] | None = field(default=None, compare=False)
    """Our own address and port on the connection to it, where there was one."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """How a server was spoken to, as far as a log tells it."""

    login: str = ""
    """As whom we were logged in: the authenticator, and the identity behind a colon; "" for nobody."""
    in_groups: bool = False
    """Commands went out in groups (PIPELINING)."""
    by_chunks: bool = False
    """The message went by BDAT (CHUNKING)."""
    prdr: bool = False
    """The server has answered for each recipient (PRDR)."""
    steps: str = field(default="", compare=False)
    """How its connection came to where the message was sent, a letter for each step (Exim: protocol_detail)."""
    sender: str = ""
    """Whom AUTH= of MAIL has named, where we were logged in."""
    is_further: bool | None = field(default=None, compare=False)
    """It was not the first recipient of its transaction that the server has taken the message for (Exim: `->`). None:
    nobody has looked, all that were delivered together are one transaction."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop (or the mailbox) has taken responsibility."""

    confirmation: str = ""
    """The text of the reply to the end of the data, or the file that was written."""
    host: RemoteHost | None = None
    tls: TLSFacts | None = None
    continued: bool = False
    """Second or later message on its connection (Exim marks the address with `*`)."""
    passes_dsn: bool = False
    """The server offered DSN and was told what reports are wanted: from here on they are its to send (RFC 3461 5)."""
    dialog: Dialog | None = None
    """With a server, which `confirmation` then is from."""
    is_bypassed: bool = False
    """Nothing was delivered: no transport was run (Exim: -N)."""
    transport: str = ""
    """The transport that has delivered in place of the one that was asked (Exim: file_format)."""
    shadow: str = ""
    """The transport that has made another copy, with what went wrong about it."""
    size: int = field(default=0, compare=False)
    """Octets that were written, with all that a transport puts around a message."""
    return_path: Address | None = field(default=None, compare=False)
    """The sender of this copy where the transport has changed it."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: to be tried again. `host_wide` marks a fault of the host rather than of this recipient."""

    reason: str
    error: ErrorClass = ErrorClass.OTHER
    reply: Reply | None = None
    host: RemoteHost | None = None
    host_wide: bool = False
    possible_duplicate: bool = False
    """The connection went between the final dot and its reply."""
    not_before: float | None = None
    """When it makes sense to try again (seconds since the epoch), where that is known: the host waits for its own
    time."""
    freeze: bool = False
    """The message is to be held until somebody has looked."""
    cause: str = ""
    """Why the host failed when it was last tried, where it waits for its time."""
    told: str = ""
    """What the sender is told where `reason` is for the log only."""
    read_at: float | None = None
    """When somebody last looked into a mailbox that is full, seconds since the epoch; None: not known."""
    is_misconfigured: bool = False
    """What is wrong is how it is set up here: the panic log has the line as well (Exim: PANIC)."""
    continued: bool = False
    """As in `Delivered`."""
    errno: int = 0
    """The system's number for what failed here, or one of Exim's below zero; 0: that of `error` (`error_numbers`)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Never: a bounce is due."""

    reason: str
    reply: Reply | None = None
    host: RemoteHost | None = None
    status: str = ""
    """The enhanced status, RFC 3463, of what failed here without a reply; empty for none in particular."""
    told: str = ""
    """What the sender is told where `reason` is for the log only."""
    output: str = ""
    """What a command has written about it, for the sender."""
    is_expired: bool = False
    """It was put off until its time was over; `reason` ends with that."""
    tls: TLSFacts | None = None
    """The layer in which the host has said so."""
    steps: str = field(default="", compare=False)
    """As in `Dialog`, of the first recipient of a transaction."""
    continued: bool = False
    """As in `Delivered`."""
    return_path: Address | None = field(default=None, compare=False)
    """As in `Delivered`."""


Outcome = Delivered | Deferred | Failed


def with_return_path(outcomes: tuple[Outcome, ...], return_path: Address) -> tuple[Outcome, ...]:
    """The outcomes of copies that had another sender than the message."""
    return tuple(each if isinstance(each, Deferred) else replace(each, return_path=return_path) for each in outcomes)
