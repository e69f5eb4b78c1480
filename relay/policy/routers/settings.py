"""Routers as the configuration makes them: frozen, compiled (values).

Each kind of router is a class here; what all have in common is in `_Router`. Names, meanings and defaults of the fields
are those of Exim's options unless their text says otherwise.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.mail.source import Location
from relay.policy.routers.answers import RouteHost
from relay.policy.routers.ports import Purpose


class Fallback(enum.Enum):
    """What to do where a host has no address (`host_find_failed`) or is this host itself (`self`)."""

    DECLINE = "decline"
    DEFER = "defer"
    FAIL = "fail"
    FREEZE = "freeze"
    PASS = "pass"  # noqa: S105
    IGNORE = "ignore"
    SEND = "send"


HOST_FIND_FAILED = (
    Fallback.DECLINE, Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.IGNORE, Fallback.PASS,
)  # fmt: skip
HOST_ALL_IGNORED = (Fallback.DECLINE, Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.PASS)
SELF = (Fallback.DEFER, Fallback.FAIL, Fallback.FREEZE, Fallback.PASS, Fallback.SEND)


@dataclass(frozen=True, slots=True)
class Reroute:
    """`self = reroute:DOMAIN`: the address gets another domain and begins anew."""

    domain: str


@dataclass(frozen=True, slots=True)
class Affixes:
    """`local_part_prefix` or `local_part_suffix`: items that a local part may begin (or end) with, a star at the far
    end for anything."""

    items: tuple[str, ...]
    is_optional: bool = False


EVERY_PURPOSE = frozenset(Purpose)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """What must hold before a router is run; None: no such condition. `conditions` must all be true."""

    purposes: frozenset[Purpose] = EVERY_PURPOSE
    """What it is run for: verify_only, address_test, verify_sender, verify_recipient, expn."""
    prefix: Affixes | None = None
    suffix: Affixes | None = None
    domains: MatchList | None = None
    local_parts: MatchList | None = None
    check_local_user: bool = False
    home: Expansion | None = None
    """router_home_directory."""
    senders: MatchList | None = None
    require_files: tuple[Expansion, ...] = ()
    conditions: tuple[Expansion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One of `set = r_name = value`, its name without `r_`."""

    name: str
    value: Expansion


@dataclass(frozen=True, slots=True, kw_only=True)
class _Router:
    name: str
    location: Location
    transport: Expansion | None = None
    preconditions: Preconditions = Preconditions()
    is_caseful: bool = False
    """caseful_local_part."""
    variables: tuple[Variable, ...] = ()
    """set."""
    address_data: Expansion | None = None
    more: Expansion | bool = True
    """Whether an address that this router declines is offered to the next one."""
    unseen: Expansion | bool = False
    pass_on_timeout: bool = False
    """Whether a host lookup that gives no answer passes the address on instead of deferring it."""
    pass_router: str = ""
    redirect_router: str = ""
    repeat_use: bool = True
    cannot_route_message: Expansion | None = None
    fail_verify: frozenset[Purpose] = frozenset()
    self_action: Fallback | Reroute = Fallback.FREEZE
    """self."""
    ignore_target_hosts: MatchList | None = None
    fallback_hosts: Expansion | None = None
    errors_to: Expansion | None = None
    headers_add: tuple[Expansion, ...] = ()
    headers_remove: tuple[Expansion, ...] = ()
    user: Expansion | None = None
    group: Expansion | None = None
    initgroups: bool = False
    home_directory: Expansion | None = None
    """transport_home_directory."""
    current_directory: Expansion | None = None
    """transport_current_directory."""
    dnssec_request: MatchList | None = None
    dnssec_require: MatchList | None = None
    log_as_local: bool = False
    disable_logging: bool = False
    debug_print: Expansion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(_Router):
    """`driver = accept`: takes every address that meets the preconditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IPLiteral(_Router):
    """`driver = ipliteral`: takes domains that are an address in brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSLookup(_Router):
    """`driver = dnslookup`: hosts by the MX or address records of the domain."""

    check_secondary_mx: bool = False
    check_srv: Expansion | None = None
    fail_defer_domains: MatchList | None = None
    ipv4_only: Expansion | None = None
    ipv4_prefer: Expansion | None = None
    mx_domains: MatchList | None = None
    mx_fail_domains: MatchList | None = None
    srv_fail_domains: MatchList | None = None
    qualify_single: bool = True
    search_parents: bool = False
    rewrite_headers: bool = True
    widen_domains: tuple[str, ...] = ()


class LookupBy(enum.Enum):
    """How the addresses of a host are found."""

    DEFAULT = "default"
    NAME = "byname"
    DNS = "bydns"


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """The words behind the hosts of a route."""

    randomize: bool | None = None
    """None: as the router's hosts_randomize says."""
    families: tuple[int, ...] = ()
    """Kinds of address to use, the preferred one first (4, 6); empty: both, in the resolver's order."""
    transport: str = ""
    """A transport of this route's own; empty: the router's."""
    lookup: LookupBy = LookupBy.DEFAULT


@dataclass(frozen=True, slots=True)
class RouteItem:
    """One item of `route_list`: for which domains, which hosts."""

    domains: MatchList
    hosts: Expansion
    options: RouteOptions = RouteOptions()
    constant_hosts: tuple[RouteHost, ...] | None = None
    """The hosts where their text is constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manualroute(_Router):
    """`driver = manualroute`: hosts by a list of domains, or by a text that is looked up."""

    routes: tuple[RouteItem, ...] | Expansion
    """`route_list` compiled by `compile_route_list`, or `route_data`."""
    host_find_failed: Fallback = Fallback.FREEZE
    host_all_ignored: Fallback = Fallback.DEFER
    hosts_randomize: Expansion | bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """What a file of redirections has to be like."""

    modemask: int = 0o022
    check_owner: bool = False
    check_group: bool = False
    owners: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    ignore_eacces: bool = False
    ignore_enotdir: bool = False


class Item(enum.Flag):
    """Kinds of item that a redirection may have."""

    ADDRESS = enum.auto()
    PIPE = enum.auto()
    FILE = enum.auto()
    INCLUDE = enum.auto()
    BLACKHOLE = enum.auto()
    FAIL = enum.auto()
    DEFER = enum.auto()
    FILTER = enum.auto()
    """A program in place of a list. There is none that is served."""


USUAL_ITEMS = Item.ADDRESS | Item.PIPE | Item.FILE | Item.INCLUDE | Item.BLACKHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(_Router):
    """`driver = redirect`: other addresses, by a text or a file."""

    data: Expansion | None = None
    file: Expansion | None = None
    file_rules: FileRules = FileRules()
    allowed: Item = USUAL_ITEMS
    """allow_fail, allow_defer, forbid_pipe, forbid_file, forbid_include, forbid_blackhole."""
    include_directory: str = ""
    qualify_domain: Expansion | None = None
    qualify_preserve_domain: bool = False
    rewrite: bool = True
    check_ancestor: bool = False
    hide_child_in_errmsg: bool = False
    one_time: bool = False
    forbid_smtp_code: bool = False
    skip_syntax_errors: bool = False
    pipe_transport: Expansion | None = None
    file_transport: Expansion | None = None
    directory_transport: Expansion | None = None


Router = Accept | DNSLookup | IPLiteral | Manualroute | Redirect
