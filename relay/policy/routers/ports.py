"""Whom routing asks (values)."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.expand.lists import MatchList
from relay.expand.scope import FileStatus, Scope
from relay.mail.address import Address
from relay.mail.ports import DNS, Journal, Resolver, TemporaryFailure, Watch


class Purpose(enum.Enum):
    """What an address is routed for."""

    DELIVER = "deliver"
    TEST = "test"
    """`-bt`."""
    VERIFY_RECIPIENT = "verify recipient"
    VERIFY_SENDER = "verify sender"
    EXPAND = "expand"
    """EXPN."""

    @property
    def is_verification(self) -> bool:
        return self not in (Purpose.DELIVER, Purpose.TEST)


class NoNetwork(TemporaryFailure):
    """A resolver's answer while this host has no network at all: the wait that follows uses up no retry
    budget."""


@dataclass(frozen=True, slots=True)
class Account:
    """A login of the system."""

    name: str
    uid: int
    gid: int
    home: str


class Accounts(Protocol):
    """The users and groups of the system. Raises TemporaryFailure."""

    async def user(self, name: str) -> Account | None: ...

    async def group(self, name: str) -> int | None:
        """The id of a group."""
        ...


class RedirectionFiles(Protocol):
    """Files that routers read addresses from."""

    async def read(self, path: str, limit: int, beneath: str = "") -> tuple[FileStatus, bytes]:
        """The file as it was opened, and its content (`limit` octets of it at most; the size says whether there is
        more). With `beneath` no part of the path below that directory may be a symbolic link. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class TransportFacts:
    """What routing has to know of a transport."""

    is_local: bool = False
    """It has no use for hosts (appendfile, pipe, …)."""
    port: int | None = None
    """The port that it was given."""
    overrides_hosts: bool = False
    """It has hosts of its own, which are used instead (Exim: hosts_override)."""


LOCAL = TransportFacts(is_local=True)
REMOTE = TransportFacts()


def nothing_is_ours(address: str, port: int | None) -> bool:
    """For those who don't ask whether a host is this one."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPorts:
    """What routing asks of the world."""

    resolver: Resolver
    transports: Mapping[str, TransportFacts] = field(default_factory=dict)
    """All that there are, by name."""
    is_ours: Callable[[str, int | None], bool] = nothing_is_ours
    """Whether this host answers at an address and port (None: the usual one), for `self`."""
    treated_as_local: MatchList | None = None
    """Exim: hosts_treat_as_local."""
    percent_hack_domains: MatchList | None = None
    hold_domains: MatchList | None = None
    """What is for these stays in the queue. None as well where somebody forces a delivery."""
    queue_domains: MatchList | None = None
    """What is for these waits for a queue run. None as well in such a run."""
    dns: DNS | None = None
    accounts: Accounts | None = None
    files: RedirectionFiles | None = None
    rewrite: Callable[[Address, Scope], Awaitable[Address]] | None = None
    """The rewriting rules for recipients: those of messages, and those that a redirection gives."""
    rewrite_sender: Callable[[Address, Scope], Awaitable[Address]] | None = None
    """The same for senders that are verified."""
    qualify_recipient: str = ""
    without_ipv6: bool = False
    """Exim: disable_ipv6."""
    mx_to_address: bool = False
    """Exim: allow_mx_to_ip."""
    note: Callable[[str], None] | None = None
    """Where a router's lines for the log of a delivery go."""
    watch: Watch | None = None
    """Where debug_print of routers goes."""
    journal: Journal | None = None
    """Who is told what operators should know of an address that is only verified; None: nobody."""
