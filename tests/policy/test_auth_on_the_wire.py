"""AUTH over both SMTP machines: what reaches the wire, and that both sides end in step."""

from dataclasses import replace

import pytest

from delivery.post import run
from policy.logins import OUTGOING, WITH_CERTIFICATE, block, ports, scope
from relay.esmtp import client_events
from relay.esmtp.answers import Answer
from relay.esmtp.client import Client
from relay.esmtp.client_settings import ClientSettings
from relay.esmtp.extensions import Offers
from relay.esmtp.limits import ServerSettings
from relay.esmtp.questions import AuthAborted, AuthAsked, AuthResponse, Connected, HelloGiven
from relay.esmtp.server import Server
from relay.mail import reply
from relay.mail.reply import Reply
from relay.policy.authenticate import Login, Outcome, Prompt
from relay.policy.authenticate_client import Attempt, Begin, Line, LoggedIn, Rejected, candidates
from relay.policy.authenticators import Authenticator, AuthRules, offer

LONG = "x" * 2000
SERVERS = (
    block("plaintext", "plain", public_name="PLAIN", server_prompts=":", server_set_id="$auth2",
          server_condition="${if eq{$auth3}{" + LONG + "}}"),
    block("plaintext", "login", public_name="LOGIN", server_prompts="Username:: : Password::",
          server_condition="${if eq{$auth2}{secret}}", server_set_id="$auth1"),
    block("cram_md5", "cram", public_name="CRAM-MD5", server_secret="secret", server_set_id="$auth1"),
    block("external", "ext", public_name="EXTERNAL", server_condition="1", server_set_id="$auth1"),
    block("gsasl", "scram", public_name="SCRAM-SHA-256-PLUS", server_mech="SCRAM-SHA-256-PLUS",
          server_password="pencil", server_condition="1", server_set_id="$auth1"),
)  # fmt: skip


class Session:
    """The two machines, the decisions of both sides, and the octets between them."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.ports = ports()
        self.server = Server(ServerSettings(), 0.0, tls=True)
        self.client = Client(ClientSettings("laptop.test"), 0.0, OUTGOING)
        self.scope = scope(WITH_CERTIFICATE)
        self.offer = run(offer(AuthRules(SERVERS), self.scope))
        self.authenticator = authenticator
        self.login: Login | None = None
        self.outcome: Outcome | None = None
        self.ending: object = None
        self.attempt: Attempt | None = None

    def run(self) -> None:
        """Until nothing moves any more."""
        while self._step():
            pass

    def _step(self) -> bool:
        moved = False
        while (question := self.server.next_event()) is not None:
            moved = True
            if isinstance(question, Connected | HelloGiven | AuthAsked | AuthResponse | AuthAborted):
                given = self._answer(question)
                self.server.answer(given.reply, given.offers, 0.0)
        if data := self.server.data_to_send():
            self.client.receive(data, 0.0)
        while (event := self.client.next_event()) is not None:
            moved = True
            self._heard(event)
        if data := self.client.data_to_send():
            moved = True
            self.server.receive(data, 0.0)
        return moved

    def _answer(self, question: object) -> Answer:
        match question:
            case Connected():
                return Answer(reply.SERVICE_READY)
            case HelloGiven():
                return Answer(reply.OK, Offers((("AUTH", self.offer.mechanisms),)))
            case AuthAsked(mechanism, initial):
                found = self.offer.find(mechanism)
                assert found is not None
                self.login = Login(found, self.offer, self.scope, self.ports)
                self.outcome = run(self.login.start(initial))
            case AuthResponse(text):
                assert self.login is not None
                self.outcome = run(self.login.respond(text))
            case AuthAborted(said):
                return Answer(said)
        assert self.outcome is not None
        return Answer(reply.challenge(self.outcome.text) if isinstance(self.outcome, Prompt) else self.outcome.reply)

    def _heard(self, event: client_events.ClientEvent) -> None:
        match event:
            case client_events.Greeted():
                self.client.hello(0.0)
            case client_events.HelloAccepted(extensions=extensions):
                words, rules = extensions["AUTH"].split(), AuthRules((self.authenticator,))
                towards = scope(tls_out=OUTGOING)
                [chosen] = run(candidates(rules, words, towards, [], in_clear=False))
                self.attempt = Attempt(chosen, words, towards, self.ports)
                begun = run(self.attempt.start())
                assert isinstance(begun, Begin)
                self.client.authenticate(begun.mechanism, begun.initial, 0.0)
            case client_events.AuthChallenge(text):
                assert self.attempt is not None
                move = run(self.attempt.challenged(text))
                if isinstance(move, Line):
                    self.client.respond(move.text, 0.0)
                else:
                    self.ending = move
                    self.client.cancel_auth(0.0)
            case client_events.AuthAccepted(said) | client_events.AuthRefused(said):
                self.answered(said)

    def answered(self, said: Reply) -> None:
        assert self.attempt is not None
        if self.ending is None:
            self.ending = run(self.attempt.answered(said))


CLIENTS = [
    block("plaintext", public_name="PLAIN", client_send="^ada^" + LONG),
    block("plaintext", public_name="PLAIN", client_send=": ^ada^" + LONG),
    block("plaintext", public_name="LOGIN", client_send=": ada : secret"),
    block("cram_md5", public_name="CRAM-MD5", client_name="ada", client_secret="secret"),
    block("external", public_name="EXTERNAL", client_send="ada"),
    block("gsasl", public_name="SCRAM-SHA-256-PLUS", server_mech="scram-sha-256-plus", client_username="ada",
          client_password="pencil"),
]  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS, ids=[f"{place} {each.public_name}" for place, each in enumerate(CLIENTS)])
def test_over_both_machines(client: Authenticator) -> None:
    session = Session(client)
    session.run()
    assert isinstance(session.ending, LoggedIn)


def test_a_wrong_password_over_both_machines() -> None:
    session = Session(block("plaintext", public_name="LOGIN", client_send=": ada : wrong"))
    session.run()
    assert isinstance(session.ending, Rejected)
    assert str(session.ending.reply) == "535 Incorrect authentication data"


def test_a_client_that_breaks_off_over_both_machines() -> None:
    session = Session(block("plaintext", public_name="LOGIN", client_send=": ada"))
    session.run()
    assert "Too few items" in str(session.ending)


def test_somebody_between_the_layers() -> None:
    session = Session(CLIENTS[-1])
    session.scope = scope(replace(WITH_CERTIFICATE, tls=replace(OUTGOING, ours=OUTGOING.peer, binding=b"\0" * 32)))
    session.run()
    assert isinstance(session.ending, Rejected)
