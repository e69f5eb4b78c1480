"""What a server asks for each connection: the port between octets and decisions (values).

`reception.session.Session` is what stands behind it in the relay; `net.mailbox` and small programs bring their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.esmtp.answers import Answer
from relay.esmtp.questions import CommandRead, Question
from relay.mail.facts import Endpoint, SessionFacts
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.hello import ClientHello


class ServerSession(Protocol):
    """Who decides for one connection. `reception.session.Session` is one; a small program may bring its own."""

    facts: SessionFacts

    async def decide(self, question: Question) -> Answer: ...

    async def body(self, data: bytes) -> None: ...

    async def tls_context(self, hello: ClientHello) -> TLSContext:
        """The context for a handshake; any exception refuses it."""
        ...

    def layer_up(self, handshake: Handshake, hello: ClientHello) -> None: ...

    def layer_down(self) -> None: ...

    @property
    def must_end(self) -> str:
        """Why the connection must not go on after a handshake; empty: it may."""
        ...

    def reset(self) -> None: ...

    async def abandon(self) -> None: ...

    def heard(self, command: CommandRead) -> None:
        """A command was read; what it comes to is asked or told next."""
        ...

    def violated(self, what: str, text: str, *, is_syntax: bool = False) -> None: ...

    def handshake_failed(self, reason: str, by_peer: bool, verify_fault: str = "") -> None: ...

    def gone(self) -> None:
        """The client went away, or ended its direction, while the fate of its message is decided, and has sent nothing
        behind that message."""
        ...

    async def left(self, how: str) -> None:
        """The connection is over; `how` is as for `closed`, which is called next. A QUIT may have been before."""
        ...

    def closed(self, how: str) -> None: ...


MakeSession = Callable[[Endpoint, Endpoint, bool], ServerSession]
IsProxy = Callable[[Endpoint], Awaitable[bool]]
"""Whether a host is a proxy, which must begin with a PROXY header; any exception is a no."""
