"""Reads certificates, keys and CRLs from PEM files, with errors an operator can act on (disk).

Every fault is a `TLSFileError` that names the file and the remedy. OpenSSL's own file readers are not used: they
prompt on the terminal for a passphrase and report without names.
"""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

# Where Debian, Red Hat, Alpine and the BSDs keep the bundle of public authorities.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# A file of anchors larger than this is a mistake (Debian's whole bundle has 0.2 MB).
_SIZE_LIMIT = 16 * 1024 * 1024


class TLSFileError(Exception):
    """A file of our TLS set-up is unusable: which, why, what to do."""

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what} ({remedy})")
        self.path = path
        self.what = what
        self.remedy = remedy


def read_octets(path: str) -> bytes:
    """The content of a regular file. Raises TLSFileError."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TLSFileError(path, "not a file", "name a PEM file")
            data = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise TLSFileError(path, "no such file", "make it, or correct the option") from None
    except PermissionError:
        raise TLSFileError(path, "permission denied", f"let user {_whoami()} read it") from None
    except OSError as error:
        raise TLSFileError(path, error.strerror or str(error), "correct the option") from None
    if len(data) > _SIZE_LIMIT:
        raise TLSFileError(path, "larger than 16 MB", "name a PEM file")
    return data


def _open_at_once(path: str, flags: int) -> int:
    """Opening a pipe the usual way would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _whoami() -> str:
    return f"with uid {os.geteuid()}"


def read_certificates(path: str) -> list[x509.Certificate]:
    """All certificates of a PEM file in their order, at least one. Raises TLSFileError."""
    data = read_octets(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as error:
        if b"-----BEGIN CERTIFICATE-----" not in data:
            raise TLSFileError(path, "holds no certificate in PEM form", "put the certificate in, leaf first") from None
        raise TLSFileError(path, f"a certificate can't be read: {error}", "replace the file") from None


_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def read_bundle(path: str) -> list[x509.Certificate]:
    """The certificates of the system's bundle, without those that can't be read: they are none of ours.

    Raises TLSFileError.
    """
    found: list[x509.Certificate] = []
    with warnings.catch_warnings():
        # Some old authorities have a serial number that RFC 5280 forbids; nobody here can mend that.
        warnings.simplefilter("ignore")
        for piece in read_octets(path).split(_BEGIN)[1:]:
            try:
                found.append(x509.load_pem_x509_certificate(_BEGIN + piece.partition(_END)[0] + _END + b"\n"))
            except (ValueError, x509.InvalidVersion):
                continue
    if not found:
        raise TLSFileError(path, "holds no certificate in PEM form", "install ca-certificates, or name a file")
    return found


def read_private_key(path: str) -> PrivateKeyTypes:
    """The first private key of a PEM file. A passphrase is an error, never a prompt. Raises TLSFileError."""
    data = read_octets(path)
    try:
        return load_pem_private_key(_first_key(path, data), password=None)
    except TypeError:
        raise TLSFileError(path, "the key has a passphrase", "remove it: openssl pkey -in OLD -out NEW") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSFileError(path, f"the key can't be read: {error}", "replace the file") from None


def _first_key(path: str, data: bytes) -> bytes:
    """The PEM block of the key out of a file that may hold certificates too."""
    for line in data.splitlines():
        if line.startswith(b"-----BEGIN ") and line.rstrip().endswith(b"PRIVATE KEY-----"):
            begin = data.index(line)
            end_mark = line.replace(b"BEGIN", b"END", 1).rstrip()
            end = data.find(end_mark, begin)
            if end < 0:
                raise TLSFileError(path, "the key is cut short", "replace the file")
            return data[begin : end + len(end_mark)] + b"\n"
    raise TLSFileError(path, "holds no private key in PEM form", "name the key's file in tls_privatekey")


def key_matches(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """True if the certificate is for this key."""
    return public_octets(certificate.public_key()) == public_octets(key.public_key())


def public_octets(key: object) -> bytes:
    """SubjectPublicKeyInfo in DER."""
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # the union of key types has no common base
    return octets


def is_readable_by_everybody(path: str) -> bool:
    """True for a key file that others than owner and group may read. Raises OSError."""
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def anchor_files(name: str) -> list[str]:
    """The files that `tls_verify_certificates` means: one file, those of a directory (hash links or not), the system's.

    Hidden files and subdirectories are passed over. Raises TLSFileError.
    """
    if name == "system":
        found = [bundle for bundle in SYSTEM_BUNDLES if os.path.exists(bundle)]
        if not found:
            raise TLSFileError(
                "system", "no bundle of public authorities found", "install ca-certificates, or name a file"
            )
        return found[:1]
    if not os.path.isdir(name):
        return [name]
    try:
        entries = sorted(entry for entry in Path(name).iterdir() if not entry.name.startswith(".") and entry.is_file())
    except OSError as error:
        raise TLSFileError(name, error.strerror or str(error), f"let user {_whoami()} read it") from None
    return [str(entry) for entry in entries]


Stamp = tuple[tuple[str, int, int, int, int], ...]


def stamp(*names: str) -> Stamp:
    """What changes when one of these files, or a file of these directories, is replaced."""
    rows = []
    for name in names:
        if not name:
            continue
        for path in SYSTEM_BUNDLES if name == "system" else (name, *_entries(name)):
            try:
                status = os.stat(path)
            except OSError:
                rows.append((path, 0, 0, 0, 0))
            else:
                # A file that may not be read any more has another time of change, and no other of modification.
                rows.append((path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
    return tuple(rows)


def _entries(name: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(name))
    except OSError:
        return []
