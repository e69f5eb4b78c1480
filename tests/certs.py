"""Certificates for tests, good and bad, made in memory.

`self_signed` is what `openssl req -x509` or `relay init` would make; `Authority` is a small private CA that
can issue, have intermediates and revoke. All keys are throwaway. Dates are relative to the real clock,
because OpenSSL's verification looks at it too.
"""

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyKind = Literal["ec", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# A certificate is valid from a little before now, so that a clock which steps back does no harm.
_BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CertKey:
    """A certificate with its key; `chain_pem` holds what a peer needs besides, leaf first."""

    certificate: x509.Certificate
    key: PrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return self.cert_pem + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.issuers)

    @property
    def key_pem(self) -> bytes:
        return _private_pem(self.key, serialization.NoEncryption())

    def key_pem_with_passphrase(self, passphrase: bytes) -> bytes:
        return _private_pem(self.key, serialization.BestAvailableEncryption(passphrase))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form in upper-case hex, as Exim's ${sha256:$tls_in_peercert} gives it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def fingerprint_with_colons(self) -> str:
        """The form of Postfix and of `openssl x509 -fingerprint`."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Writes NAME.crt (the whole chain) and NAME.key (for the owner only) and returns both paths."""
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.chain_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its own certificate, and what it makes."""

    own: CertKey

    @property
    def cert_pem(self) -> bytes:
        return self.own.cert_pem

    def issue(
        self,
        cn: str,
        *,
        sans: Sequence[str] = (),
        days: float = 30,
        key: KeyKind = "ec",
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> CertKey:
        """A leaf for a host or a device. Its chain holds the intermediates, not the root."""
        return _make(
            cn, sans, ca=False, key=_new_key(key), issuer=self.own, dates=_dates(days, not_before, not_after)
        )

    def intermediate(
        self, cn: str = "Test Intermediate CA", *, days: float = 30, key: KeyKind = "ec"
    ) -> "Authority":
        return Authority(
            _make(cn, (), ca=True, key=_new_key(key), issuer=self.own, dates=_dates(days, None, None))
        )

    def crl(self, revoked: Iterable[CertKey] = (), *, days: float = 30) -> bytes:
        """A revocation list in PEM. Out of date already where `days` is negative."""
        now = _now()
        until = now + datetime.timedelta(days=days)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.own.certificate.subject)
            .last_update(min(now, until) - _BACKDATED)
            .next_update(until)
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - _BACKDATED).build())
        return builder.sign(self.own.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def self_signed(
    cn: str,
    *,
    sans: Sequence[str] = (),
    ca: bool = False,
    days: float = 30,
    key: KeyKind = "ec",
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
) -> CertKey:
    """A certificate that nobody but its own key vouches for.

    `sans` are DNS names or literal addresses; without any there is no subjectAltName, as with a plain
    `openssl req -x509`. With `ca` it may sign others, as that command's certificates may. `days` below zero
    makes an expired one.
    """
    return _make(cn, sans, ca=ca, key=_new_key(key), issuer=None, dates=_dates(days, not_before, not_after))


def authority(cn: str = "Test Root CA", *, days: float = 30, key: KeyKind = "ec") -> Authority:
    return Authority(self_signed(cn, ca=True, days=days, key=key))


@cache
def relay() -> CertKey:
    """One relay's certificate for all tests that need just any: CN and names of a host on loopback."""
    return self_signed("relay.test", sans=("relay.test", "localhost", "127.0.0.1"))


@cache
def laptop() -> CertKey:
    return self_signed("laptop.test")


@cache
def stranger() -> CertKey:
    """In nobody's list."""
    return self_signed("stranger.test")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _new_key(kind: KeyKind) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _private_pem(key: PrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _dates(
    days: float, not_before: datetime.datetime | None, not_after: datetime.datetime | None
) -> tuple[datetime.datetime, datetime.datetime]:
    until = not_after or _now() + datetime.timedelta(days=days)
    return not_before or min(_now(), until) - _BACKDATED, until


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _make(
    cn: str,
    sans: Sequence[str],
    *,
    ca: bool,
    key: PrivateKey,
    issuer: CertKey | None,
    dates: tuple[datetime.datetime, datetime.datetime],
) -> CertKey:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(_key_usage(ca=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not ca:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if sans:
        names = x509.SubjectAlternativeName([_general_name(san) for san in sans])
        builder = builder.add_extension(names, critical=False)
    # The root of a chain is the other side's to have; only what lies between is sent along.
    between: tuple[x509.Certificate, ...] = ()
    if issuer and issuer.certificate.issuer != issuer.certificate.subject:
        between = (issuer.certificate, *issuer.issuers)
    return CertKey(builder.sign(signer, hashes.SHA256()), key, between)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
