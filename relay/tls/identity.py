"""Our own certificates with their keys, loaded and checked; the last good ones stay in force (disk).

A certificate is renewed by a program that may write half a file, forget a permission or pair the wrong key. So what
was good once is kept: a pair that can't be loaded leaves the earlier one in use, and the fault is handed to whoever
tells the operator.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from relay.tls import make
from relay.tls.files import TLSFileError, key_matches, read_certificates, read_private_key
from relay.tls.policy import IdentityFiles, ServerTLS
from relay.tls.staples import Staple, read_staple

# Pairs that are remembered; their names may be expanded with a peer's address or the name that it asks for.
_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its issuers and its key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    source: str
    """The certificate's file; empty for one that was made here."""
    staple: Staple | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in force, and what is wrong with the files as they are now."""

    identities: tuple[Identity, ...]
    faults: tuple[TLSFileError, ...] = ()


def load_identity(files: IdentityFiles) -> Identity:
    """A certificate and its key. Raises TLSFileError."""
    chain = read_certificates(files.certificate)
    key_file = files.privatekey or files.certificate
    key = read_private_key(key_file)
    try:
        is_pair = key_matches(chain[0], key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSFileError(
            files.certificate, f"the certificate's key: {error}", "use an EC P-256 or RSA 2048 key"
        ) from None
    if not is_pair:
        raise TLSFileError(
            key_file,
            f"the key does not belong to the certificate in {files.certificate}",
            "name the right pair, leaf certificate first",
        )
    return Identity(tuple(chain), key, files.certificate)


def to_pem(identity: Identity) -> str:
    """The key and its certificates in one text, for another process of this daemon: for nobody else, and no file."""
    form = serialization.PrivateFormat.PKCS8
    key = identity.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    chain = (each.public_bytes(serialization.Encoding.PEM) for each in identity.chain)
    return b"".join((key, *chain)).decode("ascii")


def from_pem(text: str) -> Identity:
    """What `to_pem` gave. Raises ValueError."""
    data = text.encode("ascii")
    key = serialization.load_pem_private_key(data, password=None)
    return Identity(tuple(x509.load_pem_x509_certificates(data)), key, "")


class IdentityStore:
    """The identities of one process."""

    def __init__(self) -> None:
        self._good: OrderedDict[tuple[str, str], Identity] = OrderedDict()
        self._staples: OrderedDict[str, tuple[x509.Certificate, Staple]] = OrderedDict()
        self._made: dict[str, Identity] = {}

    def load(self, policy: ServerTLS, now: float) -> Loaded:
        """All identities of a policy at `now`, seconds since the epoch.

        Raises TLSFileError for one that can't be loaded and never could.
        """
        if not policy.certificate:
            return Loaded((self.self_signed(policy.self_signed_for or "localhost", now),))
        found: list[Identity] = []
        faults: list[TLSFileError] = []
        for files in policy.identities:
            identity = self._one(files, faults)
            found.append(self._stapled(identity, files, faults))
        return Loaded(tuple(found), tuple(faults))

    def remember(self, files: IdentityFiles, identity: Identity) -> None:
        """OpenSSL has taken it: from now on it is what a broken one falls back to."""
        self._good[files.certificate, files.privatekey] = identity
        self._good.move_to_end((files.certificate, files.privatekey))
        while len(self._good) > _LIMIT:
            self._good.popitem(last=False)

    def last_good(self, files: IdentityFiles) -> Identity | None:
        """What was loaded from these files when they were good."""
        return self._good.get((files.certificate, files.privatekey))

    def _one(self, files: IdentityFiles, faults: list[TLSFileError]) -> Identity:
        try:
            return load_identity(files)
        except TLSFileError as error:
            earlier = self.last_good(files)
            if earlier is None:
                raise
            faults.append(error)
            return earlier

    def self_signed(self, name: str, now: float) -> Identity:
        """One for this process, as Exim makes it: RSA, because it is for clients that nobody has thought of.

        It is kept in memory alone. Raises TLSFileError.
        """
        identity = self._made.get(name)
        if identity is None:
            key = make.make_rsa_key()
            moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
            try:
                certificate = make.make_certificate(key, name, now=moment)
            except make.UnusableName as error:
                what = f"a self-signed certificate can't be made: {error}"
                raise TLSFileError("tls_certificate", what, "name a certificate, or correct primary_hostname") from None
            identity = self._made[name] = Identity((certificate,), key, "")
        return identity

    def adopt(self, name: str, identity: Identity) -> None:
        """Takes one that was made elsewhere for that which this process would make."""
        self._made[name] = identity

    def _stapled(self, identity: Identity, files: IdentityFiles, faults: list[TLSFileError]) -> Identity:
        """With its response; where that can't be read, with the earlier one for as long as it is in date."""
        if not files.staple:
            return identity
        leaf = identity.chain[0]
        try:
            staple = read_staple(files.staple, leaf)
        except TLSFileError as error:
            faults.append(error)
            earlier = self._staples.get(files.staple)
            if earlier is None or earlier[0] != leaf:
                return identity
            staple = earlier[1]
        self._staples[files.staple] = leaf, staple
        self._staples.move_to_end(files.staple)
        while len(self._staples) > _LIMIT:
            self._staples.popitem(last=False)
        return Identity(identity.chain, identity.key, identity.source, staple)
