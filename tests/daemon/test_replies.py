"""Replies on their way to whoever takes messages of local programs."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from relay.daemon.callers import TrustedCallers
from relay.daemon.replies import Replies
from relay.delivery.autoreply import NoRecipients, ReplyRefused
from relay.delivery.jobs import Identity
from relay.reception.request import (
    DeliveryMode,
    Status,
    SubmissionAnswer,
    SubmissionRequest,
    decode_request,
    encode_request,
)

USER = Identity(os.getuid(), os.getgid())
REPLY = b"To: anna@a.test\nSubject: away\n\nBack on Monday.\n"


class Office:
    """Takes what comes, or says why not."""

    def __init__(self, status: Status = Status.ACCEPTED, text: str = "", *, awaited: bool = False) -> None:
        self.answer = SubmissionAnswer(status, "", text)
        self.taken: list[tuple[SubmissionRequest, Any, bytes]] = []
        self.replies = Replies()
        self.replies.open(self.submit, TrustedCallers(), lambda message_id: awaited and message_id == "original")

    async def submit(
        self, request: SubmissionRequest, originator: Any, pieces: Any, drop: Any = None
    ) -> SubmissionAnswer:
        text = b""
        while piece := await pieces.next():
            text += piece
        self.taken.append((request, originator, text))
        return self.answer

    def send(self, text: bytes = REPLY) -> None:
        asyncio.run(self.replies.send(text, "original", USER))


@pytest.mark.parametrize("awaited", [False, True])
def test_a_reply_is_from_nobody(awaited: bool) -> None:
    office = Office(awaited=awaited)
    office.send()
    ((request, originator, text),) = office.taken
    assert request.sender == ""
    assert (request.extract_recipients, request.about, text) == (True, "original", REPLY)
    assert originator.caller.uid == os.getuid()
    assert request.delivery is (DeliveryMode.INTERACTIVE if awaited else DeliveryMode.BACKGROUND)


def test_what_is_not_taken() -> None:
    with pytest.raises(ReplyRefused, match="disk full"):
        Office(Status.DEFERRED, "disk full").send()
    with pytest.raises(ReplyRefused):
        asyncio.run(Replies().send(REPLY, "original", USER))


@pytest.mark.parametrize("header", [b"Subject: a\n", b"To: \nSubject: a\n", b"X-To: a@b.test\n"])
def test_nobody_to_send_it_to(header: bytes) -> None:
    office = Office()
    with pytest.raises(NoRecipients):
        office.send(header + b"\nTo: c@d.test\n")
    assert not office.taken


def test_nobody_outside_says_what_a_message_is_about() -> None:
    assert decode_request(encode_request(SubmissionRequest(about="original"))).about == ""
