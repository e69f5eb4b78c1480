"""The server's side of a session: octets, answers and times in; events, octets and deadlines out (machine).

The edge gives it what arrives (`receive`), takes events (`next_event`) until there is none, sends what
`data_to_send` gives, and wakes it at `deadline`. An event is a notice or a question (`questions.py`); while a
question is open nothing further is parsed, so that pipelined commands get their replies in order and no
decision is overtaken. The machine owns order, limits, counts of errors and the offers in force. Who may send
what to whom is none of its business: that is what it asks.

Input never raises. A call that makes no sense (an answer without a question) is a mistake of ours and does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from relay.esmtp import commands, grammar
from relay.esmtp.commands import COMMANDS, HAPPENINGS, MOVES, Argument, Command, Counting, State
from relay.esmtp.data import DataFault, DataReader, LocalDataReader
from relay.esmtp.extensions import NO_OFFERS, Offers, declared_size
from relay.esmtp.lines import LineEnd, LineFault, LineReader
from relay.esmtp.questions import (
    AuthAsked,
    BodyPiece,
    Connected,
    DataAsked,
    EtrnAsked,
    ExpnAsked,
    HangUp,
    HelloGiven,
    MessageEnded,
    MessageSpoiled,
    Question,
    QuitGiven,
    RecipientGiven,
    SenderGiven,
    ServerEvent,
    TLSAsked,
    TransactionReset,
    Violation,
    VrfyAsked,
)
from relay.mail import reply as replies
from relay.mail.reply import Reply
from relay.mail.text import from_wire

_SHOWN = 200
"""How much of a bad line goes into replies and notices."""
_BDAT_NOT_OFFERED = replies.BAD_SEQUENCE.with_text("BDAT command used when CHUNKING not advertised")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The limits of a session. Times in seconds, sizes in octets."""

    line_limit: int = 4096
    """Of a command with its CRLF; RFC 5321 4.5.3.1.4 asks for 512, extensions add to that."""
    input_limit: int = 262144
    """More than this is not to be received while nothing is taken, see `Server.is_full`."""
    size_limit: int = 52428800
    """Exim: message_size_limit; 0 for none."""
    recipients_max: int = 1000
    """Exim: recipients_max; RFC 5321 4.5.3.1.8 asks for at least 100. 0 for no limit."""
    max_syntax_errors: int = 3
    """Exim: smtp_max_synprot_errors."""
    max_unknown: int = 3
    """Exim: smtp_max_unknown_commands."""
    max_nonmail: int = 10
    """Exim: smtp_accept_max_nonmail."""
    command_timeout: float = 300.0
    """For a whole command, from the reply before it: octets that trickle in do not prolong it."""
    data_timeout: float = 300.0
    """For the next octets of a message. RFC 5321 4.5.3.2.5."""
    enforce_sync: bool = True
    """Exim: smtp_enforce_sync. Input before the greeting ends the connection."""
    local: bool = False
    """A pipe or a terminal: LF ends a line, and there is nothing to synchronise."""
    helo_allow_chars: str = ""
    """Exim: helo_allow_chars."""


class Server:
    """One session, over as many TLS layers as it takes."""

    def __init__(self, settings: ServerSettings, now: float, tls: bool = False) -> None:
        """`tls`: the session starts inside a TLS layer (TLS on connect). The first event is `Connected`."""
        self._settings = settings
        self._lines = LineReader(settings.line_limit, LineEnd.LOCAL if settings.local else LineEnd.CRLF)
        self._events: deque[ServerEvent] = deque()
        self._out: list[bytes] = []
        self._state = State.CONNECTED
        self._question: Question | None = None
        self._command: Command | None = None
        self._tls = tls
        self._offers = NO_OFFERS
        self._enhanced = False
        self._reader: DataReader | None = None
        self._poison: Reply | None = None
        self._closing: str | None = None
        self._at_eof = False
        self._early = False
        self._waiting_since = now
        self._recipients = 0
        self._errors = 0
        self._unknown = 0
        self._nonmail = 0
        self._free = set(_FREE_ONCE)
        self._refused_last = False
        self._ask(Connected())

    # What the edge and the session look at

    @property
    def state(self) -> State:
        return self._state

    @property
    def open_question(self) -> Question | None:
        """The question that waits for `answer`; nothing is parsed as long as there is one."""
        return self._question

    @property
    def is_idle(self) -> bool:
        """Nothing is asked, told or half received."""
        return self._question is None and not self._events and not len(self._lines) and self._reader is None

    @property
    def is_full(self) -> bool:
        """Enough is buffered: do not read from the client before some of it was taken."""
        return len(self._lines) >= self._settings.input_limit

    @property
    def at_eof(self) -> bool:
        """The client has sent all that it will ever send."""
        return self._at_eof

    def deadline(self) -> float | None:
        """When `expire` is due; None while it is our turn, and during a handshake, whose time is not ours.

        It is our turn as well while the edge is busy with an event (storing a piece), which only it knows.
        """
        if self._question is not None or self._events or self._state in (State.CLOSED, State.SWITCHING):
            return None
        if self._state is State.DATA:
            return self._waiting_since + self._settings.data_timeout
        return self._waiting_since + self._settings.command_timeout

    def data_to_send(self) -> bytes:
        """The replies since the last call."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    # What happens

    def receive(self, data: bytes, now: float) -> None:
        """Octets of the client, of any number."""
        if self._state is State.CLOSED:
            return
        if self._state is State.CONNECTED:
            self._early = self._early or bool(data)
        elif self._state is State.DATA or not len(self._lines):
            # A command's time starts with its first octets at the latest, and not anew with the next ones.
            self._waiting_since = now
        self._lines.receive(data)

    def receive_eof(self) -> None:
        """The client sends no more. What it sent before is still obeyed, then the connection ends."""
        self._at_eof = True

    def expire(self, now: float) -> None:
        """Ends the session if its deadline has passed."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        in_data = self._state is State.DATA
        self._reply(replies.DATA_TIMED_OUT if in_data else replies.TIMED_OUT)
        self._hang_up("timed out")

    def layer_changed(self, now: float, tls: bool) -> None:
        """TLS came up or went away: nothing that was said before holds any more, RFC 3207 4.2.

        An open question is void, its decision to be given up. Octets and replies of the old layer are gone.
        """
        if self._state is State.CLOSED:
            return
        if self._in_transaction:
            self._events.append(TransactionReset())
        if self._state not in (State.CONNECTED, State.REFUSED):
            self._events = deque(
                each
                for each in self._events
                if each is not self._question and not isinstance(each, BodyPiece)
            )
            self._question = None
            self._state = HAPPENINGS[State.SWITCHING][commands.NEW_LAYER]
            # Exim: a greeting and an AUTH in the new layer are not counted.
            self._free |= {"EHLO", "HELO", "AUTH"}
        self._lines.clear()
        self._out.clear()
        self._reader = None
        self._tls, self._offers, self._enhanced = tls, NO_OFFERS, False
        self._recipients = 0
        self._waiting_since = now

    def switch_layer(self) -> bytes:
        """After 220 to STARTTLS: what came behind the STARTTLS line. It is the handshake's, never obeyed."""
        if self._state is not State.SWITCHING:
            raise RuntimeError("no STARTTLS was answered with 220")
        return self._lines.take()

    def poison(self, reply: Reply) -> None:
        """From now on every command but QUIT gets `reply` (after 454 to STARTTLS; Exim does so as well)."""
        self._poison = reply

    def close_after_reply(self, how: str = "dropped") -> None:
        """Ends the session: behind the answer to the open question, or now."""
        if self._question is not None:
            self._closing = how
        else:
            self._hang_up(how)

    def next_event(self) -> ServerEvent | None:
        """The next thing to know or to decide; None: more input is needed, or an answer."""
        while True:
            if self._events:
                return self._events.popleft()
            if self._question is not None or self._state is State.CLOSED:
                return None
            if not self._read():
                if not self._at_eof:
                    return None
                self._hang_up("lost")

    # Answers

    def answer(self, reply: Reply, offers: Offers | None = None, now: float | None = None) -> None:
        """The answer to the open question. 2xx (to `DataAsked` 354) moves the session on, others do not.

        `offers` go with a good answer to EHLO; their lines are put behind those of `reply`. The client's time
        for its next command runs from `now`, from its last input where that is not given.
        """
        question, self._question = self._question, None
        if question is None:
            raise RuntimeError("answered, and nothing was asked")
        if now is not None:
            self._waiting_since = max(now, self._waiting_since)
        match question:
            case Connected():
                self._answer_connected(reply)
            case HelloGiven():
                self._answer_hello(reply, question.extended, offers or NO_OFFERS)
            case MessageEnded():
                self._end_transaction()
                self._reply(reply)
            case DataAsked():
                if 200 <= reply.code < 300:
                    raise ValueError("DATA is answered with 354 or a refusal")
                self._move("DATA", reply)
            case SenderGiven() | RecipientGiven():
                self._refused_last = not reply.is_positive
                self._recipients += isinstance(question, RecipientGiven) and reply.is_positive
                self._move("RCPT" if isinstance(question, RecipientGiven) else "MAIL", reply)
            case TLSAsked():
                self._answer_starttls(reply)
            case QuitGiven():
                self._reply(reply)
                self._closing = "by QUIT"
            case VrfyAsked() | ExpnAsked() | EtrnAsked() | AuthAsked():
                self._reply(reply)
            case _ as never:
                assert_never(never)
        if self._closing or reply.code == 421:
            self._hang_up(self._closing or "closed by us")

    def _move(self, verb: str, reply: Reply) -> None:
        self._reply(reply)
        if reply.is_positive:
            self._state = MOVES[self._state][verb]
            if self._state is State.DATA:
                reader = LocalDataReader if self._settings.local else DataReader
                self._reader = reader(self._settings.size_limit)

    def _answer_connected(self, reply: Reply) -> None:
        if self._early and self._settings.enforce_sync and not self._settings.local:
            self._tell("synchronization error", self._lines.glimpse(_SHOWN))
            self._reply(replies.LOST_IN_PROTOCOL)
            self._hang_up("synchronization error")
            return
        self._reply(reply)
        happened = commands.GREETING if reply.is_positive else commands.NO_GREETING
        self._state = HAPPENINGS[State.CONNECTED][happened]

    def _answer_hello(self, reply: Reply, extended: bool, offers: Offers) -> None:
        if not reply.is_positive:
            self._reply(reply)
            return
        if self._in_transaction:
            self._events.append(TransactionReset())
        # RFC 2034 4: not in the reply to EHLO itself.
        self._enhanced = False
        if extended:
            if self._tls:
                offers = offers.without("STARTTLS")
            reply = reply.with_text(*reply.lines, *offers.lines())
        self._move("EHLO", reply)
        self._offers = offers if extended else NO_OFFERS
        self._enhanced = "ENHANCEDSTATUSCODES" in self._offers
        self._recipients = 0

    def _answer_starttls(self, reply: Reply) -> None:
        if reply.is_positive and self._in_transaction:
            self._events.append(TransactionReset())
        self._move("STARTTLS", reply)

    # Input

    def _read(self) -> bool:
        """Looks at some input; False where there is none to look at."""
        if self._reader is not None:
            return self._read_data(self._reader)
        return self._state is not State.SWITCHING and self._read_command()

    def _read_data(self, reader: DataReader) -> bool:
        data = self._lines.take()
        if not data:
            return False
        piece = reader.feed(data)
        if piece:
            self._events.append(BodyPiece(piece))
        if reader.ended:
            self._lines.put_back(reader.rest)
            self._reader = None
            if reader.fault is None:
                self._ask(MessageEnded(reader.size))
            else:
                self._refuse_message(reader.fault)
        return True

    def _refuse_message(self, fault: DataFault) -> None:
        match fault:
            case DataFault.BARE_LINE_END:
                reply = replies.BARE_LINE_END_IN_DATA
                self._tell("bare CR or LF in message data")
            case DataFault.TOO_BIG:
                reply = replies.MESSAGE_TOO_BIG
            case _ as never:
                assert_never(never)
        self._reply(reply)
        self._end_transaction()
        self._events.append(MessageSpoiled(reply))

    def _read_command(self) -> bool:
        line = self._lines.next_line()
        if line is None:
            return False
        if isinstance(line, LineFault):
            self._complain(_LINE_FAULTS[line], line.value)
            return True
        word, _, argument = line.rstrip(b" \t").partition(b" ")
        verb = word.upper().decode("ascii", "replace")
        command = COMMANDS.get(verb)
        refused_last, self._refused_last = self._refused_last, False
        if (self._poison or self._state is State.REFUSED) and verb != "QUIT":
            self._complain(self._poison or replies.BAD_SEQUENCE, "command after a refusal", line)
        elif command is None:
            self._refuse_unknown(line)
        elif not self._count(command):
            self._tell("too many nonmail commands", line)
            self._reply(replies.TOO_MANY_NONMAIL)
            self._hang_up("too many nonmail commands")
        elif verb not in MOVES[self._state] and command.verb != "BDAT":
            self._refuse_order(command, line, refused_last)
        else:
            self._obey(command, from_wire(argument.lstrip(b" ")), line)
        return True

    def _obey(self, command: Command, argument: str, line: bytes) -> None:
        if command.argument is Argument.NONE and argument:
            self._complain(replies.NO_ARGUMENTS_ALLOWED, "unexpected argument", line)
        elif command.argument is Argument.REQUIRED and not argument and command.verb not in ("MAIL", "RCPT"):
            self._complain(replies.BAD_ARGUMENTS, "argument missing", line)
        else:
            self._steps[command.verb](self, argument, line)

    def _refuse_unknown(self, line: bytes) -> None:
        self._unknown += 1
        if self._unknown > self._settings.max_unknown:
            self._tell("too many unrecognized commands", line)
            self._reply(replies.TOO_MANY_UNKNOWN)
            self._hang_up("too many unrecognized commands")
        else:
            self._complain(replies.UNRECOGNIZED, "unrecognized command", line)

    def _refuse_order(self, command: Command, line: bytes, refused_last: bool) -> None:
        reply = commands.refusal(self._state, command.verb)
        if refused_last and command.verb in ("RCPT", "DATA") and "PIPELINING" in self._offers:
            # RFC 2920 3.1: sent before the client could know of the refusal. No error of its own.
            self._refused_last = True
            self._reply(reply)
        else:
            self._complain(reply, reply.text, line)

    def _count(self, command: Command) -> bool:
        """False when there were too many commands that carry no mail."""
        if command.counting is Counting.MAIL:
            return True
        if command.verb in self._free:
            self._free.discard(command.verb)
            return True
        self._nonmail += 1
        return self._nonmail <= self._settings.max_nonmail

    # Commands, one step for each

    def _hello(self, argument: str, line: bytes, extended: bool) -> None:
        if grammar.is_hello_name(argument, self._settings.helo_allow_chars):
            self._ask(HelloGiven(argument, extended))
        else:
            self._complain(replies.BAD_ARGUMENTS, "malformed greeting name", line)

    def _ehlo(self, argument: str, line: bytes) -> None:
        self._hello(argument, line, True)

    def _helo(self, argument: str, line: bytes) -> None:
        self._hello(argument, line, False)

    def _starttls(self, argument: str, line: bytes) -> None:
        if self._tls:
            self._complain(replies.TLS_ALREADY_UP, "STARTTLS inside TLS", line)
        elif "STARTTLS" not in self._offers:
            self._complain(replies.TLS_NOT_ADVERTISED, "STARTTLS when not advertised", line)
        else:
            self._ask(TLSAsked())

    def _mail(self, argument: str, line: bytes) -> None:
        try:
            sender, parameters = grammar.read_mail(argument, "SMTPUTF8" in self._offers)
        except grammar.Malformed as error:
            self._refuse_path(argument, error, line)
            return
        if wrong := self._offers.wrong_mail_parameter(parameters):
            self._refused_last = True
            self._complain(wrong, wrong.text, line)
        elif 0 < self._settings.size_limit < declared_size(parameters):
            self._refused_last = True
            self._reply(replies.MESSAGE_TOO_BIG)
        else:
            self._ask(SenderGiven(sender, parameters))

    def _rcpt(self, argument: str, line: bytes) -> None:
        try:
            address, parameters = grammar.read_rcpt(argument, "SMTPUTF8" in self._offers)
        except grammar.Malformed as error:
            self._refuse_path(argument, error, line)
            return
        if wrong := self._offers.wrong_rcpt_parameter(parameters):
            self._refused_last = True
            self._complain(wrong, wrong.text, line)
        elif 0 < self._settings.recipients_max <= self._recipients:
            # RFC 5321 4.5.3.1.10: for now; the client sends the rest in another transaction.
            self._reply(replies.TOO_MANY_RECIPIENTS)
        else:
            self._ask(RecipientGiven(address, parameters))

    def _refuse_path(self, argument: str, error: grammar.Malformed, line: bytes) -> None:
        self._refused_last = True
        shown = argument.partition(":")[2].strip()[:_SHOWN]
        text = f"{shown}: {error.reason}" if shown else error.reason
        self._complain(replies.BAD_ARGUMENTS.with_text(text), error.reason, line)

    def _data(self, argument: str, line: bytes) -> None:
        self._ask(DataAsked())

    def _rset(self, argument: str, line: bytes) -> None:
        if self._in_transaction:
            self._events.append(TransactionReset())
            self._recipients = 0
        self._state = MOVES[self._state]["RSET"]
        self._reply(replies.RESET)

    def _noop(self, argument: str, line: bytes) -> None:
        self._reply(replies.OK)

    def _help(self, argument: str, line: bytes) -> None:
        offered = frozenset(keyword for keyword, _ in self._offers.items)
        self._reply(replies.HELP.with_text(replies.HELP.text, " ".join(commands.supported(offered))))

    def _vrfy(self, argument: str, line: bytes) -> None:
        self._ask(VrfyAsked(argument))

    def _expn(self, argument: str, line: bytes) -> None:
        self._ask(ExpnAsked(argument))

    def _etrn(self, argument: str, line: bytes) -> None:
        self._ask(EtrnAsked(argument))

    def _turn(self, argument: str, line: bytes) -> None:
        self._reply(replies.NOT_IMPLEMENTED)

    def _auth(self, argument: str, line: bytes) -> None:
        if "AUTH" not in self._offers:
            self._complain(replies.AUTH_NOT_ADVERTISED, "AUTH when not advertised", line)
            return
        mechanism, blank, initial = argument.partition(" ")
        self._ask(AuthAsked(mechanism.upper(), initial.strip() if blank else None))

    def _bdat(self, argument: str, line: bytes) -> None:
        # The chunk comes without waiting for a reply. As it is not to be read as commands, the session ends.
        self._tell("BDAT when not advertised", line)
        self._reply(_BDAT_NOT_OFFERED)
        self._hang_up("BDAT when not advertised")

    def _quit(self, argument: str, line: bytes) -> None:
        self._ask(QuitGiven())

    # The peer's word only ever selects a row of this table.
    _steps: ClassVar[Mapping[str, Callable[[Server, str, bytes], None]]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "VRFY": _vrfy,
        "EXPN": _expn,
        "HELP": _help,
        "NOOP": _noop,
        "QUIT": _quit,
        "STARTTLS": _starttls,
        "AUTH": _auth,
        "ETRN": _etrn,
        "TURN": _turn,
        "BDAT": _bdat,
    }

    # Small change

    @property
    def _in_transaction(self) -> bool:
        return self._state in _IN_TRANSACTION

    def _ask(self, question: Question) -> None:
        self._question = question
        self._events.append(question)

    def _tell(self, what: str, line: bytes = b"") -> None:
        self._events.append(Violation(what, from_wire(line[:_SHOWN])))

    def _reply(self, reply: Reply) -> None:
        self._out.append(reply.encode(self._enhanced))

    def _complain(self, reply: Reply, what: str, line: bytes = b"") -> None:
        """A syntax or protocol error: told, answered and counted."""
        self._tell(what, line)
        self._errors += 1
        if self._errors > self._settings.max_syntax_errors:
            self._reply(replies.TOO_MANY_SYNTAX_ERRORS)
            self._hang_up("too many syntax or protocol errors")
        else:
            self._reply(reply)

    def _end_transaction(self) -> None:
        self._state = HAPPENINGS[State.DATA][commands.END_OF_MESSAGE]
        self._recipients = 0
        # Exim: RSET, a greeting and STARTTLS are free once for each message.
        self._free = set(_FREE_ONCE)

    def _hang_up(self, how: str) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._question = None
        self._reader = None
        self._lines.clear()
        self._events.append(HangUp(how))


_IN_TRANSACTION = frozenset({State.SENDER, State.RECIPIENTS, State.DATA})
_FREE_ONCE = frozenset(verb for verb, each in COMMANDS.items() if each.counting is Counting.ONCE_A_MESSAGE)

_LINE_FAULTS: Mapping[LineFault, Reply] = {
    LineFault.TOO_LONG: replies.LINE_TOO_LONG,
    LineFault.BARE_LINE_END: replies.BARE_LINE_END,
    LineFault.NUL: replies.NULS_NOT_ALLOWED,
}
