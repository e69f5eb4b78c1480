"""Lists in the DNS: how an item is read, which answers count, what is asked and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.acl_world import DNS, World
from relay.expand.notes import Notes
from relay.mail.facts import Endpoint, SessionFacts
from relay.policy.acl_values import Accepted, Deferred, Where
from relay.policy.dnslists import ListItem, answers_match, read_item, turned_round

ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
LISTED = {("7.2.0.192.bl.test", "A"): ("127.0.0.2",), ("7.2.0.192.bl.test", "TXT"): ("you are listed",)}


def world(told: dict[tuple[str, str], tuple[str, ...] | None]) -> World:
    return World(dns=DNS(told))


# Reading


@pytest.mark.parametrize(
    "text, item",
    [
        ("bl.test", ListItem("bl.test", "bl.test")),
        ("bl.test=127.0.0.2,127.0.0.3", ListItem("bl.test", "bl.test", ("127.0.0.2", "127.0.0.3"))),
        ("bl.test!=127.0.0.2", ListItem("bl.test", "bl.test", ("127.0.0.2",), is_negated=True)),
        ("bl.test==127.0.0.2", ListItem("bl.test", "bl.test", ("127.0.0.2",), for_all=True)),
        ("bl.test!==127.0.0.2", ListItem("bl.test", "bl.test", ("127.0.0.2",), is_negated=True, for_all=True)),
        ("bl.test&0.0.0.6", ListItem("bl.test", "bl.test", ("0.0.0.6",), as_bits=True)),
        ("bl.test!&0.0.0.6", ListItem("bl.test", "bl.test", ("0.0.0.6",), as_bits=True, is_negated=True)),
        ("bl.test=&0.0.0.6", ListItem("bl.test", "bl.test", ("0.0.0.6",), as_bits=True, for_all=True)),
        ("text.test,bl.test=127.0.0.2", ListItem("bl.test", "text.test", ("127.0.0.2",))),
        ("bl.test/a.test:b.test", ListItem("bl.test", "bl.test", keys=("a.test", "b.test"))),
        ("bl.test=127.0.0.2/<;a;2001:db8::1", ListItem("bl.test", "bl.test", (TWO,), keys=("a", "2001:db8::1"))),
        ("bl.test/", ListItem("bl.test", "bl.test", keys=())),
    ],
)
def test_items(text: str, item: ListItem) -> None:
    assert read_item(text) == item


@given(st.text(alphabet="ab.=&!,/:127 0", max_size=20))
def test_any_item_can_be_read(text: str) -> None:
    assert isinstance(read_item(text), ListItem)


@pytest.mark.parametrize(
    "address, expected",
    [
        ("192.0.2.7", "7.2.0.192"),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"),
    ],
)
def test_addresses_are_turned_round(address: str, expected: str) -> None:
    assert turned_round(address) == expected


# Which answers count


@pytest.mark.parametrize(
    "wanted, answers, expected",
    [
        ("", (ONE,), True),
        (f"={ONE}", (ONE,), True),
        (f"={ONE}", (TWO,), False),
        (f"={ONE},{TWO}", (THREE, TWO), True),
        (f"!={ONE}", (ONE, TWO), False),
        (f"!={ONE}", (TWO, THREE), True),
        (f"=={ONE},{TWO}", (ONE, TWO), True),
        (f"=={ONE}", (ONE, TWO), False),
        (f"!=={ONE}", (ONE, TWO), True),
        (f"!=={ONE}", (ONE,), False),
        ("&0.0.0.2", (THREE,), True),
        ("&0.0.0.2", (ONE,), False),
        ("&0.0.0.3", (TWO,), False),
        ("&0.0.0.2,0.0.0.1", (ONE,), True),
        ("!&0.0.0.2", (ONE,), True),
        ("=&0.0.0.1", (ONE, THREE), True),
        ("=&0.0.0.1", (ONE, TWO), False),
        ("!=&0.0.0.1", (ONE, TWO), True),
        ("&0.0.0.2", ("10.0.0.2",), False),
        ("&0.0.0.0", ("10.0.0.2",), True),
        ("&nonsense", (TWO,), False),
        ("=10.0.0.2", ("10.0.0.2",), True),
    ],
)
def test_which_answers_count(wanted: str, answers: tuple[str, ...], expected: bool) -> None:
    assert answers_match(read_item(f"bl.test{wanted}"), answers) is expected


# Asking


def test_a_listed_client_and_the_variables() -> None:
    ours = world(LISTED)
    assert ours.holds("dnslists = other.test : bl.test")
    shown = ours.shown("$dnslist_domain|$dnslist_matched|$dnslist_value|$dnslist_text")
    assert shown == "bl.test|192.0.2.7|127.0.0.2|you are listed"
    assert ours.dns.asked == [
        ("7.2.0.192.other.test", "A"),
        ("7.2.0.192.bl.test", "A"),
        ("7.2.0.192.bl.test", "TXT"),
    ]


def test_a_client_that_is_not_listed() -> None:
    assert not world({}).holds("dnslists = bl.test")


def test_each_question_is_asked_once_in_a_connection() -> None:
    ours = world(LISTED)
    for _ in range(3):
        assert ours.holds("dnslists = bl.test=127.0.0.2")
        assert not ours.holds("dnslists = bl.test=127.0.0.9")
        ours.memory.begin_message()
    assert len(ours.dns.asked) == 2


def test_the_text_of_a_refusal() -> None:
    verdict = world(LISTED).ask("deny dnslists = bl.test\nmessage = $dnslist_text ($dnslist_domain)\naccept")
    assert not isinstance(verdict, Accepted)
    assert verdict.reply.text == "you are listed (bl.test)"  # type: ignore[union-attr]


def test_keys_instead_of_the_client() -> None:
    ours = world({("b.test.bl.test", "A"): ("127.0.0.2",), ("1.2.0.192.bl.test", "A"): ("127.0.0.3",)})
    assert not ours.holds("dnslists = bl.test/a.test")
    assert ours.holds("dnslists = <| bl.test/a.test:b.test")
    assert ours.shown("$dnslist_matched") == "b.test"
    assert ours.holds("dnslists = bl.test/192.0.2.1")
    assert ours.shown("$dnslist_value") == "127.0.0.3"
    assert not ours.holds("dnslists = bl.test/")


def test_an_empty_key_list_is_asked_of_nobody() -> None:
    ours = world(LISTED)
    assert not ours.holds("dnslists = bl.test/$acl_m_nothing")
    assert ours.dns.asked == []


def test_another_list_for_the_text() -> None:
    ours = world(
        {
            ("7.2.0.192.all.test", "A"): ("127.0.0.4",),
            ("7.2.0.192.http.test", "A"): ("127.0.0.1",),
            ("7.2.0.192.http.test", "TXT"): ("an open proxy",),
        }
    )
    assert ours.holds("dnslists = http.test,all.test=127.0.0.4")
    assert ours.shown("$dnslist_domain $dnslist_value $dnslist_text") == "http.test 127.0.0.1 an open proxy"


def test_who_is_not_in_the_list_for_the_text_is_not_listed() -> None:
    ours = world({("7.2.0.192.all.test", "A"): ("127.0.0.4",)})
    assert not ours.holds("dnslists = http.test,all.test=127.0.0.4")


def test_an_answer_outside_of_the_loopback_is_none() -> None:
    ours = world({("7.2.0.192.bl.test", "A"): ("203.0.113.1",)})
    assert not ours.holds("dnslists = bl.test")
    assert ours.journal.written == [
        "DNS list lookup for 192.0.2.7 at bl.test returned 203.0.113.1; not in 127.0/8 and discarded"
    ]


# No answer

AWAY = {("7.2.0.192.bl.test", "A"): None}


def test_without_an_answer_nobody_is_listed() -> None:
    ours = world(dict(AWAY))
    assert not ours.holds("dnslists = bl.test")
    assert ours.journal.written == [
        "DNS list lookup defer (probably timeout) for 7.2.0.192.bl.test: assumed not in list"
    ]


def test_without_an_answer_everybody_is_listed() -> None:
    assert world(dict(AWAY)).holds("dnslists = +include_unknown : bl.test")


def test_without_an_answer_nothing_is_decided() -> None:
    assert isinstance(world(dict(AWAY)).ask("deny dnslists = +defer_unknown : bl.test\naccept"), Deferred)


def test_a_key_without_an_answer_does_not_hide_one_that_is_listed() -> None:
    ours = world({("a.bl.test", "A"): None, ("b.bl.test", "A"): ("127.0.0.2",)})
    assert ours.holds("dnslists = <| +defer_unknown | bl.test/a:b")
    assert isinstance(ours.ask("deny dnslists = <| +defer_unknown | bl.test/a:c\naccept"), Deferred)


def test_a_text_that_can_not_be_had_is_empty() -> None:
    ours = world({("7.2.0.192.bl.test", "A"): ("127.0.0.2",), ("7.2.0.192.bl.test", "TXT"): None})
    assert ours.holds("dnslists = bl.test")
    assert ours.shown("<$dnslist_text>") == "<>"


# Oddities


def test_what_is_no_list_is_told_and_passed_over() -> None:
    ours = world({})
    assert not ours.holds("dnslists = +maybe : b_l.te$acl_m_x st")
    assert ours.journal.written == [
        "unknown item in dnslist (ignored): +maybe",
        'dnslists domain "b_l.te st" contains strange characters - is this right?',
    ]


def test_a_name_that_is_too_long_is_not_asked() -> None:
    ours = world({})
    assert not ours.holds(f"dnslists = bl.test/{'a' * 250}")
    assert ours.dns.asked == []


def test_a_local_caller_has_no_address() -> None:
    ours = world({("a.bl.test", "A"): ("127.0.0.2",)}).local()
    assert isinstance(ours.ask("deny dnslists = bl.test\naccept", Where.NOT_SMTP), Deferred)
    assert ours.holds("dnslists = bl.test/a", Where.NOT_SMTP)


def test_an_ipv6_client() -> None:
    name = turned_round("2001:db8::1") + ".bl.test"
    ours = world({(name, "A"): ("127.0.0.2",)})
    ours.facts = SessionFacts(Endpoint("2001:db8::1", 40000))
    assert ours.holds("dnslists = bl.test")


def test_what_is_remembered_is_bounded() -> None:
    ours = world({})
    for number in range(1500):
        ours.variables["acl_m_key"] = str(number)
        ours.holds("dnslists = bl.test/$acl_m_key")
    assert len(ours.memory.listings) <= 1000


# Told, and asked again


def test_an_answer_is_asked_for_again_when_its_time_is_over() -> None:
    asking = world(LISTED)
    for seconds in (0, 599, 1):
        asking.now += seconds
        assert asking.holds("dnslists = bl.test")
    assert asking.dns.asked.count(("7.2.0.192.bl.test", "A")) == 2


@pytest.mark.parametrize(
    "item, why",
    [
        ("bl.test=127.0.0.3", "was no match for =127.0.0.3"),
        ("bl.test!=127.0.0.2", "was an exclude match for =127.0.0.2"),
        ("bl.test=&0.0.0.4", "was an IP address that did not match for =&0.0.0.4"),
        ("bl.test!==127.0.0.2", "were no IP addresses that did not match for ==127.0.0.2"),
    ],
)
def test_who_watches_is_told_why_an_answer_does_not_count(item: str, why: str) -> None:
    lines: list[str] = []
    asking = world(LISTED)
    asking.notes = Notes(lines.append)
    asking.holds(f"dnslists = {item}")
    start = lines.index(f">>> dnslists check: {item}") + 1
    assert lines[start : start + 5] == [
        ">>> new DNS lookup for 7.2.0.192.bl.test",
        ">>> dnslists: wrote cache entry, ttl=600",
        ">>> DNS lookup for 7.2.0.192.bl.test succeeded (yielding 127.0.0.2)",
        ">>> => but we are not accepting this block class because",
        f">>> => there {why}",
    ]


def test_who_watches_is_told_what_is_listed_and_what_is_known() -> None:
    lines: list[str] = []
    asking = world(LISTED)
    asking.notes = Notes(lines.append)
    asking.holds("dnslists = other.test : bl.test")
    assert ">>> DNS lookup for 7.2.0.192.other.test failed" in lines
    assert ">>> => that means 192.0.2.7 is not listed at other.test" in lines
    assert ">>> => that means 192.0.2.7 is listed at bl.test" in lines
    lines.clear()
    asking.holds("dnslists = bl.test")
    assert ">>> dnslists: using result of previous lookup" in lines
    asking.now += 10000
    asking.holds("dnslists = bl.test")
    assert ">>> cached data found but past valid time; new DNS lookup for 7.2.0.192.bl.test" in lines
