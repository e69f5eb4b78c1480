"""A session over ports that answer at once and refuse the unexpected: what each question gets, what is forgotten."""

from __future__ import annotations

import datetime
import random
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from OpenSSL import SSL

from policy.acl_world import KeptHints
from relay.esmtp import questions as esmtp
from relay.esmtp.answers import Answer
from relay.esmtp.limits import ServerSettings
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import Scope
from relay.mail import events, reply
from relay.mail.address import Address, address_from_text
from relay.mail.envelope import BodyType, Parameters
from relay.mail.facts import Authentication, Endpoint, Hello, LocalCaller, NotAsked, SessionFacts, Unverified, Verified
from relay.mail.header import split_header
from relay.mail.ports import Capacity, SpoolFull, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import CHUNK_SIZE, NewMessage
from relay.mail.source import Location
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import parse_acl
from relay.policy.acl_program import ConditionPorts
from relay.policy.acl_values import Where
from relay.policy.rewrite import RewriteRule, parse_rewrite_rules
from relay.policy.tls import ServerTLSRules
from relay.policy.verification import Finding, Role
from relay.policy.verification import Verified as Judged
from relay.reception.message import HEADER_LIMIT
from relay.reception.rules import Ports, Rules
from relay.reception.session import Session, TLSRefused, make_facts
from relay.tls.anchors import AnchorSet
from relay.tls.ciphers import BadCipherList
from relay.tls.contexts import TLSContext
from relay.tls.engine import Handshake
from relay.tls.files import TLSFileError
from relay.tls.hello import ClientHello
from relay.tls.names import read_certificate
from relay.tls.policy import ServerTLS

import certs
from certs import CertKey

T = TypeVar("T")

NOW = datetime.datetime.now(datetime.UTC).timestamp()
PEER, LOCAL = Endpoint("192.0.2.7", 40000), Endpoint("192.0.2.1", 25)
MESSAGE = b"From: anna@laptop.test\r\nMessage-ID: <one@laptop.test>\r\nSubject: hello\r\n\r\nbody\r\n"
LONG = b"Subject: long\r\n\r\n" + b"x" * (CHUNK_SIZE + 10)
FAILS = "${expand:\\${bad}}"
FORCED = "${if eq{1}{2}{a}fail}"
ANYBODY = compile_list(ListKind.HOST, "*")
ANY_RCPT = {Where.RCPT: "accept"}


def answer(question: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine whose ports answer at once."""
    try:
        question.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    question.close()
    raise AssertionError("a port did not answer at once")


class Pause:
    """An answer that takes its time."""

    def __await__(self) -> Generator[str, None, None]:
        yield "waiting for the disk"


@dataclass
class Shelf:
    """The queue, and a journal and a runner beside it: what happens to a message goes into one story, in order."""

    story: list[str] = field(default_factory=list)
    events: list[events.Event] = field(default_factory=list)
    accepted: list[tuple[NewMessage, bytes]] = field(default_factory=list)
    pieces: dict[str, list[bytes]] = field(default_factory=dict)
    append_trouble: SpoolUnavailable | None = None
    accept_trouble: SpoolUnavailable | None = None
    slow: bool = False
    has_room: bool = True

    # Intake

    async def append(self, message_id: str, number: int, chunk: bytes) -> None:
        kept = self.pieces.setdefault(message_id, [])
        if self.append_trouble is not None and kept:
            raise self.append_trouble
        assert number == len(kept)
        kept.append(chunk)

    async def accept(self, message: NewMessage, number: int, tail: bytes) -> None:
        assert message.message_id not in {each.message_id for each, _ in self.accepted}
        kept = self.pieces.get(message.message_id, [])
        assert number == len(kept)
        if self.slow:
            await Pause()
        if self.accept_trouble is not None:
            raise self.accept_trouble
        self.pieces.pop(message.message_id, None)
        self.accepted.append((message, b"".join((*kept, tail))))
        self.story.append("on disk")

    async def abandon(self, message_id: str) -> None:
        assert message_id not in {each.message_id for each, _ in self.accepted}, "an accepted message is taken back"
        self.pieces.pop(message_id, None)

    # Runner

    def takes_new(self) -> bool:
        return self.has_room

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        self.story.append("runner told to route" if routes_only else "runner told")

    # Journal

    def record(self, event: events.Event) -> None:
        self.events.append(event)
        self.story.append(type(event).__name__)

    def of(self, kind: type[T]) -> list[T]:
        return [each for each in self.events if isinstance(each, kind)]


class StoppedClock:
    def now(self) -> float:
        return NOW


class NoConcurrency:
    """Nobody is to wait or to ask twice at a time."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not asked for")


@dataclass
class Contexts:
    """TLS contexts that judge by these anchors; what was asked for is kept."""

    anchors: tuple[CertKey, ...] = ()
    trouble: Exception | None = None
    asked: list[ServerTLS] = field(default_factory=list)

    async def server(self, policy: ServerTLS) -> TLSContext:
        self.asked.append(policy)
        if self.trouble is not None:
            raise self.trouble
        anchors = AnchorSet([each.certificate for each in self.anchors], [])
        return TLSContext(SSL.Context(SSL.TLS_SERVER_METHOD), anchors)


def tls_rules(**changes: Any) -> ServerTLSRules:
    rules = ServerTLSRules(
        advertise_hosts=ANYBODY, certificate=compile_expansion("/relay.crt"), try_verify_hosts=ANYBODY
    )
    return replace(rules, **changes)


def references(acls: Mapping[Where, str]) -> dict[Where, ACLReference]:
    found = {}
    for where, text in acls.items():
        lines = tuple(
            (Location("conf", number), line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        )
        acl = parse_acl(where.name, lines, None)  # type: ignore[arg-type]  # no named lists in these
        found[where] = ACLReference(compile_expansion(where.name.lower()), Location("conf", 1), acl)
    return found


class Client:
    """A client that says one thing after the other, and the session that answers it."""

    def __init__(
        self,
        acls: Mapping[Where, str] | None = None,
        *,
        contexts: Contexts | None = None,
        conditions: ConditionPorts | None = None,
        capacity: Capacity | None = None,
        **rules: Any,
    ) -> None:
        self.shelf = Shelf()
        self.contexts = contexts or Contexts()
        defaults: dict[str, Any] = {
            "primary_hostname": "relay.test",
            "qualify_domain": "relay.test",
            "qualify_recipient": "here.test",
            "banner": compile_expansion("$primary_hostname ESMTP"),
            "received_header": compile_expansion("Received: from $sender_helo_name\n\tby relay.test"),
            "tls": tls_rules(),
            "acls": references(acls if acls is not None else ANY_RCPT),
            "main": {"primary_hostname": "relay.test"},
        }
        ports = Ports(
            clock=StoppedClock(),
            journal=self.shelf,
            intake=self.shelf,
            concurrency=NoConcurrency(),  # type: ignore[arg-type]
            contexts=self.contexts,
            runner=self.shelf,
            random=random.Random(1),
            conditions=conditions or ConditionPorts(),
            capacity=capacity,
        )
        self.session = Session(Rules(**{**defaults, **rules}), ports, make_facts(PEER, LOCAL, tls_on_connect=False))

    def ask(self, question: esmtp.Question) -> Answer:
        return answer(self.session.decide(question))

    def code(self, question: esmtp.Question) -> int:
        return self.ask(question).reply.code

    def hello(self, name: str = "laptop", extended: bool = True) -> Answer:
        return self.ask(esmtp.HelloGiven(name, extended))

    def mail(self, sender: str = "anna@laptop.test", **parameters: str) -> Answer:
        return self.ask(esmtp.SenderGiven(address_from_text(sender), Parameters(tuple(parameters.items()))))

    def rcpt(self, recipient: str = "bert@far.test") -> Answer:
        return self.ask(esmtp.RecipientGiven(address_from_text(recipient), Parameters()))

    def data(self, message: bytes = MESSAGE) -> Answer:
        """DATA and the message; the answer to its end."""
        assert self.code(esmtp.DataAsked()) == 354
        for start in range(0, len(message), 10_000):
            answer(self.session.body(message[start : start + 10_000]))
        return self.ask(esmtp.MessageEnded(len(message)))

    def up_to_the_end(self, message: bytes) -> None:
        """A transaction, and all of its data but the end."""
        self.mail()
        self.rcpt()
        self.ask(esmtp.DataAsked())
        answer(self.session.body(message))

    def message(self, message: bytes = MESSAGE, *recipients: str) -> Answer:
        """A whole transaction; the answer to its end."""
        assert self.mail().reply.code == 250
        for each in recipients or ("bert@far.test",):
            assert self.rcpt(each).reply.code == 250
        return self.data(message)

    def tls(self, shown: CertKey | None = None, sni: str = "") -> None:
        """STARTTLS and a handshake in which this certificate is shown."""
        assert self.code(esmtp.TLSAsked()) == 220
        answer(self.session.tls_context(ClientHello(sni)))
        self.session.layer_up(handshake(shown), ClientHello(sni))

    @property
    def queued(self) -> NewMessage:
        ((message, _),) = self.shelf.accepted
        return message

    def fields(self) -> list[tuple[str, str]]:
        return [(each.name, each.value.decode()) for each in split_header(self.queued.header)[0]]


def handshake(shown: CertKey | None = None) -> Handshake:
    chain = () if shown is None else (shown.certificate,)
    peer = read_certificate(chain[0]) if chain else None
    return Handshake("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, "x25519", "", False, None, peer, chain, b"b" * 32)


def rejections(client: Client) -> list[tuple[str, bool]]:
    return [(each.command, each.temporary) for each in client.shelf.of(events.CommandRejected)]


# Each question, with nothing configured


@pytest.mark.parametrize(
    "question, code",
    [
        (esmtp.Connected(), 220),
        (esmtp.HelloGiven("laptop", True), 250),
        (esmtp.HelloGiven("laptop", False), 250),
        (esmtp.TLSAsked(), 220),
        (esmtp.SenderGiven(Address("a", "b.test"), Parameters()), 250),
        (esmtp.SenderGiven(Address("", ""), Parameters()), 250),
        (esmtp.AuthAsked("PLAIN", None), 504),
        (esmtp.QuitGiven(), 221),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else "",
)
def test_questions(question: esmtp.Question, code: int) -> None:
    client = Client({})
    assert client.code(question) == code
    assert client.shelf.events == []


def test_without_an_acl_for_rcpt_nobody_relays() -> None:
    client = Client({})
    client.hello()
    client.mail()
    refused = client.rcpt()
    assert refused == Answer(reply.ADMINISTRATIVE_PROHIBITION)
    (event,) = client.shelf.of(events.CommandRejected)
    assert (event.command, event.sender, event.temporary) == (
        "RCPT <bert@far.test>",
        Address("anna", "laptop.test"),
        False,
    )


def test_the_banner_may_have_lines() -> None:
    client = Client(banner=compile_expansion("relay.test ESMTP\nno spam"))
    assert client.ask(esmtp.Connected()).reply.lines == ("relay.test ESMTP", "no spam")


def test_the_greeting_names_both() -> None:
    client = Client()
    assert client.hello("laptop").reply.text == "relay.test Hello laptop [192.0.2.7]"
    assert client.session.facts.hello == Hello("laptop", True)


# What EHLO offers


def test_offers_in_clear_and_in_tls() -> None:
    client = Client(message_size_limit=1000)
    offers = client.hello().offers
    assert offers is not None
    assert dict(offers.items).keys() == {"SIZE", "8BITMIME", "PIPELINING", "STARTTLS", "HELP"}
    assert ("SIZE", "1000") in offers.items
    client.tls()
    inside = client.hello().offers
    assert inside is not None
    assert "STARTTLS" not in inside
    assert "PIPELINING" in inside


def test_helo_offers_nothing() -> None:
    offers = Client().hello(extended=False).offers
    assert offers is not None
    assert offers.items == ()


@pytest.mark.parametrize(
    "hosts, offered",
    [("*", True), ("192.0.2.0/24", True), ("!192.0.2.7 : *", False), ("198.51.100.1", False), ("", False)],
)
def test_starttls_is_offered_to_whom_it_may_concern(hosts: str, offered: bool) -> None:
    client = Client(tls=tls_rules(advertise_hosts=compile_list(ListKind.HOST, hosts)))
    offers = client.hello().offers
    assert offers is not None
    assert ("STARTTLS" in offers) is offered


def test_an_acl_takes_pipelining_away() -> None:
    offers = Client({Where.CONNECT: "accept control = no_pipelining"})
    offers.ask(esmtp.Connected())
    offered = offers.hello().offers
    assert offered is not None
    assert "PIPELINING" not in offered


# What ACLs refuse

REFUSABLE = [
    (Where.CONNECT, 'connection in "connect" ACL'),
    (Where.HELO, "EHLO or HELO laptop"),
    (Where.STARTTLS, "STARTTLS "),
    (Where.MAIL, "MAIL <anna@laptop.test>"),
    (Where.RCPT, "RCPT <bert@far.test>"),
    (Where.PREDATA, "DATA"),
    (Where.DATA, "after DATA"),
]


def until_refused(client: Client) -> Answer:
    """Goes on until the answer is no."""
    steps = (
        lambda: client.ask(esmtp.Connected()),
        client.hello,
        lambda: client.ask(esmtp.TLSAsked()),
        client.mail,
        client.rcpt,
        lambda: client.ask(esmtp.DataAsked()),
        lambda: client.ask(esmtp.MessageEnded(0)),
    )
    for step in steps:
        answered = step()
        if not answered.reply.is_positive:
            return answered
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("where, command", REFUSABLE, ids=lambda value: value.name if isinstance(value, Where) else "")
@pytest.mark.parametrize("verb, code, temporary", [("deny", 550, False), ("defer", 451, True), ("drop", 550, False)])
def test_what_an_acl_refuses(where: Where, command: str, verb: str, code: int, temporary: bool) -> None:
    client = Client({Where.RCPT: "accept", where: f"{verb} message = no thanks"})
    refused = until_refused(client)
    assert (refused.reply.code, refused.reply.text) == (code, "no thanks")
    assert rejections(client) == [(command, temporary)]
    assert refused.hang_up is (verb == "drop" or where is Where.CONNECT)
    assert client.shelf.accepted == []
    assert "runner told" not in client.shelf.story


def test_an_acl_that_breaks_refuses_for_now() -> None:
    client = Client({Where.RCPT: f"accept condition = {FAILS}"})
    client.hello()
    client.mail()
    assert client.rcpt().reply == reply.LOCAL_PROBLEM
    assert rejections(client) == [("RCPT <bert@far.test>", True)]


def test_a_refused_hello_does_not_stand() -> None:
    client = Client({Where.HELO: "deny condition = ${if eq{$sender_helo_name}{bad}}\naccept"})
    client.hello("good")
    assert client.hello("bad").reply.code == 550
    assert client.session.facts.hello is None


def test_a_refused_mail_opens_nothing() -> None:
    client = Client({Where.MAIL: "deny"})
    client.hello()
    client.mail()
    assert client.session.scope().message is None


def test_success_replies_can_be_worded() -> None:
    client = Client({Where.MAIL: "accept message = fine", Where.RCPT: "accept message = 550 not a success"})
    client.hello()
    assert client.mail().reply == reply.SENDER_OK.with_text("fine")
    accepted = client.rcpt().reply
    assert (accepted.code, accepted.text) == (250, "not a success")


# Addresses


def test_an_unqualified_sender_is_refused() -> None:
    client = Client()
    client.hello()
    refused = client.mail("anna").reply
    assert (refused.code, refused.text) == (501, "<anna>: sender address must contain a domain")
    assert client.session.scope().message is None


@pytest.mark.parametrize(
    "recipient, accepted", [("bert", None), ("Postmaster", "Postmaster@here.test"), ("post", None)]
)
def test_an_unqualified_recipient_is_refused_unless_it_is_the_postmaster(recipient: str, accepted: str | None) -> None:
    client = Client()
    client.hello()
    client.mail()
    answered = client.rcpt(recipient)
    if accepted is None:
        assert answered.reply.code == reply.UNQUALIFIED_ADDRESS.code
        assert answered.reply.text == f"<{recipient}>: recipient address must contain a domain"
        (told,) = client.shelf.of(events.ProtocolViolated)
        assert (told.what, told.input) == ("unqualified recipient", recipient)
    else:
        client.data()
        assert [str(each.address) for each in client.queued.recipients] == [accepted]


def test_the_acl_sees_the_recipient() -> None:
    client = Client({Where.RCPT: "accept domains = far.test : here.test\ndeny message = $local_part at $domain"})
    client.hello()
    client.mail()
    assert client.rcpt("bert@far.test").reply.code == 250
    assert client.rcpt("postmaster").reply.code == 250
    assert client.rcpt("carl@near.test").reply.text == "carl at near.test"


def test_too_many_recipients() -> None:
    client = Client(recipients_max=2)
    client.hello()
    client.mail()
    assert [client.rcpt(f"{each}@far.test").reply.code for each in "abcd"] == [250, 250, 452, 452]
    assert client.data().reply.code == 250
    assert [str(each.address) for each in client.queued.recipients] == ["a@far.test", "b@far.test"]


# A message is accepted


def test_an_accepted_message() -> None:
    client = Client({Where.RCPT: "accept set acl_m_r = $local_part\nset acl_c_n = 7"})
    client.hello()
    client.mail(BODY="8bitmime", SIZE="100")
    client.rcpt()
    accepted = client.data()
    ((message, body),) = client.shelf.accepted
    assert accepted.reply == reply.MESSAGE_ACCEPTED.with_text(f"OK id={message.message_id}")
    assert (message.sender, body, message.body_size) == (Address("anna", "laptop.test"), b"body\r\n", 6)
    assert message.body_type is BodyType.EIGHTBITMIME
    assert message.facts.session == client.session.facts
    assert message.facts.received_at == NOW
    assert message.facts.acl_variables == {"acl_m_r": "bert", "acl_c_n": "7"}
    assert (message.due, message.frozen) == (None, False)
    assert message.header.endswith(MESSAGE.split(b"\r\n\r\n")[0] + b"\r\n")
    trace = client.fields()[0]
    assert trace[0] == "Received"
    assert trace[1].startswith("from laptop\tby relay.test;\t")
    (arrived,) = client.shelf.of(events.Arrived)
    assert arrived == events.Arrived(
        message.message_id,
        message.sender,
        client.session.facts,
        len(message.header) + 2 + 6,
        header_message_id="<one@laptop.test>",
        subject="hello",
        recipients=(Address("bert", "far.test"),),
        named=(Address("bert", "far.test"),),
        body="8BITMIME",
    )


@pytest.mark.parametrize("others", [(), ("carl@far.test",)], ids=["one", "two"])
def test_the_trace_field_names_a_single_recipient(others: tuple[str, ...]) -> None:
    """Of several none, so that blind copies stay blind (Exim: $received_for)."""
    client = Client(received_header=compile_expansion("by relay.test${if def:received_for{ for $received_for}}"))
    client.hello()
    client.message(MESSAGE, "bert@far.test", *others)
    assert ("for bert@far.test" in client.fields()[0][1]) is (not others)


def test_first_on_disk_then_in_the_log_then_the_runner_then_the_reply() -> None:
    client = Client()
    client.hello()
    client.up_to_the_end(MESSAGE)
    client.shelf.slow = True
    decision = client.session.decide(esmtp.MessageEnded(len(MESSAGE)))
    assert decision.send(None) == "waiting for the disk"
    assert client.shelf.story == []
    with pytest.raises(StopIteration) as ended:
        decision.send(None)
    assert client.shelf.story == ["on disk", "Arrived", "runner told"]
    assert ended.value.value.reply.code == 250


def test_a_client_that_goes_during_the_commit_does_not_undo_it() -> None:
    client = Client()
    client.hello()
    client.up_to_the_end(LONG)
    client.shelf.slow = True
    decision = client.session.decide(esmtp.MessageEnded(len(LONG)))
    decision.send(None)
    with pytest.raises(StopIteration):
        decision.send(None)
    answer(client.session.abandon())
    assert len(client.shelf.accepted) == 1


def test_several_messages_in_one_session() -> None:
    client = Client()
    client.hello()
    for _ in range(3):
        assert client.message().reply.code == 250
    assert len({message.message_id for message, _ in client.shelf.accepted}) == 3


def test_a_long_body_arrives_whole() -> None:
    client = Client()
    client.hello()
    assert client.message(LONG).reply.code == 250
    ((_, body),) = client.shelf.accepted
    assert body == LONG.split(b"\r\n\r\n", 1)[1]


# The queue can't take it


@pytest.mark.parametrize(
    "trouble, code", [(SpoolFull("no room"), 452), (SpoolUnavailable("the disk is away"), 451)], ids=["full", "away"]
)
@pytest.mark.parametrize("when", ["append_trouble", "accept_trouble"])
def test_what_the_queue_does_not_take_is_never_accepted(trouble: SpoolUnavailable, code: int, when: str) -> None:
    client = Client()
    client.hello()
    setattr(client.shelf, when, trouble)
    answered = client.message(LONG + LONG)
    assert answered.reply.code == code
    assert client.shelf.of(events.Trouble) == [events.Trouble(str(trouble))]
    assert client.shelf.of(events.Arrived) == []
    assert "runner told" not in client.shelf.story
    setattr(client.shelf, when, None)
    assert client.message().reply.code == 250


@pytest.mark.parametrize("when", ["append_trouble", "accept_trouble"])
def test_what_the_queue_had_of_it_already_is_taken_back(when: str) -> None:
    client = Client()
    client.hello()
    setattr(client.shelf, when, SpoolFull("no room"))
    client.message(LONG + LONG)
    assert client.shelf.pieces == {}


def test_after_trouble_there_is_no_transaction() -> None:
    client = Client()
    client.hello()
    client.shelf.accept_trouble = SpoolUnavailable("away")
    client.message()
    assert client.session.scope().message is None


def test_an_aborted_message_is_taken_back() -> None:
    client = Client()
    client.hello()
    client.up_to_the_end(LONG)
    assert client.shelf.pieces
    answer(client.session.abandon())
    assert client.shelf.pieces == {}
    assert client.shelf.accepted == []


def test_who_will_not_hear_that_we_have_it_keeps_its_message() -> None:
    """It sends it again, and the recipient would have it twice (RFC 1047)."""
    client = Client()
    client.hello()
    client.up_to_the_end(LONG)
    client.session.gone()
    answered = client.ask(esmtp.MessageEnded(len(LONG)))
    assert (answered.reply.code, answered.hang_up) == (421, True)
    assert (client.shelf.accepted, client.shelf.pieces) == ([], {})
    [told] = client.shelf.of(events.ClientGone)
    assert told.session == client.session.facts
    assert client.shelf.of(events.Arrived) == []


# Our own configuration fails


@pytest.mark.parametrize("text", [FAILS, FORCED], ids=["failure", "forced failure"])
def test_a_banner_that_fails(text: str) -> None:
    client = Client(banner=compile_expansion(text))
    assert client.ask(esmtp.Connected()).reply == reply.LOCAL_PROBLEM
    assert len(client.shelf.of(events.Trouble)) == 1


@pytest.mark.parametrize("text", [FAILS, FORCED], ids=["failure", "forced failure"])
def test_a_trace_field_that_fails(text: str) -> None:
    client = Client(received_header=compile_expansion(text))
    client.hello()
    assert client.message(LONG).reply == reply.LOCAL_PROBLEM
    assert len(client.shelf.of(events.Trouble)) == 1
    assert client.shelf.accepted == []
    assert client.shelf.pieces == {}


def test_a_list_that_can_not_be_asked() -> None:
    client = Client(tls=tls_rules(advertise_hosts=compile_list(ListKind.HOST, FAILS)))
    assert client.hello().reply == reply.LOCAL_PROBLEM
    assert len(client.shelf.of(events.Trouble)) == 1


# TLS


@pytest.mark.parametrize(
    "trouble, certificate",
    [
        (TLSFileError("/relay.crt", "there is no such file", "make one"), "/relay.crt"),
        (BadCipherList("no cipher suite matches 'x'"), "/relay.crt"),
        (TemporaryFailure("a lookup has no answer"), "/relay.crt"),
        (None, ""),
        (None, FORCED),
        (None, FAILS),
    ],
    ids=["file", "ciphers", "lookup", "unset", "forced failure", "failure"],
)
def test_tls_that_can_not_be_set_up(trouble: Exception | None, certificate: str) -> None:
    rules = tls_rules(certificate=compile_expansion(certificate))
    client = Client(contexts=Contexts(trouble=trouble), tls=rules)
    client.hello()
    assert client.ask(esmtp.TLSAsked()) == Answer(reply.TLS_NOT_AVAILABLE, poison=reply.SECURITY_FAILURE)
    assert client.shelf.story == ["TLSUnusable"]
    with pytest.raises(TLSRefused):
        answer(client.session.tls_context(ClientHello()))


@pytest.mark.parametrize(("remembers", "protocol"), [(True, "esmtps"), (False, "smtps")])
def test_that_esmtp_was_spoken_may_be_remembered_and_no_name(remembers: bool, protocol: str) -> None:
    """Exim: tls_remember_esmtp."""
    client = Client(server_settings=ServerSettings(remember_esmtp=remembers))
    client.hello()
    client.tls()
    facts = client.session.facts
    assert (facts.protocol(), facts.hello.name if facts.hello else "") == (protocol, "")
    client.session.layer_down()
    assert client.session.facts.hello is None


def test_one_policy_serves_the_command_and_the_handshake() -> None:
    client = Client()
    client.tls(sni="relay.test")
    first, second = client.contexts.asked
    assert first is second
    assert (first.certificate, first.policy_name) == ("/relay.crt", "[192.0.2.1]:25")


def test_files_that_change_while_a_client_takes_its_time_are_in_force_for_its_handshake() -> None:
    client = Client(contexts=Contexts((certs.laptop(),)))
    assert client.code(esmtp.TLSAsked()) == 220
    client.contexts.anchors = ()
    answer(client.session.tls_context(ClientHello()))
    client.session.layer_up(handshake(certs.laptop()), ClientHello())
    assert client.session.facts.tls is not None
    assert not client.session.facts.tls.is_verified


def test_the_name_that_is_asked_for_chooses_the_certificate() -> None:
    by_name = compile_expansion("${if eq{$tls_in_sni}{b.test}{/b.crt}{/a.crt}}")
    client = Client(tls=tls_rules(certificate=by_name))
    client.tls(sni="b.test")
    assert [each.certificate for each in client.contexts.asked] == ["/a.crt", "/b.crt"]
    assert client.session.facts.tls is not None
    assert client.session.facts.tls.sni == "b.test"


def test_a_layer_is_known_by_its_facts() -> None:
    client = Client(contexts=Contexts((certs.laptop(),)))
    client.tls(certs.laptop(), "relay.test")
    layer = client.session.facts.tls
    assert layer is not None
    assert (layer.cipher, layer.group, layer.sni) == ("TLS1.3:TLS_AES_256_GCM_SHA384:256", "x25519", "relay.test")
    assert (layer.verification, layer.binding) == (Verified("itself"), b"b" * 32)
    assert layer.peer is not None
    assert layer.peer.fingerprint == certs.laptop().fingerprint
    (started,) = client.shelf.of(events.TLSStarted)
    assert started.session == client.session.facts


@pytest.mark.parametrize(
    "try_hosts, must_hosts, shown, verification, must_end",
    [
        ("*", "", certs.laptop, Verified, False),
        ("*", "", certs.stranger, Unverified, False),
        ("*", "", None, Unverified, False),
        ("", "", certs.laptop, NotAsked, False),
        ("", "*", certs.laptop, Verified, False),
        ("", "*", certs.stranger, Unverified, True),
        ("", "*", None, Unverified, True),
        ("*", "198.51.100.1", certs.stranger, Unverified, False),
    ],
)
def test_the_certificate_is_judged(
    try_hosts: str, must_hosts: str, shown: Any, verification: type, must_end: bool
) -> None:
    rules = tls_rules(
        try_verify_hosts=compile_list(ListKind.HOST, try_hosts), verify_hosts=compile_list(ListKind.HOST, must_hosts)
    )
    client = Client(contexts=Contexts((certs.laptop(),)), tls=rules)
    client.tls(shown() if shown else None)
    assert client.session.facts.tls is not None
    assert isinstance(client.session.facts.tls.verification, verification)
    assert bool(client.session.must_end) is must_end
    client.session.layer_down()
    assert client.session.must_end == ""


TRUSTING = {
    Where.CONNECT: "accept set acl_c_seen = connect",
    Where.HELO: "warn condition = ${if def:tls_in_cipher}\nset acl_c_trust = yes\naccept",
    Where.RCPT: "accept condition = $acl_c_trust\ndeny",
}


def change_up(client: Client) -> None:
    client.tls(certs.stranger())


def change_down(client: Client) -> None:
    client.session.layer_down()


@pytest.mark.parametrize("change", [change_up, change_down], ids=["up", "down"])
def test_a_change_of_the_layer_forgets_everything(change: Any) -> None:
    client = Client(TRUSTING, contexts=Contexts((certs.laptop(),)))
    client.ask(esmtp.Connected())
    client.tls(certs.laptop())
    client.hello()
    facts = client.session.facts
    client.session.facts = replace(facts, authentication=Authentication("cert", "anna"), peer_name="laptop")
    client.mail()
    assert client.rcpt().reply.code == 250
    layer = facts.tls
    if change is change_up:
        client.session.layer_down()
        client.session.facts = replace(facts, tls=None, authentication=Authentication("cert", "anna"))
    change(client)
    after = client.session.facts
    assert after == SessionFacts(peer=PEER, local=LOCAL, tls=after.tls)
    assert after.tls != layer
    scope = client.session.scope()
    assert (scope.message, dict(scope.acl_variables)) == (None, {})


def test_trust_does_not_outlive_the_layer_that_gave_it() -> None:
    client = Client({Where.RCPT: "accept verify = certificate\ndeny"}, contexts=Contexts((certs.laptop(),)))
    client.tls(certs.laptop())
    client.hello()
    client.mail()
    assert client.rcpt().reply.code == 250
    client.session.layer_down()
    client.hello()
    client.mail()
    assert client.rcpt().reply.code == 550
    assert client.shelf.story.count("TLSEnded") == 1


def test_what_was_set_in_clear_does_not_count_in_tls() -> None:
    """A variable that says "trusted" may have been set for somebody who only sat in the middle."""
    acls = {Where.HELO: "accept set acl_c_trust = yes", Where.RCPT: "accept condition = $acl_c_trust\ndeny"}
    client = Client(acls)
    client.hello()
    client.tls()
    client.mail()
    assert client.rcpt().reply.code == 550


# Variables


def test_variables_of_a_connection_and_of_a_message() -> None:
    client = Client({Where.RCPT: "accept set acl_m_a = $acl_m_a+\nset acl_c_a = $acl_c_a+"})
    client.hello()
    client.message()
    client.message()
    assert [message.facts.acl_variables for message, _ in client.shelf.accepted] == [
        {"acl_m_a": "+", "acl_c_a": "+"},
        {"acl_m_a": "+", "acl_c_a": "++"},
    ]


@pytest.mark.parametrize("where", [Where.CONNECT, Where.HELO])
def test_a_message_begins_without_variables_of_its_own(where: Where) -> None:
    """Exim: MAIL resets acl_m variables."""
    client = Client({where: "accept set acl_m_a = early\nset acl_c_a = early", Where.RCPT: "accept"})
    client.ask(esmtp.Connected())
    client.hello()
    client.message()
    assert client.queued.facts.acl_variables == {"acl_c_a": "early"}


# Queueing, holding, throwing away


@pytest.mark.parametrize(
    "how, due, told",
    [
        ("at once", None, True),
        ("no room", NOW, False),
        ("queue_only", NOW + 600, False),
        ("control", NOW + 600, False),
    ],
)
def test_when_the_first_attempt_is_due(how: str, due: float | None, told: bool) -> None:
    acls = {Where.RCPT: "accept control = queue_only" if how == "control" else "accept"}
    client = Client(acls, queue_only=how == "queue_only", queue_only_delay=600.0)
    client.shelf.has_room = how != "no room"
    client.hello()
    assert client.message().reply.code == 250
    assert client.queued.due == due
    assert ("runner told" in client.shelf.story) is told


@dataclass
class Machine:
    """The `Capacity` port: so many octets find room."""

    room: int = 10**9
    busy: bool = False
    routing: bool = False

    async def check(self, size: int | None) -> None:
        if (size or 0) > self.room:
            raise SpoolFull("spool directory space check failed")

    async def only_queues(self, *, delivery_asked: bool = False) -> bool:
        return self.busy and not delivery_asked

    async def routes_only(self) -> bool:
        return self.routing


def test_a_busy_machine_only_queues() -> None:
    client = Client({Where.RCPT: "accept"}, capacity=Machine(busy=True), queue_only_delay=600.0)
    client.hello()
    assert client.message().reply.code == 250
    assert client.queued.due == NOW + 600


def test_without_room_mail_is_put_off_and_the_next_may_find_some() -> None:
    machine = Machine(room=99)
    client = Client(capacity=machine)
    client.hello()
    large = esmtp.SenderGiven(Address("a", "b.test"), Parameters((("SIZE", "100"),)))
    assert client.ask(large).reply == reply.NO_SPACE
    machine.room = 100
    assert client.code(large) == 250


def test_a_frozen_message_is_held_and_not_attempted() -> None:
    client = Client({Where.RCPT: "accept control = freeze"})
    client.hello()
    assert client.message().reply.code == 250
    assert client.queued.frozen
    assert "runner told" not in client.shelf.story


def test_controls_hold_for_one_message() -> None:
    client = Client({Where.RCPT: "warn domains = far.test\ncontrol = freeze\nadd_header = X-Far: yes\naccept"})
    client.hello()
    client.message()
    client.message(MESSAGE, "carl@near.test")
    assert [message.frozen for message, _ in client.shelf.accepted] == [True, False]
    assert [b"X-Far" in message.header for message, _ in client.shelf.accepted] == [True, False]


@pytest.mark.parametrize("where", [Where.MAIL, Where.RCPT, Where.DATA])
def test_a_discarded_message_is_accepted_and_gone(where: Where) -> None:
    client = Client({Where.RCPT: "accept", where: "discard"})
    client.hello()
    assert client.message(LONG).reply.code == 250
    assert client.shelf.accepted == []
    assert client.shelf.pieces == {}
    (note,) = client.shelf.of(events.MessageNote)
    assert "blackhole" in note.text
    assert "runner told" not in client.shelf.story


def test_one_recipient_is_discarded() -> None:
    client = Client({Where.RCPT: "discard domains = far.test\naccept"})
    client.hello()
    assert client.message(MESSAGE, "bert@far.test", "carl@near.test").reply.code == 250
    assert [str(each.address) for each in client.queued.recipients] == ["carl@near.test"]


@pytest.mark.parametrize("control, code", [("fakereject/go away", 550), ("fakedefer/go away", 450)])
def test_a_fake_refusal_is_a_refusal_only_to_the_client(control: str, code: int) -> None:
    client = Client({Where.RCPT: f"accept control = {control}"})
    client.hello()
    answered = client.message(LONG)
    assert (answered.reply.code, answered.reply.text) == (code, "go away")
    ((_, body),) = client.shelf.accepted
    assert len(body) == CHUNK_SIZE + 10
    assert client.shelf.story == ["on disk", "Arrived", "runner told"]


# What is wrong with the message


@pytest.mark.parametrize("hops, code", [(2, 250), (3, 550)])
def test_too_many_hops(hops: int, code: int) -> None:
    client = Client(received_headers_max=2)
    client.hello()
    assert client.message(b"received: x\r\n" * hops + LONG).reply.code == code
    assert len(client.shelf.accepted) == (code == 250)
    assert client.shelf.pieces == {}
    assert rejections(client) == ([] if code == 250 else [("after DATA", False)])


def test_a_header_that_is_too_big() -> None:
    client = Client()
    client.hello()
    assert client.message(b"A: " + b"x" * (HEADER_LIMIT + 10_000) + b"\r\n\r\nbody\r\n").reply == reply.HEADER_TOO_BIG
    assert client.shelf.accepted == []


def test_an_address_outside_us_ascii_that_is_refused_stays_readable() -> None:
    client = Client({Where.RCPT: "deny"})
    client.hello()
    client.mail(SMTPUTF8="")
    client.session.heard(esmtp.CommandRead("RCPT", "RCPT TO:<यष्टिमधु@far.test>"))
    client.rcpt("यष्टिमधु@far.test")
    (event,) = client.shelf.of(events.CommandRejected)
    assert event.command == "RCPT <यष्टिमधु@far.test>"


def test_the_acl_at_data_sees_the_whole_message() -> None:
    acl = "deny condition = ${if eq{$h_subject:}{hello}}\nmessage = $recipients $message_body_size\naccept"
    client = Client({Where.RCPT: "accept", Where.DATA: acl})
    client.hello()
    refused = client.message().reply
    assert (refused.code, refused.text) == (550, "bert@far.test 5")
    (event,) = client.shelf.of(events.CommandRejected)
    assert event.message_id != ""


# The header


def test_what_acls_add_and_remove() -> None:
    acls = {
        Where.MAIL: "accept add_header = X-One: 1",
        Where.RCPT: "accept add_header = :at_start:X-Two: $local_part\nremove_header = Subject",
        Where.DATA: "accept add_header = X-Three: a\\n\\tb\nadd_header = no field",
    }
    client = Client(acls)
    client.hello()
    client.message()
    names = [name for name, _ in client.fields()]
    assert names == ["X-Two", "Received", "From", "Message-ID", "X-One", "X-Three", "X-ACL-Warn"]
    assert dict(client.fields())["X-Two"] == "bert"
    assert dict(client.fields())["X-Three"] == "a\tb"


def test_a_peers_text_adds_no_field_of_its_own() -> None:
    """Whatever a client says of itself stays in the field that quotes it."""
    acl = "warn add_header = X-SNI: $tls_in_sni\nwarn add_header = X-Upper: ${uc:$tls_in_sni}\naccept"
    client = Client({Where.RCPT: acl})
    client.tls(sni="x\nX-Trusted: yes")
    client.hello()
    client.message()
    assert "x-trusted" not in {name.lower() for name, _ in client.fields()}


def test_a_decoded_field_adds_no_field_of_its_own() -> None:
    client = Client({Where.RCPT: "accept", Where.DATA: "accept add_header = X-Subject: $h_subject:"})
    client.hello()
    client.message(b"Subject: =?utf-8?q?x=0AX-Trusted:_yes?=\r\n\r\nbody\r\n")
    assert "x-trusted" not in {name.lower() for name, _ in client.fields()}


def test_a_submission_is_completed() -> None:
    client = Client({Where.RCPT: "accept control = submission"})
    client.hello()
    client.message(b"Subject: hello\r\n\r\nbody\r\n")
    header = dict(client.fields())
    assert header["Message-Id"] == f"<E{client.queued.message_id}@relay.test>"
    assert header["From"] == "anna@laptop.test"
    assert "Date" in header


@pytest.mark.parametrize(
    "control, sender",
    [
        ("submission", "dora@relay.test"),
        ("submission/domain=d.test", "dora@d.test"),
        ("submission/sender_retain", None),
    ],
)
def test_who_has_authenticated_is_named_in_a_submission(control: str, sender: str | None) -> None:
    client = Client({Where.RCPT: f"accept control = {control}"})
    client.hello()
    client.session.facts = replace(client.session.facts, authentication=Authentication("cert", "dora"))
    client.message()
    assert dict(client.fields()).get("Sender") == sender


# What the edge tells


def test_what_the_edge_tells_goes_into_the_journal() -> None:
    client = Client()
    facts = client.session.facts
    client.session.violated("synchronization error", "EHLO x")
    client.session.handshake_failed("no shared cipher", True)
    client.session.handshake_failed("certificate expired", False)
    client.session.closed("by QUIT")
    assert client.shelf.events == [
        events.ProtocolViolated(facts, "synchronization error", "EHLO x"),
        events.TLSFailed(
            facts,
            "peer",
            "(SSL_accept): error:no shared cipher (the client's side:"
            " the client offers no cipher suite that tls_require_ciphers and our keys allow)",
        ),
        events.TLSFailed(facts, "ours", "(SSL_accept): error:certificate expired (our side)"),
        events.ConnectionClosed(facts, "by QUIT"),
        events.NoMail(facts, 0.0),
    ]


def test_who_has_sent_mail_is_not_told_as_one_without() -> None:
    client = Client()
    client.mail()
    client.session.closed("by QUIT")
    assert not client.shelf.of(events.NoMail)


def test_the_command_that_is_one_too_many_is_not_among_those_that_were_had() -> None:
    client = Client()
    for verb in ("NOOP", "RSET"):
        client.session.heard(esmtp.CommandRead(verb, verb))
    client.session.violated("too many nonmail commands", "RSET")
    client.session.closed("bad commands")
    (told,) = client.shelf.of(events.NoMail)
    assert told.commands == ("NOOP",)


# Rewriting


def rewriting(*lines: str) -> tuple[RewriteRule, ...]:
    return parse_rewrite_rules([(Location("conf", number), line) for number, line in enumerate(lines, 1)])


PUBLIC = rewriting("*@laptop.test $1@public.test Ff", "*@old.test $1@new.test Tt")


def test_envelope_and_header_are_rewritten_before_the_data_acl() -> None:
    acls = {
        Where.RCPT: "accept senders = *@laptop.test\n domains = old.test : far.test",
        Where.DATA: "accept senders = *@public.test\n condition = ${if match{$h_from:}{public}}",
    }
    client = Client(acls, rewrite=PUBLIC)
    client.hello()
    header = b"From: Anna <anna@laptop.test>\r\nTo: x@old.test\r\nCc: x@old.test\r\nX: anna@laptop.test\r\n"
    message = header + b"\r\nanna@laptop.test\r\n"
    assert client.message(message, "x@old.test", "bert@far.test").reply.code == 250
    assert str(client.queued.sender) == "anna@public.test"
    assert [str(each.address) for each in client.queued.recipients] == ["x@new.test", "bert@far.test"]
    assert client.fields()[1:] == [
        ("From", "Anna <anna@public.test>"),
        ("To", "x@new.test"),
        ("Cc", "x@old.test"),
        ("X", "anna@laptop.test"),
    ]
    ((_, body),) = client.shelf.accepted
    assert body == b"anna@laptop.test\r\n"
    (arrived,) = client.shelf.of(events.Arrived)
    assert arrived.size == len(client.queued.header) + 2 + client.queued.body_size


class Rewriting:
    """The `Addresses` port: senders are rewritten, and good."""

    async def verify(self, address: Address, role: Role, scope: Scope, options: object = None) -> Judged:
        return Judged(Finding.GOOD, rewritten=Address(f"verified-{address.local_part}", address.domain))


def test_a_sender_that_is_verified_is_rewritten_at_once_and_once() -> None:
    acls = {
        Where.MAIL: "accept verify = sender\n senders = verified-anna@laptop.test\n verify = sender",
        Where.RCPT: "accept senders = verified-anna@laptop.test\n verify = sender",
        Where.DATA: "accept senders = verified-anna@laptop.test",
    }
    rules = rewriting("*@laptop.test again-$1@laptop.test F")
    client = Client(acls, conditions=ConditionPorts(addresses=Rewriting()), rewrite=rules)
    client.hello()
    for _ in range(2):
        assert client.message(b"X: y\r\n\r\n").reply.code == 250
    senders = [str(message.sender) for message, _ in client.shelf.accepted]
    assert senders == ["verified-anna@laptop.test"] * 2


def test_an_unqualified_header_address_of_a_peer_is_left_alone() -> None:
    client = Client(rewrite=rewriting("*@* x@y.test f"))
    client.hello()
    client.message(b"From: anna\r\n\r\n")
    assert client.fields()[1:] == [("From", "anna")]


def test_rules_at_smtp_time_come_before_the_acls() -> None:
    acls = {Where.RCPT: "accept senders = b@x.test\n domains = far.test"}
    client = Client(acls, rewrite=rewriting(r"\N^<([^!]+)!([^@]*)>$\N $2@$1 S", "^<a@ b@x.test S"))
    client.hello()
    assert client.mail("a@x.test").reply.code == 250
    assert client.rcpt("far.test!user").reply.code == 250
    assert client.rcpt("other.test!user").reply.code == 550
    assert client.data().reply.code == 250
    assert [str(each.address) for each in client.queued.recipients] == ["user@far.test"]


def test_a_peers_text_is_no_program_for_rules() -> None:
    attack = "${readfile{/etc/passwd}}$tls_in_sni"
    client = Client(rewrite=rewriting("*@laptop.test $1@public.test", "*@public.test $local_part@end.test"))
    client.hello()
    client.mail(attack + "@laptop.test")
    client.rcpt()
    message = b'From: "' + attack.encode() + b'"@laptop.test\r\n\r\n'
    assert client.data(message).reply.code == 250
    assert client.queued.sender == Address(attack, "end.test")
    assert client.fields()[1] == ("From", str(Address(attack, "end.test")))
    assert client.shelf.of(events.Trouble) == []


# What ACLs do beside accepting and refusing


def test_a_message_of_the_acl_for_quit_takes_the_place_of_ours() -> None:
    assert Client({Where.QUIT: "accept message = see you"}).ask(esmtp.QuitGiven()).reply.text == "see you"


def test_nothing_can_be_refused_at_quit() -> None:
    client = Client({Where.QUIT: "deny message = stay"})
    assert client.ask(esmtp.QuitGiven()).reply == reply.CLOSING.with_text("stay")
    (trouble,) = client.shelf.of(events.Trouble)
    assert trouble.text == (
        "ACL for QUIT returned ERROR: QUIT or not-QUIT toplevel ACL may not fail ('deny' verb used incorrectly)"
    )


@pytest.mark.parametrize(
    "how, reason",
    [
        ("lost", "connection-lost"),
        ("timed out", "command-timeout"),
        ("synchronization error", "synchronization-error"),
        ("shutting down", "signal-exit"),
        ("closed by us", "acl-drop"),
        ("TLS failed", "tls-failed"),
        ("too many unrecognized commands", "bad-commands"),
    ],
)
def test_who_leaves_without_quit(how: str, reason: str) -> None:
    client = Client({Where.NOTQUIT: "accept logwrite = $smtp_notquit_reason $sender_helo_name"})
    client.hello()
    answer(client.session.left(how))
    answer(client.session.left(how))
    assert [each.text for each in client.shelf.of(events.WrittenByACL)] == [f"{reason} laptop"]


def test_after_quit_nobody_has_left_without_it() -> None:
    client = Client({Where.NOTQUIT: "accept logwrite = gone"})
    client.ask(esmtp.QuitGiven())
    answer(client.session.left("lost"))
    assert client.shelf.of(events.WrittenByACL) == []


def test_trouble_with_the_acl_for_the_end_is_only_told() -> None:
    client = Client({Where.NOTQUIT: "deny"})
    answer(client.session.left("lost"))
    assert [each.text[:40] for each in client.shelf.of(events.Trouble)] == ["ACL for not-QUIT returned ERROR: QUIT or"]


def test_what_an_acl_adds_before_the_data_is_there_at_data() -> None:
    acls = {
        Where.RCPT: "accept add_header = X-Rcpt: here\n remove_header = Subject",
        Where.DATA: "accept add_header = X-Data: $h_X-Rcpt: $h_Subject: ${if def:h_X-Data:{seen}{not yet}}",
    }
    client = Client(acls)
    client.hello()
    assert client.message().reply.code == 250
    shown = dict(client.fields())
    assert shown["X-Rcpt"] == "here"
    assert shown["X-Data"] == "here  not yet"
    assert "Subject" not in shown


def test_our_own_trace_field_is_there_at_data() -> None:
    client = Client({Where.RCPT: "accept", Where.DATA: "accept condition = ${if match{$h_Received:}{by relay.test}}"})
    client.hello()
    assert client.message().reply.code == 250


def test_a_submission_is_complete_at_data() -> None:
    acls = {Where.RCPT: "accept control = submission", Where.DATA: "accept condition = ${if def:h_Date:}"}
    client = Client(acls)
    client.hello()
    assert client.message().reply.code == 250


def test_recipients_are_visible_from_data_on() -> None:
    acls = {
        Where.RCPT: "accept logwrite = rcpt <$recipients> $recipients_count",
        Where.PREDATA: "accept logwrite = data <$recipients> $recipients_count",
    }
    client = Client(acls)
    client.hello()
    client.message(MESSAGE, "a@far.test", "b@far.test")
    assert [each.text for each in client.shelf.of(events.WrittenByACL)] == [
        "rcpt <> 0",
        "rcpt <> 1",
        "data <a@far.test, b@far.test> 2",
    ]


def test_a_chunk_is_asked_no_predata_acl() -> None:
    client = Client({Where.RCPT: "accept", Where.PREDATA: "deny"})
    client.hello()
    client.mail()
    client.rcpt()
    assert client.code(esmtp.DataAsked(esmtp.Transfer.CHUNKS)) == 354
    assert client.code(esmtp.DataAsked()) == 550


def test_where_a_refusal_is_written_is_the_acls_choice() -> None:
    client = Client({Where.RCPT: "deny log_reject_target = reject\n local_parts = a\ndeny log_reject_target ="})
    client.hello()
    client.mail()
    client.rcpt("a@far.test")
    client.rcpt("b@far.test")
    assert [(each.command, each.logs) for each in client.shelf.of(events.CommandRejected)] == [
        ("RCPT <a@far.test>", ("reject",))
    ]


def test_replies_of_one_line() -> None:
    text = "one line that is long enough to be cut where it is sent: because it is more than seventy-five letters"
    acls = {Where.CONNECT: "accept control = no_multiline_responses", Where.RCPT: f"deny message = {text}"}
    client = Client(acls)
    client.ask(esmtp.Connected())
    client.hello()
    client.mail()
    assert len(client.rcpt().reply.lines) == 1
    del acls[Where.CONNECT]
    other = Client(acls)
    other.hello()
    other.mail()
    assert len(other.rcpt().reply.lines) == 2


def test_a_message_of_an_acl_that_accepts_takes_the_place_of_banner_and_greeting() -> None:
    client = Client({Where.CONNECT: "accept message = welcome", Where.HELO: "accept message = hello\\nyou"})
    assert client.ask(esmtp.Connected()).reply.lines == ("welcome",)
    assert client.hello().reply.lines[0].startswith("hello")


def test_an_acl_may_put_up_with_a_client_that_does_not_wait() -> None:
    acls = {Where.CONNECT: "accept control = no_enforce_sync"}
    client = Client(acls, server_settings=ServerSettings())
    settings = client.ask(esmtp.Connected()).settings
    assert settings is not None
    assert not settings.enforce_sync
    other = Client({}, server_settings=ServerSettings()).ask(esmtp.Connected()).settings
    assert other is not None
    assert other.enforce_sync


def test_the_local_part_is_in_lower_case_unless_asked_for() -> None:
    acl = "warn logwrite = $local_part@$domain\naccept control = caseful_local_part\n logwrite = $local_part@$domain"
    client = Client({Where.RCPT: acl})
    client.hello()
    client.mail()
    client.rcpt("Bert@Far.test")
    assert [each.text for each in client.shelf.of(events.WrittenByACL)] == ["bert@far.test", "Bert@far.test"]


def test_a_fake_refusal_has_both_of_its_lines() -> None:
    client = Client({Where.RCPT: "accept control = fakereject"})
    client.hello()
    refused = client.message().reply
    assert refused.code == 550
    assert len(refused.lines) > 1
    assert client.queued.recipients


@pytest.mark.parametrize(
    "where, text",
    [
        (Where.MAIL, "=> blackhole (MAIL ACL discarded recipients)"),
        (Where.RCPT, "=> blackhole (RCPT ACL discarded recipients)"),
        (Where.DATA, "=> blackhole (DATA ACL discarded recipients): because"),
    ],
)
def test_who_has_thrown_a_message_away(where: Where, text: str) -> None:
    client = Client({Where.RCPT: "accept", where: "discard log_message = because"})
    client.hello()
    assert client.message().reply.code == 250
    assert [each.text for each in client.shelf.of(events.MessageNote)] == [text]
    assert client.shelf.accepted == []


def test_what_a_condition_has_found_lasts_as_long_as_the_message() -> None:
    acls = {
        Where.MAIL: "accept ratelimit = 0 / 1h / per_mail",
        Where.RCPT: "accept logwrite = <$sender_rate>",
        Where.HELO: "accept logwrite = <$sender_rate>",
    }
    client = Client(acls, conditions=ConditionPorts(hints=KeptHints()))
    client.hello()
    client.mail()
    client.rcpt()
    client.session.reset()
    client.hello()
    assert [each.text for each in client.shelf.of(events.WrittenByACL)] == ["<>", "<1.0>", "<>"]


def test_the_body_is_visible_at_data() -> None:
    client = Client({Where.RCPT: "accept", Where.DATA: "accept logwrite = <$message_body> $message_linecount"})
    client.hello()
    client.message(b"Subject: x\r\n\r\none\r\ntwo\r\n")
    ((written),) = [each.text for each in client.shelf.of(events.WrittenByACL)]
    assert written.startswith("<one two >")


def test_only_the_first_line_of_a_reason_is_in_the_log() -> None:
    client = Client({Where.RCPT: "deny message = ${expand:one\\\\ntwo}"})
    client.hello()
    client.mail()
    assert client.rcpt().reply.lines == ("one", "two")
    assert [each.reason for each in client.shelf.of(events.CommandRejected)] == ["one"]


def test_a_local_caller_is_greeted_by_name() -> None:
    client = Client()
    client.session.facts = SessionFacts(caller=LocalCaller("anna", 1000, 1000))
    assert client.hello("laptop").reply.text == "relay.test Hello anna at laptop"


def test_a_refused_greeting_leaves_the_transaction() -> None:
    """The machine goes on with it too."""
    client = Client({Where.RCPT: "accept", Where.HELO: "deny condition = ${if eq{$sender_helo_name}{bad}}\naccept"})
    client.hello("good")
    client.mail()
    assert client.hello("bad").reply.code == 550
    assert client.rcpt().reply.code == 250


def test_the_acl_for_predata_words_the_go_ahead() -> None:
    client = Client({Where.RCPT: "accept", Where.PREDATA: "accept message = please"})
    client.hello()
    client.mail()
    client.rcpt()
    answered = client.ask(esmtp.DataAsked()).reply
    assert (answered.code, answered.text) == (354, "please")


def test_a_code_of_another_class_is_reported_where_the_acl_accepts_too() -> None:
    client = Client({Where.RCPT: "accept message = 551 no"})
    client.hello()
    client.mail()
    assert client.rcpt().reply.code == 250
    (trouble,) = client.shelf.of(events.Trouble)
    assert trouble.text == 'configured error code starts with incorrect digit (expected 2) in "551 no"'


@pytest.mark.parametrize("where", [Where.MAIL, Where.RCPT])
def test_a_recipient_that_is_thrown_away_is_logged(where: Where) -> None:
    client = Client({Where.RCPT: "accept", where: "discard log_message = because"})
    client.hello()
    client.mail()
    client.rcpt()
    (event,) = client.shelf.of(events.RecipientDiscarded)
    assert (event.recipient, event.by, event.reason) == ("<bert@far.test>", where.value, "because")


@pytest.mark.parametrize(
    "control, denied, notes",
    [
        ("fakereject", True, []),
        ("fakedefer", False, []),
        ("freeze", False, ["frozen by ACL"]),
        ("queue_only", False, ["no immediate delivery: queued by ACL"]),
    ],
)
def test_what_controls_leave_in_the_log(control: str, denied: bool, notes: list[str]) -> None:
    client = Client({Where.RCPT: f"accept control = {control}"})
    client.hello()
    client.message()
    (arrived,) = client.shelf.of(events.Arrived)
    assert arrived.denied is denied
    assert [each.text for each in client.shelf.of(events.MessageNote)] == notes


def test_fields_that_were_added_are_seen_at_once_and_later() -> None:
    acls = {
        Where.MAIL: "accept add_header = X-A: one\n logwrite = $headers_added",
        Where.RCPT: "accept add_header = X-B: two\n logwrite = $headers_added",
    }
    client = Client(acls)
    client.hello()
    client.mail()
    client.rcpt()
    written = [" ".join(each.text.split()) for each in client.shelf.of(events.WrittenByACL)]
    assert written == ["X-A: one", "X-A: one X-B: two"]


def test_a_percent_hack_is_no_way_around_the_acl() -> None:
    """What routing would make of an address is what the ACL judges."""
    ours = compile_list(ListKind.DOMAIN, "relay.test")
    client = Client({Where.RCPT: "accept domains = relay.test"}, percent_hack_domains=ours)
    client.hello()
    client.mail()
    assert client.rcpt("you@relay.test").reply.code == 250
    assert client.rcpt("you%far.test@relay.test").reply.code == 550
    assert client.rcpt("you%relay.test@relay.test").reply.code == 250


# A message that is given up


@pytest.mark.parametrize(
    ("way", "how"),
    [
        ("RSET", "RSET"),
        ("EHLO", ""),
        ("QUIT", "QUIT"),
        ("lost", "connection lost"),
        ("synchronization error", "sync failure"),
        ("timed out", ""),
    ],
)
def test_a_transaction_that_is_left_before_its_data(way: str, how: str) -> None:
    client = Client()
    client.hello()
    client.mail()
    client.rcpt()
    client.session.heard(esmtp.CommandRead(way, way))
    match way:
        case "RSET" | "EHLO":
            answer(client.session.abandon())
        case "QUIT":
            client.ask(esmtp.QuitGiven())
        case _:
            answer(client.session.left(way))
    client.session.reset()
    found = client.shelf.of(events.TransactionBroken)
    assert [each.how for each in found] == [how] * bool(how)
    if found:
        assert [str(each) for each in found[0].recipients] == ["bert@far.test"]


def test_what_came_to_its_data_is_no_broken_transaction() -> None:
    client = Client()
    client.hello()
    client.mail()
    client.rcpt()
    client.ask(esmtp.DataAsked(esmtp.Transfer.LINES))
    answer(client.session.left("lost"))
    assert client.shelf.of(events.TransactionBroken) == []
