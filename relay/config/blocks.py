"""A router, transport or authenticator as it was written: typed options by name (values).

Whoever makes something of a block asks for an option with the method of its type. A wrong method is a fault
of ours, not of the configuration, whose text was converted by the option's kind before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from relay.config.faults import fault_problems
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.mail.source import Location, Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """The text of an option as it was set, without quotes, and whether it is hidden (`hide`)."""

    text: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class DriverBlock:
    """One instance. `options` holds every option of its driver and class: as set, or its default.

    `set_at` names the lines of those that were set, `written` holds their texts.
    """

    section: str
    name: str
    driver: str
    location: Location
    options: Mapping[str, object]
    set_at: Mapping[str, Location]
    written: Mapping[str, Written] = field(default_factory=dict)
    faults: list[Problem] = field(default_factory=list, compare=False)
    """Mistakes that break nothing but the use of an option: of those that are compiled by who asks for them."""

    def place(self, option: str) -> Location:
        """The line that sets an option, or the block's first one."""
        return self.set_at.get(option, self.location)

    def text(self, option: str) -> str:
        """A string, "" where unset."""
        value = self.options[option]
        return "" if value is None else self._typed(option, str)

    def expansion(self, option: str) -> Expansion | None:
        """A string that is expanded when it is used."""
        return None if self.options[option] is None else self._typed(option, Expansion)

    def expansions(self, option: str) -> tuple[Expansion, ...]:
        """All settings of an option that may stand several times."""
        values = self._typed(option, tuple) if self.options[option] is not None else ()
        assert all(isinstance(value, Expansion) for value in values)
        return values

    def matching(self, option: str) -> MatchList | None:
        """A list of hosts, domains, local parts, addresses or strings."""
        return None if self.options[option] is None else self._typed(option, MatchList)

    def told(self, option: str, *values: Expansion | MatchList) -> None:
        """Notes which of the values that were made of an option can't be expanded."""
        self.faults.extend(fault_problems(option, self.place(option), *values))

    def items(self, option: str) -> tuple[str, ...]:
        """A list of words."""
        return self._typed(option, tuple)

    def flag(self, option: str) -> bool:
        """A boolean."""
        return self._typed(option, bool)

    def flag_or_expansion(self, option: str) -> bool | Expansion:
        """A boolean that may be an expansion."""
        value = self.options[option]
        assert isinstance(value, bool | Expansion)
        return value

    def number(self, option: str) -> int:
        """An integer, a size in octets, a mode, or a time in seconds."""
        return self._typed(option, int)

    def _typed(self, option: str, kind: type[T]) -> T:
        value = self.options[option]
        assert isinstance(value, kind), f"{option} is {value!r}"
        return value


def debug_prints(blocks: Iterable[DriverBlock]) -> Mapping[str, Expansion]:
    """What transports tell who watches, by their names (Exim: debug_print)."""
    found = ((block.name, block.expansion("debug_print")) for block in blocks if block.section == "transports")
    return {name: text for name, text in found if text is not None}
