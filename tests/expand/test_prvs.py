"""Signed senders: what is signed is genuine for a week, with the right key, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import compile_expansion
from relay.expand.prvs import read_signed, sign
from relay.expand.scope import MessageView, Scope
from relay.expand.values import is_tainted
from relay.mail.address import Address

DAY = 86400
NOW = 20_000 * DAY + 1234


def test_a_tag_is_number_day_and_mark() -> None:
    assert sign("ann@relay.test", "secret", "3", NOW).startswith("prvs=3007")
    assert len(sign("ann@relay.test", "secret", "3", NOW)) == len("prvs=3007123456=ann@relay.test")


@pytest.mark.parametrize(
    "later, key, wanted",
    [(0, "secret", True), (7, "secret", True), (8, "secret", False), (0, "other", False), (900, "secret", False)],
)
def test_how_long_a_signature_is_good(later: int, key: str, wanted: bool) -> None:
    signed = read_signed(sign("ann@relay.test", "secret", "1", NOW))
    assert signed is not None
    assert signed.is_genuine(key, NOW + later * DAY) is wanted


def test_the_turn_of_the_day_numbers() -> None:
    before_the_turn = 20_995 * DAY
    signed = read_signed(sign("ann@relay.test", "secret", "1", before_the_turn))
    assert signed is not None
    assert signed.day == "002"
    assert signed.is_genuine("secret", before_the_turn)


@given(st.emails(), st.text(max_size=16), st.sampled_from("0123456789"), st.integers(0, 3 * 10**9))
def test_what_was_signed_is_genuine(address: str, key: str, number: str, now: int) -> None:
    signed = read_signed(sign(address, key, number, now))
    assert signed is not None
    assert (signed.address, signed.key_number) == (address, number)
    days = now // DAY
    assert signed.is_genuine(key, now) or days < 100 or 986 <= days % 1000 < 993


@pytest.mark.parametrize("text", ["", "ann@relay.test", "prvs=1234=ann@relay.test", "prvs=1234abcdefg=ann@relay.test"])
def test_what_is_no_tag(text: str) -> None:
    assert read_signed(text) is None


def test_a_key_that_is_too_long() -> None:
    with pytest.raises(ExpansionFailed, match="conversion failed"):
        sign("ann@relay.test", "x" * 65, "1", NOW)


def test_what_the_items_leave_behind(expand) -> None:
    results: dict[str, str] = {}
    tagged = sign("ann@relay.test", "secret", "1", 1_000_000_000.0)
    text = f"${{prvscheck{{{tagged}}}{{secret}}{{<$prvscheck_result|$prvscheck_address|$prvscheck_keynum>}}}}"
    assert expand(text, results=results) == "<1|ann@relay.test|1>"
    assert results == {"prvscheck_result": "1"}
    assert expand("$prvscheck_result|$prvscheck_address", results=results) == "1|"
    assert expand("${prvscheck{ann@relay.test}{secret}}$prvscheck_result", results=results) == ""
    assert expand(f"${{prvscheck{{{tagged}}}{{other}}}}$prvscheck_result", results=results) == "ann@relay.test"


def test_one_inside_of_another(expand) -> None:
    tagged = sign("ann@relay.test", "secret", "1", 1_000_000_000.0)
    inner = f"${{prvscheck{{{tagged}}}{{other}}}}"
    outer = f"${{prvscheck{{{tagged}}}{{secret}}{{$prvscheck_address:{inner}}}}}"
    assert expand(outer) == "ann@relay.test:ann@relay.test"


def test_what_it_matched_stays(expand) -> None:
    assert expand("${prvscheck{prvs=1234abcdef=ann@relay.test}{secret}{$1 $2 $3 $4 $5}}|$5") == (
        "1 234 abcdef ann relay.test|relay.test"
    )


def test_an_address_from_outside_stays_one(run) -> None:
    scope = Scope(message=MessageView(sender=Address("ann", "relay.test")))
    signed = run(compile_expansion("${prvs{$sender_address}{secret}}").text(scope))
    assert is_tainted(signed)
