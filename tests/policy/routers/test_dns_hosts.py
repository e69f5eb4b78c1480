"""Hosts by the records of the DNS, with DNS as a value."""

from __future__ import annotations

import random

import pytest

from delivery.post import Names
from policy.routers.routing_world import NOT_NOW, Offering, Zone, accept, hosts_of, lookup, manual, offer, taken
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.notes import Notes
from relay.mail.events import MessageNote
from relay.mail.facts import Endpoint, SessionFacts
from relay.mail.outcome import DNSSEC
from relay.policy.routers.answers import (
    UNROUTEABLE,
    HostOrder,
    Redirected,
    Routed,
    RouteDeferred,
    RouteHost,
    Unroutable,
)
from relay.policy.routers.ports import Purpose
from relay.policy.routers.settings import DNSLookup, Fallback, Reroute
from relay.policy.routing import dialling_order, remote_hosts

OPERATOR = "It appears that the DNS operator for"
NOWHERE = "all relevant MX records point to non-existent hosts"
ZONE = {
    "far.test MX": ("20 b.test.", "10 a.test."),
    "a.test A": ("192.0.2.1", "192.0.2.2"),
    "a.test AAAA": ("2001:db8::1",),
    "b.test A": ("192.0.2.3",),
    "plain.test A": ("192.0.2.4",),
    "null.test MX": ("0 .",),
    "dead.test MX": ("5 gone.test.",),
    "half.test MX": ("5 gone.test.", "7 b.test."),
    "literal.test MX": ("5 192.0.2.9.",),
    "again.test MX": NOT_NOW,
    "again.test A": ("192.0.2.5",),
    "later.test MX": ("5 slow.test.",),
    "slow.test A": NOT_NOW,
    "slow.test AAAA": NOT_NOW,
    "ours.test MX": ("5 a.test.", "7 us.test.", "7 c.test.", "9 b.test."),
    "c.test A": ("192.0.2.7",),
    "us.test A": ("203.0.113.1",),
    "best.test MX": ("5 us.test.", "7 a.test."),
    "shielded.test MX": ("5 gone.test.", "7 us.test."),
    "twice.test MX": ("7 b.test.", "5 B.test."),
    "_smtp._tcp.served.test SRV": ("10 5 2525 a.test.", "5 0 26 b.test."),
    "_smtp._tcp.unserved.test SRV": ("0 0 0 .",),
    "short.home.test A": ("192.0.2.6",),
    "Spelled.test MX": ("1 b.test.",),
    "Alone.test A": ("192.0.2.8",),
}
US = ("203.0.113.1",)


def at(domain: str, router: DNSLookup | None = None, **changes: object) -> object:
    zone = changes.pop("zone", None) or Zone(ZONE, default_domain="home.test")
    return offer(router or lookup(), to=f"bert@{domain}", dns=zone, **changes)


def domains(text: str) -> object:
    return compile_list(ListKind.DOMAIN, text)


def test_exchangers_in_the_order_of_their_preference_with_ipv6_first() -> None:
    answer = taken(at("far.test"))  # type: ignore[arg-type]
    assert answer.hosts == (
        RouteHost("a.test", None, ("2001:db8::1", "192.0.2.1", "192.0.2.2"), 10, 10, DNSSEC.NO),
        RouteHost("b.test", None, ("192.0.2.3",), 20, 20, DNSSEC.NO),
    )
    assert answer.order is HostOrder.EXCHANGERS


def test_without_ipv6_its_addresses_are_no_hosts() -> None:
    (first, _) = taken(at("far.test", without_ipv6=True)).hosts  # type: ignore[arg-type]
    assert first.addresses == ("192.0.2.1", "192.0.2.2")


def test_a_domain_without_mx_is_its_own_host() -> None:
    (host,) = taken(at("plain.test")).hosts  # type: ignore[arg-type]
    assert host == RouteHost("plain.test", None, ("192.0.2.4",), dnssec=DNSSEC.NO)


def test_where_the_domain_does_not_exist_no_address_is_asked_for() -> None:
    zone = Zone({})
    assert at("none.test", zone=zone) == Unroutable(UNROUTEABLE, "", UNROUTEABLE)
    assert zone.asked == ["none.test MX"]


@pytest.mark.parametrize(
    ("domain", "reason", "told"),
    [
        ("null.test", "an MX or SRV record indicated no SMTP service", ""),
        ("dead.test", NOWHERE, ""),
        ("literal.test", f"{NOWHERE} or (invalidly) to IP addresses", f"{OPERATOR} literal.test"),
    ],
)
def test_exchangers_that_lead_nowhere(domain: str, reason: str, told: str) -> None:
    answer = at(domain)
    assert isinstance(answer, Unroutable)
    assert answer.reason == reason
    assert answer.user_message.split("\n")[0] == told


def test_exchangers_that_may_be_addresses_are_hosts() -> None:
    assert hosts_of(at("literal.test", mx_to_address=True)) == ["192.0.2.9:None"]  # type: ignore[arg-type]
    ignored = lookup(ignore_target_hosts=compile_list(ListKind.HOST, "192.0.2.9"))
    answer = at("literal.test", ignored, mx_to_address=True)
    assert isinstance(answer, Unroutable)
    assert answer.reason == NOWHERE


def test_a_host_that_does_not_exist_leaves_the_others() -> None:
    assert hosts_of(at("half.test")) == ["b.test:None"]  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", ["again.test", "later.test"])
def test_no_answer_is_no_failure(domain: str) -> None:
    answer = at(domain)
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == "host lookup did not complete"
    assert isinstance(at(domain, lookup(pass_on_timeout=True)), Unroutable)


def test_domains_whose_mx_lookup_may_fail() -> None:
    router = lookup(mx_fail_domains=domains("again.test"))
    assert hosts_of(at("again.test", router)) == ["again.test:None"]  # type: ignore[arg-type]


def test_domains_that_must_have_mx_records() -> None:
    router = lookup(mx_domains=domains("plain.test"))
    assert isinstance(at("plain.test", router), Unroutable)


def test_domains_that_wait_where_nothing_is_found() -> None:
    router = lookup(fail_defer_domains=domains("*"))
    assert isinstance(at("dead.test", router), RouteDeferred)
    assert isinstance(at("none.test", router), RouteDeferred)


def test_a_host_that_is_named_twice_counts_with_its_better_record() -> None:
    (host,) = taken(at("twice.test")).hosts  # type: ignore[arg-type]
    assert host.preference == 5


# This host


def test_hosts_that_are_no_better_than_this_one_are_left_out() -> None:
    assert hosts_of(at("ours.test", ours=US)) == ["a.test:None"]  # type: ignore[arg-type]


OURS_IS_BEST = "lowest numbered MX record points to local host"


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Fallback.FREEZE, RouteDeferred(OURS_IS_BEST, "dns", freeze=True, note=f"{OURS_IS_BEST}: best.test")),
        (Fallback.DEFER, RouteDeferred("lowest numbered MX record points to local host", "dns")),
        (Fallback.FAIL, Unroutable("lowest numbered MX record points to local host", "dns")),
        (Fallback.PASS, Unroutable("lowest numbered MX record points to local host", "", "")),
    ],
)
def test_this_host_is_the_best(action: Fallback, expected: object) -> None:
    assert at("best.test", lookup(self_action=action), ours=US) == expected


@pytest.mark.parametrize(
    ("purpose", "session", "said"),
    [
        (Purpose.DELIVER, SessionFacts(), ()),
        (Purpose.TEST, SessionFacts(), ("routing <b@best.test>",)),
        (
            Purpose.VERIFY_RECIPIENT,
            SessionFacts(peer=Endpoint("192.0.2.9", 1025)),
            ("verifying <b@best.test> from host [192.0.2.9]",),
        ),
    ],
)
def test_the_log_tells_of_a_loop_where_no_delivery_does(
    purpose: Purpose, session: SessionFacts, said: tuple[str, ...]
) -> None:
    offering = Offering(dns=Zone(ZONE), ours=US, purpose=purpose, session=session)
    offering.offer(lookup(self_action=Fallback.FREEZE), to="b@best.test")
    assert offering.log == [MessageNote("", f"{OURS_IS_BEST}: best.test (while {each})") for each in said]


def test_who_watches_is_told_what_is_asked_about_signatures() -> None:
    told: list[str] = []
    router = lookup(dnssec_request=compile_list(ListKind.DOMAIN, "far.test"))
    Offering(dns=Zone(ZONE), notes=Notes(told.append)).offer(router, to="b@far.test")
    place = told.index(">>>   check dnssec require list")
    assert told[place + 1 : place + 4] == [
        ">>>    far.test in dnssec_require_domains? no (option unset)",
        ">>>   check dnssec request list",
        '>>>    far.test in "far.test"?',
    ]


def test_sent_to_ourselves_all_the_same() -> None:
    assert hosts_of(at("best.test", lookup(self_action=Fallback.SEND), ours=US)) == [  # type: ignore[arg-type]
        "us.test:None", "a.test:None",
    ]  # fmt: skip


def test_passed_on_with_the_name_of_the_host() -> None:
    second = accept("second", address_data=compile_expansion("$self_hostname"))
    router = lookup(self_action=Fallback.PASS, more=False)
    answer = taken(offer(router, second, to="b@best.test", dns=Zone(ZONE), ours=US))
    assert (answer.carried.address_data, answer.self_hostname) == ("us.test", "us.test")


def test_who_watches_is_told_of_another_domain() -> None:
    told: list[str] = []
    router = lookup(self_action=Reroute("else.test"))
    Offering(dns=Zone(ZONE), ours=US, notes=Notes(told.append)).offer(router, to="b@best.test")
    assert told[-1] == ">>> re-routed to b@else.test"


def test_another_domain_in_place_of_ours() -> None:
    answer = at("best.test", lookup(self_action=Reroute("far.test")), ours=US)
    assert isinstance(answer, Redirected)
    (child,) = answer.children
    assert str(child.address) == "bert@far.test"  # type: ignore[union-attr]


def test_a_dead_exchanger_shields_the_second_best_that_is_us() -> None:
    answer = at("shielded.test", ours=US)
    assert isinstance(answer, Unroutable)
    assert answer.reason == NOWHERE


def test_only_as_a_second_exchanger() -> None:
    router = lookup(check_secondary_mx=True)
    assert isinstance(at("far.test", router), Unroutable)
    assert isinstance(at("ours.test", router, ours=US), Routed)


def test_hosts_to_be_ignored() -> None:
    ignoring = compile_list(ListKind.HOST, "192.0.2.1 : 2001:db8::/32".replace("2001:db8::", "2001::db8::::"))
    (host, _) = taken(at("far.test", lookup(ignore_target_hosts=ignoring))).hosts  # type: ignore[arg-type]
    assert host.addresses == ("192.0.2.2",)


# Names, services, families, DNSSEC


def test_a_domain_of_one_label_is_completed_and_begins_anew() -> None:
    answer = at("short")
    assert isinstance(answer, Redirected)
    assert str(answer.children[0].address) == "bert@short.home.test"  # type: ignore[union-attr]
    assert isinstance(at("short", purpose=Purpose.VERIFY_SENDER), Unroutable)
    assert isinstance(at("short", lookup(qualify_single=False)), Unroutable)


def test_endings_to_try() -> None:
    answer = at("plain", lookup(qualify_single=False, widen_domains=("none", "test")))
    assert isinstance(answer, Redirected)
    assert str(answer.children[0].address) == "bert@plain.test"  # type: ignore[union-attr]


def test_the_official_spelling_is_taken_over() -> None:
    assert str(taken(at("sPELLED.test")).item.address) == "bert@Spelled.test"  # type: ignore[arg-type]


def test_a_domain_that_is_its_own_host_is_called_as_it_was_asked_for() -> None:
    answer = taken(at("alone.test"))  # type: ignore[arg-type]
    assert (str(answer.item.address), [each.name for each in answer.hosts]) == ("bert@Alone.test", ["alone.test"])


def test_services() -> None:
    router = lookup(check_srv=compile_expansion("smtp"))
    assert hosts_of(at("served.test", router)) == ["b.test:26", "a.test:2525"]  # type: ignore[arg-type]
    answer = at("unserved.test", router)
    assert isinstance(answer, Unroutable)
    assert "no SMTP service" in answer.reason
    assert hosts_of(at("far.test", router)) == ["a.test:None", "b.test:None"]  # type: ignore[arg-type]


def test_families() -> None:
    only = taken(at("far.test", lookup(ipv4_only=compile_expansion("yes"))))  # type: ignore[arg-type]
    assert only.hosts[0].addresses == ("192.0.2.1", "192.0.2.2")
    prefer = taken(at("far.test", lookup(ipv4_prefer=compile_expansion("yes"))))  # type: ignore[arg-type]
    assert prefer.hosts[0].addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    assert prefer.order is HostOrder.EXCHANGERS_IPV4_FIRST


def test_dnssec_is_demanded() -> None:
    router = lookup(dnssec_require=domains("*"))
    answer = at("far.test", router)
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == "host lookup done insecurely"
    secure = Zone(ZONE, frozenset({"far.test", "a.test", "b.test"}))
    assert dnssec_of("far.test", router, secure) == [DNSSEC.YES, DNSSEC.YES]


@pytest.mark.parametrize(
    "domain, secure, requested, expected",
    [
        ("far.test", ("far.test", "a.test", "b.test"), "*", ["yes", "yes"]),
        ("far.test", ("far.test", "a.test"), "*", ["yes", "no"]),
        ("far.test", ("a.test", "b.test"), "*", ["no", "no"]),
        ("far.test", ("far.test", "a.test", "b.test"), "other.test", ["", ""]),
        ("plain.test", ("plain.test",), "*", ["yes"]),
        ("plain.test", (), "*", ["no"]),
    ],
)
def test_what_is_known_of_signatures_goes_to_the_transport(
    domain: str, secure: tuple[str, ...], requested: str, expected: list[str]
) -> None:
    router = lookup(dnssec_request=domains(requested))
    zone = Zone(ZONE, frozenset(secure))
    assert [each.value for each in dnssec_of(domain, router, zone)] == expected
    route = taken(at(domain, router, zone=zone))  # type: ignore[arg-type]
    dialled = remote_hosts(route.hosts, HostOrder.AS_GIVEN, 25, random.Random(1))
    assert {each.name: each.dnssec.value for each in dialled} == dict(
        zip([host.name for host in route.hosts], expected, strict=True)
    )


def dnssec_of(domain: str, router: object, zone: Zone) -> list[DNSSEC]:
    return [host.dnssec for host in taken(at(domain, router, zone=zone)).hosts]  # type: ignore[arg-type]


@pytest.mark.parametrize("words, reason", [("", "host lookup for plain.test done insecurely"), (" byname", None)])
def test_a_host_of_a_route_that_has_to_be_signed(words: str, reason: str | None) -> None:
    router = manual(f"* plain.test{words}", dnssec_require=domains("*.test"))
    names = Names({"plain.test": ("192.0.2.66",)})
    answer = offer(router, dns=Zone(ZONE), names=names)
    if reason is None:
        assert taken(answer).hosts[0].addresses == ("192.0.2.66",)
        return
    assert isinstance(answer, RouteDeferred)
    assert answer.reason == reason
    assert names.asked == []
    signed = taken(offer(router, dns=Zone(ZONE, frozenset({"plain.test"})), names=names))
    assert (signed.hosts[0].addresses, signed.hosts[0].dnssec) == (("192.0.2.4",), DNSSEC.YES)


def test_the_exchangers_of_another_domain_in_a_route() -> None:
    answer = taken(offer(manual("* far.test/MX"), dns=Zone(ZONE)))
    assert [(host.name, host.preference) for host in answer.hosts] == [("a.test", 10), ("b.test", 20)]
    assert isinstance(offer(manual("* plain.test/MX", host_find_failed=Fallback.FAIL), dns=Zone(ZONE)), Unroutable)
    by_dns = taken(offer(manual("* plain.test bydns"), dns=Zone(ZONE)))
    assert by_dns.hosts[0].addresses == ("192.0.2.4",)


def test_hosts_of_one_preference_are_tried_in_any_order_with_ipv6_first() -> None:
    one = RouteHost("one", None, ("2001:db8::1", "192.0.2.1"), 5, 5)
    two = RouteHost("two", None, ("192.0.2.2",), 5, 5)
    last = RouteHost("last", None, ("2001:db8::3",), 7, 7)
    orders = {
        tuple(address for _, address in dialling_order((one, two, last), HostOrder.EXCHANGERS, random.Random(seed)))
        for seed in range(40)
    }
    assert orders == {
        ("2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db8::3"),
        ("2001:db8::1", "192.0.2.2", "192.0.2.1", "2001:db8::3"),
    }
