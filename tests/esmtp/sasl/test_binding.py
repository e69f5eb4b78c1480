"""Channel bindings of a TLS layer."""

import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from relay.esmtp.sasl.binding import END_POINT, EXPORTER, bindings_of, server_end_point
from relay.mail.facts import Certificate, TLSFacts

import certs

TLS = TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, binding=b"\1" * 32)


def signed(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, used: hashes.HashAlgorithm | None) -> bytes:
    like = certs.relay().certificate
    builder = x509.CertificateBuilder().subject_name(like.subject).issuer_name(like.subject).serial_number(7)
    builder = builder.not_valid_before(like.not_valid_before_utc).not_valid_after(like.not_valid_after_utc)
    return certs_der(builder.public_key(key.public_key()).sign(key, used))  # type: ignore[arg-type]


def certs_der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "used, name", [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")]
)
def test_the_end_point_goes_by_the_signatures_hash(used: hashes.HashAlgorithm, name: str) -> None:
    der = signed(ec.generate_private_key(ec.SECP256R1()), used)
    assert server_end_point(der) == hashlib.new(name, der).digest()


def test_a_signature_without_a_hash_has_no_end_point() -> None:
    assert server_end_point(signed(ed25519.Ed25519PrivateKey.generate(), None)) == b""
    assert server_end_point(b"no certificate") == b""


def test_a_layer_has_its_bindings_the_best_first() -> None:
    der = certs.relay().der
    ours = Certificate(der, "/CN=relay", "/CN=relay", "")
    found = bindings_of(TLS, ours)
    assert list(found.items()) == [(EXPORTER, TLS.binding), (END_POINT, hashlib.sha256(der).digest())]
    assert list(bindings_of(replace(TLS, version="TLS1.2"), ours)) == [END_POINT]
    assert bindings_of(None, ours) == {}
    assert list(bindings_of(TLS, None)) == [EXPORTER]
