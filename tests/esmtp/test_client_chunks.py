"""The client machine by chunks, and its AUTH: playbooks."""

import pytest

from relay.esmtp.client import Client, ClientSettings, Protocol
from relay.esmtp.client_events import (
    AuthAccepted,
    AuthChallenge,
    AuthRefused,
    BodyWanted,
    ClientEvent,
    Garbled,
    LinkLost,
    Refused,
    Settled,
    Stage,
)
from relay.esmtp.parameters import Limits
from relay.mail.address import Address
from relay.mail.envelope import BodyType, Envelope, Recipient
from relay.mail.outcome import Deferred, Delivered, Failed, Outcome
from relay.mail.reply import Reply


def envelope(*names: str, body: BodyType = BodyType.SEVENBIT) -> Envelope:
    return Envelope(Address("a", "b.example"), tuple(Recipient(Address(name, "d.example")) for name in names), body)


class Talk:
    """A client that has said hello to a server with these extensions."""

    def __init__(self, *offers: bytes, protocol: Protocol = Protocol.SMTP, chunk_size: int = 4) -> None:
        self.client = Client(ClientSettings("laptop", protocol, chunking=True, chunk_size=chunk_size), 0.0)
        self.events: list[ClientEvent] = []
        self.hear(b"220 x\r\n")
        self.client.hello()
        self.hear(b"250-x\r\n" + b"".join(b"250-" + each + b"\r\n" for each in offers) + b"250 HELP\r\n")
        self.said()
        self.events.clear()

    def hear(self, data: bytes) -> list[ClientEvent]:
        before = len(self.events)
        self.client.receive(data, 1.0)
        self.drain()
        return self.events[before:]

    def drain(self) -> None:
        while (event := self.client.next_event()) is not None:
            self.events.append(event)

    def said(self) -> bytes:
        return self.client.data_to_send()

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        (settled,) = [event for event in self.events if isinstance(event, Settled)]
        return settled.outcomes


def in_body(*names: str, **more: object) -> Talk:
    talk = Talk(b"PIPELINING", b"CHUNKING", **more)  # type: ignore[arg-type]
    talk.client.transact(envelope(*names or ("c",)))
    talk.said()
    talk.hear(b"250 OK\r\n" + b"250 OK\r\n" * len(names or ("c",)))
    assert talk.events == [BodyWanted()]
    return talk


def test_mail_and_rcpt_in_a_group_then_chunks() -> None:
    talk = Talk(b"PIPELINING", b"CHUNKING")
    talk.client.transact(envelope("c", "d"))
    assert talk.said() == b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<d@d.example>\r\n"
    assert talk.hear(b"250 OK\r\n250 OK\r\n") == []
    assert talk.hear(b"550 no\r\n") == [BodyWanted()]
    talk.client.body(b".x\r")
    assert talk.said() == b""
    talk.client.body(b"\n.\r\n")
    talk.client.end_body()
    assert talk.said() == b"BDAT 7\r\n.x\r\n.\r\nBDAT 0 LAST\r\n"
    assert talk.client.stage is Stage.CHUNK
    assert talk.hear(b"250 7 octets\r\n") == []
    assert talk.client.stage is Stage.END_OF_DATA
    talk.hear(b"250 id=1\r\n")
    assert [type(each) for each in talk.outcomes] == [Delivered, Failed]
    assert talk.client.stage is Stage.IDLE


def test_nobody_accepted_means_no_chunk() -> None:
    talk = Talk(b"PIPELINING", b"CHUNKING")
    talk.client.transact(envelope("c"))
    talk.said()
    talk.hear(b"250 OK\r\n550 no\r\n")
    assert isinstance(talk.outcomes[0], Failed)
    talk.client.transact(envelope("c"))
    assert talk.said().startswith(b"RSET\r\nMAIL")


def test_without_pipelining_it_goes_by_data() -> None:
    talk = Talk(b"CHUNKING")
    talk.client.transact(envelope("c"))
    talk.hear(b"250 OK\r\n")
    talk.hear(b"250 OK\r\n")
    assert talk.said().endswith(b"DATA\r\n")


@pytest.mark.parametrize("reply, kind", [(b"451 later\r\n", Deferred), (b"552 too big\r\n", Failed)])
def test_a_refused_chunk_ends_the_message_and_not_the_session(reply: bytes, kind: type[Outcome]) -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.client.body(b"67890")
    talk.said()
    assert talk.hear(reply) == []
    assert talk.client.is_body_refused
    talk.client.body(b"more")
    talk.client.end_body()
    assert talk.said() == b""
    assert talk.hear(b"503 no\r\n") == [Settled(talk.outcomes)]
    assert isinstance(talk.outcomes[0], kind)
    talk.client.transact(envelope("c"))
    assert talk.said().startswith(b"RSET\r\n")


def test_a_refused_chunk_when_all_is_sent() -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.client.end_body()
    talk.said()
    assert talk.hear(b"552 too big\r\n") == []
    assert talk.hear(b"503 no\r\n") == [Settled(talk.outcomes)]
    assert isinstance(talk.outcomes[0], Failed)


def test_refused_and_nothing_under_way() -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.hear(b"552 too big\r\n")
    talk.client.end_body()
    talk.drain()
    assert isinstance(talk.outcomes[0], Failed)
    assert not talk.said().endswith(b"LAST\r\n")


def test_lost_behind_the_last_chunk_is_a_possible_duplicate() -> None:
    for at_end in (True, False):
        talk = in_body()
        talk.client.body(b"12345")
        if at_end:
            talk.client.end_body()
        talk.client.receive_eof()
        talk.drain()
        (outcome,) = talk.outcomes
        assert isinstance(outcome, Deferred)
        assert outcome.possible_duplicate is at_end


def test_lmtp_has_its_replies_at_the_last_chunk() -> None:
    talk = in_body("c", "d", protocol=Protocol.LMTP)
    talk.client.body(b"12345")
    talk.client.end_body()
    talk.hear(b"250 5 octets\r\n250 c\r\n")
    assert talk.events == [BodyWanted()]
    talk.hear(b"452 d is full\r\n")
    assert [type(each) for each in talk.outcomes] == [Delivered, Deferred]


def test_lmtp_after_a_refused_chunk_is_out_of_step() -> None:
    talk = in_body("c", "d", protocol=Protocol.LMTP)
    talk.client.body(b"12345")
    talk.client.end_body()
    talk.hear(b"552 too big\r\n")
    assert [type(each) for each in talk.outcomes] == [Failed, Failed]
    assert talk.events[-1] == LinkLost(Stage.CHUNK, False)


@pytest.mark.parametrize("reply", [b"354 go\r\n", b"hello\r\n"])
def test_nonsense_for_a_chunk(reply: bytes) -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.hear(reply)
    assert isinstance(talk.outcomes[0], Deferred)
    assert isinstance(talk.events[-1], Garbled)


def test_421_for_a_chunk() -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.hear(b"421 bye\r\n")
    assert isinstance(talk.outcomes[0], Deferred)
    assert isinstance(talk.events[-1], Refused)
    talk.client.body(b"more")
    talk.client.end_body()


def test_a_server_that_does_not_answer_a_chunk() -> None:
    talk = in_body()
    talk.client.body(b"12345")
    talk.client.end_body()
    assert talk.client.deadline() == 301.0
    talk.hear(b"250 OK\r\n")
    assert talk.client.deadline() == 601.0


def test_limits_are_known() -> None:
    assert Talk(b"LIMITS RCPTMAX=3").client.limits == Limits(recipients=3)
    assert Talk().client.limits == Limits()


# AUTH


def test_auth_step_by_step() -> None:
    talk = Talk(b"AUTH LOGIN")
    talk.client.authenticate("LOGIN")
    assert talk.said() == b"AUTH LOGIN\r\n"
    assert talk.hear(b"334 " + b"A" * 12000 + b"\r\n") == [AuthChallenge("A" * 12000)]
    assert talk.client.deadline() is None
    talk.client.respond("Zm9v", 5.0)
    assert talk.said() == b"Zm9v\r\n"
    assert talk.client.deadline() == 305.0
    assert talk.hear(b"235 2.7.0 fine\r\n") == [AuthAccepted(Reply(235, "2.7.0", ("fine",)))]
    talk.client.transact(envelope("c"))
    assert talk.said() == b"MAIL FROM:<a@b.example>\r\n"


def test_auth_with_an_initial_response() -> None:
    talk = Talk(b"AUTH PLAIN")
    talk.client.authenticate("EXTERNAL", "=")
    assert talk.said() == b"AUTH EXTERNAL =\r\n"
    assert talk.hear(b"535 5.7.8 no\r\n") == [AuthRefused(Reply(535, "5.7.8", ("no",)))]
    assert talk.client.stage is Stage.IDLE


def test_auth_broken_off() -> None:
    talk = Talk(b"AUTH PLAIN")
    talk.client.authenticate("LOGIN")
    talk.hear(b"334 x\r\n")
    with pytest.raises(RuntimeError):
        talk.client.transact(envelope("c"))
    talk.client.cancel_auth()
    assert talk.said().endswith(b"*\r\n")
    assert talk.hear(b"501 cancelled\r\n") == [AuthRefused(Reply(501, "", ("cancelled",)))]
    with pytest.raises(RuntimeError):
        talk.client.respond("x")


def test_auth_with_an_odd_answer() -> None:
    talk = Talk(b"AUTH PLAIN")
    talk.client.authenticate("PLAIN", "x")
    assert [type(event) for event in talk.hear(b"154 go\r\n")] == [Garbled]
    talk.client.respond("x")
    assert talk.said().count(b"\r\n") == 1
