"""One message in several transactions."""

from __future__ import annotations

import pytest

from relay.delivery.transactions import in_batches, in_one_transaction
from relay.esmtp.parameters import Limits
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.outcome import Deferred, Delivered, Outcome

PEOPLE = [Recipient(Address(name, f"{domain}.test")) for name, domain in ("aA", "bB", "ca", "db", "eC", "fa")]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), [[0, 1, 2, 3, 4, 5]]),
        (Limits(recipients=4), [[0, 1, 2, 3], [4, 5]]),
        (Limits(domains=7), [[0, 2, 5], [1, 3], [4]]),
        (Limits(domains=1, recipients=2), [[0, 2], [5], [1, 3], [4]]),
    ],
)
def test_batches(limits: Limits, expected: list[list[int]]) -> None:
    assert in_batches(PEOPLE, limits) == expected


def test_nobody() -> None:
    assert [place for places in in_batches([], Limits()) for place in places] == []


@pytest.mark.parametrize("continued", [True, False])
def test_the_first_that_is_taken_is_the_first(continued: bool) -> None:
    said: list[Outcome] = [Deferred("no"), Delivered("yes"), Deferred("no"), Delivered("yes")]
    marked = in_one_transaction(said, continued=continued)
    taken = [each for each in marked if isinstance(each, Delivered)]
    assert [each.dialog.is_further for each in taken if each.dialog is not None] == [False, True]
    assert {each.continued for each in taken} == {continued}
    assert marked[0] == Deferred("no", continued=continued)
