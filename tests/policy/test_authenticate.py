"""One AUTH command as a server: what is prompted, who is let in, what a refusal says and costs."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.post import run
from policy.logins import (
    CLEAR,
    CLIENT,
    TLS,
    WITH_CERTIFICATE,
    Time,
    block,
    ports,
    scope,
)
from relay.esmtp.sasl import coding
from relay.esmtp.sasl.cram_md5 import digest
from relay.esmtp.sasl.scram import ScramClient, Unbound
from relay.esmtp.sasl.scram_keys import keys_from, salted_password, write_verifier
from relay.esmtp.sasl.steps import KeysWanted, Respond
from relay.expand.scope import Scope
from relay.mail.facts import Authentication, Endpoint, SessionFacts, Unverified
from relay.policy.auth_limits import LimitSettings
from relay.policy.authenticate import (
    AuthPorts,
    Granted,
    Login,
    Outcome,
    Prompt,
    Refused,
    login_by_certificate,
)
from relay.policy.authenticators import Authenticator, AuthRules, Offer

PLAIN = block(
    "plaintext", "plain", public_name="PLAIN", server_prompts=":", server_set_id="$auth2",
    server_condition="${if and{{eq{$auth2}{ada}}{eq{$auth3}{secret}}}}",
)  # fmt: skip
LOGIN = block(
    "plaintext", "login", public_name="LOGIN", server_prompts="Username:: : Password::", server_set_id="$auth1",
    server_condition="${if and{{eq{$auth1}{ada}}{eq{$auth2}{secret}}}}",
)  # fmt: skip
CRAM = block("cram_md5", "cram", public_name="CRAM-MD5", server_set_id="$auth1",
             server_secret="${if eq{$auth1}{ada}{secret}fail}")  # fmt: skip
GOOD, BAD = coding.encode(b"\0ada\0secret"), coding.encode(b"\0ada\0wrong")


def login(
    authenticator: Authenticator, at: AuthPorts | None = None, session: SessionFacts = CLEAR, **changes: object
) -> Login:
    return Login(authenticator, Offer((authenticator,)), scope(session, **changes), at or ports())


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused)
    return outcome


def test_plain_in_one_line() -> None:
    assert run(login(PLAIN).start(GOOD)) == Granted(Authentication("plain", "ada", mechanism="PLAIN"))


def test_plain_behind_a_prompt() -> None:
    one = login(PLAIN)
    assert run(one.start(None)) == Prompt("")
    granted = run(one.respond(GOOD))
    assert isinstance(granted, Granted)
    assert str(granted.reply) == "235 Authentication succeeded"


def test_login() -> None:
    one = login(LOGIN)
    assert run(one.start(None)) == Prompt(coding.encode(b"Username:"))
    assert run(one.respond(coding.encode(b"ada"))) == Prompt(coding.encode(b"Password:"))
    assert run(one.respond(coding.encode(b"secret"))) == Granted(Authentication("login", "ada", mechanism="LOGIN"))


def test_a_wrong_password() -> None:
    time = Time()
    failed = refused(run(login(PLAIN, ports(time)).start(BAD)))
    assert str(failed.reply) == "535 Incorrect authentication data"
    assert failed.reply.enhanced == "5.7.8"
    assert failed.log_text == "535 Incorrect authentication data (set_id=ada)"
    assert failed.identity == "ada"
    assert "wrong" not in failed.log_text
    assert time.slept == [1.0]


@pytest.mark.parametrize("line", ["?", "AAA", "AA=A", "ü"])
def test_what_is_no_base64(line: str) -> None:
    assert str(refused(run(login(PLAIN).start(line))).reply) == "501 Invalid base64 data"
    one = login(LOGIN)
    run(one.start(None))
    assert str(refused(run(one.respond(line))).reply) == "501 Invalid base64 data"


def test_a_client_that_breaks_off() -> None:
    one = login(LOGIN)
    run(one.start(None))
    assert str(refused(run(one.respond("*"))).reply) == "501 Authentication cancelled"


def test_an_initial_response_where_there_is_none() -> None:
    assert str(refused(run(login(CRAM).start("YQ=="))).reply) == "553 Initial data not expected"


def test_an_empty_initial_response_is_one_empty_string() -> None:
    condition = "${if and{{def:sender_host_address}{eq{$auth1$1}{}}}}"
    shown = block("plaintext", server_prompts="a : b", server_condition=condition)
    assert run(login(shown).start("=")) == Prompt(coding.encode(b"b"))


# server_condition


@pytest.mark.parametrize("text", ["1", "yes", "TRUE"])
def test_yes(text: str) -> None:
    assert isinstance(run(login(block("plaintext", server_condition=text)).start(None)), Granted)


@pytest.mark.parametrize("text", ["", "0", "no", "False", "${if eq{1}{2}{1}fail}"])
def test_no(text: str) -> None:
    assert refused(run(login(block("plaintext", server_condition=text)).start(None))).reply.code == 535


def test_neither_yes_nor_no_is_told_to_the_client() -> None:
    failed = refused(run(login(block("plaintext", server_condition="the database sleeps")).start(None)))
    assert str(failed.reply) == "435 Unable to authenticate at present: the database sleeps"
    assert failed.log_text == "435 Unable to authenticate at present: the database sleeps"


@pytest.mark.parametrize("text", ["${eval:1/0}", "${lookup{x}lsearch{/nowhere}}", "${if eq{$auth1}", "$nosuch"])
def test_a_condition_without_an_answer(text: str) -> None:
    time = Time()
    failed = refused(run(login(block("plaintext", server_condition=text), ports(time)).start(None)))
    assert str(failed.reply) == "435 Unable to authenticate at present"
    assert len(failed.log_text) > len(str(failed.reply))
    assert time.slept == []


def test_an_identity_that_can_not_be_expanded_is_for_now() -> None:
    bad = block("plaintext", server_condition="1", server_set_id="${eval:1/0}")
    assert refused(run(login(bad).start(None))).reply.code == 435


def test_an_identity_is_printable() -> None:
    shown = block("plaintext", server_condition="1", server_set_id="$auth1")
    granted = run(login(shown).start(coding.encode(b"a\nA=forged \xff")))
    assert granted == Granted(Authentication("login", r"a\nA=forged \377", mechanism="login"))


def test_what_the_client_says_is_no_program() -> None:
    evil = block("plaintext", server_condition="${if eq{${expand:$auth1}}{yes}}")
    assert refused(run(login(evil).start(coding.encode(b"yes")))).reply.code == 435
    numbered = block("plaintext", server_condition="${if eq{${expand:$1}}{yes}}")
    assert refused(run(login(numbered).start(coding.encode(b"yes")))).reply.code == 435


def test_the_numbered_variables_are_there_too() -> None:
    old = block("plaintext", server_condition="${if and{{eq{$2}{ada}}{eq{$3}{secret}}}}")
    assert isinstance(run(login(old).start(GOOD)), Granted)


# CRAM-MD5


def cram(secret: str, name: str = "ada", authenticator: Authenticator = CRAM) -> Outcome:
    one = login(authenticator)
    prompt = run(one.start(None))
    assert isinstance(prompt, Prompt)
    challenge = coding.decode(prompt.text) or b""
    assert challenge == b"<random1.1000@relay.test>"
    return run(one.respond(coding.encode(name.encode() + b" " + digest(secret, challenge))))


def test_cram() -> None:
    assert cram("secret") == Granted(Authentication("cram", "ada", mechanism="CRAM-MD5"))
    assert refused(cram("wrong")).reply.code == 535
    assert refused(cram("secret", "bob")).reply.code == 535


def test_cram_with_a_condition_besides() -> None:
    closed = block("cram_md5", server_secret="secret", server_condition="no")
    assert refused(cram("secret", authenticator=closed)).reply.code == 535


def test_an_empty_secret_is_nobodys() -> None:
    assert refused(cram("", authenticator=block("cram_md5", server_secret=""))).reply.code == 535


def test_a_secret_that_can_not_be_looked_up() -> None:
    assert refused(cram("x", authenticator=block("cram_md5", server_secret="${eval:1/0}"))).reply.code == 435


# SCRAM


def scram(
    at: AuthPorts | None = None, password: str = "pencil", name: str = "ada", acting: str = "", **options: str
) -> Outcome:
    made = block("gsasl", "scram", **{"server_mech": "scram-sha-256", "server_condition": "1", **options})
    one = login(made, at)
    client = ScramClient("SCRAM-SHA-256", name, acting, "nonce", Unbound.UNSUPPORTED)
    outcome = run(one.start(coding.encode(client.start().data or b"")))
    while isinstance(outcome, Prompt):
        step: object = client.challenge(coding.decode(outcome.text) or b"")
        if isinstance(step, KeysWanted):
            step = client.keys(salted_password("sha256", password, step.salt, step.iterations))
        assert isinstance(step, Respond)
        outcome = run(one.respond(coding.encode(step.data or b"")))
    return outcome


KNOWN = "${if eq{$auth1}{ada}{pencil}fail}"


def test_scram_by_password() -> None:
    granted = scram(server_password=KNOWN, server_set_id="$auth1")
    assert granted == Granted(Authentication("scram", "ada", mechanism="scram"))
    assert refused(scram(password="pen", server_password=KNOWN)).reply.code == 535
    assert refused(scram(name="bob", server_password=KNOWN)).reply.code == 535
    assert refused(scram(server_password="")).reply.code == 535


def test_scram_by_verifier() -> None:
    text = write_verifier(keys_from("sha256", salted_password("sha256", "pencil", b"salt", 5000), b"salt", 5000))
    assert isinstance(scram(server_password="\\N" + text + "\\N"), Granted)
    assert refused(scram(password="pen", server_password="\\N" + text + "\\N")).reply.code == 535
    other = write_verifier(keys_from("sha1", salted_password("sha1", "pencil", b"salt", 5000), b"salt", 5000))
    assert refused(scram(server_password="\\N" + other + "\\N")).reply.code == 435
    assert refused(scram(server_password="\\N{SCRAM-SHA-256}broken\\N")).reply.code == 435


def test_scram_by_keys() -> None:
    keys = keys_from("sha256", salted_password("sha256", "pencil", b"salt", 5000), b"salt", 5000)
    options = {
        "server_skey": coding.encode(keys.stored_key),
        "server_key": coding.encode(keys.server_key),
        "server_scram_salt": coding.encode(b"salt"),
        "server_scram_iter": "5000",
    }
    assert isinstance(scram(**options), Granted)
    assert refused(scram(password="pen", **options)).reply.code == 535
    for option, text in [
        ("server_skey", "AAAA"),
        ("server_key", "?"),
        ("server_scram_iter", "many"),
        ("server_scram_iter", "0"),
    ]:
        assert refused(scram(**{**options, option: text})).reply.code == 435, option


def test_who_acts_for_another_has_to_be_looked_at() -> None:
    assert isinstance(scram(acting="ada", server_password=KNOWN), Granted)
    assert refused(scram(acting="boss", server_password=KNOWN)).reply.code == 535
    looked_at = "${if inlist{$auth2}{:deputy}}"
    assert isinstance(scram(acting="deputy", server_password=KNOWN, server_condition=looked_at), Granted)
    assert refused(scram(acting="boss", server_password=KNOWN, server_condition=looked_at)).reply.code == 535


def first_challenge(name: str, at: AuthPorts) -> str:
    made = block("gsasl", server_mech="scram-sha-256", server_condition="1", server_password=KNOWN)
    outcome = run(login(made, at).start(coding.encode(f"n,,n={name},r=nonce".encode())))
    assert isinstance(outcome, Prompt)
    return (coding.decode(outcome.text) or b"").decode().split(",", 1)[1]


def test_whether_a_name_is_known_does_not_show() -> None:
    at = ports()
    for name in ("ada", "bob"):
        assert first_challenge(name, at) == first_challenge(name, at)
        assert first_challenge(name, at).endswith(",i=4096")
    assert first_challenge("ada", at) != first_challenge("bob", at)
    assert first_challenge("bob", at) != first_challenge("bob", replace(at, seed=b"another"))


# EXTERNAL


EXTERNAL = block("external", "ext", server_condition="${if eq{$auth1}{laptop}}", server_set_id="$auth1")


def test_external() -> None:
    one = login(EXTERNAL, session=WITH_CERTIFICATE)
    assert run(one.start(None)) == Prompt("")
    assert run(one.respond(coding.encode(b"laptop"))) == Granted(Authentication("ext", "laptop", mechanism="ext"))
    assert isinstance(run(login(EXTERNAL, session=WITH_CERTIFICATE).start(coding.encode(b"laptop"))), Granted)


def test_external_answered_as_curl_does() -> None:
    """curl says `=` behind our prompt, which RFC 4954 4 has for an initial response alone."""
    one = login(block("external", "ext", server_condition="${if eq{$auth1}{}}"), session=WITH_CERTIFICATE)
    assert run(one.start(None)) == Prompt("")
    assert isinstance(run(one.respond("=")), Granted)


@pytest.mark.parametrize("session", [CLEAR, replace(WITH_CERTIFICATE, tls=replace(TLS, peer=None))])
def test_external_without_a_certificate_is_nothing(session: SessionFacts) -> None:
    assert refused(run(login(EXTERNAL, session=session).start(coding.encode(b"laptop")))).reply.code == 535


def test_external_with_parameters() -> None:
    made = block("external", server_param2="${uc:$auth1}", server_param3="three",
                 server_condition="${if eq{$auth1,$auth2,$auth3}{laptop,LAPTOP,three}}")  # fmt: skip
    assert isinstance(run(login(made, session=WITH_CERTIFICATE).start(coding.encode(b"laptop"))), Granted)


def test_a_paired_device_is_the_identity_where_no_other_is_set() -> None:
    paired = block("external", "ext", server_condition="${if def:peer_name}")
    session = replace(WITH_CERTIFICATE, peer_name="ada-laptop")
    granted = run(login(paired, session=session).start("="))
    assert granted == Granted(Authentication("ext", "ada-laptop", mechanism="ext"))
    assert refused(run(login(paired, session=WITH_CERTIFICATE).start("="))).reply.code == 535


# By certificate alone


def by_certificate(session: SessionFacts = WITH_CERTIFICATE, **options: str) -> Granted | Refused | None:
    return run(login_by_certificate(AuthRules((PLAIN, block("tls", "cert", **options))), scope(session), ports()))


def test_a_certificate_alone() -> None:
    assert by_certificate(server_condition="1") == Granted(Authentication("cert", "", mechanism="cert"))
    parameters = {"server_param1": "one", "server_param2": "${if eq{a}{b}{x}fail}", "server_param3": "$auth1"}
    granted = by_certificate(**parameters, server_condition="${if eq{$auth1,$auth2}{one,}}", server_set_id="$auth1")
    assert granted == Granted(Authentication("cert", "one", mechanism="cert"))
    granted = by_certificate(replace(WITH_CERTIFICATE, peer_name="p"))
    assert granted == Granted(Authentication("cert", "p", mechanism="cert"))


def test_a_certificate_that_is_not_let_in() -> None:
    assert refused(by_certificate(server_condition="no") or Prompt("")).reply.code == 535
    assert refused(by_certificate(server_condition="${eval:1/0}") or Prompt("")).reply.code == 435
    assert refused(by_certificate(server_param1="${eval:1/0}") or Prompt("")).reply.code == 435


@pytest.mark.parametrize(
    "session",
    [CLEAR, replace(WITH_CERTIFICATE, tls=replace(TLS, peer=None)),
     replace(WITH_CERTIFICATE, tls=replace(TLS, verification=Unverified("unknown")))],
)  # fmt: skip
def test_an_unverified_one_is_not_asked_about(session: SessionFacts) -> None:
    assert by_certificate(session, server_condition="1") is None


def test_without_such_an_authenticator_nothing_happens() -> None:
    assert run(login_by_certificate(AuthRules((PLAIN,)), scope(WITH_CERTIFICATE), ports())) is None


# What failures cost


def test_failures_cost_more_each_time_and_then_the_address_has_to_wait() -> None:
    time = Time()
    at = ports(time, LimitSettings(per_address=3, address_forgets=1000.0))
    for _ in range(3):
        assert refused(run(login(PLAIN, at).start(BAD))).reply.code == 535
    assert time.slept[0] == 1.0
    assert time.slept == sorted(time.slept)
    late = refused(run(login(PLAIN, at).start(GOOD)))
    assert str(late.reply) == "454 Too many failed authentications, try again later"
    assert refused(run(login(LOGIN, at).start(None))).reply.code == 454
    elsewhere = SessionFacts(peer=Endpoint("203.0.113.9", 1))
    assert isinstance(run(login(PLAIN, at, elsewhere).start(GOOD)), Granted)


def test_a_name_is_guessed_at_from_everywhere() -> None:
    at = ports(settings=LimitSettings(per_name=3, name_forgets=1e6))
    for each in range(3):
        session = SessionFacts(peer=Endpoint(f"203.0.113.{each}", 1))
        assert refused(run(login(PLAIN, at, session).start(BAD))).reply.code == 535
    assert refused(run(login(PLAIN, at).start(GOOD))).reply.code == 454
    assert refused(run(login(PLAIN, at).start(BAD))).reply.code == 454


def test_who_is_right_is_never_held_up() -> None:
    time = Time()
    at = ports(time, LimitSettings(per_address=2, per_name=2))
    for _ in range(10):
        assert isinstance(run(login(PLAIN, at).start(GOOD)), Granted)
    assert time.slept == []


def test_a_fault_of_ours_is_no_guess() -> None:
    at = ports(settings=LimitSettings(per_address=1))
    broken = block("plaintext", server_condition="${eval:1/0}")
    for _ in range(5):
        assert refused(run(login(broken, at).start(GOOD))).reply.code == 435


class SlowLookups:
    """Every question takes half a second."""

    def __init__(self, time: Time) -> None:
        self._time = time

    async def find(self, kind: str, key: str, source: str) -> str | None:
        self._time.at += 0.5
        return None


def test_the_time_of_the_check_is_part_of_the_price() -> None:
    time = Time()
    slow = block("plaintext", server_condition="${lookup{x}lsearch{/passwords}{yes}{no}}")
    run(login(slow, ports(time), lookups=SlowLookups(time)).start(None))
    assert time.slept == [0.5]


# Whatever comes


@settings(max_examples=100)
@given(
    st.sampled_from([PLAIN, LOGIN, CRAM, EXTERNAL]),
    st.one_of(st.none(), st.text(max_size=20)),
    st.lists(st.text(max_size=20), max_size=4),
)
def test_nothing_raises_and_nobody_gets_in_by_chance(
    authenticator: Authenticator, initial: str | None, lines: list[str]
) -> None:
    one = login(authenticator, session=WITH_CERTIFICATE)
    outcome = run(one.start(initial))
    for line in lines:
        if not isinstance(outcome, Prompt):
            break
        outcome = run(one.respond(line))
    assert not isinstance(outcome, Granted)


def test_the_scope_of_the_session_is_not_changed() -> None:
    given_scope: Scope = scope()
    run(Login(PLAIN, Offer((PLAIN,)), given_scope, ports()).start(GOOD))
    assert given_scope.auth == ()
    assert given_scope.session.peer == CLIENT
