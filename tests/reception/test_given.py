"""What -oM… options make of a session, and who is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.mail.facts import Authentication, Endpoint, Hello, LocalCaller, MessageFacts
from relay.reception.given import NAMES, Given, read_given, session_of
from relay.reception.request import BadRequest, SubmissionRequest, decode_request, encode_request
from relay.spool.codec import decode_facts, encode_facts

ANNA = LocalCaller("anna", 1000, 1000)
ROOT = LocalCaller("root", 0, 0, trusted=True)
SAID = {
    "address": "[192.0.2.7]:99",
    "interface": "192.0.2.1.25",
    "host": "laptop.test",
    "ident": "bert",
    "protocol": "uucp",
    "authenticator": "plain",
    "authenticated_id": "carl",
    "authenticated_sender": "carla@b.test",
    "message": "10HmaX-0005vi-00",
}


def test_a_trusted_caller_describes_the_client() -> None:
    facts = session_of(ROOT, read_given(SAID))
    assert (facts.peer, facts.local, facts.peer_host) == (
        Endpoint("192.0.2.7", 99),
        Endpoint("192.0.2.1", 25),
        "laptop.test",
    )
    assert (facts.user, facts.protocol()) == ("bert", "uucp")
    assert facts.authentication == Authentication("plain", "carl", "carla@b.test")
    assert facts.caller == ROOT


def test_a_sender_alone_leaves_the_caller_who_he_is() -> None:
    facts = session_of(ROOT, read_given({"authenticated_sender": "carla@b.test"}))
    assert facts.authentication == Authentication("", "root", "carla@b.test")


@pytest.mark.parametrize(
    "text, address, port",
    [("2001:db8::1.999", "2001:db8::1", 999), ("fe80::1", "fe80::1", 0), ("::1", "::1", 0)],
)
def test_addresses_of_version_six_and_their_ports(text: str, address: str, port: int) -> None:
    assert read_given({"address": text}).peer == Endpoint(address, port)


def test_who_speaks_for_a_host_speaks_the_protocol_of_the_network() -> None:
    facts = session_of(ROOT, Given(peer=Endpoint("192.0.2.9", 0)))
    assert replace(facts, hello=Hello("x", extended=False)).protocol() == "smtp"
    assert replace(session_of(ROOT, Given()), hello=Hello("x", extended=True)).protocol() == "local-esmtp"


@pytest.mark.parametrize(
    "given, hello, protocol",
    [
        (Given(authenticator="plain"), Hello("x", extended=True), "local-esmtpa"),
        (Given(identity="carl"), Hello("x", extended=True), "local-esmtp"),
        (Given(authenticator="plain"), Hello("x", extended=False), "local-smtp"),
        (Given(authenticator="plain", peer=Endpoint("192.0.2.9", 0)), Hello("x", extended=True), "esmtpa"),
        (Given(identity="carl", peer=Endpoint("192.0.2.9", 0)), Hello("x", extended=True), "esmtp"),
    ],
)
def test_who_has_said_auth_shows_in_the_protocol(given: Given, hello: Hello, protocol: str) -> None:
    assert replace(session_of(ROOT, given), hello=hello).protocol() == protocol


def test_nobody_else_is_believed() -> None:
    facts = session_of(ANNA, read_given(SAID))
    assert (facts.peer, facts.user, facts.protocol(), facts.authentication) == (None, "anna", "local", None)


def test_batched_smtp_has_a_protocol_of_its_own() -> None:
    assert replace(session_of(ANNA, Given()), in_dialog=True).protocol() == "local-smtp"
    assert session_of(ANNA, Given(), batched=True).protocol() == "local-bsmtp"


@pytest.mark.parametrize("name", ["address", "interface"])
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(ValueError, match=r"nowhere"):
        read_given({name: "nowhere"})


def test_what_is_said_goes_through_a_request() -> None:
    assert set(SAID) == NAMES
    request = SubmissionRequest(("you@far.test",), given=tuple(SAID.items()))
    assert decode_request(encode_request(request)) == request
    broken = encode_request(request).replace(b'"uucp"', b"1")
    with pytest.raises(BadRequest):
        decode_request(broken)


def test_it_stays_with_the_message() -> None:
    facts = MessageFacts(replace(session_of(ROOT, read_given(SAID)), batched=True), 1.0)
    assert decode_facts(encode_facts(facts)) == facts
