"""An address before any router sees it: % in a local part, and domains whose mail has to wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from delivery.post import run
from policy.routers.routing_world import Offering, accept
from relay.expand.lists import ListKind, compile_list
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.outcome import ErrorClass
from relay.policy.routers.answers import Redirected, Route, Routed, RouteDeferred
from relay.policy.routers.before import without_percent
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import Purpose
from relay.policy.routing import route


def offered(to: str, purpose: Purpose = Purpose.DELIVER, **lists: str) -> Route:
    offering = Offering()
    named: Any = {option: compile_list(ListKind.DOMAIN, text) for option, text in lists.items()}
    ports = replace(offering.ports(), **named)
    return run(route(top_item(address_from_text(to)), (accept(),), offering.scope(), ports, purpose))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Anna%hub.test@gate.test", "Anna@hub.test"),
        ("anna%far.test%gate.test@Gate.test", "anna@far.test"),
        ("anna%far.test%hub.test@gate.test", "anna%far.test@hub.test"),
    ],
)
def test_a_percent_sign_leads_elsewhere(given: str, meant: str) -> None:
    found = offered(given, percent_hack_domains="gate.test")
    assert isinstance(found, Redirected)
    (child,) = found.children
    assert isinstance(child, AddressItem)
    assert (str(child.address), str(child.top.address)) == (meant, given)


@pytest.mark.parametrize("to", ["a%hub.test@far.test", "a%@gate.test", "%hub.test@gate.test", '"a%b c"@gate.test'])
def test_a_percent_sign_stays_in_other_domains_and_where_no_domain_is_behind_it(to: str) -> None:
    assert isinstance(offered(to, percent_hack_domains="gate.test"), Routed)


def test_mail_for_a_held_domain_waits_and_can_be_verified_all_the_same() -> None:
    held = RouteDeferred("domain is held", error=ErrorClass.HELD)
    assert offered("anna@far.test", hold_domains="far.test") == held
    assert isinstance(offered("anna@hub.test", hold_domains="far.test"), Routed)
    assert isinstance(offered("anna@far.test", Purpose.VERIFY_RECIPIENT, hold_domains="far.test"), Routed)


def test_a_list_that_cant_be_looked_at_holds_the_mail() -> None:
    broken = "${lookup{x}lsearch{/box/none}}"
    assert offered("a%b@far.test", percent_hack_domains=broken) == RouteDeferred(
        "cannot check percent_hack_domains", error=ErrorClass.LOOKUP
    )
    assert offered("a@far.test", hold_domains=broken) == RouteDeferred(
        "hold_domains lookup deferred", error=ErrorClass.HELD
    )


def test_who_watches_is_told_of_the_list_also_where_nothing_is_to_be_changed() -> None:
    lines: list[str] = []
    domains = compile_list(ListKind.DOMAIN, "gate.test")
    scope = Scope(notes=Notes(lines.append))
    for text in ("anna@gate.test", "anna@far.test"):
        assert str(run(without_percent(address_from_text(text), scope, domains))) == text
    assert [line for line in lines if line.endswith("?")] == [
        '>>> gate.test in "gate.test"?',
        '>>> far.test in "gate.test"?',
    ]
