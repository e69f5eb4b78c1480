"""What an ACL is compiled into, and what it is run with: steps, statements, context, memory, the state of a run
(values).

An `ACL` is a row of statements, a statement a verb with a row of steps, a step a condition or modifier with its test.
The tests see one `Run`: the scope as it stands, and through `Run.context` the ports and the memory of whoever runs
the ACL. These types know each other, so they stand in one place.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.ports import Concurrency, Hints, Journal, Records
from relay.mail.source import Location, Problem, Severity
from relay.policy.acl_values import DEFAULT_LOGS, DISCARD_PLACES, Effects, Verb, Where
from relay.policy.verification import Addresses, Verified


class Holds(enum.Enum):
    """What a condition came to. DROP and DISCARD come only out of a nested ACL."""

    YES = "yes"
    NO = "no"
    DROP = "drop"
    DISCARD = "discard"


NEGATED = {Holds.YES: Holds.NO, Holds.NO: Holds.YES, Holds.DROP: Holds.YES, Holds.DISCARD: Holds.DISCARD}


# Ports


@dataclass(frozen=True, slots=True)
class Answer:
    """What a condition that asks the world found, with the texts that it gives to a refusal."""

    holds: bool
    user_message: str = ""
    log_message: str = ""


class Inquiries(Protocol):
    """Conditions that judge a peer's key. Raises TemporaryFailure where there is no answer now.

    `subject` is the condition ("verify = peer"); `options` are the address in question and what stands behind the
    slashes.
    """

    def serves(self, subject: str) -> bool: ...

    async def ask(self, subject: str, options: tuple[str, ...], context: ACLContext) -> Answer: ...


class ACLFiles(Protocol):
    """ACLs in files of their own."""

    async def acl(self, path: str) -> ACL:
        """The ACL as it stands in the file now. Raises ACLBroken."""
        ...


@dataclass(frozen=True, slots=True)
class ConditionPorts:
    """Whom conditions may ask. A condition whose port is missing can't be decided: 451."""

    records: Records | None = None
    hints: Hints | None = None
    addresses: Addresses | None = None
    inquiries: Inquiries | None = None
    files: ACLFiles | None = None
    tells_details: bool = False
    """Whether clients are told what a verification found (Exim: smtp_return_error_details)."""


# Memory


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list in the DNS says of one key: its A records; none: it is not listed. `text` None: not asked yet."""

    addresses: tuple[str, ...]
    until: float = math.inf
    """When it is to be asked again, seconds since the epoch."""
    text: str | None = None
    failure: str = ""
    """Why there was no answer, "" where there was."""


@dataclass(slots=True)
class Memory:
    """What conditions remember of a client, so that a question is asked once, and the variables that they set.

    Whoever owns it says when a message begins; a command begins with each call of `acl.check`.
    """

    listings: dict[str, Listing] = field(default_factory=dict)
    """By the name that was looked up, as long as the connection, and as what they say."""
    connection_rates: dict[str, float] = field(default_factory=dict)
    message_rates: dict[str, float] = field(default_factory=dict)
    command_rates: dict[str, float] = field(default_factory=dict)
    senders: dict[str, Verified] = field(default_factory=dict)
    """Senders that were verified, by their text, as long as the message."""
    rewritten_sender: Address | None = None
    """What the rewriting rules have made of the message's sender when it was verified, as long as the message."""
    sender_told: bool = False
    """Whether the client was told what is wrong with its sender, which is done once in a message."""
    failed_sender: tuple[str, Verified] | None = None
    """The sender whose verification failed in this command."""
    found: dict[str, str] = field(default_factory=dict)
    """Variables such as $dnslist_domain and $sender_rate, by name, as long as the message."""

    def begin_message(self) -> None:
        """Another message, or none any more: what belonged to the last one is forgotten."""
        self.message_rates = {}
        self.senders = {}
        self.rewritten_sender = None
        self.sender_told = False
        self.found = {}
        self.begin_command()

    def begin_command(self) -> None:
        """Another ACL begins."""
        self.command_rates = {}
        self.failed_sender = None


@dataclass(slots=True)
class ACLContext:
    """All that one run of an ACL may see and change.

    `scope` is what expansions and lists see: at RCPT its `address` is the recipient. `variables` is the
    dictionary that `scope.acl_variables` shows; `set` writes into it.
    """

    where: Where
    scope: Scope
    acls: Mapping[str, ACL]
    effects: Effects
    variables: dict[str, str]
    journal: Journal
    concurrency: Concurrency
    ports: ConditionPorts = field(default_factory=ConditionPorts)
    memory: Memory = field(default_factory=Memory)


# A run


INLINE = "inline ACL"
"""The name of those that are the text of an option."""


class ACLBroken(Exception):
    """A mistake of the configuration that shows only at run time: 451 to the client, the text to the log."""


class ACLDefers(Exception):
    """A nested ACL came to a `defer` statement; the texts are in the run."""


class Run:
    """One walk through one ACL: the scope as it stands, and the texts that conditions have left for a
    refusal.

    `nest` runs another ACL inside of this one; it is given by `acl.py`, which the conditions may not import.
    """

    __slots__ = (
        "context",
        "decided",
        "details",
        "level",
        "log_message",
        "logs",
        "nest",
        "on_expanded",
        "scope",
        "user_message",
    )

    def __init__(
        self,
        context: ACLContext,
        scope: Scope,
        level: int,
        nest: Callable[[Run, str, tuple[str, ...]], Awaitable[Holds]],
    ) -> None:
        self.context = context
        self.scope = scope
        self.level = level
        self.nest = nest
        self.user_message = ""
        self.log_message = ""
        self.details = False
        """Whether a temporary refusal may tell its text to the client (Exim: acl_temp_details)."""
        self.logs = DEFAULT_LOGS
        """Where a refusal is logged (log_reject_target)."""
        self.on_expanded: Callable[[str], None] | None = None
        """Somebody watches: to be told what the argument of the step at hand has become."""
        self.decided: Location | None = None

    def show(self, text: str) -> None:
        """The argument of the step at hand as it was expanded, before anything comes of it."""
        if self.on_expanded is not None:
            self.on_expanded(text)

    def tell_verify_message(self, text: str) -> None:
        """What a `verify` has found wrong, for the rest of its statement (Exim: $acl_verify_message)."""
        self.scope = self.scope.child(more={**self.scope.more, "acl_verify_message": text})

    def learn(self, **found: str) -> None:
        """Sets variables that later statements, and later ACLs of the message, can see."""
        self.context.memory.found.update(found)
        self.scope = self.scope.child(more={**self.scope.more, **found})


Test = Callable[[Run], Awaitable[Holds]]


@dataclass(frozen=True, slots=True)
class Step:
    """A condition or modifier in its place. `message` and `log_message` are those in force when it is
    reached."""

    location: Location
    name: str
    text: str
    """The whole line as it was written, for traces."""
    test: Test
    negated: bool
    forbidden: frozenset[Where]
    is_modifier: bool
    message: Expansion | None
    log_message: Expansion | None
    endpass: bool
    acl_names: tuple[str, ...] = ()
    inquiry: str = ""
    notice: str = ""
    """What `relay check` tells of a step that has no effect here."""
    unknown_lists: tuple[str, ...] = ()
    """Named lists that it refers to and that are not there."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A verb and its steps. The messages are those in force at its end, behind the last step."""

    verb: Verb
    location: Location
    steps: tuple[Step, ...]
    message: Expansion | None = None
    log_message: Expansion | None = None
    endpass: bool = False


@dataclass(frozen=True, slots=True)
class ACL:
    """A compiled access control list. One without statements refuses."""

    name: str
    location: Location
    statements: tuple[Statement, ...]
    faults: tuple[tuple[Location, str], ...] = ()
    """What can't be expanded, with its line."""

    @property
    def steps(self) -> Iterable[Step]:
        return (step for statement in self.statements for step in statement.steps)

    @property
    def acl_names(self) -> tuple[tuple[Location, str], ...]:
        """ACLs that this one names as they are, with the line that does."""
        return tuple((step.location, name) for step in self.steps for name in step.acl_names)

    @property
    def unknown_lists(self) -> tuple[tuple[Location, str], ...]:
        """Named lists that are not there, with the lines that refer to them."""
        return tuple((step.location, each) for step in self.steps for each in step.unknown_lists)

    @property
    def inquiries(self) -> tuple[tuple[Location, str], ...]:
        """Conditions that will ask the world (`verify = recipient`), with their lines."""
        return tuple((step.location, step.inquiry) for step in self.steps if step.inquiry)

    @property
    def notices(self) -> tuple[tuple[Location, str], ...]:
        """Steps without effect, with their lines."""
        return tuple((step.location, step.notice) for step in self.steps if step.notice)

    def misplaced(self, where: Where) -> tuple[Problem, ...]:
        """What could not be decided if this ACL ran at `where`. Exim takes such an ACL and refuses when it comes to
        the line, and so do we; that it never could is worth a warning."""
        found = [
            Problem(
                step.location,
                f"cannot {'use' if step.is_modifier else 'test'} {step.name} in {where.value} ACL:"
                " what comes to it is refused with 451",
                "move it to an ACL that runs where this is known",
                Severity.WARNING,
            )
            for step in self.steps
            if where in step.forbidden
        ]
        if where not in DISCARD_PLACES:
            found.extend(
                Problem(
                    statement.location,
                    f'"discard" is not allowed in {where.value} ACL: what comes to it is refused with 451',
                    "use accept or deny",
                    Severity.WARNING,
                )
                for statement in self.statements
                if statement.verb is Verb.DISCARD
            )
        if where in (Where.QUIT, Where.NOTQUIT):
            found.extend(
                Problem(
                    statement.location,
                    f'"{statement.verb.value}" has nothing to refuse in {where.value} ACL',
                    "use warn or accept",
                    Severity.WARNING,
                )
                for statement in self.statements
                if statement.verb not in (Verb.ACCEPT, Verb.WARN)
            )
        return tuple(found)
