"""What an expansion and a list can see of the world, and the ports that they may ask (values).

`Scope` is made by whoever expands: the session for its ACLs, a router for an address, a transport for a host. It is
not changed after it was made; `child` gives one that differs in some fields. What changes while a string is expanded
($item, $value, $0 to $9) is in a `Frame`, which belongs to one evaluation and never leaves this package.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Protocol

from relay.expand.errors import ExpansionFailed
from relay.expand.notes import Notes
from relay.expand.values import Value
from relay.mail.address import Address
from relay.mail.facts import SessionFacts, TLSFacts
from relay.mail.header import Field
from relay.mail.outcome import DNSSEC
from relay.mail.ports import DNS, Lookups, Resolver

# Bounds of one evaluation, so that nothing hangs: levels of lists and `${expand:…}` inside each other, octets of any
# text that comes up, rounds of all loops together.
DEPTH_LIMIT = 30
SIZE_LIMIT = 16 * 1024 * 1024
STEP_LIMIT = 1_000_000
# What takes about as long as one round.
OCTETS_WORKED_ON_IN_A_STEP = 8
OCTETS_READ_IN_A_STEP = 64
OCTETS_COPIED_IN_A_STEP = 4096


@dataclass(slots=True)
class MessageView:
    """The message in hand, as far as it is known at the moment. Treat it as frozen, as `Scope`."""

    sender: Address | None = None
    """None before MAIL; the null address is the sender of bounces."""
    recipients: tuple[Address, ...] = ()
    recipients_visible: bool = False
    """$recipients shows them (at DATA and in system filters); at RCPT it is empty."""
    size: int = 0
    """Octets as far as known: the SIZE parameter at MAIL (-1: there was none), the whole message later."""
    body_size: int = 0
    header: tuple[Field, ...] = ()
    message_id: str = ""
    body_start: bytes = b""
    """As much of the body as the main option `message_body_visible` lets $message_body show, line ends as LF."""
    body_end: bytes = b""
    """The same of its end, for $message_body_end."""
    body_lines: int = 0
    """Line ends in the body."""
    body_zeros: int = 0
    """Octets of zeros in the body."""
    lines: int = 0
    """Line ends in header and body."""
    longest_line: int = 0
    """Octets of the longest line that was received, without its end."""
    is_internationalised: bool = False
    """MAIL came with SMTPUTF8."""
    received_at: float | None = None
    """Seconds since the epoch."""
    tried_recipients: int = 0
    """RCPT commands, the one in hand among them."""
    rejected_recipients: int = 0
    deferred_recipients: int = 0


@dataclass(frozen=True, slots=True)
class AddressView:
    """The recipient in hand, at RCPT, while routing and while delivering."""

    local_part: str = ""
    domain: str = ""
    original_local_part: str = ""
    original_domain: str = ""
    parent_local_part: str = ""
    parent_domain: str = ""
    prefix: str = ""
    suffix: str = ""
    prefix_wild: str = ""
    """What the star of `local_part_prefix` stood for."""
    suffix_wild: str = ""
    address_data: str = ""
    router_variables: Mapping[str, str] = field(default_factory=dict)
    """`r_…` by name without `r_`."""


@dataclass(frozen=True, slots=True)
class HostView:
    """The server that is being delivered to."""

    name: str
    address: str = ""
    port: int = 0
    dnssec: DNSSEC = DNSSEC.NOT_ASKED


@dataclass(frozen=True, slots=True)
class ACLAnswer:
    """What a named ACL said: whether it accepted, and the text of its `message`."""

    accepted: bool
    message: str = ""


class ACLRunner(Protocol):
    """`${acl{name}{arg}…}` and the condition `acl`. Raises TemporaryFailure where the ACL defers."""

    async def run(self, name: str, arguments: tuple[str, ...], scope: Scope) -> ACLAnswer: ...


class Files(Protocol):
    """Files that lists name. Raises TemporaryFailure where one can't be read."""

    async def lines(self, path: str) -> tuple[str, ...]:
        """The lines without their ends."""
        ...


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What stat(2) says of a file. Times are seconds since the epoch."""

    mode: int
    inode: int
    device: int
    links: int
    owner: int
    group: int
    size: int
    accessed: int
    modified: int
    changed: int


class FileSystem(Protocol):
    """Files that expansions name: the condition `exists`, `${stat:…}` and `${readfile`. Each raises OSError.

    Whether the expansion may name a file at all has been decided before: no path comes from outside.
    """

    async def status(self, path: str) -> FileStatus: ...

    async def contents(self, path: str, limit: int) -> bytes:
        """Up to `limit` octets from the beginning of the file."""
        ...


class Passwords(Protocol):
    """The condition `crypteq`, for hashes that take their time or a library."""

    async def matches(self, password: bytes, stored: str, scheme: str) -> bool:
        """Does the password belong to the hash? `scheme` is `crypt`, `crypt16`, or empty where the text names none;
        the hash stands without it. Raises TemporaryFailure."""
        ...


class ListFinder(Protocol):
    """Named lists as this module knows them; `lists.NamedLists` is the one there is."""

    def find(self, kind: Any, name: str) -> Any: ...


@dataclass(slots=True)
class Scope:
    """What variables, functions and lists can see. Treat it as frozen; it is not, because freezing costs time."""

    session: SessionFacts = field(default_factory=SessionFacts)
    now: float = 0.0
    main: Mapping[str, str] = field(default_factory=dict)
    """Expanded main options by name: primary_hostname, qualify_domain, spool_directory, …"""
    message: MessageView | None = None
    address: AddressView | None = None
    host: HostView | None = None
    """Set while delivering; then `$tls_cipher` and its like mean the outgoing connection."""
    tls_out: TLSFacts | None = None
    acl_variables: Mapping[str, str] = field(default_factory=dict)
    """By full name: `acl_c0`, `acl_m_trust`."""
    acl_arguments: tuple[str, ...] = ()
    """$acl_arg1 and on."""
    auth: tuple[str, ...] = ()
    """$auth1 and on, while an authenticator runs."""
    domain_data: str = ""
    local_part_data: str = ""
    host_data: str = ""
    sender_data: str = ""
    recipient_data: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    """Further variables by name where the caller has them: router_name, transport_name, return_path, smtp_command, …
    (`variables.CALLER_VARIABLES` says which)."""
    value: str = ""
    """$value and $0 to $9 as they stand when the expansion begins (a rewriting rule, a router's list match)."""
    captures: tuple[str, ...] = ()
    item: str = ""
    first_delivery: bool = True
    queue_running: bool = False
    pid: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    """What `${env` may see: the allow-list has been applied."""
    local_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses of our own interfaces, for `@[]`."""
    strict_acl_variables: bool = False
    lookups: Lookups | None = None
    resolver: Resolver | None = None
    dns: DNS | None = None
    client_names: Callable[[], Awaitable[tuple[str, ...]]] | None = None
    """Confirmed names of the session's client; None: by `resolver` (the caller that wants them cached gives this)."""
    queue_size: Callable[[], Awaitable[int]] | None = None
    """How many messages are queued; the caller that knows a queue gives this."""
    files: Files | None = None
    file_system: FileSystem | None = None
    may_read_files: bool = False
    """`${readfile` and `${stat:…}` are permitted. Main option: `expand_reads_files`."""
    passwords: Passwords | None = None
    results: dict[str, str] = field(default_factory=dict)
    """What an item leaves behind for later expansions: `prvscheck_result`. A child shares it with its parent."""
    acl_runner: ACLRunner | None = None
    named_lists: ListFinder | None = None
    depth: int = 0
    """How many lists, ACLs and expansions this one is inside of."""
    notes: Notes | None = None
    """Who is told how lists are tried; None: nobody."""

    def child(self, **changes: Any) -> Scope:
        """The same view with other values in some fields."""
        scope = Scope(*_values(self))
        for name, value in changes.items():
            setattr(scope, name, value)
        return scope

    def deeper(self) -> Scope:
        """The same view one level further in. Raises ExpansionFailed at the limit."""
        if self.depth >= DEPTH_LIMIT:
            raise ExpansionFailed("lists, ACLs or expansions are nested too deeply (a loop?)")
        return self.child(depth=self.depth + 1)


# Several times as fast as dataclasses.replace: a message makes a dozen children.
_values = attrgetter(*(each.name for each in fields(Scope)))


class Budget:
    """Rounds of loops that one evaluation may still make. Long texts count as rounds too: loops over them inside of
    loops would be quadratic, and their length is a peer's choice."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEP_LIMIT) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Raises ExpansionFailed when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise ExpansionFailed("the expansion takes too many steps")

    def work(self, text: str) -> None:
        """Every character of a text is about to be looked at. Raises as `spend`."""
        if len(text) >= OCTETS_WORKED_ON_IN_A_STEP:
            self.spend(len(text) // OCTETS_WORKED_ON_IN_A_STEP)

    def read(self, text: str) -> None:
        """A text is about to be cut or searched. Raises as `spend`."""
        if len(text) >= OCTETS_READ_IN_A_STEP:
            self.spend(len(text) // OCTETS_READ_IN_A_STEP)

    def copy(self, text: str) -> None:
        """A text was put together. Raises as `spend`."""
        if len(text) >= OCTETS_COPIED_IN_A_STEP:
            self.spend(len(text) // OCTETS_COPIED_IN_A_STEP)


class Frame:
    """The changing part of an evaluation: $item, $value, $0 to $9.

    Only the item that made a frame with `fork` (or lets its condition change it) may change it; everybody inside sees
    the change, nobody outside does. That is Exim's saving and restoring of these variables.
    """

    __slots__ = ("budget", "captures", "item", "scope", "value")

    def __init__(self, scope: Scope, budget: Budget | None = None) -> None:
        self.scope = scope
        self.item: str = scope.item
        self.value: str = scope.value
        self.captures: tuple[str, ...] = scope.captures
        self.budget = budget or Budget()

    def fork(self) -> Frame:
        """A frame of one's own with the same contents."""
        frame: Frame = Frame.__new__(Frame)
        frame.scope = self.scope
        frame.item = self.item
        frame.value = self.value
        frame.captures = self.captures
        frame.budget = self.budget
        return frame

    def inner_scope(self) -> Scope:
        """The scope for what is evaluated on its own inside of this evaluation: it sees the same variables."""
        scope = self.scope.deeper()
        scope.item, scope.value, scope.captures = self.item, self.value, self.captures
        return scope


Getter = Callable[[Frame], Value]
Evaluator = Callable[[Frame], Awaitable[Value]]
Test = Callable[[Frame], Awaitable[bool]]
