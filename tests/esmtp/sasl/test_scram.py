"""SCRAM: the examples of its RFCs, every malformed step, the bindings, and both halves against each other."""

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.esmtp.sasl.saslprep import NotPreparable
from relay.esmtp.sasl.scram import Bound, ScramClient, ScramServer, Unbound
from relay.esmtp.sasl.scram_keys import ScramKeys, keys_from, salted_password
from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, GiveUp, KeysWanted, Respond, SecretWanted

SALT = b"0123456789abcdef"
SALTED = salted_password("sha256", "pencil", SALT, 4096)
KEYS = keys_from("sha256", SALTED, SALT, 4096)
EXPORTER = {"tls-exporter": b"\1" * 32, "tls-server-end-point": b"\2" * 32}
FIRST = b"n,,n=user,r=client"


def server(plus: str = "", bindings: Mapping[str, bytes] | None = None, plus_offered: bool = False) -> ScramServer:
    return ScramServer(f"SCRAM-SHA-256{plus}", "server", bindings or {}, plus_offered=plus_offered)


def client(binding: Bound | Unbound = Unbound.UNSUPPORTED, name: str = "user", authorization: str = "") -> ScramClient:
    plus = "-PLUS" if isinstance(binding, Bound) else ""
    return ScramClient(f"SCRAM-SHA-256{plus}", name, authorization, "client", binding)


def sent(step: object) -> bytes:
    assert isinstance(step, Respond | Challenge)
    return step.data or b""


def fault(step: object) -> Fault:
    assert isinstance(step, Failure)
    return step.fault


# The examples: RFC 5802 5, RFC 7677 3.
EXAMPLES = {
    "SCRAM-SHA-1": (
        "sha1",
        "fyko+d2lbbFgONRv9qkxdawL",
        "3rfcNHYJY1ZVvWVs7j",
        "QSXCR+Q6sek8bf92",
        b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "sha256",
        "rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


@pytest.mark.parametrize("mechanism", EXAMPLES)
def test_the_example_of_the_rfc(mechanism: str) -> None:
    hash_name, ours, theirs, salt, proof, signature = EXAMPLES[mechanism]
    c = ScramClient(mechanism, "user", "", ours, Unbound.UNSUPPORTED)
    s = ScramServer(mechanism, theirs, {}, plus_offered=False)
    first = sent(c.start())
    assert first == f"n,,n=user,r={ours}".encode()
    assert s.start(first) == SecretWanted("user", ("user", ""))
    salted = salted_password(hash_name, "pencil", base64.b64decode(salt), 4096)
    offered = s.keys(keys_from(hash_name, salted, base64.b64decode(salt), 4096))
    assert offered.data == f"r={ours}{theirs},s={salt},i=4096".encode()
    assert c.challenge(offered.data) == KeysWanted(base64.b64decode(salt), 4096)
    final = c.keys(salted)
    assert final.data == f"c=biws,r={ours}{theirs},p=".encode() + proof
    signed = s.respond(final.data or b"")
    assert signed == Challenge(b"v=" + signature)
    assert c.distrust()
    assert c.challenge(signed.data) == Respond(b"")
    assert c.distrust() == ""
    assert s.respond(b"") == Complete(("user", ""))


def both(c: ScramClient, s: ScramServer, keys: ScramKeys | None = KEYS, salted: bytes = SALTED) -> object:
    """Runs the two against each other: the server's last step, or where the client gave up."""
    step: object = s.start(c.start().data)
    while True:
        if isinstance(step, SecretWanted):
            step = s.keys(keys) if keys is not None else s.unknown(KEYS)
        if not isinstance(step, Challenge):
            return step
        answer: object = c.challenge(step.data)
        if isinstance(answer, KeysWanted):
            assert (answer.salt, answer.iterations) == (SALT, 4096)
            answer = c.keys(salted)
        if not isinstance(answer, Respond):
            return answer
        step = s.respond(answer.data or b"")


def test_both_halves_agree() -> None:
    c = client()
    assert both(c, server()) == Complete(("user", ""))
    assert c.distrust() == ""


def test_acting_for_another_is_told() -> None:
    assert both(client(authorization="boss"), server()) == Complete(("user", "boss"))


@pytest.mark.parametrize("name", ["a,b", "a=b", "=2C", "ü", "x" * 200])
def test_names_are_carried(name: str) -> None:
    assert both(client(name=name), server()) == Complete((name, ""))


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_names_are_carried_or_refused(name: str, authorization: str) -> None:
    from relay.esmtp.sasl.saslprep import prepare

    try:
        c, expected = client(name=name, authorization=authorization), (prepare(name), prepare(authorization))
        if prepare(expected[0]) != expected[0] or prepare(expected[1]) != expected[1] or not all(expected[:1]):
            return
    except NotPreparable:
        return
    if authorization and not expected[1]:
        return
    assert both(c, server()) == Complete(expected)


def test_a_wrong_password() -> None:
    assert fault(both(client(), server(), salted=b"\0" * 32)) is Fault.WRONG


def test_a_name_that_is_unknown_fails_at_the_end_even_with_the_decoys_password() -> None:
    s = server()
    assert fault(both(client(), s, keys=None)) is Fault.WRONG


# Channel binding


@pytest.mark.parametrize("kind", EXPORTER)
def test_bound_to_one_channel(kind: str) -> None:
    assert both(client(Bound(kind, EXPORTER[kind])), server("-PLUS", EXPORTER)) == Complete(("user", ""))


def test_somebody_in_the_middle_is_found_by_the_binding() -> None:
    assert fault(both(client(Bound("tls-exporter", b"\3" * 32)), server("-PLUS", EXPORTER))) is Fault.WRONG


def test_an_unknown_binding() -> None:
    assert fault(server("-PLUS", EXPORTER).start(b"p=tls-unique,,n=user,r=client")) is Fault.WRONG
    assert fault(server("-PLUS", {}).start(b"p=tls-exporter,,n=user,r=client")) is Fault.WRONG


@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_plus_without_a_binding(flag: bytes) -> None:
    assert fault(server("-PLUS", EXPORTER).start(flag + b",,n=user,r=client")) is Fault.WRONG


def test_a_binding_without_plus() -> None:
    assert fault(server(bindings=EXPORTER).start(b"p=tls-exporter,,n=user,r=client")) is Fault.WRONG


def test_a_client_that_was_not_shown_the_offer() -> None:
    assert fault(both(client(Unbound.NOT_OFFERED), server(plus_offered=True))) is Fault.WRONG
    assert both(client(Unbound.NOT_OFFERED), server()) == Complete(("user", ""))
    assert both(client(Unbound.UNSUPPORTED), server(plus_offered=True)) == Complete(("user", ""))


def test_a_changed_flag_is_found() -> None:
    """Somebody turns the client's y into n, so that the server does not see that its offer was taken out."""
    c, s = client(Unbound.NOT_OFFERED), server(plus_offered=True)
    step = s.start(b"n" + sent(c.start())[1:])
    assert isinstance(step, SecretWanted)
    c.challenge(s.keys(KEYS).data)
    assert fault(s.respond(sent(c.keys(SALTED)))) is Fault.WRONG


# Malformed


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"x,,n=user,r=client",
        b",,n=user,r=client",
        b"n,n=user,r=client",
        b"n,b=boss,n=user,r=client",
        b"n,,m=x,n=user,r=client",
        b"n,,n=,r=client",
        b"n,,n=us=er,r=client",
        b"n,,n=us\0er,r=client",
        b"n,,n=\xff,r=client",
        b"n,,n=\x07,r=client",
        b"n,,r=client,n=user",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=" + b"x" * 129,
        b"n,,n=user,r=client,",
        b"n,,n=user,r=client\n",
        b"p=,,n=user,r=client",
        b"n,a=,n=user,r=client",
    ],
)
def test_a_malformed_first_message(message: bytes) -> None:
    assert fault(server().start(message)) is Fault.MALFORMED


def test_further_attributes_are_let_pass() -> None:
    assert isinstance(server().start(b"n,,n=user,r=client,x=y"), SecretWanted)


def test_without_an_initial_response_the_first_challenge_is_empty() -> None:
    s = server()
    assert s.start(None) == Challenge(b"")
    assert isinstance(s.respond(FIRST), SecretWanted)


def final(**changes: bytes) -> bytes:
    """The right final message, in parts."""
    c, s = client(), server()
    s.start(c.start().data)
    c.challenge(s.keys(KEYS).data)
    right = sent(c.keys(SALTED))
    parts = dict(part.split(b"=", 1) for part in right.split(b","))
    named = {key.decode(): value for key, value in parts.items()} | changes
    return b",".join(key.encode() + b"=" + value for key, value in named.items())


@pytest.mark.parametrize(
    "message, expected",
    [
        (final(), None),
        (final(r=b"clientserver0"), Fault.WRONG),
        (final(r=b"client"), Fault.WRONG),
        (final(c=b"eSws"), Fault.WRONG),
        (final(c=b"biws="), Fault.MALFORMED),
        (final(p=b"AAAA"), Fault.WRONG),
        (final(p=b"A"), Fault.MALFORMED),
        (final(p=base64.b64encode(b"\0" * 32)), Fault.WRONG),
        (final(p=b""), Fault.MALFORMED),
        (final(x=b"y"), Fault.MALFORMED),
        (b"", Fault.MALFORMED),
        (b"p=" + b"A" * 44, Fault.MALFORMED),
    ],
)
def test_the_final_message(message: bytes, expected: Fault | None) -> None:
    s = server()
    s.start(FIRST)
    s.keys(KEYS)
    step = s.respond(message)
    assert step.fault is expected if isinstance(step, Failure) else expected is None


def test_an_answer_to_the_signature_is_empty() -> None:
    c, s = client(), server()
    s.start(c.start().data)
    c.challenge(s.keys(KEYS).data)
    assert isinstance(s.respond(sent(c.keys(SALTED))), Challenge)
    assert fault(s.respond(b"x")) is Fault.MALFORMED


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_a_server_never_raises(first: bytes, last: bytes) -> None:
    for begin in (first, b"n,,n=" + first):
        s = server()
        if isinstance(s.start(begin), SecretWanted):
            s.keys(KEYS)
            s.respond(last)
    s = server()
    s.start(FIRST)
    s.keys(KEYS)
    assert isinstance(s.respond(b"c=biws,r=clientserver,p=" + last), Failure)


# A server that is not what it should be


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"r=other,s=c2FsdA==,i=4096",
        b"r=client,s=c2FsdA==,i=4096",
        b"r=clientx,s=,i=4096",
        b"r=clientx,s=c2FsdA,i=4096",
        b"r=clientx,s=c2FsdA==,i=1",
        b"r=clientx,s=c2FsdA==,i=4095",
        b"r=clientx,s=c2FsdA==,i=999999999",
        b"r=clientx,s=c2FsdA==,i=0",
        b"r=clientx,s=c2FsdA==",
        b"m=x,r=clientx,s=c2FsdA==,i=4096",
        b"e=other-error",
        b"v=AAAA",
    ],
)
def test_a_first_challenge_that_is_refused(data: bytes) -> None:
    c = client()
    c.start()
    assert isinstance(c.challenge(data), GiveUp)
    assert c.distrust()


@pytest.mark.parametrize(
    "data", [b"", b"v=", b"v=AAAA", b"v=" + base64.b64encode(b"\0" * 32), b"e=invalid-proof", b"v=\xff"]
)
def test_a_server_without_the_key_is_no_server_of_ours(data: bytes) -> None:
    c, s = client(), server()
    s.start(c.start().data)
    c.challenge(s.keys(KEYS).data)
    c.keys(SALTED)
    assert isinstance(c.challenge(data), GiveUp)
    assert c.distrust()


def test_a_challenge_behind_the_end() -> None:
    c = client()
    assert both(c, server()) == Complete(("user", ""))
    assert isinstance(c.challenge(b""), GiveUp)


@given(st.binary(max_size=80))
def test_a_client_never_raises(data: bytes) -> None:
    c = client()
    c.start()
    c.challenge(data)
    c.challenge(data)


def test_an_unusable_name() -> None:
    with pytest.raises(NotPreparable):
        client(name="\x07")
