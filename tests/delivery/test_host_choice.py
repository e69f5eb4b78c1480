"""Which hosts a message goes to: the router's, the transport's own, and those for when all else fails."""

from __future__ import annotations

import random
from typing import Any

import pytest

from delivery.post import NO_ANSWER, NO_SUCH_NAME, Names, make_message, run
from delivery.servers import EVERY, ONE, TWO, Sent, Server, lost
from relay.delivery.host_choice import Choice, candidates, look_up, to_race
from relay.delivery.smtp_rules import HostRules
from relay.esmtp.client_settings import ALabels
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.events import HostFailed
from relay.mail.outcome import Deferred, Delivered, ErrorClass, RemoteHost

NAMES = Names(
    {
        "one.test": ("192.0.2.1",),
        "two.test": ("192.0.2.2",),
        "both.test": ("2001:db8::1", "192.0.2.3", "192.0.2.4"),
        "here.test": ("192.0.2.5", "127.0.0.1"),
        "none.test": NO_SUCH_NAME,
        "away.test": NO_ANSWER,
    }
)


def choose(text: str, **options: Any) -> Choice:
    return run(look_up(text, 25, Scope(resolver=NAMES), random.Random(3), HostRules(**options)))


def flat(choice: Choice) -> list[str]:
    return [f"{each.name} {each.address} {each.port}" for one in choice.candidates for each in one.addresses]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("one.test", ["one.test 192.0.2.1 25"]),
        ("one.test : two.test", ["one.test 192.0.2.1 25", "two.test 192.0.2.2 25"]),
        ("one.test::587", ["one.test 192.0.2.1 587"]),
        ("<; one.test:587 ; [2001:db8::9]:26 ; 192.0.2.9", [
            "one.test 192.0.2.1 587", "2001:db8::9 2001:db8::9 26", "192.0.2.9 192.0.2.9 25",
        ]),
        ("<; 2001:db8::9 ; 2001:db8::587", ["2001:db8::9 2001:db8::9 25", "2001:db8::587 2001:db8::587 25"]),
        ("one.test : + : two.test", ["one.test 192.0.2.1 25", "two.test 192.0.2.2 25"]),
        ("none.test : one.test", ["one.test 192.0.2.1 25"]),
        ("", []),
    ],
)  # fmt: skip
def test_names_ports_and_addresses(text: str, expected: list[str]) -> None:
    assert flat(choose(text)) == expected


@pytest.mark.parametrize("text", ["none.test", "away.test", "here.test", "127.0.0.1", "<; one.test:x"])
def test_what_can_not_be_used_is_told(text: str) -> None:
    choice = choose(text)
    assert choice.candidates == ()
    assert choice.trouble


def test_allow_localhost() -> None:
    assert len(flat(choose("here.test", allow_localhost=True))) == 2


def test_random_within_the_groups() -> None:
    text = "<; 192.0.2.1 ; 192.0.2.2 ; 192.0.2.3 ; 192.0.2.4 ; + ; 192.0.2.11 ; 192.0.2.12 ; 192.0.2.13"
    usual, shuffled = flat(choose(text)), flat(choose(text, randomize=True))
    assert usual != shuffled
    assert sorted(usual[:4]) == sorted(shuffled[:4])
    assert sorted(usual[4:]) == sorted(shuffled[4:])


def test_addresses_of_a_host_are_one_candidate() -> None:
    other = RemoteHost("one.test", "192.0.2.8", 25)
    found = candidates((ONE, other, TWO, ONE))
    assert [(each.name, len(each.addresses)) for each in found] == [("one.test", 2), ("two.test", 1), ("one.test", 1)]


def test_the_two_families_are_raced() -> None:
    six = RemoteHost("one.test", "2001:db8::1", 25)
    assert to_race((ONE, RemoteHost("one.test", "192.0.2.8", 25), six)) == (ONE, six)
    assert to_race((ONE,)) == (ONE,)


# In a delivery


def with_hosts(**rules: Any) -> dict[str, Any]:
    rules = {name: compile_expansion(value) if isinstance(value, str) else value for name, value in rules.items()}
    return {"options": {"hosts": HostRules(**rules)}, "scope": {"resolver": NAMES}}


def test_hosts_for_addresses_that_were_routed_without() -> None:
    sent = Sent(Server(), **with_hosts(hosts="one.test"), routed=())
    assert isinstance(sent.outcome, Delivered)


@pytest.mark.parametrize("override, reached", [(False, ONE), (True, TWO)])
def test_hosts_override(override: bool, reached: RemoteHost) -> None:
    sent = Sent(Server(), Server(), **with_hosts(hosts="two.test", override=override), routed=(ONE,))
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == reached


def test_fallback_hosts() -> None:
    sent = Sent(Server(dial=lost()), Server(), **with_hosts(fallback="two.test"), routed=(ONE,))
    outcome = sent.outcome
    assert isinstance(outcome, Delivered)
    assert outcome.host == TWO
    assert sent.hosts_that_failed == [("one.test", ErrorClass.LOST_CONNECTION)]


def test_and_not_where_the_message_may_be_there_already() -> None:
    first = Server(outcomes=lost(possible_duplicate=True))
    sent = Sent(first, Server(), **with_hosts(fallback="two.test"), routed=(ONE,))
    assert isinstance(sent.outcome, Deferred)
    assert sent.servers[1].story == []


@pytest.mark.parametrize("most, tried", [(1, 1), (2, 2), (5, 3)])
def test_hosts_max_try(most: int, tried: int) -> None:
    addresses = tuple(RemoteHost("one.test", f"192.0.2.{number}", 25) for number in (1, 2, 3))
    sent = Sent(Server(dial=lost()), options={"hosts": HostRules(max_try=most)}, routed=addresses)
    assert isinstance(sent.outcome, Deferred)
    assert len(sent.dialer.dialled) == tried
    assert len(sent.journal.of(HostFailed)) == tried


def test_hosts_max_try_hardlimit() -> None:
    addresses = tuple(RemoteHost("one.test", f"192.0.2.{number}", 25) for number in (1, 2, 3))
    sent = Sent(Server(dial=lost()), options={"hosts": HostRules(max_try_hardlimit=2)}, routed=addresses)
    assert isinstance(sent.outcome, Deferred)
    assert len(sent.dialer.dialled) == 2


@pytest.mark.parametrize(
    "together, messages", [(True, [["a@x.test", "b@y.test"]]), (False, [["a@x.test"], ["b@y.test"]])]
)
def test_multi_domain(together: bool, messages: list[list[str]]) -> None:
    server = Server()
    sent = Sent(server, recipients=("a@x.test", "b@y.test"), options={"multi_domain": together})
    assert all(isinstance(each, Delivered) for each in sent.outcomes)
    said = [[str(each.address) for each in one.recipients] for link in server.links for one in link.envelopes]
    assert said == messages


@pytest.mark.parametrize("addition, size", [(1024, 1024), (0, 0), (-1, None)])
def test_size_addition(addition: int, size: int | None) -> None:
    server = Server()
    sent = Sent(server, options={"size_addition": addition})
    assert isinstance(sent.outcome, Delivered)
    (envelope,) = server.links[0].envelopes
    assert envelope.size == (0 if size is None else make_message().size + size)


def test_lmtp_ignore_quota() -> None:
    for wanted in (True, False):
        server = Server()
        sent = Sent(server, options={"lmtp": True, "lmtp_ignore_quota": wanted})
        assert isinstance(sent.outcome, Delivered)
        (envelope,) = server.links[0].envelopes
        assert (envelope.recipients[0].parameters.get("IGNOREQUOTA") is not None) is wanted


def test_manners() -> None:
    usual = Sent(Server())
    assert isinstance(usual.outcome, Delivered)
    (manners,) = usual.dialer.manners
    assert (manners.esmtp, manners.pipelining, manners.chunking, manners.keepalive) == (True, True, True, True)
    assert manners.prdr
    options = {"avoid_esmtp": EVERY, "avoid_pipelining": EVERY, "try_chunking": None, "keepalive": False}
    options["try_prdr"] = None
    odd = Sent(Server(), options=options)
    assert isinstance(odd.outcome, Delivered)
    (manners,) = odd.dialer.manners
    assert (manners.esmtp, manners.pipelining, manners.chunking, manners.keepalive) == (False, False, False, False)
    assert not manners.prdr


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1", ALabels.ALWAYS),
        ("0", ALabels.NEVER),
        ("-1", ALabels.WHERE_NEEDED),
        ("", ALabels.WHERE_NEEDED),
        ("${if eq{1}{2}{x}fail}", ALabels.WHERE_NEEDED),
    ],
)
def test_utf8_downconvert(text: str, expected: ALabels) -> None:
    sent = Sent(Server(), options={"downconvert": compile_expansion(text)})
    assert isinstance(sent.outcome, Delivered)
    assert [each.a_labels for each in sent.dialer.manners] == [expected]
