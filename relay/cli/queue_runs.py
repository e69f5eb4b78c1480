"""`relay queue run`: have messages delivered now, and see how far it is (edge)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from relay.cli.output import json_option, print_json
from relay.cli.queue_places import open_changing, place_options, the_queue
from relay.daemon.orders import Progress, Run, Selection


@click.command(
    "run",
    epilog="""\b
Examples:
  relay queue run
  relay queue run 1wJ0Ab-0AbCdEfGhIj-00AB
  relay queue run --domain example.org --force
""",
)
@place_options
@click.argument("message_id", metavar="[ID]", default="")
@click.option("--domain", default="", metavar="DOMAIN", help="Only what waits for an address of this domain.")
@click.option("--host", default="", metavar="TEXT", help="Only what last failed at this host.")
@click.option("--force", is_flag=True, help="Do not wait for retry times; implied by ID, --domain, --host.")
@click.option("--frozen", is_flag=True, help="Frozen messages as well, which are thawed.")
@json_option
def run(
    configuration: Path,
    macros: Mapping[str, str],
    message_id: str,
    domain: str,
    host: str,
    force: bool,
    frozen: bool,
    as_json: bool,
) -> None:
    """Try the messages that are due, or those that are named, and wait for the end."""
    selection = Selection(domain=domain, host=host, message_id=message_id)
    wanted = Run(selection, force=force or frozen or selection != Selection(), thaw=frozen)
    with open_changing(configuration, macros) as queue:
        if sys.stderr.isatty() and not as_json:
            with click.progressbar(length=1, label="delivering", file=sys.stderr) as bar:
                end = queue.run(wanted, lambda progress: _move(bar, progress))
                _move(bar, end)
        else:
            end = queue.run(wanted, lambda progress: None if as_json else _print(progress))
    if as_json:
        print_json({"seen": end.seen, "tried": end.tried})
    else:
        click.echo(f"{the_queue(end.seen)} looked at, {end.tried} tried")


COMMANDS = (run,)


def _move(bar: Any, progress: Progress) -> None:
    """click's own class of a bar is private."""
    bar.length = max(progress.total, 1)
    bar.update(progress.seen - bar.pos)


def _print(progress: Progress) -> None:
    click.echo(f"{progress.seen} of {the_queue(progress.total)}, {progress.tried} tried")
