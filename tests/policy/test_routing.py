"""Routers: which one takes an address, which hosts it gives, and what happens where it can't say."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import NO_ANSWER, NO_SUCH_NAME, Names, run
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import MessageView, Scope
from relay.expand.values import is_tainted
from relay.mail.address import address_from_text
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.source import ConfigurationError, Location
from relay.policy.routing import (
    UNROUTEABLE,
    Accept,
    Fallback,
    Manualroute,
    NoNetwork,
    Preconditions,
    Routed,
    RouteDeferred,
    RouteHost,
    RouteItem,
    Router,
    RoutingPorts,
    Unroutable,
    compile_route_list,
    parse_hosts,
    remote_hosts,
    route,
)

PLACE = Location("relay.conf", 7)
GONE = 'lookup of host "gone.test" failed in smarthost router'
KNOWN = {
    "hub.test": ("192.0.2.7", "2001:db8::7"),
    "spare.test": ("192.0.2.8",),
    "gone.test": NO_SUCH_NAME,
    "slow.test": NO_ANSWER,
    "offline.test": NoNetwork("network is unreachable"),
    "empty.test": (),
}


def when(**lists: str) -> Preconditions:
    kinds = {"domains": ListKind.DOMAIN, "local_parts": ListKind.LOCAL_PART, "senders": ListKind.ADDRESS}
    condition = lists.pop("condition", None)
    return Preconditions(
        **{name: compile_list(kinds[name], text) for name, text in lists.items()},
        conditions=() if condition is None else (compile_expansion(condition),),
    )


def accept(name: str = "local", transport: str = "maildir", **options: object) -> Accept:
    return Accept(name=name, location=PLACE, transport=compile_expansion(transport), **options)  # type: ignore[arg-type]


def manual(route_list: str, **options: object) -> Manualroute:
    routes = compile_route_list(route_list, PLACE)
    return Manualroute(
        name="smarthost",
        location=PLACE,
        transport=compile_expansion("smtp"),
        routes=routes,
        **options,  # type: ignore[arg-type]
    )


def by_data(route_data: str) -> Manualroute:
    return replace(manual("* hub.test"), routes=compile_expansion(route_data))


def routed_by(
    *routers: Router,
    to: str = "bert@far.test",
    names: Names | None = None,
    sender: str = "anna@laptop.test",
    ours: tuple[str, ...] = (),
) -> object:
    ports = RoutingPorts(names or Names(KNOWN), frozenset({"maildir"}), is_ours=lambda address, port: address in ours)
    scope = Scope(message=MessageView(sender=address_from_text(sender)))
    return run(route(address_from_text(to), routers, scope, ports))


def hosts_of(answer: object) -> list[str]:
    assert isinstance(answer, Routed), answer
    return [f"{host.name}:{host.port}" for host in answer.hosts]


# Which router


def test_without_routers_nothing_is_routeable() -> None:
    assert routed_by() == Unroutable(UNROUTEABLE)


def test_accept_takes_what_meets_its_preconditions() -> None:
    router = accept(preconditions=when(domains="far.test : near.test", local_parts="bert"))
    answer = routed_by(router)
    assert isinstance(answer, Routed)
    assert (answer.router, answer.transport, answer.hosts) == ("local", "maildir", ())
    assert routed_by(router, to="bert@else.test") == Unroutable(UNROUTEABLE)
    assert routed_by(router, to="carl@far.test") == Unroutable(UNROUTEABLE)


def test_what_the_lists_found_is_handed_on_untainted() -> None:
    answer = routed_by(accept(preconditions=when(domains="far.test", local_parts="bert : carl")))
    assert isinstance(answer, Routed)
    assert (answer.domain_data, answer.local_part_data) == ("far.test", "bert")
    assert not is_tainted(answer.local_part_data)
    assert not is_tainted(answer.domain_data)


@pytest.mark.parametrize("local_parts, domains", [("*", "*"), ("*ert", "*.test"), (r"\N^b.*$\N", r"\N^far\.\N")])
def test_a_wildcard_makes_no_address_fit_for_file_names(local_parts: str, domains: str) -> None:
    """What only a pattern matched is still the peer's text; what the pattern itself says is ours."""
    answer = routed_by(accept(preconditions=when(domains=domains, local_parts=local_parts)))
    assert isinstance(answer, Routed)
    assert answer.local_part_data != "bert" or is_tainted(answer.local_part_data)
    assert answer.domain_data != "far.test" or is_tainted(answer.domain_data)


@pytest.mark.parametrize(
    "senders, sender, takes",
    [("*@laptop.test", "anna@laptop.test", True), ("*@laptop.test", "eve@x.test", False), (":", "", True)],
)
def test_senders(senders: str, sender: str, takes: bool) -> None:
    answer = routed_by(accept(preconditions=when(senders=senders)), sender=sender)
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
    assert isinstance(routed_by(accept(preconditions=when(condition=condition))), Routed) is takes


def test_a_condition_that_can_not_be_expanded_defers() -> None:
    broken = accept(preconditions=when(condition="${if >{x}{1}{yes}{no}}"))
    answer = routed_by(broken, accept("next"))
    assert isinstance(answer, RouteDeferred)
    assert answer.router == "local"


def test_a_router_that_is_skipped_does_not_end_the_search_by_no_more() -> None:
    first = accept("first", preconditions=when(domains="else.test"), more=False)
    answer = routed_by(first, accept("second"))
    assert isinstance(answer, Routed)
    assert answer.router == "second"


def test_a_router_that_declines_ends_the_search_by_no_more() -> None:
    declines = manual("else.test hub.test", more=False)
    assert routed_by(declines, accept()) == Unroutable(UNROUTEABLE, "smarthost")
    assert isinstance(routed_by(replace(declines, more=True), accept()), Routed)
    by_text = replace(declines, more=compile_expansion("${if eq{$domain}{far.test}{no}{yes}}"))
    assert routed_by(by_text, accept()) == Unroutable(UNROUTEABLE, "smarthost")


def test_the_message_for_what_can_not_be_routed() -> None:
    words = compile_expansion("no mail for $domain here")
    declines = manual("else.test hub.test", more=False, cannot_route_message=words)
    assert routed_by(declines) == Unroutable("no mail for far.test here", "smarthost")


def test_address_data_is_kept() -> None:
    answer = routed_by(accept(address_data=compile_expansion("seen $local_part")))
    assert isinstance(answer, Routed)
    assert answer.address_data == "seen bert"


# Manualroute


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
    assert hosts_of(routed_by(manual(route_list))) == hosts


def test_hosts_are_expanded() -> None:
    assert hosts_of(routed_by(manual('* "${if eq{$domain}{far.test}{hub.test}{spare.test}}"'))) == ["hub.test:None"]


def test_a_host_has_all_its_addresses() -> None:
    answer = routed_by(manual("* hub.test:spare.test"))
    assert isinstance(answer, Routed)
    assert answer.hosts == (
        RouteHost("hub.test", None, ("192.0.2.7", "2001:db8::7")),
        RouteHost("spare.test", None, ("192.0.2.8",)),
    )
    assert remote_hosts(answer, 25, random.Random(1)) == (
        RemoteHost("hub.test", "192.0.2.7", 25),
        RemoteHost("hub.test", "2001:db8::7", 25),
        RemoteHost("spare.test", "192.0.2.8", 25),
    )


def test_families_can_be_chosen() -> None:
    only = routed_by(manual("* hub.test ipv4_only"))
    assert isinstance(only, Routed)
    assert only.hosts[0].addresses == ("192.0.2.7",)


def test_an_address_is_not_looked_up() -> None:
    names = Names({})
    assert hosts_of(routed_by(manual("* 192.0.2.1"), names=names)) == ["192.0.2.1:None"]
    assert names.asked == []


def test_random_order_stays_within_its_group() -> None:
    answer = routed_by(manual("* 192.0.2.1:192.0.2.2:192.0.2.3:+:192.0.2.9 randomize"))
    assert isinstance(answer, Routed)
    orders = {tuple(host.address for host in remote_hosts(answer, 25, random.Random(seed))) for seed in range(40)}
    assert len(orders) > 1
    assert {order[-1] for order in orders} == {"192.0.2.9"}


def test_no_randomize_wins_over_the_router() -> None:
    answer = routed_by(manual("* hub.test no_randomize", hosts_randomize=True))
    assert isinstance(answer, Routed)
    assert not answer.randomize


def test_a_route_may_have_its_own_transport() -> None:
    answer = routed_by(manual("* hub.test maildir"))
    assert isinstance(answer, Routed)
    assert (answer.transport, answer.hosts, answer.host_text) == ("maildir", (), "hub.test")


def test_route_data() -> None:
    assert hosts_of(routed_by(by_data("${if eq{$domain}{far.test}{hub.test::26 byname}}"))) == ["hub.test:26"]
    assert routed_by(by_data("${if eq{$domain}{else.test}{hub.test}}")) == Unroutable(UNROUTEABLE)
    assert routed_by(by_data("${if eq{$domain}{else.test}{hub.test}fail}")) == Unroutable(UNROUTEABLE)


def test_a_remote_route_without_hosts_defers() -> None:
    assert isinstance(routed_by(manual('* ""')), RouteDeferred)


@pytest.mark.parametrize(
    "action, expected",
    [
        (Fallback.FREEZE, RouteDeferred(GONE, "smarthost", ErrorClass.LOOKUP, freeze=True)),
        (Fallback.DEFER, RouteDeferred(GONE, "smarthost", ErrorClass.LOOKUP)),
        (Fallback.FAIL, Unroutable(GONE, "smarthost")),
        (Fallback.DECLINE, Unroutable(UNROUTEABLE)),
        (Fallback.PASS, Unroutable(UNROUTEABLE)),
    ],
)
def test_a_host_that_does_not_exist(action: Fallback, expected: object) -> None:
    assert routed_by(manual("* gone.test", host_find_failed=action)) == expected


def test_a_name_without_addresses_is_as_good_as_none() -> None:
    assert isinstance(routed_by(manual("* empty.test", host_find_failed=Fallback.FAIL)), Unroutable)


def test_ignored_hosts_leave_the_others() -> None:
    ignore = {"host_find_failed": Fallback.IGNORE}
    assert hosts_of(routed_by(manual("* gone.test:spare.test", **ignore))) == ["spare.test:None"]
    answer = routed_by(manual("* gone.test", **ignore))
    assert isinstance(answer, RouteDeferred)
    assert "host_all_ignored=defer" in answer.reason


def test_pass_wins_over_no_more_and_decline_does_not() -> None:
    passes = manual("* gone.test", host_find_failed=Fallback.PASS, more=False)
    assert isinstance(routed_by(passes, accept()), Routed)
    declines = manual("* gone.test", host_find_failed=Fallback.DECLINE, more=False)
    assert isinstance(routed_by(declines, accept()), Unroutable)


def test_a_name_server_that_does_not_answer() -> None:
    answer = routed_by(manual("* slow.test"), accept())
    assert isinstance(answer, RouteDeferred)
    assert "slow.test did not complete" in answer.reason
    assert not answer.freeze
    assert isinstance(routed_by(manual("* slow.test", pass_on_timeout=True), accept()), Routed)


def test_no_network_is_told_from_other_troubles() -> None:
    answer = routed_by(manual("* offline.test"))
    assert isinstance(answer, RouteDeferred)
    assert answer.error is ErrorClass.NO_NETWORK


def test_a_host_that_is_this_one() -> None:
    ours = ("192.0.2.8",)
    frozen = routed_by(manual("* spare.test"), ours=ours)
    assert isinstance(frozen, RouteDeferred)
    assert frozen.freeze
    assert hosts_of(routed_by(manual("* spare.test", self_action=Fallback.SEND), ours=ours)) == ["spare.test:None"]
    assert hosts_of(routed_by(manual("* 192.0.2.1:spare.test:hub.test"), ours=ours)) == ["192.0.2.1:None"]


# Reading


@pytest.mark.parametrize(
    "route_list, words",
    [
        ("* hub.test/MX", "MX records are not served yet"),
        ("* hub.test::99999", "99999 is no port"),
        ("* hub.test::0", "0 is no port"),
        ("* hub.test one two", 'unknown routing option "two"'),
        ("* ${if", "route_list item"),
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
        compile_route_list("a hub.test/MX ; b hub.test ; c hub.test::0", PLACE)
    assert len(caught.value.problems) == 2


def test_a_bad_host_that_comes_of_an_expansion_defers() -> None:
    answer = routed_by(manual('* "${if eq{1}{1}{hub.test/MX}}"'))
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
    answer = routed_by(router, names=AnyName({}))
    assert isinstance(answer, Routed | Unroutable | RouteDeferred)
    if isinstance(answer, Routed):
        assert all(host.port is None or 0 < host.port < 65536 for host in answer.hosts)


class AnyName(Names):
    """Every name has an address."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        return ("192.0.2.9",)
