"""What parameters mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.extensions import EXTENSIONS
from relay.esmtp.parameters import (
    Limits,
    Notify,
    OriginalRecipient,
    Return,
    decode_xtext,
    encode_xtext,
    envelope_id,
    limits_offer,
    original_recipient,
    read_limits,
    release_time,
    wanted_notices,
    wanted_return,
)
from relay.mail.envelope import Parameters


def given_as(**items: str) -> Parameters:
    return Parameters(tuple(items.items()))


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))))
def test_xtext_there_and_back(text: str) -> None:
    if any("\ud800" <= each <= "\udc7f" or "\udd00" <= each <= "\udfff" for each in text):
        return
    encoded = encode_xtext(text)
    (rule,) = [rule for rule in EXTENSIONS["DSN"].mail if rule.keyword == "ENVID"]
    assert rule.value is not None
    assert rule.value.fullmatch(encoded)
    assert decode_xtext(encoded) == text


@pytest.mark.parametrize(
    "text, meaning", [("a+2Bb", "a+b"), ("+C3+A4", "ä"), ("a+2", "a+2"), ("+FF", "\udcff"), ("", "")]
)
def test_xtext(text: str, meaning: str) -> None:
    assert decode_xtext(text) == meaning


def test_notifications() -> None:
    assert wanted_notices(given_as()) is None
    assert wanted_notices(given_as(NOTIFY="never")) == frozenset()
    assert wanted_notices(given_as(NOTIFY="SUCCESS,delay")) == {Notify.SUCCESS, Notify.DELAY}
    assert wanted_return(given_as()) is None
    assert wanted_return(given_as(RET="hdrs")) is Return.HEADERS
    assert envelope_id(given_as(ENVID="QQ+2B1")) == "QQ+1"
    assert envelope_id(given_as()) == ""
    assert original_recipient(given_as(ORCPT="RFC822;a+2Bb@c")) == OriginalRecipient("rfc822", "a+b@c")
    assert original_recipient(given_as()) is None


def test_release() -> None:
    assert release_time(given_as(), 100.0) is None
    assert release_time(given_as(HOLDFOR="60"), 100.0) == 160.0
    assert release_time(given_as(HOLDUNTIL="1970-01-01T00:10:00Z"), 100.0) == 600.0
    assert release_time(given_as(HOLDUNTIL="1970-01-01t01:10:00+01:00"), 100.0) == 600.0


def test_limits() -> None:
    assert limits_offer(0, 0) is None
    assert limits_offer(20, 0) == ("LIMITS", "MAILMAX=20")
    assert limits_offer(20, 100) == ("LIMITS", "MAILMAX=20 RCPTMAX=100")
    assert read_limits("MAILMAX=20 rcptmax=100 X=5 RCPTDOMAINMAX=1") == Limits(20, 100, 1)
    assert read_limits("MAILMAX=0 RCPTMAX=x RCPTMAX=9999999 =") == Limits()
