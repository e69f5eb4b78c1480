"""SCRAM, with and without channel binding, both halves (machine).

RFC 5802, RFC 7677. Four messages: the client's name and nonce; the server's nonce, salt and iterations; the client's
proof; the server's signature, which proves that it knew the keys. In SMTP the signature goes in a challenge of its own,
which the client answers with nothing (RFC 4954 4).

Written here because the library that there is refuses tls-exporter, the one binding of TLS 1.3.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from relay.esmtp.sasl.coding import decode, encode
from relay.esmtp.sasl.saslprep import NotPreparable, prepare
from relay.esmtp.sasl.scram_keys import (
    FEWEST_ITERATIONS,
    HASHES,
    MOST_ITERATIONS,
    ScramKeys,
    client_key,
    server_key,
    xor,
)
from relay.esmtp.sasl.steps import (
    Challenge,
    ClientStep,
    Complete,
    Failure,
    Fault,
    GiveUp,
    KeysWanted,
    Respond,
    SecretWanted,
    ServerStep,
)
from relay.mail.text import to_wire

PLUS = "-PLUS"
_NONCE_LIMIT = 128

# RFC 5802 7. A name is UTF-8 without NUL, "," as =2C and "=" as =3D.
_NAME = rb"(?:[^\0,=]|=2C|=3D)+"
_NONCE = rb"[\x21-\x2b\x2d-\x7e]+"
_FURTHER = rb"(?:,[A-Za-z]=[^\0,]+)*"
_CLIENT_FIRST = re.compile(
    rb"(?P<gs2>(?P<flag>[ny]|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<authorization>" + _NAME + rb"))?,)"
    rb"(?P<bare>n=(?P<name>" + _NAME + rb"),r=(?P<nonce>" + _NONCE + rb")" + _FURTHER + rb")"
)
_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>" + _NONCE + rb"),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[1-9][0-9]{0,8})" + _FURTHER
)
_CLIENT_FINAL = re.compile(
    rb"(?P<bare>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>" + _NONCE + rb")" + _FURTHER + rb"),"
    rb"p=(?P<proof>[A-Za-z0-9+/=]+)"
)


class BadName(ValueError):
    """No name that SCRAM can carry."""


def hash_of(mechanism: str) -> str:
    """The hash of a mechanism, with or without `-PLUS`. Raises KeyError."""
    return HASHES[mechanism.removesuffix(PLUS)]


def _read_name(data: bytes) -> str:
    try:
        return prepare(data.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8"))
    except (UnicodeDecodeError, NotPreparable):
        raise BadName("the name is not of the form that SASL demands") from None


def _write_name(name: str) -> bytes:
    return to_wire(prepare(name)).replace(b"=", b"=3D").replace(b",", b"=2C")


class _At(enum.Enum):
    FIRST = "first"
    KEYS = "keys"
    PROOF = "proof"
    SIGNATURE = "signature"
    OVER = "over"


class ScramServer:
    """One exchange. `bindings` are those of the TLS layer in force; a `-PLUS` mechanism takes one of them."""

    def __init__(self, mechanism: str, nonce: str, bindings: Mapping[str, bytes], *, plus_offered: bool) -> None:
        """`nonce` is fresh random text of printable ASCII without commas.

        `plus_offered`: the session offered the mechanism with `-PLUS` too. A client that says that it could have used
        it, and was not offered it, then speaks through somebody who took it out.
        """
        self._hash = hash_of(mechanism)
        self._plus = mechanism.endswith(PLUS)
        self._nonce = nonce.encode("ascii")
        self._bindings = bindings
        self._plus_offered = plus_offered
        self._at = _At.FIRST
        self._strings: tuple[str, ...] = ()
        self._bound = b""
        self._first = b""
        self._server_first = b""
        self._keys: ScramKeys | None = None
        self._is_known = False

    def start(self, initial: bytes | None) -> ServerStep:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> ServerStep:
        match self._at:
            case _At.FIRST:
                return self._read_first(response)
            case _At.PROOF:
                return self._read_proof(response)
            case _At.SIGNATURE:
                self._at = _At.OVER
                if response:
                    return Failure(Fault.MALFORMED, "an answer to the signature")
                return Complete(self._strings)
            case _At.KEYS | _At.OVER:
                raise AssertionError(f"no response is due ({self._at.value})")

    def keys(self, keys: ScramKeys) -> Challenge:
        """What is known of the name."""
        self._is_known = True
        return self._offer(keys)

    def unknown(self, decoy: ScramKeys) -> Challenge:
        """Nothing is known of the name: the exchange goes on with made-up keys, and fails at its end."""
        self._is_known = False
        return self._offer(decoy)

    def _read_first(self, message: bytes) -> SecretWanted | Failure:
        match = _CLIENT_FIRST.fullmatch(message)
        if match is None or len(match["nonce"]) > _NONCE_LIMIT:
            return self._malformed("the first message")
        if trouble := self._wrong_binding(match["flag"], match["type"]):
            self._at = _At.OVER
            return Failure(Fault.WRONG, trouble)
        try:
            name = _read_name(match["name"])
            authorization = _read_name(match["authorization"]) if match["authorization"] else ""
        except BadName as error:
            return self._malformed(str(error))
        self._bound = match["gs2"] + (self._bindings[match["type"].decode("ascii")] if match["type"] else b"")
        self._first = match["bare"]
        self._nonce = match["nonce"] + self._nonce
        self._strings = (name, authorization)
        self._at = _At.KEYS
        return SecretWanted(name, self._strings)

    def _wrong_binding(self, flag: bytes, kind: bytes | None) -> str:
        """RFC 5802 6, "" where flag and mechanism agree."""
        if self._plus:
            if kind is None:
                return "the mechanism with -PLUS without a channel binding"
            if kind.decode("ascii") not in self._bindings:
                return "an unknown type of channel binding"
        elif kind is not None:
            return "a channel binding in the mechanism without -PLUS"
        elif flag == b"y" and self._plus_offered:
            return "the client was not shown that channel binding is offered (somebody in the middle?)"
        return ""

    def _offer(self, keys: ScramKeys) -> Challenge:
        assert self._at is _At.KEYS
        self._keys = keys
        self._at = _At.PROOF
        self._server_first = b"r=%s,s=%s,i=%d" % (self._nonce, encode(keys.salt).encode("ascii"), keys.iterations)
        return Challenge(self._server_first)

    def _read_proof(self, message: bytes) -> Challenge | Failure:
        assert self._keys is not None
        match = _CLIENT_FINAL.fullmatch(message)
        binding = decode(match["binding"].decode("ascii")) if match else None
        proof = decode(match["proof"].decode("ascii")) if match else None
        if match is None or binding is None or proof is None:
            return self._malformed("the final message")
        self._at = _At.OVER
        if not hmac.compare_digest(match["nonce"], self._nonce):
            return Failure(Fault.WRONG, "another nonce")
        if not hmac.compare_digest(binding, self._bound):
            return Failure(Fault.WRONG, "another channel binding (somebody in the middle?)")
        auth_message = b",".join((self._first, self._server_first, match["bare"]))
        if not self._is_proof(proof, auth_message, self._keys) or not self._is_known:
            return Failure(Fault.WRONG, "wrong proof" if self._is_known else "nothing is known of the name")
        self._at = _At.SIGNATURE
        return Challenge(b"v=" + encode(hmac.digest(self._keys.server_key, auth_message, self._hash)).encode("ascii"))

    def _is_proof(self, proof: bytes, auth_message: bytes, keys: ScramKeys) -> bool:
        signature = hmac.digest(keys.stored_key, auth_message, self._hash)
        if len(proof) != len(signature):
            return False
        return hmac.compare_digest(hashlib.new(self._hash, xor(proof, signature)).digest(), keys.stored_key)

    def _malformed(self, what: str) -> Failure:
        self._at = _At.OVER
        return Failure(Fault.MALFORMED, f"malformed: {what}")


# Client


@dataclass(frozen=True, slots=True)
class Bound:
    """The exchange is bound: the type of the binding and its octets."""

    type: str
    data: bytes


class Unbound(enum.Enum):
    """It is not. The value is what the client says about it."""

    NOT_OFFERED = b"y"
    """We could, the server offers no mechanism with `-PLUS`."""
    UNSUPPORTED = b"n"


class ScramClient:
    """One exchange."""

    def __init__(self, mechanism: str, name: str, authorization: str, nonce: str, binding: Bound | Unbound) -> None:
        """`authorization`: as whom to act, "" for oneself. Raises NotPreparable."""
        self._hash = hash_of(mechanism)
        self._nonce = nonce.encode("ascii")
        flag = b"p=" + binding.type.encode("ascii") if isinstance(binding, Bound) else binding.value
        acting = b"a=" + _write_name(authorization) if authorization else b""
        self._header = b"%s,%s," % (flag, acting)
        self._bound = self._header + (binding.data if isinstance(binding, Bound) else b"")
        self._bare = b"n=%s,r=%s" % (_write_name(name), self._nonce)
        self._server_first: bytes = b""
        self._signature: bytes | None = None
        self._at = _At.FIRST

    def start(self) -> Respond:
        return Respond(self._header + self._bare)

    def challenge(self, data: bytes) -> ClientStep:
        match self._at:
            case _At.FIRST:
                return self._read_first(data)
            case _At.SIGNATURE:
                return self._read_signature(data)
            case _At.KEYS | _At.PROOF | _At.OVER:
                return GiveUp("a challenge too many in SCRAM")

    def keys(self, salted: bytes) -> Respond:
        """The salted password that was asked for."""
        assert self._at is _At.KEYS
        final = b"c=%s,r=%s" % (encode(self._bound).encode("ascii"), self._nonce)
        auth_message = b",".join((self._bare, self._server_first, final))
        key = client_key(self._hash, salted)
        stored = hashlib.new(self._hash, key).digest()
        proof = xor(key, hmac.digest(stored, auth_message, self._hash))
        self._signature = hmac.digest(server_key(self._hash, salted), auth_message, self._hash)
        self._at = _At.SIGNATURE
        return Respond(final + b",p=" + encode(proof).encode("ascii"))

    def distrust(self) -> str:
        return "" if self._at is _At.OVER else "the server has not proved that it knows the password"

    def _read_first(self, data: bytes) -> ClientStep:
        match = _SERVER_FIRST.fullmatch(data)
        salt = decode(match["salt"].decode("ascii")) if match else None
        if match is None or not salt:
            return GiveUp("the server's first message is malformed")
        if not match["nonce"].startswith(self._nonce) or match["nonce"] == self._nonce:
            return GiveUp("the server's nonce does not go on from ours")
        iterations = int(match["iterations"])
        if not FEWEST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            return GiveUp(f"the server asks for {iterations} iterations")
        self._nonce, self._server_first = match["nonce"], data
        self._at = _At.KEYS
        return KeysWanted(salt, iterations)

    def _read_signature(self, data: bytes) -> ClientStep:
        assert self._signature is not None
        if data.startswith(b"e="):
            return GiveUp("the server refuses the proof")
        signature = decode(data[2:].partition(b",")[0].decode("ascii", "replace")) if data.startswith(b"v=") else None
        if signature is None or not hmac.compare_digest(signature, self._signature):
            return GiveUp("the server has not proved that it knows the password")
        self._at = _At.OVER
        return Respond(b"")
