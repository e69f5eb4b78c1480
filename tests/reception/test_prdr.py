"""PRDR in a session: who is asked about the message, what each recipient hears, and what the queue then has."""

from __future__ import annotations

import pytest

from reception.test_session import Client
from relay.mail import events
from relay.mail.ports import SpoolUnavailable
from relay.policy.acl_values import Where
from relay.reception.rules import OfferRules

BY_NAME = "defer local_parts = later\n deny local_parts = no\n accept"


def asking(prdr: str = BY_NAME, data: str = "accept", **acls: str) -> Client:
    """A client that has greeted."""
    more = {Where[name]: text for name, text in acls.items()}
    client = Client({Where.RCPT: "accept", Where.PRDR: prdr, Where.DATA: data, **more}, offers=OfferRules(prdr=True))
    offers = client.hello().offers
    assert offers is not None
    assert ("PRDR", "") in offers.items
    return client


def notes(client: Client) -> list[str]:
    return [each.text for each in client.shelf.of(events.MessageNote)]


def transaction(client: Client, *names: str, asked: bool = True) -> tuple[list[int], str, int]:
    """The replies ahead of the last, that one's text, and its code."""
    client.mail(**({"PRDR": ""} if asked else {}))
    for name in names:
        assert client.rcpt(f"{name}@far.test").reply.code == 250
    last = client.data()
    return [each.code for each in last.before], last.reply.text, last.reply.code


def test_each_recipient_has_its_own_reply() -> None:
    client = asking()
    before, text, code = transaction(client, "yes", "later", "no")
    message_id = client.queued.message_id
    assert (before, code) == ([353, 250, 450, 550], 250)
    assert text == f"id={message_id} message accepted for some recipients"
    assert [each.address.local_part for each in client.queued.recipients] == ["yes"]
    assert notes(client) == [
        "PRDR R=<yes@far.test> acceptance",
        "PRDR R=<later@far.test> temporary refusal",
        "PRDR R=<no@far.test> refusal",
    ]
    (arrived,) = client.shelf.of(events.Arrived)
    assert arrived.prdr
    assert len(arrived.named) == 3


def test_all_take_it() -> None:
    before, text, code = transaction(asking(), "a", "b")
    assert (before, code) == ([353, 250, 250], 250)
    assert text.endswith(" message accepted")


@pytest.mark.parametrize("name, replies, code", [("no", [353, 550, 550], 550), ("later", [353, 450, 450], 250)])
def test_where_nobody_takes_it_nothing_is_queued(name: str, replies: list[int], code: int) -> None:
    client = asking(data="accept logwrite = asked about the message")
    assert transaction(client, name, name)[::2] == (replies, code)
    assert client.shelf.accepted == []
    assert client.shelf.of(events.WrittenByACL) == []


def test_what_the_message_as_a_whole_is_refused_for_stands_behind_the_replies() -> None:
    client = asking(data="deny")
    assert transaction(client, "a", "b")[::2] == ([353, 250, 250], 550)
    assert client.shelf.accepted == []


@pytest.mark.parametrize("names, asked", [(("yes",), True), (("yes", "no"), False)])
def test_one_recipient_or_none_that_asked_has_one_reply(names: tuple[str, ...], asked: bool) -> None:
    client = asking(MAIL="accept logwrite = <$prdr_requested>")
    before, text, code = transaction(client, *names, asked=asked)
    assert (before, code) == ([], 250)
    assert text.startswith("OK id=")
    assert not client.shelf.of(events.Arrived)[0].prdr
    assert [each.text for each in client.shelf.of(events.WrittenByACL)] == ["<yes>" if asked else "<no>"]


def test_the_reply_to_mail_says_so() -> None:
    client = asking()
    assert client.mail(PRDR="").reply.text == "OK, PRDR Requested"


def test_words_of_the_acl_stand_in_reply_and_log() -> None:
    client = asking("deny local_parts = a\n message = too loud\n log_message = loud\n accept message = come in")
    client.mail(PRDR="")
    client.rcpt("a@far.test")
    client.rcpt("b@far.test")
    last = client.data()
    assert [each.text for each in last.before[1:]] == ["too loud", "come in"]
    assert notes(client) == ["PRDR a@far.test loud", "PRDR b@far.test come in"]


def test_what_is_discarded_is_taken_and_not_kept() -> None:
    client = asking("discard local_parts = a\n accept")
    assert transaction(client, "a", "b")[::2] == ([353, 250, 250], 250)
    assert [each.address.local_part for each in client.queued.recipients] == ["b"]


def test_nobody_hears_yes_before_the_queue_has_it() -> None:
    client = asking()
    client.shelf.accept_trouble = SpoolUnavailable("the disk is gone")
    assert transaction(client, "a", "b")[::2] == ([], 451)
