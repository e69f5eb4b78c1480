"""`relay expand`: what the configuration's language makes of a string (edge).

The strings are the operator's own, so they are parsed; there is no message and no session, and variables of
those are empty.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from relay.cli.explanation import as_data, explanation_lines
from relay.cli.output import json_option, print_json
from relay.cli.reading import (
    answer,
    expanded_options,
    macros_option,
    optional_configuration_option,
    understand_configuration,
)
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import compile_expansion
from relay.expand.explaining import Broke, Fault, Gave, explain
from relay.expand.scope import Scope
from relay.expand.values import text_of
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.net.file_system import LocalFileSystem
from relay.net.lookups import FileLookups, ListFiles, at_once
from relay.net.passwords import PasswordThreads


@click.command(
    "expand",
    epilog="""\b
Examples:
  relay expand '${uc:hello} from $primary_hostname'
  relay expand --json '${if match_ip{192.0.2.7}{192.0.2.0/24}{yes}{no}}'
  relay expand --explain '${if match_domain{mx.example.org}{+local_domains}{yes}{no}}'
""",
)
@click.argument("strings", metavar="STRING...", nargs=-1, required=True)
@optional_configuration_option
@macros_option
@click.option("--explain", "explained", is_flag=True, help="Show every sub-expression with what it came to.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    strings: tuple[str, ...],
    configuration: Path | None,
    macros: Mapping[str, str],
    explained: bool,
    as_json: bool,
) -> None:
    """Expand strings as the configuration would.

    Status 1 if one of them could not be expanded. With --explain each sub-expression stands on a line of its own with
    its value, below the one that it is part of: conditions with their answers, the branch that was taken, what
    decided a list, what a lookup found. Text from outside is marked as tainted.
    """
    scope = make_scope(configuration, macros)
    answers = [(explain_one if explained else expand)(each, scope) for each in strings]
    if as_json:
        print_json([each.data for each in answers])
    else:
        for each in answers:
            for line in each.lines:
                click.echo(line)
            if "error" in each.data:
                click.echo(f"Failed: {printable(each.data['error'])}", err=True)
                for line in each.data.get("underlined", "").splitlines():
                    click.echo(f"  {printable(line)}", err=True)
    context.exit(1 if any("error" in each.data for each in answers) else 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one string."""

    data: Mapping[str, Any]
    """For --json: `string`, then `value` or `error`; of a failure with a place also `underlined`."""
    lines: tuple[str, ...] = ()
    """For people."""


class WallClock:
    """Seconds since the epoch."""

    def now(self) -> float:
        return time.time()


def make_scope(configuration: Path | None, macros: Mapping[str, str]) -> Scope:
    """What the strings can see: the main options and named lists of the configuration, if there is one."""
    clock = WallClock()
    scope = Scope(
        now=clock.now(),
        pid=os.getpid(),
        lookups=FileLookups(at_once, clock),
        files=ListFiles(at_once, clock),
        file_system=LocalFileSystem(at_once),
        passwords=PasswordThreads(at_once),
    )
    if configuration is None:
        return scope
    read = understand_configuration(configuration, macros).configuration
    return scope.child(main=expanded_options(read), named_lists=read.named_lists)


def expand(text: str, scope: Scope) -> Answer:
    """The string and its value, or the error; one of syntax with the place in the string underlined."""
    try:
        value = answer(compile_expansion(text).text(scope))
    except ExpansionError as error:
        return _mistake(text, error)
    except ForcedFailure as error:
        return Answer({"string": text, "error": _forced(str(error))})
    except (ExpansionFailed, TemporaryFailure) as error:
        return Answer({"string": text, "error": str(error)})
    return Answer({"string": text, "value": value}, (value,))


def explain_one(text: str, scope: Scope) -> Answer:
    """As `expand`, with the steps that led there; of a failure the place in the string is underlined."""
    with _deeper_stack():
        return _explained(text, scope)


@contextmanager
def _deeper_stack() -> Iterator[None]:
    """An explanation takes more of Python's stack than an evaluation, and should not fail where that does not."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 5000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _explained(text: str, scope: Scope) -> Answer:
    try:
        explanation = answer(explain(text, scope))
    except ExpansionError as error:
        return _mistake(text, error)
    told: dict[str, Any] = {"string": text}
    match explanation.step.outcome:
        case Broke(fault, message):
            told["error"] = _forced(message) if fault is Fault.FORCED else message
            if place := explanation.failed_at:
                told["underlined"] = ExpansionError(message, place.span).underline(place.text)
        case Gave(value):
            told["value"] = text_of(value)
    told |= {"steps": as_data(explanation.step), "cut": explanation.cut}
    lines = tuple(explanation_lines(explanation.step))
    return Answer(told, (*lines, "(further steps are left out)") if explanation.cut else lines)


def _mistake(text: str, error: ExpansionError) -> Answer:
    return Answer({"string": text, "error": error.message, "underlined": error.underline(text)})


def _forced(message: str) -> str:
    return f"forced failure: {message}" if message else "forced failure"
