"""AUTH as a client: what is tried, what is sent, what an answer means; and against our own server."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import run
from policy.logins import CLEAR, OUTGOING, WITH_CERTIFICATE, block, ports, scope
from relay.esmtp.sasl import coding
from relay.expand.scope import Scope
from relay.mail.facts import Authentication, SessionFacts, TLSFacts
from relay.mail.reply import Reply
from relay.policy.authenticate import Granted, Login, Outcome, Prompt, Refused
from relay.policy.authenticate_client import (
    Abandoned,
    Attempt,
    Begin,
    Broken,
    ClientMove,
    Impostor,
    Line,
    LoggedIn,
    Postponed,
    Rejected,
    candidates,
)
from relay.policy.authenticators import Authenticator, AuthRules, Offer

PLAIN = block("plaintext", "plain", public_name="PLAIN", client_send="^ada^sec^^ret", client_set_id="ada")
LOGIN = block("plaintext", "login", public_name="LOGIN", client_send=": ada : secret")
CRAM = block("cram_md5", "cram", public_name="CRAM-MD5", client_name="ada", client_secret="secret")
EXTERNAL = block("external", "ext", public_name="EXTERNAL", client_send="")
SCRAM = block("gsasl", "scram", public_name="SCRAM-SHA-256", server_mech="scram-sha-256", client_username="ada",
              client_password="pencil")  # fmt: skip
PLUS = block("gsasl", "plus", public_name="SCRAM-SHA-256-PLUS", server_mech="scram-sha-256-plus",
             client_username="ada", client_password="pencil")  # fmt: skip
WORDS = ("PLAIN", "login", "CRAM-MD5", "EXTERNAL", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
ALL = (PLUS, SCRAM, EXTERNAL, CRAM, LOGIN, PLAIN)
OK = Reply(235, "2.7.0", ("fine",))


def towards(tls: TLSFacts | None = None) -> Scope:
    return scope(tls_out=tls)


def attempt(authenticator: Authenticator, tls: TLSFacts | None = None, words: tuple[str, ...] = WORDS) -> Attempt:
    return Attempt(authenticator, words, towards(tls), ports())


def chosen(tls: TLSFacts | None, *, in_clear: bool, words: tuple[str, ...] = WORDS) -> list[str]:
    return [each.name for each in run(candidates(AuthRules(ALL), words, towards(tls), [], in_clear=in_clear))]


def test_what_is_tried_in_the_order_of_the_configuration() -> None:
    assert chosen(OUTGOING, in_clear=False) == ["plus", "scram", "ext", "cram", "login", "plain"]
    assert chosen(OUTGOING, in_clear=False, words=("plain",)) == ["plain"]


def test_in_clear_only_where_that_is_allowed() -> None:
    assert chosen(None, in_clear=True) == ["scram", "cram", "login", "plain"]
    assert chosen(None, in_clear=False) == []


def test_external_is_for_who_showed_a_certificate() -> None:
    assert "ext" not in chosen(replace(OUTGOING, ours=None), in_clear=False)


def test_a_condition_leaves_one_out() -> None:
    closed, troubles = block("plaintext", public_name="PLAIN", client_send="x", client_condition="no"), []
    broken = block("plaintext", "broken", public_name="LOGIN", client_send="x", client_condition="${eval:1/0}")
    found = run(candidates(AuthRules((closed, broken)), WORDS, towards(), troubles, in_clear=True))
    assert found == ()
    assert len(troubles) == 1


def test_plain() -> None:
    one = attempt(PLAIN)
    assert run(one.start()) == Begin("PLAIN", coding.encode(b"\0ada\0sec^ret"))
    assert run(one.answered(OK)) == LoggedIn("plain", "ada")


def test_what_is_too_long_for_the_command_waits_for_a_challenge() -> None:
    whole = coding.encode(b"\0a\0" + b"x" * 500)
    one = attempt(block("plaintext", public_name="PLAIN", client_send="^a^" + "x" * 500))
    assert run(one.start()) == Begin("PLAIN", None)
    assert run(one.challenged("")) == Line(whole)
    assert isinstance(run(one.challenged("")), Broken)


def test_login() -> None:
    one = attempt(LOGIN)
    assert run(one.start()) == Begin("LOGIN", None)
    assert run(one.challenged(coding.encode(b"Username:"))) == Line(coding.encode(b"ada"))
    assert run(one.challenged(coding.encode(b"Password:"))) == Line(coding.encode(b"secret"))
    assert run(one.challenged("")) == Broken("Too few items in client_send in login authenticator")


def test_what_the_server_said_can_be_answered() -> None:
    made = block("plaintext", public_name="X", client_send=": ${lc::$auth1}")
    one = attempt(made)
    run(one.start())
    assert run(one.challenged(coding.encode(b"NONCE"))) == Line(coding.encode(b"nonce"))


def test_a_challenge_that_is_no_base64() -> None:
    one = attempt(LOGIN)
    run(one.start())
    gone = run(one.challenged("?"))
    assert isinstance(gone, Abandoned)
    lenient = block("plaintext", public_name="LOGIN", client_send=": ada", client_ignore_invalid_base64="true")
    one = attempt(lenient)
    run(one.start())
    assert run(one.challenged("?")) == Line(coding.encode(b"ada"))


def test_external_without_an_identity() -> None:
    assert run(attempt(EXTERNAL, OUTGOING).start()) == Begin("EXTERNAL", "=")


@pytest.mark.parametrize("driver, option", [("plaintext", "client_send"), ("external", "client_send")])
def test_a_forced_failure_leaves_it_out(driver: str, option: str) -> None:
    made = block(driver, **{option: "${if eq{a}{b}{x}fail}"})
    assert run(attempt(made, OUTGOING).start()) == Abandoned("")


def test_a_forced_failure_behind_the_command_breaks_off() -> None:
    one = attempt(block("plaintext", client_send=": ${if eq{a}{b}{x}fail}"))
    run(one.start())
    assert run(one.challenged("")) == Abandoned("")


def test_a_fault_of_ours_holds_the_host_up() -> None:
    gone = run(attempt(block("plaintext", client_send="${eval::1/0}")).start())
    assert isinstance(gone, Broken)
    gone = run(attempt(block("cram_md5", client_secret="${eval:1/0}")).start())
    assert isinstance(gone, Broken)


def test_what_the_answers_mean() -> None:
    one = attempt(PLAIN)
    run(one.start())
    no, later = Reply(535, "5.7.8", ("no",)), Reply(454, "4.7.0", ("later",))
    assert run(one.answered(no)) == Rejected(no)
    assert run(one.answered(later)) == Postponed(later)


@pytest.mark.parametrize("authenticator", [CRAM, SCRAM, PLUS])
def test_a_server_that_proves_nothing_is_an_impostor(authenticator: Authenticator) -> None:
    one = attempt(authenticator, OUTGOING)
    run(one.start())
    assert isinstance(run(one.answered(OK)), Impostor)


def test_no_move_shows_a_secret() -> None:
    assert coding.encode(b"\0ada\0sec^ret") not in repr(run(attempt(PLAIN).start()))


# Against our own server


def both(
    client: Authenticator,
    server: Authenticator,
    *,
    tls: TLSFacts | None = None,
    session: SessionFacts = CLEAR,
    words: tuple[str, ...] = WORDS,
    offer: Offer | None = None,
) -> tuple[object, Outcome]:
    """How it ends for the client and for the server."""
    ours, theirs = attempt(client, tls, words), Login(server, offer or Offer((server,)), scope(session), ports())
    move: ClientMove = run(ours.start())
    assert isinstance(move, Begin)
    assert move.mechanism.upper() == server.public_name.upper()
    outcome = run(theirs.start(move.initial))
    while isinstance(outcome, Prompt):
        move = run(ours.challenged(outcome.text))
        if not isinstance(move, Line):
            return move, run(theirs.respond("*"))
        outcome = run(theirs.respond(move.text))
    return run(ours.answered(outcome.reply)), outcome


SERVER_SCRAM = block("gsasl", "s", public_name="SCRAM-SHA-256", server_mech="scram-sha-256", server_condition="1",
                     server_password="${if eq{$auth1}{ada}{pencil}fail}", server_set_id="$auth1")  # fmt: skip
SERVER_PLUS = block("gsasl", "p", public_name="SCRAM-SHA-256-PLUS", server_mech="scram-sha-256-plus",
                    server_password="pencil", server_condition="1", server_set_id="$auth1")  # fmt: skip


@pytest.mark.parametrize(
    "client, server, identity",
    [
        (PLAIN, block("plaintext", "s", public_name="PLAIN", server_prompts=":", server_set_id="$auth2",
                      server_condition="${if eq{$auth2$auth3}{adasec^ret}}"), "ada"),
        (LOGIN, block("plaintext", "s", public_name="LOGIN", server_prompts="U:: : P::", server_set_id="$auth1",
                      server_condition="${if eq{$auth1$auth2}{adasecret}}"), "ada"),
        (CRAM, block("cram_md5", "s", public_name="CRAM-MD5", server_secret="secret", server_set_id="$auth1"), "ada"),
        (EXTERNAL, block("external", "s", public_name="EXTERNAL", server_condition="1"), ""),
        (SCRAM, SERVER_SCRAM, "ada"),
    ],
    ids=["plain", "login", "cram", "external", "scram"],
)  # fmt: skip
def test_both_halves_agree(client: Authenticator, server: Authenticator, identity: str) -> None:
    end, outcome = both(client, server, tls=OUTGOING, session=WITH_CERTIFICATE)
    assert isinstance(end, LoggedIn)
    assert outcome == Granted(Authentication("s", identity, mechanism=server.public_name))


@pytest.mark.parametrize("version", ["TLS1.3", "TLS1.2"])
def test_both_halves_agree_on_a_channel(version: str) -> None:
    session = replace(WITH_CERTIFICATE, tls=replace(WITH_CERTIFICATE.tls, version=version))  # type: ignore[type-var]
    end, outcome = both(PLUS, SERVER_PLUS, tls=replace(OUTGOING, version=version), session=session)
    assert isinstance(end, LoggedIn)
    assert isinstance(outcome, Granted)


def test_two_channels_with_somebody_between_them() -> None:
    end, outcome = both(PLUS, SERVER_PLUS, tls=replace(OUTGOING, binding=b"\1" * 32), session=WITH_CERTIFICATE)
    assert isinstance(end, Rejected)
    assert isinstance(outcome, Refused)


def test_an_offer_that_somebody_took_something_out_of() -> None:
    offer = Offer((SERVER_SCRAM, SERVER_PLUS))
    end, _ = both(SCRAM, SERVER_SCRAM, tls=OUTGOING, session=WITH_CERTIFICATE, offer=offer, words=("SCRAM-SHA-256",))
    assert isinstance(end, Rejected)
    end, _ = both(SCRAM, SERVER_SCRAM, tls=OUTGOING, session=WITH_CERTIFICATE, offer=offer)
    assert isinstance(end, LoggedIn)


def test_a_salted_password_instead_of_the_password() -> None:
    from relay.esmtp.sasl.scram_keys import salted_password

    salt = b"0123456789abcdef"
    salted = salted_password("sha256", "pencil", salt, 4096).hex()
    server = block("gsasl", "s", public_name="SCRAM-SHA-256", server_mech="scram-sha-256", server_condition="1",
                   server_password="pencil", server_scram_salt=coding.encode(salt))  # fmt: skip
    for text, ending in [(salted, LoggedIn), ("zz", Broken), ("", Broken)]:
        client = block("gsasl", public_name="SCRAM-SHA-256", server_mech="scram-sha-256", client_username="ada",
                       client_spassword=text)  # fmt: skip
        assert isinstance(both(client, server)[0], ending)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0^${}\\:<", exclude_categories=["Z", "C"]),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(TEXT, TEXT)
def test_whatever_the_name_and_the_password(name: str, password: str) -> None:
    client = block("plaintext", public_name="PLAIN", client_send=f"^{name}^{password}")
    server = block("plaintext", "s", public_name="PLAIN", server_prompts=":",
                   server_condition="${if and{{eq{$auth2}{NAME}}{eq{$auth3}{WORD}}}}"
                   .replace("NAME", name).replace("WORD", password))  # fmt: skip
    assert isinstance(both(client, server)[1], Granted)
