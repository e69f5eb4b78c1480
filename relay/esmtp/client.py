"""The client's side of a session: orders, replies and times in; events, octets and deadlines out (machine).

The driver dials, gives it what arrives (`receive`), takes events until there is none, sends what `data_to_send` gives,
and orders the next step: `hello`, `starttls`, `authenticate`, `transact`, `ask`, `reset`, `quit`. Each command that was
sent has a row in the queue of awaited replies, so that a reply always finds what it answers, grouped or not (RFC 2920);
a reply that nobody waits for ends the session. Which server may be trusted with what, and whether TLS is a must, is the
driver's affair.

Input never raises. An order at the wrong time does, except on a session that is closed, where it is passed over: the
event that says so may not have been read yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from relay.esmtp.chunks import ChunkWriter
from relay.esmtp.client_events import (
    Answered,
    AuthAccepted,
    AuthChallenge,
    AuthRefused,
    BodyWanted,
    ClientEvent,
    Closed,
    Garbled,
    Greeted,
    HelloAccepted,
    Idle,
    LinkLost,
    Refused,
    Settled,
    Stage,
    TimedOut,
    TLSGoAhead,
    TLSRefused,
)
from relay.esmtp.client_settings import ClientSettings, Protocol
from relay.esmtp.client_words import After, Awaited, What
from relay.esmtp.data import DataWriter
from relay.esmtp.extensions import read_offers
from relay.esmtp.parameters import Limits, read_limits
from relay.esmtp.reply_reader import BadReply, ReplyReader
from relay.esmtp.transaction import Hop, Transaction
from relay.mail.envelope import Envelope
from relay.mail.facts import TLSFacts
from relay.mail.outcome import ErrorClass
from relay.mail.reply import Reply
from relay.mail.text import to_wire

__all__ = ["Client", "ClientSettings", "Protocol"]


class Client:
    """One session with one server, over as many TLS layers as it takes."""

    def __init__(self, settings: ClientSettings, now: float, tls: TLSFacts | None = None) -> None:
        """`tls`: the session starts inside a TLS layer (TLS on connect)."""
        self._settings = settings
        self._replies = ReplyReader(settings.line_limit, settings.reply_lines)
        self._events: deque[ClientEvent] = deque()
        self._out: list[bytes] = []
        self._awaited: deque[Awaited] = deque([Awaited(Stage.GREETING)])
        self._resting = Stage.IDLE
        self._tls = tls
        self._offers: Mapping[str, str] = {}
        self._transaction: Transaction | None = None
        self._recipients: deque[int] = deque()
        self._writer: DataWriter | ChunkWriter = DataWriter()
        self._is_body_refused = False
        self._needs_reset = False
        self._in_group = False
        self._written = 0
        self._ehlo_refusal = ""
        self._count = 0
        self._since = now

    # What the driver looks at

    @property
    def stage(self) -> Stage:
        """What is waited for."""
        if self._resting is Stage.BODY or not self._awaited:
            return self._resting
        return self._awaited[0].stage

    @property
    def _after(self) -> After:
        is_awaited = bool(self._awaited) and self._resting is not Stage.BODY
        command = self._awaited[0].command if is_awaited else ""
        return After(self.stage, command, self._in_group, self._written)

    @property
    def offers(self) -> Mapping[str, str]:
        """What the EHLO in force offered, empty without one."""
        return self._offers

    @property
    def limits(self) -> Limits:
        """What the server said of itself by LIMITS: more recipients at once, or more messages, get no answer."""
        return read_limits(self._offers.get("LIMITS", ""))

    @property
    def is_body_refused(self) -> bool:
        """The server does not want the rest of this message: `end_body` may come at once."""
        return self._is_body_refused

    def deadline(self) -> float | None:
        """When `expire` is due; None where nothing is waited for."""
        match self.stage:
            case Stage.IDLE | Stage.CLOSED | Stage.SWITCHING | Stage.CHALLENGED:
                return None
            case Stage.BODY | Stage.CHUNK:
                return self._since + self._settings.data_timeout
            case Stage.END_OF_DATA:
                return self._since + self._settings.final_timeout
            case _:
                return self._since + self._settings.command_timeout

    def data_to_send(self) -> bytes:
        """What is to be sent since the last call."""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> ClientEvent | None:
        """The next thing to know; None: more input or an order is needed."""
        while not self._events and self._read():
            pass
        return self._events.popleft() if self._events else None

    # What happens

    def receive(self, data: bytes, now: float) -> None:
        """Octets of the server, of any number."""
        if self._resting is not Stage.CLOSED:
            self._replies.receive(data)
            self._received_at(now)

    def _received_at(self, now: float) -> None:
        # A reply has its time as a whole: octets that trickle in do not prolong it.
        while not self._events and self._read():
            self._since = now

    def receive_eof(self) -> None:
        """The server sends no more. Replies that came before are still read."""
        while self._read():
            pass
        stage = self.stage
        if stage is Stage.CLOSED:
            return
        if stage is Stage.QUIT:
            self._close(Closed())
            return
        duplicate = self._is_possible_duplicate
        reason = self._after.closed()
        if self._ehlo_refusal and stage is Stage.HELLO:
            reason = f"{reason} (EHLO response was: {self._ehlo_refusal})"
        self._break_off(reason, ErrorClass.LOST_CONNECTION)
        self._close(LinkLost(stage, duplicate, reason))

    def expire(self, now: float) -> None:
        """Gives up if the deadline has passed."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        stage, reason = self.stage, self._after.timeout()
        self._break_off(reason, ErrorClass.TIMEOUT)
        self._close(TimedOut(stage, reason))

    def switch_layer(self) -> bytes:
        """After `TLSGoAhead`: what came behind the 220. It is the handshake's, never a reply's."""
        if self._resting is not Stage.SWITCHING:
            raise RuntimeError("no STARTTLS was answered with 220")
        return self._replies.take()

    def layer_changed(self, now: float, tls: TLSFacts | None) -> None:
        """TLS came up (`tls` tells how) or went away (None): what was offered before holds no longer."""
        if self._resting is Stage.CLOSED:
            return
        if self._transaction is not None:
            self._break_off("TLS layer changed in a transaction", ErrorClass.TLS_FAILED)
        self._replies.take()
        self._awaited.clear()
        self._out.clear()
        self._resting = Stage.IDLE
        self._tls, self._offers = tls, {}
        self._needs_reset = False
        self._since = now

    # Orders

    def hello(self, now: float | None = None) -> None:
        """EHLO, and HELO where that gets a 5xx (RFC 5321 3.2) or is all that is wanted; LHLO with LMTP."""
        if self._may_order(now):
            if self._settings.protocol is Protocol.SMTP and not self._settings.extended:
                self._send(self._settings.hello(False), Awaited(Stage.HELLO))
                return
            self._send(self._settings.hello(True), Awaited(Stage.HELLO, what=What.EXTENDED_HELLO))

    def starttls(self, now: float | None = None) -> None:
        if self._may_order(now):
            self._send("STARTTLS", Awaited(Stage.STARTTLS))

    def authenticate(self, mechanism: str, initial: str | None = None, now: float | None = None) -> None:
        """AUTH; an `initial` response in base64, "=" for an empty one. `AuthChallenge`, `AuthAccepted` or `AuthRefused`
        follows. Whether the link is fit for credentials is the driver's affair."""
        if self._may_order(now):
            self._replies.allow_lines(self._settings.auth_line_limit)
            command = f"AUTH {mechanism}" if initial is None else f"AUTH {mechanism} {initial}"
            self._send(command, Awaited(Stage.AUTH))

    def respond(self, text: str, now: float | None = None) -> None:
        """The response to an `AuthChallenge`, in base64."""
        if self._resting is Stage.CLOSED:
            return
        if self._resting is not Stage.CHALLENGED:
            raise RuntimeError("no challenge is open")
        self._touch(now)
        self._resting = Stage.IDLE
        self._send(text, Awaited(Stage.AUTH))

    def cancel_auth(self, now: float | None = None) -> None:
        """Breaks an exchange off, RFC 4954 4; `AuthRefused` follows."""
        self.respond("*", now)

    def reset(self, now: float | None = None) -> None:
        """RSET; `Idle` follows. Not needed between transactions: `transact` does it where it must be done."""
        if self._may_order(now):
            self._send_reset()

    def ask(self, command: str, stage: Stage, now: float | None = None) -> None:
        """MAIL, RCPT or RSET by itself, for whoever only wants to know the answer; `Answered` follows."""
        if self._may_order(now):
            self._needs_reset = stage is not Stage.RESET
            self._send(command, Awaited(stage, what=What.QUESTION))

    def quit(self, now: float | None = None) -> None:
        """QUIT, whatever is awaited before it."""
        if self._resting is Stage.CLOSED:
            return
        if self._resting is Stage.BODY:
            raise RuntimeError("in the middle of a message")
        self._touch(now)
        self._send("QUIT", Awaited(Stage.QUIT))

    def transact(self, envelope: Envelope, now: float | None = None) -> None:
        """Sends the envelope. `BodyWanted` follows where anybody accepted; `Settled` in any case."""
        if self._transaction is not None:
            raise RuntimeError("a transaction is open")
        settings = self._settings
        place = (settings.host, self._tls, self._count > 0, self._count)
        hop = Hop(*place, settings.chunking, settings.pipelining, settings.a_labels, settings.prdr)
        transaction = Transaction(envelope, self._offers, hop)
        closed = self._resting is Stage.CLOSED or (bool(transaction.to_send) and not self._may_order(now))
        if closed:
            transaction.broken_off("connection is closed", ErrorClass.LOST_CONNECTION, False)
        if closed or not transaction.to_send:
            self._events.append(Settled(transaction.outcomes()))
            return
        self._count += 1
        self._written = 0
        self._transaction = transaction
        self._is_body_refused = False
        self._recipients = deque(transaction.to_send)
        if self._needs_reset:
            self._send_reset()
        if self._is_pipelining:
            self._send_group(transaction)
        elif not self._awaited:
            self._send(transaction.mail, Awaited(Stage.MAIL))

    def body(self, piece: bytes, now: float | None = None) -> None:
        """The next octets of the message, cut anywhere."""
        if self._is_open_for_body():
            self._touch(now)
            if not self._is_body_refused and (encoded := self._writer.encode(piece)):
                self._out.append(encoded)
                self._written += len(encoded)
                if isinstance(self._writer, ChunkWriter):
                    self._awaited.append(Awaited(Stage.CHUNK))

    def end_body(self, now: float | None = None) -> None:
        """The message is complete: the final dot, or the last chunk, goes out."""
        if not self._is_open_for_body():
            return
        self._touch(now)
        assert self._transaction is not None
        self._resting = Stage.IDLE
        if self._is_body_refused:
            self._settle_refused_body()
            return
        self._out.append(self._writer.end())
        self._transaction.size = self._writer.size
        if self._settings.protocol is Protocol.LMTP:
            self._awaited.extend(Awaited(Stage.END_OF_DATA, place) for place in self._transaction.accepted)
        else:
            self._awaited.append(Awaited(Stage.END_OF_DATA))

    def _may_order(self, now: float | None) -> bool:
        """Whether a command may go out. What the server said without being asked is looked at first."""
        if not self._awaited and self._replies.has_input:
            self._unasked()
        if self._resting is Stage.CLOSED:
            return False
        if self._awaited or self._resting is not Stage.IDLE:
            raise RuntimeError(f"ordered while waiting for {self.stage.value}")
        self._touch(now)
        return True

    def _is_open_for_body(self) -> bool:
        # A reply from before the final dot must not be taken for the reply to it.
        while self._resting is Stage.BODY and self._replies.has_input and self._read():
            pass
        if self._resting is Stage.CLOSED:
            return False
        if self._resting is not Stage.BODY:
            raise RuntimeError("no body is wanted")
        return True

    # Sending

    @property
    def _is_pipelining(self) -> bool:
        return self._settings.pipelining and "PIPELINING" in self._offers

    def _touch(self, now: float | None) -> None:
        if now is not None:
            self._since = max(now, self._since)

    def _send(self, command: str, awaited: Awaited) -> None:
        self._out.append(to_wire(command) + b"\r\n")
        self._in_group = False
        self._awaited.append(replace(awaited, command=command))

    def _send_reset(self) -> None:
        self._needs_reset = False
        self._send("RSET", Awaited(Stage.RESET))

    def _send_group(self, transaction: Transaction) -> None:
        """MAIL, every RCPT and DATA at once, RFC 2920 3.1."""
        commands = [transaction.mail, *map(transaction.rcpt, self._recipients)]
        if not transaction.by_chunks:
            commands.append("DATA")
        self._out.append(to_wire("\r\n".join(commands) + "\r\n"))
        self._in_group = True
        self._awaited.append(Awaited(Stage.MAIL, command=transaction.mail))
        self._awaited.extend(Awaited(Stage.RCPT, each, command=transaction.rcpt(each)) for each in self._recipients)
        if not transaction.by_chunks:
            self._awaited.append(Awaited(Stage.DATA))
        self._recipients.clear()

    # Replies

    def _read(self) -> bool:
        """Looks at one reply; False where there is none."""
        if self._resting in (Stage.CLOSED, Stage.SWITCHING):
            return False
        reply = self._replies.next_reply()
        if reply is None:
            return False
        if isinstance(reply, BadReply):
            self._garbled(self._after.malformed(reply.text), ErrorClass.MALFORMED)
        elif reply.code == 421:
            self._closed_by_server(reply)
        elif not self._awaited:
            self._not_awaited(reply)
        else:
            self._answered(self._awaited.popleft(), reply)
        return True

    def _unasked(self) -> None:
        """The server spoke before it was spoken to, perhaps not to the end yet."""
        if not self._read() and self._resting is not Stage.CLOSED:
            self._garbled("the server sent something unasked")

    def _not_awaited(self, reply: Reply) -> None:
        if self._resting is Stage.BODY and reply.code >= 400 and self._transaction is not None:
            # It does not want to see the rest. Its stream is out of step with ours from here on.
            self._transaction.message_answered(reply)
            self._settle()
            self._close(LinkLost(Stage.BODY, False))
        else:
            self._garbled(f"unexpected reply: {reply.as_sent}")

    def _answered(self, awaited: Awaited, reply: Reply) -> None:
        if awaited.what is What.QUESTION:
            if 300 <= reply.code < 400:
                self._garbled(f"unexpected reply to {awaited.stage.value}: {reply.as_sent}")
            else:
                self._events.append(Answered(reply))
            return
        match awaited.stage:
            case Stage.GREETING:
                self._events.append(Greeted(reply) if reply.code == 220 else Refused(Stage.GREETING, reply))
            case Stage.HELLO:
                self._hello_answered(reply, awaited.what is What.EXTENDED_HELLO)
            case Stage.STARTTLS:
                # RFC 3207 4 has 220; there are servers that say 250, and Exim goes by the first digit.
                self._resting = Stage.SWITCHING if reply.code < 300 else Stage.IDLE
                self._events.append(TLSGoAhead() if reply.code < 300 else TLSRefused(reply))
            case Stage.AUTH:
                self._auth_answered(reply)
            case Stage.RESET:
                self._reset_answered()
            case Stage.MAIL:
                self._sender_answered(reply)
            case Stage.RCPT:
                self._recipient_answered(awaited.place, reply)
            case Stage.DATA:
                self._data_answered(reply)
            case Stage.CHUNK:
                self._chunk_answered(reply)
            case Stage.END_OF_DATA:
                self._message_answered(awaited, reply)
            case Stage.QUIT:
                self._close(Closed())
            case Stage.IDLE | Stage.SWITCHING | Stage.CHALLENGED | Stage.BODY | Stage.CLOSED:
                raise AssertionError("nothing is awaited then")
            case _ as never:
                assert_never(never)

    def _hello_answered(self, reply: Reply, extended: bool) -> None:
        if 200 <= reply.code < 300:
            self._offers = read_offers(reply.lines) if extended else {}
            self._events.append(HelloAccepted(reply, self._offers, extended))
        elif extended and reply.code >= 400 and self._settings.protocol is Protocol.SMTP:
            self._ehlo_refusal = reply.as_sent
            self._send(self._settings.hello(False), Awaited(Stage.HELLO))
        else:
            self._events.append(Refused(Stage.HELLO, reply, self._settings.hello(extended)))

    def _auth_answered(self, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            # RFC 4954 4 has 334; Exim goes by the first digit.
            self._resting = Stage.CHALLENGED
            self._events.append(AuthChallenge(reply.text))
            return
        self._replies.allow_lines(self._settings.line_limit)
        self._events.append(AuthAccepted(reply) if reply.code < 300 else AuthRefused(reply))

    def _reset_answered(self) -> None:
        if self._transaction is None:
            self._events.append(Idle())
        elif not self._awaited:
            self._send(self._transaction.mail, Awaited(Stage.MAIL))

    def _sender_answered(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        if not 200 <= reply.code < 300:
            if reply.code < 400:
                self._garbled(f"unexpected reply to MAIL: {reply.as_sent}")
                return
            transaction.sender_refused(reply)
            if not self._awaited:
                self._settle()
        elif not self._awaited:
            self._next_recipient(transaction)

    def _next_recipient(self, transaction: Transaction) -> None:
        """One command at a time: the next RCPT, or what comes behind the last."""
        if self._recipients:
            place = self._recipients.popleft()
            self._send(transaction.rcpt(place), Awaited(Stage.RCPT, place))
        elif transaction.accepted and transaction.by_chunks:
            self._want_body(ChunkWriter(self._settings.chunk_size, transaction.is_binary))
        elif transaction.accepted:
            self._send("DATA", Awaited(Stage.DATA))
        else:
            self._needs_reset = True
            self._settle()

    def _recipient_answered(self, place: int | None, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        assert place is not None
        if 300 <= reply.code < 400:
            self._garbled(f"unexpected reply to RCPT: {reply.as_sent}")
            return
        transaction.recipient_answered(place, reply)
        if not self._awaited:
            self._next_recipient(transaction)

    def _data_answered(self, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        goes_on = 300 <= reply.code < 400  # RFC 5321 4.2.1: the first digit says it; some servers send 350
        if reply.code < 300:
            self._garbled(f"unexpected reply to DATA: {reply.as_sent}")
        elif goes_on and transaction.accepted:
            self._want_body(DataWriter())
        elif goes_on:
            # RFC 2920 3.1: sent in a group, and nobody was accepted. A message of no lines ends it.
            self._out.append(b".\r\n")
            self._needs_reset = False
            if self._settings.protocol is Protocol.LMTP:
                # RFC 2033 4.2: one reply for each accepted recipient, so none.
                self._settle()
            else:
                self._awaited.append(Awaited(Stage.END_OF_DATA, what=What.LONE_DOT))
        else:
            transaction.data_refused(reply)
            self._needs_reset = True
            self._settle()

    def _want_body(self, writer: DataWriter | ChunkWriter) -> None:
        self._writer = writer
        self._resting = Stage.BODY
        self._events.append(BodyWanted())

    def _chunk_answered(self, reply: Reply) -> None:
        """A chunk before the last, RFC 3030 2. If it is refused, so is the message; what is under way is still
        answered."""
        transaction = self._transaction
        assert transaction is not None
        if 300 <= reply.code < 400:
            self._garbled(f"unexpected reply to BDAT: {reply.as_sent}")
            return
        if reply.code >= 400 and not self._is_body_refused:
            transaction.message_answered(reply)
            if self._resting is not Stage.BODY and self._settings.protocol is Protocol.LMTP:
                # How many replies the last chunk gets now, nobody knows.
                self._settle()
                self._close(LinkLost(Stage.CHUNK, False))
                return
            self._is_body_refused = True
            self._awaited = deque(
                Awaited(each.stage, each.place, What.USELESS) if each.stage is Stage.END_OF_DATA else each
                for each in self._awaited
            )
        if self._is_body_refused and self._resting is not Stage.BODY:
            self._settle_refused_body()

    def _settle_refused_body(self) -> None:
        """A message that was refused before its end: over as soon as every chunk has its answer."""
        if not any(each.stage in (Stage.CHUNK, Stage.END_OF_DATA) for each in self._awaited):
            self._needs_reset = True
            self._settle()

    def _message_answered(self, awaited: Awaited, reply: Reply) -> None:
        transaction = self._transaction
        assert transaction is not None
        if 300 <= reply.code < 400 and awaited.what is What.COMMAND and transaction.is_answered_for_each():
            # PRDR: each recipient has a reply now, and then the message.
            self._awaited.extend(Awaited(Stage.END_OF_DATA, each, What.JUDGED) for each in transaction.accepted)
            self._awaited.append(Awaited(Stage.END_OF_DATA))
            return
        if 300 <= reply.code < 400:
            self._garbled(f"unexpected reply to the end of data: {reply.as_sent}")
            return
        if awaited.what is What.USELESS:
            self._settle_refused_body()
            return
        if awaited.what is What.JUDGED and awaited.place is not None:
            transaction.recipient_judged(awaited.place, reply)
        elif awaited.what is not What.LONE_DOT:
            transaction.message_answered(reply, awaited.place)
        if not any(each.stage is Stage.END_OF_DATA for each in self._awaited):
            self._settle()

    # Endings

    @property
    def _is_possible_duplicate(self) -> bool:
        if self._transaction is None:
            return False
        ends = (each for each in self._awaited if each.stage is Stage.END_OF_DATA)
        return any(each.what in (What.COMMAND, What.JUDGED) for each in ends)

    def _settle(self) -> None:
        assert self._transaction is not None
        self._events.append(Settled(self._transaction.outcomes()))
        self._transaction = None
        self._recipients.clear()

    def _break_off(self, reason: str, error: ErrorClass) -> None:
        if self._transaction is not None:
            self._transaction.broken_off(reason, error, self._is_possible_duplicate)
            self._settle()

    def _garbled(self, text: str, error: ErrorClass = ErrorClass.OTHER) -> None:
        self._break_off(text, error)
        self._close(Garbled(text, error))

    def _closed_by_server(self, reply: Reply) -> None:
        stage, after = self.stage, self._after.text
        if self._transaction is not None:
            self._transaction.closed_by_server(reply, after)
            self._settle()
        self._close(Closed() if stage is Stage.QUIT else Refused(stage, reply, after))

    def _close(self, event: ClientEvent) -> None:
        self._events.append(event)
        self._awaited.clear()
        self._replies.take()
        self._resting = Stage.CLOSED
