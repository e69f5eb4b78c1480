"""Authenticators: what a block makes, what is refused, what is offered in which session."""

from dataclasses import replace

import pytest

from delivery.post import run
from policy.logins import CLEAR, TLS, WITH_CERTIFICATE, WITH_TLS, block, scope
from relay.expand.errors import ExpansionError
from relay.expand.lists import ListKind, compile_list
from relay.mail.facts import Authentication, LocalCaller, SessionFacts
from relay.mail.ports import TemporaryFailure
from relay.policy.authenticators import (
    Authenticator,
    AuthRules,
    BadAuthenticator,
    Plaintext,
    Scram,
    believes_mail_auth,
    check_together,
    offer,
)

PLAIN = block("plaintext", "plain", public_name="PLAIN", server_prompts=":", server_condition="true")
EXTERNAL = block("external", "ext", public_name="EXTERNAL", server_condition="true")
BY_CERT = block("tls", "bycert", server_condition="true")
SCRAM = block("gsasl", "scram", public_name="SCRAM-SHA-256", server_mech="scram-sha-256", server_password="x",
              server_condition="true")  # fmt: skip
PLUS = block("gsasl", "plus", public_name="SCRAM-SHA-256-PLUS", server_mech="SCRAM-SHA-256-PLUS",
             server_password="x", server_condition="true")  # fmt: skip
ALL = (PLAIN, EXTERNAL, BY_CERT, SCRAM, PLUS)


def offered(session: SessionFacts, *authenticators: Authenticator, **lists: str) -> str:
    compiled = {name: compile_list(ListKind.HOST, text) for name, text in lists.items()}
    return run(offer(AuthRules(authenticators or ALL, **compiled), scope(session))).mechanisms


def test_a_session_in_clear() -> None:
    assert offered(CLEAR) == "PLAIN SCRAM-SHA-256"


def test_inside_tls_there_are_bindings() -> None:
    assert offered(WITH_TLS) == "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"


def test_external_stands_on_a_certificate() -> None:
    assert offered(WITH_CERTIFICATE) == "PLAIN EXTERNAL SCRAM-SHA-256 SCRAM-SHA-256-PLUS"


def test_who_is_in_by_certificate_is_offered_external_alone() -> None:
    session = replace(WITH_CERTIFICATE, authentication=Authentication("bycert", "laptop"))
    assert offered(session) == "EXTERNAL"
    assert offered(session, PLAIN, BY_CERT) == ""


def test_who_is_in_by_auth_is_offered_nothing() -> None:
    assert offered(replace(WITH_CERTIFICATE, authentication=Authentication("plain", "ada"))) == ""


def test_hosts_decide() -> None:
    assert offered(CLEAR, advertise_hosts="192.0.2.0/24") != ""
    assert offered(CLEAR, advertise_hosts="! 192.0.2.7 : *") == ""
    assert offered(CLEAR, advertise_hosts="") == ""


def test_not_in_clear() -> None:
    assert offered(CLEAR, over_tls_hosts="*") == ""
    assert offered(CLEAR, over_tls_hosts="! 192.0.2.7 : *") != ""
    assert offered(WITH_TLS, over_tls_hosts="*") != ""
    on_a_pipe = replace(CLEAR, caller=LocalCaller("anne", 1000, 1000))
    assert offered(on_a_pipe, over_tls_hosts="*") != ""


@pytest.mark.parametrize("condition", ["", "0", "no", "FALSE", "${if def:tls_in_cipher}", "${if eq{1}{2}{x}fail}"])
def test_a_condition_hides_it(condition: str) -> None:
    hidden = block("plaintext", server_condition="1", server_advertise_condition=condition)
    assert offered(CLEAR, hidden) == ""


@pytest.mark.parametrize("condition", ["1", "yes", "anything", "${if !def:tls_in_cipher}"])
def test_a_condition_shows_it(condition: str) -> None:
    shown = block("plaintext", server_condition="1", server_advertise_condition=condition)
    assert offered(CLEAR, shown) == "LOGIN"


def test_a_condition_that_can_not_be_expanded_hides_it_and_is_told() -> None:
    broken = block("plaintext", server_condition="1", server_advertise_condition="${eval:1/0}")
    found = run(offer(AuthRules((broken, PLAIN)), scope()))
    assert found.mechanisms == "PLAIN"
    (told,) = found.troubles
    assert "login authenticator, server_advertise_condition" in told


def test_without_an_answer_there_is_none() -> None:
    hosts = compile_list(ListKind.HOST, "${eval:1/0}")
    with pytest.raises(TemporaryFailure):
        run(offer(AuthRules((PLAIN,), hosts), scope()))


def test_names_are_found_in_any_case() -> None:
    found = run(offer(AuthRules(ALL), scope()))
    assert found.find("plain") is PLAIN
    assert found.find("EXTERNAL") is None
    assert not found.has_plus
    assert run(offer(AuthRules(ALL), scope(WITH_TLS))).has_plus


def test_what_makes_a_server_and_what_a_client() -> None:
    client = block("plaintext", client_send="^a^b")
    assert (client.is_server, client.is_client) == (False, True)
    assert (PLAIN.is_server, PLAIN.is_client) == (True, False)
    cram = block("cram_md5", server_secret="x", client_secret="y")
    assert (cram.is_server, cram.is_client) == (True, True)
    assert not block("cram_md5", server_condition="1").is_server
    assert not block("external", server_param2="x").is_server
    assert (BY_CERT.is_server, BY_CERT.is_client) == (False, False)
    scram = block("gsasl", server_mech="scram-sha-256", client_username="u", client_password="p")
    assert (scram.is_server, scram.is_client) == (False, True)


def test_the_public_name_is_the_instances_where_it_has_none() -> None:
    assert block("plaintext", "login").public_name == "login"


def test_client_send_is_cut_before_it_is_expanded() -> None:
    driver = block("plaintext", client_send="<; ; ${if eq{a}{a}{x;;y}} ; z").driver
    assert isinstance(driver, Plaintext)
    assert [each.source for each in driver.client_send] == ["", "${if eq{a}{a}{x;y}}", "z"]
    with pytest.raises(ExpansionError):
        block("plaintext", client_send="a : ${perl{x}}")


def test_an_item_of_client_send_that_can_not_be_expanded_fails_when_it_is_sent() -> None:
    driver = block("plaintext", client_send="a : ${if").driver
    assert isinstance(driver, Plaintext)
    assert [each.fault is not None for each in driver.client_send] == [False, True]


@pytest.mark.parametrize(
    "driver, options, option",
    [
        ("dovecot", {}, "driver"),
        ("gsasl", {}, "server_mech"),
        ("gsasl", {"server_mech": "plain"}, "server_mech"),
        ("gsasl", {"server_mech": "scram-sha-256", "server_condition": "1"}, "server_condition"),
        ("gsasl", {"server_mech": "scram-sha-256", "server_condition": "1", "server_key": "x"}, "server_condition"),
    ],
)
def test_a_block_that_makes_no_sense(driver: str, options: dict[str, str], option: str) -> None:
    with pytest.raises(BadAuthenticator) as told:
        block(driver, **options)
    assert told.value.option == option


def test_scram_by_its_keys() -> None:
    made = block("gsasl", server_mech="scram-sha-1-plus", server_condition="1", server_skey="a", server_key="b",
                 server_scram_salt="c")  # fmt: skip
    assert isinstance(made.driver, Scram)
    assert made.driver.mechanism == "SCRAM-SHA-1-PLUS"
    assert made.driver.is_plus


def test_two_of_one_name() -> None:
    check_together(ALL)
    check_together((PLAIN, block("plaintext", "b", public_name="plain", client_send="x")))
    with pytest.raises(BadAuthenticator, match="two server authenticators"):
        check_together((PLAIN, block("plaintext", "b", public_name="plain", server_condition="1")))
    with pytest.raises(BadAuthenticator, match="two client authenticators"):
        check_together(
            (block("plaintext", "a", public_name="X", client_send="x"), block("external", "X", client_send="x"))
        )


def test_auth_of_mail_is_believed() -> None:
    picky = block(
        "plaintext", "picky", server_condition="1", server_mail_auth_condition="${if eq{$authenticated_id}{a}}"
    )
    rules = AuthRules((PLAIN, picky))
    for authentication, believed in [
        (None, True),
        (Authentication("plain", "ada"), True),
        (Authentication("picky", "ada"), False),
        (Authentication("picky", "a"), True),
    ]:
        assert run(believes_mail_auth(rules, scope(replace(CLEAR, authentication=authentication)))) is believed


def test_a_layer_without_a_certificate_offers_no_external() -> None:
    assert offered(replace(WITH_CERTIFICATE, tls=replace(TLS, peer=None)), EXTERNAL) == ""
