"""`relay expand`: what the configuration's language makes of a string (edge).

The strings are the operator's own, so they are parsed; there is no message and no session, and variables of
those are empty.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import click

from relay.cli.output import json_option, print_json
from relay.cli.reading import (
    answer,
    expanded_options,
    macros_option,
    optional_configuration_option,
    read_configuration,
)
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable
from relay.net.lookups import FileLookups, ListFiles, at_once


@click.command(
    "expand",
    epilog="""\b
Examples:
  relay expand '${uc:hello} from $primary_hostname'
  relay expand --json '${if match_ip{192.0.2.7}{192.0.2.0/24}{yes}{no}}'
""",
)
@click.argument("strings", metavar="STRING...", nargs=-1, required=True)
@optional_configuration_option
@macros_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    strings: tuple[str, ...],
    configuration: Path | None,
    macros: Mapping[str, str],
    as_json: bool,
) -> None:
    """Expand strings as the configuration would.

    Status 1 if one of them could not be expanded.
    """
    scope = make_scope(configuration, macros)
    results = [expand(each, scope) for each in strings]
    if as_json:
        print_json(results)
    else:
        for each in results:
            if "error" in each:
                click.echo(f"Failed: {printable(each['error'])}", err=True)
                for line in each.get("underlined", "").splitlines():
                    click.echo(f"  {printable(line)}", err=True)
            else:
                click.echo(each["value"])
    context.exit(1 if any("error" in each for each in results) else 0)


class _WallClock:
    """Seconds since the epoch."""

    def now(self) -> float:
        return time.time()


def make_scope(configuration: Path | None, macros: Mapping[str, str]) -> Scope:
    """What the strings can see: the main options and named lists of the configuration, if there is one."""
    clock = _WallClock()
    scope = Scope(
        now=clock.now(), pid=os.getpid(), lookups=FileLookups(at_once, clock), files=ListFiles(at_once, clock)
    )
    if configuration is None:
        return scope
    read = read_configuration(configuration, macros)
    return scope.child(main=expanded_options(read), named_lists=read.named_lists)


def expand(text: str, scope: Scope) -> dict[str, str]:
    """The string and its value, or the error; one of syntax with the place in the string underlined."""
    try:
        value = answer(compile_expansion(text).text(scope))
    except ExpansionError as error:
        return {"string": text, "error": error.message, "underlined": error.underline(text)}
    except ForcedFailure as error:
        return {"string": text, "error": f"forced failure: {error}" if str(error) else "forced failure"}
    except (ExpansionFailed, TemporaryFailure) as error:
        return {"string": text, "error": str(error)}
    return {"string": text, "value": value}
