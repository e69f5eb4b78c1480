"""`ratelimit` and `seen` in ACLs: what they answer, what they remember, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.acl_world import NOW, World
from relay.expand.lists import NamedLists
from relay.expand.notes import Notes
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError, Location
from relay.policy.acl_hints import RATES, SEEN, read_seen, see
from relay.policy.acl_parse import inline_lines, parse_acl
from relay.policy.acl_values import Deferred, Where
from relay.policy.ratelimit import BadRequest

HOUR = 3600.0


def new_message(world: World) -> None:
    world.memory.begin_message()


# ratelimit


def test_a_client_is_too_fast_from_the_limit_on() -> None:
    world = World()
    answers = [world.holds("ratelimit = 2.9 / 1h / per_cmd", Where.CONNECT) for _ in range(4)]
    assert answers == [False, False, True, True]


def test_a_leaky_limit_forgets_what_it_refused() -> None:
    world = World()
    for _ in range(50):
        world.holds("ratelimit = 3 / 1h / per_cmd / leaky", Where.CONNECT)
    world.now += HOUR
    assert not world.holds("ratelimit = 3 / 1h / per_cmd / leaky", Where.CONNECT)


def test_a_strict_limit_counts_what_it_refused() -> None:
    world = World()
    for _ in range(50):
        world.holds("ratelimit = 3 / 1h / per_cmd / strict", Where.CONNECT)
    world.now += HOUR
    assert world.holds("ratelimit = 3 / 1h / per_cmd / strict", Where.CONNECT)


def test_a_limit_of_zero_is_always_reached() -> None:
    assert World().holds("ratelimit = 0 / 1h / per_cmd")


def test_looking_changes_nothing_and_sees_what_others_count() -> None:
    world = World()
    assert not world.holds("ratelimit = 0.9 / 1h / per_cmd / readonly")
    assert world.hints.kept == {}
    world.holds("ratelimit = 2 / 1h / per_cmd")
    assert world.holds("ratelimit = 0.9 / 1h / per_cmd / readonly")


def test_a_message_counts_once_whatever_its_recipients() -> None:
    world = World()
    condition = "ratelimit = 1.9 / 1h / per_mail"
    assert [world.holds(condition) for _ in range(3)] == [False, False, False]
    new_message(world)
    assert world.holds(condition)


def test_a_connection_counts_once_whatever_its_messages() -> None:
    world = World()
    condition = "ratelimit = 1.9 / 1h / per_conn"
    assert not world.holds(condition)
    new_message(world)
    assert not world.holds(condition)
    other = World(hints=world.hints)
    assert other.holds(condition)


def test_recipients_count_each() -> None:
    world = World()
    assert [world.holds("ratelimit = 1.9 / 1h / per_rcpt") for _ in range(3)] == [False, True, True]


def test_one_recipient_again_and_again_counts_once() -> None:
    world = World()
    condition = "ratelimit = 1.9 / 1h / per_addr"
    assert [world.holds(condition, recipient=f"{name}@far.test") for name in "aaab"] == [False, False, False, True]


def test_octets_count_by_the_size_of_the_message() -> None:
    world = World()
    world.message = type(world.message)(sender=world.message.sender, size=2048)
    assert world.holds("ratelimit = 1K / 1h / per_byte", Where.MAIL)


def test_within_one_command_the_same_limit_is_worked_out_once() -> None:
    world = World()
    lines = "warn ratelimit = 2 / 1h / per_cmd\nwarn ratelimit = 2 / 1h / per_cmd\naccept ratelimit = 2 / 1h / per_cmd"
    world.ask(lines, Where.CONNECT)
    assert not world.holds("ratelimit = 3 / 1h / per_cmd / readonly", Where.CONNECT)
    assert world.shown("$sender_rate", Where.CONNECT) == "1.0"


def test_keys_are_counted_apart() -> None:
    world = World()
    assert not world.holds("ratelimit = 1.9 / 1h / per_cmd / $sender_address")
    world.message = type(world.message)(sender=Address("bert", "laptop.test"))
    assert not world.holds("ratelimit = 1.9 / 1h / per_cmd / $sender_address")
    assert world.holds("ratelimit = 1.9 / 1h / per_cmd / $sender_address")


def test_who_watches_is_told_of_rates() -> None:
    lines: list[str] = []
    world = World(notes=Notes(lines.append))
    for _ in range(2):
        world.holds("ratelimit = 7.5 / 90m / per_mail / x")
    told = [line for line in lines if line.startswith(">>> ratelimit ")]
    assert told[0] == ">>> ratelimit condition count=1 7.5/90m/per_mail/x"
    assert told[-3:] == [
        ">>> ratelimit computed rate 1.0",
        ">>> ratelimit condition count=1 7.5/90m/per_mail/x",
        ">>> ratelimit found pre-computed rate 1.0",
    ]


def test_the_variables_of_a_limit() -> None:
    world = World()
    world.holds("ratelimit = 7.5 / 90m / strict / per_cmd")
    assert world.shown("$sender_rate $sender_rate_limit $sender_rate_period") == "1.0 7.5 90m"


def test_hints_that_are_away_refuse_for_now() -> None:
    world = World()
    world.hints.trouble = TemporaryFailure("the disk is full")
    assert isinstance(world.ask("deny ratelimit = 1 / 1h\naccept"), Deferred)


def test_a_mistake_that_shows_only_now_refuses_for_now() -> None:
    world = World()
    world.variables["acl_m_limit"] = "many"
    verdict = world.ask("deny ratelimit = $acl_m_limit / 1h\naccept")
    assert isinstance(verdict, Deferred)
    assert verdict.log_text == 'error in arguments to "ratelimit" condition: "many" is not a positive number'


def test_a_rate_is_kept_with_an_end() -> None:
    world = World()
    world.holds("ratelimit = 7 / 1h / per_cmd / x")
    assert world.hints.expires[RATES, "1h/per_cmd/x"] == NOW + 30 * HOUR


def test_mistakes_are_found_when_the_file_is_read() -> None:
    with pytest.raises(ConfigurationError, match="not a time value"):
        parse_acl("a", inline_lines("deny ratelimit = 10 / soon", Location("conf", 1)), NamedLists())


def test_a_limit_that_can_not_be_counted_there_is_found_when_the_file_is_read() -> None:
    acl = parse_acl("a", inline_lines("deny ratelimit = 10/1h/per_mail/strict", Location("conf", 1)), NamedLists())
    assert acl.misplaced(Where.CONNECT)
    assert not acl.misplaced(Where.MAIL)


# seen


def test_who_was_not_seen_before_is_only_noted() -> None:
    world = World()
    assert not world.holds("seen = -5m")
    assert world.hints.kept.keys() == {(SEEN, "192.0.2.7")}


def test_who_was_seen_long_enough_ago() -> None:
    world = World()
    world.holds("seen = -5m")
    world.now += 299
    assert not world.holds("seen = -5m")
    world.now += 1
    assert world.holds("seen = -5m")


def test_who_was_seen_a_moment_ago() -> None:
    world = World()
    assert not world.holds("seen = 5m / key=x")
    world.now += 299
    assert world.holds("seen = 5m / key=x")
    world.now += 299
    assert world.holds("seen = 5m / key=x"), "each sight makes it young again"
    world.now += 300
    assert not world.holds("seen = 5m / key=x")


def test_looking_does_not_note() -> None:
    world = World()
    assert not world.holds("seen = 5m / readonly")
    assert world.hints.kept == {}


def test_writing_starts_the_wait_again() -> None:
    world = World()
    world.holds("seen = -5m / write")
    world.now += 200
    world.holds("seen = -5m / write")
    world.now += 200
    assert not world.holds("seen = -5m / write")


def test_an_old_record_is_refreshed_and_the_condition_goes_on_holding() -> None:
    world = World()
    world.holds("seen = -5m / refresh=1d")
    world.now += 86400
    assert world.holds("seen = -5m / refresh=1d")
    assert world.hints.kept[SEEN, "192.0.2.7"] == repr(world.now - 300)
    assert world.holds("seen = -5m / refresh=1d")


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2000), max_size=8), st.integers(1, 3000))
def test_a_wait_is_over_when_it_is_over(steps: list[int], wait: int) -> None:
    """Without refresh or write the time since the first sight alone decides."""
    text, now, first = None, 0, None
    request = read_seen(f"-{wait}s", "k")
    for step in steps:
        now += step
        change = see(request, text, float(now))
        assert change.answer is (first is not None and now - first >= wait)
        first = now if first is None else first
        text = change.text if change.text is not None else text


@pytest.mark.parametrize("text", ["", "soon", "-", "5m/refresh=x", "5m/often", "5m/key"])
def test_what_seen_can_not_mean(text: str) -> None:
    with pytest.raises(BadRequest):
        read_seen(text, "")


def test_a_seen_that_can_not_be_read_is_found_when_the_file_is_read() -> None:
    with pytest.raises(ConfigurationError, match="failed to parse"):
        parse_acl("a", inline_lines("deny seen = never", Location("conf", 1)), NamedLists())
