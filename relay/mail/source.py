"""Where a piece of configuration stands, and what is wrong with it (values).

Every operator-facing complaint names FILE:LINE, says what is wrong and what to do. All complaints of one reading
are collected; nothing stops at the first.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A line of a configuration file; `line` counts from 1, 0 means the file as a whole.

    `last` is where a line ends that is continued (0: where it begins).
    """

    file: str
    line: int = 0
    last: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


BUILT_IN = Location("(built in)")


class Severity(enum.Enum):
    """How bad a problem is: an error keeps the daemon from starting, the others are printed and logged."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint: where, what, and the remedy in the imperative ("" where `what` already says it).

    `what` is in Exim's words where Exim has the same complaint: programs and people look for them.
    """

    location: Location
    what: str
    remedy: str = ""
    severity: Severity = Severity.ERROR
    subject: str | None = None
    """What Exim names where it names no line: `r1 router`, or "" for the configuration as a whole."""

    def __str__(self) -> str:
        kind = "" if self.severity is Severity.ERROR else f"{self.severity.value}: "
        subject = f"{self.subject}: " if self.subject else ""
        tail = f" ({self.remedy})" if self.remedy else ""
        return f"{self.location}: {kind}{subject}{self.what}{tail}"


class ConfigurationError(Exception):
    """The configuration can't be used: one line per problem, in the order of the file.

    The text leaves notes out: what is of no effect here does not keep anything from being used. `obstacles` are
    those of the problems that are no mistakes, but ask for what is not served here.
    """

    def __init__(self, *problems: Problem, obstacles: tuple[Problem, ...] = ()) -> None:
        super().__init__("\n".join(str(each) for each in problems if each.severity is not Severity.NOTE))
        self.problems = problems
        self.obstacles = obstacles
