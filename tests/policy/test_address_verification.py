"""Addresses verified by routing them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from policy.acl_world import DNS, answer
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, NamedList, NamedLists, compile_list
from relay.expand.notes import Notes
from relay.expand.scope import MessageView, Scope
from relay.mail.address import NULL_SENDER, Address, address_from_text
from relay.mail.source import Location
from relay.policy.address_verification import RoutedAddresses
from relay.policy.routers.ports import LOCAL, RoutingPorts
from relay.policy.routers.settings import Accept, Preconditions, Redirect
from relay.policy.verification import CalloutOptions, Finding, Question, Role, Verified, VerifyOptions

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
    assert verify(Address("anna", "far.test"), HERE) == Verified(
        Finding.BAD, "Unrouteable address", user_message="Unrouteable address", failure="route"
    )


def test_a_router_that_can_not_answer_leaves_it_open() -> None:
    assert verify(Address("anna", "far.test"), BROKEN).finding is Finding.UNKNOWN


def test_who_only_gets_a_copy_does_not_make_an_address_good() -> None:
    archive = Accept(name="archive", location=Location("conf", 3), transport=compile_expansion("box"), unseen=True)
    assert verify(Address("anna", "far.test"), archive, HERE).finding is Finding.BAD
    assert verify(Address("anna", "here.test"), archive, HERE).address_data == "for anna"


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


@pytest.mark.parametrize(
    ("role", "address", "found"),
    [
        (Role.RECIPIENT, "old@gone.test", Finding.GOOD),
        (Role.SENDER, "old@gone.test", Finding.BAD),
        (Role.SENDER, "old@away.test", Finding.GOOD),
        (Role.SENDER, "nobody@away.test", Finding.GOOD),
    ],
)
def test_an_address_is_verified_as_it_will_be_rewritten(role: Role, address: str, found: Finding) -> None:
    async def recipients(given: Address, scope: Scope) -> Address:
        return Address(given.local_part, "here.test") if given.domain == "gone.test" else given

    async def senders(given: Address, scope: Scope) -> Address:
        if given.domain != "away.test":
            return given
        return NULL_SENDER if given.local_part == "nobody" else Address(given.local_part, "here.test")

    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL}, rewrite=recipients, rewrite_sender=senders)
    verified = answer(RoutedAddresses((HERE,), ports).verify(address_from_text(address), role, Scope()))
    assert verified.finding is found
    is_changed = verified.finding is Finding.GOOD and "nobody" not in address
    if is_changed:
        assert verified.rewritten == address_from_text("old@here.test")
    else:
        assert verified.rewritten in (None, NULL_SENDER)


def test_what_an_address_was_rewritten_to_is_told() -> None:
    async def senders(given: Address, scope: Scope) -> Address:
        return Address(given.local_part, "here.test")

    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL}, rewrite=senders, rewrite_sender=senders)
    routed = RoutedAddresses((HERE,), ports)
    found = [
        answer(routed.verify(address_from_text(f"a@{domain}"), role, Scope())).rewritten
        for role, domain in ((Role.SENDER, "x.test"), (Role.SENDER, "here.test"), (Role.RECIPIENT, "x.test"))
    ]
    assert found == [address_from_text("a@here.test"), None, address_from_text("a@here.test")]


# Callouts

ALIAS = Redirect(
    name="alias",
    location=Location("conf", 3),
    preconditions=Preconditions(domains=compile_list(ListKind.DOMAIN, "alias.test")),
    data=compile_expansion("$local_part@here.test"),
)


@dataclass
class Asked:
    """The `Callouts` port."""

    questions: list[Question] = field(default_factory=list)
    senders: list[Address | None] = field(default_factory=list)

    async def ask(self, question: Question, scope: Scope) -> Verified:
        self.questions.append(question)
        self.senders.append(scope.message.sender if scope.message else None)
        return Verified(Finding.BAD, "no", is_from_callout=True)


def called(address: Address, options: VerifyOptions, role: Role = Role.RECIPIENT) -> tuple[Verified, Asked]:
    asked = Asked()
    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL})
    scope = Scope(message=MessageView(sender=Address("anna", "laptop.test")))
    found = RoutedAddresses((ALIAS, HERE), ports, asked).verify(address, role, scope, options)
    return answer(found), asked


CALLOUT = VerifyOptions(callout=CalloutOptions())


def test_what_can_be_routed_is_asked_about() -> None:
    found, asked = called(Address("anna", "alias.test"), CALLOUT)
    assert found == Verified(Finding.BAD, "no", is_from_callout=True, address_data="for anna")
    (question,) = asked.questions
    assert str(question.address) == "anna@here.test", "it is as good as the one that it stands for"
    assert (question.role, question.routed.router) == (Role.RECIPIENT, "here")


def test_who_asks_about_a_sender_is_the_messages_sender_all_the_same() -> None:
    _, asked = called(Address("anna", "here.test"), CALLOUT, Role.SENDER)
    assert asked.senders == [Address("anna", "laptop.test")]


def test_nobody_is_asked_unasked() -> None:
    assert called(Address("anna", "here.test"), VerifyOptions())[1].questions == []
    assert called(Address("anna", "far.test"), CALLOUT)[1].questions == [], "what can't be routed has nobody to ask"


def test_success_on_redirect() -> None:
    options = VerifyOptions(success_on_redirect=True, callout=CalloutOptions())
    found, asked = called(Address("anna", "alias.test"), options)
    assert (found.finding, asked.questions) == (Finding.GOOD, [])


def test_lists_are_asked_anew_about_each_address() -> None:
    lines: list[str] = []
    named = NamedLists.of(NamedList(ListKind.DOMAIN, "ours", "here.test"))
    inside = Preconditions(domains=compile_list(ListKind.DOMAIN, "+ours", named))
    text = compile_expansion("${if eq{$local_part}{bob}{anna}}")
    alias = Redirect(name="alias", location=Location("conf", 1), data=text, preconditions=inside)
    ports = RoutingPorts(resolver=DNS(), transports={"box": LOCAL}, qualify_recipient="here.test")
    scope = Scope(named_lists=named, notes=Notes(lines.append))
    addresses = RoutedAddresses([alias, replace(HERE, preconditions=inside)], ports)
    assert answer(addresses.verify(Address("bob", "here.test"), Role.RECIPIENT, scope)).finding is Finding.GOOD
    routed = "\n".join(lines).split("routing ")
    assert [each.partition("@")[0] for each in routed[1:]] == ["bob", "anna"]
    assert all("end sublist" in each for each in routed[1:])
