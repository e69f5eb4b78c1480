"""Keys and certificates that we make, and how they reach the disk."""

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.tls import files, make

import certs

NOW = datetime.datetime(2026, 11, 21, 10, 0, tzinfo=datetime.UTC)


def made(host_name: str = "relay.example", **more) -> x509.Certificate:
    return make.make_certificate(make.make_key(), host_name, now=NOW, **more)


def extension(certificate: x509.Certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_a_certificate_is_for_both_ends_and_no_authority() -> None:
    certificate = made()
    assert extension(certificate, x509.BasicConstraints).value.ca is False
    assert extension(certificate, x509.BasicConstraints).critical
    usage = extension(certificate, x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert set(extension(certificate, x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)


def test_names_addresses_and_dates() -> None:
    certificate = made("Relay.Example.", addresses=["192.0.2.1", "2001:db8::1"])
    described = make.describe(certificate)
    assert described.subject == described.issuer == "/CN=relay.example"
    assert described.names == ("relay.example",)
    assert described.addresses == ("192.0.2.1", "2001:db8::1")
    assert described.not_before == NOW - make.CLOCK_SKEW
    assert described.not_after == NOW + make.LIFETIME
    assert described.key == "EC P-256"
    assert described.is_self_issued
    assert not described.is_authority


def test_a_name_too_long_for_a_common_name_is_still_in_the_alternatives() -> None:
    name = f"relay.{'a' * 60}.example"
    certificate = made(name)
    assert make.describe(certificate).names == (name,)
    (common,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common.value == "relay"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "-a.example",
        "a_b.example",
        "a..b",
        "a b",
        "a\nb",
        "grüße.example",
        "a" * 64,
        "a." * 130 + "a",
    ],
)
def test_what_is_no_host_name(name: str) -> None:
    with pytest.raises(make.UnusableName):
        made(name)


@settings(max_examples=60)
@given(st.text() | st.text("aZ09-.", max_size=80))
def test_any_text_is_a_host_name_or_an_unusable_one(text: str) -> None:
    try:
        name = make.check_host_name(text)
    except make.UnusableName:
        return
    assert name == name.lower()
    assert name.isascii()
    assert made(name).subject


def test_digests_are_those_that_exim_shows() -> None:
    laptop = certs.laptop()
    described = make.describe(laptop.certificate)
    assert described.fingerprint == laptop.fingerprint
    assert len(described.key_digest) == 64
    assert described.key_digest == described.key_digest.upper()


def test_foreign_certificates_are_described_too() -> None:
    authority = make.describe(certs.authority().own.certificate)
    assert authority.is_authority
    assert make.describe(certs.self_signed("old", key="rsa").certificate).key.startswith("RSA ")


def test_in_date() -> None:
    described = make.describe(made())
    assert described.is_in_date(NOW)
    assert not described.is_in_date(NOW - datetime.timedelta(days=1))
    assert not described.is_in_date(NOW + make.LIFETIME + datetime.timedelta(seconds=1))


def test_an_identity_on_disk(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    old = os.umask(0)
    try:
        made_one = make.write_identity(key, certificate, "relay.example", now=NOW)
    finally:
        os.umask(old)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o644
    assert files.key_matches(made_one, files.read_private_key(str(key)))
    assert files.read_certificates(str(certificate)) == [made_one]
    assert sorted(tmp_path.iterdir()) == [certificate, key]
    # OpenSSL reads past the note above the key.
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)


def test_a_key_made_here_is_known_as_such(tmp_path: Path) -> None:
    make.write_identity(tmp_path / "k", tmp_path / "c", "relay.example", now=NOW)
    (tmp_path / "other").write_bytes(certs.relay().key_pem)
    assert make.is_made_here(tmp_path / "k")
    assert not make.is_made_here(tmp_path / "other")


@pytest.mark.parametrize("there", ["k", "c"])
def test_an_identity_never_takes_the_place_of_another_unasked(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(make.AlreadyThere) as caught:
        make.write_identity(tmp_path / "k", tmp_path / "c", "relay.example", now=NOW)
    assert caught.value.filename == str(tmp_path / there)
    assert [each.name for each in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_link_that_leads_nowhere_is_also_there(tmp_path: Path) -> None:
    (tmp_path / "k").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(make.AlreadyThere):
        make.write_identity(tmp_path / "k", tmp_path / "c", "relay.example", now=NOW)
    assert not (tmp_path / "elsewhere").exists()


def test_a_replaced_identity_is_kept_as_old(tmp_path: Path) -> None:
    key, certificate = tmp_path / "k", tmp_path / "c"
    make.write_identity(key, certificate, "relay.example", now=NOW)
    before = key.read_bytes(), certificate.read_bytes()
    make.write_identity(key, certificate, "relay.example", now=NOW, replace=True)
    assert ((tmp_path / "k.old").read_bytes(), (tmp_path / "c.old").read_bytes()) == before
    assert key.read_bytes() != before[0]
    assert stat.S_IMODE((tmp_path / "k.old").stat().st_mode) == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"k", "c", "k.old", "c.old"}


@pytest.mark.parametrize("step", ["fsync", "fchmod", "link", "replace"])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        make.write_file(tmp_path / "f", b"new", mode=0o600, replace=step == "replace")
    assert list(tmp_path.iterdir()) == []


def test_when_the_certificate_can_not_be_written_the_key_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = make.write_file

    def fail_for_certificate(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
        if path.name == "c":
            raise OSError(28, "No space left on device")
        write(path, data, mode=mode, replace=replace)

    monkeypatch.setattr(make, "write_file", fail_for_certificate)
    with pytest.raises(OSError, match="No space"):
        make.write_identity(tmp_path / "k", tmp_path / "c", "relay.example", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_is_synced_with_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    make.write_file(tmp_path / "f", b"new", mode=0o600)
    assert synced == [False, True]
