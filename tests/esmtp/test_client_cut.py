"""A dialog cut at every octet, in either direction: who is delivered, who waits, and what may come twice.

The server answers everything as it should and counts what it got; the line lets so many octets through and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from relay.esmtp.client import Client, ClientSettings, Protocol
from relay.esmtp.client_events import BodyWanted, Closed, Greeted, HelloAccepted, Settled
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.outcome import Deferred, Delivered, Outcome

BODY = [b"Subject: x\r\n\r\n", b".one\r\ntwo\r\n"]
NAMES = ("a", "b")
ENVELOPE = Envelope(Address("s", "b.example"), tuple(Recipient(Address(each, "d.example")) for each in NAMES), size=30)
PLAIN = ClientSettings("laptop")
MANNERS = {
    "one by one": (replace(PLAIN, pipelining=False), b""),
    "in groups": (PLAIN, b"250-PIPELINING\r\n"),
    "by chunks": (replace(PLAIN, chunking=True, chunk_size=8), b"250-PIPELINING\r\n250-CHUNKING\r\n"),
    "LMTP": (replace(PLAIN, protocol=Protocol.LMTP), b"250-PIPELINING\r\n"),
}


@dataclass
class Server:
    """Takes every message; it knows what it has whole."""

    offers: bytes
    is_lmtp: bool
    out: bytes = b"220 relay ESMTP\r\n"
    has_message: bool = False
    _rest: bytes = b""
    _in_data: bool = False
    _chunk: int = 0
    _is_last: bool = False

    def receive(self, data: bytes) -> None:
        self._rest += data
        while True:
            if self._chunk:
                taken = min(self._chunk, len(self._rest))
                self._rest = self._rest[taken:]
                self._chunk -= taken
                if self._chunk:
                    return
                self._end_of(self._is_last)
                continue
            line, found, rest = self._rest.partition(b"\r\n")
            if not found:
                return
            self._rest = rest
            self._line(line)

    def _line(self, line: bytes) -> None:
        word = line.split(b" ")[0]
        if self._in_data:
            if line == b".":
                self._in_data = False
                self._end_of(True)
        elif word in (b"EHLO", b"LHLO"):
            self.out += b"250-relay Hello\r\n" + self.offers + b"250 HELP\r\n"
        elif word == b"DATA":
            self._in_data = True
            self.out += b"354 go on\r\n"
        elif word == b"BDAT":
            self._chunk, self._is_last = int(line.split(b" ")[1]), line.endswith(b" LAST")
            if not self._chunk:
                self._end_of(self._is_last)
        else:
            self.out += b"250 OK\r\n"

    def _end_of(self, is_last: bool) -> None:
        self.has_message = self.has_message or is_last
        self.out += b"250 OK\r\n" * (len(NAMES) if is_last and self.is_lmtp else 1)


@dataclass
class Line:
    """What passes; None: everything."""

    to_server: int | None = None
    to_client: int | None = None
    sent: int = 0
    received: int = 0
    outcomes: tuple[Outcome, ...] = field(default=())


def talk(settings: ClientSettings, server: Server, line: Line) -> None:
    """One message, and QUIT, over a line that is cut."""
    client = Client(settings, 0.0)
    is_cut = False
    while not is_cut:
        data = client.data_to_send()
        if line.to_server is not None and line.sent + len(data) > line.to_server:
            data, is_cut = data[: line.to_server - line.sent], True
        line.sent += len(data)
        server.receive(data)
        data, server.out = server.out, b""
        if line.to_client is not None and line.received + len(data) >= line.to_client:
            data, is_cut = data[: line.to_client - line.received], True
        line.received += len(data)
        client.receive(data, 1.0)
        if step(client, line) and not is_cut:
            return
    if line.to_server is None:
        server.receive(client.data_to_send())  # what was under way
    client.receive_eof()
    step(client, line)


def step(client: Client, line: Line) -> bool:
    """Does what the events ask for; True at the end."""
    while (event := client.next_event()) is not None:
        match event:
            case Greeted():
                client.hello()
            case HelloAccepted():
                client.transact(ENVELOPE)
            case BodyWanted():
                for piece in BODY:
                    client.body(piece)
                client.end_body()
            case Settled(outcomes):
                assert not line.outcomes, "settled twice"
                line.outcomes = outcomes
                client.quit()
            case Closed():
                return True
    return False


def whole(manners: str) -> tuple[Line, Server]:
    settings, offers = MANNERS[manners]
    line, server = Line(), Server(offers, settings.protocol is Protocol.LMTP)
    talk(settings, server, line)
    return line, server


@pytest.mark.parametrize("manners", MANNERS)
def test_nothing_is_cut(manners: str) -> None:
    line, server = whole(manners)
    assert [type(each) for each in line.outcomes] == [Delivered, Delivered]
    assert server.has_message


@pytest.mark.parametrize("manners", MANNERS)
def test_the_replies_are_cut_at_every_octet(manners: str) -> None:
    settings, offers = MANNERS[manners]
    seen = set()
    for place in range(whole(manners)[0].received + 1):
        line, server = Line(to_client=place), Server(offers, settings.protocol is Protocol.LMTP)
        talk(settings, server, line)
        for each in line.outcomes:
            assert isinstance(each, Delivered | Deferred), "a cut line bounces nothing"
            if isinstance(each, Delivered):
                assert server.has_message
            else:
                assert each.possible_duplicate is server.has_message, place
                assert each.host_wide
            seen.add((type(each), server.has_message))
        assert line.outcomes or not server.has_message
    assert seen == {(Deferred, False), (Deferred, True), (Delivered, True)}


@pytest.mark.parametrize("manners", MANNERS)
def test_what_we_say_is_cut_at_every_octet(manners: str) -> None:
    settings, offers = MANNERS[manners]
    for place in range(whole(manners)[0].sent):
        line, server = Line(to_server=place), Server(offers, settings.protocol is Protocol.LMTP)
        talk(settings, server, line)
        for each in line.outcomes:
            assert isinstance(each, Delivered | Deferred), "a cut line bounces nothing"
            assert server.has_message or isinstance(each, Deferred), place
            # Whether the last octets have arrived we can't know: what has, is never said to be lost for certain.
            assert isinstance(each, Delivered) or each.possible_duplicate or not server.has_message, place
