"""PRDR on the wire: what a client asks for and makes of the replies, and where a server's replies stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from esmtp.server_driver import OFFERS, Session, willing
from esmtp.test_client import SETTINGS, Talk, envelope, ready
from relay.esmtp.client_events import Garbled, LinkLost
from relay.esmtp.extensions import Offers
from relay.esmtp.questions import MessageEnded, Question
from relay.mail import reply
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed
from relay.mail.reply import Reply

WILLING = replace(SETTINGS, prdr=True)


def ended(*names: str, extensions: tuple[bytes, ...] = (b"PRDR",), answers: bytes = b"") -> Talk:
    """A client that has sent a message to these, all of whom were accepted, and has heard `answers` to it."""
    talk = ready(*extensions, limits=WILLING)
    talk.client.transact(envelope(*names))
    talk.hear(b"250 OK\r\n")
    for _ in names:
        talk.hear(b"250 OK\r\n")
    talk.hear(b"354 go\r\n")
    talk.client.end_body()
    talk.hear(answers)
    return talk


@pytest.mark.parametrize(
    "names, extensions, settings, asked",
    [
        (("c", "d"), (b"PRDR",), WILLING, True),
        (("c",), (b"PRDR",), WILLING, False),
        (("c", "d"), (), WILLING, False),
        (("c", "d"), (b"PRDR",), SETTINGS, False),
    ],
)
def test_it_is_asked_for_where_there_are_several(names, extensions, settings, asked) -> None:  # type: ignore[no-untyped-def]
    talk = ready(*extensions, limits=settings)
    talk.client.transact(envelope(*names))
    assert (b" PRDR" in talk.said()) is asked


def test_a_recipient_has_what_was_said_of_it_and_of_all() -> None:
    talk = ended("c", "d", "e", answers=b"353 see\r\n250 c\r\n450 d\r\n550 e\r\n250 all\r\n")
    first, second, third = talk.outcomes
    assert isinstance(first, Delivered)
    assert first.confirmation == r"250 c\n250 all"
    assert first.dialog is not None
    assert first.dialog.prdr
    assert isinstance(second, Deferred)
    assert (second.reason, second.error) == ("PRDR error after DATA: 450 d", ErrorClass.JUDGED_4XX)
    assert isinstance(third, Failed)
    assert third.reason == "PRDR error after DATA: 550 e"


def test_nothing_is_settled_before_the_last_reply() -> None:
    talk = ended("c", "d", answers=b"353 see\r\n250 c\r\n250 d\r\n")
    assert talk.events[-1:] != []
    assert not any(type(each).__name__ == "Settled" for each in talk.events)
    talk.client.receive_eof()
    talk.drain()
    assert all(isinstance(each, Deferred) and each.possible_duplicate for each in talk.outcomes)
    assert isinstance(talk.events[-1], LinkLost)


@pytest.mark.parametrize("answers, kind", [(b"550 all", Failed), (b"450 all", Deferred)])
@pytest.mark.parametrize("before", [b"", b"353 see\r\n250 c\r\n250 d\r\n"])
def test_the_last_reply_overrules_a_good_one(before: bytes, answers: bytes, kind: type) -> None:
    talk = ended("c", "d", answers=before + answers + b"\r\n")
    assert all(isinstance(each, kind) for each in talk.outcomes)
    assert talk.client.stage.value == "idle" or talk.client.deadline() is None


def test_one_reply_for_all_is_one_for_all() -> None:
    talk = ended("c", "d", answers=b"250 fine\r\n")
    assert all(isinstance(each, Delivered) and each.dialog and not each.dialog.prdr for each in talk.outcomes)


@pytest.mark.parametrize("answers", [b"353 see\r\n353 again\r\n", b"353 see\r\n250 c\r\n250 d\r\n354 more\r\n"])
def test_it_is_announced_once(answers: bytes) -> None:
    talk = ended("c", "d", answers=answers)
    assert isinstance(talk.events[-1], Garbled)


def test_it_is_not_announced_where_it_was_not_asked_for() -> None:
    assert isinstance(ended("c", answers=b"353 see\r\n").events[-1], Garbled)


class AnsweringForEach(Session):
    """A server whose message is answered for each recipient."""

    def run(self) -> None:
        while (event := self.server.next_event()) is not None:
            if isinstance(event, MessageEnded):
                self.server.answer(reply.MESSAGE_ACCEPTED, before=(reply.PRDR_BEGINS, Reply(450, "", ("no",))))
            elif self.server.open_question is event:
                self.server.answer(self.answer(event), self.offers)  # type: ignore[arg-type]
        self.sent += self.server.data_to_send()


def test_the_servers_replies_stand_in_order() -> None:
    server = AnsweringForEach(offers=Offers((("PIPELINING", ""), ("CHUNKING", ""), ("PRDR", ""))))
    server.send(b"EHLO x\r\n", b"MAIL FROM:<a@b.example> PRDR\r\n", b"RCPT TO:<c@d.example>\r\n")
    said = server.send(b"DATA\r\n", b"x\r\n.\r\n")
    assert [line[:3] for line in said.splitlines()] == [b"354", b"353", b"450", b"250"]
    server.send(b"MAIL FROM:<a@b.example> PRDR\r\n", b"RCPT TO:<c@d.example>\r\n")
    said = server.send(b"BDAT 3 LAST\r\nx\r\n")
    assert [line[:4] for line in said.splitlines()] == [b"353 ", b"450 ", b"250 "]


def test_the_parameter_is_one_where_it_is_offered() -> None:
    def answer(question: Question) -> Reply:
        return willing(question)

    server = Session(answer=answer, offers=OFFERS)
    server.send(b"EHLO x\r\n")
    assert server.send(b"MAIL FROM:<a@b.example> PRDR\r\n").startswith(b"555")
