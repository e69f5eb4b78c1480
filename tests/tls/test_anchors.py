"""What a set of anchors vouches for, and above all what it does not."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from relay.mail.facts import Unverified, Verification, Verified
from relay.tls.anchors import CLIENT, SERVER, AnchorSet, Purpose, date_fault, load_anchors
from relay.tls.files import TLSFileError

import certs
from certs import Authority, CertKey, authority, self_signed

NOW = datetime.datetime.now(datetime.UTC).timestamp()
DAY = 86400.0
BY_ANCHOR, BY_ITSELF = Verified("anchor"), Verified("itself")


def anchors(*certificates: CertKey | Authority, crls: list[bytes] | None = None) -> AnchorSet:
    owned = [each.own if isinstance(each, Authority) else each for each in certificates]
    lists = [x509.load_pem_x509_crl(crl) for crl in crls or []]
    return AnchorSet([each.certificate for each in owned], lists)


def verify(
    trusted: AnchorSet, leaf: CertKey, *, purpose: Purpose = CLIENT, now: float = NOW, with_issuers: bool = True
) -> Verification:
    chain = (leaf.certificate, *(leaf.issuers if with_issuers else ()))
    return trusted.verify(chain, purpose, now)


def reason(verdict: Verification) -> str:
    assert isinstance(verdict, Unverified)
    assert verdict.reason
    return verdict.reason


def built(
    cn: str,
    *extensions: x509.ExtensionType,
    issuer: CertKey | None = None,
    twice: bool = False,
    days: float = 30,
) -> CertKey:
    """A certificate with these extensions and no others. `twice` repeats the last one, which RFC 5280 4.2 forbids."""
    like = self_signed(cn, days=days)
    signer = issuer or like
    builder = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(signer.certificate.subject)
        .public_key(like.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if twice:
        builder._extensions.append(builder._extensions[-1])
    return CertKey(builder.sign(signer.key, hashes.SHA256()), like.key)


def usage(*usages: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(usages)


# A named set is only that set


def test_an_empty_set_vouches_for_nobody() -> None:
    ca = authority()
    for leaf in (certs.laptop(), ca.own, ca.issue("laptop.test"), ca.intermediate().issue("laptop.test")):
        reason(verify(anchors(), leaf))


def test_no_certificate_is_not_verified() -> None:
    assert reason(anchors(certs.laptop()).verify((), CLIENT, NOW)) == "no certificate was presented"


def test_the_authorities_of_the_system_are_not_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's default places are pointed at another authority, as if it were a public one."""
    public, named = authority("Public CA"), authority("Named CA")
    bundle = tmp_path / "public.pem"
    bundle.write_bytes(public.cert_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    leaf = public.issue("laptop.test")
    default_store = crypto.X509Store()
    default_store.load_locations(str(bundle))
    crypto.X509StoreContext(default_store, crypto.X509.from_cryptography(leaf.certificate)).verify_certificate()
    assert "issuer" in reason(verify(anchors(named), leaf))
    assert verify(anchors(named), named.issue("laptop.test")) == BY_ANCHOR


def test_another_authority_of_the_same_name_is_another_one() -> None:
    real, double = authority("CA"), authority("CA")
    reason(verify(anchors(real), double.issue("laptop.test")))
    reason(verify(anchors(real), double.own))


# Certificates that vouch for themselves


LIKE_OPENSSL_REQ = self_signed("laptop.test", ca=True)


@pytest.mark.parametrize(
    "leaf",
    [
        self_signed("laptop.test"),
        LIKE_OPENSSL_REQ,
        built("laptop.test"),
        built("laptop.test", usage(ExtendedKeyUsageOID.CODE_SIGNING)),
        self_signed("laptop.test", key="rsa"),
    ],
    ids=["CA:FALSE", "CA:TRUE", "no extensions", "another purpose", "rsa"],
)
def test_a_self_signed_certificate_in_the_set_vouches_for_itself(leaf: CertKey) -> None:
    assert leaf.certificate in anchors(leaf)
    assert verify(anchors(leaf), leaf, purpose=CLIENT) == BY_ITSELF
    assert verify(anchors(leaf), leaf, purpose=SERVER) == BY_ITSELF
    assert leaf.certificate not in anchors(certs.stranger())
    assert "self-signed" in reason(verify(anchors(certs.stranger()), leaf))


def test_what_a_leaf_in_the_set_has_signed_is_not_verified() -> None:
    """CA:FALSE: it vouches for itself and for nobody else."""
    minted = built("minted.test", issuer=certs.laptop())
    reason(verify(anchors(certs.laptop()), minted))


def test_what_a_ca_certificate_in_the_set_has_signed_is_told_from_the_certificate_itself() -> None:
    """`openssl req -x509` makes CA certificates. In a set of anchors such a one is an anchor; "itself" it is alone."""
    minted = Authority(LIKE_OPENSSL_REQ).issue("minted.test")
    assert verify(anchors(LIKE_OPENSSL_REQ), LIKE_OPENSSL_REQ) == BY_ITSELF
    assert verify(anchors(LIKE_OPENSSL_REQ), minted) == BY_ANCHOR


def test_the_same_key_and_name_in_another_certificate_is_another_certificate() -> None:
    """Octet for octet; a renewed one has to be put into the set."""
    old = built("laptop.test")
    renewed = (
        x509.CertificateBuilder()
        .subject_name(old.certificate.subject)
        .issuer_name(old.certificate.issuer)
        .public_key(old.key.public_key())
        .serial_number(7)
        .not_valid_before(old.certificate.not_valid_before_utc)
        .not_valid_after(old.certificate.not_valid_after_utc)
        .sign(old.key, hashes.SHA256())
    )
    assert renewed not in anchors(old)
    assert anchors(old).verify((renewed,), CLIENT, NOW) != BY_ITSELF


def test_a_leaf_of_an_authority_is_pinned_without_the_authority() -> None:
    ca = authority()
    leaf, other = ca.issue("laptop.test"), ca.issue("other.test")
    assert verify(anchors(leaf), leaf) == BY_ITSELF
    assert "issuer" in reason(verify(anchors(leaf), other))


@pytest.mark.parametrize("days", [-1, -400])
def test_an_expired_certificate_in_the_set(days: float) -> None:
    leaf = self_signed("laptop.test", days=days)
    assert "expired" in reason(verify(anchors(leaf), leaf))


def test_dates_are_held_against_the_clock_that_is_given() -> None:
    leaf = self_signed("laptop.test", days=30)
    assert verify(anchors(leaf), leaf, now=NOW + 29 * DAY) == BY_ITSELF
    assert "expired" in reason(verify(anchors(leaf), leaf, now=NOW + 31 * DAY))
    assert "not valid before" in reason(verify(anchors(leaf), leaf, now=NOW - DAY))


def test_dates_to_the_second() -> None:
    leaf = certs.laptop().certificate
    first, last = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    assert date_fault(leaf, first) == date_fault(leaf, last) == ""
    assert f"{leaf.not_valid_before_utc:%Y-%m-%d}" in date_fault(leaf, first - 1)
    assert f"{leaf.not_valid_after_utc:%Y-%m-%d}" in date_fault(leaf, last + 1)


# Certificates of an authority


def test_issued_by_an_anchor() -> None:
    ca = authority()
    leaf = ca.issue("laptop.test")
    assert verify(anchors(ca), leaf, purpose=CLIENT) == BY_ANCHOR
    assert verify(anchors(ca), leaf, purpose=SERVER) == BY_ANCHOR
    assert anchors(ca).verify((leaf.certificate, ca.own.certificate), CLIENT, NOW) == BY_ANCHOR  # the root sent along


def test_an_intermediate_must_be_sent_or_be_in_the_set() -> None:
    ca = authority()
    middle = ca.intermediate()
    leaf = middle.issue("laptop.test")
    assert verify(anchors(ca), leaf) == BY_ANCHOR
    assert "issuer" in reason(verify(anchors(ca), leaf, with_issuers=False))
    assert verify(anchors(ca, middle), leaf, with_issuers=False) == BY_ANCHOR
    assert verify(anchors(middle), leaf, with_issuers=False) == BY_ANCHOR  # it need not be a root


def test_certificates_that_are_sent_along_are_no_anchors() -> None:
    ca, leaf = authority("Mallory"), certs.authority("Mallory").issue("laptop.test")
    reason(anchors(certs.laptop()).verify((leaf.certificate, ca.own.certificate), CLIENT, NOW))
    reason(anchors(certs.laptop()).verify((leaf.certificate, certs.laptop().certificate), CLIENT, NOW))


def test_a_leaf_can_not_issue_even_where_its_issuer_is_trusted() -> None:
    ca = authority()
    leaf = ca.issue("laptop.test")
    minted = built("minted.test", issuer=leaf)
    reason(anchors(ca).verify((minted.certificate, leaf.certificate), CLIENT, NOW))


def test_expired_leaf_intermediate_and_root() -> None:
    ca = authority()
    assert "the certificate has expired" in reason(verify(anchors(ca), ca.issue("laptop.test", days=-1)))
    by_expired = ca.intermediate(days=-1).issue("laptop.test")
    assert "an issuing certificate has expired" in reason(verify(anchors(ca), by_expired))
    old = authority(days=-1)
    assert "an issuing certificate has expired" in reason(verify(anchors(old), old.issue("laptop.test")))


def test_a_chain_is_judged_by_the_clock_that_is_given_each_time() -> None:
    ca = authority(days=300)
    trusted, leaf = anchors(ca), ca.issue("laptop.test", days=30)
    assert verify(trusted, leaf, now=NOW + 29 * DAY) == BY_ANCHOR
    assert "expired" in reason(verify(trusted, leaf, now=NOW + 31 * DAY))
    assert "is not valid before" in reason(verify(trusted, leaf, now=NOW - DAY))
    assert verify(trusted, leaf, now=NOW) == BY_ANCHOR


@pytest.mark.parametrize(
    "usages, client, server",
    [
        ([ExtendedKeyUsageOID.CLIENT_AUTH], True, False),
        ([ExtendedKeyUsageOID.SERVER_AUTH], False, True),
        ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], True, True),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True, True),
        ([ExtendedKeyUsageOID.CODE_SIGNING], False, False),
        ([], True, True),
    ],
)
def test_purpose(usages: list[x509.ObjectIdentifier], client: bool, server: bool) -> None:
    ca = authority()
    leaf = built("laptop.test", *([usage(*usages)] if usages else []), issuer=ca.own)
    for purpose, expected in ((CLIENT, client), (SERVER, server)):
        verdict = verify(anchors(ca), leaf, purpose=purpose)
        if expected:
            assert verdict == BY_ANCHOR
        else:
            assert purpose.name in reason(verdict)


EDI_PARTY_NAME = bytes.fromhex("3007a5 05 a103 0c01 78".replace(" ", ""))


@pytest.mark.parametrize(
    "leaf_of",
    [
        lambda ca: built("x.test", usage(ExtendedKeyUsageOID.CODE_SIGNING), issuer=ca, twice=True),
        lambda ca: built("x.test", x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.37"), b"\xff"), issuer=ca),
        lambda ca: built(
            "x.test",
            usage(ExtendedKeyUsageOID.CODE_SIGNING),
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\xff"),
            issuer=ca,
            twice=True,
        ),
        lambda ca: built(
            "x.test",
            usage(ExtendedKeyUsageOID.CODE_SIGNING),
            x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), EDI_PARTY_NAME),
            issuer=ca,
        ),
    ],
    ids=["purpose twice", "broken purpose", "strange extension twice", "a name of a strange kind"],
)
def test_extensions_that_can_not_be_read_are_no_proof_of_purpose_and_no_crash(leaf_of) -> None:
    ca = authority()
    reason(verify(anchors(ca), leaf_of(ca.own)))


# Revocation


def test_revoked_by_a_list() -> None:
    ca = authority()
    good, bad = ca.issue("good.test"), ca.issue("bad.test")
    trusted = anchors(ca, crls=[ca.crl([bad])])
    assert verify(trusted, good) == BY_ANCHOR
    assert reason(verify(trusted, bad)) .startswith("the certificate was revoked on 20")


def test_each_issuer_needs_its_list_once_there_is_one() -> None:
    ca = authority()
    middle = ca.intermediate()
    leaf = middle.issue("laptop.test")
    assert "no revocation list for the certificate" in reason(verify(anchors(ca, crls=[ca.crl()]), leaf))
    assert "no revocation list for an issuing" in reason(verify(anchors(ca, crls=[middle.crl()]), leaf))
    assert verify(anchors(ca, crls=[ca.crl(), middle.crl()]), leaf) == BY_ANCHOR
    revoked = anchors(ca, crls=[ca.crl([middle.own]), middle.crl()])
    assert reason(verify(revoked, leaf)) .startswith("an issuing certificate was revoked on 20")


def test_lists_of_a_set_that_holds_an_intermediate_and_its_root() -> None:
    ca = authority()
    middle = ca.intermediate()
    good, bad = middle.issue("good.test"), middle.issue("bad.test")
    trusted = anchors(ca, middle, crls=[ca.crl(), middle.crl([bad])])
    assert verify(trusted, good) == BY_ANCHOR
    assert reason(verify(trusted, bad)).startswith("the certificate was revoked on 20")
    revoked = anchors(ca, middle, crls=[ca.crl([middle.own]), middle.crl()])
    assert reason(verify(revoked, good)).startswith("an issuing certificate was revoked on 20")


def test_what_is_wrong_with_one_certificate_leaves_no_trace_for_other_connections() -> None:
    """OpenSSL's list of errors is one for all: its next call for anybody would report what is still in it."""
    ca, like, other = authority(), certs.laptop(), certs.stranger()
    forged = (
        x509.CertificateBuilder()
        .subject_name(like.certificate.subject)
        .issuer_name(ca.own.certificate.subject)
        .public_key(like.certificate.public_key())
        .serial_number(5)
        .not_valid_before(like.certificate.not_valid_before_utc)
        .not_valid_after(like.certificate.not_valid_after_utc)
        .sign(other.key, hashes.SHA256())
    )
    assert "signature" in reason(anchors(ca).verify((forged,), CLIENT, NOW))
    assert SSL._lib.ERR_peek_error() == 0


def test_a_list_of_somebody_else_does_not_count() -> None:
    ca, double = authority("CA"), authority("CA")
    leaf = ca.issue("laptop.test")
    reason(verify(anchors(ca, crls=[double.crl()]), leaf))


def test_an_expired_list() -> None:
    ca = authority()
    assert "list has expired" in reason(verify(anchors(ca, crls=[ca.crl(days=-1)]), ca.issue("laptop.test")))


def test_a_certificate_in_the_set_needs_no_list_but_heeds_one() -> None:
    ca = authority()
    leaf = ca.issue("laptop.test")
    assert verify(anchors(leaf, crls=[authority("Other").crl()]), leaf) == BY_ITSELF
    assert verify(anchors(leaf, crls=[ca.crl()]), leaf) == BY_ITSELF
    assert reason(verify(anchors(leaf, crls=[ca.crl([leaf])]), leaf)) .startswith("the certificate was revoked on 20")
    own = certs.laptop()
    assert verify(anchors(own, crls=[ca.crl()]), own) == BY_ITSELF


# From the disk


def put(path: Path, *octets: bytes) -> str:
    path.write_bytes(b"".join(octets))
    return str(path)


def test_a_file_with_several(tmp_path: Path) -> None:
    ca = authority()
    name = put(tmp_path / "trusted.pem", ca.cert_pem, b"# the laptop\n", certs.laptop().cert_pem)
    trusted = load_anchors(name)
    assert trusted.certificates == [ca.own.certificate, certs.laptop().certificate]
    assert verify(trusted, certs.laptop()) == BY_ITSELF
    assert verify(trusted, ca.issue("x.test")) == BY_ANCHOR
    reason(verify(trusted, certs.stranger()))


@pytest.mark.parametrize("octets", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_anchors_is_an_error(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(TLSFileError):
        load_anchors(put(tmp_path / "trusted.pem", octets))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TLSFileError):
        load_anchors(str(tmp_path / "trusted.pem"))


def test_a_directory_with_and_without_hash_names(tmp_path: Path) -> None:
    ca = authority()
    put(tmp_path / "ca.pem", ca.cert_pem)
    (tmp_path / "0a1b2c3d.0").symlink_to("ca.pem")
    put(tmp_path / "laptop.crt", certs.laptop().cert_pem)
    put(tmp_path / "12345678.0", certs.relay().cert_pem)
    put(tmp_path / "README", b"Put certificates here.\n")
    put(tmp_path / "laptop.key", certs.laptop().key_pem)
    put(tmp_path / ".hidden.pem", certs.stranger().cert_pem)
    trusted = load_anchors(str(tmp_path))
    assert len(trusted.certificates) == 3  # the link and its file are one
    assert verify(trusted, certs.laptop()) == BY_ITSELF
    assert verify(trusted, certs.relay()) == BY_ITSELF
    assert verify(trusted, ca.issue("x.test")) == BY_ANCHOR
    reason(verify(trusted, certs.stranger()))


def test_a_broken_certificate_in_a_directory_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    put(tmp_path / "good.pem", certs.laptop().cert_pem)
    broken = put(tmp_path / "broken.pem", certs.relay().cert_pem[:200])
    with pytest.raises(TLSFileError) as caught:
        load_anchors(str(tmp_path))
    assert caught.value.path == broken


def test_an_empty_directory_vouches_for_nobody(tmp_path: Path) -> None:
    trusted = load_anchors(str(tmp_path))
    assert trusted.certificates == []
    reason(verify(trusted, certs.laptop()))


def test_revocation_lists_from_the_disk(tmp_path: Path) -> None:
    ca = authority()
    middle = ca.intermediate()
    bad, good = middle.issue("bad.test"), middle.issue("good.test")
    name = put(tmp_path / "ca.pem", ca.cert_pem)
    lists = put(tmp_path / "crl.pem", b"two lists\n", ca.crl(), middle.crl([bad]))
    trusted = load_anchors(name, lists)
    assert verify(trusted, good) == BY_ANCHOR
    assert reason(verify(trusted, bad)) .startswith("the certificate was revoked on 20")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"garbage",
        certs.relay().cert_pem,
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        authority().crl()[:100],
        x509.load_pem_x509_crl(authority().crl()).public_bytes(serialization.Encoding.DER),
    ],
    ids=["empty", "garbage", "a certificate", "nothing inside", "cut short", "not PEM"],
)
def test_a_broken_revocation_list_is_an_error(tmp_path: Path, octets: bytes) -> None:
    name = put(tmp_path / "ca.pem", authority().cert_pem)
    path = put(tmp_path / "crl.pem", octets)
    with pytest.raises(TLSFileError) as caught:
        load_anchors(name, path)
    assert caught.value.path == path


def test_a_missing_revocation_list_is_an_error_and_not_none(tmp_path: Path) -> None:
    name = put(tmp_path / "ca.pem", authority().cert_pem)
    with pytest.raises(TLSFileError):
        load_anchors(name, str(tmp_path / "crl.pem"))
