"""A driver for the server machine: it answers at once and keeps everything."""

import functools
from collections.abc import Callable, Iterable

from relay.esmtp.extensions import Offers
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
    Violation,
    VrfyAsked,
    XclientGiven,
)
from relay.esmtp.server import Server
from relay.esmtp.server import ServerSettings as Settings
from relay.mail import reply
from relay.mail.reply import Reply

OFFERS = Offers(
    (
        ("SIZE", "1000"),
        ("8BITMIME", ""),
        ("PIPELINING", ""),
        ("ENHANCEDSTATUSCODES", ""),
        ("STARTTLS", ""),
    )
)
QUESTIONS = (
    Connected,
    HelloGiven,
    TLSAsked,
    SenderGiven,
    RecipientGiven,
    DataAsked,
    MessageEnded,
    VrfyAsked,
    ExpnAsked,
    EtrnAsked,
    AuthAsked,
    AuthResponse,
    AuthAborted,
    XclientGiven,
    QuitGiven,
)
AUTHENTICATED = Reply(235, "2.7.0", ("Authentication succeeded",))


# Whole dialogs at once: a client that waits for nothing. What it must wait for has its own tests.
ServerSettings = functools.partial(Settings, enforce_sync=False)


def willing(question: Question) -> Reply:
    """Answers of a session that has nothing against anything, but for recipients whose name begins with `no`."""
    match question:
        case Connected():
            return reply.SERVICE_READY
        case HelloGiven():
            return reply.OK.with_text("relay Hello")
        case TLSAsked():
            return reply.TLS_GO_AHEAD
        case SenderGiven(sender):
            return reply.SENDER_OK if sender.local_part != "no" else reply.ADMINISTRATIVE_PROHIBITION
        case RecipientGiven(address):
            return reply.RECIPIENT_OK if address.local_part != "no" else reply.RELAY_NOT_PERMITTED
        case DataAsked():
            return reply.SEND_DATA
        case QuitGiven():
            return reply.CLOSING
        case VrfyAsked() | ExpnAsked():
            return reply.CANNOT_VERIFY
        case EtrnAsked() | AuthAsked():
            return reply.NOT_IMPLEMENTED
        case AuthResponse():
            return AUTHENTICATED
        case AuthAborted(refusal):
            return refusal
        case XclientGiven():
            return reply.XCLIENT_SUCCESS
        case MessageEnded():
            return reply.MESSAGE_ACCEPTED


class Session:
    """A driver that answers at once and keeps everything."""

    def __init__(
        self,
        limits: Settings | None = None,
        answer: Callable[[Question], Reply] = willing,
        offers: Offers = OFFERS,
        tls: bool = False,
    ) -> None:
        self.server = Server(limits or ServerSettings(), 0.0, tls)
        self.answer = answer
        self.offers = offers
        self.events: list[ServerEvent] = []
        self.commands: list[CommandRead] = []
        self.sent = b""
        self.run()

    def run(self) -> None:
        while (event := self.server.next_event()) is not None:
            if isinstance(event, CommandRead):
                self.commands.append(event)
                continue
            self.events.append(event)
            if isinstance(event, QUESTIONS):
                assert self.server.open_question is event
                self.server.answer(self.answer(event), self.offers)
        self.sent += self.server.data_to_send()

    def send(self, *pieces: bytes) -> bytes:
        """Gives each piece, and returns what the server said to them."""
        before = len(self.sent)
        for piece in pieces:
            self.server.receive(piece, 1.0)
            self.run()
        return self.sent[before:]

    @property
    def violations(self) -> list[str]:
        return [event.what for event in self.events if isinstance(event, Violation)]

    @property
    def hung_up(self) -> str | None:
        last = self.events[-1]
        return last.how if isinstance(last, HangUp) else None


def next_event(server: Server) -> ServerEvent | None:
    """The next event that is more than the reading of a command."""
    while isinstance(event := server.next_event(), CommandRead):
        pass
    return event


def greeted(**arguments: object) -> Session:
    session = Session(**arguments)  # type: ignore[arg-type]
    session.send(b"EHLO laptop\r\n")
    return session


def codes(replies: bytes) -> list[int]:
    return [int(line[:3]) for line in replies.split(b"\r\n") if line and line[3:4] != b"-"]


def joined(events: Iterable[ServerEvent]) -> list[ServerEvent]:
    """The events with adjoining body pieces put together, and without those of a spoiled message.

    How much of a message comes out before its fault is found is a matter of the split, and it is forgotten.
    """
    together: list[ServerEvent] = []
    for event in events:
        if isinstance(event, MessageSpoiled):
            together = [each for each in together if not isinstance(each, BodyPiece)]
        if isinstance(event, BodyPiece) and together and isinstance(together[-1], BodyPiece):
            together[-1] = BodyPiece(together[-1].data + event.data)
        else:
            together.append(event)
    return together
