"""What a reception goes by and whom it may ask: compiled options and ports (values).

`daemon/build.py` makes both once; every session shares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from relay.esmtp.limits import ServerSettings
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList, NamedLists
from relay.expand.notes import Notes
from relay.expand.scope import Files, FileSystem, Passwords
from relay.mail.ports import Capacity, Clock, Concurrency, Intake, Journal, Lookups, Resolver
from relay.policy.acl import ACLReference
from relay.policy.acl_program import ACL, ConditionPorts
from relay.policy.acl_values import Where
from relay.policy.authenticate import AuthPorts
from relay.policy.authenticators import AuthRules
from relay.policy.event_action import NO_ACTIONS, EventActions
from relay.policy.rewrite import RewriteRule
from relay.policy.tls import ServerTLSRules
from relay.reception.fixups import DELIVERY_FIELDS, FromAffixes
from relay.reception.header_id import HeaderId
from relay.tls.contexts import TLSContext
from relay.tls.faults import HandshakeGuard
from relay.tls.policy import ServerTLS


@dataclass(frozen=True, slots=True)
class OfferRules:
    """Which extensions are offered to whom. A list that is None holds nobody."""

    accept_8bitmime: bool = True
    chunking_hosts: MatchList | None = None
    smtputf8_hosts: MatchList | None = None
    dsn_hosts: MatchList | None = None
    enhanced_status_hosts: MatchList | None = None
    """Ours, as is the next one: Exim knows neither extension."""
    binarymime_hosts: MatchList | None = None
    limits_hosts: MatchList | None = None
    xclient_hosts: MatchList | None = None
    """Exim: hosts_xclient."""
    prdr: bool = False
    future_release_max: int = 0
    """Longest time that a message may be held, seconds; 0: FUTURERELEASE is not offered. Ours."""


@dataclass(frozen=True, slots=True)
class Slowing:
    """How a client is made slower with each further command (Exim: smtp_ratelimit_mail). Times in seconds."""

    threshold: int
    first: float
    factor: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRules:
    """What depends on who the client is; named as Exim's options are. A list that is None holds nobody."""

    reject_connection: MatchList | None = None
    accept_max: int = 0
    accept_reserve: int = 0
    reserve_hosts: MatchList | None = None
    max_per_host: Expansion | None = None
    messages_max: Expansion | None = None
    """smtp_accept_max_per_connection; None: no limit."""
    message_size_limit: Expansion | None = None
    recipients_max: Expansion | None = None
    """None: that of the rules."""
    nonmail_hosts: MatchList | None = None
    """smtp_accept_max_nonmail_hosts; None: every host has the limit."""
    active_hostname: Expansion | None = None
    host_lookup: MatchList | None = None
    helo_lookup_domains: MatchList | None = None
    helo_verify_hosts: MatchList | None = None
    helo_try_verify_hosts: MatchList | None = None
    helo_accept_junk_hosts: MatchList | None = None
    require_helo_hosts: MatchList | None = None
    """hosts_require_helo; None: every host must greet."""
    sender_unqualified_hosts: MatchList | None = None
    recipient_unqualified_hosts: MatchList | None = None
    ratelimit_hosts: MatchList | None = None
    ratelimit_mail: Slowing | None = None
    ratelimit_rcpt: Slowing | None = None
    connection_nolog: MatchList | None = None
    """hosts_connection_nolog."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """Which messages wait for a queue run. Exim's options of the same names."""

    per_connection: int = 0
    """smtp_accept_queue_per_connection; 0: no limit."""
    routes_only: bool = False
    """The first attempt on a message leaves what goes to other hosts (-odqs)."""


@dataclass(frozen=True, slots=True)
class EtrnRules:
    """What ETRN does. `command`, word by word; without one, what waits for the domain behind # is delivered."""

    command: tuple[Expansion, ...] = ()
    serialize: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """The main section as far as reception needs it, compiled. Names are Exim's options'."""

    primary_hostname: str
    qualify_domain: str
    qualify_recipient: str
    banner: Expansion
    received_header: Expansion
    tls: ServerTLSRules
    header_id: HeaderId = field(default_factory=HeaderId)
    acls: Mapping[Where, ACLReference] = field(default_factory=dict)
    """The ACLs that are set (`acl_smtp_…`), by where they run."""
    named_acls: Mapping[str, ACL] = field(default_factory=dict)
    named_lists: NamedLists | None = None
    percent_hack_domains: MatchList | None = None
    main: Mapping[str, str] = field(default_factory=dict)
    """Constant main options that expansions may read."""
    message_size_limit: int = 50 * 1024 * 1024
    recipients_max: int = 50000
    received_headers_max: int = 30
    queue_only: bool = False
    queue_only_override: bool = True
    delivery_asked: bool = False
    """When to deliver was said by hand, which goes before the state of the machine."""
    queue_only_delay: float = 3600.0
    """Seconds until a message that is only queued is tried by the scheduler, unless a queue run comes first."""
    pipelining_advertise_hosts: MatchList | None = None
    local_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    rewrite: tuple[RewriteRule, ...] = ()
    server_settings: ServerSettings | None = None
    """The limits of the dialog, which may be others for one client."""
    offers: OfferRules = field(default_factory=OfferRules)
    clients: ClientRules = field(default_factory=ClientRules)
    queueing: QueueRules = field(default_factory=QueueRules)
    etrn: EtrnRules = field(default_factory=EtrnRules)
    auth: AuthRules = field(default_factory=AuthRules)
    untrusted_set_sender: MatchList | None = None
    local_from_check: bool = True
    local_sender_retain: bool = False
    delivery_fields: frozenset[str] = DELIVERY_FIELDS
    from_affixes: FromAffixes | None = None
    recipients_max_reject: bool = False
    header_maxsize: int = 1024 * 1024
    header_line_maxsize: int = 0
    """Octets of one field with its continuation lines; 0: no limit of its own."""
    message_body_visible: int = 500
    may_read_files: bool = False
    """Main option `expand_reads_files`, ours."""


class TLSContexts(Protocol):
    """Server contexts by policy."""

    async def server(self, policy: ServerTLS) -> TLSContext:
        """Raises TLSFileError, BadCipherList."""
        ...


class Runner(Protocol):
    """Who delivers."""

    def takes_new(self) -> bool:
        """Whether a message should be committed as claimed by this process, for an attempt at once."""
        ...

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        """A message was committed as claimed by this process. `routes_only`: its first attempt leaves what goes to
        other hosts."""
        ...


class Crowd(Protocol):
    """The connections that are served now."""

    @property
    def count(self) -> int:
        """All of them, the one that asks among them."""
        ...

    def of(self, address: str) -> int:
        """Those from one address."""
        ...


class Turns(Protocol):
    """What ETRN sets going. Both raise TemporaryFailure where it can't be begun."""

    async def deliver(self, domain: str) -> None:
        """Begins to deliver what waits for recipients in whose domain this text stands (Exim: -R)."""
        ...

    async def run(self, words: tuple[str, ...], key: str) -> bool:
        """Starts a command, found by its first word; no shell sees it. False: one of the same key runs already,
        where that counts (`key` is not empty)."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as a reception sees it."""

    clock: Clock
    journal: Journal
    intake: Intake
    concurrency: Concurrency
    contexts: TLSContexts
    runner: Runner
    random: Random
    resolver: Resolver | None = None
    lookups: Lookups | None = None
    files: Files | None = None
    handshakes: HandshakeGuard | None = None
    """Limits and log lines of TLS handshakes by address; None: no limit, a line for each that fails."""
    conditions: ConditionPorts = field(default_factory=ConditionPorts)
    """Whom the conditions of ACLs may ask."""
    auth: AuthPorts | None = None
    """What AUTH needs; None: it is not offered."""
    passwords: Passwords | None = None
    file_system: FileSystem | None = None
    crowd: Crowd | None = None
    turns: Turns | None = None
    capacity: Capacity | None = None
    """Room on the disks, and the load; None: whatever comes is taken and tried at once."""
    notes: Notes | None = None
    """Who is told each step of the ACLs (-bh)."""
    events: EventActions = NO_ACTIONS
    """Who is told of logins that fail (Exim: event_action)."""
