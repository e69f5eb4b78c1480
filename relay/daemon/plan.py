"""A configuration read and checked, before anything is built from it (edge)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from relay.config.check import check_configuration
from relay.config.inspection import inspect
from relay.config.read import Configuration, read_configuration
from relay.daemon.configuration_file import read_file
from relay.daemon.wishes import NO_WISHES, Wishes
from relay.mail.source import ConfigurationError, Problem, Severity

MOST_WORKERS = 8
"""Processes that are started unasked. Each has three connections to the database, which often takes a hundred."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a daemon is to be."""

    compiled: Configuration
    path: str
    macros: Mapping[str, str]
    wishes: Wishes
    warnings: tuple[Problem, ...]

    def check(self) -> list[Problem]:
        """Looks at files and directories again, as the user that the process has become."""
        return _check(self.compiled)

    @property
    def workers(self) -> int:
        """How many processes. 0 in the configuration: with SQLite one; otherwise one for each core that this one may
        use, within reason."""
        main = self.compiled.main
        if main.worker_processes or main.queue.startswith("sqlite:"):
            return main.worker_processes or 1
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def read_plan(configuration: str, macros: Mapping[str, str], wishes: Wishes = NO_WISHES) -> Plan:
    """Reads and checks. Raises ConfigurationError with every problem."""
    compiled = read_configuration(configuration, read_file, macros)
    problems = _check(compiled)
    refuse_errors(problems)
    warnings = tuple(problem for problem in problems if problem.severity is Severity.WARNING)
    return Plan(compiled, configuration, macros, wishes, warnings)


def refuse_errors(problems: list[Problem]) -> None:
    """Raises ConfigurationError if one is an error."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise ConfigurationError(*errors)


def _check(compiled: Configuration) -> list[Problem]:
    now = time.time()
    return check_configuration(compiled, lambda files: inspect(files, now))
