"""Whether the certificate that was shown is good enough: names, pins, and the certificate itself."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mail.facts import NotAsked, Unverified, Verification, Verified
from relay.tls.anchors import AnchorSet
from relay.tls.engine import Handshake
from relay.tls.names import read_certificate
from relay.tls.policy import CertificateRequest, ClientTLS
from relay.trust.certificate import holds_name, judge_client, judge_server

import certs
from certs import Authority, CertKey, authority, self_signed

NOW = datetime.datetime.now(datetime.UTC).timestamp()
MONTH = 31 * 86400.0


def shown(leaf: CertKey | None) -> Handshake:
    """A handshake in which the other end has shown this certificate and proved its key."""
    chain = () if leaf is None else (leaf.certificate, *leaf.issuers)
    peer = read_certificate(chain[0]) if chain else None
    return Handshake("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, "x25519", "", False, None, peer, chain, bytes(32))


def trusted(*certificates: CertKey | Authority) -> AnchorSet:
    owned = [each.own if isinstance(each, Authority) else each for each in certificates]
    return AnchorSet([each.certificate for each in owned], [])


def server(leaf: CertKey | None, anchors: AnchorSet, *names: str, pins: tuple[str, ...] = (), now: float = NOW):
    return judge_server(shown(leaf), anchors, ClientTLS(names=names, pins=pins), now)


def reason(verdict: Verification) -> str:
    assert isinstance(verdict, Unverified)
    return verdict.reason


def with_subject(*common_names: str, extensions: tuple[x509.ExtensionType, ...] = ()) -> x509.Certificate:
    like = certs.laptop()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(like.key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(like.key, hashes.SHA256())


# What Exim's log says of it


def faults(verdict: Verification) -> tuple[str, ...]:
    assert isinstance(verdict, Unverified)
    return verdict.faults


def test_what_is_wrong_in_exims_words() -> None:
    ca, stranger = authority(), certs.stranger()
    leaf = ca.issue("one.test", sans=("one.test",))
    wrong_name = 'certificate name mismatch: DN="/CN=one.test" H="two.test"'
    assert faults(server(leaf, trusted(ca), "two.test")) == (wrong_name,)
    no_issuer, not_verifiable = (
        f"depth=0 error={text} cert=/CN=one.test"
        for text in ("unable to get local issuer certificate", "unable to verify the first certificate")
    )
    assert faults(server(leaf, trusted(certs.relay()), "one.test")) == (no_issuer, not_verifiable)
    assert faults(server(leaf, trusted(certs.relay()), "two.test")) == (no_issuer, not_verifiable, wrong_name)
    (own,) = faults(server(stranger, trusted(ca)))
    assert own == f"depth=0 error=self-signed certificate cert={read_certificate(stranger.certificate).subject}"


# A client's certificate


@pytest.mark.parametrize("request_", [CertificateRequest.TRY, CertificateRequest.MUST])
def test_a_clients_certificate(request_: CertificateRequest) -> None:
    ca = authority()
    anchors = trusted(ca, certs.laptop())
    assert judge_client(shown(certs.laptop()), anchors, request_, NOW) == Verified("itself")
    assert judge_client(shown(ca.issue("any name")), anchors, request_, NOW) == Verified("anchor")
    by_intermediate = ca.intermediate().issue("x.test")
    assert judge_client(shown(by_intermediate), anchors, request_, NOW) == Verified("anchor")
    assert "self-signed" in reason(judge_client(shown(certs.stranger()), anchors, request_, NOW))
    assert "expired" in reason(judge_client(shown(certs.laptop()), anchors, request_, NOW + MONTH))
    assert "no certificate" in reason(judge_client(shown(None), anchors, request_, NOW))


def test_who_was_not_asked_is_not_verified() -> None:
    anchors = trusted(certs.laptop())
    for leaf in (None, certs.laptop()):
        assert judge_client(shown(leaf), anchors, CertificateRequest.NONE, NOW) == NotAsked()


# A server's certificate


def test_the_exact_certificate_needs_no_name() -> None:
    own = self_signed("whatever.test")
    assert server(own, trusted(own), "relay.test") == Verified("itself")
    pinned = authority().issue("whatever.test", sans=["whatever.test"])
    assert server(pinned, trusted(pinned), "relay.test") == Verified("itself")


def test_the_exact_certificate_must_be_in_date() -> None:
    own = self_signed("relay.test", days=-1)
    assert "expired" in reason(server(own, trusted(own), "relay.test"))


def test_a_certificate_of_an_authority_must_hold_one_of_the_names() -> None:
    ca = authority()
    leaf = ca.issue("relay.test", sans=["relay.test", "mx.relay.test"])
    assert server(leaf, trusted(ca), "relay.test") == Verified("anchor")
    assert server(leaf, trusted(ca), "other.test", "mx.relay.test") == Verified("anchor")
    assert server(leaf, trusted(ca)) == Verified("anchor")  # no name is asked for
    told = reason(server(leaf, trusted(ca), "other.test", "third.test"))
    for name in ("other.test", "third.test", "relay.test", "mx.relay.test"):
        assert name in told


def test_a_name_is_no_excuse_for_the_chain() -> None:
    leaf = authority().issue("relay.test", sans=["relay.test"])
    assert "issuer" in reason(server(leaf, trusted(certs.laptop()), "relay.test"))
    assert "no certificate" in reason(server(None, trusted(leaf), "relay.test"))


# Names


def test_the_common_name_counts_where_there_is_no_alternative_name() -> None:
    """The seeds' own `openssl req -x509 -subj /CN=...`."""
    ca = authority()
    assert server(ca.issue("relay.test"), trusted(ca), "relay.test") == Verified("anchor")
    assert "relay.test" in reason(server(ca.issue("relay.test"), trusted(ca), "other.test"))


@pytest.mark.parametrize("san", ["other.test", "192.0.2.1"])
def test_the_common_name_does_not_count_beside_an_alternative_name(san: str) -> None:
    ca = authority()
    leaf = ca.issue("relay.test", sans=[san])
    assert not holds_name(leaf.certificate, "relay.test")
    told = reason(server(leaf, trusted(ca), "relay.test"))
    assert san in told


def test_an_alternative_name_of_another_kind_shuts_the_common_name_out_too() -> None:
    """RFC 9525 knows no CN at all; the exception is for certificates that have never heard of the extension."""
    mail = x509.SubjectAlternativeName([x509.RFC822Name("postmaster@relay.test")])
    assert not holds_name(with_subject("relay.test", extensions=(mail,)), "relay.test")
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\xff")
    assert not holds_name(with_subject("relay.test", extensions=(broken,)), "relay.test")


def test_any_of_several_common_names() -> None:
    certificate = with_subject("Mail relay", "relay.test", "naïve")
    assert holds_name(certificate, "relay.test")
    assert not holds_name(certificate, "other.test")
    assert not holds_name(with_subject(), "relay.test")


@pytest.mark.parametrize(
    "pattern, name, expected",
    [
        ("relay.test", "relay.test", True),
        ("relay.test", "RELAY.Test", True),
        ("Relay.TEST", "relay.test", True),
        ("relay.test", "relay.test.", True),
        ("relay.test", "a.relay.test", False),
        ("relay.test", "xrelay.test", False),
        ("relay.test", "relay.test.evil.test", False),
        ("relay.test", "relay", False),
        ("relay.test", "", False),
        ("relay.test", ".", False),
        ("*.relay.test", "mx.relay.test", True),
        ("*.relay.test", "MX.relay.test.", True),
        ("*.relay.test", "relay.test", False),
        ("*.relay.test", "a.b.relay.test", False),
        ("mx*.relay.test", "mx1.relay.test", False),
        ("mx.*.test", "mx.relay.test", False),
        ("*", "test", False),
        ("xn--bcher-kva.test", "bücher.test", True),
        ("xn--bcher-kva.test", "xn--bcher-kva.test", True),
    ],
)
@pytest.mark.parametrize("where", ["alternative name", "common name"])
def test_host_names(pattern: str, name: str, expected: bool, where: str) -> None:
    if where == "common name":
        certificate = with_subject(pattern)
    else:
        certificate = with_subject("x", extensions=(x509.SubjectAlternativeName([x509.DNSName(pattern)]),))
    assert holds_name(certificate, name) is expected


@pytest.mark.parametrize(
    "sans, name, expected",
    [
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["2001:db8::1"], "2001:db8::1", True),
        (["2001:db8::1"], "2001:DB8:0:0::1", True),
        (["2001:db8::1"], "2001:db8::2", False),
        (["relay.test", "192.0.2.1"], "192.0.2.1", True),
        (["relay.test"], "192.0.2.1", False),
        (["*.0.2.1"], "192.0.2.1", False),
    ],
)
def test_literal_addresses(sans: list[str], name: str, expected: bool) -> None:
    assert holds_name(self_signed("x", sans=sans).certificate, name) is expected


def test_an_address_in_the_common_name_does_not_count() -> None:
    assert not holds_name(self_signed("192.0.2.1").certificate, "192.0.2.1")


def test_an_address_as_a_dns_name_does_not_count() -> None:
    certificate = with_subject("x", extensions=(x509.SubjectAlternativeName([x509.DNSName("192.0.2.1")]),))
    assert not holds_name(certificate, "192.0.2.1")


@settings(max_examples=100)
@given(name=st.text(max_size=30) | st.text("ab.*-:0", max_size=12))
def test_any_text_as_a_name_is_held_or_not(name: str) -> None:
    for leaf in (certs.relay(), certs.laptop()):
        if holds_name(leaf.certificate, name):
            assert name.rstrip(".").lower() in ("relay.test", "localhost", "127.0.0.1", "laptop.test")


# Certificates that a careless authority signs


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def damaged(leaf: CertKey, signer: CertKey, old: bytes, new: bytes) -> CertKey:
    """The certificate with other octets in it, signed again."""
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    tbs = leaf.certificate.tbs_certificate_bytes
    assert old in tbs
    assert len(old) == len(new)
    tbs = tbs.replace(old, new)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    octets = der(0x30, tbs, algorithm, der(0x03, b"\x00" + signer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))))
    return CertKey(x509.load_der_x509_certificate(octets), leaf.key)


def test_a_subject_that_can_not_be_read_holds_no_name() -> None:
    own = self_signed("relay.test")
    leaf = damaged(own, own, b"relay.test", b"relay\xfftest")
    assert not holds_name(leaf.certificate, "relay.test")


# subjectAltName with nothing but an ediPartyName, RFC 5280 4.2.1.6: a kind that nobody reads
EDI_PARTY_NAME = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3007a505a1030c0178"))


def test_an_alternative_name_of_a_kind_that_can_not_be_read_holds_no_name() -> None:
    assert not holds_name(with_subject("relay.test", extensions=(EDI_PARTY_NAME,)), "relay.test")


def test_an_extension_twice_holds_no_name() -> None:
    like, strange = certs.laptop(), x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x")
    builder = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(like.certificate.subject)
        .public_key(like.key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .add_extension(strange, critical=False)
    )
    builder._extensions.append(builder._extensions[-1])  # the builder itself refuses
    assert not holds_name(builder.sign(like.key, hashes.SHA256()), "laptop.test")


@pytest.mark.parametrize("kind", ["ediPartyName", "broken"])
def test_a_strange_certificate_is_refused_with_a_reason(kind: str) -> None:
    ca = authority()
    like = ca.issue("relay.test")
    odd = EDI_PARTY_NAME if kind == "ediPartyName" else x509.UnrecognizedExtension(EDI_PARTY_NAME.oid, b"\xff")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(ca.own.certificate.subject)
        .public_key(like.key.public_key())
        .serial_number(1)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .add_extension(odd, critical=False)
        .sign(ca.own.key, hashes.SHA256())
    )
    assert reason(server(CertKey(certificate, like.key), trusted(ca), "relay.test"))


# Pins


def key_pin(leaf: CertKey) -> str:
    return read_certificate(leaf.certificate).key_digest


@pytest.mark.parametrize("pin", ["certificate", "key"])
def test_a_pin_decides_alone(pin: str) -> None:
    """No anchor, no name, no date: the pin says that it is this one."""
    for leaf in (certs.relay(), self_signed("old.test", days=-1), authority().issue("x.test")):
        pins = ("0" * 64, leaf.fingerprint if pin == "certificate" else key_pin(leaf))
        assert server(leaf, trusted(), "relay.test", pins=pins) == Verified("pin")


def test_beside_a_pin_nothing_else_counts() -> None:
    ca = authority()
    leaf = ca.issue("relay.test", sans=["relay.test"])
    for anchors in (trusted(ca), trusted(leaf)):
        told = reason(server(leaf, anchors, "relay.test", pins=(certs.relay().fingerprint,)))
        assert leaf.fingerprint in told
        assert key_pin(leaf) in told


def test_a_pin_of_the_issuer_is_not_one_of_the_leaf() -> None:
    ca = authority()
    leaf = ca.intermediate().issue("relay.test", sans=["relay.test"])
    (middle,) = leaf.issuers
    pins = (read_certificate(middle).fingerprint, ca.own.fingerprint, key_pin(ca.own))
    reason(server(leaf, trusted(ca), "relay.test", pins=pins))


def test_without_a_certificate_no_pin_fits() -> None:
    assert "no certificate" in reason(server(None, trusted(), pins=(certs.relay().fingerprint, "")))


def test_a_key_pin_outlives_the_certificate_and_a_certificate_pin_does_not() -> None:
    old = certs.laptop()
    new = CertKey(with_subject("renewed.test"), old.key)
    assert server(new, trusted(), pins=(key_pin(old),)) == Verified("pin")
    reason(server(new, trusted(), pins=(old.fingerprint,)))


def test_an_empty_pin_fits_nobody() -> None:
    """A key that can't be read has an empty digest; an empty item in an expanded list must not let it in."""
    own = self_signed("relay.test")
    prime256v1, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    leaf = damaged(own, own, prime256v1, unknown)
    assert key_pin(leaf) == ""
    reason(server(leaf, trusted(), pins=("",)))


def test_the_form_of_a_pin() -> None:
    """What `sha256` tools print, upper case without colons: the form that ClientTLS.pins is documented with."""
    leaf = certs.relay()
    assert leaf.fingerprint == hashlib.sha256(leaf.der).hexdigest().upper()
    assert server(leaf, trusted(), pins=(leaf.fingerprint,)) == Verified("pin")
