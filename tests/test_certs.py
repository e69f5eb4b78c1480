"""The certificates of `certs.py` against OpenSSL's own opinion."""

import hashlib
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

import certs


def verifies(leaf: certs.CertKey, anchor: bytes, directory: Path, *, crl: bytes = b"") -> bool:
    (directory / "anchor.pem").write_bytes(anchor + crl)
    (directory / "chain.pem").write_bytes(leaf.chain_pem)
    command = ["openssl", "verify", "-CAfile", "anchor.pem", "-untrusted", "chain.pem"]
    if crl:
        command.append("-crl_check")
    done = subprocess.run(
        [*command, "chain.pem"], cwd=directory, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_a_self_signed_certificate_fits_its_key_and_vouches_for_itself(
    tmp_path: Path, key: certs.KeyKind
) -> None:
    pair = certs.self_signed("relay.test", sans=("relay.test", "127.0.0.1"), key=key)
    certificate, private = pair.write(tmp_path, "relay")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert pair.fingerprint == hashlib.sha256(pair.der).hexdigest().upper()
    assert pair.fingerprint_with_colons.replace(":", "") == pair.fingerprint
    assert verifies(pair, pair.cert_pem, tmp_path)
    assert not verifies(pair, certs.stranger().cert_pem, tmp_path)


def test_an_expired_certificate(tmp_path: Path) -> None:
    pair = certs.self_signed("old.test", days=-1)
    assert not verifies(pair, pair.cert_pem, tmp_path)


def test_a_chain_and_its_revocation_list(tmp_path: Path) -> None:
    root = certs.authority()
    middle = root.intermediate()
    good, revoked = middle.issue("good.test", sans=("good.test",)), middle.issue("revoked.test")
    assert good.chain_pem == good.cert_pem + middle.cert_pem
    assert verifies(good, root.cert_pem, tmp_path)
    crl = middle.crl([revoked])
    assert verifies(good, root.cert_pem, tmp_path, crl=crl)
    assert not verifies(revoked, root.cert_pem, tmp_path, crl=crl)
    assert not verifies(good, root.cert_pem, tmp_path, crl=middle.crl(days=-1))


def test_a_key_with_a_passphrase() -> None:
    assert b"ENCRYPTED" in certs.laptop().key_pem_with_passphrase(b"secret")
