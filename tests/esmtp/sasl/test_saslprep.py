"""SASLprep: the examples of its RFC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.sasl.saslprep import NotPreparable, prepare


# RFC 4013 3
@pytest.mark.parametrize(
    "text, prepared",
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("", ""),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_is_mapped_and_normalised(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "\u0627a\u0627", "a\x00", "\x7f", "\ufffd", "\u200e", "\ue000"])
def test_is_refused(text: str) -> None:
    with pytest.raises(NotPreparable):
        prepare(text)


def test_what_unicode_did_not_know_then_is_not_stored() -> None:
    assert prepare("\U0001f511") == "\U0001f511"
    with pytest.raises(NotPreparable):
        prepare("\U0001f511", stored=True)


@given(st.text(max_size=20))
def test_once_is_enough(text: str) -> None:
    try:
        prepared = prepare(text)
    except NotPreparable:
        return
    try:
        assert prepare(prepared) == prepared
    except NotPreparable:
        # Composition can bring a mark of the other direction to the front; such text is refused the second time.
        assert not prepared.isascii()
