"""AUTH in a session: what is offered, what the exchange leaves behind, what the log says."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from policy.logins import block, ports
from policy.told import action
from reception.test_session import ANY_RCPT, Client
from relay.esmtp import questions as esmtp
from relay.esmtp.limits import ServerSettings
from relay.expand.lists import ListKind, compile_list
from relay.mail import events, reply
from relay.mail.facts import Authentication
from relay.policy.acl_values import Where
from relay.policy.authenticators import AuthRules
from relay.policy.event_action import EventActions
from relay.reception.session import Session

import certs

SERVERS = (
    block("plaintext", "plain", public_name="PLAIN", server_prompts=":", server_set_id="$auth2",
          server_condition="${if eq{$auth3}{secret}}"),
    block("plaintext", "login", public_name="LOGIN", server_prompts="Username:: : Password::",
          server_condition="${if eq{$auth2}{secret}}", server_set_id="$auth1",
          server_mail_auth_condition="${if eq{$authenticated_id}{anna}}"),
)  # fmt: skip
BY_CERTIFICATE = block("tls", "cert", server_param1="$tls_in_peerdn", server_set_id="laptop")
RIGHT = base64.b64encode(b"\0anna\0secret").decode()
WRONG = base64.b64encode(b"\0anna\0guess").decode()


def client(acls: dict[Where, str] | None = None, **rules: Any) -> Client:
    options = {"auth": AuthRules(SERVERS), "server_settings": ServerSettings(), **rules}
    found = Client({**ANY_RCPT, **(acls or {})}, **options)
    session = found.session
    found.session = Session(session._rules, replace(session._ports, auth=ports()), session.facts)
    return found


def test_auth_is_offered_in_its_place() -> None:
    offers = client().hello().offers
    assert offers is not None
    assert ("AUTH", "PLAIN LOGIN") in offers.items
    hosts = compile_list(ListKind.HOST, "*")
    hidden = client(auth=AuthRules(SERVERS, None, hosts))
    offers = hidden.hello().offers
    assert offers is not None
    assert "AUTH" not in offers
    hidden.tls()
    offers = hidden.hello().offers
    assert offers is not None
    assert "AUTH" in offers


def test_a_password_that_is_right() -> None:
    asking = client()
    asking.hello()
    assert asking.code(esmtp.AuthAsked("PLAIN", RIGHT)) == 235
    assert asking.session.facts.authentication == Authentication("plain", "anna", mechanism="PLAIN")
    assert asking.session.facts.protocol() == "esmtpa"
    assert asking.shelf.of(events.AuthenticationFailed) == []


def test_a_password_that_is_wrong() -> None:
    asking = client({Where.QUIT: "accept message = $authentication_failed $authenticated_fail_id"})
    asking.hello()
    assert asking.code(esmtp.AuthAsked("PLAIN", WRONG)) == 535
    assert asking.session.facts.authentication is None
    (failed,) = asking.shelf.of(events.AuthenticationFailed)
    assert (failed.authenticator, failed.reason) == ("plain", "535 Incorrect authentication data (set_id=anna)")
    assert asking.ask(esmtp.QuitGiven()).reply.text == "1 anna"


@pytest.mark.parametrize("says", ["", "custom: $sender_host_authenticated"])
def test_an_event_action_hears_of_a_wrong_password_and_may_word_its_line(says: str) -> None:
    asking = client()
    shown = "$event_name $event_data by $sender_host_authenticated as $authenticated_fail_id"
    told_to = EventActions(action(asking.shelf, shown=shown, says=says))
    session = asking.session
    asking.session = Session(session._rules, replace(session._ports, events=told_to), session.facts)
    asking.hello()
    assert asking.code(esmtp.AuthAsked("PLAIN", WRONG)) == 535
    assert asking.session.facts.authentication is None
    lines = asking.shelf.of(events.WrittenByACL)
    assert lines[0].text == "auth:fail 535 Incorrect authentication data by plain as anna"
    assert [each.text for each in lines[1:]] == (["custom: plain"] if says else [])
    assert len(asking.shelf.of(events.AuthenticationFailed)) == (0 if says else 1)


def test_an_exchange_of_several_lines() -> None:
    asking = client()
    asking.hello()
    first = asking.ask(esmtp.AuthAsked("LOGIN", None)).reply
    assert (first.code, base64.b64decode(first.text)) == (334, b"Username:")
    assert asking.code(esmtp.AuthResponse(base64.b64encode(b"anna").decode())) == 334
    assert asking.code(esmtp.AuthResponse(base64.b64encode(b"secret").decode())) == 235
    assert asking.session.facts.authentication == Authentication("login", "anna", mechanism="LOGIN")


def test_an_exchange_that_is_given_up() -> None:
    asking = client()
    asking.hello()
    asking.ask(esmtp.AuthAsked("LOGIN", None))
    assert asking.code(esmtp.AuthAborted(reply.AUTH_CANCELLED)) == 501
    (failed,) = asking.shelf.of(events.AuthenticationFailed)
    assert failed.reason.startswith("501 Authentication cancelled")
    asking.ask(esmtp.AuthAsked("LOGIN", None))
    assert asking.code(esmtp.AuthAborted(reply.AUTH_LINE_TOO_LONG)) == 500


def test_a_mechanism_that_nobody_offered() -> None:
    asking = client()
    asking.hello()
    for name in ("NTLM", "ntlm"):
        assert asking.ask(esmtp.AuthAsked(name, None)).reply.text == f"{name} authentication mechanism not supported"


def test_the_acl_comes_first() -> None:
    asking = client({Where.AUTH: "deny message = not you"})
    asking.hello()
    assert asking.ask(esmtp.AuthAsked("PLAIN", RIGHT)).reply.text == "not you"
    assert asking.session.facts.authentication is None


def test_auth_that_was_not_offered() -> None:
    acls = {Where.CONNECT: "accept control = allow_auth_unadvertised"}
    asking = client(acls, auth=AuthRules(SERVERS, compile_list(ListKind.HOST, "198.51.100.1")))
    settings = asking.ask(esmtp.Connected()).settings
    assert settings is not None
    assert settings.auth_unadvertised
    asking.hello()
    assert asking.code(esmtp.AuthAsked("PLAIN", RIGHT)) == 235
    strict = client(auth=AuthRules(SERVERS, compile_list(ListKind.HOST, "198.51.100.1")))
    strict.hello()
    assert strict.code(esmtp.AuthAsked("PLAIN", RIGHT)) == 504


def test_another_layer_forgets_it() -> None:
    asking = client()
    asking.hello()
    asking.ask(esmtp.AuthAsked("PLAIN", RIGHT))
    asking.tls()
    assert asking.session.facts.authentication is None
    assert asking.code(esmtp.AuthAsked("PLAIN", RIGHT)) == 504, "nothing is offered before a greeting"


@pytest.mark.parametrize(("known", "identity"), [(True, "laptop"), (False, "")])
def test_a_certificate_logs_in_by_itself(known: bool, identity: str) -> None:
    laptop = certs.laptop()
    asking = client(auth=AuthRules((*SERVERS, BY_CERTIFICATE)))
    asking.contexts.anchors = (laptop,) if known else ()
    asking.hello()
    asking.tls(laptop)
    asking.hello()
    found = asking.session.facts.authentication
    assert (found.identity if found is not None else "") == identity
    asking.session.layer_down()
    assert asking.session.facts.authentication is None


def test_what_the_acl_sees_of_commands() -> None:
    laptop = certs.laptop()
    acl = "accept logwrite = <$smtp_command>"
    asking = client({Where.AUTH: acl}, auth=AuthRules((*SERVERS, BY_CERTIFICATE)))
    asking.contexts.anchors = (laptop,)
    asking.hello()
    asking.session.heard(esmtp.CommandRead("STARTTLS", "starttls"))
    asking.tls(laptop)
    asking.session.heard(esmtp.CommandRead("EHLO", "EHLO laptop"))
    asking.hello()
    for line in ("AUTH EXTERNAL bGFwdG9w", f"AUTH PLAIN {RIGHT}"):
        asking.session.heard(esmtp.CommandRead("AUTH", line))
        asking.ask(esmtp.AuthAsked("PLAIN", RIGHT))
    said = [each.text for each in asking.shelf.of(events.WrittenByACL)]
    assert said == ["<starttls>", "<AUTH EXTERNAL bGFwdG9w>", "<AUTH PLAIN>"]


def test_an_acl_keeps_a_certificate_from_logging_in() -> None:
    laptop = certs.laptop()
    asking = client({Where.AUTH: "deny"}, auth=AuthRules((BY_CERTIFICATE,)))
    asking.contexts.anchors = (laptop,)
    asking.hello()
    asking.tls(laptop)
    asking.hello()
    assert asking.session.facts.authentication is None


@pytest.mark.parametrize(
    ("login", "said", "kept", "sender"),
    [
        ("anna", "carl@far.test", "carl@far.test", "carl@far.test"),
        ("anna", "<>", "<>", ""),
        ("bert", "carl@far.test", "<>", ""),
        ("", "carl@far.test", "<>", ""),
    ],
)
def test_whom_mail_vouches_for(login: str, said: str, kept: str, sender: str) -> None:
    asking = client({Where.MAIL: "warn logwrite = by <$authenticated_sender>\n accept"})
    asking.hello()
    if login:
        asking.ask(esmtp.AuthAsked("LOGIN", None))
        asking.ask(esmtp.AuthResponse(base64.b64encode(login.encode()).decode()))
        assert asking.code(esmtp.AuthResponse(base64.b64encode(b"secret").decode())) == 235
    asking.mail(AUTH=said)
    asking.rcpt()
    asking.data()
    assert asking.queued.parameters.get("AUTH") == kept
    assert asking.shelf.of(events.WrittenByACL)[0].text == f"by <{sender}>"


@pytest.mark.parametrize(
    ("acl", "code", "kept", "why"),
    [
        ("accept condition = ${if eq{$authenticated_sender}{carl@far.test}}", 250, "carl@far.test", ""),
        ("deny", 250, "<>", "rejected by ACL"),
        ("defer message = later", 451, "", ""),
    ],
)
def test_whom_mail_vouches_for_may_be_left_to_an_acl(acl: str, code: int, kept: str, why: str) -> None:
    asking = client({Where.MAILAUTH: acl, Where.RCPT: "accept"})
    asking.hello()
    assert asking.mail(AUTH="carl@far.test").reply.code == code
    notes = [(each.text, each.why) for each in asking.shelf.of(events.ClientNote)]
    assert notes == ([("ignoring AUTH=carl@far.test from", why)] if why else [])
    if code == 250:
        asking.rcpt()
        asking.data()
        assert asking.queued.parameters.get("AUTH") == kept
