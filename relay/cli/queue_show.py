"""`relay queue show`: all that is known of one message (edge)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from relay.cli.faults import Fault
from relay.cli.message_log import log_lines
from relay.cli.output import json_option, print_json
from relay.cli.queue_places import open_reading, place_of, place_options
from relay.cli.spool_form import unix_lines
from relay.mail.facts import NotAsked, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.header import split_header
from relay.mail.queue import QueuedMessage, QueuedRecipient
from relay.mail.text import from_wire, printable


@click.command(
    "show",
    epilog="""\b
Examples:
  relay queue show 1wJ0Ab-0AbCdEfGhIj-00AB
  relay queue show --body 1wJ0Ab-0AbCdEfGhIj-00AB
  relay queue show --json 1wJ0Ab-0AbCdEfGhIj-00AB
""",
)
@place_options
@click.argument("message_id", metavar="ID")
@click.option("--body", is_flag=True, help="Print the text of the message as well, as it is.")
@json_option
def show(configuration: Path, macros: Mapping[str, str], message_id: str, body: bool, as_json: bool) -> None:
    """Show a message: envelope, how it came here, header, what was tried.

    The log lines are those of the main log, where you may read it.
    """
    place = place_of(configuration, macros)
    with open_reading(configuration, macros) as queue:
        message = queue.message(message_id)
        if message is None:
            raise Fault(f"{printable(message_id)}: no such message in the queue", remedy="see: relay queue list")
        log = [from_wire(line).rstrip("\n") for line in log_lines(place, message_id)]
        if as_json:
            data = as_data(message, log)
            if body:
                data["body"] = from_wire(b"".join(queue.pieces(message_id)))
            print_json(data)
            return
        for line in as_lines(message, log, time.time()):
            click.echo(line)
        if body:
            click.echo()
            sys.stdout.flush()
            sys.stdout.buffer.writelines(unix_lines(queue.pieces(message_id)))


COMMANDS = (show,)


def recipient_as_data(queued: QueuedRecipient) -> dict[str, object]:
    """A recipient for `--json`."""
    return {
        "address": str(queued.recipient.address),
        "state": queued.state.value,
        "attempts": queued.attempts,
        "last_error": queued.last_error,
    }


def as_data(message: QueuedMessage, log: list[str]) -> dict[str, Any]:
    """A message for `--json`; times in seconds since the epoch."""
    fields, _ = split_header(message.header)
    return {
        "message_id": message.message_id,
        "sender": str(message.sender),
        "parameters": dict(message.parameters.items),
        "body_type": message.body_type.value,
        "received_at": message.facts.received_at,
        "size": message.size,
        "frozen": message.frozen,
        "due": message.due,
        "attempts": message.attempts,
        "warnings": message.warnings,
        "recipients": [
            {
                **recipient_as_data(each),
                "parameters": dict(each.recipient.parameters.items),
                "first_failed": each.first_failed,
                "done": list(each.done),
            }
            for each in message.recipients
        ],
        "reception": {name: value for name, value in _reception(message.facts.session) if value},
        "header": [{"name": each.name, "value": from_wire(each.value)} for each in fields],
        "log": log,
    }


def as_lines(message: QueuedMessage, log: list[str], now: float) -> Iterator[str]:
    """A message for people."""
    yield f"{message.message_id}  from <{printable(str(message.sender))}>, {message.size} octets"
    state = "frozen" if message.frozen else "due now" if message.due <= now else f"due at {_moment(message.due)}"
    yield f"  received {_moment(message.facts.received_at)}, {state}, {message.attempts} attempts"
    yield ""
    yield "Recipients"
    for each in message.recipients:
        tried = f", tried {each.attempts} times" if each.attempts else ""
        yield f"  {printable(str(each.recipient.address))}: {each.state.value}{tried}"
        if each.last_error:
            yield f"    {printable(each.last_error)}"
    yield ""
    yield "Reception"
    pairs = [(name, value) for name, value in _reception(message.facts.session) if value]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        yield f"  {name:<{width}}  {printable(value)}"
    yield ""
    yield "Header"
    for line in message.header.split(b"\r\n")[:-1]:
        yield f"  {printable(from_wire(line))}"
    if log:
        yield ""
        yield "Log"
        for text in log:
            yield f"  {printable(text)}"


def _reception(session: SessionFacts) -> list[tuple[str, str]]:
    return [
        ("protocol", session.protocol()),
        ("host", session.peer_host),
        ("address", str(session.peer) if session.peer is not None else ""),
        ("interface", str(session.local) if session.local is not None else ""),
        ("helo", session.hello.name if session.hello is not None else ""),
        ("user", session.user),
        ("authenticator", session.authentication.authenticator if session.authentication is not None else ""),
        ("identity", session.authentication.identity if session.authentication is not None else ""),
        ("device", session.peer_name),
        *(_tls(session.tls) if session.tls is not None else []),
    ]


def _tls(tls: TLSFacts) -> list[tuple[str, str]]:
    match tls.verification:
        case Verified(by):
            verified = f"yes, by {by}"
        case Unverified(reason):
            verified = f"no: {reason}"
        case NotAsked():
            verified = "not asked for"
    return [
        ("tls", f"{tls.version} {tls.suite}"),
        ("certificate", tls.peer.subject if tls.peer is not None else ""),
        ("fingerprint", tls.peer.fingerprint if tls.peer is not None else ""),
        ("verified", verified),
    ]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
