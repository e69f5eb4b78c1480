"""TLS up, down and up again over one stream of octets (machine).

The stack lies between a TCP connection and an SMTP machine. In: octets from the network, plain octets to send, and
orders (`accept`, `connect`, `close`). Out: octets for the network and events. What it guarantees:

- Octets are attributed to exactly one layer. OpenSSL gets whole records only, nothing behind a close alert reaches it,
  and what follows a STARTTLS line belongs to the handshake.
- As a server it reads the ClientHello itself and asks one question, `ContextNeeded`; nothing is fed to OpenSSL before
  `use_context` answers.
- The peer's close_notify gives `PeerClosed` and the stack stops there until `close` (which answers it) or `abandon`;
  only then do the octets behind it come out, as clear text.
- After our own `close` the stack is in clear at once. Records of the old session are told by their first octet (20 to
  23) and swallowed until the first octet that is none.
- After a handshake that failed, `go_on_in_clear` does the same with the records of that handshake.

No method raises for what a peer sent: trouble is the event `LayerFailed`, and from then on everything is ignored, but
for `go_on_in_clear`.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from OpenSSL import SSL

from relay.tls.engine import Engine, Handshake, TLSBroken
from relay.tls.hello import ClientHello, HelloReader
from relay.tls.records import NotTLS, RecordCutter, is_record_start

# Alerts that a handshake is refused with, RFC 8446 6.2, RFC 7301 3.2.
ACCESS_DENIED = 49
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120


class HandshakeRefused(Exception):
    """There is to be no handshake with this client; the text is for the log, `alert` for the client."""

    def __init__(self, reason: str, alert: int = INTERNAL_ERROR) -> None:
        super().__init__(reason)
        self.alert = alert


class State(enum.Enum):
    """Where the stack stands; `MOVES` says what may follow what."""

    CLEAR = "clear"
    READING_HELLO = "reading hello"
    AWAITING_CONTEXT = "awaiting context"
    HANDSHAKING = "handshaking"
    UP = "up"
    PEER_CLOSED = "peer closed"
    CLOSING = "closing"
    FAILED = "failed"


MOVES: dict[State, frozenset[State]] = {
    State.CLEAR: frozenset({State.READING_HELLO, State.HANDSHAKING}),
    State.READING_HELLO: frozenset({State.AWAITING_CONTEXT, State.FAILED}),
    State.AWAITING_CONTEXT: frozenset({State.HANDSHAKING, State.FAILED}),
    State.HANDSHAKING: frozenset({State.UP, State.FAILED}),
    State.UP: frozenset({State.PEER_CLOSED, State.CLOSING, State.FAILED}),
    State.PEER_CLOSED: frozenset({State.CLEAR, State.FAILED}),
    State.CLOSING: frozenset({State.CLEAR, State.FAILED}),
    State.FAILED: frozenset({State.CLOSING}),
}


@dataclass(frozen=True, slots=True)
class PlainReceived:
    """Octets for the machine above, from the layer now in force."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ContextNeeded:
    """The ClientHello is here: answer with `use_context` or `refuse`."""

    hello: ClientHello


@dataclass(frozen=True, slots=True)
class LayerUp:
    """The handshake is complete and the peer has proved its key, if it showed one."""

    handshake: Handshake
    hello: ClientHello


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer sent close_notify: answer with `close`, or `abandon` where it is too late."""


@dataclass(frozen=True, slots=True)
class LayerFailed:
    """No session, or no session any more. `during_handshake` tells which; `by_peer`: the peer sent an alert."""

    reason: str
    by_peer: bool
    during_handshake: bool
    verify_fault: str = ""
    """What is wrong with the peer's certificate, where that is why."""


StackEvent = PlainReceived | ContextNeeded | LayerUp | PeerClosed | LayerFailed


class Stack:
    """The TLS layers of one connection, at most one at a time."""

    def __init__(self) -> None:
        self._state = State.CLEAR
        self._engine: Engine | None = None
        self._cutter = RecordCutter()
        self._hello = ClientHello()
        self._hello_reader = HelloReader()
        self._events: deque[StackEvent] = deque()
        self._output = bytearray()

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_protected(self) -> bool:
        """True while what is sent goes out encrypted."""
        return self._state in (State.UP, State.PEER_CLOSED)

    @property
    def engine(self) -> Engine | None:
        """The session in force, for its ticket; None in clear."""
        return self._engine

    @property
    def waiting(self) -> bytes:
        """The first octets that have come and that nobody has taken yet."""
        return next((each.data for each in self._events if isinstance(each, PlainReceived)), b"")

    def next_event(self) -> StackEvent | None:
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Octets for the network; empty where there is nothing to send."""
        self._drain_engine()
        data = bytes(self._output)
        self._output.clear()
        return data

    # Orders

    def accept(self, already_received: bytes = b"") -> None:
        """As a server: the next inbound octet belongs to a ClientHello. `already_received` came behind STARTTLS."""
        self._hello_reader = HelloReader()
        self._move(State.READING_HELLO)
        self._cutter.feed(already_received)
        self._run()

    def use_context(self, context: SSL.Context) -> None:
        """Answers `ContextNeeded`."""
        self._engine = Engine(context, is_server=True)
        self._move(State.HANDSHAKING)
        for record in self._hello_reader.records:
            self._engine.feed(record)
        self._hello_reader = HelloReader()
        self._shake()
        self._run()

    def refuse(self, reason: str, alert: int = INTERNAL_ERROR) -> None:
        """Answers `ContextNeeded` with no: the handshake ends with a fatal alert (RFC 8446 6.2)."""
        self._output += b"\x15\x03\x03\x00\x02\x02" + bytes((alert,))
        self._fail(reason, by_peer=False)

    def connect(
        self,
        context: SSL.Context,
        *,
        server_name: str = "",
        already_received: bytes = b"",
        session: SSL.Session | None = None,
        wants_staple: bool = False,
    ) -> None:
        """As a client: starts a handshake. `already_received` came behind the 220 to STARTTLS."""
        self._engine = Engine(context, is_server=False, server_name=server_name)
        if wants_staple:
            self._engine.ask_for_staple()
        if session is not None:
            self._engine.resume(session)
        self._hello = ClientHello(server_name)
        self._move(State.HANDSHAKING)
        self._shake()
        self._cutter.feed(already_received)
        self._run()

    def send(self, data: bytes) -> None:
        """Sends plain octets through the layer in force. Ignored once the stack has failed."""
        if not data or self._state is State.FAILED:
            return
        if self.is_protected:
            assert self._engine is not None
            try:
                self._engine.write(data)
            except TLSBroken as broken:
                self._fail(broken.reason, broken.by_peer, broken.verify_fault)
        elif self._state in (State.CLEAR, State.CLOSING):
            self._output += data
        else:
            raise RuntimeError(f"octets to send while {self._state.value}")

    def close(self) -> None:
        """Sends close_notify (in answer to the peer's where that has come) and goes on in clear at once."""
        if not self.is_protected:
            return
        assert self._engine is not None
        self._engine.close()
        self._drain_engine()
        if self._state is State.PEER_CLOSED:
            self._go_clear()
        else:
            self._move(State.CLOSING)
        self._run()

    def abandon(self) -> None:
        """Goes on in clear without answering the peer's close_notify: too late an answer would be taken for text."""
        if self._state is State.PEER_CLOSED:
            assert self._engine is not None
            self._engine.forget()
            self._engine.output()
            self._go_clear()
            self._run()

    def go_on_in_clear(self) -> None:
        """After a handshake that failed, once its alert is on its way: what comes next in clear text comes out again.

        What had come until then is dropped, and so are the records that the peer may still send of that handshake.
        """
        if self._state is State.FAILED:
            self._engine = None
            self._move(State.CLOSING)

    # The network

    def receive(self, data: bytes) -> None:
        """Takes octets from the network."""
        if self._state is State.FAILED:
            return
        if self._state is State.CLEAR:
            if data:
                self._events.append(PlainReceived(data))
            return
        self._cutter.feed(data)
        self._run()

    def receive_eof(self) -> None:
        """The peer will send nothing more. It may still read: Exim ends its side behind QUIT and waits for replies."""
        if self._state in (State.READING_HELLO, State.AWAITING_CONTEXT, State.HANDSHAKING):
            self._fail("the peer closed the connection during the handshake", by_peer=True)

    def connection_lost(self) -> None:
        """Nothing goes in either direction any more."""
        self.receive_eof()
        if self._engine is not None:
            self._engine.forget()

    # Inner life

    def _move(self, to: State) -> None:
        if to not in MOVES[self._state]:
            raise RuntimeError(f"TLS can't go from {self._state.value} to {to.value}")
        self._state = to

    def _run(self) -> None:
        """Works off what has been received, as far as the state lets it."""
        try:
            while self._step():
                pass
        except NotTLS as error:
            self._fail(str(error), by_peer=False)
        except TLSBroken as broken:
            self._fail(broken.reason, broken.by_peer, broken.verify_fault)

    def _step(self) -> bool:
        """One record, or the clear rest; False when nothing more can be done now."""
        match self._state:
            case State.READING_HELLO:
                record = self._cutter.next_record()
                if record is not None:
                    self._read_hello(record)
                return record is not None
            case State.HANDSHAKING | State.UP:
                record = self._cutter.next_record()
                if record is not None:
                    assert self._engine is not None
                    self._engine.feed(record)
                    self._shake() if self._engine.is_handshaking else self._read()
                return record is not None
            case State.CLOSING:
                return self._swallow_old_record()
            case State.CLEAR:
                rest = self._cutter.take_rest()
                if rest:
                    self._events.append(PlainReceived(rest))
                return False
            case State.AWAITING_CONTEXT | State.PEER_CLOSED | State.FAILED:
                return False

    def _read_hello(self, record: bytes) -> None:
        hello = self._hello_reader.feed(record)
        if hello is not None:
            self._hello = hello
            self._move(State.AWAITING_CONTEXT)
            self._events.append(ContextNeeded(hello))

    def _shake(self) -> None:
        assert self._engine is not None
        try:
            done = self._engine.advance()
        except TLSBroken as broken:
            self._fail(broken.reason, broken.by_peer, broken.verify_fault)
            return
        if done:
            self._move(State.UP)
            self._events.append(LayerUp(self._engine.facts(), self._hello))

    def _read(self) -> None:
        assert self._engine is not None
        data = self._engine.read()
        if data:
            self._events.append(PlainReceived(data))
        if self._engine.peer_closed:
            self._move(State.PEER_CLOSED)
            self._events.append(PeerClosed())

    def _swallow_old_record(self) -> bool:
        """After our close_notify: old records go to the old session, the first other octet is clear text."""
        first = self._cutter.first_octet()
        if first is None:
            return False
        if not is_record_start(first):
            self._go_clear()
            return True
        record = self._cutter.next_record()
        if record is None:
            return False
        if self._engine is None:
            return True  # of a handshake that has failed
        self._engine.feed(record)
        try:
            self._engine.read()
        except TLSBroken:
            # An alert in answer to ours ends the old session as well; what follows is told by its first octet.
            self._engine.forget()
        self._engine.output()
        if self._engine.peer_closed:
            self._go_clear()
        return True

    def _go_clear(self) -> None:
        self._engine = None
        self._hello = ClientHello()
        self._move(State.CLEAR)

    def _drain_engine(self) -> None:
        if self._engine is not None and self._state is not State.CLOSING:
            self._output += self._engine.output()

    def _fail(self, reason: str, by_peer: bool, verify_fault: str = "") -> None:
        if self._state is State.FAILED:
            return
        during_handshake = self._state in (State.READING_HELLO, State.AWAITING_CONTEXT, State.HANDSHAKING)
        self._drain_engine()
        if self._engine is not None:
            self._engine.forget()
        self._move(State.FAILED)
        self._cutter.take_rest()
        self._events.append(LayerFailed(reason, by_peer, during_handshake, verify_fault))
