"""Client and server machine wired to each other: what the one sends is what the other's session gets."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.client import Client, ClientSettings
from relay.esmtp.client_events import (
    BodyWanted,
    Closed,
    Garbled,
    Greeted,
    HelloAccepted,
    LinkLost,
    Refused,
    Settled,
    TLSGoAhead,
)
from relay.esmtp.extensions import Offers, declared_body, declared_size
from relay.esmtp.questions import (
    BodyPiece,
    CommandRead,
    Connected,
    DataAsked,
    HangUp,
    HelloGiven,
    MessageEnded,
    QuitGiven,
    RecipientGiven,
    SenderGiven,
    TLSAsked,
    TransactionReset,
    Violation,
)
from relay.esmtp.server import Server, ServerSettings
from relay.mail import reply
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType, Envelope, Recipient
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Delivered, Failed, Outcome

TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256)


@dataclasses.dataclass
class Received:
    """A message as the server's session got it."""

    sender: Address
    recipients: list[Address]
    body: bytes
    size: int
    kind: BodyType


class Wire:
    """Both ends, and octets carried between them in pieces of `step`."""

    def __init__(
        self, offers: tuple[str, ...], step: int, messages: list[tuple[Envelope, bytes]], chunking: bool = False
    ) -> None:
        self.offers = Offers(tuple((keyword, "") for keyword in offers))
        self.step = step
        self.client = Client(ClientSettings("laptop", chunking=chunking, chunk_size=5), 0.0)
        self.server = Server(ServerSettings(max_nonmail=2), 0.0)
        self.to_do = list(messages)
        self.body = b""
        self.settled: list[tuple[Outcome, ...]] = []
        self.received: list[Received] = []
        self.open: Received | None = None
        self.in_clear = b""
        self.in_tls = False
        self.ended: list[object] = []

    def run(self) -> None:
        moved = True
        while moved:
            moved = self.drive_server() | self.drive_client()
            moved |= self.carry(self.client.data_to_send(), self.server, self.drive_server)
            moved |= self.carry(self.server.data_to_send(), self.client, self.drive_client)

    def carry(self, data, to, drive) -> bool:
        if to is self.server and not self.in_tls:
            self.in_clear += data
        for start in range(0, len(data), self.step):
            to.receive(data[start : start + self.step], 1.0)
            drive()
        return bool(data)

    def drive_server(self) -> bool:
        moved = False
        while (event := self.server.next_event()) is not None:
            moved = True
            match event:
                case Connected():
                    self.server.answer(reply.SERVICE_READY)
                case HelloGiven():
                    self.server.answer(reply.OK, self.offers)
                case TLSAsked():
                    self.server.answer(reply.TLS_GO_AHEAD)
                case SenderGiven(sender, parameters):
                    self.open = Received(sender, [], b"", declared_size(parameters), declared_body(parameters))
                    self.server.answer(reply.SENDER_OK)
                case RecipientGiven(address):
                    good = not address.local_part.startswith("no")
                    if good:
                        self.open.recipients.append(address)
                    self.server.answer(reply.RECIPIENT_OK if good else reply.RELAY_NOT_PERMITTED)
                case DataAsked():
                    self.server.answer(reply.SEND_DATA)
                case BodyPiece(data):
                    self.open.body += data
                case MessageEnded():
                    self.received.append(self.open)
                    self.server.answer(reply.MESSAGE_ACCEPTED)
                case TransactionReset():
                    self.open = None
                case QuitGiven():
                    self.server.answer(reply.CLOSING)
                case CommandRead():
                    pass
                case HangUp() | Violation():
                    self.ended.append(event)
                case _:
                    raise AssertionError(event)
        return moved

    def drive_client(self) -> bool:
        moved = False
        while (event := self.client.next_event()) is not None:
            moved = True
            match event:
                case Greeted():
                    self.client.hello()
                case HelloAccepted(extensions=extensions) if "STARTTLS" in extensions:
                    self.client.starttls()
                case HelloAccepted():
                    self.next_message()
                case TLSGoAhead():
                    assert self.client.switch_layer() == self.server.switch_layer() == b""
                    self.server.layer_changed(2.0, True)
                    self.client.layer_changed(2.0, TLS)
                    self.in_tls = True
                    self.client.hello()
                case BodyWanted():
                    for start in range(0, len(self.body), 3):
                        self.client.body(self.body[start : start + 3])
                    self.client.end_body()
                case Settled(outcomes):
                    self.settled.append(outcomes)
                    self.next_message()
                case Closed() | LinkLost() | Garbled() | Refused():
                    self.ended.append(event)
                case _:
                    raise AssertionError(event)
        return moved

    def next_message(self) -> None:
        if not self.to_do:
            self.client.quit()
            return
        envelope, self.body = self.to_do.pop(0)
        self.client.transact(envelope)


LOCAL_PARTS = st.one_of(
    st.sampled_from(["a", "no", "no.way", "b c", 'q"\\', "x>y", "a..b", "ä"]),
    st.text(alphabet='abc.+ "\\@<>', min_size=1, max_size=8),
)
ADDRESSES = st.builds(Address, LOCAL_PARTS, st.sampled_from(["example", "x.example", "[192.0.2.1]"]))
BODIES = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\xff", b"\r\n.", b".\r\n"]), max_size=15).map(b"".join)
ENVELOPES = st.builds(
    Envelope,
    st.one_of(ADDRESSES, st.just(NULL_SENDER)),
    st.lists(st.builds(Recipient, ADDRESSES), min_size=1, max_size=4).map(tuple),
    st.sampled_from(BodyType),
    st.integers(0, 1000),
)
EXTENSIONS = st.sets(
    st.sampled_from(
        [
            "PIPELINING",
            "SIZE",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "STARTTLS",
            "CHUNKING",
            "BINARYMIME",
            "SMTPUTF8",
        ]
    )
)


def is_taken(envelope: Envelope, recipient: Recipient, extensions: set[str]) -> bool:
    """Whether a message reaches this recipient at a server with these extensions."""
    if envelope.body is BodyType.BINARYMIME and not {"BINARYMIME", "CHUNKING", "PIPELINING"} <= extensions:
        return False
    addresses = f"{envelope.sender}{recipient.address}"
    if not addresses.isascii() and "SMTPUTF8" not in extensions:
        return False
    return not recipient.address.local_part.startswith("no")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ENVELOPES, BODIES), max_size=4), EXTENSIONS, st.sampled_from([1, 7, 10000]), st.booleans())
def test_every_message_arrives_as_it_was_sent(
    messages: list[tuple[Envelope, bytes]], extensions: set[str], step: int, chunking: bool
) -> None:
    wire = Wire(tuple(sorted(extensions)), step, messages, chunking)
    wire.run()
    assert wire.ended == [HangUp("by QUIT"), Closed()]
    assert len(wire.settled) == len(messages)
    arrived = iter(wire.received)
    for (envelope, body), outcomes in zip(messages, wire.settled, strict=True):
        good = [is_taken(envelope, each, extensions) for each in envelope.recipients]
        assert [isinstance(outcome, Delivered) for outcome in outcomes] == good
        assert [isinstance(outcome, Failed) for outcome in outcomes] == [not each for each in good]
        if not any(good):
            continue
        message = next(arrived)
        assert message.sender == envelope.sender
        assert message.recipients == [
            each.address for each, taken in zip(envelope.recipients, good, strict=True) if taken
        ]
        is_whole = body.endswith(b"\r\n") or not body or envelope.body is BodyType.BINARYMIME
        assert message.body == (body if is_whole else body + b"\r\n")
        assert message.size == (envelope.size if "SIZE" in extensions else 0)
        is_declared = "8BITMIME" in extensions or envelope.body is BodyType.BINARYMIME
        assert message.kind is (envelope.body if is_declared else BodyType.SEVENBIT)
    assert next(arrived, None) is None


@pytest.mark.parametrize("step", [1, 10000])
def test_with_starttls_nothing_of_the_message_goes_in_clear(step: int) -> None:
    message = (Envelope(Address("a", "b"), (Recipient(Address("c", "d")),)), b"secret\r\n")
    wire = Wire(("STARTTLS", "PIPELINING"), step, [message])
    wire.run()
    assert wire.in_clear == b"EHLO laptop\r\nSTARTTLS\r\n"
    assert [received.body for received in wire.received] == [b"secret\r\n"]
    assert wire.settled[0][0].tls is TLS
