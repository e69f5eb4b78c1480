"""Values that are well formed and make no sense."""

from __future__ import annotations

import pytest

from relay.config.read import understand_configuration
from relay.mail.source import ConfigurationError


def mistakes(text: str) -> list[str]:
    try:
        understand_configuration("/etc/conf", lambda path: text, host_name="h.test")
    except ConfigurationError as error:
        return [problem.what for problem in error.problems]
    return []


def obstacles(text: str) -> list[str]:
    found = understand_configuration("/etc/conf", lambda path: text, host_name="h.test")
    return [problem.what for problem in found.obstacles]


def authenticators(*blocks: str) -> str:
    return "begin authenticators\n" + "\n".join(f"a{number}:\n{block}" for number, block in enumerate(blocks))


SERVER = "driver = plaintext\npublic_name = PLAIN\nserver_condition = yes"
CLIENT = "driver = plaintext\npublic_name = plain\nclient_send = x"


def test_one_mechanism_twice() -> None:
    assert mistakes(authenticators(SERVER, CLIENT)) == []
    assert mistakes(authenticators(SERVER, SERVER)) == [
        "two server authenticators (a0 and a1) have the same public name (PLAIN)"
    ]
    assert mistakes(authenticators(CLIENT, CLIENT.replace("plain\n", "PLAIN\n"))) == [
        "two client authenticators (a0 and a1) have the same public name (plain)"
    ]
    assert mistakes(authenticators(SERVER, SERVER.replace("PLAIN", "LOGIN"))) == []


def test_half_of_a_driver_that_is_not_served() -> None:
    scram = "driver = gsasl\npublic_name = SCRAM-SHA-256\nserver_mech = scram-sha-256"
    assert mistakes(authenticators(scram, scram)) == [
        "two server authenticators (a0 and a1) have the same public name (SCRAM-SHA-256)"
    ]


@pytest.mark.parametrize("driver", ["accept", "dnslookup", "ipliteral"])
def test_routers_that_need_a_transport(driver: str) -> None:
    text = f"begin routers\nr:\ndriver = {driver}\n"
    assert mistakes(text) == ["a transport is required for this router"]
    assert mistakes(text + "verify_only") == []
    assert mistakes(text + "transport = t\nbegin transports\nt:\ndriver = smtp") == []


def test_routers_that_have_none() -> None:
    text = "begin routers\nr:\ndriver = redirect\ndata = x\ntransport = t\nbegin transports\nt:\ndriver = smtp"
    assert mistakes(text) == ["a transport must not be defined for this router"]


@pytest.mark.parametrize(("value", "is_wrong"), [("yes", True), ("$h_x:", True), ("$nothing", True), ("no", False)])
def test_a_redirection_once_and_for_all_has_no_copy(value: str, is_wrong: bool) -> None:
    text = f"begin routers\nr:\ndriver = redirect\ndata = x\none_time\nunseen = {value}"
    assert mistakes(text) == (['"unseen" may not be used with "one_time"'] if is_wrong else [])


def test_a_size_limit_for_each_client_is_no_mistake() -> None:
    text = "message_size_limit = ${if eq{$sender_host_address}{192.0.2.1}{1M}{2M}}"
    assert mistakes(text) == []
    assert obstacles(text) == []
    assert mistakes("message_size_limit = many") != []
