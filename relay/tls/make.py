"""Makes keys and self-signed certificates, writes them durably, and describes what a PEM file holds (disk).

An identity here is a P-256 key and one certificate that it signed itself. Nobody vouches for it: the other
side holds a copy, or its fingerprint, and believes exactly that. So the certificate says that it is no
authority (CA:FALSE), may be used for both ends of a connection, and lives for ten years. A short life would
protect against nothing: trust is withdrawn by taking the copy away, at once, while an expiry comes on a day
that nobody remembers and stops the mail. Whoever wants a new key makes one at any time (`relay cert new`).
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import ipaddress
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.tls.names import read_certificate

LIFETIME = datetime.timedelta(days=3652)
"""Ten years, for the reason above."""

# A certificate made now must also hold for a peer whose clock is behind.
CLOCK_SKEW = datetime.timedelta(hours=1)

# Text before the first BEGIN line means nothing to readers of PEM, RFC 7468 2.
KEY_NOTE = b"Private key, made by Fingerpost. Nobody but its owner should be able to read it.\n"

# RFC 5280 A.1: ub-common-name.
COMMON_NAME_LIMIT = 64

# RFC 1123 2.1; a single label is allowed, since a machine at home has no more.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class UnusableName(ValueError):
    """The text is no host name; says why."""


class AlreadyThere(FileExistsError):
    """The file exists and was not to be replaced."""


@dataclass(frozen=True, slots=True)
class Description:
    """What people ask of a certificate. Times are in UTC; digests are SHA-256 in upper-case hex without
    colons."""

    subject: str
    issuer: str
    fingerprint: str
    key_digest: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: datetime.datetime
    not_after: datetime.datetime
    key: str
    is_self_issued: bool
    is_authority: bool

    def is_in_date(self, now: datetime.datetime) -> bool:
        return self.not_before <= now <= self.not_after


def check_host_name(name: str) -> str:
    """The name in lower case without a dot at its end; raises UnusableName."""
    bare = name.rstrip(".").lower()
    if not bare.isascii():
        raise UnusableName(f"{name!r} is not ASCII; give it in its xn-- form")
    if len(bare) > 253 or not _HOST_NAME.fullmatch(bare):
        raise UnusableName(f"{name!r} is no host name; use letters, digits, hyphens and dots")
    return bare


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, which every TLS 1.2 and 1.3 peer can check."""
    return ec.generate_private_key(ec.SECP256R1())


def make_rsa_key() -> rsa.RSAPrivateKey:
    """A new RSA key of 2048 bits, for clients that know nothing else."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make_certificate(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    host_name: str,
    *,
    now: datetime.datetime,
    lifetime: datetime.timedelta = LIFETIME,
    addresses: Sequence[str] = (),
) -> x509.Certificate:
    """A self-signed certificate for one host name (and IP addresses, where it is dialled by these).

    Raises UnusableName, or ValueError for an address. RFC 5280 4.1.2 and 4.2.1.
    """
    host_name = check_host_name(host_name)
    # Names too long for a common name are in the subjectAltName, where everybody looks.
    common_name = host_name if len(host_name) <= COMMON_NAME_LIMIT else host_name.split(".", 1)[0]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    alternatives: list[x509.GeneralName] = [x509.DNSName(host_name)]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(enciphers=isinstance(key, rsa.RSAPrivateKey)), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _key_usage(*, enciphers: bool) -> x509.KeyUsage:
    """Signatures; an RSA key also for the key exchange of suites that have no other."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=enciphers,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS 8 without a passphrase (a daemon has nobody to ask), under a line that says whose it is."""
    return KEY_NOTE + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_made_here(path: Path) -> bool:
    """True for a key file that `key_pem` wrote: one that everybody can read is then our error. Raises
    OSError."""
    with path.open("rb") as file:
        return file.read(len(KEY_NOTE)) == KEY_NOTE


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate alone, without its key."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
    """The whole file or nothing, on disk with its directory entry when this returns.

    It is written beside its place under another name, with its permissions from the first moment. Raises
    AlreadyThere (an OSError, as all its troubles are) where the file exists and `replace` is false.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask took away
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(path)
        else:
            _link(temporary, path)
    finally:
        # Behind a rename there is nothing to remove any more.
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def _link(temporary: Path, path: Path) -> None:
    """Unlike a rename, a link never takes the place of what is there."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise AlreadyThere(errno.EEXIST, "is there already", str(path)) from None


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_identity(
    key_path: Path,
    certificate_path: Path,
    host_name: str,
    *,
    now: datetime.datetime,
    addresses: Sequence[str] = (),
    lifetime: datetime.timedelta = LIFETIME,
    replace: bool = False,
) -> x509.Certificate:
    """A new key (0600) and its certificate (0644); raises AlreadyThere, UnusableName, OSError.

    With `replace` a crash between the two writes leaves a key that does not fit its certificate; the older
    pair is therefore kept beside it as `.old` (see `keep_old`).
    """
    key = make_key()
    certificate = make_certificate(key, host_name, now=now, lifetime=lifetime, addresses=addresses)
    if not replace:
        for path in (key_path, certificate_path):
            if path.exists() or path.is_symlink():
                raise AlreadyThere(errno.EEXIST, "is there already", str(path))
    else:
        keep_old(key_path, certificate_path)
    write_file(key_path, key_pem(key), mode=0o600, replace=replace)
    try:
        write_file(certificate_path, certificate_pem(certificate), mode=0o644, replace=replace)
    except OSError:
        if not replace:
            key_path.unlink(missing_ok=True)
        raise
    return certificate


def keep_old(*paths: Path) -> None:
    """Links each file that exists to its name with `.old`, in place of what was called so."""
    for path in paths:
        if not path.exists():
            continue
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        with _removed(temporary):
            temporary.hardlink_to(path)
            temporary.replace(path.with_name(path.name + ".old"))


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def describe(certificate: x509.Certificate) -> Description:
    """What a certificate says, in our forms; nothing is judged. The subject is a stranger's text."""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    authority = False
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(alternatives.get_values_for_type(x509.DNSName))
        addresses = tuple(str(each) for each in alternatives.get_values_for_type(x509.IPAddress))
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    known = read_certificate(certificate)
    return Description(
        subject=known.subject,
        issuer=known.issuer,
        fingerprint=known.fingerprint,
        key_digest=known.key_digest,
        names=names,
        addresses=addresses,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=_kind_of_key(certificate),
        is_self_issued=certificate.subject == certificate.issuer,
        is_authority=authority,
    )


def _kind_of_key(certificate: x509.Certificate) -> str:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(public, ec.EllipticCurvePublicKey):
        if isinstance(public.curve, ec.SECP256R1):
            return "EC P-256"
        return f"EC {public.curve.name}"
    size = getattr(public, "key_size", 0)
    word = type(public).__name__.lstrip("_").removesuffix("PublicKey")
    return f"{word} {size}" if size else word
