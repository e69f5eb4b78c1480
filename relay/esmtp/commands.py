"""The commands of SMTP: what each takes, where it is legal, what it leads to (machine).

Everything that a server knows about order stands in two tables. `COMMANDS` has one row for each verb;
`MOVES` says for each state which verbs are legal and where a good answer to them leads. The server machine
looks things up here and has no other opinion on order; `diagram` prints the tables for the documentation.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from relay.mail import reply
from relay.mail.reply import Reply


class State(enum.Enum):
    """Where a server's session stands. RFC 5321 4.1.4."""

    CONNECTED = "connected"
    """The greeting is not sent yet."""
    REFUSED = "refused"
    """The greeting was a refusal: nothing but QUIT, RFC 5321 3.1."""
    GREETED = "greeted"
    """EHLO or HELO is awaited; so after every change of the TLS layer."""
    READY = "ready"
    SENDER = "sender"
    RECIPIENTS = "recipients"
    """At least one recipient was accepted."""
    DATA = "data"
    """354 was answered: what comes is the message, to its true end."""
    CHUNK = "chunk"
    """BDAT was given: what comes is a chunk, so many octets. RFC 3030 2."""
    CHUNKS = "chunks"
    """Between two chunks of a message."""
    SPOILED = "spoiled"
    """A chunk was refused: what may still come of its message is thrown away."""
    SWITCHING = "switching"
    """220 to STARTTLS was answered: what comes belongs to the handshake."""
    CLOSED = "closed"


class Argument(enum.Enum):
    """What may stand behind a verb."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Counting(enum.Enum):
    """How a command counts against the limit for those without mail (Exim: smtp_accept_max_nonmail)."""

    MAIL = "mail"
    ONCE_A_MESSAGE = "one free for each message"
    NONMAIL = "nonmail"


class Sync(enum.Enum):
    """Whether a client must wait for the reply before it sends more (Exim: smtp_enforce_sync; RFC 2920 3.1)."""

    ALWAYS = "always"
    UNLESS_PIPELINING = "where PIPELINING is not offered"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table of verbs."""

    verb: str
    argument: Argument
    counting: Counting
    sync: Sync
    note: str
    """For people: what the command is, with its RFC."""


COMMANDS: Mapping[str, Command] = {
    each.verb: each
    for each in (
        Command("EHLO", Argument.REQUIRED, Counting.ONCE_A_MESSAGE, Sync.ALWAYS, "greeting, RFC 5321 4.1.1.1"),
        Command("HELO", Argument.REQUIRED, Counting.ONCE_A_MESSAGE, Sync.ALWAYS, "greeting, RFC 5321 4.1.1.1"),
        Command("MAIL", Argument.REQUIRED, Counting.MAIL, Sync.UNLESS_PIPELINING, "sender, RFC 5321 4.1.1.2"),
        Command("RCPT", Argument.REQUIRED, Counting.MAIL, Sync.UNLESS_PIPELINING, "recipient, RFC 5321 4.1.1.3"),
        Command("DATA", Argument.NONE, Counting.MAIL, Sync.ALWAYS, "message, RFC 5321 4.1.1.4"),
        Command("RSET", Argument.NONE, Counting.ONCE_A_MESSAGE, Sync.UNLESS_PIPELINING, "reset, RFC 5321 4.1.1.5"),
        Command("VRFY", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "verify a name, RFC 5321 4.1.1.6"),
        Command("EXPN", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "expand a list, RFC 5321 4.1.1.7"),
        Command("HELP", Argument.OPTIONAL, Counting.NONMAIL, Sync.NEVER, "RFC 5321 4.1.1.8"),
        Command("NOOP", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "RFC 5321 4.1.1.9"),
        Command("QUIT", Argument.NONE, Counting.MAIL, Sync.NEVER, "RFC 5321 4.1.1.10"),
        Command("STARTTLS", Argument.NONE, Counting.ONCE_A_MESSAGE, Sync.ALWAYS, "RFC 3207 4"),
        Command("AUTH", Argument.REQUIRED, Counting.ONCE_A_MESSAGE, Sync.NEVER, "RFC 4954 4"),
        Command("ETRN", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "RFC 1985"),
        Command("TURN", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "refused, RFC 5321 F.1"),
        Command("BDAT", Argument.REQUIRED, Counting.MAIL, Sync.NEVER, "message in chunks, RFC 3030 2"),
        Command("XCLIENT", Argument.OPTIONAL, Counting.NONMAIL, Sync.ALWAYS, "for whom a proxy speaks; Postfix's"),
    )
}

_ANYWHERE = ("RSET", "NOOP", "HELP", "VRFY", "EXPN", "TURN", "STARTTLS")


def _moves(state: State, others: Mapping[str, State]) -> Mapping[str, State]:
    """Legal verbs of a state: those that are legal anywhere leave it as it is, unless `others` says more."""
    return {**dict.fromkeys(_ANYWHERE, state), "QUIT": State.CLOSED, **others}


_GREETINGS = {"EHLO": State.READY, "HELO": State.READY}
_SESSION = {"AUTH": State.READY, "ETRN": State.READY, "XCLIENT": State.GREETED}
_RESETS = {"RSET": State.READY, "STARTTLS": State.SWITCHING}

MOVES: Mapping[State, Mapping[str, State]] = {
    State.CONNECTED: {},
    State.REFUSED: {"QUIT": State.CLOSED},
    State.GREETED: _moves(State.GREETED, {**_GREETINGS, "STARTTLS": State.SWITCHING, "ETRN": State.GREETED}),
    State.READY: _moves(State.READY, {**_GREETINGS, **_RESETS, "MAIL": State.SENDER, **_SESSION}),
    State.SENDER: _moves(State.SENDER, {**_GREETINGS, **_RESETS, "RCPT": State.RECIPIENTS}),
    State.RECIPIENTS: _moves(
        State.RECIPIENTS,
        {**_GREETINGS, **_RESETS, "RCPT": State.RECIPIENTS, "DATA": State.DATA, "BDAT": State.CHUNK},
    ),
    State.DATA: {},
    State.CHUNK: {},
    State.CHUNKS: {
        **_GREETINGS,
        "RSET": State.READY,
        "NOOP": State.CHUNKS,
        "QUIT": State.CLOSED,
        "BDAT": State.CHUNK,
    },
    State.SPOILED: {**_GREETINGS, "RSET": State.READY, "QUIT": State.CLOSED},
    State.SWITCHING: {},
    State.CLOSED: {},
}

# What moves a session besides a command that got a good answer.
GREETING, NO_GREETING, END_OF_MESSAGE, END_OF_CHUNK, BAD_CHUNK, NEW_LAYER = (
    "(greeting 220)",
    "(any other greeting)",
    "(end of message)",
    "(end of chunk)",
    "(refusal of a chunk)",
    "(change of the TLS layer)",
)
HAPPENINGS: Mapping[State, Mapping[str, State]] = {
    State.CONNECTED: {GREETING: State.GREETED, NO_GREETING: State.REFUSED},
    State.DATA: {END_OF_MESSAGE: State.READY},
    State.CHUNK: {END_OF_CHUNK: State.CHUNKS, BAD_CHUNK: State.SPOILED, END_OF_MESSAGE: State.READY},
    State.SPOILED: {END_OF_MESSAGE: State.READY},
    State.SWITCHING: {NEW_LAYER: State.GREETED},
}

_OUT_OF_ORDER: Mapping[tuple[State, str], Reply] = {
    (State.GREETED, "AUTH"): reply.AUTH_NOT_ADVERTISED,
    (State.GREETED, "XCLIENT"): reply.XCLIENT_NOT_ADVERTISED,
    (State.READY, "RCPT"): reply.SENDER_FIRST,
    (State.GREETED, "RCPT"): reply.SENDER_FIRST,
    (State.GREETED, "DATA"): reply.RECIPIENT_FIRST,
    (State.READY, "DATA"): reply.RECIPIENT_FIRST,
    (State.SENDER, "DATA"): reply.RECIPIENT_FIRST,
    (State.READY, "BDAT"): reply.RECIPIENT_BEFORE_BDAT,
    (State.SENDER, "BDAT"): reply.RECIPIENT_BEFORE_BDAT,
    **{
        (state, verb): answer
        for state in (State.SENDER, State.RECIPIENTS)
        for verb, answer in (
            ("MAIL", reply.SENDER_ALREADY),
            ("AUTH", reply.AUTH_IN_TRANSACTION),
            ("ETRN", reply.ETRN_IN_TRANSACTION),
            ("XCLIENT", reply.XCLIENT_IN_TRANSACTION),
        )
    },
}
_IN_CHUNKS: Mapping[State, Reply] = {State.CHUNKS: reply.ONLY_BDAT, State.SPOILED: reply.ONLY_RSET}


# The verbs of HELP, as Exim lists them: AUTH and BDAT always, some others where EHLO offers them.
_HELP_ALWAYS = ["HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "NOOP", "QUIT", "RSET", "HELP"]
_HELP_BEHIND = ("ETRN", "EXPN", "VRFY", "XCLIENT")


def refusal(state: State, verb: str) -> Reply:
    """The reply to a command that is not legal now."""
    if found := _OUT_OF_ORDER.get((state, verb)) or _IN_CHUNKS.get(state):
        return found
    return reply.HELLO_FIRST if state is State.GREETED else reply.BAD_SEQUENCE


def supported(offered: frozenset[str]) -> tuple[str, ...]:
    """The verbs that HELP names, RFC 5321 4.1.1.8: those of an extension only where it is offered."""
    tls = ("STARTTLS",) if "STARTTLS" in offered else ()
    return ("AUTH", *tls, *_HELP_ALWAYS, *(verb for verb in _HELP_BEHIND if verb in offered))


def diagram() -> str:
    """The tables as text: under each state what leads out of it, and the commands that leave it as it is."""
    lines = []
    for state in State:
        lines.append(state.value)
        moves = {**MOVES[state], **HAPPENINGS.get(state, {})}
        for target in State:
            names = [name for name, goal in moves.items() if goal is target]
            if names and target is not state:
                lines.append(f"    {' '.join(names)} -> {target.value}")
        stay = [name for name, goal in moves.items() if goal is state]
        if stay:
            lines.append(f"    {' '.join(stay)} stay")
    return "\n".join(lines) + "\n"
