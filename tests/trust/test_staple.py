"""OCSP responses that a server sends in the handshake: which of them prove anything."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from delivery.post import run
from delivery.servers import EVERY
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import HostView, Scope
from relay.policy.tls import ClientTLSRules, client_policy
from relay.tls.contexts import ServerContexts, make_client_context
from relay.tls.policy import ServerTLS
from relay.tls.stack import ContextNeeded, LayerUp, Stack
from relay.trust.staple import judge_staple, staple_fault

import certs

NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)
CA, OTHER = certs.authority(), certs.authority("Another CA")
LEAF, SECOND = CA.issue("relay.test", sans=("relay.test",)), CA.issue("second.test", sans=("second.test",))


def key_of(issuer: certs.Authority) -> Any:
    return serialization.load_pem_private_key(issuer.own.key_pem, None)


def response(
    *,
    of: x509.Certificate = LEAF.certificate,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    age: datetime.timedelta = HOUR,
    life: datetime.timedelta = 24 * HOUR,
    signer: certs.Authority = CA,
) -> bytes:
    revoked = NOW - HOUR if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=of,
        issuer=CA.own.certificate,
        algorithm=hashes.SHA256(),
        cert_status=status,
        this_update=NOW - age,
        next_update=NOW - age + life,
        revocation_time=revoked,
        revocation_reason=None,
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.own.certificate).sign(
        key_of(signer), hashes.SHA256()
    )
    return signed.public_bytes(serialization.Encoding.DER)


def fault(octets: bytes, *, anchors: tuple[x509.Certificate, ...] = (CA.own.certificate,)) -> str:
    return staple_fault(octets, (LEAF.certificate,), anchors, NOW.timestamp())


def test_a_good_one() -> None:
    assert fault(response()) == ""


@pytest.mark.parametrize(
    "octets, words",
    [
        (b"", "status not received"),
        (b"garbage", "can't be read"),
        (response(status=ocsp.OCSPCertStatus.REVOKED), "certificate revoked"),
        (response(status=ocsp.OCSPCertStatus.UNKNOWN), "unknown"),
        (response(age=30 * HOUR), "out-of-date"),
        (response(age=-HOUR), "of a time to come"),
        (response(of=SECOND.certificate), "another certificate"),
        (response(signer=OTHER), "signature"),
    ],
)
def test_others(octets: bytes, words: str) -> None:
    assert words in fault(octets)


@pytest.mark.parametrize(
    ("octets", "status"),
    [(b"", 1), (b"garbage", 3), (response(status=ocsp.OCSPCertStatus.REVOKED), 3), (response(), 4)],
)
def test_the_number_of_the_answer(octets: bytes, status: int) -> None:
    fault, found = judge_staple(octets, (LEAF.certificate,), (CA.own.certificate,), NOW.timestamp())
    assert found == status
    assert (fault == "") is (status == 4)


def test_whoever_issued_it_must_be_known() -> None:
    assert "issuer" in fault(response(), anchors=(OTHER.own.certificate,))
    assert staple_fault(response(), (), (), NOW.timestamp()) == "the server showed no certificate"


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_server_is_asked_for_it(is_asked: bool, tmp_path: Path) -> None:
    """Exim: hosts_request_ocsp. What the server sends comes with the handshake, and only to whom has asked."""
    certificate, key = LEAF.write(tmp_path, "leaf")
    (tmp_path / "staple").write_bytes(response())
    anchor = tmp_path / "ca.crt"
    anchor.write_bytes(CA.own.cert_pem)
    made = ServerContexts().get(
        ServerTLS(str(certificate), str(key), str(anchor), staple=str(tmp_path / "staple")), NOW.timestamp()
    )
    listed = EVERY if is_asked else None
    rules = ClientTLSRules(verify_certificates=compile_expansion(str(anchor)), request_ocsp=listed)
    scope = Scope(host=HostView("relay.test", "192.0.2.1", 25))
    policy = run(client_policy(rules, scope, ("relay.test",)))
    client, server = Stack(), Stack()
    client.connect(make_client_context(policy).ssl, wants_staple=policy.request_ocsp)
    server.accept()
    handshake = None
    for _ in range(10):
        server.receive(client.data_to_send())
        while event := server.next_event():
            if isinstance(event, ContextNeeded):
                server.use_context(made.ssl)
        client.receive(server.data_to_send())
        while event := client.next_event():
            if isinstance(event, LayerUp):
                handshake = event.handshake
    assert handshake is not None
    assert bool(handshake.staple_received) is is_asked
    if is_asked:
        assert staple_fault(handshake.staple_received, handshake.chain, (CA.own.certificate,), NOW.timestamp()) == ""
