"""What a SCRAM server keeps of a password, and the arithmetic of both sides (machine).

RFC 5802 3 with SHA-256 (RFC 7677), and with SHA-1 and SHA-512 for peers that have nothing else. Out of a salted
password come two keys; the server keeps a hash of the client's and its own, so that whoever steals the file can't log
in with it. `{SCRAM-SHA-256}4096,SALT$STORED:SERVER` is the form in which other programs keep them too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.esmtp.sasl.coding import decode, encode
from relay.esmtp.sasl.saslprep import prepare
from relay.mail.text import to_wire

HASHES: Mapping[str, str] = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
"""Mechanisms without `-PLUS`, and the hash of each."""
FEWEST_ITERATIONS = 4096
"""RFC 7677 4. A server that asks for fewer would have the password guessed cheaply."""
MOST_ITERATIONS = 2_000_000
"""About a second; more is an attack on the client."""

_BASE64 = r"([A-Za-z0-9+/=]+)"
_VERIFIER = re.compile(rf"\{{(SCRAM-SHA-[0-9]+)\}}([1-9][0-9]{{0,8}}),{_BASE64}\${_BASE64}:{_BASE64}")


class BadVerifier(ValueError):
    """The text is no verifier."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server knows of one name."""

    hash: str
    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def salted_password(hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
    """RFC 5802 2.2, Hi(): slow on purpose, so it is nothing for a reactor's thread. Raises NotPreparable."""
    return hashlib.pbkdf2_hmac(hash_name, to_wire(prepare(password)), salt, iterations)


def keys_from(hash_name: str, salted: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The server's keys from a salted password."""
    return ScramKeys(
        hash_name,
        salt,
        iterations,
        hashlib.new(hash_name, client_key(hash_name, salted)).digest(),
        server_key(hash_name, salted),
    )


def client_key(hash_name: str, salted: bytes) -> bytes:
    """RFC 5802 3, ClientKey, which the server never sees."""
    return hmac.digest(salted, b"Client Key", hash_name)


def server_key(hash_name: str, salted: bytes) -> bytes:
    """RFC 5802 3, ServerKey."""
    return hmac.digest(salted, b"Server Key", hash_name)


def xor(one: bytes, other: bytes) -> bytes:
    """Of two texts of one length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def write_verifier(keys: ScramKeys) -> str:
    """The form for a file."""
    mechanism = next(name for name, used in HASHES.items() if used == keys.hash)
    salt, stored, server = (encode(each) for each in (keys.salt, keys.stored_key, keys.server_key))
    return f"{{{mechanism}}}{keys.iterations},{salt}${stored}:{server}"


def read_verifier(text: str) -> ScramKeys:
    """The inverse. Raises BadVerifier."""
    match = _VERIFIER.fullmatch(text)
    if match is None or match.group(1) not in HASHES:
        raise BadVerifier("no SCRAM verifier of the form {SCRAM-SHA-256}iterations,salt$stored:server")
    hash_name = HASHES[match.group(1)]
    salt, stored, server = (decode(match.group(place)) for place in (3, 4, 5))
    if salt is None or stored is None or server is None:
        raise BadVerifier("the salt or a key of the SCRAM verifier is no base64")
    size = hashlib.new(hash_name).digest_size
    if not salt or len(stored) != size or len(server) != size:
        raise BadVerifier("a key of the SCRAM verifier has the wrong length")
    return ScramKeys(hash_name, salt, int(match.group(2)), stored, server)
