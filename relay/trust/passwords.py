"""Hashes of passwords: does one belong to a password, a new one, and the file that holds them (machine).

A file has lines `user:hash`, so that `${lookup{$auth1}lsearch{FILE}}` finds a hash and `crypteq` compares it. Hashes
are argon2id, SCRAM verifiers, and what crypt(3) has left in such files over the years. All of them take their time:
none is for a reactor's thread.
"""

from __future__ import annotations

import enum
import hmac
import re
from collections.abc import Callable, Iterator, Mapping

import argon2
import bcrypt

# libpass, the maintained passlib; it has no types.
from passlib.hash import (  # type: ignore[import-untyped]  # see above
    bsdi_crypt,
    crypt16,
    des_crypt,
    md5_crypt,
    sha1_crypt,
    sha256_crypt,
    sha512_crypt,
)

from relay.esmtp.sasl.saslprep import NotPreparable, prepare
from relay.esmtp.sasl.scram_keys import BadVerifier, keys_from, read_verifier, salted_password, write_verifier
from relay.mail.text import from_wire, to_wire

PASSWORD_LIMIT = 1024
"""Octets of a password. Longer ones belong to no hash: they only cost time."""
SCRAM_ITERATIONS = 10_000
"""Of new verifiers. RFC 7677 4 asks for at least 4096."""


class UnknownHash(ValueError):
    """The text is no hash of a kind that is served; the message says so without showing it."""


class Kind(enum.Enum):
    """Kinds of hashes that are made."""

    ARGON2ID = "argon2id"
    SCRAM = "scram"
    SHA512 = "sha512"


def matches(password: bytes, stored: str, scheme: str = "") -> bool:
    """Whether the password belongs to the hash. Raises UnknownHash.

    `scheme`: `crypt16` for a hash that does not say what it is; else the hash says it itself.
    """
    if len(password) > PASSWORD_LIMIT:
        return False
    if not stored.isascii():
        raise UnknownHash("a hash with characters outside ASCII")
    if stored.startswith(("!", "*")):
        return False  # what shadow files have for accounts that are closed
    if scheme == "crypt16":
        return _by_library(crypt16, password, stored)
    for prefix, check in _CHECKS.items():
        if stored.startswith(prefix):
            return check(password, stored)
    if re.fullmatch(r"[./0-9A-Za-z]{13}", stored):
        return _by_library(des_crypt, password, stored)
    if stored.startswith(("$y$", "$gy$", "$7$")):
        raise UnknownHash("yescrypt is not served; make a new entry with `relay password`")
    raise UnknownHash("the text is no hash of a password that is known here")


def make_hash(password: str, kind: Kind, salt: bytes) -> str:
    """A new hash. `salt`: 16 random octets. Raises NotPreparable for a password that SCRAM can't carry."""
    match kind:
        case Kind.ARGON2ID:
            return argon2.PasswordHasher().hash(to_wire(password), salt=salt)
        case Kind.SHA512:
            text = "".join(_CRYPT_ALPHABET[octet & 63] for octet in salt)
            return str(sha512_crypt.using(salt=text, rounds=100_000).hash(to_wire(password)))
        case Kind.SCRAM:
            salted = salted_password("sha256", prepare(password, stored=True), salt, SCRAM_ITERATIONS)
            return write_verifier(keys_from("sha256", salted, salt, SCRAM_ITERATIONS))


_CRYPT_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _argon2(password: bytes, stored: str) -> bool:
    try:
        return argon2.PasswordHasher().verify(stored, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError):
        raise UnknownHash("a broken argon2 hash") from None


def _bcrypt(password: bytes, stored: str) -> bool:
    # crypt(3) reads 72 octets of a password and none behind a zero octet; the library refuses both.
    if b"\0" in password:
        return False
    try:
        return bcrypt.checkpw(password[:72], stored.encode("ascii"))
    except ValueError:
        raise UnknownHash("a broken bcrypt hash") from None


def _scram(password: bytes, stored: str) -> bool:
    try:
        keys = read_verifier(stored)
    except BadVerifier as error:
        raise UnknownHash(str(error)) from None
    try:
        salted = salted_password(keys.hash, from_wire(password), keys.salt, keys.iterations)
    except NotPreparable:
        return False
    made = keys_from(keys.hash, salted, keys.salt, keys.iterations)
    return hmac.compare_digest(made.stored_key, keys.stored_key)


def _with(library: object) -> Callable[[bytes, str], bool]:
    return lambda password, stored: _by_library(library, password, stored)


def _by_library(library: object, password: bytes, stored: str) -> bool:
    if b"\0" in password:
        return False  # no crypt(3) ever saw what stands behind it
    assert hasattr(library, "verify")
    assert hasattr(library, "identify")
    try:
        if not library.identify(stored):
            raise UnknownHash("a broken hash")
        return bool(library.verify(password, stored))
    except UnknownHash:
        raise
    except ValueError:
        raise UnknownHash("a broken hash") from None


_CHECKS: Mapping[str, Callable[[bytes, str], bool]] = {
    "$argon2": _argon2,
    "$2a$": _bcrypt,
    "$2b$": _bcrypt,
    "$2y$": _bcrypt,
    "$6$": _with(sha512_crypt),
    "$5$": _with(sha256_crypt),
    "$1$": _with(md5_crypt),
    "$sha1$": _with(sha1_crypt),
    "_": _with(bsdi_crypt),
    "{SCRAM-": _scram,
}


# The file


class BadPasswordFile(ValueError):
    """A line of the file is no entry; `line` is its number from 1."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


_USER = re.compile(r'[^\s:"#\x00-\x1f\x7f][^\s:\x00-\x1f\x7f]{0,254}')


def is_user(name: str) -> bool:
    """Whether a name can stand before the colon, and is found there by lsearch."""
    return _USER.fullmatch(name) is not None


def read_entries(text: str) -> Mapping[str, str]:
    """Hashes by user. Raises BadPasswordFile; of two entries with one name the first counts, as in lsearch."""
    entries: dict[str, str] = {}
    for user, stored in _lines(text):
        if user:
            entries.setdefault(user, stored)
    return entries


def with_entry(text: str, user: str, stored: str) -> str:
    """The file's text with this hash of the user, in the old one's place or at the end. Raises BadPasswordFile."""
    if not is_user(user) or "\n" in stored:
        raise ValueError("no entry can be made of that")
    lines, new = _rows(text), f"{user}:{stored}"
    places = [place for place, (name, _) in enumerate(_lines(text)) if name == user]
    if places:
        lines[places[0]] = new
    else:
        lines.append(new)
    return _joined(line for place, line in enumerate(lines) if place not in places[1:])


def without_entry(text: str, user: str) -> str:
    """The file's text without the user. Raises BadPasswordFile."""
    names = [name for name, _ in _lines(text)]
    return _joined(line for line, name in zip(_rows(text), names, strict=True) if name != user)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """User and hash of each line, two empty texts for a comment or an empty line."""
    for number, line in enumerate(_rows(text), 1):
        if not line.strip() or line.startswith("#"):
            yield "", ""
            continue
        user, colon, stored = line.partition(":")
        if not colon or not is_user(user) or not stored.strip():
            raise BadPasswordFile("the line is not of the form user:hash", number)
        yield user, stored.strip()


def _rows(text: str) -> list[str]:
    """The lines; not `splitlines`, which sees line ends where lsearch sees none."""
    rows = text.split("\n")
    return rows[:-1] if not rows[-1] else rows


def _joined(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
