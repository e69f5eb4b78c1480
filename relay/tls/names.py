"""Certificates as values: names, fingerprints, dates (machine).

`read_certificate` turns a parsed certificate into `mail.facts.Certificate`. Distinguished names come in OpenSSL's
one-line form (`/C=DE/O=Example/CN=laptop`), since that is what an Exim built with OpenSSL shows and what operators
compare with.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.mail.facts import Certificate

# OpenSSL's short names where they differ from the dotted form, X.520 and RFC 4519.
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.15": "businessCategory",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}


def one_line_name(name: x509.Name) -> str:
    """A distinguished name in OpenSSL's one-line form; octets outside printable ASCII become \\xHH."""
    parts = []
    for level in name.rdns:
        separator = "/"
        for attribute in level:
            value = attribute.value
            octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            parts.append(f"{separator}{_label(attribute.oid)}={''.join(map(_shown, octets))}")
            separator = "+"
    return "".join(parts)


def rfc2253_name(name: x509.Name) -> str:
    """The same as RFC 2253 writes it (`CN=laptop,O=Example,C=DE`), Exim's form with GnuTLS; printable ASCII alone."""
    text = name.rfc4514_string({attribute.oid: _label(attribute.oid) for attribute in name})
    return "".join(chr(octet) if 0x20 <= octet <= 0x7E else f"\\{octet:02X}" for octet in text.encode("utf-8"))


def _label(kind: x509.ObjectIdentifier) -> str:
    return _SHORT_NAMES.get(kind.dotted_string, kind.dotted_string)


def _shown(octet: int) -> str:
    """One octet of a value. The separators are escaped (OpenSSL since 3.0), or a value could forge an attribute."""
    if not 0x20 <= octet <= 0x7E:
        return f"\\x{octet:02X}"
    return f"\\{chr(octet)}" if octet in b"/+" else chr(octet)


def key_digest(certificate: x509.Certificate) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, upper-case hex; empty for a key that can't be read."""
    try:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError:
        return ""
    except Exception as error:  # cryptography names its own error class per version; a strange key gives no digest
        if type(error).__module__.startswith("cryptography"):
            return ""
        raise
    return hashlib.sha256(octets).hexdigest().upper()


@lru_cache(maxsize=64)
def read_certificate(certificate: x509.Certificate) -> Certificate:
    """The facts of a certificate. A name that can't be read (bad encoding) becomes empty rather than an error.

    The last ones are remembered: our own, and those of the devices that come again and again.
    """
    der = certificate.public_bytes(Encoding.DER)
    return Certificate(
        der, _readable_name(certificate, "subject"), _readable_name(certificate, "issuer"), key_digest(certificate)
    )


def in_rfc2253(certificate: Certificate | None) -> Certificate | None:
    """The facts with their names in the other form (`tls_dn_style = rfc2253`, ours)."""
    if certificate is None:
        return None
    parsed = x509.load_der_x509_certificate(certificate.der)
    try:
        subject, issuer = rfc2253_name(parsed.subject), rfc2253_name(parsed.issuer)
    except ValueError:
        return replace(certificate, subject="", issuer="")
    return replace(certificate, subject=subject, issuer=issuer)


def _readable_name(certificate: x509.Certificate, which: str) -> str:
    try:
        return one_line_name(certificate.subject if which == "subject" else certificate.issuer)
    except ValueError:
        return ""
