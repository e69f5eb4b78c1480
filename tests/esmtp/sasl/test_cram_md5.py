"""CRAM-MD5: the example of its RFC, wrong answers, both halves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.esmtp.sasl.cram_md5 import CramClient, CramServer
from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, GiveUp, Respond, SecretWanted

# RFC 2195 2
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
ANSWER = b"tim b913a602c7eda7a495b4e6e7334d3890"
SECRET = "tanstaaftanstaaf"


def asked(answer: bytes = ANSWER) -> tuple[CramServer, object]:
    server = CramServer(CHALLENGE)
    assert server.start(None) == Challenge(CHALLENGE)
    return server, server.respond(answer)


def test_the_example_of_the_rfc() -> None:
    server, step = asked()
    assert step == SecretWanted("tim", ("tim",))
    assert server.secret(SECRET) == Complete(("tim",))
    client = CramClient("tim", SECRET)
    assert client.start() == Respond(None)
    assert client.distrust()
    assert client.challenge(CHALLENGE) == Respond(ANSWER)
    assert client.distrust() == ""
    assert isinstance(client.challenge(CHALLENGE), GiveUp)


@pytest.mark.parametrize("secret", [None, "", "tanstaaftanstaa"])
def test_a_wrong_or_missing_secret(secret: str | None) -> None:
    server, _ = asked()
    failed = server.secret(secret)
    assert isinstance(failed, Failure)
    assert failed.fault is Fault.WRONG


def test_who_has_no_secret_does_not_pass_with_an_empty_one() -> None:
    answer = CramClient("tim", "").challenge(CHALLENGE)
    assert isinstance(answer, Respond)
    server, _ = asked(answer.data or b"")
    assert isinstance(server.secret(""), Failure)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"tim",
        b"tim ",
        ANSWER + b"0",
        ANSWER[:-1],
        ANSWER.replace(b" ", b"  "),
        ANSWER.replace(b" ", b"\0"),
        b"t o " + ANSWER[4:],
    ],
)
def test_a_malformed_answer_is_a_wrong_one(answer: bytes) -> None:
    _, step = asked(answer)
    assert isinstance(step, Failure)
    assert step.fault is Fault.WRONG


def test_upper_case_is_another_digest() -> None:
    server, _ = asked(b"tim " + ANSWER[4:].upper())
    assert isinstance(server.secret(SECRET), Failure)


def test_nothing_may_come_with_the_command() -> None:
    assert CramServer(CHALLENGE).start(b"") == Failure(Fault.UNEXPECTED)


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=20),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=100),
)
def test_both_halves_agree(name: str, secret: str) -> None:
    server, client = CramServer(CHALLENGE), CramClient(name, secret)
    answer = client.challenge(CHALLENGE)
    assert isinstance(answer, Respond)
    assert isinstance(server.respond(answer.data or b""), SecretWanted)
    assert server.secret(secret) == Complete((name,))


@given(st.binary(max_size=60))
def test_nothing_raises(answer: bytes) -> None:
    asked(answer)
