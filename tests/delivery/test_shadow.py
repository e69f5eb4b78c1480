"""The second copy of what a local transport has delivered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from delivery.local_post import addresses
from delivery.post import Notebook, Pieces, make_message, run
from relay.delivery.local import LocalRules
from relay.delivery.local_address import LocalAddress
from relay.delivery.shadow import ShadowedDelivery, shadowed
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import AddressView, Scope
from relay.mail.events import Trouble
from relay.mail.outcome import Deferred, Delivered, Outcome
from relay.mail.ports import Body, SpoolUnavailable
from relay.mail.queue import QueuedMessage

GONE = Deferred("no space left")


class Filing:
    """A transport with one outcome for each recipient."""

    batch_max = 3
    includes_affixes = True

    def __init__(self, *outcomes: Outcome | SpoolUnavailable) -> None:
        self.outcomes = outcomes
        self.taken: list[tuple[str, ...]] = []

    async def batch_key(self, address: LocalAddress) -> str | None:
        return "key"

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        self.taken.append(tuple(each.recipient.address.local_part for each in addresses))
        for each in self.outcomes:
            if isinstance(each, SpoolUnavailable):
                raise each
        return tuple(each for each in self.outcomes if not isinstance(each, SpoolUnavailable))


def outcomes(
    first: Filing, shadow: Filing | None, condition: str | None = None, journal: Notebook | None = None
) -> tuple[Outcome, ...]:
    compiled = compile_expansion(condition) if condition is not None else None
    rules = LocalRules(name="t", shadow_transport="second", shadow_condition=compiled)
    others = {} if shadow is None else {"second": shadow}
    message = make_message("bob@there.test", "ann@there.test")
    scope = Scope(address=AddressView(local_part="bob", domain="there.test"))
    there = shadowed(rules, first, others, journal or Notebook())
    return run(there.deliver(addresses(message, scope), message, Pieces(b"x\r\n")))


def test_a_transport_without_a_shadow_is_itself() -> None:
    first = Filing()
    assert shadowed(LocalRules(name="t"), first, {}, Notebook()) is first


def test_only_those_who_have_it_are_copied() -> None:
    shadow = Filing(Delivered("/copy"))
    assert outcomes(Filing(GONE, Delivered("/box")), shadow) == (GONE, Delivered("/box", shadow="second"))
    assert shadow.taken == [("ann",)]


def test_nobody_has_it() -> None:
    shadow = Filing()
    outcomes(Filing(GONE, GONE), shadow)
    assert shadow.taken == []


@pytest.mark.parametrize("trouble", [GONE, SpoolUnavailable("no space left")])
def test_a_copy_that_fails_changes_nothing(trouble: Outcome | SpoolUnavailable) -> None:
    found = outcomes(Filing(Delivered("/box"), GONE), Filing(trouble))
    assert found == (Delivered("/box", shadow="second (no space left)"), GONE)


@pytest.mark.parametrize(
    ("condition", "is_copied"),
    [("${if eq{$local_part}{bob}{yes}{no}}", True), ("${if eq{$local_part}{eve}{yes}{no}}", False), ("", False)],
)
def test_under_a_condition(condition: str, is_copied: bool) -> None:
    found = outcomes(Filing(Delivered("/box"), GONE), Filing(Delivered("/copy")), condition)
    assert found[0] == Delivered("/box", shadow="second" if is_copied else "")


@pytest.mark.parametrize(("names", "expected"), [(("bob",), ["bob"]), (("bob", "ann"), ["", ""])])
def test_the_copy_for_several_is_that_of_no_single_one(names: tuple[str, ...], expected: list[str]) -> None:
    seen: list[str] = []

    class Seeing(Filing):
        async def deliver(
            self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
        ) -> tuple[Outcome, ...]:
            seen.extend(each.scope.address.local_part for each in addresses if each.scope.address is not None)
            return await super().deliver(addresses, message, body)

    rules = LocalRules(name="t", shadow_transport="second")
    message = make_message(*(f"{each}@there.test" for each in names))
    box, copy = Delivered("/box"), Delivered("/copy")
    there = shadowed(rules, Filing(*(box for _ in names)), {"second": Seeing(*(copy for _ in names))}, Notebook())
    scope = Scope(address=AddressView(local_part="bob", domain="there.test"))
    run(there.deliver(addresses(message, scope), message, Pieces(b"x\r\n")))
    assert seen == expected


@pytest.mark.parametrize("home", ["/usr", ""])
def test_the_condition_sees_the_home_directory_of_routers(home: str) -> None:
    rules = LocalRules(name="t", shadow_transport="second", shadow_condition=compile_expansion("${if eq{$home}{/usr}}"))
    message = make_message("bob@there.test")
    there = shadowed(rules, Filing(Delivered("/box")), {"second": Filing(Delivered("/copy"))}, Notebook())
    asked = tuple(replace(each, home_directory=home) for each in addresses(message, Scope()))
    (found,) = run(there.deliver(asked, message, Pieces(b"x\r\n")))
    assert found == Delivered("/box", shadow="second" if home else "")


def test_a_condition_that_fails_is_told() -> None:
    notes = Notebook()
    found = outcomes(Filing(Delivered("/box"), GONE), Filing(Delivered("/copy")), "${if eq{a}{b}{}fail}", notes)
    assert found[0] == Delivered("/box")
    assert "shadow_condition" in notes.of(Trouble)[0].text


def test_a_shadow_that_is_not_there_is_told() -> None:
    notes = Notebook()
    assert outcomes(Filing(Delivered("/box"), GONE), None, journal=notes)[0] == Delivered("/box")
    assert [each.text for each in notes.of(Trouble)] == ['shadow transport "second" not found']


def test_it_takes_as_many_as_the_transport_itself() -> None:
    there = ShadowedDelivery(LocalRules(name="t"), Filing(), None, Notebook())
    assert (there.batch_max, there.includes_affixes) == (3, True)
    assert run(there.batch_key(addresses(make_message("bob@there.test"))[0])) == "key"
