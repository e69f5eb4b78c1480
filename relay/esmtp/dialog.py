"""The state of a server's session, and what every part of the server machine does to it (machine).

Questions, replies, notices, errors and endings all go through here. Who reads what is elsewhere: commands in
`server.py`, chunks in `chunked.py`. Outside the server machine nobody sees this.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

from relay.esmtp import commands
from relay.esmtp.chunks import Chunk
from relay.esmtp.commands import HAPPENINGS, MOVES, Command, State, Sync
from relay.esmtp.data import DataFault
from relay.esmtp.extensions import NO_OFFERS, Offers
from relay.esmtp.limits import ServerSettings, Tally
from relay.esmtp.lines import LineEnd, LineReader
from relay.esmtp.message_input import ChunkInput, LineInput, MessageInput
from relay.esmtp.questions import (
    Connected,
    DataAsked,
    HangUp,
    HelloGiven,
    MessageEnded,
    MessageSpoiled,
    Question,
    RecipientGiven,
    SenderGiven,
    ServerEvent,
    Transfer,
    Violation,
)
from relay.esmtp.steps import Standing
from relay.mail import reply as replies
from relay.mail.envelope import Parameters
from relay.mail.reply import Reply
from relay.mail.text import from_wire, printable

_SHOWN = 200
"""How much of a bad line goes into notices."""


class Dialog:
    """What is known and what is under way in one session."""

    def __init__(self, settings: ServerSettings, tls: bool) -> None:
        self.settings = settings
        self.lines = LineReader(settings.line_limit, LineEnd.LOCAL if settings.local else LineEnd.CRLF)
        self.events: deque[ServerEvent] = deque()
        self.out: list[bytes] = []
        self.state = State.CONNECTED
        self.question: Question | None = None
        self.command = b""
        """The last one, as it came."""
        self.standing = Standing(settings, tls)
        self.tally = Tally()
        self.enhanced = False
        self.in_exchange = False
        """An AUTH exchange waits for a response."""
        self.input: MessageInput | None = None
        """Where octets go that are not commands."""
        self.message: ChunkInput | None = None
        """The message in chunks that is under way."""
        self.chunk = Chunk(0)
        self.unprolonged = 0
        """Octets of a message since its time began anew."""
        self.refused_last = False
        """The last command was a MAIL or RCPT that was refused: its group may go on behind it."""
        self.refusal: tuple[str, ...] = ()
        """What refused the first RCPT of this transaction, as the reply to DATA shows it."""
        self.refusals_differ = False

    @property
    def in_transaction(self) -> bool:
        return self.state in _IN_TRANSACTION

    def ask(self, question: Question) -> None:
        self.question = question
        self.events.append(question)

    def tell(self, what: str, line: bytes = b"", *, is_syntax: bool = False) -> None:
        self.events.append(Violation(what, from_wire(line[:_SHOWN]), is_syntax))

    def reply(self, reply: Reply) -> None:
        utf8 = self.standing.sender.get("SMTPUTF8") is not None
        self.out.append(reply.encode(self.enhanced, utf8=utf8))

    def note_refusal(self, *lines: str) -> None:
        """A RCPT was refused, and in these words."""
        self.refusals_differ |= bool(self.refusal) and self.refusal != lines
        self.refusal = self.refusal or lines

    def complain(self, reply: Reply, what: str, line: bytes = b"") -> None:
        """A syntax or protocol error: told, answered and counted."""
        # RFC 5321 4.2.1: x0z is for syntax, and the first two of them for commands and their arguments. A MAIL without
        # an address Exim counts to the other kind.
        is_syntax = reply.code in (500, 501) and what != "MAIL must have an address operand"
        self.tell(what, line, is_syntax=is_syntax)
        if self.tally.is_last_error(self.settings):
            self.tell(_TOO_MANY_ERRORS, line)
            self.reply(reply.with_text(*reply.lines, replies.TOO_MANY_SYNTAX_ERRORS))
            self.hang_up(_TOO_MANY_ERRORS)
        else:
            self.reply(reply)

    def hang_up(self, how: str) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.question = None
        self.input = self.message = None
        self.lines.clear()
        self.events.append(HangUp(how))

    def move(self, verb: str, reply: Reply) -> None:
        self.reply(reply)
        if reply.is_positive:
            self.state = MOVES[self.state][verb]

    def expect(self, what: MessageInput) -> None:
        self.unprolonged = 0
        self.input = what

    def set_line_limit(self) -> None:
        settings = self.settings
        takes_auth = "AUTH" in self.standing.offers or settings.auth_unadvertised
        longest = settings.auth_line_limit if takes_auth else 0
        self.lines.limit = max(settings.line_limit, longest)

    def begin_session(self, tls: bool, kept: Offers = NO_OFFERS) -> None:
        """All is as at the start of a connection, but that `kept` is still offered."""
        standing = self.standing
        standing.tls, standing.offers, standing.authenticated = tls, kept, False
        self.in_exchange = False
        self.enhanced = "ENHANCEDSTATUSCODES" in kept
        self.set_line_limit()
        self.forget_transaction()

    def forget_transaction(self) -> None:
        self.message = None
        self.standing.recipients = 0
        self.standing.sender = _NO_PARAMETERS
        self.refusal, self.refusals_differ = (), False

    def end_transaction(self) -> None:
        self.state = HAPPENINGS[self.state][commands.END_OF_MESSAGE]
        self.forget_transaction()
        self.tally.message_ended()

    def end_message(self, message: LineInput | ChunkInput) -> None:
        if message.fault is None:
            self.ask(MessageEnded(message.size))
        else:
            reply = self.refusal_of(message.fault)
            self.end_transaction()
            self.reply(reply)
            self.events.append(MessageSpoiled(reply))

    def refusal_of(self, fault: DataFault) -> Reply:
        match fault:
            case DataFault.BARE_LINE_END:
                self.tell("bare CR or LF in message data")
                return replies.BARE_LINE_END_IN_DATA
            case DataFault.TOO_BIG:
                self.tell_too_big()
                return replies.MESSAGE_TOO_BIG
            case _ as never:
                assert_never(never)

    def tell_too_big(self) -> None:
        """What is read beyond the limit is not counted."""
        limit = self.settings.size_limit
        self.tell(f"message too big: read={limit + 1} max={limit}")

    def refuse_all(self, reply: Reply) -> None:
        """What is still to come is not worth reading, and can't be passed over otherwise."""
        if reply == replies.MESSAGE_TOO_BIG:
            self.tell_too_big()
        self.events.append(MessageSpoiled(reply))
        self.reply(reply)
        self.hang_up("message not read to its end")

    def refusal_now(self, verb: str, refused_last: bool) -> tuple[Reply, str]:
        """The reply to a command that is not legal now, and what it is called where it counts as an error."""
        reply = commands.refusal(self.state, verb)
        what = reply.text
        if refused_last and verb in _FORGIVEN and "PIPELINING" in self.standing.offers:
            # RFC 2920 3.1: sent before the client could know of the refusal. No error of its own.
            self.refused_last = True
            what = ""
        if self.state is State.SPOILED and verb == "BDAT" and "PIPELINING" in self.standing.offers:
            what = ""
        if reply in (replies.RECIPIENT_FIRST, replies.RECIPIENT_BEFORE_BDAT):
            if not what:
                reply = reply.with_text(reply.text[0].upper() + reply.text[1:])
            if self.refusal and not self.refusals_differ:
                reply = reply.with_text(replies.ALL_RECIPIENTS_REFUSED, *self.refusal, *reply.lines)
        elif verb == "RCPT":
            self.note_refusal(f"{reply.code} {reply.text}")
        return reply, what

    # Synchronisation

    def must_have_waited(self, question: Question) -> bool:
        """Whether a good answer to this must be read before anything more is sent (Exim: smtp_enforce_sync)."""
        if not self.settings.enforce_sync or self.settings.local:
            return False
        match question:
            case Connected() | HelloGiven() | DataAsked(Transfer.LINES):
                return True
            case SenderGiven() | RecipientGiven():
                return "PIPELINING" not in self.standing.offers
            case _:
                return False

    def is_out_of_sync(self, command: Command | None) -> bool:
        if not self.lines.has_input or not self.settings.enforce_sync or self.settings.local:
            return False
        match command.sync if command is not None else Sync.ALWAYS:
            case Sync.ALWAYS:
                return True
            case Sync.UNLESS_PIPELINING:
                return "PIPELINING" not in self.standing.offers
            case Sync.NEVER:
                return False
            case _ as never:
                assert_never(never)

    def lose_sync(self, at: Question | bytes, held_back: bytes = b"") -> None:
        """More came than the client could know to be wanted: it is not listening to us. `at`: the command, or the
        question that is made of the last one; `held_back`: what came and is not in `lines`."""
        if isinstance(at, Connected):
            what = "synchronization error"
        else:
            offered = "was" if "PIPELINING" in self.standing.offers else "was not"
            command = _shown(at if isinstance(at, bytes) else self.command)
            what = (
                f"synchronization error (next input sent too soon: pipelining {offered} advertised): "
                f'rejected "{command}"'
            )
        self.tell(what, (self.lines.glimpse(_SHOWN) + held_back)[:_SHOWN])
        self.reply(replies.LOST_IN_PROTOCOL)
        self.hang_up("synchronization error")


_IN_TRANSACTION = frozenset({State.SENDER, State.RECIPIENTS, State.DATA, State.CHUNK, State.CHUNKS})
_FORGIVEN = frozenset({"RCPT", "DATA", "BDAT"})
_NO_PARAMETERS = Parameters()
_MOST_OF_A_COMMAND = 512
_TOO_MANY_ERRORS = "too many syntax or protocol errors"


def _shown(line: bytes) -> str:
    """A command between quotation marks; of AUTH without the response, which may be a password."""
    words = line.split(b" ", 2)
    if words[0].upper() == b"AUTH":
        line = b" ".join(words[:2])
    return printable(from_wire(line).replace("\\", "\\\\").replace('"', '\\"'), _MOST_OF_A_COMMAND)
