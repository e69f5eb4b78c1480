"""Certificates and OCSP responses that only the tests of TLS need."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certs import Authority, CertKey, self_signed

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


def response(
    ca: Authority,
    leaf: CertKey,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    since: datetime.datetime = NOW - DAY,
    until: datetime.datetime | None = NOW + DAY,
) -> bytes:
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.certificate,
        issuer=ca.own.certificate,
        algorithm=hashes.SHA1(),
        cert_status=status,
        this_update=since,
        next_update=until,
        revocation_time=NOW - DAY if revoked else None,
        revocation_reason=None,
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca.own.certificate).sign(ca.own.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def weak_identity() -> CertKey:
    like, key = self_signed("weak.test"), rsa.generate_private_key(public_exponent=65537, key_size=1024)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(like.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    return CertKey(certificate, key)
