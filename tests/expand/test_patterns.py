"""Regular expressions: octets, captures, empty matches, time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.patterns import TAINTED_PATTERN_LIMIT, Pattern, PatternError
from relay.expand.values import Tainted, is_tainted
from relay.mail.ports import TemporaryFailure


def test_captures():
    assert Pattern("^(a)(x)?(b)").search("abc") == ("ab", "a", "", "b")
    assert Pattern("x").search("abc") is None
    assert Pattern("B", caseless=True).search("abc") == ("b",)


def test_captures_of_text_from_outside_are_tainted():
    found = Pattern("(.)").search(Tainted("abc"))
    assert found is not None
    assert all(is_tainted(part) for part in found)


def test_octets_are_matched():
    assert Pattern("^..$").search("ü") == ("ü",)


@pytest.mark.parametrize(
    "pattern, subject, spans",
    [
        ("x*", "axxb", [(0, 0), (1, 3), (3, 3), (4, 4)]),
        ("a|", "abca", [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4)]),
        ("|a", "ab", [(0, 0), (0, 1), (1, 1), (2, 2)]),
    ],
)
def test_empty_matches_are_found_as_perl_does(pattern, subject, spans):
    assert [(start, end) for start, end, _ in Pattern(pattern).matches(subject)] == spans


def test_bad_patterns():
    with pytest.raises(PatternError, match="regular expression error"):
        Pattern("(")
    with pytest.raises(PatternError):
        Pattern(Tainted("a" * (TAINTED_PATTERN_LIMIT + 1)))


def test_a_match_has_its_time():
    slow, subject = Pattern(r"^(a|aa)+$"), "a" * 80 + "b"
    with pytest.raises(TemporaryFailure, match="too long"):
        slow.search(subject)
    with pytest.raises(TemporaryFailure, match="too long"):
        list(slow.matches(subject))


@given(st.text(alphabet="ab*?+()[]|^$\\.{}1,", max_size=10), st.text(alphabet="ab", max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_pattern(pattern, subject):
    try:
        compiled = Pattern(pattern)
    except PatternError:
        return
    for start, end, _ in compiled.matches(subject):
        assert 0 <= start <= end <= len(subject)
