"""`relay queue`: look at the messages that wait (edge).

The queue is read beside the running daemon, never through it: what is shown is what is on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from relay.cli.faults import Fault
from relay.cli.output import json_option, print_json, print_table
from relay.cli.reading import configuration_option, understand_configuration
from relay.mail.queue import QueueEntry, RecipientState
from relay.spool.sqlite import SQLiteStore

PAGE = 500


@click.group("queue")
def command() -> None:
    """Look at the messages that wait."""


@command.command(
    "list",
    epilog="""\b
Examples:
  relay queue list
  relay queue list --json
""",
)
@configuration_option
@json_option
def list_queue(configuration: Path, as_json: bool) -> None:
    """List the messages in the queue, oldest first."""
    store = open_store(configuration)
    try:
        entries = list(entries_of(store))
    finally:
        store.close_reading()
    now = time.time()
    if as_json:
        print_json([as_data(each) for each in entries])
    elif not entries:
        click.echo("the queue is empty")
    else:
        heads = ("MESSAGE", "AGE", "SIZE", "NEXT TRY", "FROM", "TO", "LAST ERROR")
        print_table(heads, [row for each in entries for row in as_rows(each, now)])


def open_store(configuration: Path, macros: Mapping[str, str] | None = None) -> SQLiteStore:
    """The queue that the daemon with this configuration has. Raises Fault, ConfigurationError."""
    queue = understand_configuration(configuration, macros).configuration.main.queue
    engine, _, place = queue.partition(":")
    if engine != "sqlite":
        raise Fault(f"queue = {queue}: this command reads sqlite: only", where=configuration)
    return SQLiteStore(Path(place))


def entries_of(store: SQLiteStore) -> Iterator[QueueEntry]:
    """All entries, a page at a time."""
    after = ""
    while page := store.read(lambda reading: reading.entries(PAGE, after)):  # noqa: B023 - read is done at once
        yield from page
        after = page[-1].message_id


def as_data(entry: QueueEntry) -> dict[str, object]:
    """An entry for `--json`; times in seconds since the epoch."""
    return {
        "message_id": entry.message_id,
        "sender": str(entry.sender),
        "received_at": entry.received_at,
        "size": entry.size,
        "frozen": entry.frozen,
        "due": entry.due,
        "recipients": [
            {
                "address": str(each.recipient.address),
                "state": each.state.value,
                "attempts": each.attempts,
                "last_error": each.last_error,
            }
            for each in entry.recipients
        ],
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
