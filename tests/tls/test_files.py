"""Reading PEM files: every fault names the file and the remedy, and nothing ever prompts."""

import base64
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.tls import files
from relay.tls.files import (
    TLSFileError,
    anchor_files,
    is_readable_by_everybody,
    key_matches,
    public_octets,
    read_bundle,
    read_certificates,
    read_octets,
    read_private_key,
    stamp,
)

import certs

NOBODY = 65534


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory in which permissions hold, for root too: what runs here has no rights of its own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if os.geteuid() != 0:
            yield directory
            directory.chmod(0o700)
            return
        directory.chmod(0o777)
        os.seteuid(NOBODY)
        try:
            yield directory
        finally:
            os.seteuid(0)


def put(path: Path, octets: bytes) -> str:
    path.write_bytes(octets)
    return str(path)


def fault(call: object, path: str) -> TLSFileError:
    with pytest.raises(TLSFileError) as caught:
        call(path)  # type: ignore[operator]  # one of the readers
    error = caught.value
    assert error.path == path
    assert error.what
    assert error.remedy
    assert "\n" not in str(error)
    return error


READERS = [read_octets, read_certificates, read_private_key]


@pytest.mark.parametrize("read", READERS)
class TestFilesThatCanNotBeRead:
    def test_missing(self, tmp_path: Path, read: object) -> None:
        assert "no such file" in fault(read, str(tmp_path / "missing.pem")).what

    def test_a_directory(self, tmp_path: Path, read: object) -> None:
        assert "directory" in fault(read, str(tmp_path)).what.lower()

    def test_a_part_of_the_path_is_a_file(self, tmp_path: Path, read: object) -> None:
        put(tmp_path / "a", b"")
        fault(read, str(tmp_path / "a" / "b"))

    def test_a_device(self, read: object) -> None:
        assert fault(read, "/dev/null").what == "not a file"

    def test_no_permission(self, as_nobody: Path, read: object) -> None:
        path = as_nobody / "key.pem"
        path.write_bytes(b"")
        path.chmod(0)
        error = fault(read, str(path))
        assert error.what == "permission denied"
        assert str(os.geteuid()) in error.remedy

    def test_too_large(self, tmp_path: Path, read: object) -> None:
        path = tmp_path / "large.pem"
        path.touch()
        os.truncate(path, 16 * 1024 * 1024 + 1)
        assert "16 MB" in fault(read, str(path)).what


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    """Opening it the usual way waits for a writer, and the whole relay with it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen: list[str] = []

    def read() -> None:
        try:
            read_octets(str(path))
        except TLSFileError as error:
            seen.append(error.what)

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(1)
    if reader.is_alive():  # let it go, whatever the outcome
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        reader.join()
        pytest.fail("it waited for a writer")
    assert seen == ["not a file"]


# Certificates


def test_a_whole_chain_in_its_order(tmp_path: Path) -> None:
    leaf = certs.authority().intermediate().issue("relay.test")
    found = read_certificates(put(tmp_path / "chain.pem", leaf.chain_pem))
    assert found == [leaf.certificate, *leaf.issuers]
    assert len(found) == 2


def test_text_around_a_certificate_is_passed_over(tmp_path: Path) -> None:
    octets = b"Name: laptop\r\n\n" + certs.laptop().cert_pem.replace(b"\n", b"\r\n") + b"\nbye\n"
    assert read_certificates(put(tmp_path / "c.pem", octets)) == [certs.laptop().certificate]


def test_certificate_and_key_in_one_file(tmp_path: Path) -> None:
    relay = certs.relay()
    for octets in (relay.cert_pem + relay.key_pem, relay.key_pem + relay.chain_pem):
        path = put(tmp_path / "both.pem", octets)
        (certificate,) = read_certificates(path)
        assert certificate == relay.certificate
        assert key_matches(certificate, read_private_key(path))


@pytest.mark.parametrize(
    "octets", [b"", b"garbage\n", b"\xff\xfe\x00", certs.relay().der, certs.relay().key_pem], ids=repr
)
def test_no_certificate_in_the_file(tmp_path: Path, octets: bytes) -> None:
    assert "no certificate in PEM form" in fault(read_certificates, put(tmp_path / "c.pem", octets)).what


@pytest.mark.parametrize(
    "octets",
    [
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        certs.relay().cert_pem[:200],
        certs.relay().cert_pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["begin alone", "no base64", "no certificate inside", "cut short", "the second is broken"],
)
def test_a_broken_certificate(tmp_path: Path, octets: bytes) -> None:
    fault(read_certificates, put(tmp_path / "c.pem", octets))


def with_version(number: int) -> bytes:
    """A certificate that claims a version that does not exist; its signature does not matter to a reader."""
    relay = certs.relay()
    der = relay.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([number - 1]), 1)
    return certs_pem(der)


def certs_pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_a_certificate_of_an_unknown_version(tmp_path: Path) -> None:
    assert read_certificates(put(tmp_path / "3.pem", with_version(3))) == [certs.relay().certificate]
    fault(read_certificates, put(tmp_path / "4.pem", with_version(4)))


# Keys


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_keys_in_both_forms(tmp_path: Path, kind: certs.KeyKind, form: serialization.PrivateFormat) -> None:
    made = certs.self_signed("relay.test", key=kind)
    octets = made.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for text in (octets, octets.replace(b"\n", b"\r\n"), parameters + octets, b"a note\n" + octets):
        assert public_octets(read_private_key(put(tmp_path / "k.pem", text)).public_key()) == public_octets(
            made.key.public_key()
        )


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_passphrase_is_an_error_and_never_a_prompt(
    tmp_path: Path, form: serialization.PrivateFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prompt(*_: object) -> None:
        raise AssertionError("it prompted")

    monkeypatch.setattr("getpass.getpass", prompt)
    monkeypatch.setattr("builtins.input", prompt)
    octets = certs.relay().key.private_bytes(
        serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret")
    )
    error = fault(read_private_key, put(tmp_path / "k.pem", octets))
    assert "passphrase" in error.what
    assert "openssl pkey" in error.remedy


@pytest.mark.parametrize("octets", [b"", b"garbage", certs.relay().cert_pem], ids=["empty", "garbage", "certificate"])
def test_no_key_in_the_file(tmp_path: Path, octets: bytes) -> None:
    error = fault(read_private_key, put(tmp_path / "k.pem", octets))
    assert "no private key" in error.what
    assert "tls_privatekey" in error.remedy


@pytest.mark.parametrize(
    "octets",
    [
        certs.relay().key_pem[:60],
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n\xff\xff\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ],
    ids=["cut short", "empty", "no key inside", "no base64", "of ssh"],
)
def test_a_broken_key(tmp_path: Path, octets: bytes) -> None:
    fault(read_private_key, put(tmp_path / "k.pem", octets))


def test_a_key_on_an_unknown_curve(tmp_path: Path) -> None:
    key = certs.relay().key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unknown = key.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f"))
    assert unknown != key
    octets = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(unknown) + b"-----END PRIVATE KEY-----\n"
    fault(read_private_key, put(tmp_path / "k.pem", octets))


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    key = read_private_key(put(tmp_path / "k.pem", certs.laptop().key_pem))
    assert key_matches(certs.laptop().certificate, key)
    assert not key_matches(certs.relay().certificate, key)
    assert not key_matches(certs.self_signed("old", key="rsa").certificate, key)


def test_a_curve_with_a_larger_field(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert public_octets(read_private_key(put(tmp_path / "k", octets)).public_key()) == public_octets(key.public_key())


@pytest.mark.parametrize("mode, expected", [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_that_everybody_can_read(tmp_path: Path, mode: int, expected: bool) -> None:
    path = tmp_path / "k.pem"
    path.touch()
    path.chmod(mode)
    assert is_readable_by_everybody(str(path)) is expected


# Where anchors are


def test_one_file_is_that_file_whether_it_is_there_or_not(tmp_path: Path) -> None:
    assert anchor_files(str(tmp_path / "missing.pem")) == [str(tmp_path / "missing.pem")]


def test_a_directory_means_its_files(tmp_path: Path) -> None:
    for name in ("b.pem", "a.crt", ".hidden.pem", "README"):
        put(tmp_path / name, b"")
    (tmp_path / "0a1b2c3d.0").symlink_to("b.pem")
    (tmp_path / "dangling.0").symlink_to("gone.pem")
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub" / "c.pem", b"")
    names = [Path(path).name for path in anchor_files(str(tmp_path))]
    assert names == ["0a1b2c3d.0", "README", "a.crt", "b.pem"]


def test_an_empty_directory_means_nothing(tmp_path: Path) -> None:
    assert anchor_files(str(tmp_path)) == []


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100], ids=oct)
def test_an_unreadable_directory(as_nobody: Path, mode: int) -> None:
    """Nothing, names without what they stand for, what they stand for without names: all of it is one fault."""
    directory = as_nobody / "anchors"
    directory.mkdir()
    put(directory / "a.pem", b"")
    directory.chmod(mode)
    try:
        assert "denied" in fault(anchor_files, str(directory)).what.lower()
    finally:
        directory.chmod(0o700)


def test_the_bundle_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(files, "SYSTEM_BUNDLES", (str(first), str(second)))
    assert "authorities" in fault(anchor_files, "system").what
    put(second, b"")
    assert anchor_files("system") == [str(second)]
    put(first, b"")
    assert anchor_files("system") == [str(first)]


# What tells that a file was replaced


def test_a_bundle_goes_on_without_what_can_not_be_read(tmp_path: Path) -> None:
    """The system's; nobody here can mend it."""
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    path = put(tmp_path / "bundle.crt", certs.relay().cert_pem + b"# a note\n" + broken + certs.laptop().cert_pem)
    assert read_bundle(path) == [certs.relay().certificate, certs.laptop().certificate]
    for octets in (b"", broken):
        with pytest.raises(TLSFileError, match="holds no certificate"):
            read_bundle(put(tmp_path / "bundle.crt", octets))


def test_a_stamp_stays_until_something_changes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.pem", b"one")
    before = stamp(path, "")
    assert before == stamp(path)
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(0, os.stat(path).st_mtime_ns))
    os.replace(tmp_path / "new", path)  # same size, same time
    assert stamp(path) != before


def test_a_stamp_sees_that_a_file_may_not_be_read_any_more(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    put(path, b"one")
    before = stamp(str(path))
    path.chmod(0)
    assert stamp(str(path)) != before


def test_a_stamp_sees_a_missing_file_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    missing = stamp(str(path))
    put(path, b"")
    present = stamp(str(path))
    assert present != missing
    path.unlink()
    assert stamp(str(path)) == missing


def test_a_stamp_of_a_directory_sees_its_files_and_what_links_lead_to(tmp_path: Path) -> None:
    target = put(tmp_path / "target", b"one")
    directory = tmp_path / "anchors"
    directory.mkdir()
    empty = stamp(str(directory))
    put(directory / "a.pem", b"one")
    with_file = stamp(str(directory))
    assert with_file != empty
    put(directory / "a.pem", b"longer")
    changed = stamp(str(directory))
    assert changed != with_file
    (directory / "hash.0").symlink_to(target)
    linked = stamp(str(directory))
    put(tmp_path / "target", b"another")
    assert stamp(str(directory)) != linked
