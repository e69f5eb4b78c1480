"""`relay queue`: look at the messages that wait, and decide what becomes of them (edge).

Looking is reading the disk beside the daemon; changes act through the daemon while it runs, and without one in this
process (`queue_access.py`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from relay.cli import queue_changes, queue_check, queue_runs, queue_show
from relay.cli.faults import Fault
from relay.cli.output import json_option, print_json, print_table
from relay.cli.queue_access import QueueReading, all_entries
from relay.cli.queue_places import age, open_reading, place_options
from relay.cli.reading import understand_configuration
from relay.daemon.orders import PAGE, Selection
from relay.mail.queue import QueueEntry, RecipientState
from relay.spool.engine import NoEngine, make_store
from relay.spool.store import Store

LIMIT = 1000


@click.group("queue")
def command() -> None:
    """Look at the messages that wait, and change them."""


@command.command(
    "list",
    epilog="""\b
Examples:
  relay queue list
  relay queue list --sender @laptop.example --older-than 2h
  relay queue list --frozen --json
  relay queue list --limit 50 --after 1wJ0Ab-0AbCdEfGhIj-00AB
""",
)
@place_options
@click.option("--sender", default="", metavar="TEXT", help="Only those whose sender has this in it.")
@click.option("--recipient", default="", metavar="TEXT", help="Only those that wait for an address with this in it.")
@click.option("--domain", default="", metavar="DOMAIN", help="Only those that wait for an address of this domain.")
@click.option("--host", default="", metavar="TEXT", help="Only those whose last error names this host.")
@click.option("--frozen", is_flag=True, help="Only those that are held back.")
@click.option("--older-than", callback=age, metavar="AGE", help="Only those that came before, as 90s, 2h, 1d12h.")
@click.option("--after", default="", metavar="ID", help="Begin behind this message.")
@click.option("--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="Messages at most.")
@json_option
def list_queue(
    configuration: Path,
    macros: Mapping[str, str],
    sender: str,
    recipient: str,
    domain: str,
    host: str,
    frozen: bool,
    older_than: int | None,
    after: str,
    limit: int,
    as_json: bool,
) -> None:
    """List the messages in the queue, oldest first."""
    now = time.time()
    before = None if older_than is None else now - older_than
    selection = Selection(recipient, sender, domain, host, frozen, before)
    with open_reading(configuration, macros) as queue:
        entries = list(itertools.islice(chosen(queue, selection, after, limit + 1), limit + 1))
    more, entries = len(entries) > limit, entries[:limit]
    if as_json:
        print_json([as_data(each) for each in entries])
    elif not entries:
        click.echo("the queue is empty" if selection == Selection() and not after else "no message is like that")
    else:
        heads = ("MESSAGE", "AGE", "SIZE", "NEXT TRY", "FROM", "TO", "LAST ERROR")
        print_table(heads, [row for each in entries for row in as_rows(each, now)])
    if more:
        click.echo(f"relay: there are more; go on with --after {entries[-1].message_id}", err=True)


for each in (*queue_show.COMMANDS, *queue_runs.COMMANDS, *queue_changes.COMMANDS, *queue_check.COMMANDS):
    command.add_command(each)


def open_store(configuration: Path, macros: Mapping[str, str] | None = None) -> Store:
    """The queue that the daemon with this configuration has. Raises Fault, ConfigurationError."""
    queue = understand_configuration(configuration, macros).configuration.main.queue
    try:
        return make_store(queue, elapsed=time.monotonic, pause=time.sleep)
    except NoEngine as error:
        raise Fault(f"{error} ({error.remedy})", where=configuration) from None


def chosen(queue: QueueReading, selection: Selection, after: str = "", at_once: int = PAGE) -> Iterator[QueueEntry]:
    """The entries of a selection behind a message id, oldest first; a page is read when it is asked for."""
    for entry in all_entries(queue, after, at_once):
        if selection.before is not None and entry.received_at >= selection.before + 1:
            return  # ids are in the order of arrival by the second, so that no older one follows
        if selection.takes(entry):
            yield entry


def as_data(entry: QueueEntry) -> dict[str, object]:
    """An entry for `--json`; times in seconds since the epoch."""
    return {
        "message_id": entry.message_id,
        "sender": str(entry.sender),
        "received_at": entry.received_at,
        "size": entry.size,
        "frozen": entry.frozen,
        "due": entry.due,
        "recipients": [queue_show.recipient_as_data(each) for each in entry.recipients],
    }


def as_rows(entry: QueueEntry, now: float) -> Iterator[tuple[str, ...]]:
    """A row for each recipient that waits; the message's own columns stand in the first."""
    pending = [each for each in entry.recipients if each.state is RecipientState.PENDING]
    columns: tuple[str, ...] = (
        entry.message_id,
        span(now - entry.received_at),
        size(entry.size),
        next_try(entry, now),
        f"<{entry.sender}>",
    )
    for each in pending:
        yield (*columns, str(each.recipient.address), each.last_error)
        columns = ("",) * len(columns)
    if not pending:
        yield (*columns, "-", "")


def next_try(entry: QueueEntry, now: float) -> str:
    """When delivery is tried next, in words."""
    if entry.frozen:
        return "frozen"
    return "now" if entry.due <= now else f"in {span(entry.due - now)}"


def span(seconds: float) -> str:
    """A length of time in its largest unit, as Exim's queue listing has it."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 3 * 86400:
        return f"{whole // 3600}h"
    return f"{whole // 86400}d"


def size(octets: int) -> str:
    """A size as Exim's queue listing has it: octets, then K, then M."""
    if octets < 1024:
        return str(octets)
    if octets < 10 * 1024:
        return f"{octets / 1024:.1f}K"
    if octets < 1024 * 1024:
        return f"{octets // 1024}K"
    return f"{octets / 1024 / 1024:.1f}M"
