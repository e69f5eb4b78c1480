"""Failures that are counted: by address, by name, in bounded memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.policy.auth_limits import FailureLimits, LimitSettings

FEW = LimitSettings(per_address=3, address_forgets=10.0, per_name=4, name_forgets=20.0, size=5)
HERE, THERE = "192.0.2.1", "198.51.100.1"


def test_an_address_is_stopped_and_let_in_again() -> None:
    limits = FailureLimits(FEW)
    assert [limits.admit(HERE, f"n{each}", 0.0) for each in range(3)] == [0.0, 0.0, 0.0]
    assert limits.address_wait(HERE, 0.0) == 10.0
    assert limits.admit(HERE, "n9", 4.0) == pytest.approx(6.0)
    assert limits.address_wait(THERE, 0.0) == 0.0
    assert limits.admit(HERE, "n9", 10.0) == 0.0
    assert limits.admit(HERE, "n9", 10.0) > 0.0


def test_a_name_is_stopped_from_wherever_it_is_guessed_at() -> None:
    limits = FailureLimits(FEW)
    for each in range(4):
        assert limits.admit(f"192.0.2.{each}", "ada", 0.0) == 0.0
    assert limits.admit("192.0.2.77", "ada", 0.0) == 20.0
    assert limits.admit("192.0.2.77", "bob", 0.0) == 0.0


def test_nobody_locks_a_user_out_of_where_he_works() -> None:
    limits = FailureLimits(FEW)
    limits.admit(HERE, "ada", 0.0)
    limits.succeeded(HERE, "ada", 0.0)
    for each in range(9):
        limits.admit(f"203.0.113.{each}", "ada", 0.0)
    assert limits.admit(THERE, "ada", 0.0) > 0.0
    assert limits.admit(HERE, "ada", 0.0) == 0.0


def test_who_is_right_pays_nothing() -> None:
    limits = FailureLimits(FEW)
    for _ in range(20):
        assert limits.admit(HERE, "ada", 0.0) == 0.0
        limits.succeeded(HERE, "ada", 0.0)
    assert limits.pause(HERE, 0.0) == 1.0


def test_attempts_at_once_count_at_once() -> None:
    limits = FailureLimits(FEW)
    assert sum(limits.admit(HERE, "ada", 0.0) == 0.0 for _ in range(100)) == 3


def test_a_network_of_ipv6_is_one_customer() -> None:
    limits = FailureLimits(FEW)
    for each in range(3):
        limits.admit(f"2001:db8:0:1::{each}", f"n{each}", 0.0)
    assert limits.address_wait("2001:db8:0:1:ffff::", 0.0) > 0.0
    assert limits.address_wait("2001:db8:0:2::", 0.0) == 0.0


def test_each_failure_costs_twice_the_last() -> None:
    limits = FailureLimits(LimitSettings(per_address=100, per_name=100, longest_pause=5.0))
    costs = []
    for _ in range(5):
        limits.admit(HERE, "ada", 0.0)
        costs.append(limits.pause(HERE, 0.0))
    assert costs == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_clock_that_is_set_back_forgets_nothing_and_holds_nobody_for_ever() -> None:
    limits = FailureLimits(FEW)
    for _ in range(3):
        limits.admit(HERE, "ada", 1000.0)
    assert limits.address_wait(HERE, 0.0) == 10.0


OPERATION = st.tuples(st.sampled_from("asg"), st.integers(0, 30), st.integers(0, 30), st.floats(0, 1e6))


@settings(max_examples=100)
@given(st.lists(OPERATION, max_size=80))
def test_memory_is_bounded_and_waits_are_finite(operations: list[tuple[str, int, int, float]]) -> None:
    limits = FailureLimits(FEW)
    for what, address, name, now in operations:
        where = f"10.0.0.{address}"
        if what == "a":
            limits.admit(where, f"n{name}", now)
        elif what == "s":
            limits.succeeded(where, f"n{name}", now)
        else:
            limits.give_back(where, f"n{name}", now)
        assert limits.remembered <= 3 * FEW.size
        assert 0.0 <= limits.address_wait(where, now) <= FEW.per_address * FEW.address_forgets
        assert 0.0 < limits.pause(where, now) <= FEW.longest_pause
