"""Routers: which one takes an address, in which order, and what is said where none does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.routers.routing_world import Offering, accept, manual, offer, when
from relay.expand.evaluate import compile_expansion, compile_for_use
from relay.expand.lists import ListKind, compile_list_for_use
from relay.expand.notes import Notes
from relay.expand.values import is_tainted
from relay.policy.routers.answers import UNROUTEABLE, Routed, RouteDeferred, Unroutable
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import Preconditions


def test_without_routers_nothing_is_routeable() -> None:
    assert offer() == Unroutable(UNROUTEABLE, "", UNROUTEABLE)


def test_accept_takes_what_meets_its_preconditions() -> None:
    router = accept(preconditions=when(domains="far.test : near.test", local_parts="bert"))
    answer = offer(router)
    assert isinstance(answer, Routed)
    assert (answer.router, answer.transport, answer.hosts) == ("local", "maildir", ())
    assert offer(router, to="bert@else.test") == Unroutable(UNROUTEABLE, "", UNROUTEABLE)
    assert offer(router, to="carl@far.test") == Unroutable(UNROUTEABLE, "", UNROUTEABLE)


def test_what_the_lists_found_is_handed_on_untainted() -> None:
    answer = offer(accept(preconditions=when(domains="far.test", local_parts="bert : carl")))
    assert isinstance(answer, Routed)
    assert (answer.domain_data, answer.local_part_data) == ("far.test", "bert")
    assert not is_tainted(answer.local_part_data)
    assert not is_tainted(answer.domain_data)


@pytest.mark.parametrize("local_parts, domains", [("*", "*"), ("*ert", "*.test"), (r"\N^b.*$\N", r"\N^far\.\N")])
def test_a_wildcard_makes_no_address_fit_for_file_names(local_parts: str, domains: str) -> None:
    """What only a pattern matched is still the peer's text; what the pattern itself says is ours."""
    answer = offer(accept(preconditions=when(domains=domains, local_parts=local_parts)))
    assert isinstance(answer, Routed)
    assert answer.local_part_data != "bert" or is_tainted(answer.local_part_data)
    assert answer.domain_data != "far.test" or is_tainted(answer.domain_data)


@pytest.mark.parametrize(
    "senders, sender, takes",
    [("*@laptop.test", "anna@laptop.test", True), ("*@laptop.test", "eve@x.test", False), (":", "", True)],
)
def test_senders(senders: str, sender: str, takes: bool) -> None:
    answer = offer(accept(preconditions=when(senders=senders)), sender=sender)
    assert isinstance(answer, Routed) is takes


@pytest.mark.parametrize(
    "condition, takes",
    [
        ("yes", True),
        ("anything", True),
        ("", False),
        ("0", False),
        ("No", False),
        ("FALSE", False),
        ("${if eq{$domain}{far.test}{1}{0}}", True),
        ("${if eq{$local_part}{carl}{1}fail}", False),
    ],
)
def test_conditions(condition: str, takes: bool) -> None:
    assert isinstance(offer(accept(preconditions=when(condition=condition))), Routed) is takes


@pytest.mark.parametrize(
    "conditions",
    [
        Preconditions(conditions=(compile_for_use("${if >{x}{1}{yes}{no}}"),)),
        Preconditions(conditions=(compile_for_use("${if eq{$local_part}"),)),
        Preconditions(require_files=(compile_for_use("$nosuch"),)),
        Preconditions(domains=compile_list_for_use(ListKind.DOMAIN, "! ${if")),
        Preconditions(senders=compile_list_for_use(ListKind.ADDRESS, "*@$nosuch")),
    ],
)
def test_a_condition_that_can_not_be_expanded_defers(conditions: Preconditions) -> None:
    """The next router might send it elsewhere."""
    broken = accept(preconditions=conditions)
    answer = offer(broken, accept("next"))
    assert isinstance(answer, RouteDeferred)
    assert answer.router == "local"


def test_a_router_that_is_skipped_does_not_end_the_search_by_no_more() -> None:
    first = accept("first", preconditions=when(domains="else.test"), more=False)
    answer = offer(first, accept("second"))
    assert isinstance(answer, Routed)
    assert answer.router == "second"


def test_a_router_that_declines_ends_the_search_by_no_more() -> None:
    declines = manual("else.test hub.test", more=False)
    assert offer(declines, accept()) == Unroutable(UNROUTEABLE, "", UNROUTEABLE)
    assert isinstance(offer(replace(declines, more=True), accept()), Routed)
    by_text = replace(declines, more=compile_expansion("${if eq{$domain}{far.test}{no}{yes}}"))
    assert offer(by_text, accept()) == Unroutable(UNROUTEABLE, "", UNROUTEABLE)


def test_the_message_for_what_can_not_be_routed() -> None:
    words = compile_expansion("no mail for $domain here")
    declines = manual("else.test hub.test", more=False, cannot_route_message=words)
    assert offer(declines) == Unroutable("no mail for far.test here", "", "no mail for far.test here")


def test_address_data_is_kept() -> None:
    answer = offer(accept(address_data=compile_expansion("seen $local_part")))
    assert isinstance(answer, Routed)
    assert answer.carried.address_data == "seen bert"


def test_address_data_is_known_of_what_nobody_takes() -> None:
    attaches = manual("else.test hub.test", address_data=compile_expansion("seen $local_part"))
    found = Unroutable(UNROUTEABLE, "", UNROUTEABLE, "seen bert")
    assert offer(attaches, accept(preconditions=when(domains="near.test"))) == found
    answer = offer(attaches, accept(fail_verify=frozenset({Purpose.DELIVER})))
    assert isinstance(answer, Unroutable)
    assert (answer.router, answer.address_data) == ("local", "seen bert")


def test_who_watches_is_told_which_routers_are_asked() -> None:
    lines: list[str] = []
    world = Offering(notes=Notes(lines.append))
    skipped = accept("skipped", preconditions=when(domains="near.test"))
    world.offer(skipped, accept("local"))
    assert [line for line in lines if "list element" not in line] == [
        f">>> {'>' * 35}",
        ">>> routing bert@far.test",
        '>>>  far.test in "near.test"?',
        '>>>  far.test in "near.test"? no (end of list)',
        ">>>  calling local router",
        ">>> routed by local router",
    ]
    lines.clear()
    world.offer(skipped)
    assert lines[-1] == ">>> no more routers"


def test_what_lists_have_said_of_another_address_counts_for_that_one_alone() -> None:
    notes = Notes(lambda line: None)
    notes.results[("domain", "near.test", "far.test")] = "said before"
    before = notes.results
    Offering(notes=notes).offer(accept("local", preconditions=when(domains="near.test : far.test")))
    assert notes.results is before
    assert len(before) == 1
