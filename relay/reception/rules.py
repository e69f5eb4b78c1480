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
from relay.expand.scope import Files
from relay.mail.ports import Clock, Concurrency, Intake, Journal, Lookups, Resolver
from relay.policy.acl import ACLReference
from relay.policy.acl_program import ACL, ConditionPorts
from relay.policy.acl_values import Where
from relay.policy.rewrite import RewriteRule
from relay.policy.tls import ServerTLSRules
from relay.tls.contexts import TLSContext
from relay.tls.faults import HandshakeGuard
from relay.tls.policy import ServerTLS


@dataclass(frozen=True, slots=True)
class Rules:
    """The main section as far as reception needs it, compiled. Names are Exim's options'."""

    primary_hostname: str
    qualify_domain: str
    qualify_recipient: str
    banner: Expansion
    received_header: Expansion
    tls: ServerTLSRules
    acls: Mapping[Where, ACLReference] = field(default_factory=dict)
    """The ACLs that are set (`acl_smtp_…`), by where they run."""
    named_acls: Mapping[str, ACL] = field(default_factory=dict)
    named_lists: NamedLists | None = None
    main: Mapping[str, str] = field(default_factory=dict)
    """Constant main options that expansions may read."""
    message_size_limit: int = 50 * 1024 * 1024
    recipients_max: int = 50000
    received_headers_max: int = 30
    queue_only: bool = False
    queue_only_delay: float = 3600.0
    """Seconds until a message that is only queued is tried by the scheduler, unless a queue run comes first."""
    pipelining_advertise_hosts: MatchList | None = None
    local_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    rewrite: tuple[RewriteRule, ...] = ()
    server_settings: ServerSettings | None = None
    """The limits of the dialog, where an ACL may change them."""


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

    def arrived(self, message_id: str) -> None:
        """A message was committed as claimed by this process."""
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
