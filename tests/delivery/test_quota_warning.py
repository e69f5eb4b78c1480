"""The owner of a mailbox is told when a message takes it over a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from delivery.local_post import OWN, Desk, deliver
from delivery.post import BODY
from relay.delivery.appendfile import Appendfile, AppendfileRules, QuotaRules
from relay.delivery.autoreply import ReplyRefused
from relay.delivery.jobs import Identity
from relay.delivery.local import LocalDelivery, LocalRules
from relay.delivery.quota_warning import USUAL_MESSAGE, QuotaWarning, WarningRules
from relay.expand.evaluate import compile_expansion
from relay.mail.events import Trouble
from relay.mail.outcome import Deferred, Delivered, Outcome


@dataclass
class House:
    """A mailbox with a threshold, and whoever takes notices."""

    path: Path
    threshold: str
    quota: str = "0"
    message: str = USUAL_MESSAGE
    maildir: bool = False
    refusal: Exception | None = None
    more: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    desk: Desk = field(default_factory=Desk)

    async def send(self, text: bytes, about: str, identity: Identity) -> None:
        assert identity == OWN
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(text.decode())

    def deliver(self) -> Outcome:
        limits = QuotaRules(
            quota=compile_expansion(self.quota),
            threshold=compile_expansion(self.threshold),
            warning=compile_expansion(self.message),
        )
        place = compile_expansion(str(self.path))
        rules = AppendfileRules(
            common=LocalRules(name="box"),
            quota=limits,
            file=None if self.maildir else place,
            directory=place if self.maildir else None,
            maildir_format=self.maildir,
        )
        ports = self.desk.ports()
        told = WarningRules(transport="box", message=limits.warning or place, qualify_domain="here.test", **self.more)
        warning = QuotaWarning(told, self, ports.journal, OWN)
        driver = Appendfile(rules, ports.clock, "relay.test", 77)
        return deliver(LocalDelivery(rules.common, driver, ports, warning), BODY)


@pytest.mark.parametrize("maildir", [False, True])
def test_the_message_that_crosses_the_threshold_tells(tmp_path: Path, maildir: bool) -> None:
    house = House(tmp_path / "box", "1", maildir=maildir)
    for _ in range(3):
        assert isinstance(house.deliver(), Delivered)
    (text,) = house.sent
    header, _, body = text.partition("\n\n")
    assert header.split("\n") == [
        "Auto-Submitted: auto-replied",
        "From: Mail Delivery System <Mailer-Daemon@here.test>",
        "To: bert@far.test",
        "Subject: Your mailbox",
    ]
    assert body.endswith("\n")


def test_a_threshold_in_per_cent(tmp_path: Path) -> None:
    house = House(tmp_path / "box", "1%", quota="100K")
    while not house.sent:
        assert (tmp_path / "box").exists() is False or (tmp_path / "box").stat().st_size <= 1024
        house.deliver()
    assert (tmp_path / "box").stat().st_size > 900
    nothing = House(tmp_path / "other", "1%")
    assert isinstance(nothing.deliver(), Delivered)
    assert nothing.sent == []
    too_much = House(tmp_path / "third", "101%", quota="1K").deliver()
    assert isinstance(too_much, Deferred)
    assert "Invalid quota_warn_threshold percentage (101)" in too_much.reason


def test_what_the_message_says_itself_is_not_added(tmp_path: Path) -> None:
    more = {"sender": compile_expansion("Post\n <p@here.test>"), "reply_to": "help@here.test"}
    own = House(tmp_path / "a", "1", message="from : x@y\nReply-To: z@y\nTo: a@b\n\nfull", more=more)
    own.deliver()
    assert own.sent == ["Auto-Submitted: auto-replied\nfrom : x@y\nReply-To: z@y\nTo: a@b\n\nfull\n"]
    bare = House(tmp_path / "b", "1", message="To: a@b\n\nFrom: this is text\n", more=more)
    bare.deliver()
    (text,) = bare.sent
    assert text.startswith(
        "Reply-To: help@here.test\nAuto-Submitted: auto-replied\nFrom: Post <p@here.test>\nTo: a@b\n"
    )


@pytest.mark.parametrize(
    ("message", "refusal", "words"),
    [
        ("${lookup{x}lsearch{/none}{x}fail}", None, "Failed to expand"),
        ("To: a@b\n\nx", ReplyRefused("no room"), "was not sent: no room"),
    ],
)
def test_the_delivery_stands_without_the_notice(
    tmp_path: Path, message: str, refusal: Exception | None, words: str
) -> None:
    house = House(tmp_path / "box", "1", message=message, refusal=refusal)
    assert isinstance(house.deliver(), Delivered)
    (told,) = house.desk.notebook.events
    assert isinstance(told, Trouble)
    assert words in told.text
