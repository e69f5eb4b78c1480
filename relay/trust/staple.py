"""Is an OCSP response a proof that a server's certificate is not revoked (decision).

RFC 6960 3.2, 4.2.2.2: the response is about this certificate, its time is now, and it is signed by the issuer or by
somebody whom the issuer has named for that. RFC 6066 8: it came inside the handshake, nobody is asked.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

# Seconds that clocks may differ by.
SKEW = 300.0

# What became of the question for a response, as $tls_out_ocsp has it.
NOT_ASKED_FOR, NOT_GIVEN, BAD, GOOD = 0, 1, 3, 4


def judge_staple(
    octets: bytes, chain: tuple[x509.Certificate, ...], anchors: Iterable[x509.Certificate], now: float
) -> tuple[str, int]:
    """What `staple_fault` says of the answer of a server that was asked, and its number."""
    fault = staple_fault(octets, chain, anchors, now)
    return fault, NOT_GIVEN if not octets else BAD if fault else GOOD


def staple_fault(
    octets: bytes, chain: tuple[x509.Certificate, ...], anchors: Iterable[x509.Certificate], now: float
) -> str:
    """What is wrong with a response for the first certificate of `chain`, "" where it proves what it has to."""
    if not chain:
        return "the server showed no certificate"
    if not octets:
        return "Required TLS certificate status not received"
    try:
        response = ocsp.load_der_ocsp_response(octets)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return f"the responder says {response.response_status.name.lower().replace('_', ' ')}"
        return _fault(response, chain, anchors, now)
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        return f"it can't be read: {error}"


def _fault(
    response: ocsp.OCSPResponse, chain: tuple[x509.Certificate, ...], anchors: Iterable[x509.Certificate], now: float
) -> str:
    leaf = chain[0]
    issuer = next((each for each in (*chain[1:], *anchors) if _issued(each, leaf)), None)
    if issuer is None:
        return "the issuer of the certificate is not known"
    single = next((each for each in response.responses if each.serial_number == leaf.serial_number), None)
    if single is None or not _is_about(single, issuer):
        return "it is about another certificate"
    if not _is_signed(response, issuer):
        return "its signature is not the issuer's"
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            return "Server certificate revoked"
        return f"it says {single.certificate_status.name.lower()}"
    return _time_fault(single, now)


def _time_fault(single: ocsp.OCSPSingleResponse, now: float) -> str:
    time = datetime.datetime.fromtimestamp(now, datetime.UTC)
    skew = datetime.timedelta(seconds=SKEW)
    if single.this_update_utc > time + skew:
        return "Server certificate status is of a time to come"
    if single.next_update_utc is not None and single.next_update_utc < time - skew:
        return "Server certificate status is out-of-date"
    return ""


def _issued(issuer: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_about(single: ocsp.OCSPSingleResponse, issuer: x509.Certificate) -> bool:
    """Whether the issuer that is meant is ours, RFC 6960 4.1.1."""
    digest = hashes.Hash(single.hash_algorithm)
    digest.update(issuer.subject.public_bytes())
    return digest.finalize() == single.issuer_name_hash


def _is_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    if _verifies(response, issuer):
        return True
    return any(_is_named(each, issuer) and _verifies(response, each) for each in response.certificates)


def _is_named(responder: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer lets this one answer for it, RFC 6960 4.2.2.2."""
    try:
        usages = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usages and _issued(issuer, responder)


def _verifies(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        match key:
            case rsa.RSAPublicKey() if algorithm is not None:
                key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            case ec.EllipticCurvePublicKey() if algorithm is not None:
                key.verify(signature, signed, ec.ECDSA(algorithm))
            case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
                key.verify(signature, signed)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
