"""Our own certificates: several, self-signed, and what was good stays in force when its files break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.tls.files import TLSFileError, key_matches
from relay.tls.identity import IdentityStore, from_pem, load_identity, to_pem
from relay.tls.policy import IdentityFiles, ServerTLS

import certs

NOW = 1_800_000_000.0


@pytest.fixture
def files(tmp_path: Path) -> IdentityFiles:
    certificate, key = certs.relay().write(tmp_path, "relay")
    return IdentityFiles(str(certificate), str(key))


def of(files: IdentityFiles, *further: IdentityFiles) -> ServerTLS:
    return ServerTLS(files.certificate, files.privatekey, further=further)


def test_a_pair(files: IdentityFiles) -> None:
    identity = load_identity(files)
    assert identity.chain == (certs.relay().certificate,)
    assert identity.source == files.certificate


def test_several(files: IdentityFiles, tmp_path: Path) -> None:
    certificate, key = certs.self_signed("rsa.test", key="rsa").write(tmp_path, "rsa")
    loaded = IdentityStore().load(of(files, IdentityFiles(str(certificate), str(key))), NOW)
    assert [each.source for each in loaded.identities] == [files.certificate, str(certificate)]
    assert loaded.faults == ()


def test_a_self_signed_one_is_made_once_for_a_name() -> None:
    store = IdentityStore()
    policy = ServerTLS("", self_signed_for="relay.test")
    (identity,) = store.load(policy, NOW).identities
    assert store.load(policy, NOW + 5).identities == (identity,)
    assert store.load(replace(policy, self_signed_for="other.test"), NOW).identities != (identity,)
    assert isinstance(identity.key, rsa.RSAPrivateKey)
    (leaf,) = identity.chain
    assert leaf.subject.rfc4514_string() == "CN=relay.test"
    assert leaf.not_valid_before_utc.timestamp() < NOW < leaf.not_valid_after_utc.timestamp()
    assert identity.source == ""


def test_one_that_another_process_made_is_taken_as_it_is() -> None:
    policy = ServerTLS("", self_signed_for="relay.test")
    (made,) = IdentityStore().load(policy, NOW).identities
    store = IdentityStore()
    store.adopt("relay.test", from_pem(to_pem(made)))
    (taken,) = store.load(policy, NOW).identities
    assert taken.chain == made.chain
    assert key_matches(made.chain[0], taken.key)
    (other,) = store.load(replace(policy, self_signed_for="other.test"), NOW).identities
    assert other.chain != made.chain


@pytest.mark.parametrize("harm", ["missing", "garbage", "half", "other key", "passphrase"])
def test_what_was_good_stays_when_its_files_break(files: IdentityFiles, harm: str) -> None:
    store = IdentityStore()
    (good,) = store.load(of(files), NOW).identities
    store.remember(files, good)
    certificate, key = Path(files.certificate), Path(files.privatekey)
    match harm:
        case "missing":
            certificate.unlink()
        case "garbage":
            certificate.write_bytes(b"garbage")
        case "half":
            certificate.write_bytes(certificate.read_bytes()[:200])
        case "other key":
            key.write_bytes(certs.laptop().key_pem)
        case "passphrase":
            key.write_bytes(certs.relay().key_pem_with_passphrase(b"x"))
    loaded = store.load(of(files), NOW)
    assert loaded.identities == (good,)
    (fault,) = loaded.faults
    assert fault.path in (files.certificate, files.privatekey)


def test_what_never_was_good_is_an_error(files: IdentityFiles) -> None:
    Path(files.privatekey).write_bytes(certs.laptop().key_pem)
    store = IdentityStore()
    with pytest.raises(TLSFileError):
        store.load(of(files), NOW)
    assert store.last_good(files) is None


def test_a_bad_staple_is_a_fault_and_no_more(files: IdentityFiles, tmp_path: Path) -> None:
    staple = tmp_path / "staple"
    staple.write_bytes(b"garbage")
    loaded = IdentityStore().load(of(files).__class__(files.certificate, files.privatekey, staple=str(staple)), NOW)
    assert loaded.identities[0].staple is None
    assert [fault.path for fault in loaded.faults] == [str(staple)]


def test_no_more_are_remembered_than_fit(files: IdentityFiles) -> None:
    store = IdentityStore()
    good = load_identity(files)
    for number in range(300):
        store.remember(IdentityFiles(f"/{number}"), good)
    assert store.last_good(IdentityFiles("/0")) is None
    assert store.last_good(IdentityFiles("/299")) is good
