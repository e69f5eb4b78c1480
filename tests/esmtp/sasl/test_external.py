"""EXTERNAL: one identity, with the command or behind an empty prompt."""

from relay.esmtp.sasl.external import ExternalClient, ExternalServer
from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, GiveUp, Respond


def test_with_the_command() -> None:
    assert ExternalServer().start(b"laptop") == Complete(("laptop",))
    assert ExternalServer().start(b"") == Complete(("",))


def test_behind_a_prompt() -> None:
    server = ExternalServer()
    assert server.start(None) == Challenge(b"")
    assert server.respond(b"laptop") == Complete(("laptop",))


def test_an_identity_has_no_zero_octet() -> None:
    failed = ExternalServer().start(b"a\0b")
    assert isinstance(failed, Failure)
    assert failed.fault is Fault.MALFORMED


def test_the_client_says_it_with_the_command() -> None:
    client = ExternalClient(b"")
    assert client.start() == Respond(b"")
    assert client.distrust() == ""
    assert isinstance(client.challenge(b""), GiveUp)
