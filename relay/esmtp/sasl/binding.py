"""Channel bindings: what ties an AUTH exchange to the TLS layer that it runs in (machine).

Somebody in the middle who ends one TLS session and begins another can hand passwords and proofs on, but not these
octets, which differ on both sides of him. RFC 5056, RFC 5929 (tls-server-end-point), RFC 9266 (tls-exporter).
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from relay.mail.facts import Certificate, TLSFacts

EXPORTER = "tls-exporter"
END_POINT = "tls-server-end-point"


def bindings_of(tls: TLSFacts | None, server: Certificate | None) -> Mapping[str, bytes]:
    """The bindings of a TLS layer by their names, the best first; none in clear.

    `server` is the certificate that the server showed: ours on its side, the peer's on the client's. The exporter
    counts in TLS 1.3 alone: before, it binds nothing unless an extension was agreed on that we can't see (RFC 9266 4).
    """
    found: dict[str, bytes] = {}
    if tls is None:
        return found
    if tls.version == "TLS1.3" and tls.binding:
        found[EXPORTER] = tls.binding
    end_point = server_end_point(server.der) if server is not None else b""
    if end_point:
        found[END_POINT] = end_point
    return found


def server_end_point(der: bytes) -> bytes:
    """RFC 5929 4.1: the certificate under the hash of its signature, SHA-256 where that is MD5 or SHA-1.

    b"" where the signature has no hash of its own (Ed25519): then the binding is not defined.
    """
    try:
        used = x509.load_der_x509_certificate(der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if used is None:
        return b""
    if used.name in ("md5", "sha1"):
        used = hashes.SHA256()
    digest = hashes.Hash(used)
    digest.update(der)
    return digest.finalize()
