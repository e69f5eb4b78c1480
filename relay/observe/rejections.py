"""How a log line shows what was rejected: a command, those before it, the header of a message (machine)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.mail.events import BY_NON_SMTP_ACL, CommandRejected, ConnectionRefused, ProtocolViolated
from relay.mail.facts import SessionFacts
from relay.mail.text import printable
from relay.observe.words import free, mailbox, of_addresses, quoted

# Exim's letters for fields that it knows.
_FIELD_TYPES = {
    "bcc": "B",
    "cc": "C",
    "from": "F",
    "message-id": "I",
    "received": "P",
    "reply-to": "R",
    "sender": "S",
    "to": "T",
}
# Verbs that a line has at most; Exim: SMTP_HBUFF_SIZE.
_HISTORY = 20


def last_command(what: str, event: ProtocolViolated) -> str:
    """Exim shows the verb alone where only the number of commands is wrong."""
    command = event.input
    if "syntax" in what.lower():
        return f" (last command was {quoted(command, 128)}, {history(event.commands)})"
    if "nonmail" in what:
        command = command.split(None, 1)[0] if command.split() else ""
    return f" (last was {quoted(command, 128)})"


def history(commands: tuple[str, ...]) -> str:
    """` C=` with the verbs of the last commands; Exim keeps twenty of them."""
    if not commands:
        return ""
    return f" C={'...' if len(commands) >= _HISTORY else ''}{','.join(commands)}"


def field_lines(field: str) -> list[str]:
    """A field with its type in front, printable line by line."""
    first, *others = field.split("\n")
    kind = _FIELD_TYPES.get(first.partition(":")[0].strip().lower(), " ")
    folded = ("\t" if other.startswith("\t") else " " for other in others)
    return [
        f"{kind} {printable(first.rstrip())}",
        *(f"{blank}{printable(other[1:].rstrip())}" for blank, other in zip(folded, others, strict=True)),
    ]


def _bad_greeting(command: str, client: str) -> str:
    verb, _, name = command.partition(" ")
    shown = free(name.strip()) or "(no argument given)"
    return f"rejected {free(verb.upper())} from {client[2:]}: syntactically invalid argument(s): {shown}"


def _early_xclient(command: str, client: str) -> str:
    return f"rejected XCLIENT from {client[2:]}: mail transaction in progress"


# Lines that begin with what was rejected, by the violation; from the command and the client.
REJECTED: Mapping[str, Callable[[str, str], str]] = {
    "malformed greeting name": _bad_greeting,
    "mail transaction in progress": _early_xclient,
    "no HELO/EHLO given": lambda command, client: f"rejected MAIL from {client[2:]}: no HELO/EHLO given",
    "unknown greeting": lambda command, client: f'temporarily rejected "{free(command)}" from {client[2:]}',
    "untrue greeting": lambda command, client: f'rejected "{free(command)}" from {client[2:]}',
    "too many messages": lambda command, client: f"rejected MAIL command {client}: too many messages in one connection",
}


def too_big(event: ProtocolViolated, client: str) -> str:
    """A message over the limit, by what MAIL says of it or by what was read."""
    sender = mailbox(event.input)
    if event.message_id:
        return f"rejected from <{sender}> {client}: {free(event.what)}"
    return f"rejected MAIL FROM:<{sender}> {client}: {free(event.what)}"


def what_happened(event: CommandRejected) -> str:
    """The middle of the line. A port where TLS begins at once drops who may not connect without a word."""
    if _is_dropped(event.session) and event.command.startswith("connection "):
        return "dropped by 'connect' ACL"
    # A program is told no code that could say it.
    is_for_now = event.temporary and event.command != BY_NON_SMTP_ACL
    return f"{'temporarily rejected' if is_for_now else 'rejected'} {of_addresses(event.command)}"


def turned_away(event: ConnectionRefused, host: str) -> str:
    """The whole line of a client that was not even asked for its name; `host` is its `H=`."""
    if _is_dropped(event.session) and not event.temporary:
        return f"{host} dropped by {free(event.why)}"
    refused = "temporarily refused" if event.temporary else "refused"
    return f"{refused} connection from {host[2:]} ({free(event.why)})"


def _is_dropped(session: SessionFacts) -> bool:
    return session.tls_on_connect and session.tls is None
