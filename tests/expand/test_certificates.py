"""`${certextract` on a certificate that was just made."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.expand.certificates import BadField, certificate_field
from relay.expand.values import is_tainted
from relay.mail.facts import Certificate, SessionFacts, TLSFacts


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "one"),
            x509.NameAttribute(NameOID.COMMON_NAME, "laptop.test"),
        ]
    )
    alternative = x509.SubjectAlternativeName(
        [x509.DNSName("laptop.test"), x509.RFC822Name("me@laptop.test"), x509.UniformResourceIdentifier("x:y")]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x0ABC)
        .not_valid_before(datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))
        .not_valid_after(datetime(2026, 12, 21, 8, 9, 57, tzinfo=UTC))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    der = made.public_bytes(serialization.Encoding.DER)
    return Certificate(der, "/C=DE/OU=one/CN=laptop.test", "/C=DE/OU=one/CN=laptop.test", "")


@pytest.mark.parametrize(
    "field, wanted",
    [
        ("subject", "CN=laptop.test,OU=one,C=DE"),
        ("subject,CN", "laptop.test"),
        ("issuer,OU", "one"),
        ("issuer,L", None),
        ("serial_number", "0abc"),
        ("version", "2"),
        ("notafter", "Dec 21 08:09:57 2026 +0000"),
        ("notafter,int", "1797840597"),
        ("notbefore,raw", "Jan  2 03:04:05 2025 GMT"),
        ("sig_algorithm", "ecdsa-with-SHA256"),
        ("subj_altname,dns", "laptop.test"),
        ("subj_altname", "URI=x:y\nMAIL=me@laptop.test\nDNS=laptop.test"),
        ("subj_altname,>:", "URI=x::y:MAIL=me@laptop.test:DNS=laptop.test"),
        ("ocsp_uri", None),
        ("crl_uri", None),
        ("1.2.3.4", None),
    ],
)
def test_fields(certificate, field, wanted):
    assert certificate_field(certificate, field) == wanted


def test_what_its_holder_wrote_is_tainted(certificate):
    for field in ("subject", "issuer", "subject,CN", "subj_altname"):
        assert is_tainted(certificate_field(certificate, field) or "")
    assert not is_tainted(certificate_field(certificate, "serial_number") or "")


def test_no_field_and_no_certificate(certificate):
    with pytest.raises(BadField, match="bad field selector"):
        certificate_field(certificate, "colour")
    with pytest.raises(BadField, match="can't be read"):
        certificate_field(Certificate(b"no DER", "", "", ""), "subject")


def test_as_an_item(expand, certificate):
    text = "${certextract{ subject,CN }{$tls_in_peercert}{<$value>}{none}}"
    assert expand(text, session=SessionFacts(tls=TLSFacts("TLS1.3", "X", 256, peer=certificate))) == "<laptop.test>"
    assert expand(text) == "none"
    assert expand("${certextract{subject}{$sender_helo_name}}").startswith("Failed: second argument")
