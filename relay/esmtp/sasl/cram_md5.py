"""CRAM-MD5, both halves (machine).

RFC 2195: the client keys an MD5 of the server's challenge with the secret that both know. Nothing of the secret goes
over the wire, but the server has to keep it as it is; that is why SCRAM exists.
"""

from __future__ import annotations

import hmac
import re

from relay.esmtp.sasl.steps import Challenge, Complete, Failure, Fault, GiveUp, Respond, SecretWanted
from relay.mail.text import from_wire, to_wire

_RESPONSE = re.compile(rb"([^\s\0]*)\s([^\0]{32})", re.DOTALL)


def digest(secret: str, challenge: bytes) -> bytes:
    """The keyed digest in lower-case hex."""
    return hmac.new(to_wire(secret), challenge, "md5").hexdigest().encode("ascii")


class CramServer:
    """Challenges, asks for the secret of the name that answers, compares."""

    def __init__(self, challenge: bytes) -> None:
        """`challenge` must never have been used before: `<random.time@host>`."""
        self._challenge = challenge
        self._name = ""
        self._given = b""

    def start(self, initial: bytes | None) -> Challenge | Failure:
        if initial is not None:
            return Failure(Fault.UNEXPECTED)
        return Challenge(self._challenge)

    def respond(self, response: bytes) -> SecretWanted | Failure:
        match = _RESPONSE.fullmatch(response)
        if match is None:
            return Failure(Fault.WRONG, "the response is not a name and a digest")
        self._name, self._given = from_wire(match.group(1)), match.group(2)
        return SecretWanted(self._name, (self._name,))

    def secret(self, secret: str | None) -> Complete | Failure:
        """The secret of the name; None or "" where it has none, which nobody passes with."""
        is_right = hmac.compare_digest(digest(secret or "", self._challenge), self._given)
        if not secret:
            return Failure(Fault.WRONG, "no secret is known for the name")
        return Complete((self._name,)) if is_right else Failure(Fault.WRONG, "wrong digest")


class CramClient:
    """Answers the one challenge."""

    def __init__(self, name: str, secret: str) -> None:
        self._name = name
        self._secret = secret
        self._answered = False

    def start(self) -> Respond:
        return Respond(None)

    def challenge(self, data: bytes) -> Respond | GiveUp:
        if self._answered:
            return GiveUp("a second challenge in CRAM-MD5")
        self._answered = True
        return Respond(to_wire(self._name) + b" " + digest(self._secret, data))

    def distrust(self) -> str:
        return "" if self._answered else "success without a challenge"
