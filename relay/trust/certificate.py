"""Is the certificate that was shown good enough for what it is shown for (decision).

The TLS layer has proved that the peer holds the key; anchors judge the chain; here it is decided what that is worth:
names, pins, and a certificate that is itself in the set. Nothing here sends or closes anything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import NameOID
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity

from relay.mail.facts import NotAsked, Unverified, Verification, Verified
from relay.tls.anchors import CLIENT, SERVER, AnchorSet
from relay.tls.engine import Handshake
from relay.tls.names import read_certificate
from relay.tls.policy import CertificateRequest, ClientTLS

# What cryptography raises for an extension or a name that it can't make sense of.
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def judge_client(handshake: Handshake, anchors: AnchorSet, request: CertificateRequest, now: float) -> Verification:
    """What a client's certificate is worth (Exim: tls_try_verify_hosts, tls_verify_hosts). Names are not checked."""
    if request is CertificateRequest.NONE:
        return NotAsked()
    # A ticket brings the leaf alone; it is judged again now, with the issuers that it came with the first time.
    chain = anchors.recall(handshake.chain) if handshake.resumed else handshake.chain
    verdict = anchors.verify(chain, CLIENT, now)
    if isinstance(verdict, Verified) and not handshake.resumed:
        anchors.remember(chain)
    return verdict


def judge_server(handshake: Handshake, anchors: AnchorSet, policy: ClientTLS, now: float) -> Verification:
    """What a server's certificate is worth under a transport's options.

    Pins, where there are any, decide alone. Otherwise the chain must lead to the set; a certificate that is in the set
    itself needs no name, any other must hold one of `policy.names`.
    """
    if policy.pins:
        return _judge_pins(handshake, policy.pins)
    verdict = anchors.verify(handshake.chain, SERVER, now)
    if not handshake.chain or not policy.names or (isinstance(verdict, Verified) and verdict.by == "itself"):
        return verdict
    leaf = handshake.chain[0]
    if any(holds_name(leaf, name) for name in policy.names):
        return verdict
    mismatch = f'certificate name mismatch: DN="{read_certificate(leaf).subject}" H="{policy.names[0]}"'
    if isinstance(verdict, Unverified):
        return replace(verdict, faults=(*verdict.faults, mismatch))
    return Unverified(f"the certificate is not for {' or '.join(policy.names)}, but for {_names_of(leaf)}", (mismatch,))


def _judge_pins(handshake: Handshake, pins: tuple[str, ...]) -> Verification:
    peer = handshake.peer
    if peer is None:
        return Unverified("no certificate was presented")
    if peer.fingerprint in pins or (peer.key_digest and peer.key_digest in pins):
        return Verified("pin")
    return Unverified(f"neither certificate {peer.fingerprint} nor key {peer.key_digest} is pinned")


def holds_name(certificate: x509.Certificate, name: str) -> bool:
    """True if a certificate is for a host name or literal address (RFC 6125, RFC 9525).

    The subject's common name counts only where there is no subject alternative name at all: the certificates that
    people make with `openssl req` have none.
    """
    name = name.rstrip(".")
    check: Callable[[x509.Certificate, str], None] = verify_certificate_hostname
    try:
        ipaddress.ip_address(name)
        check = verify_certificate_ip_address
    except ValueError:
        if not _has_alternative_names(certificate):
            return _common_name_matches(certificate, name)
    try:
        check(certificate, name)
    except (VerificationError, CertificateError, *_UNREADABLE):
        return False
    return True


def _has_alternative_names(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    except _UNREADABLE:
        return True
    return True


def _common_name_matches(certificate: x509.Certificate, name: str) -> bool:
    try:
        wanted = DNS_ID(name)
        subject = certificate.subject
    except ValueError:
        return False
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        try:
            pattern = DNSPattern.from_bytes(str(attribute.value).encode("ascii"))
            verify_service_identity([pattern], [wanted], [])
        except (VerificationError, CertificateError, ValueError):
            continue
        return True
    return False


def _names_of(certificate: x509.Certificate) -> str:
    """The names that a certificate is for, for people."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _UNREADABLE:
        return "names that can't be read"
    except x509.ExtensionNotFound:
        common = read_certificate(certificate).subject
        return common or "no name"
    shown = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return ", ".join(shown) or "no host"
