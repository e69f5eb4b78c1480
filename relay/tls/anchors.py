"""Sets of trust anchors, and whether a chain leads to one of them (disk).

A named set is only that set: the system's authorities are never added to it. A certificate that is itself in the set,
octet for octet, needs nobody to vouch for it. Only dates, signatures, purpose and revocation are judged here; names,
pins and peers are the business of `trust`.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from relay.mail.facts import Unverified, Verification, Verified
from relay.tls.engine import forget_errors
from relay.tls.files import TLSFileError, anchor_files, read_bundle, read_certificates, read_octets
from relay.tls.names import read_certificate


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a certificate is shown for: the extended key usage that it must have if it has any."""

    name: str
    usage: x509.ObjectIdentifier


CLIENT = Purpose("client", ExtendedKeyUsageOID.CLIENT_AUTH)
SERVER = Purpose("server", ExtendedKeyUsageOID.SERVER_AUTH)


# X509_V_ERR_CRL_SIGNATURE_FAILURE, _UNABLE_TO_GET_CRL_ISSUER; _CRL_HAS_EXPIRED; _CERT_REVOKED
_UNPROVEN_LIST = frozenset({8, 33})
_EXPIRED_LIST = 12
_REVOKED = 23
# Chains that are remembered for resumed sessions; a ticket carries the leaf alone.
_CHAINS = 256


class AnchorSet:
    """The anchors of one `tls_verify_certificates` value with its CRLs, ready to verify against."""

    def __init__(self, certificates: list[x509.Certificate], crls: list[x509.CertificateRevocationList]) -> None:
        self.certificates = certificates
        self._own = {certificate.public_bytes(Encoding.DER) for certificate in certificates}
        self._revoked = crls
        self._prepared = [crypto.X509.from_cryptography(certificate) for certificate in certificates]
        self._chains: OrderedDict[bytes, tuple[x509.Certificate, ...]] = OrderedDict()

    def __contains__(self, certificate: x509.Certificate) -> bool:
        return self.holds(certificate.public_bytes(Encoding.DER))

    def holds(self, octets: bytes) -> bool:
        """True for the DER form of a certificate that is in the set."""
        return octets in self._own

    def fill(self, store: crypto.X509Store, *, all_lists: bool = True) -> None:
        """Puts anchors, revocation lists and the way to use them into a store of OpenSSL's. Without `all_lists` only
        the list of the leaf's issuer is asked."""
        flags = crypto.X509StoreFlags.PARTIAL_CHAIN
        for certificate in self._prepared:
            store.add_cert(certificate)
        if self._revoked:
            flags |= crypto.X509StoreFlags.CRL_CHECK
            if all_lists:
                flags |= crypto.X509StoreFlags.CRL_CHECK_ALL
            for crl in self._revoked:
                store.add_crl(crl)
        store.set_flags(flags)

    def remember(self, chain: tuple[x509.Certificate, ...]) -> None:
        """Keeps the issuers that came with a leaf. They vouch for nothing by being kept."""
        if len(chain) < 2:
            return
        octets = chain[0].public_bytes(Encoding.DER)
        self._chains[octets] = chain
        self._chains.move_to_end(octets)
        while len(self._chains) > _CHAINS:
            self._chains.popitem(last=False)

    def recall(self, chain: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
        """The chain of a resumed session, with the issuers that its leaf came with the first time."""
        if len(chain) != 1:
            return chain
        return self._chains.get(chain[0].public_bytes(Encoding.DER), chain)

    def verify(self, chain: tuple[x509.Certificate, ...], purpose: Purpose, now: float) -> Verification:
        """Judges a chain (leaf first, as sent) at `now`, seconds since the epoch."""
        if not chain:
            return Unverified("no certificate was presented")
        leaf = chain[0]
        if leaf in self:
            return self._verify_own(leaf, now)
        fault = self._fault(chain, now)
        if fault is not None and fault[0] == 0:
            # The lists below have been asked by then; what OpenSSL does after the lists is still to be done.
            fault = self._fault(chain, now, all_lists=False)
        if fault is not None:
            code, depth, text, at_fault = fault
            return Unverified(self.reason(code, depth, text, at_fault), verify_faults(code, depth, text, at_fault))
        if not _serves(leaf, purpose):
            return Unverified(f"the certificate is not for use as a {purpose.name}")
        return Verified("anchor")

    def _fault(
        self, chain: tuple[x509.Certificate, ...], now: float, *, all_lists: bool = True
    ) -> tuple[int, int, str, x509.Certificate] | None:
        """What is wrong with a chain first: X509_V_ERR_* (0: less than OpenSSL thinks), depth, text, certificate."""
        # A store of its own for each verdict (6 to 100 us): OpenSSL heeds only the first time that a store is given.
        store = crypto.X509Store()
        self.fill(store, all_lists=all_lists)
        store.set_time(datetime.datetime.fromtimestamp(now, datetime.UTC).replace(tzinfo=None))
        leaf, *others = (crypto.X509.from_cryptography(each) for each in chain)
        try:
            crypto.X509StoreContext(store, leaf, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            forget_errors()
            code, depth, text = error.errors[0], error.errors[1], error.errors[2]
            octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, error.certificate)
            return self.list_fault(code, octets, now), depth, text, error.certificate.to_cryptography()
        return None

    def list_fault(self, code: int, octets: bytes, now: float) -> int:
        """A fault that OpenSSL has found with the certificate of these octets, looked at once more; 0: there is none.

        A chain ends at the first certificate that is in the set. Where that is no root, its issuer is not in the chain,
        and OpenSSL knows nobody whose key proves the list of that issuer. But the issuer may be in the set as well.
        """
        if code not in _UNPROVEN_LIST or not self.holds(octets):
            return code
        certificate = x509.load_der_x509_certificate(octets)
        issuers = [each for each in self.certificates if each.subject == certificate.issuer]
        lists = [crl for crl in self._revoked if any(_has_signed(each, crl) for each in issuers)]
        if not lists:
            return code
        if self._revocation(certificate):
            return _REVOKED
        return 0 if any(_is_current(crl, now) for crl in lists) else _EXPIRED_LIST

    def _verify_own(self, leaf: x509.Certificate, now: float) -> Verification:
        """A certificate that is in the set: dates, and revocation by its own issuer where there is such a CRL."""
        fault = date_fault(leaf, now)
        if fault:
            return Unverified(fault)
        revoked = self._revocation(leaf)
        return Unverified(f"the certificate was revoked{revoked}") if revoked else Verified("itself")

    def _revocation(self, certificate: x509.Certificate) -> str:
        """` on` with the date on which a list says that a certificate was revoked, or nothing."""
        for crl in self._revoked:
            if crl.issuer == certificate.issuer:
                entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
                if entry is not None:
                    return f" on {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
        return ""

    def reason(self, code: int, depth: int, text: str, certificate: x509.Certificate) -> str:
        """What OpenSSL found wrong (X509_V_ERR_*), in words an operator can act on; `certificate` is the one at
        fault."""
        whose = "the certificate" if depth == 0 else "an issuing certificate"
        match code:
            case 18:
                return "the certificate is self-signed and not in the trusted set"
            case 2 | 19 | 20 | 21:
                return "the issuer of the certificate is not in the trusted set"
            case 10:
                return f"{whose} has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            case 9:
                return f"{whose} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            case 23:
                return f"{whose} was revoked{self._revocation(certificate)}"
            case 26:
                return f"{whose} is not for use as a client"
            case 3:
                return f"there is no revocation list for {whose}"
            case 12:
                return "the revocation list has expired"
        return f"{whose}: {text}"


_NO_ISSUER, _NOT_VERIFIABLE = 20, "unable to verify the first certificate"


def verify_faults(code: int, depth: int, text: str, certificate: x509.Certificate) -> tuple[str, ...]:
    """What Exim's log says of an error of OpenSSL's (`text`), and of what OpenSSL finds next if it goes on in spite
    of it."""
    subject = read_certificate(certificate).subject
    texts = (text, _NOT_VERIFIABLE) if code == _NO_ISSUER and depth == 0 else (text,)
    return tuple(f"depth={depth} error={each} cert={subject}" for each in texts)


def date_fault(certificate: x509.Certificate, now: float) -> str:
    """What is wrong with the dates of a certificate at `now` (seconds since the epoch), or an empty string."""
    before, after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < before.timestamp():
        return f"the certificate is not valid before {before:%Y-%m-%d %H:%M} UTC"
    if now > after.timestamp():
        return f"the certificate has expired on {after:%Y-%m-%d %H:%M} UTC"
    return ""


def _has_signed(issuer: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    if crl.issuer != issuer.subject:
        return False
    try:
        # The types of the two methods name the same kinds of keys differently.
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _is_current(crl: x509.CertificateRevocationList, now: float) -> bool:
    until = crl.next_update_utc
    return crl.last_update_utc.timestamp() <= now and (until is None or now <= until.timestamp())


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate says of itself that it issues others (RFC 5280 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def _serves(leaf: x509.Certificate, purpose: Purpose) -> bool:
    """RFC 5280 4.2.1.12: without the extension every use is allowed."""
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
    return purpose.usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


class RevocationStore:
    """The revocation lists of one process: a broken renewal leaves the earlier lists in force.

    They still revoke what they revoked, and where they have expired nobody of their issuer verifies.
    """

    def __init__(self, size: int = 256) -> None:
        self._good: OrderedDict[str, list[x509.CertificateRevocationList]] = OrderedDict()
        self._size = size

    def load(self, name: str, faults: list[TLSFileError]) -> list[x509.CertificateRevocationList]:
        """The lists of `tls_crl`. Raises TLSFileError for what can't be read and never could."""
        try:
            found = self._good[name] = read_revocations(name)
        except TLSFileError as error:
            if name not in self._good:
                raise
            faults.append(error)
            found = self._good[name]
        self._good.move_to_end(name)
        while len(self._good) > self._size:
            self._good.popitem(last=False)
        return found


def load_anchors(
    name: str, crl: str = "", revocations: RevocationStore | None = None, faults: list[TLSFileError] | None = None
) -> AnchorSet:
    """Reads an anchor set. In a directory a file without certificates is passed over, one that is broken is an error.

    `revocations` remembers lists that were good before, `faults` hears of those that are not any more.
    Raises TLSFileError.
    """
    revocations = revocations if revocations is not None else RevocationStore()
    found: dict[bytes, x509.Certificate] = {}
    paths = anchor_files(name)
    is_directory = paths != [name]
    for path in paths:
        if is_directory and b"-----BEGIN CERTIFICATE-----" not in read_octets(path):
            continue
        for certificate in read_bundle(path) if name == "system" else read_certificates(path):
            found.setdefault(certificate.public_bytes(Encoding.DER), certificate)
    return AnchorSet(list(found.values()), revocations.load(crl, faults if faults is not None else []) if crl else [])


_CRL_MARK = b"-----BEGIN X509 CRL-----"


def read_revocations(name: str) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a file, or of all files of a directory (as c_rehash leaves it, or not).

    Raises TLSFileError.
    """
    paths = anchor_files(name) if name != "system" else [name]
    found: dict[bytes, x509.CertificateRevocationList] = {}
    for path in paths:
        for each in _crls_of(path):
            found.setdefault(each.public_bytes(Encoding.DER), each)
    if not found:
        raise TLSFileError(name, "holds no revocation list in PEM form", "correct tls_crl")
    return list(found.values())


def _crls_of(path: str) -> Sequence[x509.CertificateRevocationList]:
    try:
        return [x509.load_pem_x509_crl(_CRL_MARK + piece) for piece in read_octets(path).split(_CRL_MARK)[1:]]
    except ValueError as error:
        raise TLSFileError(path, f"a revocation list can't be read: {error}", "replace the file") from None
