"""The arithmetic of rates: numbers worked out by hand, and what holds for all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.scope import AddressView, MessageView, Scope
from relay.mail.address import Address
from relay.mail.facts import Endpoint, SessionFacts
from relay.policy.acl_values import Where
from relay.policy.ratelimit import (
    BadRequest,
    Per,
    Rate,
    Request,
    Update,
    advance,
    average,
    decode,
    encode,
    is_kept,
    kept_until,
    read_request,
    told,
)

PERIOD = 3600.0
PEER = SessionFacts(Endpoint("192.0.2.7", 40000))
TIMES = st.floats(0, 1e9, allow_nan=False)
RATES = st.floats(0, 1e6, allow_nan=False)
COUNTS = st.floats(0, 1e6, allow_nan=False)
STEPS = st.floats(0, 1e6, allow_nan=False)


def read(text: str, where: Where = Where.RCPT, scope: Scope | None = None) -> Request:
    return read_request(text, where, scope or Scope(session=PEER))


def after(*waits: float, count: float = 1.0, period: float = PERIOD) -> float:
    """The rate after one event at once and one behind each wait."""
    now, rate = 0.0, Rate(0.0, average(None, count, period, 0.0))
    for wait in waits:
        now += wait
        rate = Rate(now, average(rate, count, period, now))
    return rate.value


# By hand: with w = exp(-interval/period) the rate is (1 - w) * count * period / interval + w * the rate before.


@pytest.mark.parametrize(
    "rate, expected",
    [
        (after(), 1.0),
        (after(0.0), 2.0),
        (after(0.0, 0.0, 0.0), 4.0),
        # One period later: (1 - 1/e) + 1/e.
        (after(PERIOD), 1.0),
        # Half a period later: (1 - 0.60653) * 2 + 0.60653.
        (after(PERIOD / 2), 1.3935),
        # A tenth: (1 - 0.904837) * 10 + 0.904837.
        (after(PERIOD / 10), 1.8565),
        # A long silence would give less than one; an event by itself counts as one.
        (after(100 * PERIOD), 1.0),
        # Ten at once, then nothing for one period: (1 - 1/e) + 10/e.
        (after(*[0.0] * 9, PERIOD), 4.3109),
        # Octets.
        (after(PERIOD / 10, count=1000.0), 1856.5),
    ],
)
def test_rates_by_hand(rate: float, expected: float) -> None:
    assert rate == pytest.approx(expected, rel=1e-4)


def test_a_clock_that_goes_back_gives_no_nonsense() -> None:
    assert average(Rate(1000.0, 5.0), 1.0, PERIOD, 900.0) == pytest.approx(6.0)


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_a_burst_reaches_the_limit_with_as_many_events_as_it_says(limit: int) -> None:
    assert after(*[0.001] * (limit - 1)) == pytest.approx(limit, rel=1e-3)
    assert after(*[0.001] * limit) > limit


@pytest.mark.parametrize("rate", [0.5, 2.0, 60.0])
def test_a_steady_stream_comes_to_its_true_rate(rate: float) -> None:
    wait = PERIOD / rate
    assert after(*[wait] * math.ceil(20 * rate)) == pytest.approx(max(rate, 1.0), rel=0.01)


@given(RATES, COUNTS, STEPS)
def test_an_event_never_lowers_the_rate_below_itself(before: float, count: float, wait: float) -> None:
    assert average(Rate(0.0, before), count, PERIOD, wait) >= count


@given(RATES, COUNTS, COUNTS, STEPS)
def test_more_events_never_give_a_lower_rate(before: float, one: float, other: float, wait: float) -> None:
    low, high = sorted((one, other))
    found = [average(Rate(0.0, before), count, PERIOD, wait) for count in (low, high)]
    assert found[0] <= found[1]


@given(RATES, STEPS, STEPS)
def test_looking_later_never_shows_a_higher_rate(before: float, one: float, other: float) -> None:
    early, late = sorted((one, other))
    found = [average(Rate(0.0, before), 0.0, PERIOD, wait) for wait in (early, late)]
    assert found[0] >= found[1]
    assert all(0 <= rate <= before for rate in found)


@given(RATES, RATES, COUNTS, STEPS)
def test_who_was_faster_stays_faster(one: float, other: float, count: float, wait: float) -> None:
    low, high = sorted((one, other))
    found = [average(Rate(0.0, before), count, PERIOD, wait) for before in (low, high)]
    assert found[0] <= found[1]


@given(TIMES, RATES, st.binary(max_size=100))
def test_what_is_kept_comes_back(at: float, value: float, bits: bytes) -> None:
    rate = Rate(at, value, at if bits else 0.0, bits)
    assert decode(encode(rate)) == rate


@given(st.text(max_size=60))
def test_what_can_not_be_read_is_nothing(text: str) -> None:
    found = decode(text)
    assert found is None or math.isfinite(found.value)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"at": 1, "rate": NaN}', '{"at": 1, "rate": 1e999}'])
def test_what_is_no_rate(text: str | None) -> None:
    assert decode(text) is None


# Unique events


def _unique(request: Request, names: list[str], wait: float = 0.0) -> Rate:
    now, rate = 0.0, None
    for name in names:
        unique = Request(**{**{each: getattr(request, each) for each in Request.__slots__}, "unique": name})
        rate = advance(unique, rate, now)
        now += wait
    assert rate is not None
    return rate


def test_an_event_counts_once_in_a_period() -> None:
    request = read("10 / 1h / unique=x")
    assert _unique(request, ["a", "a", "a"]).value == pytest.approx(1.0)
    assert _unique(request, ["a", "b", "a", "b", "c"]).value == pytest.approx(3.0)


def test_in_the_next_period_it_counts_again() -> None:
    request = read("10 / 1h / unique=x")
    first = _unique(request, ["a"])
    again = advance(request, first, first.at + PERIOD + 1)
    assert again.filter_began == first.at + PERIOD + 1
    assert again.value == pytest.approx(1.0, rel=1e-3)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=10), min_size=1, max_size=30))
def test_the_filter_never_counts_an_event_twice(names: list[str]) -> None:
    rate = _unique(read("100 / 1h / unique=x"), names)
    assert rate.value <= len(set(names)) + 1e-6


@pytest.mark.parametrize("limit", ["0", "1", "1000", "1G", "1e30"])
def test_the_room_of_a_filter_is_bounded(limit: str) -> None:
    assert 40 <= len(_unique(read(f"{limit} / 1h / unique=x"), ["a"]).filter) <= 65536


# Who is kept


@pytest.mark.parametrize(
    "text, slow, fast",
    [
        ("10/1h", True, False),
        ("10/1h/leaky", True, False),
        ("10/1h/strict", True, True),
        ("10/1h/readonly", False, False),
    ],
)
def test_which_rates_are_kept(text: str, slow: bool, fast: bool) -> None:
    request = read(text)
    assert is_kept(request, Rate(0.0, 9.9)) is slow
    assert is_kept(request, Rate(0.0, 10.0)) is fast


def test_a_rate_is_kept_until_it_has_decayed() -> None:
    request = read("10 / 1h")
    end = kept_until(request, Rate(0.0, 1e6))
    assert average(Rate(0.0, 1e6), 1.0, PERIOD, end) == 1.0


# Reading


@pytest.mark.parametrize(
    "text, limit, period, key",
    [
        ("10/1h", 10.0, 3600.0, "1h/per_mail/192.0.2.7"),
        ("0.5 / 1d", 0.5, 86400.0, "1d/per_mail/192.0.2.7"),
        ("1K/5m30s/per_byte", 1024.0, 330.0, "5m30s/per_byte/192.0.2.7"),
        ("2m / 1h / per_cmd / a / b", 2 * 1024.0**2, 3600.0, "1h/per_cmd/a/b"),
        ("1e3 / 1h / strict / per_conn / $key", 1000.0, 3600.0, "1h/per_conn/$key"),
        ("5 / 1h / unique=abc / me@x.test", 5.0, 3600.0, "1h/per_mail/unique/me@x.test"),
        ("5 / 1h / PER_RCPT / STRICT", 5.0, 3600.0, "1h/per_rcpt/192.0.2.7"),
    ],
)
def test_reading(text: str, limit: float, period: float, key: str) -> None:
    request = read(text)
    assert (request.limit, request.period, request.key) == (limit, period, key)


def test_a_local_caller_has_no_address_for_a_key() -> None:
    assert read("1/1h", Where.NOT_SMTP, Scope()).key == "1h/per_mail/"


@pytest.mark.parametrize(
    "text, what",
    [
        ("", "sender rate limit not set"),
        ("x/1h", '"x" is not a positive number'),
        ("-1/1h", '"-1" is not a positive number'),
        ("1x/1h", '"1x" is not a positive number'),
        ("10", '"" is not a time value'),
        ("10/0s", '"0s" is not a time value'),
        ("10/soon", '"soon" is not a time value'),
        ("10/1h/per_mail/per_rcpt", "conflicting per_* options"),
        ("10/1h/per_mail/per_mail", "conflicting per_* options"),
        ("10/1h/strict/leaky", "conflicting update modes"),
        ("10/1h/strict/readonly", "conflicting update modes"),
        ("10/1h/count=-1", '"count=-1" is not a positive number'),
        ("10/1h/count=x", '"count=x" is not a positive number'),
    ],
)
def test_what_can_not_be_read(text: str, what: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert str(caught.value) == what


@pytest.mark.parametrize(
    "text, where, update",
    [
        ("10/1h", Where.CONNECT, Update.LEAKY),
        ("10/1h/per_mail", Where.CONNECT, Update.READONLY),
        ("10/1h/per_byte", Where.HELO, Update.READONLY),
        ("10/1h/per_mail", Where.NOT_SMTP, Update.LEAKY),
        ("10/1h/per_conn", Where.CONNECT, Update.LEAKY),
        ("10/1h/per_conn", Where.NOT_SMTP, Update.READONLY),
        ("10/1h/per_rcpt", Where.MAIL, Update.READONLY),
        ("10/1h/per_rcpt", Where.RCPT, Update.LEAKY),
        ("10/1h/per_rcpt", Where.DATA, Update.LEAKY),
        ("10/1h/per_addr", Where.DATA, Update.READONLY),
        ("10/1h/strict/noupdate", Where.RCPT, Update.READONLY),
        ("10/1h/per_mail/strict/noupdate", Where.CONNECT, Update.READONLY),
    ],
)
def test_where_a_rate_may_only_be_looked_at(text: str, where: Where, update: Update) -> None:
    assert read(text, where).update is update


def test_what_can_not_be_counted_there_can_not_be_strict() -> None:
    with pytest.raises(BadRequest, match=r"per_mail.*must not have /leaky or /strict"):
        read("10/1h/per_mail/strict", Where.CONNECT)


MESSAGE = MessageView(recipients=(Address("a", "x.test"), Address("b", "x.test")), size=5000)


@pytest.mark.parametrize(
    "text, where, per, count",
    [
        ("1/1h/per_rcpt", Where.RCPT, Per.RECIPIENT, 1.0),
        ("1/1h/per_rcpt", Where.DATA, Per.ALL_RECIPIENTS, 2.0),
        ("1/1h/per_byte", Where.MAIL, Per.OCTETS, 5000.0),
        ("1/1h/per_mail/count=7.5", Where.MAIL, Per.MESSAGE, 7.5),
        ("1/1h/readonly", Where.MAIL, Per.MESSAGE, 0.0),
    ],
)
def test_what_is_counted(text: str, where: Where, per: Per, count: float) -> None:
    request = read(text, where, Scope(session=PEER, message=MESSAGE))
    assert (request.per, request.count) == (per, count)


def test_per_addr_counts_each_recipient_once() -> None:
    request = read("1/1h/per_addr", scope=Scope(session=PEER, address=AddressView("anna", "x.test")))
    assert (request.per, request.unique, request.key) == (Per.ADDRESS, "anna@x.test", "1h/per_addr/unique/192.0.2.7")


# Told


@pytest.mark.parametrize(
    "text, before, now, lines",
    [
        ("2/1h", None, Rate(9, 1), ["creating new rate data block", "initializing new key's rate data", "db updated"]),
        ("2/1h", Rate(1, 1), Rate(9, 1.5), ["found key in database", "db updated"]),
        ("2/1h", Rate(1, 1), Rate(9, 2), ["found key in database", "db not updated: over the limit, but leaky"]),
        ("2/1h/readonly", Rate(1, 1), Rate(9, 2), ["found key in database", "db not updated: readonly mode"]),
        (
            "2 / 1h / unique=x",
            Rate(1.0, 1.0, 1.0, b"a"),
            Rate(9.0, 1.0, 1.0, b"a"),
            ["found key in database", "checking uniqueness of x", "event found in Bloom filter", "db updated"],
        ),
        (
            "2 / 1h / unique=x",
            Rate(1.0, 1.0, 1.0, b"a"),
            Rate(9999.0, 1.0, 1.0, b"b"),
            [
                "found key in database",
                "discarding old Bloom filter",
                "creating new Bloom filter",
                "checking uniqueness of x",
                "event added to Bloom filter",
                "db updated",
            ],
        ),
    ],
)
def test_what_becomes_of_a_rate_is_told(text: str, before: Rate | None, now: Rate, lines: list[str]) -> None:
    *told_lines, last = told(read(text), before, now)
    assert told_lines == [f"ratelimit {line}" for line in lines]
    assert last == f"ratelimit computed rate {now.value:.1f}"
