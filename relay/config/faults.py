"""What is said beforehand of texts that will fail when they are used (values).

To Exim a mistake in what is expanded is a matter of its use, so that a configuration runs as long as nobody comes to
it; here as well, and `relay check` tells of it. Until it is corrected its use fails as that of a lookup without an
answer: nothing is let through, accepted or delivered for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.mail.source import Location, Problem, Severity


def fault_problems(option: str, location: Location, *values: Expansion | MatchList | None) -> Iterator[Problem]:
    """A warning for each value that can't be expanded; `option` is what it is the value of."""
    for value in values:
        if value is not None and value.fault is not None:
            remedy = "correct the list" if isinstance(value, MatchList) else "correct the expansion"
            yield fault_problem(f"{option}: {value.fault.message}", location, remedy)


def fault_problem(what: str, location: Location, remedy: str = "correct the expansion") -> Problem:
    """The same of a mistake that is known already."""
    return Problem(location, f"{what}: it will fail when it is used", remedy, Severity.WARNING)
