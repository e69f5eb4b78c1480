"""The addresses of a transport's own hosts: whom we ask for them, and what has to be signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import NO_ANSWER, NO_SUCH_NAME, Names, run
from delivery.servers import Sent, Server
from policy.routers.routing_world import NOT_NOW, Zone
from relay.delivery.host_lookup import HostAddresses, Insecure, find_host
from relay.delivery.smtp_rules import HostRules
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, MatchList, compile_list
from relay.expand.scope import Scope
from relay.mail.outcome import DNSSEC, Deferred, Delivered, ErrorClass
from relay.mail.ports import DNSAnswer, HostNotFound, TemporaryFailure
from relay.net.resolver import BlockingResolver, IPv4Names

ZONE = {
    "one.test A": ("192.0.2.1",),
    "both.test A": ("192.0.2.4", "192.0.2.3"),
    "both.test AAAA": ("2001:db8::1",),
    "text.test TXT": ("nothing else",),
    "half.test AAAA": NOT_NOW,
    "half.test A": ("192.0.2.5",),
    "slow.test AAAA": NOT_NOW,
    "slow.test A": NOT_NOW,
    "localhost A": ("192.0.2.66",),
}
KNOWN = {
    "one.test": ("192.0.2.11",),
    "home.test": ("192.0.2.12",),
    "slow.test": ("192.0.2.13",),
    "localhost": ("127.0.0.1",),
    "text.test": NO_SUCH_NAME,
    "gone.test": NO_SUCH_NAME,
    "away.test": NO_ANSWER,
}


def domains(text: str) -> MatchList:
    return compile_list(ListKind.DOMAIN, text)


def found(name: str, zone: Zone | None = None, names: Any = None, **rules: Any) -> HostAddresses:
    scope = Scope(resolver=names or Names(KNOWN), dns=zone or Zone(ZONE))
    return run(find_host(name, HostRules(**rules), scope))


def signed(*names: str) -> Zone:
    return Zone(ZONE, frozenset(names))


def test_ipv6_comes_first() -> None:
    assert found("both.test").literals == ("2001:db8::1", "192.0.2.3", "192.0.2.4")


def test_an_address_is_itself() -> None:
    assert found("2001:DB8::9", dnssec_require=domains("*")) == HostAddresses(("2001:db8::9",))


def test_an_address_of_ipv6_is_none_where_there_are_to_be_none() -> None:
    names = IPv4Names(BlockingResolver())
    with pytest.raises(HostNotFound):
        found("2001:db8::9", names=names)
    assert found("192.0.2.9", names=names).literals == ("192.0.2.9",)


@pytest.mark.parametrize(
    "name, secure, requested, expected",
    [
        ("one.test", "one.test", "*", HostAddresses(("192.0.2.1",), DNSSEC.YES)),
        ("one.test", "", "*", HostAddresses(("192.0.2.1",), DNSSEC.NO)),
        ("ONE.test", "", "one.test", HostAddresses(("192.0.2.1",), DNSSEC.NO)),
        ("one.test", "one.test", "two.test", HostAddresses(("192.0.2.11",))),
        ("half.test", "half.test", "*", HostAddresses(("192.0.2.5",), DNSSEC.YES)),
    ],
)
def test_signatures_are_asked_for(name: str, secure: str, requested: str, expected: HostAddresses) -> None:
    assert found(name, signed(secure), dnssec_request=domains(requested)) == expected


@pytest.mark.parametrize("name, address", [("home.test", "192.0.2.12"), ("slow.test", "192.0.2.13")])
def test_what_the_dns_does_not_say_the_system_may_know(name: str, address: str) -> None:
    assert found(name) == HostAddresses((address,))


@pytest.mark.parametrize(
    "name, error", [("gone.test", HostNotFound), ("text.test", HostNotFound), ("away.test", TemporaryFailure)]
)
def test_hosts_that_nobody_knows(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        found(name)


def test_nobody_else_is_asked_for_localhost() -> None:
    zone = Zone(ZONE)
    assert found("localhost", zone).literals == ("127.0.0.1",)
    assert zone.asked == []


def test_gethostbyname() -> None:
    zone = Zone(ZONE)
    assert found("one.test", zone, by_name=True) == HostAddresses(("192.0.2.11",))
    assert zone.asked == []


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(
    "name, error", [("one.test", Insecure), ("home.test", HostNotFound), ("slow.test", TemporaryFailure)]
)
def test_signatures_are_demanded(name: str, error: type[Exception], by_name: bool) -> None:
    names = Names(KNOWN)
    rules = {"dnssec_require": domains("*.test"), "by_name": by_name}
    with pytest.raises(error):
        found(name, None, names, **rules)
    assert names.asked == [], "what the system says is not signed"
    assert found("one.test", signed("one.test"), names, **rules) == HostAddresses(("192.0.2.1",), DNSSEC.YES)
    assert found("home.test", None, names, **{**rules, "dnssec_require": domains("one.test")}).literals


class HalfSigned(Zone):
    """The A records are signed, the AAAA records are not."""

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        return replace(await Zone.query(self, name, kind, qualify=qualify, parents=parents), is_secure=kind == "A")


def test_of_two_kinds_of_address_only_what_is_signed() -> None:
    zone = HalfSigned(ZONE)
    assert found("both.test", zone, dnssec_require=domains("*")) == HostAddresses(
        ("192.0.2.3", "192.0.2.4"), DNSSEC.YES
    )
    assert found("both.test", zone).dnssec is DNSSEC.NO


class Completing(Zone):
    """Notes how names are to be completed."""

    async def query(self, name: str, kind: str, *, qualify: bool = False, parents: bool = False) -> DNSAnswer:
        self.asked.append(f"{qualify} {parents}")
        return DNSAnswer(("192.0.2.1",), name)


@pytest.mark.parametrize(
    "rules, asked", [({}, "True False"), ({"qualify_single": False, "search_parents": True}, "False True")]
)
def test_names_that_are_not_whole(rules: dict[str, bool], asked: str) -> None:
    zone = Completing({})
    found("one", zone, **rules)
    assert set(zone.asked) == {asked}


# In a delivery


def sent(*secure: str, **rules: Any) -> Sent:
    hosts = HostRules(hosts=compile_expansion("one.test"), **rules)
    helo = compile_expansion("${if eq{$lookup_dnssec_authenticated}{}{unknown}{$lookup_dnssec_authenticated}}.test")
    scope = {"resolver": Names(KNOWN), "dns": signed(*secure)}
    return Sent(Server(), helo_data=helo, options={"hosts": hosts}, scope=scope, routed=())


def test_mail_waits_where_a_host_is_not_signed_and_has_to_be() -> None:
    outcome = sent(dnssec_require=domains("*")).outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.error) == ("lookup of IP address for one.test was insecure", ErrorClass.LOOKUP)


@pytest.mark.parametrize(
    "secure, rules, name",
    [
        (("one.test",), {}, "yes.test"),
        ((), {}, "no.test"),
        (("one.test",), {"by_name": True}, "unknown.test"),
        (("one.test",), {"dnssec_request": None, "dnssec_require": domains("*")}, "yes.test"),
    ],
)
def test_what_expansions_see(secure: tuple[str, ...], rules: dict[str, Any], name: str) -> None:
    delivery = sent(*secure, **rules)
    outcome = delivery.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host is not None
    assert outcome.host.dnssec.value == name.removesuffix(".test").replace("unknown", "")
    assert delivery.dialer.helo_names == [name]
