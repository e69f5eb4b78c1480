"""Addresses verified by routing them."""

from __future__ import annotations

from policy.acl_world import DNS, answer
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, compile_list
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.source import Location
from relay.policy.address_verification import RoutedAddresses
from relay.policy.routers.ports import LOCAL, RoutingPorts
from relay.policy.routers.settings import Accept, Preconditions, Redirect
from relay.policy.verification import Finding, Role, Verified

HERE = Accept(
    name="here",
    location=Location("conf", 1),
    transport=compile_expansion("box"),
    preconditions=Preconditions(domains=compile_list(ListKind.DOMAIN, "here.test")),
    address_data=compile_expansion("for $local_part"),
)
BROKEN = Accept(name="broken", location=Location("conf", 2), transport=compile_expansion("${expand:\\${bad}}"))


def verify(address: Address, *routers: Accept) -> Verified:
    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL})
    return answer(RoutedAddresses(routers, ports).verify(address, Role.RECIPIENT, Scope()))


def test_what_can_be_routed_is_good() -> None:
    assert verify(Address("anna", "here.test"), HERE) == Verified(Finding.GOOD, address_data="for anna")


def test_what_no_router_takes_is_bad() -> None:
    assert verify(Address("anna", "far.test"), HERE) == Verified(Finding.BAD, "Unrouteable address")


def test_a_router_that_can_not_answer_leaves_it_open() -> None:
    assert verify(Address("anna", "far.test"), BROKEN).finding is Finding.UNKNOWN


def test_a_list_is_shown_by_one_step() -> None:
    members = Redirect(
        name="members",
        location=Location("conf", 3),
        data=compile_expansion("bob@far.test, |/bin/cat"),
        pipe_transport=compile_expansion("box"),
    )
    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL})
    found = answer(RoutedAddresses((members,), ports).verify(Address("all", "here.test"), Role.LIST, Scope()))
    assert (found.finding, found.members) == (Finding.GOOD, ("bob@far.test", "|/bin/cat"))


def test_an_address_without_a_domain_is_bad() -> None:
    found = verify(Address("anna"), HERE)
    assert (found.finding, found.reason) == (Finding.BAD, 'A domain is required for "anna"')
