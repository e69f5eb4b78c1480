"""How a line names an address."""

from __future__ import annotations

import pytest

from relay.mail.address import address_from_text
from relay.mail.events import AddressDelivered, AddressNames
from relay.mail.outcome import Delivered
from relay.observe.naming import address_with_original, shadow_told

TOP, FIRST, SECOND, LAST = (address_from_text(f"{each}@x.example") for each in ("top", "one", "two", "end"))


def written(named: AddressNames | None, *, all_parents: bool) -> str:
    event = AddressDelivered("id", LAST, "r", "t", Delivered(""), named=named)
    return address_with_original(event, all_parents=all_parents)


@pytest.mark.parametrize(
    ("shown", "is_text", "all_parents", "expected"),
    [
        ("", False, False, "end@x.example <top@x.example>"),
        ("", False, True, "end@x.example (two@x.example, one@x.example) <top@x.example>"),
        ("end", False, False, "end <top@x.example>"),
        ("/var/mail/box", True, False, "/var/mail/box (two@x.example) <top@x.example>"),
        ("/var/mail/box", True, True, "/var/mail/box (two@x.example, one@x.example) <top@x.example>"),
    ],
)
def test_what_lies_between(shown: str, is_text: bool, all_parents: bool, expected: str) -> None:
    named = AddressNames(shown, TOP, between=(SECOND, FIRST), is_text=is_text)
    assert written(named, all_parents=all_parents) == expected


def test_an_address_without_parents() -> None:
    assert written(None, all_parents=True) == "end@x.example"
    assert written(AddressNames("", host="h"), all_parents=True) == "end@x.example"


@pytest.mark.parametrize(("shadow", "field"), [("", ""), ("copy", " ST=copy"), ("copy (a\nb)", " ST=copy (a\\nb)")])
def test_a_second_copy(shadow: str, field: str) -> None:
    assert shadow_told(Delivered("/box", shadow=shadow)) == field
