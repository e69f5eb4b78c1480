"""Hosts by a list of domains, or by a text that is looked up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import Names
from policy.routers.routing_world import PLACE, accept, by_data, hosts_of, manual, offer
from relay.expand.evaluate import compile_expansion
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.source import ConfigurationError
from relay.policy.routers.answers import UNROUTEABLE, HostOrder, Routed, RouteDeferred, RouteHost, Unroutable
from relay.policy.routers.host_lists import parse_hosts
from relay.policy.routers.manualroute import compile_route_list
from relay.policy.routers.settings import Fallback, RouteItem
from relay.policy.routing import remote_hosts

GONE = 'lookup of host "gone.test" failed in smarthost router'


@pytest.mark.parametrize(
    "route_list, hosts",
    [
        ("* hub.test", ["hub.test:None"]),
        ("* hub.test::587", ["hub.test:587"]),
        ('* "hub.test::587 : spare.test"', ["hub.test:587", "spare.test:None"]),
        ("* hub.test:spare.test byname", ["hub.test:None", "spare.test:None"]),
        ('* "<, hub.test:465"', ["hub.test:465"]),
        (
            '* "<, [2001:db8::1]:2525, 192.0.2.1, 2001:db8::2"',
            ["2001:db8::1:2525", "192.0.2.1:None", "2001:db8::2:None"],
        ),
        ("* 192.0.2.1::25", ["192.0.2.1:25"]),
        ("else.test spare.test ; far.test hub.test", ["hub.test:None"]),
        ("*.test hub.test ; * spare.test", ["hub.test:None"]),
        (r"\N^far\.(test|example)$\N hub.test", ["hub.test:None"]),
        ("* hub.test ; ", ["hub.test:None"]),
    ],
)
def test_route_lists(route_list: str, hosts: list[str]) -> None:
    assert hosts_of(offer(manual(route_list))) == hosts


def test_without_ipv6_its_addresses_are_of_no_host() -> None:
    hosts = '* "<, [2001:db8::1]:2525, 192.0.2.1, hub.test"'
    assert isinstance(offer(manual(hosts), without_ipv6=True), RouteDeferred)
    routed = offer(manual(hosts, host_find_failed=Fallback.IGNORE), without_ipv6=True)
    assert isinstance(routed, Routed)
    assert [each.addresses for each in routed.hosts] == [("192.0.2.1",), ("192.0.2.7",)]


def test_without_ipv6_its_addresses_are_nothing_to_fall_back_to() -> None:
    fallback = compile_expansion("<, 2001:db8::1, 192.0.2.1")
    for without, hosts in ((False, ["2001:db8::1", "192.0.2.1"]), (True, ["192.0.2.1"])):
        routed = offer(manual("* hub.test", fallback_hosts=fallback), without_ipv6=without)
        assert isinstance(routed, Routed)
        assert [each.name for each in routed.fallback_hosts] == hosts


def test_hosts_are_expanded() -> None:
    assert hosts_of(offer(manual('* "${if eq{$domain}{far.test}{hub.test}{spare.test}}"'))) == ["hub.test:None"]


def test_a_host_has_all_its_addresses() -> None:
    answer = offer(manual("* hub.test:spare.test"))
    assert isinstance(answer, Routed)
    assert answer.hosts == (
        RouteHost("hub.test", None, ("192.0.2.7", "2001:db8::7")),
        RouteHost("spare.test", None, ("192.0.2.8",)),
    )
    assert remote_hosts(answer.hosts, answer.order, 25, random.Random(1)) == (
        RemoteHost("hub.test", "192.0.2.7", 25),
        RemoteHost("hub.test", "2001:db8::7", 25),
        RemoteHost("spare.test", "192.0.2.8", 25),
    )


def test_families_can_be_chosen() -> None:
    only = offer(manual("* hub.test ipv4_only"))
    assert isinstance(only, Routed)
    assert only.hosts[0].addresses == ("192.0.2.7",)


def test_an_address_is_not_looked_up() -> None:
    names = Names({})
    assert hosts_of(offer(manual("* 192.0.2.1"), names=names)) == ["192.0.2.1:None"]
    assert names.asked == []


def test_random_order_stays_within_its_group() -> None:
    answer = offer(manual("* 192.0.2.1:192.0.2.2:192.0.2.3:+:192.0.2.9 randomize"))
    assert isinstance(answer, Routed)
    drawn = (remote_hosts(answer.hosts, answer.order, 25, random.Random(seed)) for seed in range(40))
    orders = {tuple(host.address for host in hosts) for hosts in drawn}
    assert len(orders) > 1
    assert {order[-1] for order in orders} == {"192.0.2.9"}


def test_no_randomize_wins_over_the_router() -> None:
    answer = offer(manual("* hub.test no_randomize", hosts_randomize=True))
    assert isinstance(answer, Routed)
    assert answer.order is HostOrder.AS_GIVEN


def test_a_route_may_have_its_own_transport() -> None:
    answer = offer(manual("* hub.test maildir"))
    assert isinstance(answer, Routed)
    assert (answer.transport, answer.hosts, answer.host_text) == ("maildir", (), "hub.test")


def test_route_data() -> None:
    assert hosts_of(offer(by_data("${if eq{$domain}{far.test}{hub.test::26 byname}}"))) == ["hub.test:26"]
    assert offer(by_data("${if eq{$domain}{else.test}{hub.test}}")) == Unroutable(UNROUTEABLE, "", UNROUTEABLE)
    assert offer(by_data("${if eq{$domain}{else.test}{hub.test}fail}")) == Unroutable(UNROUTEABLE, "", UNROUTEABLE)


def test_a_remote_route_without_hosts_defers() -> None:
    assert isinstance(offer(manual('* ""')), RouteDeferred)


@pytest.mark.parametrize(
    "action, expected",
    [
        (Fallback.FREEZE, RouteDeferred(GONE, "smarthost", ErrorClass.LOOKUP, freeze=True)),
        (Fallback.DEFER, RouteDeferred(GONE, "smarthost", ErrorClass.LOOKUP)),
        (Fallback.FAIL, Unroutable(GONE, "smarthost")),
        (Fallback.DECLINE, Unroutable(UNROUTEABLE, "", UNROUTEABLE)),
        (Fallback.PASS, Unroutable(UNROUTEABLE, "", UNROUTEABLE)),
    ],
)
def test_a_host_that_does_not_exist(action: Fallback, expected: object) -> None:
    assert offer(manual("* gone.test", host_find_failed=action)) == expected


def test_a_name_without_addresses_is_as_good_as_none() -> None:
    assert isinstance(offer(manual("* empty.test", host_find_failed=Fallback.FAIL)), Unroutable)


def test_ignored_hosts_leave_the_others() -> None:
    ignore = {"host_find_failed": Fallback.IGNORE}
    assert hosts_of(offer(manual("* gone.test:spare.test", **ignore))) == ["spare.test:None"]
    answer = offer(manual("* gone.test", **ignore))
    assert isinstance(answer, RouteDeferred)
    assert "host_all_ignored=defer" in answer.reason


def test_pass_wins_over_no_more_and_decline_does_not() -> None:
    passes = manual("* gone.test", host_find_failed=Fallback.PASS, more=False)
    assert isinstance(offer(passes, accept()), Routed)
    declines = manual("* gone.test", host_find_failed=Fallback.DECLINE, more=False)
    assert isinstance(offer(declines, accept()), Unroutable)


def test_a_name_server_that_does_not_answer() -> None:
    answer = offer(manual("* slow.test"), accept())
    assert isinstance(answer, RouteDeferred)
    assert "slow.test did not complete" in answer.reason
    assert not answer.freeze
    assert isinstance(offer(manual("* slow.test", pass_on_timeout=True), accept()), Routed)


def test_no_network_is_told_from_other_troubles() -> None:
    answer = offer(manual("* offline.test"))
    assert isinstance(answer, RouteDeferred)
    assert answer.error is ErrorClass.NO_NETWORK


def test_a_host_that_is_this_one() -> None:
    ours = ("192.0.2.8",)
    frozen = offer(manual("* spare.test"), ours=ours)
    assert isinstance(frozen, RouteDeferred)
    assert frozen.freeze
    assert frozen.note == "remote host address is the local host: far.test"
    assert hosts_of(offer(manual("* spare.test", self_action=Fallback.SEND), ours=ours)) == ["spare.test:None"]
    assert hosts_of(offer(manual("* 192.0.2.1:spare.test:hub.test"), ours=ours)) == ["192.0.2.1:None"]


# Reading


@pytest.mark.parametrize(
    "route_list, words",
    [
        ("* hub.test::99999", "99999 is no port"),
        ("* hub.test::0", "0 is no port"),
        ("* hub.test one two", 'unknown routing option "two"'),
        ("* ${run{x}}", "route_list item"),
        ("* hub.test/x", "is no host"),
    ],
)
def test_mistakes_in_a_route_list(route_list: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_route_list(route_list, PLACE)
    assert words in str(caught.value)
    assert str(caught.value).startswith("relay.conf:7: ")


def test_all_mistakes_of_a_route_list_are_found() -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_route_list("a hub.test/x ; b hub.test ; c hub.test::0", PLACE)
    assert len(caught.value.problems) == 2


def test_a_bad_host_that_comes_of_an_expansion_defers() -> None:
    answer = offer(manual('* "${if eq{1}{1}{hub.test/x}}"'))
    assert isinstance(answer, RouteDeferred)


def test_a_route_list_gives_items() -> None:
    (item,) = compile_route_list("* hub.test", PLACE)
    assert isinstance(item, RouteItem)
    assert parse_hosts("hub.test") == (RouteHost("hub.test"),)


PARTS = st.sampled_from(
    ["*", "far.test", "hub", ":", "::", ";", "<", ",", "[", "]", "1", "99999", '"', "\\", "$", "{", " ", "+", "/MX"]
)


@given(st.one_of(st.text(max_size=30), st.lists(PARTS, max_size=12).map("".join)))
@settings(max_examples=200)
def test_any_route_list_is_read_or_refused_and_routes_or_says_why(text: str) -> None:
    try:
        router = manual(text, host_find_failed=Fallback.FAIL)
    except ConfigurationError:
        return
    answer = offer(router, names=AnyName({}))
    assert isinstance(answer, Routed | Unroutable | RouteDeferred)
    if isinstance(answer, Routed):
        assert all(host.port is None or 0 < host.port < 65536 for host in answer.hosts)


class AnyName(Names):
    """Every name has an address."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        return ("192.0.2.9",)
