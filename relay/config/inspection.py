"""Looks at the TLS files that a configuration names, as `relay check` reports them (disk).

The reader of the configuration knows which files an option names; what is in them is found out here, so
that a fault is met by the operator and not by a peer in the middle of a handshake.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from relay.expand.splitting import split_list
from relay.mail.source import Location, Problem, Severity
from relay.tls import make
from relay.tls.anchors import date_fault, load_anchors, read_revocations
from relay.tls.ciphers import BadCipherList, unknown_items
from relay.tls.engine import knows_groups
from relay.tls.files import (
    TLSFileError,
    is_readable_by_everybody,
    key_matches,
    read_certificates,
    read_private_key,
)
from relay.tls.parameters import read_parameters
from relay.tls.policy import named_set, staple_files
from relay.tls.staples import read_staple

if TYPE_CHECKING:
    from relay.config.check import TLSFiles

WARN_BEFORE_EXPIRY = datetime.timedelta(days=30)


def inspect(files: TLSFiles, now: float) -> list[Problem]:
    """What is wrong with the TLS files of the main section or of one transport. `now`: seconds since the epoch."""
    certificates = split_list(files.certificate).items
    keys = split_list(files.privatekey).items
    found: list[Problem] = []
    for number, certificate in enumerate(certificates):
        key = keys[number] if number < len(keys) else ""
        found += identity_problems(files.location, certificate, key, now)
    if named_set(files.verify_certificates) != "system":
        found += anchor_problems(files.location, files.verify_certificates, files.crl)
    elif files.crl:
        found += _revocation_problems(files)
    return found + _staple_problems(files, now) + _parameter_problems(files) + _cipher_problems(files)


def _revocation_problems(files: TLSFiles) -> list[Problem]:
    try:
        read_revocations(files.crl)
    except TLSFileError as error:
        return [_problem(files.location, error)]
    return []


def _staple_problems(files: TLSFiles, now: float) -> list[Problem]:
    """Responses that would not be sent; clients get the certificate without one."""
    certificates = split_list(files.certificate).items
    found: list[Problem] = []
    for certificate, staple in zip(certificates, staple_files(split_list(files.ocsp_file).items), strict=False):
        if not staple:
            continue
        try:
            leaf = read_certificates(certificate)[0]
        except TLSFileError:
            continue  # has been said
        try:
            fault = read_staple(staple, leaf).fault(now)
        except TLSFileError as error:
            fault = error
        if fault is not None:
            found.append(Problem(files.location, f"{fault.path}: {fault.what}", fault.remedy, Severity.WARNING))
    return found


def _parameter_problems(files: TLSFiles) -> list[Problem]:
    """A file of parameters that can't be used: a group of OpenSSL's takes their place."""
    if not files.dhparam.startswith("/"):
        return []
    try:
        read_parameters(files.dhparam)
    except TLSFileError as error:
        return [Problem(files.location, f"{error.path}: {error.what}", error.remedy, Severity.WARNING)]
    return []


def _cipher_problems(files: TLSFiles) -> list[Problem]:
    """Names of cipher suites and groups that this OpenSSL does not have."""
    found: list[Problem] = []
    try:
        for item in unknown_items(files.require_ciphers):
            what = f'{files.what}: tls_require_ciphers: OpenSSL does not know "{item}" and passes over it'
            found.append(Problem(files.location, what, "correct or remove it", Severity.WARNING))
    except BadCipherList as error:
        found.append(Problem(files.location, f"{files.what}: tls_require_ciphers: {error}", "correct the list"))
    groups = [item for item in split_list(files.eccurve).items if item != "auto"]
    if groups and not knows_groups(groups):
        what = f"{files.what}: tls_eccurve: OpenSSL does not know a group of {':'.join(groups)}"
        found.append(Problem(files.location, what, "write names such as X25519, P-256, X25519MLKEM768, or auto"))
    return found


def identity_problems(location: Location, certificate: str, key: str, now: float) -> list[Problem]:
    """What is wrong with a certificate of ours and its key (`key` "": it is in the certificate's file).

    `now` is in seconds since the epoch.
    """
    problems: list[Problem] = []
    key = key or certificate
    try:
        leaf = read_certificates(certificate)[0]
        problems += _date_problems(location, certificate, leaf, now)
    except TLSFileError as error:
        leaf = None
        problems.append(_problem(location, error))
    if key == certificate and leaf is None:
        return problems
    try:
        private = read_private_key(key)
        if leaf is not None and not key_matches(leaf, private):
            remedy = "name the pair that belongs together, the leaf certificate first"
            problems.append(Problem(location, f"{key}: is not the key of {certificate}", remedy))
        problems += _permission_problems(location, key)
    except TLSFileError as error:
        problems.append(_problem(location, error))
    return problems


def _date_problems(location: Location, file: str, leaf: x509.Certificate, now: float) -> list[Problem]:
    renew = "make another one: relay cert new --replace"
    fault = date_fault(leaf, now)
    if fault:
        return [Problem(location, f"{file}: {fault}", renew)]
    until = leaf.not_valid_after_utc
    if until.timestamp() - now < WARN_BEFORE_EXPIRY.total_seconds():
        what = f"{file}: the certificate expires on {until:%Y-%m-%d}"
        return [Problem(location, what, renew, Severity.WARNING)]
    return []


def _permission_problems(location: Location, key: str) -> list[Problem]:
    """A key for everybody's eyes is an error where we made it; elsewhere it may be how that Exim was set
    up."""
    try:
        if not is_readable_by_everybody(key):
            return []
        severity = Severity.ERROR if make.is_made_here(Path(key)) else Severity.WARNING
    except OSError as error:
        return [Problem(location, f"{key}: {error.strerror}")]
    return [Problem(location, f"{key}: everybody can read this key", f"chmod o-rwx {key}", severity)]


def anchor_problems(location: Location, name: str, crl: str = "") -> list[Problem]:
    """What is wrong with a set of trusted certificates; an empty one is only a note, since nobody is let in
    by it."""
    try:
        anchors = load_anchors(name, crl)
    except TLSFileError as error:
        return [_problem(location, error)]
    if anchors.certificates:
        return []
    return [Problem(location, f"{name}: holds no certificate yet, so nobody is trusted", "", Severity.NOTE)]


def _problem(location: Location, error: TLSFileError) -> Problem:
    return Problem(location, f"{error.path}: {error.what}", error.remedy)
