"""What callouts remember: as text, for how long, and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.delivery.callout_cache import (
    NOTHING,
    DomainRecord,
    Expiry,
    Known,
    Plan,
    Remembered,
    decide,
    read_address,
    read_domain,
    write_address,
    write_domain,
)
from relay.policy.verification import Finding, Verified

NOW = 1_000_000.0
EXPIRY = Expiry(domain_positive=1000.0, domain_negative=100.0, positive=500.0, negative=50.0)
PLAIN = Plan(asks_random=False, asks_postmaster=False)
records = st.builds(Remembered, st.sampled_from(Known), st.floats(1, 2e9))


@given(records, records, records)
@settings(max_examples=50)
def test_there_and_back(setup: Remembered, random: Remembered, postmaster: Remembered) -> None:
    record = DomainRecord(setup, random, postmaster)
    assert read_domain(write_domain(record)) == record
    assert read_address(write_address(setup)) == setup


@pytest.mark.parametrize("text", [None, "", "[]", "7", '{"setup": 1}', '{"known": "?", "at": 1}', '{"known": ""}', "{"])
def test_what_can_not_be_read_is_not_known(text: str | None) -> None:
    assert read_domain(text) is None
    assert read_address(text) is None


def known(known: Known, age: float = 0.0) -> Remembered:
    return Remembered(known, NOW - age)


def decided(domain: DomainRecord | None, address: Remembered | None, wanted: Plan = PLAIN, nobody: bool = True) -> str:
    found = decide(domain, address, wanted, EXPIRY, NOW, nobody=nobody)
    if isinstance(found, Verified):
        return f"{found.finding.value} {found.failure}".strip()
    return f"ask {'random ' * found.asks_random}{'postmaster' * found.asks_postmaster}".strip()


YES, NO, NULL = Known.ACCEPTED, Known.REFUSED, Known.REFUSED_NOBODY


@pytest.mark.parametrize(
    ("setup", "address", "expected"),
    [
        (None, None, "ask"),
        (None, (YES, 500), "good"),
        (None, (YES, 501), "ask"),
        (None, (NO, 50), "bad recipient"),
        (None, (NO, 51), "ask"),
        (None, (YES, -1), "ask"),
        ((YES, 0), (NO, 0), "bad recipient"),
        ((NO, 100), (YES, 0), "bad mail"),
        ((NO, 101), (YES, 0), "good"),
        ((NULL, 100), None, "bad mail"),
        ((NULL, 101), None, "ask"),
    ],
)
def test_domain_and_address(
    setup: tuple[Known, float] | None, address: tuple[Known, float] | None, expected: str
) -> None:
    domain = DomainRecord(known(*setup)) if setup else None
    assert decided(domain, known(*address) if address else None) == expected


def test_another_sender_than_nobody_is_not_refused_with_it() -> None:
    domain = DomainRecord(known(NULL))
    plan = decide(domain, None, PLAIN, EXPIRY, NOW, nobody=False)
    assert isinstance(plan, Plan)
    assert plan.refuses_nobody
    assert decided(DomainRecord(known(NO)), None, nobody=False) == "bad mail"


RANDOM, POSTMASTER = Plan(asks_random=True, asks_postmaster=False), Plan(asks_random=False, asks_postmaster=True)


@pytest.mark.parametrize(
    ("wanted", "record", "expected"),
    [
        (RANDOM, DomainRecord(known(YES), random=known(YES)), "good random"),
        (RANDOM, DomainRecord(known(YES), random=known(YES, 1001)), "ask random"),
        (RANDOM, DomainRecord(known(YES), random=known(NO)), "good"),
        (RANDOM, DomainRecord(known(YES)), "ask random"),
        (POSTMASTER, DomainRecord(known(YES), postmaster=known(YES)), "good"),
        (POSTMASTER, DomainRecord(known(YES), postmaster=known(NO, 100)), "bad postmaster"),
        (POSTMASTER, DomainRecord(known(YES, 101), postmaster=known(NO)), "good"),
        (POSTMASTER, DomainRecord(known(YES)), "ask postmaster"),
    ],
)
def test_what_is_known_of_a_domain(wanted: Plan, record: DomainRecord, expected: str) -> None:
    """The address is known as a good one; more is asked only where something is not known of the domain."""
    assert decided(record, known(YES), wanted) == expected


def test_what_is_known_stays_known_with_its_time() -> None:
    wanted = Plan(asks_random=True, asks_postmaster=True)
    record = DomainRecord(known(YES), known(NO, 10), known(YES, 20))
    plan = decide(record, None, wanted, EXPIRY, NOW, nobody=True)
    assert plan == Plan(
        asks_random=False, asks_postmaster=False, domain=DomainRecord(NOTHING, known(NO, 10), known(YES, 20))
    )


def test_a_verdict_of_the_cache_is_marked() -> None:
    found = decide(None, known(YES), PLAIN, EXPIRY, NOW, nobody=True)
    assert found == Verified(Finding.GOOD, is_from_callout=True)
