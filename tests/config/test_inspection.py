"""What `relay check` sees in TLS files."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.config import inspection
from relay.config.check import TLSFiles
from relay.mail.source import Location, Problem, Severity
from relay.tls import make
from tls.material import response

import certs

HERE = Location("relay.conf", 7)
DAY = 86400.0


def problems(certificate: Path, key: Path | None = None, *, later: float = 0) -> list[Problem]:
    return inspection.identity_problems(HERE, str(certificate), str(key or ""), time.time() + later)


def one(found: list[Problem]) -> tuple[Severity, str]:
    (problem,) = found
    assert problem.location == HERE
    assert problem.remedy
    return problem.severity, problem.what


def test_a_good_pair(tmp_path: Path) -> None:
    certificate, key = certs.self_signed("relay.example", days=300).write(tmp_path, "r")
    assert problems(certificate, key) == []


def test_both_in_one_file(tmp_path: Path) -> None:
    pair = certs.self_signed("relay.example", days=300)
    path = tmp_path / "both.pem"
    path.touch(0o600)
    path.write_bytes(pair.key_pem + pair.cert_pem)
    assert problems(path) == []


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    certificate, _ = certs.self_signed("relay.example", days=300).write(tmp_path, "r")
    _, key = certs.laptop().write(tmp_path, "l")
    assert one(problems(certificate, key)) == (Severity.ERROR, f"{key}: is not the key of {certificate}")


def test_dates(tmp_path: Path) -> None:
    certificate, key = certs.self_signed("relay.example", days=90).write(tmp_path, "r")
    assert problems(certificate, key, later=50 * DAY) == []
    severity, what = one(problems(certificate, key, later=70 * DAY))
    assert severity is Severity.WARNING
    assert "expires on" in what
    severity, what = one(problems(certificate, key, later=91 * DAY))
    assert severity is Severity.ERROR
    assert "has expired" in what
    assert one(problems(certificate, key, later=-2 * DAY))[0] is Severity.ERROR


def test_a_passphrase_is_an_error_and_no_prompt(tmp_path: Path) -> None:
    pair = certs.self_signed("relay.example", days=300)
    certificate, key = pair.write(tmp_path, "r")
    key.write_bytes(pair.key_pem_with_passphrase(b"secret"))
    severity, what = one(problems(certificate, key))
    assert severity is Severity.ERROR
    assert what == f"{key}: the key has a passphrase"


@pytest.mark.parametrize("mode, loud", [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_for_everybody_is_a_warning_if_somebody_else_made_it(tmp_path: Path, mode: int, loud: bool) -> None:
    certificate, key = certs.self_signed("relay.example", days=300).write(tmp_path, "r")
    key.chmod(mode)
    assert [each.severity for each in problems(certificate, key)] == [Severity.WARNING] * loud


def test_a_key_for_everybody_is_an_error_if_we_made_it(tmp_path: Path) -> None:
    pair = certs.self_signed("relay.example", days=300)
    certificate, key = pair.write(tmp_path, "r")
    private = load_pem_private_key(pair.key_pem, None)
    key.write_bytes(make.key_pem(private))
    key.chmod(0o644)
    assert one(problems(certificate, key)) == (Severity.ERROR, f"{key}: everybody can read this key")


def test_missing_files_are_named_each(tmp_path: Path) -> None:
    found = problems(tmp_path / "c", tmp_path / "k")
    assert [each.what for each in found] == [f"{tmp_path}/c: no such file", f"{tmp_path}/k: no such file"]
    assert len(problems(tmp_path / "c")) == 1


def test_trusted_certificates(tmp_path: Path) -> None:
    assert [each.severity for each in inspection.anchor_problems(HERE, str(tmp_path))] == [Severity.NOTE]
    certs.laptop().write(tmp_path, "l")
    assert inspection.anchor_problems(HERE, str(tmp_path)) == []
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    severity, what = one(inspection.anchor_problems(HERE, str(tmp_path)))
    assert severity is Severity.ERROR
    assert what.startswith(f"{tmp_path}/broken.pem: ")


def test_what_a_handshake_would_go_on_without(tmp_path: Path) -> None:
    """OCSP responses, parameters: the daemon starts and serves, so these are warnings."""
    ca = certs.authority()
    ours = ca.issue("relay.example", days=300)
    certificate, key = map(str, ours.write(tmp_path, "r"))
    staple = tmp_path / "staple"
    staple.write_bytes(response(ca, ours))
    files = TLSFiles(HERE, "main section", certificate, key, ocsp_file=str(staple), dhparam="ffdhe3072")
    assert inspection.inspect(files, time.time()) == []
    assert one(inspection.inspect(files, time.time() + 5 * DAY)) == (
        Severity.WARNING,
        f"{staple}: the OCSP response is out of date",
    )
    staple.write_bytes(b"garbage")
    severity, what = one(inspection.inspect(files, time.time()))
    assert (severity, what.startswith(f"{staple}: no OCSP response")) == (Severity.WARNING, True)
    severity, what = one(inspection.inspect(replace(files, ocsp_file="", dhparam=certificate), time.time()))
    assert (severity, what) == (Severity.WARNING, f"{certificate}: holds no Diffie-Hellman parameters in PEM form")


def test_revocation_lists_are_looked_at_without_own_authorities_too(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").write_bytes(b"garbage")
    severity, what = one(inspection.inspect(TLSFiles(HERE, "main section", crl=str(tmp_path / "crl.pem")), 0.0))
    assert severity is Severity.ERROR
    assert "revocation list" in what


@pytest.mark.parametrize(
    ("ciphers", "groups", "severity", "words"),
    [
        ("NONSENSE", "", Severity.ERROR, "no cipher suite"),
        ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES1-GCM", "", Severity.WARNING, '"ECDHE-RSA-AES1-GCM"'),
        ("", "X25519 : bogus", Severity.ERROR, "tls_eccurve"),
    ],
)
def test_names_that_openssl_does_not_know(ciphers: str, groups: str, severity: Severity, words: str) -> None:
    (found,) = inspection.inspect(TLSFiles(HERE, "main section", require_ciphers=ciphers, eccurve=groups), 0.0)
    assert found.severity is severity
    assert words in found.what


def test_names_that_openssl_knows() -> None:
    files = TLSFiles(HERE, "main section", require_ciphers="NORMAL:%COMPAT", eccurve="auto : X25519 : prime256v1")
    assert inspection.inspect(files, 0.0) == []
