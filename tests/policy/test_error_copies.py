"""errors_copy: read as Exim reads it, and asked for each bounce."""

from __future__ import annotations

import pytest

from delivery.post import run
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.source import ConfigurationError, Location
from relay.policy.error_copies import copies_of, parse_error_copies

PLACE = Location("relay.conf", 7)
RULES = 'anna@here.test post@here.test : *@lists.test $local_part-owner@$domain,post@here.test:\n "x y"@a.test b@c.test'


@pytest.mark.parametrize(
    "told, copies",
    [
        ("anna@here.test", ["post@here.test"]),
        ("bert@here.test", []),
        ("cooks@lists.test", ["cooks-owner@lists.test", "post@here.test"]),
    ],
)
def test_who_gets_a_copy(told: str, copies: list[str]) -> None:
    rules = parse_error_copies(RULES, PLACE)
    assert [str(each) for each in run(copies_of(rules, address_from_text(told), Scope()))] == copies


def test_without_the_option_there_are_none() -> None:
    assert parse_error_copies("", PLACE) == ()


@pytest.mark.parametrize("text, words", [("anna@here.test", "names nobody"), ("* a@${b", "errors_copy: ")])
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_error_copies(text, PLACE)
    assert str(caught.value).startswith("relay.conf:7: errors_copy: ")
    assert words in str(caught.value)
