"""What the schedule lets begin, in tables and by the runner's own loop."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.delivery.schedule import Limits, Load, Schedule

NOW = 1000.0


def started(schedule: Schedule) -> list[str]:
    found = []
    while (message_id := schedule.next_new()) is not None:
        found.append(message_id)
    return found


# New messages


@pytest.mark.parametrize(
    "limits, load, waiting, expected",
    [
        (Limits(), Load(), 0, True),
        (Limits(queue_only=True), Load(), 0, False),
        (Limits(queue_only_load=5.0), Load(average=5.0), 0, True),
        (Limits(queue_only_load=5.0), Load(average=5.1), 0, False),
        (Limits(smtp_accept_queue=3), Load(connections=3), 0, True),
        (Limits(smtp_accept_queue=3), Load(connections=4), 0, False),
        (Limits(smtp_accept_queue=0), Load(connections=400), 0, True),
        (Limits(new_waiting=2), Load(), 1, True),
        (Limits(new_waiting=2), Load(), 2, False),
    ],
)
def test_when_a_message_is_attempted_on_arrival(limits: Limits, load: Load, waiting: int, expected: bool) -> None:
    schedule = Schedule(limits)
    schedule.observe(load)
    for number in range(waiting):
        schedule.new_message(str(number))

    assert schedule.takes_new() is expected


def test_new_messages_begin_in_order_as_far_as_there_is_room() -> None:
    schedule = Schedule(Limits(attempts=2))
    for each in "abc":
        schedule.new_message(each)

    assert started(schedule) == ["a", "b"]
    assert schedule.running == {"a", "b"}
    schedule.attempt_finished("a")
    assert started(schedule) == ["c"]


def test_a_message_is_begun_once() -> None:
    schedule = Schedule(Limits())
    schedule.new_message("a")
    schedule.new_message("a")
    assert started(schedule) == ["a"]
    schedule.new_message("a")
    assert started(schedule) == []
    assert not schedule.attempt_started("a")


def test_what_was_claimed_is_not_begun_as_new() -> None:
    schedule = Schedule(Limits(attempts=2))
    assert schedule.next_claim(NOW)
    schedule.new_message("a")
    schedule.claimed(("a",), NOW)
    assert started(schedule) == []


def test_an_operators_wish_goes_before_the_line_and_beyond_the_limit() -> None:
    schedule = Schedule(Limits(attempts=1))
    schedule.new_message("a")
    schedule.new_message("b")
    assert started(schedule) == ["a"]
    assert schedule.attempt_started("b")
    schedule.attempt_finished("a")
    schedule.attempt_finished("b")
    assert started(schedule) == []


def test_a_stop_gives_back_what_waits() -> None:
    schedule = Schedule(Limits(attempts=1))
    for each in "abc":
        schedule.new_message(each)
    assert started(schedule) == ["a"]

    assert schedule.withdraw_new() == ("b", "c")
    assert not schedule.is_idle
    schedule.attempt_finished("a")
    assert schedule.is_idle


# Due messages


def test_the_queue_is_looked_at_first_and_then_when_it_is_due() -> None:
    schedule = Schedule(Limits(attempts=10, claim=4))

    assert schedule.next_claim(NOW) == 4
    assert schedule.next_claim(NOW) is None, "one claim at a time"
    schedule.claimed((), NOW)
    assert schedule.next_claim(NOW) is None
    assert schedule.next_wakeup(NOW, NOW + 7) == NOW + 7
    assert schedule.next_claim(NOW + 6.9) is None
    assert schedule.next_claim(NOW + 7) == 4


@pytest.mark.parametrize(
    "limits, new, running, expected",
    [
        (Limits(attempts=10, claim=4), 0, 0, 4),
        (Limits(attempts=10, claim=4), 0, 8, 2),
        (Limits(attempts=10, claim=4), 1, 8, 1),
        (Limits(attempts=10, claim=4), 2, 8, None),
        (Limits(attempts=10, claim=4), 0, 10, None),
        (Limits(attempts=10, claim=4), 0, 11, None),
    ],
)
def test_never_more_is_claimed_than_can_begin(limits: Limits, new: int, running: int, expected: int | None) -> None:
    schedule = Schedule(limits)
    for number in range(running):
        schedule.attempt_started(f"r{number}")
    for number in range(new):
        schedule.new_message(f"n{number}")

    assert schedule.next_claim(NOW) == expected
    if expected is None:
        assert schedule.next_wakeup(NOW, NOW) is None, "the end of an attempt wakes"


def test_a_full_claim_is_followed_by_another() -> None:
    schedule = Schedule(Limits(attempts=10, claim=2))
    assert schedule.next_claim(NOW) == 2
    schedule.claimed(("a", "b"), NOW)
    assert schedule.next_claim(NOW) == 2
    schedule.claimed(("c",), NOW)
    assert schedule.next_claim(NOW) is None
    assert schedule.running == {"a", "b", "c"}


@pytest.mark.parametrize(
    "next_due, expected",
    [(None, NOW + 60), (NOW + 5, NOW + 5), (NOW + 500, NOW + 60), (NOW - 500, NOW), (NOW, NOW)],
)
def test_the_timer(next_due: float | None, expected: float) -> None:
    schedule = Schedule(Limits(longest_sleep=60))
    assert schedule.next_wakeup(NOW, next_due) == expected
    assert (schedule.next_claim(NOW) is None) == (expected > NOW)


def test_a_queue_that_does_not_answer_is_given_time() -> None:
    schedule = Schedule(Limits())
    assert schedule.next_claim(NOW)
    schedule.claim_failed(NOW, pause=5)

    assert schedule.next_wakeup(NOW, NOW - 100) == NOW + 5
    assert schedule.next_claim(NOW + 4) is None
    assert schedule.next_claim(NOW + 5) is not None
    schedule.claimed((), NOW + 5)
    assert schedule.next_wakeup(NOW + 5, NOW) == NOW + 5


def test_a_clock_that_was_set_back_does_not_stop_the_queue() -> None:
    schedule = Schedule(Limits(longest_sleep=60))
    schedule.next_claim(NOW)
    schedule.claimed((), NOW)
    schedule.next_wakeup(NOW, None)

    assert schedule.next_claim(NOW - 3600) is not None
    schedule.claim_failed(NOW, 5)
    assert schedule.next_claim(NOW - 3600) is not None


def test_above_its_load_nothing_due_is_attempted() -> None:
    schedule = Schedule(Limits(deliver_queue_load_max=5, longest_sleep=60))
    schedule.observe(Load(average=6))
    assert schedule.next_claim(NOW) is None
    assert schedule.next_wakeup(NOW, NOW) == NOW + 60
    schedule.observe(Load(average=5))
    assert schedule.next_claim(NOW) is not None


def test_a_queue_run_and_new_limits_look_at_once() -> None:
    schedule = Schedule(Limits())
    schedule.next_wakeup(NOW, NOW + 50)
    assert schedule.next_claim(NOW) is None
    schedule.queue_run()
    assert schedule.next_claim(NOW) is not None
    schedule.claimed((), NOW)
    schedule.change_limits(dataclasses.replace(schedule.limits, claim=1))
    assert schedule.next_claim(NOW) == 1


# Hosts


def test_a_host_takes_so_many_and_then_one_after_the_other() -> None:
    schedule = Schedule(Limits(attempts_per_host=2))
    assert [schedule.enter_host("mx", each) for each in "abcd"] == [True, True, False, False]
    assert schedule.enter_host("other", "c")
    assert schedule.enter_host("mx", "a"), "who is in stays in"
    assert not schedule.enter_host("mx", "c"), "and who waits waits in its place"

    assert schedule.leave_host("mx", "a") == "c"
    assert schedule.leave_host("mx", "b") == "d"
    assert schedule.leave_host("mx", "c") is None
    assert schedule.leave_host("mx", "d") is None
    assert schedule.leave_host("unknown", "d") is None


def test_who_gives_up_waiting_is_not_called() -> None:
    schedule = Schedule(Limits(attempts_per_host=1))
    for each in "abc":
        schedule.enter_host("mx", each)
    assert schedule.leave_host("mx", "b") is None
    assert schedule.leave_host("mx", "a") == "c"


def test_the_end_of_an_attempt_leaves_every_host() -> None:
    schedule = Schedule(Limits(attempts_per_host=1))
    for host in ("one", "two"):
        for each in ("a", host):
            schedule.enter_host(host, each)
    assert sorted(schedule.attempt_finished("a")) == ["one", "two"]
    assert schedule.attempt_finished("one") == ()
    assert schedule.attempt_finished("two") == ()
    assert schedule._hosts == {}


# The runner's loop


@settings(max_examples=100)
@given(
    due=st.lists(st.floats(0, 200), max_size=30),
    new=st.lists(st.floats(0, 200), max_size=30),
    attempts=st.integers(1, 5),
    claim=st.integers(1, 4),
    duration=st.floats(0.1, 30),
)
def test_everything_is_attempted_once_within_its_limits(
    due: list[float], new: list[float], attempts: int, claim: int, duration: float
) -> None:
    schedule = Schedule(Limits(attempts=attempts, claim=claim, longest_sleep=60))
    queued = sorted((time, f"d{number}") for number, time in enumerate(due))
    arriving = sorted((time, f"n{number}") for number, time in enumerate(new))
    ending: list[tuple[float, str]] = []
    attempted: list[str] = []
    now, timer, turns = 0.0, 0.0, 0

    while len(attempted) < len(due) + len(new):
        wakes = (timer, *(time for time, _ in ending), *(time for time, _ in arriving[:1]))
        now = max(now, min(wakes))
        for time, each in [pair for pair in ending if pair[0] <= now]:
            ending.remove((time, each))
            schedule.attempt_finished(each)
        while arriving and arriving[0][0] <= now:
            schedule.new_message(arriving.pop(0)[1])
        begun = started(schedule)
        number = schedule.next_claim(now)
        if number is not None:
            claimed = tuple(each for time, each in queued if time <= now)[:number]
            queued = [pair for pair in queued if pair[1] not in claimed]
            schedule.claimed(claimed, now)
            begun += claimed
        attempted += begun
        ending += [(now + duration, each) for each in begun]
        assert len(schedule.running) <= attempts
        wakeup = schedule.next_wakeup(now, queued[0][0] if queued else None)
        assert wakeup is not None or ending, "something has to wake"
        turns += 1
        assert turns < 1000, "it turns without getting on"
        timer = float("inf") if wakeup is None else wakeup

    assert len(set(attempted)) == len(attempted)


def test_a_host_gets_no_more_from_all_processes_than_from_one() -> None:
    schedule = Schedule(Limits(attempts_per_host=6))
    schedule.share(3)
    entered = [schedule.enter_host("mx.test", f"id{number}") for number in range(4)]
    assert entered == [True, True, False, False]
    assert schedule.leave_host("mx.test", "id0") == "id2"
    schedule.share(100)
    assert schedule.enter_host("other.test", "id9"), "one connection is everybody's"


def test_who_comes_for_a_connection_stands_in_line_although_there_is_room() -> None:
    schedule = Schedule(Limits(attempts_per_host=2))
    assert schedule.enter_host("mx", "a")
    assert not schedule.enter_host("mx", "b", stands_in_line=True)
    assert schedule.next_in_line("mx") == "b"
    assert schedule.leave_host("mx", "a") == "b"
    assert schedule.leave_host("mx", "b") is None
    assert schedule.enter_host("mx", "c", stands_in_line=True), "nobody is there who could leave it anything"
