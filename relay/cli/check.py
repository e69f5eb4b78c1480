"""`relay check`: compile a configuration and say everything that is wrong with it, at once (edge).

What the reader finds and what a look at the files finds come out in one list, in the order of the
configuration.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.output import json_option, print_json
from relay.cli.reading import configuration_option, macros_option, read_configuration
from relay.config.inspection import inspect
from relay.mail.source import ConfigurationError, Problem, Severity

if TYPE_CHECKING:
    from relay.config.read import Configuration


@click.command(
    "check",
    epilog="""\b
Examples:
  relay check
  relay check -C ./relay.conf -D PORT=2525
""",
)
@configuration_option
@macros_option
@json_option
@click.pass_context
def command(context: click.Context, configuration: Path, macros: Mapping[str, str], as_json: bool) -> None:
    """Compile a configuration and say everything that is wrong with it.

    Status 1 if there is an error, 0 if there are only warnings and notes.
    """
    problems, summary = examine(configuration, macros)
    errors, warnings = (
        sum(each.severity is severity for each in problems) for severity in (Severity.ERROR, Severity.WARNING)
    )
    bad = errors > 0
    if as_json:
        print_json({"file": str(configuration), "good": not bad, "problems": [as_data(each) for each in problems]})
    else:
        for each in problems:
            click.echo(str(each), err=each.severity is Severity.ERROR)
        if bad:
            click.echo(f"{configuration}: {errors} {'error' if errors == 1 else 'errors'}", err=True)
        elif warnings:
            counted = f"{warnings} {'warning' if warnings == 1 else 'warnings'}"
            click.echo(f"{configuration}: configuration can be used, with {counted} ({summary})")
        else:
            click.echo(f"{configuration}: configuration is good ({summary})")
    context.exit(1 if bad else 0)


def examine(path: Path, macros: Mapping[str, str]) -> tuple[tuple[Problem, ...], str]:
    """Everything that is to be said of a configuration, in its order, and the sum of a good one in a line."""
    from relay.config.check import check_configuration

    now = time.time()
    try:
        read = read_configuration(path, macros)
        problems = check_configuration(read, lambda files: inspect(files, now))
    except ConfigurationError as error:
        return error.problems, ""
    return tuple(problems), summary_of(read)


def summary_of(read: Configuration) -> str:
    """What a good configuration amounts to."""
    ports = ", ".join(str(port) for port in read.main.daemon_smtp_ports)
    counted = (("ACL", read.acls), ("router", read.routers), ("transport", read.transports))
    words = [f"{len(each)} {word}{'' if len(each) == 1 else 's'}" for word, each in counted]
    return ", ".join([f"port {ports}", *words])


def as_data(problem: Problem) -> dict[str, object]:
    """A problem for `--json`."""
    return {
        "file": problem.location.file,
        "line": problem.location.line,
        "severity": problem.severity.value,
        "what": problem.what,
        "remedy": problem.remedy,
    }
