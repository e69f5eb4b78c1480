"""The line at a host: who goes in, in which order, and with what in hand."""

from __future__ import annotations

from dataclasses import replace

from delivery.post import run
from delivery.servers import ONE, Crowd, Link, Promise, Server
from relay.delivery.host_lines import NOT_ONWARD, HostLines, Parked, Visit, Wish
from relay.delivery.link import Manners
from relay.delivery.schedule import Limits, Schedule
from relay.tls.policy import ClientTLS

WISH = Wish("smtp", "one.test:25", ClientTLS(), Manners("laptop.test"), frozenset({ONE.address}))


def lines(at_once: int = 1) -> HostLines:
    return HostLines(Schedule(Limits(attempts_per_host=at_once)), Promise)


def parked(wish: Wish = WISH) -> Parked:
    return Parked(Link(Server(), ONE, wish.manners, ()), wish, 1)


def enter(there: HostLines, crowd: Crowd, wish: Wish = WISH) -> int:
    return crowd.add(there.enter(wish))


def test_first_come_first_served() -> None:
    there, crowd = lines(), Crowd()
    visit = run(there.enter(WISH))
    assert visit.parked is None
    second, third = enter(there, crowd), enter(there, crowd)
    assert there.leave(visit) is None
    crowd.step(second)
    crowd.step(third)
    assert isinstance(crowd.results[second], Visit)
    assert third not in crowd.results


def test_the_next_gets_what_is_left() -> None:
    there, crowd = lines(), Crowd()
    visit = run(there.enter(WISH))
    waiting = enter(there, crowd)
    left = parked()
    assert there.next_is(WISH, ONE.address)
    assert there.leave(visit, left) is None
    crowd.step(waiting)
    assert crowd.results[waiting].parked is left


def test_nobody_waits() -> None:
    there = lines()
    visit, left = run(there.enter(WISH)), parked()
    assert not there.next_is(WISH, ONE.address)
    assert there.leave(visit, left) is left


def test_one_who_wants_another_gets_none() -> None:
    for other in (replace(WISH, transport="other"), replace(WISH, addresses=frozenset({"192.0.2.9"}))):
        there, crowd = lines(), Crowd()
        visit, left = run(there.enter(WISH)), parked()
        waiting = enter(there, crowd, other)
        assert not there.next_is(WISH, ONE.address)
        assert there.leave(visit, left) is left
        crowd.step(waiting)
        assert crowd.results[waiting].parked is None


def test_alone() -> None:
    there, crowd = lines(at_once=8), Crowd()
    run(there.enter(WISH, alone=True))
    waiting = crowd.add(there.enter(WISH, alone=True))
    assert waiting not in crowd.results


def test_hosts_that_do_not_go_on_are_forgotten_after_a_while() -> None:
    there = lines()
    there.does_not_go_on("one.test:25", 1000.0)
    assert not there.goes_on("one.test:25", 1001.0)
    assert there.goes_on("two.test:25", 1001.0)
    assert there.goes_on("one.test:25", 1000.0 + NOT_ONWARD)
    assert there.goes_on("one.test:25", 10.0), "the clock was set back"


def test_who_comes_for_a_connection_on_offer_waits_for_it() -> None:
    there, crowd = lines(at_once=8), Crowd()
    visit = run(there.enter(WISH))
    assert there.is_empty(WISH.host)
    offer = there.offer(WISH.host)
    waiting = enter(there, crowd)
    assert waiting not in crowd.results
    assert not there.is_empty(WISH.host)
    assert isinstance(offer, Promise)
    assert offer.is_kept
    left = parked()
    assert there.leave(visit, left) is None
    crowd.step(waiting)
    assert crowd.results[waiting].parked is left


def test_an_offer_that_was_withdrawn_or_taken_holds_nobody_up() -> None:
    there = lines(at_once=8)
    run(there.enter(WISH))
    offer = there.offer(WISH.host)
    there.withdraw(WISH.host, offer)
    there.withdraw(WISH.host, offer)
    assert isinstance(offer, Promise)
    assert offer.is_kept
    assert run(there.enter(WISH)).parked is None
