"""What a delivery demands of TLS on one connection, and whether a handshake has met it (decision).

The one place where a demand on the next hop is made: today the transport's own options, later DANE, MTA-STS and
REQUIRETLS as well; the strictest holds. There is no path from an unmet demand to clear text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from relay.mail.facts import NotAsked, Unverified, Verification, Verified
from relay.tls.policy import ClientTLS, TLSDemand, VerifyServer


@dataclass(frozen=True, slots=True)
class Met:
    """The message may go out on this layer."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """It may not, and not in clear either; `reason` is for log and bounce."""

    reason: str


Requirement = Met | Unmet

# As Exim says it, whose verification is a part of the handshake.
_OPENSSL = "TLS session: (SSL_connect): error:"
# In the names of key exchange groups.
_POST_QUANTUM = ("MLKEM", "KYBER")


def does_not_verify(reason: str) -> str:
    """What is logged where the server's certificate has ended a handshake, or has to end a session."""
    return f"{_OPENSSL}the server's certificate does not verify: {reason}"


def holds(policy: ClientTLS, verification: Verification) -> Requirement:
    """Whether the verification of the server's certificate is enough for the transport."""
    if policy.verify is not VerifyServer.MUST:
        return Met()
    match verification:
        case Verified():
            return Met()
        case Unverified(reason):
            return Unmet(does_not_verify(reason))
        case NotAsked():
            return Unmet(f"{_OPENSSL}the server's certificate was not verified")
        case _ as never:
            assert_never(never)


def session_fits(policy: ClientTLS, group: str, alpn: str, staple: str) -> Requirement:
    """Whether a session is what the transport wants of it, apart from who the server is.

    `staple` says what is wrong with the server's proof that its certificate is not revoked, "" for nothing.
    """
    if policy.require_pq and not any(each in group.upper() for each in _POST_QUANTUM):
        return Unmet(f"a post-quantum key exchange is required, and the session has {group or 'another one'}")
    if policy.require_alpn and not alpn:
        return Unmet("TLS session: (handshake): ALPN required but not negotiated")
    if policy.require_ocsp and staple:
        return Unmet(f"TLS session: (SSL_connect) {staple}")
    return Met()


def may_go_clear(policy: ClientTLS) -> bool:
    """Whether a message may leave in clear where TLS did not come about.

    A transport that demands a verified server demands TLS as well: who strips STARTTLS must gain nothing.
    """
    wants_more = policy.require_pq or policy.require_alpn or policy.require_ocsp
    return policy.demand is not TLSDemand.REQUIRED and policy.verify is not VerifyServer.MUST and not wants_more
