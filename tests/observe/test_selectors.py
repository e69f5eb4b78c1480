"""Exim's log selectors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.observe.selectors import DEFAULT_SELECTORS, SELECTORS, parse_selector


def test_nothing_said_means_the_defaults() -> None:
    assert parse_selector("") == parse_selector("  ") == DEFAULT_SELECTORS
    assert "tls_cipher" in DEFAULT_SELECTORS
    assert "tls_peerdn" not in DEFAULT_SELECTORS


def test_names_are_added_and_taken_away_in_their_order() -> None:
    chosen = parse_selector("+tls_peerdn -tls_cipher + subject-msg_id +rejected_headers")
    assert "tls_peerdn" in chosen
    assert "subject" in chosen
    assert "tls_cipher" not in chosen
    assert "msg_id" not in chosen
    assert "pid" not in parse_selector("+pid -pid")


def test_all() -> None:
    ours = {name for name, row in SELECTORS.items() if row.ours}
    assert set(parse_selector("+all -peer_name")) == set(SELECTORS) - ours
    assert set(parse_selector("+all +fingerpost")) == set(SELECTORS)
    assert set(parse_selector("+fingerpost -all")) == set()
    assert set(parse_selector("+all -fingerpost")) == set(SELECTORS) - ours
    assert set(parse_selector("-all +pid")) == {"pid"}
    assert "arguments" not in parse_selector("+all -arguments")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("+tls_peerdm", 'unknown log_selector setting: +tls_peerdm (did you mean "+tls_peerdn"?)'),
        ("+zzzzzz", "unknown log_selector setting: +zzzzzz"),
        ("+", "unknown log_selector setting: +"),
        ("subject", 'malformed log_selector setting: + or - expected but found "subject"'),
        ("+pid, +subject", 'malformed log_selector setting: + or - expected but found ","'),
    ],
)
def test_mistakes(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_selector(text)
    assert str(caught.value) == complaint


def test_asking_for_a_name_that_does_not_exist_is_our_fault() -> None:
    with pytest.raises(KeyError):
        assert "tls_pearDN" in DEFAULT_SELECTORS


@settings(max_examples=100)
@given(st.text("+- abpid_\n\x00é", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_selector(text)
    except ValueError:
        pass
