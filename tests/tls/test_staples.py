"""OCSP responses: only a good one, about the right certificate and in date, is ever given out."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from relay.tls.files import TLSFileError
from relay.tls.policy import staple_file, staple_files
from relay.tls.staples import der_of, read_staple
from tls.material import NOW, response

from certs import Authority, CertKey, authority


def as_pem(octets: bytes) -> bytes:
    return b"-----BEGIN OCSP RESPONSE-----\n" + base64.encodebytes(octets) + b"-----END OCSP RESPONSE-----\n"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def leaf(ca: Authority) -> CertKey:
    return ca.issue("relay.test")


def put(directory: Path, octets: bytes) -> str:
    path = directory / "relay.ocsp"
    path.write_bytes(octets)
    return str(path)


def test_a_good_one_while_it_lasts(tmp_path: Path, ca: Authority, leaf: CertKey) -> None:
    octets = response(ca, leaf)
    staple = read_staple(put(tmp_path, octets), leaf.certificate)
    now = NOW.timestamp()
    assert staple.at(now) == octets
    assert staple.fault(now) is None
    for moment in (now + 86401, now - 86400 - 301):
        assert staple.at(moment) == b""
        fault = staple.fault(moment)
        assert fault is not None
        assert "out of date" in fault.what
    assert staple.at(now - 86400 - 299) == octets


def test_one_without_an_end(tmp_path: Path, ca: Authority, leaf: CertKey) -> None:
    staple = read_staple(put(tmp_path, response(ca, leaf, until=None)), leaf.certificate)
    assert staple.at(NOW.timestamp() + 10**9)


def test_in_pem(tmp_path: Path, ca: Authority, leaf: CertKey) -> None:
    octets = response(ca, leaf)
    path = put(tmp_path, b"whatever\n" + as_pem(octets))
    assert read_staple(f"PEM {path}", leaf.certificate).octets == octets
    with pytest.raises(TLSFileError, match="no OCSP response"):
        read_staple(path, leaf.certificate)
    with pytest.raises(TLSFileError, match="in PEM form"):
        read_staple(f"PEM {put(tmp_path, octets)}", leaf.certificate)


def test_what_is_never_sent(tmp_path: Path, ca: Authority, leaf: CertKey) -> None:
    other = ca.issue("other.test")
    unwell = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
    for octets, why in (
        (response(ca, other), "another certificate"),
        (response(ca, leaf, ocsp.OCSPCertStatus.REVOKED), "revoked"),
        (response(ca, leaf, ocsp.OCSPCertStatus.UNKNOWN), "unknown"),
        (unwell, "TRY_LATER"),
        (b"", "no OCSP response"),
        (b"garbage", "no OCSP response"),
    ):
        with pytest.raises(TLSFileError, match=why):
            read_staple(put(tmp_path, octets), leaf.certificate)
    with pytest.raises(TLSFileError, match="no such file"):
        read_staple(str(tmp_path / "missing"), leaf.certificate)


def test_the_form_holds_on_until_another_one_is_named() -> None:
    items = ("/a", "PEM /b", "/c", "DER /d", "/e")
    assert staple_files(items) == ("/a", "PEM /b", "PEM /c", "/d", "/e")
    assert [staple_file(each) for each in items] == ["/a", "/b", "/c", "/d", "/e"]


def test_a_certificate_is_known_by_its_octets(leaf: CertKey) -> None:
    assert der_of(leaf.certificate) == leaf.der
    assert isinstance(leaf.certificate, x509.Certificate)
