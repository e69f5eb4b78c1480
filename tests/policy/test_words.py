"""Words that several readers of the configuration share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.words import nearest, read_switch, read_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("1w1d1h1m1s", 694861),
        ("1s1m", 61),
        ("", None),
        ("5", None),
        ("s", None),
        ("5 s", None),
        ("-5s", None),
    ],
)
def test_times(text: str, seconds: int | None) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", False),
        ("0", False),
        ("-00", False),
        ("1", True),
        ("-1", True),
        ("No", False),
        ("TRUE", True),
        ("off", None),
    ],
)
def test_switches(text: str, meaning: bool | None) -> None:
    assert read_switch(text) is meaning


@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    assert read_time(text) is None or "s" in text or any(unit in text for unit in "wdhm")
    assert read_switch(text) in (True, False, None)


def test_the_nearest_word() -> None:
    assert nearest("hots", ["hosts", "domains"]) == 'did you mean "hosts"?'
    assert nearest("xyzzy", ["hosts", "domains"]) == ""
    assert nearest("h" * 1000, ["h" * 999]) == ""
