"""What routing says of an address (values)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from relay.expand.scope import AddressView
from relay.mail.address import NULL_SENDER
from relay.mail.outcome import DNSSEC, ErrorClass
from relay.policy.routers.items import NOTHING_CARRIED, AddressItem, Carried, top_item

UNROUTEABLE = "Unrouteable address"


class HostOrder(enum.Enum):
    """In which order the hosts of a route are tried."""

    AS_GIVEN = "as given"
    SHUFFLED = "shuffled within their groups"
    EXCHANGERS = "shuffled within their groups, addresses too, IPv6 first"
    EXCHANGERS_IPV4_FIRST = "the same, IPv4 first"


@dataclass(frozen=True, slots=True)
class RouteHost:
    """A host of a route with its addresses in the order to try them. `port` None: the transport's own."""

    name: str
    port: int | None = None
    addresses: tuple[str, ...] = ()
    group: int = 0
    """Hosts of one group are tried in random order where the route says so."""
    preference: int | None = None
    """Of a mail exchanger."""
    dnssec: DNSSEC = DNSSEC.NOT_ASKED
    """Of the records that led to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A router took the address: what its transport is to know. `hosts` is empty for a local transport, `host_text`
    is then what `$host` holds. Directories are expanded, "" where unset."""

    router: str
    transport: str
    """"" only where an address is verified."""
    item: AddressItem = field(default_factory=lambda: top_item(NULL_SENDER))
    view: AddressView = field(default_factory=AddressView)
    """What the variables of the address show."""
    carried: Carried = NOTHING_CARRIED
    hosts: tuple[RouteHost, ...] = ()
    order: HostOrder = HostOrder.AS_GIVEN
    host_text: str = ""
    fallback_hosts: tuple[RouteHost, ...] = ()
    fallback_order: HostOrder = HostOrder.AS_GIVEN
    domain_data: str = ""
    local_part_data: str = ""
    self_hostname: str = ""
    text: str = ""
    """The file, directory or command that a redirection names, as it was written; a command with its bar."""
    user: int | None = None
    group: int | None = None
    initgroups: bool = False
    home_directory: str = ""
    current_directory: str = ""
    clone: AddressItem | None = None
    """The copy that goes on to the next router (Exim: unseen)."""
    logs_local_part: bool = False
    """A log line shows the local part alone (Exim: log_as_local)."""
    is_logged: bool = True
    """Exim: disable_logging."""


@dataclass(frozen=True, slots=True)
class Direct:
    """A file, directory or command that a redirection names: nothing is left to be routed."""

    parent: AddressItem
    text: str
    """As it was written; a command with its bar."""
    unique: str
    answer: Routed | Unroutable | RouteDeferred
    is_hidden: bool = False
    """Reports name the address alone that it was made of (Exim: hide_child_in_errmsg)."""


@dataclass(frozen=True, slots=True)
class Redirected:
    """The address stands for others, in this order, which are routed in its place."""

    router: str
    children: tuple[AddressItem | Direct, ...]


@dataclass(frozen=True, slots=True)
class Discarded:
    """The address stands for nobody (Exim: `:blackhole:`): delivered to nowhere."""

    router: str


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No router takes the address, or one refuses it: a bounce, or 550 at RCPT."""

    reason: str = UNROUTEABLE
    router: str = ""
    user_message: str = ""
    """What a peer may be told; "": nothing in particular."""
    address_data: str = ""
    """What the routers that saw it have attached to it."""
    transport: str = ""
    """The one that it was for, of what may not be delivered to."""


@dataclass(frozen=True, slots=True)
class RouteDeferred:
    """It can't be said now. `freeze` asks for the message to be held until somebody has looked."""

    reason: str
    router: str = ""
    error: ErrorClass = ErrorClass.OTHER
    freeze: bool = False
    user_message: str = ""
    note: str = ""
    """A line of the log by itself, before that of the address."""


Route = Routed | Redirected | Discarded | Unroutable | RouteDeferred


# What a router says that leaves the address to others


@dataclass(frozen=True, slots=True)
class Declined:
    """The router does not take it; `more` may end the search. `reason` is what is said where nobody does."""

    reason: str = ""
    user_message: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """The router leaves it to the next one (or `pass_router`), whatever `more` says."""

    reason: str = ""
    self_hostname: str = ""


RouterAnswer = Route | Declined | Passed
