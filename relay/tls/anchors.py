"""Sets of trust anchors, and whether a chain leads to one of them (disk).

A named set is only that set: the system's authorities are never added to it. A certificate that is itself in the set,
octet for octet, needs nobody to vouch for it. Only dates, signatures, purpose and revocation are judged here; names,
pins and peers are the business of `trust`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from relay.mail.facts import Unverified, Verification, Verified
from relay.tls.files import TLSFileError, anchor_files, read_certificates, read_octets


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a certificate is shown for: the extended key usage that it must have if it has any."""

    name: str
    usage: x509.ObjectIdentifier


CLIENT = Purpose("client", ExtendedKeyUsageOID.CLIENT_AUTH)
SERVER = Purpose("server", ExtendedKeyUsageOID.SERVER_AUTH)


class AnchorSet:
    """The anchors of one `tls_verify_certificates` value with its CRLs, ready to verify against."""

    def __init__(self, certificates: list[x509.Certificate], crls: list[x509.CertificateRevocationList]) -> None:
        self.certificates = certificates
        self._own = {certificate.public_bytes(Encoding.DER) for certificate in certificates}
        self._revoked = crls
        self._prepared = [crypto.X509.from_cryptography(certificate) for certificate in certificates]

    def __contains__(self, certificate: x509.Certificate) -> bool:
        return self.holds(certificate.public_bytes(Encoding.DER))

    def holds(self, octets: bytes) -> bool:
        """True for the DER form of a certificate that is in the set."""
        return octets in self._own

    def fill(self, store: crypto.X509Store) -> None:
        """Puts anchors, revocation lists and the way to use them into a store of OpenSSL's."""
        flags = crypto.X509StoreFlags.PARTIAL_CHAIN
        for certificate in self._prepared:
            store.add_cert(certificate)
        if self._revoked:
            flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
            for crl in self._revoked:
                store.add_crl(crl)
        store.set_flags(flags)

    def verify(self, chain: tuple[x509.Certificate, ...], purpose: Purpose, now: float) -> Verification:
        """Judges a chain (leaf first, as sent) at `now`, seconds since the epoch."""
        if not chain:
            return Unverified("no certificate was presented")
        leaf = chain[0]
        if leaf in self:
            return self._verify_own(leaf, now)
        # A store of its own for each verdict (6 to 100 us): OpenSSL heeds only the first time that a store is given.
        store = crypto.X509Store()
        self.fill(store)
        store.set_time(datetime.datetime.fromtimestamp(now, datetime.UTC).replace(tzinfo=None))
        context = crypto.X509StoreContext(
            store,
            crypto.X509.from_cryptography(leaf),
            [crypto.X509.from_cryptography(each) for each in chain[1:]],
        )
        try:
            context.verify_certificate()
        except crypto.X509StoreContextError as error:
            return Unverified(_reason(error, leaf))
        if not _serves(leaf, purpose):
            return Unverified(f"the certificate is not for use as a {purpose.name}")
        return Verified("anchor")

    def _verify_own(self, leaf: x509.Certificate, now: float) -> Verification:
        """A certificate that is in the set: dates, and revocation by its own issuer where there is such a CRL."""
        fault = date_fault(leaf, now)
        if fault:
            return Unverified(fault)
        for crl in self._revoked:
            if crl.issuer == leaf.issuer and crl.get_revoked_certificate_by_serial_number(leaf.serial_number):
                return Unverified("the certificate is revoked")
        return Verified("itself")


def date_fault(certificate: x509.Certificate, now: float) -> str:
    """What is wrong with the dates of a certificate at `now` (seconds since the epoch), or an empty string."""
    before, after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < before.timestamp():
        return f"the certificate is not valid before {before:%Y-%m-%d %H:%M} UTC"
    if now > after.timestamp():
        return f"the certificate has expired on {after:%Y-%m-%d %H:%M} UTC"
    return ""


def _serves(leaf: x509.Certificate, purpose: Purpose) -> bool:
    """RFC 5280 4.2.1.12: without the extension every use is allowed."""
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    return purpose.usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


# X509_V_ERR_* codes that have a better text than OpenSSL's (tried out, see the tests).
_SELF_SIGNED = 18
_ISSUER_UNKNOWN = frozenset({2, 19, 20, 21})
_EXPIRED = 10
_NOT_YET = 9
_REVOKED = 23
_NO_CRL = 3
_CRL_EXPIRED = 12


def _reason(error: crypto.X509StoreContextError, leaf: x509.Certificate) -> str:
    code, depth, text = error.errors[0], error.errors[1], error.errors[2]
    whose = "the certificate" if depth == 0 else "an issuing certificate"
    if code == _SELF_SIGNED:
        return "the certificate is self-signed and not in the trusted set"
    if code in _ISSUER_UNKNOWN:
        return "the issuer of the certificate is not in the trusted set"
    if code == _EXPIRED:
        return f"{whose} has expired" + (f" on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" if depth == 0 else "")
    if code == _NOT_YET:
        return f"{whose} is not valid yet"
    if code == _REVOKED:
        return f"{whose} is revoked"
    if code == _NO_CRL:
        return f"there is no revocation list for {whose}"
    if code == _CRL_EXPIRED:
        return "the revocation list has expired"
    return f"{whose}: {text}"


def load_anchors(name: str, crl: str = "") -> AnchorSet:
    """Reads an anchor set. In a directory a file without certificates is passed over, one that is broken is an error.

    Raises TLSFileError.
    """
    found: dict[bytes, x509.Certificate] = {}
    paths = anchor_files(name)
    is_directory = paths != [name]
    for path in paths:
        if is_directory and b"-----BEGIN CERTIFICATE-----" not in read_octets(path):
            continue
        for certificate in read_certificates(path):
            found.setdefault(certificate.public_bytes(Encoding.DER), certificate)
    return AnchorSet(list(found.values()), _read_crls(crl) if crl else [])


def _read_crls(path: str) -> list[x509.CertificateRevocationList]:
    mark = b"-----BEGIN X509 CRL-----"
    pieces = read_octets(path).split(mark)[1:]
    if not pieces:
        raise TLSFileError(path, "holds no revocation list in PEM form", "correct tls_crl")
    try:
        return [x509.load_pem_x509_crl(mark + piece) for piece in pieces]
    except ValueError as error:
        raise TLSFileError(path, f"a revocation list can't be read: {error}", "replace the file") from None
