"""What is told of a decision while it is made: list items, ACL statements, routers, in Exim's words (decision).

`-bh` shows an operator how a session would go. Who is to be told stands in the scope, so that lists and expansions
inside of each other find it; where nobody is, nothing is put together. Exim: debug_printf_indent with host_checking.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_SUBLIST_STEP = 4


@dataclass(slots=True)
class Notes:
    """Lines for one who watches. `level` is how deep the decision is in lists and ACLs."""

    tell: Callable[[str], None]
    level: int = 0
    results: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    """What named lists have said, by kind, name and subject: Exim does not try them again, and says so."""
    knows_names: bool = False
    """Whether the client's names have been found."""
    keeps: bool = False
    """Whether the answer of the list that was tried last holds for the next time as well."""

    def say(self, text: str) -> None:
        """A line at the present depth."""
        bars, rest = divmod(self.level, _SUBLIST_STEP)
        for line in text.split("\n"):
            self.tell(f">>> {'   ╎' * bars}{' ' * rest}{line}")

    def say_at_margin(self, text: str) -> None:
        """A line that Exim does not set in, however deep the decision is."""
        for line in text.split("\n"):
            self.tell(f">>> {line}")

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Another address is looked at meanwhile: what lists say of it is not what they say of the first one."""
        kept, self.results = self.results, dict(self.results)
        try:
            yield
        finally:
            self.results = kept

    def forget(self, *kinds: str) -> None:
        """Another address is looked at: what lists of these kinds have said counts no more."""
        self.results = {key: found for key, found in self.results.items() if key[0] not in kinds}


def shown_item(text: str) -> str:
    """An item with its blanks visible."""
    return text.replace(" ", "\N{LIGHT SHADE}")
