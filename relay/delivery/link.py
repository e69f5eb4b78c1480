"""What a delivery sees of a connection to a server, and how one comes about (decision).

`Link` and `Dialer` are ports: `net.client` implements them over the network, tests over servers that do as they are
told. Whatever ends a connection is a `LinkFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.esmtp.client_events import AuthAccepted, AuthChallenge, AuthRefused, Stage
from relay.esmtp.client_settings import ALabels
from relay.esmtp.parameters import Limits
from relay.mail.envelope import Envelope
from relay.mail.outcome import ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body
from relay.mail.reply import Reply
from relay.tls.anchors import AnchorSet
from relay.tls.engine import Handshake
from relay.tls.policy import ClientTLS


class LinkFailed(Exception):
    """The connection is of no more use. `reply` is what the server said, where that was the reason."""

    def __init__(
        self, error: ErrorClass, text: str, reply: Reply | None = None, *, possible_duplicate: bool = False
    ) -> None:
        super().__init__(text)
        self.error = error
        self.reply = reply
        self.possible_duplicate = possible_duplicate
        self.host: RemoteHost | None = None
        """The address that it happened with, where that is known."""
        self.notes: tuple[str, ...] = ()
        """For the log."""


class HandshakeFailed(LinkFailed):
    """STARTTLS was accepted, or TLS begun on connect, and no session came about. `verify_fault`: what is wrong with
    the server's certificate, where that is why."""

    def __init__(self, error: ErrorClass, text: str, reply: Reply | None = None, *, verify_fault: str = "") -> None:
        super().__init__(error, text, reply)
        self.verify_fault = verify_fault


class StartTLSRefused(Exception):
    """The server said no to STARTTLS; the connection goes on in clear."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Exim's options of the smtp transport, seconds."""

    connect: float = 300.0
    command: float = 300.0
    data: float = 300.0
    final: float = 600.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How to connect and to talk, expanded for one host. What was dialled with equal manners is interchangeable."""

    helo_name: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    lmtp: bool = False
    tls_on_connect: bool = False
    interfaces: tuple[str, ...] = ()
    """Addresses of ours to dial from, the first of the server's family (Exim: interface)."""
    esmtp: bool = True
    """False: HELO (Exim: hosts_avoid_esmtp)."""
    pipelining: bool = True
    chunking: bool = False
    prdr: bool = False
    keepalive: bool = True
    a_labels: ALabels = ALabels.WHERE_NEEDED
    """Domains outside US-ASCII in ASCII (Exim: utf8_downconvert)."""


AuthAnswer = AuthChallenge | AuthAccepted | AuthRefused


class Link(Protocol):
    """An SMTP connection to one host. Every method may raise LinkFailed unless it says otherwise."""

    @property
    def host(self) -> RemoteHost:
        """The one that was dialled, with its address."""
        ...

    @property
    def our_end(self) -> tuple[str, int]:
        """Our own address and port on it."""
        ...

    @property
    def limits(self) -> Limits:
        """What the greeting in force says that the server takes."""
        ...

    @property
    def hello_text(self) -> str:
        """The lines of the answer to the greeting in force."""
        ...

    @property
    def is_open(self) -> bool:
        """False as soon as it is known that nothing more can be said."""
        ...

    async def greeting(self) -> str:
        """The lines with which the server has begun; waits for them. To be asked before the first `hello`, or never."""
        ...

    async def hello(self) -> Mapping[str, str]:
        """Greets with EHLO, or HELO where that is refused; what the server offers, by upper-case keyword."""
        ...

    async def start_tls(
        self, policy: ClientTLS, *, on_connect: bool, session_key: str = ""
    ) -> tuple[Handshake, AnchorSet]:
        """STARTTLS (unless on connect) and the handshake; `session_key` names the server whose earlier session may
        be resumed, "" for none. Raises StartTLSRefused, HandshakeFailed, TLSFileError, BadCipherList."""
        ...

    async def authenticate(self, mechanism: str, initial: str | None) -> AuthAnswer:
        """AUTH; `initial` in base64."""
        ...

    async def respond(self, text: str) -> AuthAnswer:
        """The answer to a challenge, in base64; "*" breaks the exchange off."""
        ...

    async def ask(self, command: str, stage: Stage) -> Reply:
        """MAIL, RCPT or RSET by itself, without a message to follow; the answer, which is 2xx or from 400 on."""
        ...

    async def send(self, envelope: Envelope, header: bytes, body: Body) -> tuple[Outcome, ...]:
        """One transaction; one outcome per recipient, without host and TLS facts."""
        ...

    async def go_clear(self, limit: float) -> Mapping[str, str]:
        """Ends the TLS layer and greets in clear; what the server offers then. At most `limit` seconds."""
        ...

    async def quit(self) -> None:
        """QUIT and close. Never raises."""
        ...

    async def drop(self) -> None:
        """Closes without a word. Never raises."""
        ...


class Dialer(Protocol):
    """Opens connections."""

    async def dial(self, hosts: tuple[RemoteHost, ...], manners: Manners) -> Link:
        """To the first address that takes it. They are all of one host. Raises LinkFailed."""
        ...
