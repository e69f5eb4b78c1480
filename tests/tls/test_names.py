"""Certificates as values: the one-line name is OpenSSL's own, digests are Exim's, strange ones raise nothing."""

import hashlib
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import crypto

from relay.tls.names import in_rfc2253, key_digest, one_line_name, read_certificate, rfc2253_name

import certs


def named(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Certificate:
    """A self-signed certificate with this subject."""
    return signed(x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes]))


def signed(name: x509.Name) -> x509.Certificate:
    like = certs.laptop()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(like.key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .sign(like.key, hashes.SHA256())
    )


def by_openssl(certificate: x509.Certificate) -> str:
    """OpenSSL's X509_NAME_oneline, which is what Exim shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class is deprecated; here it is only the other opinion
        shown = repr(crypto.X509.from_cryptography(certificate).get_subject())
    return shown.removeprefix("<X509Name object '").removesuffix("'>")


def test_the_form() -> None:
    certificate = named(
        (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "laptop")
    )
    assert one_line_name(certificate.subject) == "/C=DE/O=Example/CN=laptop"


@pytest.mark.parametrize(
    "kind",
    [
        NameOID.COMMON_NAME,
        NameOID.SURNAME,
        NameOID.SERIAL_NUMBER,
        NameOID.LOCALITY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.STREET_ADDRESS,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.TITLE,
        NameOID.POSTAL_CODE,
        NameOID.GIVEN_NAME,
        NameOID.INITIALS,
        NameOID.DN_QUALIFIER,
        NameOID.USER_ID,
        NameOID.DOMAIN_COMPONENT,
        NameOID.EMAIL_ADDRESS,
        # Those of certificates with extended validation, and of qualified ones.
        NameOID.BUSINESS_CATEGORY,
        NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME,
        NameOID.JURISDICTION_LOCALITY_NAME,
        NameOID.ORGANIZATION_IDENTIFIER,
        NameOID.PSEUDONYM,
        NameOID.GENERATION_QUALIFIER,
        NameOID.UNSTRUCTURED_NAME,
    ],
    ids=lambda kind: kind._name,
)
def test_every_attribute_has_openssls_short_name(kind: x509.ObjectIdentifier) -> None:
    certificate = named((kind, "x"), (NameOID.COMMON_NAME, "laptop"))
    assert one_line_name(certificate.subject) == by_openssl(certificate)


@pytest.mark.parametrize("kind", [NameOID.COUNTRY_NAME, NameOID.JURISDICTION_COUNTRY_NAME], ids=lambda kind: kind._name)
def test_countries_too(kind: x509.ObjectIdentifier) -> None:
    certificate = named((kind, "DE"))
    assert one_line_name(certificate.subject) == by_openssl(certificate)


def test_an_unknown_attribute_is_shown_by_its_number() -> None:
    certificate = named((x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), "x"))
    assert one_line_name(certificate.subject) == "/1.3.6.1.4.1.99999.1=x" == by_openssl(certificate)


@settings(max_examples=60)
@given(
    value=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
    | st.text("/+=\\,CN a", min_size=1, max_size=12)
)
def test_any_text_as_openssl_shows_it_and_on_one_line(value: str) -> None:
    certificate = named((NameOID.ORGANIZATION_NAME, value))
    shown = one_line_name(certificate.subject)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown == by_openssl(certificate)


def test_a_name_forges_no_line() -> None:
    shown = one_line_name(named((NameOID.COMMON_NAME, "a\r\nDate: x\x1b[2J\x7f")).subject)
    assert shown == "/CN=a\\x0D\\x0ADate: x\\x1B[2J\\x7F"


def test_a_slash_in_a_value_forges_no_attribute() -> None:
    """Who may choose the organization in a certificate must not thereby choose the common name."""
    forged = named((NameOID.ORGANIZATION_NAME, "Example/CN=admin"))
    honest = named((NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "admin"))
    assert one_line_name(forged.subject) == by_openssl(forged) == "/O=Example\\/CN=admin"
    assert one_line_name(forged.subject) != one_line_name(honest.subject)


def test_attributes_of_one_level_are_joined_by_a_plus() -> None:
    kinds = [NameOID.COMMON_NAME, NameOID.USER_ID]
    level = x509.RelativeDistinguishedName([x509.NameAttribute(kind, "a+b") for kind in kinds])
    certificate = signed(x509.Name([level, *x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "c")]).rdns]))
    assert one_line_name(certificate.subject) == by_openssl(certificate)


def test_an_empty_name_is_empty() -> None:
    assert one_line_name(x509.Name([])) == ""


def test_the_other_form() -> None:
    """Backwards, with commas, which a value can't forge (tls_dn_style = rfc2253)."""
    name = named((NameOID.COUNTRY_NAME, "DE"), (NameOID.EMAIL_ADDRESS, "a@b"), (NameOID.COMMON_NAME, "x,CN=y\n\xe4"))
    assert rfc2253_name(name.subject) == r"CN=x\,CN=y\0A\C3\A4,emailAddress=a@b,C=DE"
    facts = in_rfc2253(read_certificate(name))
    assert facts is not None
    assert (facts.subject, facts.issuer) == (rfc2253_name(name.subject), rfc2253_name(name.issuer))
    assert (facts.der, facts.key_digest) == (read_certificate(name).der, read_certificate(name).key_digest)
    assert in_rfc2253(None) is None


def test_the_facts_of_a_certificate() -> None:
    ca = certs.authority("Root")
    leaf = ca.issue("laptop.test")
    facts = read_certificate(leaf.certificate)
    assert facts.der == leaf.der
    assert (facts.subject, facts.issuer) == ("/CN=laptop.test", "/CN=Root")
    assert facts.fingerprint == leaf.fingerprint
    spki = leaf.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert facts.key_digest == hashlib.sha256(spki).hexdigest().upper()


def test_the_key_digest_stays_when_the_certificate_is_renewed() -> None:
    first = named((NameOID.COMMON_NAME, "first"))
    second = named((NameOID.COMMON_NAME, "second"))
    assert read_certificate(first).fingerprint != read_certificate(second).fingerprint
    assert key_digest(first) == key_digest(second) != ""


def test_other_kinds_of_keys_have_digests() -> None:
    assert len(key_digest(certs.self_signed("old", key="rsa").certificate)) == 64


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def signed_again(tbs: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate around these octets, correctly signed, whatever they say."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    return der(0x30, tbs, algorithm, der(0x03, b"\x00" + key.sign(tbs, ec.ECDSA(hashes.SHA256()))))


def test_a_name_that_can_not_be_read_is_empty() -> None:
    made = certs.self_signed("laptop.test")
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    octets = signed_again(made.certificate.tbs_certificate_bytes.replace(b"laptop.test", b"laptop\xfftest"), made.key)
    facts = read_certificate(x509.load_der_x509_certificate(octets))
    assert (facts.subject, facts.issuer) == ("", "")
    assert facts.der == octets


def test_a_key_that_can_not_be_read_has_no_digest() -> None:
    made = certs.self_signed("laptop.test")
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    prime256v1, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    tbs = made.certificate.tbs_certificate_bytes.replace(prime256v1, unknown)
    certificate = x509.load_der_x509_certificate(signed_again(tbs, made.key))
    assert key_digest(certificate) == ""
    assert read_certificate(certificate).subject == "/CN=laptop.test"


def test_a_public_key_of_another_family() -> None:
    key, name = ed25519.Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ed")])
    like = certs.laptop().certificate
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
        .sign(key, None)
    )
    assert len(key_digest(certificate)) == 64
