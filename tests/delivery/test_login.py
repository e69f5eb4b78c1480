"""AUTH with a server before the message: who is tried, what follows, and never in clear where there was TLS."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.servers import EVERY, Sent, Server
from policy import logins
from relay.delivery.link import HandshakeFailed, StartTLSRefused
from relay.delivery.smtp_rules import LoginRules
from relay.esmtp.client_events import AuthAccepted, AuthChallenge, AuthRefused
from relay.expand.evaluate import compile_expansion
from relay.mail.events import MessageNote
from relay.mail.facts import LocalCaller, SessionFacts
from relay.mail.outcome import Deferred, Delivered, ErrorClass
from relay.mail.reply import Reply
from relay.policy.authenticators import AuthRules

PLAIN = logins.block("plaintext", "first", public_name="PLAIN", client_send="^anna^secret", client_set_id="anna")
LOGIN = logins.block("plaintext", "second", public_name="LOGIN", client_send=": anna : secret")
WELCOME = AuthAccepted(Reply(235, "2.7.0", ("welcome",)))
WRONG = AuthRefused(Reply(535, "5.7.8", ("wrong",)))
LATER = AuthRefused(Reply(454, "4.7.0", ("later",)))
SAID = "auth PLAIN AGFubmEAc2VjcmV0"


def sent(server: Server, **options: Any) -> Sent:
    tls = options.pop("tls", {})
    parameters = options.pop("parameters", None)
    session = options.pop("session", None)
    login = LoginRules(rules=AuthRules((PLAIN, LOGIN)), **options)
    return Sent(server, options={"login": login}, auth=logins.ports(), parameters=parameters, session=session, **tls)


def offering(words: str = "PLAIN LOGIN", **more: Any) -> Server:
    return Server(offers={"AUTH": words} if words else {}, **more)


def test_hosts_try_auth() -> None:
    server = offering()
    assert isinstance(sent(server, try_=EVERY).outcome, Delivered)
    assert server.story == ["dial", "hello", "tls", "hello", SAID, "send in TLS", "quit"]


def test_nobody_asked_for_it() -> None:
    server = offering()
    assert isinstance(sent(server).outcome, Delivered)
    assert SAID not in server.story


def test_the_next_one_is_tried_after_a_refusal() -> None:
    server = offering(auth=[WRONG, AuthChallenge("VXNlcm5hbWU6"), AuthChallenge("UGFzc3dvcmQ6"), WELCOME])
    assert isinstance(sent(server, require=EVERY).outcome, Delivered)
    assert server.story[4:-2] == [SAID, "auth LOGIN None", "respond YW5uYQ==", "respond c2VjcmV0"]


def test_the_log_names_the_authenticator_that_failed_and_the_host() -> None:
    server = offering("PLAIN", auth=[WRONG])
    delivery = sent(server, try_=EVERY)
    outcome = delivery.outcome
    (note,) = delivery.journal.of(MessageNote)
    assert note.text == "first authenticator failed H=one.test [192.0.2.1] 535 wrong"
    assert isinstance(outcome, Delivered)
    assert outcome.dialog is not None
    assert outcome.dialog.steps == "esea"


def test_what_was_asserted_is_known_of_the_delivery() -> None:
    outcome = sent(offering(), try_=EVERY, sender=compile_expansion("me+x@y.test")).outcome
    assert isinstance(outcome, Delivered)
    assert outcome.dialog is not None
    assert outcome.dialog.sender == "me+x@y.test"


@pytest.mark.parametrize("words, auth", [("", []), ("CRAM-MD5", []), ("PLAIN", [WRONG]), ("PLAIN", [LATER])])
def test_hosts_require_auth(words: str, auth: list[Any]) -> None:
    server = offering(words, auth=auth)
    outcome = sent(server, require=EVERY).outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.error, outcome.host_wide) == (ErrorClass.AUTH_FAILED, True)
    assert "send in TLS" not in server.story
    assert server.links[0].over


@pytest.mark.parametrize("auth, is_sent", [([WRONG], True), ([LATER], False)])
def test_a_try_that_fails(auth: list[Any], is_sent: bool) -> None:
    """Exim: 5xx lets the message go on without, anything else delays it."""
    assert isinstance(sent(offering("PLAIN", auth=auth), try_=EVERY).outcome, Delivered) is is_sent


def test_in_clear_only_where_tls_was_never_spoken_of() -> None:
    server = offering(offers_tls=False)
    assert isinstance(sent(server, try_=EVERY).outcome, Delivered)
    assert f"{SAID} in clear" in server.story


@pytest.mark.parametrize(
    "starttls", [StartTLSRefused(Reply(502, "", ("no",))), HandshakeFailed(ErrorClass.TLS_FAILED, "broken")]
)
def test_no_credentials_in_clear_after_tls_failed(starttls: Exception) -> None:
    server = offering(starttls=starttls)
    assert isinstance(sent(server, try_=EVERY).outcome, Delivered)
    assert not [each for each in server.story if each.startswith("auth")]
    required = sent(offering(starttls=starttls), require=EVERY)
    assert isinstance(required.outcome, Deferred)


@pytest.mark.parametrize(
    "options, received, expected",
    [
        ({"try_": EVERY}, "<>", "<>"),
        ({"try_": EVERY}, None, None),
        ({"try_": EVERY, "sender": compile_expansion("me+x@y.test")}, "<>", "me+2Bx@y.test"),
        ({"try_": EVERY, "sender": compile_expansion("${if eq{a}{b}{x}fail}")}, "a@y.test", "a@y.test"),
        ({"sender": compile_expansion("me@y.test")}, "<>", None),
        ({"sender": compile_expansion("me@y.test"), "sender_force": True}, None, "me@y.test"),
    ],
)
def test_the_sender_that_is_asserted(options: dict[str, Any], received: str | None, expected: str | None) -> None:
    server = offering()
    parameters = {"AUTH": received} if received is not None else {}
    assert isinstance(sent(server, parameters=parameters, **options).outcome, Delivered)
    (envelope,) = server.links[0].envelopes
    assert envelope.parameters.get("AUTH") == expected


@pytest.mark.parametrize("received, expected", [(None, "anne@here.test"), ("<>", "<>")])
def test_the_caller_is_asserted_of_a_message_of_this_machine(received: str | None, expected: str) -> None:
    server = offering()
    local = SessionFacts(caller=LocalCaller("anne", 1000, 1000))
    parameters = {"AUTH": received} if received is not None else {}
    assert isinstance(sent(server, try_=EVERY, parameters=parameters, session=local).outcome, Delivered)
    assert server.links[0].envelopes[0].parameters.get("AUTH") == expected
