"""`relay queue check`: looks for damage in the queue's database, and sets it aside where that is wished (edge).

A repair needs no daemon to be stopped: it is one more process that has the queue open, each of its steps is a
transaction that looks again first, and what another process has in its hands is left alone (`Store.repair`). Only a
database file that is damaged itself is not written to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from relay.cli.faults import Fault
from relay.cli.output import json_option, print_json
from relay.cli.queue_access import StoreReading
from relay.cli.queue_places import open_reading, place_options, the_queue
from relay.cli.reading import understand_configuration
from relay.mail.text import printable
from relay.spool.store import Fault as Damage
from relay.spool.store import Finding, Mended, Store

AT_ONCE = 100
"""Findings of each kind in one look."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of each finding, and what a look afterwards still finds."""

    done: tuple[tuple[Finding, Mended], ...]
    left: tuple[Finding, ...]


@click.command(
    "check",
    epilog="""\b
Examples:
  relay queue check
  relay queue check --repair
""",
)
@place_options
@click.option("--repair", "is_repair", is_flag=True, help="Set damaged rows aside; nothing is deleted.")
@json_option
@click.pass_context
def check(
    context: click.Context, configuration: Path, macros: Mapping[str, str], is_repair: bool, as_json: bool
) -> None:
    """Look for damage in the queue's database; status 1 where there is any.

    It reads all of the database, which takes a while where it is large. Without --repair nothing is changed. With it a
    damaged message is frozen, rows without a message go into the table `aside`, and a claim of nobody's is given back;
    the daemon may run meanwhile. The status is 0 where nothing is found afterwards.
    """
    with open_reading(configuration, macros) as queue:
        if not isinstance(queue, StoreReading):
            raise Fault("only whom the queue belongs to can check it", remedy="run it as root")
        findings, count = queue.check(AT_ONCE), queue.count()
    if not as_json:
        for each in findings:
            click.echo(printable(str(each)))
        click.echo(f"{the_queue(count)}, {how_many(findings)}")
    repaired = Repaired((), findings)
    if is_repair and findings:
        with open_writing(configuration, macros) as store:
            repaired = repair(store, findings, time.time)
    if as_json:
        print_json(as_data(count, findings, repaired if is_repair else None))
    elif repaired.done:
        for finding, mended in repaired.done:
            click.echo(printable(f"{finding.message_id}: {mended.value}"))
        click.echo(f"after the repair: {how_many(repaired.left)}")
    context.exit(1 if repaired.left else 0)


COMMANDS = (check,)


def repair(store: Store, findings: Sequence[Finding], now: Callable[[], float]) -> Repaired:
    """Puts right what was found, and what is found then, as long as that helps. Raises Fault, SpoolUnavailable."""
    if any(each.fault is Damage.DATABASE for each in findings):
        raise Fault(
            "the database itself is damaged: nothing was changed",
            remedy="stop the daemon, copy the file with its -wal and -shm away, then look at the copy",
        )
    done: dict[Finding, Mended] = {}
    left = tuple(findings)
    while left:
        mended = store.repair(left, now())
        done.update(zip(left, mended, strict=True))
        left = store.check(AT_ONCE)
        if all(each is Mended.LEFT for each in mended):
            break
    return Repaired(tuple(done.items()), left)


@contextmanager
def open_writing(configuration: Path, macros: Mapping[str, str]) -> Iterator[Store]:
    """The queue, open as one more process of the user's whom it belongs to. Raises Fault, SpoolUnavailable."""
    from relay.cli.queue import open_store
    from relay.daemon.privileges import drop, identity_of

    store = open_store(configuration, macros)
    compiled = understand_configuration(configuration, macros).configuration
    main = compiled.main
    identity = identity_of(main.exim_user, main.exim_group, compiled.place("exim_user"), main.spool_directory)
    if identity is not None:
        drop(identity)
    recovery = store.open(time.time())
    with closing(store):
        if str(recovery):
            click.echo(f"relay: {recovery}", err=True)
        try:
            yield store
        finally:
            store.maintain()
            store.close_reading()


def how_many(findings: Sequence[Finding]) -> str:
    """In words."""
    return f"{len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}"


def as_data(count: int, findings: Sequence[Finding], repaired: Repaired | None) -> dict[str, object]:
    """For `--json`."""
    data: dict[str, object] = {"messages": count, "findings": [str(each) for each in findings]}
    if repaired is not None:
        data["repaired"] = [{"finding": str(each), "outcome": mended.value} for each, mended in repaired.done]
        data["left"] = [str(each) for each in repaired.left]
    return data
