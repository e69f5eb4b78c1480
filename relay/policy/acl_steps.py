"""The parts that an ACL statement is compiled into, and the state of one run (decision).

A statement is a row of steps; a step is a condition or a modifier, compiled once into a coroutine function
over a `Run`. The tables of conditions and modifiers hold one `Row` each; the parser knows nothing of them but
the row.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from relay.expand.errors import ExpansionError
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list
from relay.expand.scope import Scope
from relay.mail.source import Location
from relay.policy.acl_values import DEFAULT_LOGS, ACLContext, Where


class Holds(enum.Enum):
    """What a condition came to. DROP and DISCARD come only out of a nested ACL."""

    YES = "yes"
    NO = "no"
    DROP = "drop"
    DISCARD = "discard"


NEGATED = {Holds.YES: Holds.NO, Holds.NO: Holds.YES, Holds.DROP: Holds.YES, Holds.DISCARD: Holds.DISCARD}


class Mistake(ValueError):
    """A line of an ACL that can't be compiled: what is wrong, and the remedy."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


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
        "scope",
        "shown",
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
        self.shown = ""
        """The argument of the last step as it was expanded, for a trace."""
        self.decided: Location | None = None


Test = Callable[[Run], Awaitable[Holds]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A step's test, and what is known of it before it runs: ACLs that it names, inquiries that it will make."""

    test: Test
    acl_names: tuple[str, ...] = ()
    inquiry: str = ""
    forbidden: frozenset[Where] = frozenset()


@dataclass(frozen=True, slots=True)
class Argument:
    """What stands behind the name of a condition or modifier, with the means to compile it."""

    location: Location
    name: str
    text: str
    verb: str
    named_lists: NamedLists

    def expansion(self, text: str | None = None) -> Expansion:
        """The argument (or a part of it) as an expansion. Raises Mistake."""
        source = self.text if text is None else text
        try:
            return compile_expansion(source)
        except ExpansionError as error:
            raise Mistake(f"{self.name}: {error.message}", "correct the expansion") from None

    def list(self, kind: ListKind) -> MatchList:
        """The argument as a list. Raises Mistake."""
        try:
            return compile_list(kind, self.text, self.named_lists)
        except ExpansionError as error:
            raise Mistake(f"{self.name}: {error.message}", "correct the list") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One condition or modifier: how it is compiled, and where it may not stand (Exim's own tables)."""

    name: str
    compile: Callable[[Argument], Compiled]
    forbidden: frozenset[Where] = frozenset()
    is_modifier: bool = False


def anywhere_but(*places: Where) -> frozenset[Where]:
    """The places that are forbidden, as they are named."""
    return frozenset(places)


def only_in(*places: Where) -> frozenset[Where]:
    """The places that are forbidden: all but those named."""
    return frozenset(Where) - frozenset(places)


def not_supported(why: str) -> Callable[[Argument], Compiled]:
    """The compiler of a condition of Exim's that we do not have: without it the ACL would decide otherwise."""

    def refuse(argument: Argument) -> Compiled:
        raise Mistake(f'"{argument.name}" is not supported: {why}', "remove the line and decide by other means")

    return refuse


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


RowTable = Mapping[str, Row]
