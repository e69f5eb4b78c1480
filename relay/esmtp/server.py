"""The server's side of a session: octets, answers and times in; events, octets and deadlines out (machine).

The edge gives it what arrives (`receive`), takes events (`next_event`) until there is none, sends what
`data_to_send` gives, and wakes it at `deadline`. An event is a notice or a question (`questions.py`); while a
question is open nothing further is parsed, so that pipelined commands get their replies in order and no
decision is overtaken. The machine owns order, limits, counts of errors and the offers in force. Who may send
what to whom is none of its business: that is what it asks.

What a command comes to is in `steps.py`, how a message is read in `message_input.py` and `chunked.py`, what is
counted in `limits.py`; what they all work on is in `dialog.py`. Input never raises. A call that makes no sense (an
answer without a question) is a mistake of ours and does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import assert_never

from relay.esmtp import commands
from relay.esmtp.chunked import ChunkedTransfer
from relay.esmtp.commands import COMMANDS, HAPPENINGS, MOVES, Argument, Command, State
from relay.esmtp.dialog import Dialog
from relay.esmtp.extensions import NO_OFFERS, Offers, declared_body
from relay.esmtp.limits import ServerSettings
from relay.esmtp.lines import LineFault
from relay.esmtp.message_input import ChunkInput, LineInput, MessageInput, SkippedChunk
from relay.esmtp.questions import (
    AuthAborted,
    AuthAsked,
    AuthResponse,
    BodyPiece,
    CommandRead,
    Connected,
    DataAsked,
    EtrnAsked,
    ExpnAsked,
    HelloGiven,
    MessageEnded,
    Question,
    QuitGiven,
    RecipientGiven,
    SenderGiven,
    ServerEvent,
    TLSAsked,
    TransactionReset,
    Transfer,
    VrfyAsked,
    XclientGiven,
)
from relay.esmtp.steps import READS_EIGHT_BIT, STEPS, Fault, told_too_big
from relay.mail import reply as replies
from relay.mail.envelope import BodyType, Parameters
from relay.mail.reply import Reply
from relay.mail.text import from_wire

__all__ = ["Server", "ServerSettings"]


class Server:
    """One session, over as many TLS layers as it takes."""

    def __init__(self, settings: ServerSettings, now: float, tls: bool = False) -> None:
        """`tls`: the session starts inside a TLS layer (TLS on connect). The first event is `Connected`."""
        self._dialog = Dialog(settings, tls)
        self._chunked = ChunkedTransfer(self._dialog)
        self._poison: Reply | None = None
        self._closing: str | None = None
        self._at_eof = False
        self._is_ahead = False
        self._held_back = b""
        self._waiting_since = now
        self._dialog.ask(Connected())

    # What the edge and the session look at

    @property
    def state(self) -> State:
        return self._dialog.state

    @property
    def settings(self) -> ServerSettings:
        return self._dialog.settings

    @property
    def open_question(self) -> Question | None:
        """The question that waits for `answer`; nothing is parsed as long as there is one."""
        return self._dialog.question

    @property
    def is_idle(self) -> bool:
        """Nothing is asked, told or half received."""
        dialog = self._dialog
        is_reading = dialog.lines.has_input or dialog.input is not None or dialog.message is not None
        return dialog.question is None and not dialog.events and not is_reading

    @property
    def has_input(self) -> bool:
        """Something has come that was not obeyed yet."""
        return self._dialog.lines.has_input

    @property
    def is_full(self) -> bool:
        """Enough is buffered: do not read from the client before some of it was taken."""
        return len(self._dialog.lines) >= self._dialog.settings.input_limit

    @property
    def at_eof(self) -> bool:
        """The client has sent all that it will ever send."""
        return self._at_eof

    def deadline(self) -> float | None:
        """When `expire` is due; None while it is our turn, and during a handshake, whose time is not ours.

        It is our turn as well while the edge is busy with an event (storing a piece), which only it knows.
        """
        dialog = self._dialog
        if dialog.question is not None or dialog.events or dialog.state in (State.CLOSED, State.SWITCHING):
            return None
        if dialog.input is not None:
            return self._waiting_since + self._dialog.settings.data_timeout
        return self._waiting_since + self._dialog.settings.command_timeout

    def data_to_send(self) -> bytes:
        """The replies since the last call."""
        if not self._dialog.out:
            return b""
        data = self._dialog.out[0] if len(self._dialog.out) == 1 else b"".join(self._dialog.out)
        self._dialog.out.clear()
        return data

    # What happens

    def use(self, settings: ServerSettings) -> None:
        """Other limits from now on, for this client. What kind of line ends a line does not change."""
        self._dialog.settings = self._dialog.standing.settings = settings
        self._dialog.set_line_limit()

    def more_waits(self, octets: bytes = b"") -> None:
        """The edge holds octets back that came while a question is open: the client did not wait for its reply."""
        if self._dialog.question is not None:
            self._is_ahead, self._held_back = True, octets

    def receive(self, data: bytes, now: float) -> None:
        """Octets of the client, of any number."""
        if self._dialog.state is State.CLOSED:
            return
        if self._dialog.input is not None:
            self._dialog.unprolonged += len(data)
            if self._dialog.unprolonged >= self._dialog.settings.data_step:
                self._dialog.unprolonged = 0
                self._waiting_since = now
        elif not len(self._dialog.lines) and self._dialog.state is not State.CONNECTED:
            # A command's time starts with its first octets at the latest, and not anew with the next ones.
            self._waiting_since = now
        self._dialog.lines.receive(data)

    def receive_eof(self) -> None:
        """The client sends no more. What it sent before is still obeyed, then the connection ends."""
        self._at_eof = True

    def expire(self, now: float) -> None:
        """Ends the session if its deadline has passed."""
        deadline = self.deadline()
        if deadline is not None and now >= deadline:
            self.time_out()

    def time_out(self) -> None:
        """Ends the session: the client has kept us waiting, be it in a handshake."""
        said = replies.TIMED_OUT if self._dialog.input is None else replies.DATA_TIMED_OUT
        if self._dialog.settings.host_name:
            said = said.with_text(f"{self._dialog.settings.host_name}: {said.text}")
        self._dialog.reply(said)
        self._dialog.hang_up("timed out")

    def layer_changed(self, now: float, tls: bool) -> None:
        """TLS came up or went away: nothing that was said before holds any more, RFC 3207 4.2.

        An open question is void, its decision to be given up. Octets and replies of the old layer are gone.
        """
        if self._dialog.state is State.CLOSED:
            return
        kept = NO_OFFERS
        if tls and self._dialog.settings.remember_esmtp and self._dialog.state is State.SWITCHING:
            # For clients that break RFC 3207 4.2: what was said of them is forgotten all the same.
            kept = self._dialog.standing.offers.without("STARTTLS").without("AUTH")
        if self._dialog.in_transaction:
            self._dialog.events.append(TransactionReset())
        if self._dialog.state not in (State.CONNECTED, State.REFUSED):
            self._dialog.events = deque(
                each
                for each in self._dialog.events
                if each is not self._dialog.question and not isinstance(each, BodyPiece)
            )
            self._dialog.question = None
            self._dialog.state = HAPPENINGS[State.SWITCHING][commands.NEW_LAYER]
            self._dialog.tally.layer_changed()
        self._dialog.lines.clear()
        self._dialog.out.clear()
        self._dialog.input = None
        self._dialog.begin_session(tls, kept)
        self._waiting_since = now

    def switch_layer(self) -> bytes:
        """After 220 to STARTTLS: what came behind the STARTTLS line. It is the handshake's, never obeyed."""
        if self._dialog.state is not State.SWITCHING:
            raise RuntimeError("no STARTTLS was answered with 220")
        return self._dialog.lines.take()

    def poison(self, reply: Reply) -> None:
        """From now on every command but QUIT gets `reply` (after 454 to STARTTLS; Exim does so as well)."""
        self._poison = reply

    def close_after_reply(self, how: str = "dropped") -> None:
        """Ends the session: behind the answer to the open question, or now."""
        if self._dialog.question is not None:
            self._closing = how
        else:
            self._dialog.hang_up(how)

    def next_event(self) -> ServerEvent | None:
        """The next thing to know or to decide; None: more input is needed, or an answer."""
        dialog = self._dialog
        while True:
            if dialog.events:
                return dialog.events.popleft()
            if dialog.question is not None or dialog.state is State.CLOSED:
                return None
            if not self._read():
                if not self._at_eof:
                    return None
                if dialog.settings.local and dialog.settings.host_name:
                    # On a pipe there is somebody to hear it: the program has closed one direction only.
                    dialog.reply(replies.LOST_INPUT.with_text(f"{dialog.settings.host_name} lost input connection"))
                dialog.hang_up("lost")

    # Answers

    def answer(
        self, reply: Reply, offers: Offers | None = None, now: float | None = None, before: Sequence[Reply] = ()
    ) -> None:
        """The answer to the open question. 2xx (to `DataAsked` 354) moves the session on, others do not.

        `offers` go with a good answer to EHLO; their lines are put behind those of `reply`. The client's time
        for its next command runs from `now`, from its last input where that is not given. `before` goes out in front
        of the reply to the end of the data (PRDR).
        """
        dialog = self._dialog
        question, dialog.question = dialog.question, None
        if question is None:
            raise RuntimeError("answered, and nothing was asked")
        if now is not None and now > self._waiting_since:
            self._waiting_since = now
        is_ahead, self._is_ahead = self._is_ahead or dialog.lines.has_input, False
        held_back, self._held_back = self._held_back, b""
        if is_ahead and reply.is_positive and dialog.must_have_waited(question):
            dialog.lose_sync(question, held_back)
            return
        self._move_on(question, reply, offers, before)
        if self._closing or reply.code == 421:
            dialog.hang_up(self._closing or "closed by us")

    def _move_on(self, question: Question, reply: Reply, offers: Offers | None, before: Sequence[Reply]) -> None:
        match question:
            case RecipientGiven():
                self._answer_recipient(reply)
            case SenderGiven():
                self._answer_sender(reply, question.parameters)
            case DataAsked():
                self._answer_data(reply, question.transfer)
            case MessageEnded():
                self._answer_message(reply, before)
            case HelloGiven():
                self._answer_hello(reply, question.extended, offers or NO_OFFERS)
            case Connected():
                self._dialog.reply(reply)
                happened = commands.GREETING if reply.is_positive else commands.NO_GREETING
                self._dialog.state = HAPPENINGS[State.CONNECTED][happened]
            case TLSAsked():
                if reply.is_positive and self._dialog.in_transaction:
                    self._dialog.events.append(TransactionReset())
                self._dialog.move("STARTTLS", reply)
            case AuthAsked() | AuthResponse() | AuthAborted():
                self._dialog.reply(reply)
                self._dialog.in_exchange = reply.code == 334
                self._dialog.standing.authenticated = 200 <= reply.code < 300
                self._dialog.set_line_limit()
            case XclientGiven():
                self._dialog.move("XCLIENT", reply)
                if reply.is_positive:
                    self._dialog.begin_session(self._dialog.standing.tls)
                    self._dialog.tally.layer_changed()
                    self._dialog.standing.authenticated = question.attributes.get("LOGIN") is not None
            case QuitGiven():
                self._dialog.reply(reply)
                self._closing = "by QUIT"
            case VrfyAsked() | ExpnAsked() | EtrnAsked():
                self._dialog.reply(reply)
            case _ as never:
                assert_never(never)

    def _answer_hello(self, reply: Reply, extended: bool, offers: Offers) -> None:
        if not reply.is_positive:
            self._dialog.reply(reply)
            return
        if self._dialog.in_transaction:
            self._dialog.events.append(TransactionReset())
        # RFC 2034 4: not in the reply to EHLO itself.
        self._dialog.enhanced = False
        standing = self._dialog.standing
        if extended:
            if standing.tls:
                offers = offers.without("STARTTLS")
            reply = reply.with_text(*reply.lines, *offers.lines())
        self._dialog.forget_transaction()
        self._dialog.move("EHLO", reply)
        standing.offers = offers if extended else NO_OFFERS
        self._dialog.enhanced = "ENHANCEDSTATUSCODES" in standing.offers
        self._dialog.set_line_limit()

    def _answer_sender(self, reply: Reply, parameters: Parameters) -> None:
        self._dialog.refused_last = not reply.is_positive
        self._dialog.move("MAIL", reply)
        if reply.is_positive:
            self._dialog.standing.sender = parameters
            self._dialog.refusal, self._dialog.refusals_differ = (), False

    def _answer_recipient(self, reply: Reply) -> None:
        self._dialog.refused_last = not reply.is_positive
        if reply.is_positive:
            self._dialog.standing.recipients += 1
        else:
            self._dialog.note_refusal(*reply.lines[reply.preface :])
        self._dialog.move("RCPT", reply)

    def _answer_data(self, reply: Reply, transfer: Transfer) -> None:
        if 200 <= reply.code < 300:
            raise ValueError("DATA is answered with 354 or a refusal")
        match transfer:
            case Transfer.LINES:
                self._dialog.move("DATA", reply)
                if reply.is_positive:
                    self._dialog.expect(LineInput(self._dialog.settings))
            case Transfer.CHUNKS if reply.is_positive:
                binary = declared_body(self._dialog.standing.sender) is BodyType.BINARYMIME
                self._dialog.message = ChunkInput(self._dialog.settings, binary)
                self._chunked.begin(self._dialog.message)
            case Transfer.CHUNKS:
                self._chunked.skip(reply)
            case _ as never:
                assert_never(never)

    def _answer_message(self, reply: Reply, before: Sequence[Reply]) -> None:
        for each in before:
            self._dialog.reply(each)
        if self._dialog.message is not None and reply.code == 250 and not before:
            said = f" {self._dialog.chunk.size} byte chunk, total {self._dialog.message.size}"
            reply = reply.with_text(said, *reply.lines)
        self._dialog.end_transaction()
        self._dialog.reply(reply)

    # Input

    def _read(self) -> bool:
        """Looks at some input; False where there is none to look at."""
        if self._dialog.input is not None:
            return self._read_input(self._dialog.input)
        if self._dialog.in_exchange:
            return self._read_response()
        return self._dialog.state is not State.SWITCHING and self._read_command()

    def _read_input(self, source: MessageInput) -> bool:
        piece = source.take(self._dialog.lines)
        if piece is None and not source.is_done:
            return False
        if piece:
            self._dialog.events.append(BodyPiece(piece))
        if source.is_done:
            self._dialog.input = None
            match source:
                case LineInput():
                    self._dialog.end_message(source)
                case ChunkInput():
                    self._chunked.end(source)
                case SkippedChunk():
                    self._chunked.end_skipped(source)
                case _ as never:
                    assert_never(never)
        elif source.is_beyond_bound:
            self._dialog.refuse_all(replies.MESSAGE_TOO_BIG)
        return True

    def _read_response(self) -> bool:
        line = self._dialog.lines.next_line()
        if line is None:
            return False
        if isinstance(line, LineFault):
            self._dialog.tell(line.value)
            is_long = line is LineFault.TOO_LONG
            self._dialog.ask(AuthAborted(replies.AUTH_LINE_TOO_LONG if is_long else _LINE_FAULTS[line]))
        elif line == b"*":
            self._dialog.ask(AuthAborted(replies.AUTH_CANCELLED))
        else:
            self._dialog.ask(AuthResponse(from_wire(line)))
        return True

    # Commands

    def _read_command(self) -> bool:
        dialog = self._dialog
        line = dialog.lines.next_line()
        if line is None:
            return False
        if isinstance(line, LineFault):
            dialog.complain(_LINE_FAULTS[line], line.value)
            return True
        dialog.command = line
        word, _, argument = line.rstrip(b" \t").partition(b" ")
        verb = word.upper().decode("ascii", "replace")
        command = COMMANDS.get(verb)
        if not argument.upper().lstrip(b" \t").startswith(_BEGINNINGS.get(verb, b"")):
            # A verb and its preposition are one command, as in Exim.
            verb, command = "", None
        is_one = command is not None and not (argument and command.argument is Argument.NONE)
        dialog.events.append(CommandRead(verb if is_one else "", from_wire(line.rstrip(b" \t"))))
        refused_last, dialog.refused_last = dialog.refused_last, False
        # Offers without a greeting are those of before STARTTLS (Exim: tls_remember_esmtp).
        needs_hello = dialog.settings.helo_required and not dialog.standing.offers.items
        if verb == "MAIL" and dialog.state is State.GREETED and not needs_hello:
            dialog.state = State.READY
        if (self._poison or dialog.state is State.REFUSED) and verb != "QUIT":
            dialog.complain(self._poison or replies.BAD_SEQUENCE, "command after a refusal", line)
        elif dialog.lines.has_input and dialog.is_out_of_sync(command):
            dialog.lose_sync(line)
        elif command is None:
            self._refuse_unknown(line)
        elif dialog.tally.is_last_nonmail(command, dialog.settings):
            dialog.tell("too many nonmail commands", line)
            dialog.reply(replies.TOO_MANY_NONMAIL)
            dialog.hang_up("too many nonmail commands")
        elif not is_one:
            dialog.complain(replies.NO_ARGUMENTS_ALLOWED, "unexpected argument", line)
        elif verb == "BDAT":
            self._chunked.command(from_wire(argument.strip(b" ")), line, refused_last)
        elif verb not in MOVES[dialog.state]:
            self._refuse_order(verb, line, refused_last)
        else:
            self._obey(command, from_wire(argument.lstrip(b" ")), line)
        return True

    def _obey(self, command: Command, argument: str, line: bytes) -> None:
        verb = command.verb
        if command.argument is Argument.REQUIRED and not argument and verb not in _SAY_WHAT_IS_MISSING:
            self._dialog.complain(replies.BAD_ARGUMENTS, "argument missing", line)
        elif verb not in READS_EIGHT_BIT and not line.isascii():
            self._dialog.complain(replies.EIGHT_BIT_IN_COMMAND, "8-bit characters in a command", line)
        elif verb == "RSET":
            self._rset()
        else:
            self._take_step(verb, argument, line)

    def _take_step(self, verb: str, argument: str, line: bytes) -> None:
        step = STEPS[verb](argument, self._dialog.standing)
        if verb == "MAIL":
            self._dialog.standing.messages += 1
        if not isinstance(step, Fault | Reply):
            self._dialog.ask(step)
            return
        reply = step.reply if isinstance(step, Fault) else step
        self._dialog.refused_last = verb in ("MAIL", "RCPT")
        if verb == "RCPT":
            # Exim shows the code of a refusal that no ACL has worded.
            self._dialog.note_refusal(f"{reply.code} {reply.text}")
        if isinstance(step, Fault):
            self._dialog.complain(step.reply, step.what, line)
            return
        if reply.code == 421:
            self._dialog.tell("too many messages", line)
        elif reply == replies.MESSAGE_TOO_BIG:
            self._dialog.tell(*told_too_big(argument, self._dialog.standing))
        self._dialog.reply(reply)
        if reply.code == 421 and self._dialog.tally.is_last_idle(self._dialog.settings):
            self._dialog.hang_up("too many messages")

    def _rset(self) -> None:
        if self._dialog.in_transaction:
            self._dialog.events.append(TransactionReset())
        self._dialog.forget_transaction()
        self._dialog.state = MOVES[self._dialog.state]["RSET"]
        self._dialog.reply(replies.RESET)

    def _refuse_unknown(self, line: bytes) -> None:
        if self._dialog.tally.is_last_unknown(self._dialog.settings):
            self._dialog.tell("too many unrecognized commands", line)
            self._dialog.reply(replies.TOO_MANY_UNKNOWN)
            self._dialog.hang_up("too many unrecognized commands")
        else:
            self._dialog.complain(replies.UNRECOGNIZED, "unrecognized command", line)

    def _refuse_order(self, verb: str, line: bytes, refused_last: bool) -> None:
        reply, what = self._dialog.refusal_now(verb, refused_last)
        if verb == "MAIL" and reply == replies.HELLO_FIRST:
            self._dialog.tell("no HELO/EHLO given", line)
        if what:
            self._dialog.complain(reply, what, line)
        else:
            self._dialog.reply(reply)
        if self._dialog.state is State.CHUNKS:
            self._chunked.mark_spoiled(reply)


_SAY_WHAT_IS_MISSING = frozenset({"EHLO", "HELO", "MAIL", "RCPT"})
_BEGINNINGS = {"MAIL": b"FROM:", "RCPT": b"TO:"}

_LINE_FAULTS: Mapping[LineFault, Reply] = {
    LineFault.TOO_LONG: replies.LINE_TOO_LONG,
    LineFault.BARE_LINE_END: replies.BARE_LINE_END,
    LineFault.NUL: replies.NULS_NOT_ALLOWED,
}
