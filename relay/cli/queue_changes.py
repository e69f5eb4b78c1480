"""`relay queue hold, release, bounce, remove, retry-now, edit`: what becomes of messages (edge)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from relay.cli.faults import Fault
from relay.cli.output import json_option, print_json
from relay.cli.queue_places import open_changing, place_options
from relay.daemon.orders import Answer, Order, Outcome, Verb
from relay.mail.text import printable

_IDS = click.argument("message_ids", metavar="ID...", nargs=-1, required=True)


@click.command("hold", epilog="\b\nExample:\n  relay queue hold 1wJ0Ab-0AbCdEfGhIj-00AB\n")
@place_options
@_IDS
@json_option
def hold(configuration: Path, macros: Mapping[str, str], message_ids: Sequence[str], as_json: bool) -> None:
    """Freeze messages: they are not delivered until they are released."""
    _change(configuration, macros, [Order(Verb.FREEZE, each) for each in message_ids], as_json)


@click.command("release", epilog="\b\nExample:\n  relay queue release 1wJ0Ab-0AbCdEfGhIj-00AB\n")
@place_options
@_IDS
@json_option
def release(configuration: Path, macros: Mapping[str, str], message_ids: Sequence[str], as_json: bool) -> None:
    """Thaw frozen messages: they are tried again at once."""
    _change(configuration, macros, [Order(Verb.THAW, each) for each in message_ids], as_json)


@click.command("retry-now", epilog="\b\nExample:\n  relay queue retry-now 1wJ0Ab-0AbCdEfGhIj-00AB\n")
@place_options
@_IDS
@json_option
def retry_now(configuration: Path, macros: Mapping[str, str], message_ids: Sequence[str], as_json: bool) -> None:
    """Let the daemon try messages at once; do not wait for it. One that is frozen stays so."""
    _change(configuration, macros, [Order(Verb.MAKE_DUE, each) for each in message_ids], as_json)


@click.command("bounce", epilog="\b\nExample:\n  relay queue bounce 1wJ0Ab-0AbCdEfGhIj-00AB\n")
@place_options
@_IDS
@json_option
def bounce(configuration: Path, macros: Mapping[str, str], message_ids: Sequence[str], as_json: bool) -> None:
    """Give messages up: their senders get a report."""
    _change(configuration, macros, [Order(Verb.GIVE_UP, each) for each in message_ids], as_json)


@click.command("remove", epilog="\b\nExample:\n  relay queue remove 1wJ0Ab-0AbCdEfGhIj-00AB\n")
@place_options
@_IDS
@json_option
def remove(configuration: Path, macros: Mapping[str, str], message_ids: Sequence[str], as_json: bool) -> None:
    """Delete messages; nobody is told."""
    _change(configuration, macros, [Order(Verb.REMOVE, each) for each in message_ids], as_json)


@click.command(
    "edit",
    epilog="""\b
Examples:
  relay queue edit 1wJ0Ab-0AbCdEfGhIj-00AB --add you@example.org
  relay queue edit 1wJ0Ab-0AbCdEfGhIj-00AB --delivered you@example.org
  relay queue edit 1wJ0Ab-0AbCdEfGhIj-00AB --sender me@example.org
""",
)
@place_options
@click.argument("message_id", metavar="ID")
@click.option("--add", multiple=True, metavar="ADDRESS", help="A further recipient; may be repeated.")
@click.option("--delivered", multiple=True, metavar="ADDRESS", help="A recipient that needs no delivery; the same.")
@click.option("--sender", metavar="ADDRESS", help="Another envelope sender; <> for none.")
@json_option
def edit(
    configuration: Path,
    macros: Mapping[str, str],
    message_id: str,
    add: Sequence[str],
    delivered: Sequence[str],
    sender: str | None,
    as_json: bool,
) -> None:
    """Change the envelope of a message."""
    orders = []
    if add:
        orders.append(Order(Verb.ADD_RECIPIENTS, message_id, tuple(add)))
    if delivered:
        orders.append(Order(Verb.MARK_DELIVERED, message_id, tuple(delivered)))
    if sender is not None:
        orders.append(Order(Verb.SET_SENDER, message_id, (sender,)))
    if not orders:
        raise click.UsageError("nothing to change: give --add, --delivered or --sender")
    _change(configuration, macros, orders, as_json)


COMMANDS = (hold, release, retry_now, bounce, remove, edit)


def _change(configuration: Path, macros: Mapping[str, str], orders: Sequence[Order], as_json: bool) -> None:
    """Carries the orders out; what could not be done is one line each. Raises Fault."""
    with open_changing(configuration, macros) as queue:
        answers = queue.carry_out(orders)
    said = [(order, answer, words(order, answer)) for order, answer in zip(orders, answers, strict=True)]
    if as_json:
        print_json(
            [
                {"message_id": order.message_id, "outcome": answer.outcome.value, "text": text}
                for order, answer, text in said
            ]
        )
    failed = []
    for order, answer, text in said:
        line = f"{printable(order.message_id)}: {text}"
        if answer.outcome is not Outcome.DONE:
            failed.append(line)
        elif not as_json:
            click.echo(line)
    if failed:
        raise Fault("\n".join(failed))


def words(order: Order, answer: Answer) -> str:
    """What became of an order, for people, on one line."""
    match answer.outcome:
        case Outcome.DENIED:
            return "you may not (run it as root, or as a member of one of admin_groups)"
        case Outcome.LOCKED:
            return "is being delivered (try again when the attempt is over)"
        case Outcome.MISSING:
            return "no such message in the queue (see: relay queue list)"
        case Outcome.DONE | Outcome.REFUSED:
            text = answer.text or ("was given up" if order.verb is Verb.GIVE_UP else "was tried")
            return printable(" ".join(text.removeprefix("- ").split()))
