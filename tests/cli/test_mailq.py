"""The queue in Exim's columns."""

from dataclasses import replace

import pytest

from relay.cli.mailq import age, listing, size
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.queue import QueuedRecipient, QueueEntry, RecipientState

NOW = 1795255200.0
BOB = QueuedRecipient(0, Recipient(Address("bob", "there.example")), RecipientState.DELIVERED)
EVE = QueuedRecipient(1, Recipient(Address("eve\x1b[2J", "there.example")))
ENTRY = QueueEntry("1xUfyz-0002Cc-2k", Address("anne", "example.org"), NOW - 600, 1500, False, NOW, (BOB, EVE))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, " 0m"),
        (59, " 0m"),
        (60, " 1m"),
        (5459, "90m"),
        (5460, " 2h"),
        (86400, "24h"),
        (72 * 3600, "72h"),
        (80 * 3600, " 3d"),
    ],
)
def test_ages(seconds: int, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (0, "     "),
        (1, "    1"),
        (1023, " 1023"),
        (1024, " 1.0K"),
        (10239, "10.0K"),
        (10240, "  10K"),
        (1048575, "1024K"),
        (1048576, " 1.0M"),
        (52428800, "  50M"),
    ],
)
def test_sizes(octets: int, shown: str) -> None:
    assert size(octets) == shown


def test_an_entry_with_its_recipients() -> None:
    assert list(listing([ENTRY], NOW, "")) == [
        "10m  1.5K 1xUfyz-0002Cc-2k <anne@example.org>",
        "        D bob@there.example",
        '          "eve\\033[2J"@there.example',
        "",
    ]


def test_the_other_forms() -> None:
    assert list(listing([ENTRY], NOW, "i")) == ["1xUfyz-0002Cc-2k"]
    assert len(list(listing([ENTRY], NOW, "u"))) == 3
    frozen = replace(ENTRY, sender=NULL_SENDER, frozen=True, caller="anne")
    assert next(listing([frozen], NOW, "")) == "10m  1.5K 1xUfyz-0002Cc-2k <> (anne) *** frozen ***"
    assert "(anne)" not in next(listing([replace(ENTRY, caller="anne")], NOW, ""))


def test_what_was_made_of_recipients_is_shown_on_demand() -> None:
    bob, eve = ENTRY.recipients
    made = ("Two@far.example\tmail", "bob@there.example", "one@far.example")
    entry = replace(ENTRY, recipients=(bob, replace(eve, done=made)))
    shown = list(listing([entry], NOW, "a"))
    assert shown[3:] == ["       +D Two@far.example", "       +D one@far.example", ""]
    assert list(listing([entry], NOW, "")) == list(listing([ENTRY], NOW, ""))
