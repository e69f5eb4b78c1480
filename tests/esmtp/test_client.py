"""The client machine: dialogs as playbooks, groups and single steps, outcomes, layers, times."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.client import Client, ClientSettings, Protocol
from relay.esmtp.client_events import (
    Answered,
    AuthChallenge,
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
from relay.esmtp.client_settings import ALabels
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType, Envelope, Recipient
from relay.mail.facts import TLSFacts
from relay.mail.outcome import Deferred, Delivered, Dialog, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.reply import Reply

HOST = RemoteHost("relay.example", "192.0.2.1", 25)
SETTINGS = ClientSettings("laptop", host=HOST)
TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256)


def envelope(*names: str, **more: object) -> Envelope:
    recipients = tuple(Recipient(Address(name, "d.example")) for name in names)
    return Envelope(Address("a", "b.example"), recipients, **more)  # type: ignore[arg-type]


class Talk:
    """A driver that keeps everything; what the server says is given by the test."""

    def __init__(self, limits: ClientSettings = SETTINGS) -> None:
        self.client = Client(limits, 0.0)
        self.events: list[ClientEvent] = []

    def hear(self, *pieces: bytes) -> list[ClientEvent]:
        """What a reply of the server leads to."""
        before = len(self.events)
        for piece in pieces:
            self.client.receive(piece, 1.0)
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


def ready(*extensions: bytes, limits: ClientSettings = SETTINGS) -> Talk:
    """A client that has said hello to a server with these extensions."""
    talk = Talk(limits)
    talk.hear(b"220 relay ESMTP\r\n")
    talk.client.hello()
    lines = [b"relay Hello", *extensions]
    marks = [b"-"] * len(extensions) + [b" "]
    talk.hear(b"".join(b"250" + mark + line + b"\r\n" for mark, line in zip(marks, lines, strict=True)))
    talk.said()
    talk.events.clear()
    return talk


def test_from_greeting_to_quit_one_by_one() -> None:
    talk = Talk()
    assert talk.said() == b""
    assert talk.hear(b"220 relay ESMTP\r\n") == [Greeted(Reply(220, "", ("relay ESMTP",)))]
    talk.client.hello()
    assert talk.said() == b"EHLO laptop\r\n"
    talk.hear(b"250-relay Hello\r\n250-SIZE 1000\r\n250 8BITMIME\r\n")
    extensions: Mapping[str, str] = {"SIZE": "1000", "8BITMIME": ""}
    assert isinstance(talk.events[-1], HelloAccepted)
    assert talk.events[-1].extensions == extensions
    talk.client.transact(envelope("c", "d", size=12, body=BodyType.EIGHTBITMIME))
    assert talk.said() == b"MAIL FROM:<a@b.example> SIZE=12 BODY=8BITMIME\r\n"
    talk.hear(b"250 OK\r\n")
    assert talk.said() == b"RCPT TO:<c@d.example>\r\n"
    talk.hear(b"250 OK\r\n")
    assert talk.said() == b"RCPT TO:<d@d.example>\r\n"
    talk.hear(b"550 5.1.1 unknown\r\n")
    assert talk.said() == b"DATA\r\n"
    assert talk.hear(b"354 go\r\n") == [BodyWanted()]
    talk.client.body(b"x\r\n.")
    talk.client.body(b"y\r\n")
    talk.client.end_body()
    assert talk.said() == b"x\r\n..y\r\n.\r\n"
    talk.hear(b"250 2.0.0 OK id=1\r\n")
    assert talk.outcomes == (
        Delivered("250 2.0.0 OK id=1", HOST, dialog=Dialog()),
        Failed(
            "SMTP error from remote mail server after RCPT TO:<d@d.example>: 550 5.1.1 unknown",
            Reply(550, "5.1.1", ("unknown",)),
            HOST,
        ),
    )
    talk.client.quit()
    assert talk.said() == b"QUIT\r\n"
    assert talk.hear(b"221 bye\r\n") == [Closed()]


@pytest.mark.parametrize(
    ("said", "confirmation"),
    [
        (b"250-first\r\n250 second\r\n", r"250-first\n250 second"),
        (b"250-2.0.0 first\r\n250 2.0.0 second\r\n", r"250-2.0.0 first\n250 2.0.0 second"),
        (b"250\r\n", "250"),
    ],
)
def test_a_confirmation_is_kept_as_it_came(said: bytes, confirmation: str) -> None:
    talk = ready()
    talk.client.transact(envelope("c"))
    talk.hear(*TO_DATA)
    talk.client.end_body()
    talk.hear(said)
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Delivered)
    assert outcome.confirmation == confirmation


GROUP = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<d@d.example>\r\nDATA\r\n"


def test_a_group_where_pipelining_is_offered() -> None:
    talk = ready(b"PIPELINING")
    talk.client.transact(envelope("c", "d"))
    assert talk.said() == GROUP
    assert talk.hear(b"250 OK\r\n250 OK\r\n451 later\r\n354 go\r\n") == [BodyWanted()]
    talk.client.end_body()
    talk.hear(b"250 OK\r\n")
    first, second = talk.outcomes
    assert isinstance(first, Delivered)
    assert isinstance(second, Deferred)
    assert (second.error, second.host_wide) == (ErrorClass.RCPT_4XX, False)


def test_the_second_message_is_marked_and_needs_no_rset() -> None:
    talk = ready(b"PIPELINING")
    for continued in (False, True):
        talk.events.clear()
        talk.client.transact(envelope("c"))
        assert talk.said().startswith(b"MAIL")
        talk.hear(b"250 OK\r\n250 OK\r\n354 go\r\n")
        talk.client.end_body()
        talk.hear(b"250 OK\r\n")
        talk.said()
        assert talk.outcomes == (Delivered("250 OK", HOST, continued=continued, dialog=Dialog(in_groups=True)),)


def test_avoiding_pipelining() -> None:
    talk = ready(b"PIPELINING", limits=ClientSettings("laptop", pipelining=False))
    talk.client.transact(envelope("c"))
    assert talk.said() == b"MAIL FROM:<a@b.example>\r\n"


def test_nothing_is_declared_that_was_not_offered() -> None:
    talk = ready()
    talk.client.transact(Envelope(NULL_SENDER, envelope("c").recipients, BodyType.EIGHTBITMIME, 500))
    assert talk.said() == b"MAIL FROM:<>\r\n"


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_refused_sender_is_a_refusal_for_all(pipelining: bool) -> None:
    talk = ready(*[b"PIPELINING"] * pipelining)
    talk.client.transact(envelope("c", "d"))
    talk.hear(b"450 4.7.1 no\r\n" + b"503 sender first\r\n" * 3 * pipelining)
    group = "pipelined " if pipelining else ""
    reason = f"SMTP error from remote mail server after {group}MAIL FROM:<a@b.example>: 450 4.7.1 no"
    expected = Deferred(reason, ErrorClass.MAIL_4XX, Reply(450, "4.7.1", ("no",)), HOST)
    assert talk.outcomes == (expected, expected)


@pytest.mark.parametrize("pipelining", [True, False])
def test_no_recipient_accepted_means_no_data(pipelining: bool) -> None:
    talk = ready(*[b"PIPELINING"] * pipelining)
    talk.client.transact(envelope("c", "d"))
    talk.hear(b"250 OK\r\n", b"550 no\r\n", b"550 no\r\n", b"503 no recipients\r\n" * pipelining)
    assert all(isinstance(outcome, Failed) for outcome in talk.outcomes)
    assert (b"DATA" in talk.said()) is pipelining
    # The server still has the sender.
    talk.client.transact(envelope("e"))
    assert talk.said().startswith(b"RSET\r\n")


def test_a_354_that_nobody_can_use_gets_a_lone_dot() -> None:
    talk = ready(b"PIPELINING")
    talk.client.transact(envelope("c"))
    talk.said()
    assert talk.hear(b"250 OK\r\n550 no\r\n354 go\r\n") == []
    assert talk.said() == b".\r\n"
    talk.hear(b"250 OK\r\n")
    assert isinstance(talk.outcomes[0], Failed)
    assert talk.client.stage is Stage.IDLE


def test_rset_goes_before_the_next_transaction_step_by_step() -> None:
    talk = ready()
    talk.client.transact(envelope("c"))
    talk.hear(b"250 OK\r\n", b"250 OK\r\n", b"452 full\r\n")
    assert isinstance(talk.outcomes[0], Deferred)
    talk.said()
    talk.client.transact(envelope("c"))
    assert talk.said() == b"RSET\r\n"
    talk.hear(b"250 OK\r\n")
    assert talk.said() == b"MAIL FROM:<a@b.example>\r\n"


def test_reset_is_told() -> None:
    talk = ready()
    talk.client.reset()
    assert talk.hear(b"250 OK\r\n") == [Idle()]


@pytest.mark.parametrize(
    "final, kind", [(b"250 OK\r\n", Delivered), (b"452 full\r\n", Deferred), (b"554 spam\r\n", Failed)]
)
def test_the_reply_to_the_message(final: bytes, kind: type[Outcome]) -> None:
    talk = ready(b"PIPELINING")
    talk.client.transact(envelope("c", "d"))
    talk.hear(b"250 OK\r\n250 OK\r\n250 OK\r\n354 go\r\n")
    talk.client.end_body()
    talk.hear(final)
    assert [type(outcome) for outcome in talk.outcomes] == [kind, kind]


@pytest.mark.parametrize(
    "answer, shown",
    [
        (b"550-no mate\r\n550 go away\r\n", r"550-no mate\n550 go away"),
        (b"550-5.1.1 no\r\n550-5.1.1\r\n550 5.1.1 never\r\n", r"550-5.1.1 no\n550-5.1.1\n550 5.1.1 never"),
        (b"450-busy\r\n450 later\r\n", r"450-busy\n450 later"),
        (b"550-" + b"x" * 990 + b"\r\n550 no\r\n", f"550-{'x' * 956}"),
    ],
)
def test_the_lines_of_a_refusal_are_told_apart(answer: bytes, shown: str) -> None:
    talk = ready()
    talk.client.transact(envelope("c"))
    talk.hear(b"250 OK\r\n", answer)
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Failed | Deferred)
    assert outcome.reason == f"SMTP error from remote mail server after RCPT TO:<c@d.example>: {shown}"


def test_questions_by_themselves() -> None:
    talk = ready(b"PIPELINING")
    for command, stage, answer in (
        ("MAIL FROM:<>", Stage.MAIL, Reply(250, "", ("OK",))),
        ("RCPT TO:<x@d.example>", Stage.RCPT, Reply(550, "5.1.1", ("who?", "no"))),
        ("RSET", Stage.RESET, Reply(250, "", ("OK",))),
    ):
        talk.client.ask(command, stage)
        assert talk.said() == command.encode() + b"\r\n"
        assert talk.client.stage is stage
        assert talk.hear(b"550-5.1.1 who?\r\n550 5.1.1 no\r\n" if answer.is_permanent else b"250 OK\r\n") == [
            Answered(answer)
        ]


def test_a_message_behind_questions_begins_anew() -> None:
    talk = ready()
    talk.client.ask("MAIL FROM:<>", Stage.MAIL)
    talk.hear(b"250 OK\r\n")
    talk.said()
    talk.client.transact(envelope("x"))
    assert talk.said() == b"RSET\r\n"


def test_a_question_that_is_answered_with_more_questions() -> None:
    talk = ready()
    talk.client.ask("MAIL FROM:<>", Stage.MAIL)
    assert talk.hear(b"354 go on\r\n") == [Garbled("unexpected reply to MAIL FROM: 354 go on")]


def test_552_to_rcpt_means_later() -> None:
    talk = ready(b"PIPELINING")
    talk.client.transact(envelope("c"))
    talk.hear(b"250 OK\r\n552 5.5.3 too many\r\n503 no\r\n")
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Deferred)
    assert outcome.reply == Reply(452, "4.5.3", ("too many",))


def test_lmtp_has_a_reply_for_each_accepted_recipient() -> None:
    talk = Talk(ClientSettings("laptop", Protocol.LMTP))
    talk.hear(b"220 lmtp\r\n")
    talk.client.hello()
    assert talk.said() == b"LHLO laptop\r\n"
    talk.hear(b"250-hi\r\n250 PIPELINING\r\n")
    talk.client.transact(envelope("c", "d", "e"))
    talk.hear(b"250 OK\r\n250 OK\r\n550 no\r\n250 OK\r\n354 go\r\n")
    talk.client.end_body()
    assert talk.hear(b"250 c is fine\r\n") == []
    talk.hear(b"451 e is full\r\n")
    first, second, third = talk.outcomes
    assert first == Delivered("250 c is fine", dialog=Dialog(in_groups=True))
    assert isinstance(second, Failed)
    assert isinstance(third, Deferred)
    assert (third.reason, third.error) == ("LMTP error after DATA: 451 e is full", ErrorClass.OTHER)


# What needs no server


@pytest.mark.parametrize(
    "bad",
    [
        Address("a\r\nRSET", "d.example"),
        Address("ä", "d.example"),
        Address("a", "d>\x20X"),
        NULL_SENDER,
    ],
)
def test_an_address_that_cannot_be_sent_is_not_sent(bad: Address) -> None:
    talk = ready(b"PIPELINING")
    recipients = (Recipient(bad), Recipient(Address("c", "d.example")))
    talk.client.transact(Envelope(NULL_SENDER, recipients))
    assert talk.said() == b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    talk.hear(b"250 OK\r\n250 OK\r\n354 go\r\n")
    talk.client.end_body()
    talk.hear(b"250 OK\r\n")
    first, second = talk.outcomes
    assert isinstance(first, Failed)
    assert isinstance(second, Delivered)


@pytest.mark.parametrize(
    "bad", [envelope("c", size=1001), Envelope(Address("a\n", "b"), envelope("c").recipients), envelope()]
)
def test_a_transaction_that_is_over_before_it_starts(bad: Envelope) -> None:
    talk = ready(b"SIZE 1000")
    talk.client.transact(bad)
    talk.drain()
    assert talk.said() == b""
    assert all(isinstance(outcome, Failed) for outcome in talk.outcomes)
    assert len(talk.outcomes) == len(bad.recipients)
    assert talk.client.stage is Stage.IDLE


# Refusals and trouble


@pytest.mark.parametrize("code", [b"421", b"554", b"450"])
def test_a_refusing_greeting(code: bytes) -> None:
    talk = Talk()
    assert talk.hear(code + b" no\r\n") == [Refused(Stage.GREETING, Reply(int(code), "", ("no",)))]
    talk.client.quit()
    assert talk.said() == (b"" if code == b"421" else b"QUIT\r\n")


def test_helo_where_ehlo_is_unknown() -> None:
    talk = Talk()
    talk.hear(b"220 old\r\n")
    talk.client.hello()
    talk.said()
    assert talk.hear(b"500 what?\r\n") == []
    assert talk.said() == b"HELO laptop\r\n"
    assert talk.hear(b"250 old\r\n") == [HelloAccepted(Reply(250, "", ("old",)), {}, False)]


@pytest.mark.parametrize("answers", [[b"451 later\r\n", b"450 no\r\n"], [b"550 no\r\n", b"550 no\r\n"]])
def test_a_refused_hello(answers: list[bytes]) -> None:
    talk = Talk()
    talk.hear(b"220 x\r\n")
    talk.client.hello()
    (event,) = talk.hear(*answers)
    assert isinstance(event, Refused)
    assert event.stage is Stage.HELLO


TO_DATA = [b"250 OK\r\n", b"250 OK\r\n", b"354 go\r\n"]


def in_transaction(step: int) -> Talk:
    """After `step` replies to MAIL, RCPT and DATA; 4: the final dot was sent."""
    talk = ready()
    talk.client.transact(envelope("c"))
    talk.hear(*TO_DATA[:step])
    if step == 4:
        talk.client.end_body()
    return talk


STAGES = [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.END_OF_DATA]


@pytest.mark.parametrize("step, stage", list(enumerate(STAGES)))
def test_421_at_any_point(step: int, stage: Stage) -> None:
    talk = in_transaction(step)
    talk.hear(b"421 4.3.2 shutting down\r\n")
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Deferred)
    assert outcome.host_wide
    assert not outcome.possible_duplicate
    assert talk.events[-1] == Refused(stage, Reply(421, "4.3.2", ("shutting down",)))
    assert talk.client.stage is Stage.CLOSED


@pytest.mark.parametrize("step, stage", list(enumerate(STAGES)))
def test_the_connection_is_lost(step: int, stage: Stage) -> None:
    talk = in_transaction(step)
    talk.client.receive(b"25", 1.0)
    talk.client.receive_eof()
    talk.drain()
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Deferred)
    assert outcome.error is ErrorClass.LOST_CONNECTION
    assert outcome.possible_duplicate is (step == 4)
    assert talk.events[-1] == LinkLost(stage, step == 4)
    # What the driver may still do before it has read that.
    talk.client.body(b"x")
    talk.client.end_body()
    talk.client.quit()
    talk.client.transact(envelope("c"))


FAILURES = (
    (0, "MAIL FROM:<a@b.example>", ""),
    (1, "RCPT TO:<c@d.example>", ""),
    (2, "DATA", ""),
    (3, "sending data block", " (3 bytes written)"),
    (4, "end of data", " (3 bytes written)"),
)


@pytest.mark.parametrize("pipelining", [True, False])
def test_the_command_behind_which_it_ended_is_named(pipelining: bool) -> None:
    answers = (b"250 OK\r\n", b"250 OK\r\n", b"354 go\r\n")
    for step, command, written in FAILURES:
        for ends in (True, False):
            talk = ready(*[b"PIPELINING"] * pipelining)
            talk.client.transact(envelope("c"))
            talk.hear(*answers[:step])
            if step >= 3:
                talk.client.body(b"x\r\n")
            if step == 4:
                talk.client.end_body()
            group = "pipelined " if pipelining else ""
            if ends:
                talk.client.receive_eof()
                expected = f"Remote host closed connection in response to {group}{command}"
            else:
                talk.client.expire(talk.client.deadline() or 0.0)
                expected = f"SMTP timeout after {'' if step == 1 else group}{command}{written}"
            talk.drain()
            (outcome,) = talk.outcomes
            assert isinstance(outcome, Deferred)
            assert outcome.reason == expected


def test_of_a_refused_ehlo_it_is_told_when_the_server_leaves_at_helo() -> None:
    talk = Talk()
    talk.hear(b"220 relay ESMTP\r\n")
    talk.client.hello()
    talk.hear(b"550 go away\r\n")
    talk.client.receive_eof()
    talk.drain()
    lost = talk.events[-1]
    assert isinstance(lost, LinkLost)
    name = SETTINGS.name
    said = f"Remote host closed connection in response to HELO {name} (EHLO response was: 550 go away)"
    assert lost.reason == said


def test_credentials_are_not_told() -> None:
    talk = ready(b"AUTH PLAIN")
    talk.client.authenticate("PLAIN", "c2VjcmV0")
    talk.client.receive_eof()
    talk.drain()
    lost = talk.events[-1]
    assert isinstance(lost, LinkLost)
    assert lost.reason == "Remote host closed connection in response to AUTH PLAIN ********"


@pytest.mark.parametrize("step, stage", list(enumerate(STAGES)))
def test_the_server_keeps_us_waiting(step: int, stage: Stage) -> None:
    talk = in_transaction(step)
    deadline = talk.client.deadline()
    assert deadline == 1.0 + (600.0 if step == 4 else 300.0)
    talk.client.expire(deadline - 0.1)
    talk.drain()
    assert talk.events in ([], [BodyWanted()])
    talk.client.expire(deadline)
    talk.drain()
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.possible_duplicate) == (ErrorClass.TIMEOUT, step == 4)
    assert talk.events[-1] == TimedOut(stage)
    assert talk.client.deadline() is None


def test_octets_that_trickle_in_do_not_prolong_a_replys_time() -> None:
    talk = in_transaction(0)
    talk.client.receive(b"25", 200.0)
    assert talk.client.deadline() == 301.0


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 OK\r\n",
        b"250OK\r\n",
        b"650 OK\r\n",
        b"150 OK\r\n",
        b"250-OK\r\n251 OK\r\n",
        b"250 O\rK\r\n",
        b"250 O\0K\r\n",
        b"250 " + b"x" * 5000 + b"\r\n",
        b"250-x\r\n" * 201,
        b"354 go\r\n",
        b"\x16\x03\x01\x02\n",
    ],
)
def test_what_is_no_reply_ends_the_session(nonsense: bytes) -> None:
    talk = in_transaction(0)
    talk.hear(nonsense)
    assert isinstance(talk.outcomes[0], Deferred)
    assert isinstance(talk.events[-1], Garbled)
    assert talk.hear(b"250 OK\r\n") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\r\n", "Malformed SMTP reply (an empty line) in response to MAIL FROM:<a@b.example>"),
        (b"hello\x1b\r\n", "Malformed SMTP reply in response to MAIL FROM:<a@b.example>: hello\\033"),
    ],
)
def test_what_is_no_reply_is_told_with_its_command(line: bytes, said: str) -> None:
    talk = in_transaction(0)
    talk.hear(line)
    outcome = talk.outcomes[0]
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.error) == (said, ErrorClass.MALFORMED)


@pytest.mark.parametrize("spoken", [b"250 OK\r\n", b"250", b"250-O\r\n"])
def test_a_reply_before_its_command_is_no_reply(spoken: bytes) -> None:
    talk = ready()
    talk.client.receive(spoken, 1.0)
    talk.client.transact(envelope("c"))
    talk.drain()
    assert talk.said() == b""
    assert any(isinstance(event, Garbled) for event in talk.events)
    assert isinstance(talk.outcomes[0], Deferred)


def test_a_reply_before_the_final_dot_is_no_acceptance() -> None:
    talk = in_transaction(2)
    talk.client.receive(b"354 go\r\n250 OK\r\n", 1.0)
    assert talk.client.next_event() == BodyWanted()
    talk.client.body(b"x\r\n")
    talk.client.end_body()
    talk.drain()
    assert isinstance(talk.outcomes[0], Deferred)
    assert isinstance(talk.events[-1], Garbled)


def test_a_refusal_in_the_middle_of_the_message() -> None:
    talk = in_transaction(3)
    talk.client.body(b"x\r\n")
    talk.hear(b"552 too big\r\n")
    assert isinstance(talk.outcomes[0], Failed)
    assert talk.events[-1] == LinkLost(Stage.BODY, False)


def test_a_reply_may_end_with_lf_and_have_no_text() -> None:
    talk = Talk()
    assert talk.hear(b"220-a\n220 b\n") == [Greeted(Reply(220, "", ("a", "b")))]
    talk.client.hello()
    (event,) = talk.hear(b"250\n")
    assert isinstance(event, HelloAccepted)


def test_enhanced_status_is_taken_from_every_line_that_has_it() -> None:
    talk = ready()
    talk.client.starttls()
    (event,) = talk.hear(b"454-4.7.0 one\r\n454-4.7.1 two\r\n454 4.7.0\r\n")
    assert event == TLSRefused(Reply(454, "4.7.0", ("one", "4.7.1 two", "")))
    talk.client.reset()
    talk.client.quit()
    assert talk.hear(b"250 5.1.1 is a version\r\n221 x\r\n") == [Idle(), Closed()]


def test_the_end_of_the_connection_is_an_answer_to_quit() -> None:
    talk = ready()
    talk.client.quit()
    talk.client.receive_eof()
    talk.drain()
    assert talk.events == [Closed()]


@pytest.mark.parametrize("code", [b"334", b"300", b"354"])
def test_any_3xx_is_a_challenge(code: bytes) -> None:
    talk = ready(b"AUTH LOGIN")
    talk.client.authenticate("LOGIN")
    assert talk.hear(code + b" VXNlcg==\r\n") == [AuthChallenge("VXNlcg==")]


# Layers


def test_what_stands_behind_the_220_is_the_handshakes() -> None:
    talk = ready(b"STARTTLS", b"PIPELINING")
    talk.client.starttls()
    assert talk.said() == b"STARTTLS\r\n"
    assert talk.hear(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n", b"more") == [TLSGoAhead()]
    assert talk.client.switch_layer() == b"250-evil\r\n250 AUTH PLAIN\r\nmore"
    talk.client.layer_changed(5.0, TLS)
    assert talk.client.offers == {}
    talk.client.hello()
    assert talk.said() == b"EHLO laptop\r\n"
    talk.hear(b"250 hi\r\n")
    talk.client.transact(envelope("c"))
    talk.hear(*TO_DATA)
    talk.client.end_body()
    talk.hear(b"250 OK\r\n")
    assert talk.outcomes == (Delivered("250 OK", HOST, TLS, dialog=Dialog()),)


def test_down_again_for_the_next_message() -> None:
    talk = ready(b"STARTTLS")
    talk.client.layer_changed(5.0, None)
    talk.client.hello(now=7.0)
    assert talk.said() == b"EHLO laptop\r\n"
    assert talk.client.deadline() == 307.0


def test_a_layer_that_ends_in_a_transaction_ends_the_transaction() -> None:
    talk = in_transaction(4)
    talk.client.layer_changed(5.0, None)
    talk.drain()
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Deferred)
    assert outcome.possible_duplicate


def test_orders_at_the_wrong_time_are_our_mistakes() -> None:
    talk = Talk()
    for order in (talk.client.hello, talk.client.starttls, talk.client.end_body, talk.client.switch_layer):
        with pytest.raises(RuntimeError):
            order()
    talk = in_transaction(3)
    for order in (talk.client.quit, talk.client.reset):
        with pytest.raises(RuntimeError):
            order()
    with pytest.raises(RuntimeError):
        talk.client.transact(envelope("c"))


# Any input, any split

REPLIES = st.sampled_from(
    [b"220 x\r\n", b"250 OK\r\n", b"250-a\r\n", b"250 PIPELINING\r\n", b"354 go\r\n", b"421 x\r\n", b"550 x\r\n"]
)
SCRAPS = st.sampled_from([b"452 x\n", b"x", b"\r\n", b"\0", b"250", b"-"])


@settings(max_examples=200)
@given(st.lists(st.one_of(REPLIES, REPLIES, SCRAPS, st.binary(max_size=8)), max_size=12), st.booleans())
def test_no_input_raises_and_every_transaction_is_settled_once(pieces: list[bytes], starttls: bool) -> None:
    client = Client(SETTINGS, 0.0)
    started = settled = 0
    for piece in pieces:
        client.receive(piece, 1.0)
        while (event := client.next_event()) is not None:
            match event:
                case Greeted() | TLSRefused():
                    client.hello()
                case HelloAccepted() if starttls:
                    client.starttls()
                    starttls = False
                case HelloAccepted():
                    client.transact(envelope("c", "d"))
                    started += 1
                case TLSGoAhead():
                    client.switch_layer()
                    client.layer_changed(2.0, TLS)
                    client.hello()
                case BodyWanted():
                    client.body(b".\r\n")
                    client.end_body()
                case Settled(outcomes):
                    settled += 1
                    assert len(outcomes) == 2
    client.receive_eof()
    while (event := client.next_event()) is not None:
        settled += isinstance(event, Settled)
    assert settled == started
    assert client.stage is Stage.CLOSED


DIALOG = b"250 OK\r\n250 OK\r\n550-5.1.1 a\r\n550 5.1.1 b\r\n354 go\r\n"


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(DIALOG)), max_size=6))
def test_every_split_of_the_replies_is_the_same(places: list[int]) -> None:
    talk = ready(b"PIPELINING")
    talk.client.transact(envelope("c", "d"))
    points = sorted({0, len(DIALOG), *places})
    talk.hear(*(DIALOG[start:end] for start, end in itertools.pairwise(points)))
    talk.client.end_body()
    talk.hear(b"250 OK\r\n")
    assert [type(event) for event in talk.events] == [BodyWanted, Settled]
    assert [type(outcome) for outcome in talk.outcomes] == [Delivered, Failed]


@pytest.mark.parametrize(
    "a_labels, extensions, shown",
    [
        (ALabels.WHERE_NEEDED, (), b"a@xn--bcher-kva.example>"),
        (ALabels.WHERE_NEEDED, (b"SMTPUTF8",), "a@bücher.example> SMTPUTF8".encode()),
        (ALabels.ALWAYS, (b"SMTPUTF8",), b"a@xn--bcher-kva.example>"),
        (ALabels.NEVER, (b"SMTPUTF8",), "a@bücher.example> SMTPUTF8".encode()),
        (ALabels.NEVER, (), b""),
    ],
)
def test_domains_outside_us_ascii(a_labels: ALabels, extensions: tuple[bytes, ...], shown: bytes) -> None:
    talk = ready(*extensions, limits=replace(SETTINGS, a_labels=a_labels))
    there = Address("a", "bücher.example")
    talk.client.transact(Envelope(there, (Recipient(there),)))
    said = talk.said()
    assert said.removeprefix(b"MAIL FROM:<").removesuffix(b"\r\n") == shown
    if shown:
        talk.hear(b"250 OK\r\n")
        assert talk.said() == b"RCPT TO:<" + shown.split(b" ")[0] + b"\r\n"


def test_a_local_part_outside_us_ascii_stays_as_it_is() -> None:
    talk = ready()
    talk.client.transact(Envelope(Address("a", "b.example"), (Recipient(Address("jürg", "bücher.example")),)))
    talk.drain()
    (outcome,) = talk.outcomes
    assert isinstance(outcome, Failed)
    assert outcome.status == "5.6.7"


@pytest.mark.parametrize("code", [300, 350, 354])
def test_any_3xx_lets_the_message_come(code: int) -> None:
    talk = ready()
    talk.client.transact(envelope("c"))
    talk.hear(b"250 OK\r\n250 OK\r\n")
    assert talk.hear(b"%d go\r\n" % code) == [BodyWanted()]


@pytest.mark.parametrize(("code", "goes_up"), [(220, True), (250, True), (354, False), (454, False), (502, False)])
def test_the_first_digit_says_whether_tls_may_begin(code: int, goes_up: bool) -> None:
    talk = ready(b"STARTTLS")
    talk.client.starttls()
    (event,) = talk.hear(f"{code} well\r\n".encode())
    assert isinstance(event, TLSGoAhead if goes_up else TLSRefused)
