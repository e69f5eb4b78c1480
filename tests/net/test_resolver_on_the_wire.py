"""Routing by the DNS over a real name server: what each of its answers and faults comes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import dns.resolver
import pytest

from net.name_server import name_server
from net.test_resolver import Threads, answer
from policy.routers.routing_world import TRANSPORTS, lookup
from relay.delivery.host_choice import look_up
from relay.delivery.smtp_rules import HostRules
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.outcome import DNSSEC, ErrorClass
from relay.mail.ports import HostNotFound, NoRecords, TemporaryFailure
from relay.net import resolver
from relay.net.resolver import SystemResolver, lookup_dns, lookup_names
from relay.policy.routers.answers import Route, Routed, RouteDeferred, Unroutable
from relay.policy.routers.items import top_item
from relay.policy.routers.ports import RoutingPorts
from relay.policy.routing import route

ZONE = {
    "far.test MX": ("20 b.far.test.", "10 a.far.test."),
    "a.far.test A": ("192.0.2.1",),
    "a.far.test AAAA": ("2001:db8::1",),
    "b.far.test A": ("192.0.2.2",),
    "plain.test A": ("192.0.2.3",),
    "null.test MX": ("0 .",),
    "alias.test CNAME": ("far.test.",),
    "broken.test MX": ("SERVFAIL",),
    "closed.test MX": ("REFUSED",),
    "slow.test MX": ("SILENCE",),
    "large.test MX": ("TRUNCATED", *(f"10 mx{number}.large.test." for number in range(40))),
    **{f"mx{number}.large.test A": (f"192.0.2.{number}",) for number in range(40)},
    "signed.test MX": ("SECURE", "10 a.far.test."),
    "signed.test A": ("SECURE", "192.0.2.5"),
    "empty.test TXT": ("nothing else",),
    "1.2.0.192.in-addr.arpa PTR": ("a.far.test.",),
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with name_server(ZONE) as found:
        yield found


@pytest.fixture(autouse=True)
def only_this_server(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's configuration names this server, and nobody waits long for it."""
    make = dns.resolver.Resolver

    def configured(*_: Any, **__: Any) -> dns.resolver.Resolver:
        made = make(configure=False)
        made.nameservers, made.port, made.timeout = ["127.0.0.1"], port, 0.2
        return made

    monkeypatch.setattr(dns.resolver, "Resolver", configured)
    monkeypatch.setattr(dns.resolver, "default_resolver", configured())
    monkeypatch.setattr(resolver, "DNS_LIFETIME", 0.5)
    monkeypatch.setattr(resolver, "has_network", lambda: True)


def routed(domain: str) -> Route:
    names = SystemResolver(Threads())
    ports = RoutingPorts(resolver=names, transports=TRANSPORTS, dns=names)
    return answer(route(top_item(address_from_text(f"bert@{domain}")), (lookup(),), Scope(resolver=names), ports))


def deferred(domain: str) -> RouteDeferred:
    found = routed(domain)
    assert isinstance(found, RouteDeferred), found
    return found


@pytest.mark.parametrize(
    "domain, hosts",
    [
        ("far.test", [("a.far.test", ("2001:db8::1", "192.0.2.1"), 10), ("b.far.test", ("192.0.2.2",), 20)]),
        ("FAR.test", [("a.far.test", ("2001:db8::1", "192.0.2.1"), 10), ("b.far.test", ("192.0.2.2",), 20)]),
        ("plain.test", [("plain.test", ("192.0.2.3",), None)]),
        ("alias.test", [("a.far.test", ("2001:db8::1", "192.0.2.1"), 10), ("b.far.test", ("192.0.2.2",), 20)]),
    ],
)
def test_where_mail_goes(domain: str, hosts: list[tuple[str, tuple[str, ...], int | None]]) -> None:
    found = routed(domain)
    assert isinstance(found, Routed), found
    assert [(each.name, each.addresses, each.preference) for each in found.hosts] == hosts


@pytest.mark.parametrize("domain", ["null.test", "missing.test", "empty.test"])
def test_where_no_mail_goes(domain: str) -> None:
    assert isinstance(routed(domain), Unroutable)


@pytest.mark.parametrize("domain", ["broken.test", "closed.test", "slow.test"])
def test_what_is_not_known_now_waits(domain: str) -> None:
    assert deferred(domain).error is not ErrorClass.NO_NETWORK


def test_a_silent_server_without_a_network_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "has_network", lambda: False)
    assert deferred("slow.test").error is ErrorClass.NO_NETWORK


def test_an_answer_that_is_too_large_for_a_datagram() -> None:
    found = routed("large.test")
    assert isinstance(found, Routed)
    assert len(found.hosts) == 40


@pytest.mark.parametrize("name, is_secure", [("signed.test", True), ("far.test", False)])
def test_what_the_name_server_has_validated(name: str, is_secure: bool) -> None:
    assert lookup_dns(name, "MX").is_secure is is_secure


@pytest.mark.parametrize(
    "required, found",
    [
        ("none.test", [("192.0.2.5", DNSSEC.YES), ("192.0.2.3", DNSSEC.NO)]),
        ("*", [("192.0.2.5", DNSSEC.YES)]),
    ],
)
def test_hosts_of_a_transport_that_have_to_be_signed(required: str, found: list[tuple[str, DNSSEC]]) -> None:
    names = SystemResolver(Threads())
    rules = HostRules(dnssec_require=compile_list(ListKind.DOMAIN, required))
    scope = Scope(resolver=names, dns=names)
    choice = answer(look_up("signed.test : plain.test", 25, scope, random.Random(1), rules))
    assert [(each.addresses[0].address, each.addresses[0].dnssec) for each in choice.candidates] == found
    assert choice.trouble == ("" if len(found) == 2 else "lookup of IP address for plain.test was insecure")


@pytest.mark.parametrize(
    "ask, error",
    [
        (lambda: lookup_dns("missing.test", "MX"), HostNotFound),
        (lambda: lookup_dns("empty.test", "MX"), NoRecords),
        (lambda: lookup_dns("broken.test", "MX"), TemporaryFailure),
        (lambda: lookup_names("192.0.2.99"), HostNotFound),
    ],
)
def test_faults_by_name(ask: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask()


def test_the_name_of_an_address() -> None:
    assert lookup_names("192.0.2.1") == ("a.far.test",)
