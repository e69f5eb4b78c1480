"""The lists of main options as -bh tells them: which, when, and how often."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from relay.config.read import read_configuration
from relay.daemon.session_rules import session_rules
from relay.daemon.told_options import ToldOptions
from relay.expand.notes import Notes
from relay.expand.scope import Scope
from relay.mail.facts import Endpoint, Hello, SessionFacts
from relay.mail.ports import TemporaryFailure

GREETED = Scope(session=SessionFacts(peer=Endpoint("192.0.2.7", 40000), hello=Hello("laptop.test", True)))
CLIENT = Scope(session=SessionFacts(peer=Endpoint("192.0.2.7", 40000)), main={"primary_hostname": "here.test"})


def told_by(configuration: str) -> tuple[ToldOptions, list[str]]:
    read = read_configuration("/etc/conf", lambda _: f"{configuration}\n", host_name="here.test")
    lines: list[str] = []
    return ToldOptions(session_rules(read, Scope(), 0.0), Notes(lines.append)), lines


def now(question: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(StopIteration):
        question.send(None)


def test_a_connection_is_held_against_the_lists_in_exims_order() -> None:
    options, lines = told_by("helo_verify_hosts = 192.0.2.0/24")
    now(options.connected(CLIENT))
    assert lines == [
        ">>> host in hosts_connection_nolog? no (option unset)",
        ">>> host in host_lookup? no (option unset)",
        ">>> host in host_reject_connection? no (option unset)",
        ">>> host in sender_unqualified_hosts? no (option unset)",
        ">>> host in recipient_unqualified_hosts? no (option unset)",
        ">>> host in helo_verify_hosts?",
        ">>>  list element: 192.0.2.0/24",
        '>>>  host in helo_verify_hosts? yes (matched "192.0.2.0/24")',
        ">>> host in helo_try_verify_hosts? no (option unset)",
        ">>> host in helo_accept_junk_hosts? no (option unset)",
    ]


def test_who_is_turned_away_is_asked_no_more() -> None:
    options, lines = told_by("host_reject_connection = *")
    now(options.connected(CLIENT))
    assert lines[-1] == '>>>  host in host_reject_connection? yes (matched "*")'


def test_the_name_that_a_client_gives_is_told() -> None:
    options, lines = told_by("")
    now(options.greeted("laptop.test", CLIENT))
    assert lines == [
        ">>> laptop.test in helo_lookup_domains?",
        ">>>  list element: @",
        ">>>  list element: @[]",
        ">>> laptop.test in helo_lookup_domains? no (end of list)",
    ]


def test_what_is_offered_is_told() -> None:
    options, lines = told_by("chunking_advertise_hosts =")
    now(options.offered(CLIENT))
    assert lines[0] == ">>> host in dsn_advertise_hosts? no (option unset)"
    assert '>>>  host in pipelining_advertise_hosts? yes (matched "*")' in lines
    assert ">>> host in chunking_advertise_hosts? no (end of list)" in lines


def test_commands_that_carry_no_mail_are_counted_from_the_second_one_of_a_message() -> None:
    options, lines = told_by("")
    for verb in ("EHLO", "MAIL", "RSET"):
        now(options.commanded(verb, GREETED))
    assert lines == []
    now(options.commanded("RSET", CLIENT))
    once = [
        ">>> host in smtp_accept_max_nonmail_hosts?",
        ">>>  list element: *",
        '>>>  host in smtp_accept_max_nonmail_hosts? yes (matched "*")',
    ]
    assert lines == once
    now(options.commanded("NOOP", CLIENT))
    assert lines == once


def test_each_message_has_a_reset_of_its_own() -> None:
    options, lines = told_by("")
    now(options.commanded("RSET", CLIENT))
    options.next_message()
    now(options.commanded("RSET", CLIENT))
    assert lines == []


@pytest.mark.parametrize(("value", "is_told"), [("", False), ("*", True), ("192.0.2.1", True)])
def test_an_empty_list_for_smtputf8_is_not_asked(value: str, is_told: bool) -> None:
    options, lines = told_by(f"smtputf8_advertise_hosts = {value}")
    now(options.offered(CLIENT))
    assert (">>> host in smtputf8_advertise_hosts?" in lines) is is_told


def test_names_are_looked_up_behind_the_list_that_wants_it() -> None:
    options, lines = told_by("host_lookup = *")

    async def names() -> tuple[str, ...]:
        lines.append("names")
        raise TemporaryFailure("the DNS is away")

    now(options.connected(CLIENT.child(client_names=names)))
    place = lines.index("names")
    assert lines[place - 1 : place + 2] == [
        '>>>  host in host_lookup? yes (matched "*")',
        "names",
        ">>> host in host_reject_connection? no (option unset)",
    ]


@pytest.mark.parametrize(("verified", "is_told"), [("192.0.2.1", True), ("192.0.2.7", False)])
def test_mail_without_a_greeting_asks_who_must_greet(verified: str, is_told: bool) -> None:
    options, lines = told_by(f"helo_verify_hosts = {verified}")
    now(options.commanded("MAIL", CLIENT))
    assert (">>> host in hosts_require_helo?" in lines) is is_told
