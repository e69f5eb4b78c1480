"""How one condition or modifier of an ACL is compiled (decision).

The tables of conditions and modifiers hold one `Row` each; the parser knows nothing of them but the row. A row
looks at its argument once and gives a test, a coroutine function over a `Run`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_for_use
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list_for_use
from relay.expand.scope import Scope
from relay.mail.ports import NotOpened, TemporaryFailure
from relay.mail.source import Location
from relay.policy.acl_program import ACLBroken, Test
from relay.policy.acl_values import Where


class Mistake(ValueError):
    """A line of an ACL that can't be compiled: what is wrong, and the remedy."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Compiled:
    """A step's test, and what is known of it before it runs: ACLs that it names, inquiries that it will make,
    places where it can't decide, a notice where it has no effect, and named lists that are not there."""

    test: Test
    acl_names: tuple[str, ...] = ()
    inquiry: str = ""
    forbidden: frozenset[Where] = frozenset()
    notice: str = ""
    unknown_lists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """What stands behind the name of a condition or modifier, with the means to compile it."""

    location: Location
    name: str
    text: str
    verb: str
    named_lists: NamedLists
    faults: list[str] = field(default_factory=list, compare=False)
    """What can't be expanded in it, as a complaint names it."""

    def expansion(self, text: str | None = None) -> Expansion:
        """The argument (or a part of it) as an expansion; where it can't be one it fails when its turn comes. Raises
        Mistake for what is not served."""
        source = self.text if text is None else text
        try:
            found = compile_for_use(source)
        except ExpansionError as error:
            raise Mistake(f"{self.name}: {error.message}", "correct the expansion") from None
        if found.fault is not None:
            self.faults.append(f"{self.name}: {found.fault.message}")
        return found

    async def expanded(self, expansion: Expansion, scope: Scope, *, lines: bool = False) -> str:
        """The text of a part of the argument; `lines` keeps the line breaks of its author.

        Raises TemporaryFailure, ACLBroken, ForcedFailure."""
        try:
            return await (expansion.lines(scope) if lines else expansion.text(scope))
        except ForcedFailure:
            raise
        except (ExpansionFailed, NotOpened) as failed:
            # To Exim a file that can't be opened is a mistake of the configuration: `warn` does not pass it over.
            raise ACLBroken(f'failed to expand ACL string "{expansion.source}": {failed}') from None
        except TemporaryFailure as failed:
            raise TemporaryFailure(f'failed to expand ACL string "{expansion.source}": {failed}') from None

    def list(self, kind: ListKind) -> MatchList:
        """The argument as a list; named lists in it need not be there. Raises Mistake."""
        try:
            found = compile_list_for_use(kind, self.text)
        except ExpansionError as error:
            raise Mistake(f"{self.name}: {error.message}", "correct the list") from None
        if found.fault is not None:
            self.faults.append(f"{self.name}: {found.fault.message}")
        return found

    def unknown_lists(self, matches: MatchList) -> tuple[str, ...]:
        """The named lists that it refers to and that are not there, as a complaint names them."""
        return tuple(
            f'{kind.value} list "+{name}"'
            for kind, name in sorted(matches.lists_used, key=str)
            if (kind, name) not in self.named_lists.definitions
        )


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
