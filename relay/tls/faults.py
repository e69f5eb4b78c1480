"""Whose fault a failed handshake is and what to do about it; how many one address may cause (machine).

OpenSSL's words say what went wrong inside it. An operator needs to know whether to look at our files, to ask the other
side, or to let it be: most of what fails are programs that look for open ports, and those must neither fill the log nor
keep a core busy.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

OURS, PEER, NETWORK = "ours", "peer", "network"


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed handshake for the log: whose fault, what happened, what to do ("" for nothing)."""

    whose: str
    what: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """As it stands behind `TLS error on connection from …`: Exim names the call that failed, then what it said."""
        for text, call, words in _EXIMS:
            if text in self.what:
                return f"({call}): {words or self.what}"
        side = {OURS: "our side", PEER: "the client's side", NETWORK: "the network"}[self.whose]
        return f"(SSL_accept): error:{self.what} ({side}{': ' if self.remedy else ''}{self.remedy})"


# What Exim has words of its own for: what stands in our text, the call, its words ("" for ours).
_EXIMS: tuple[tuple[str, str, str], ...] = (
    ("timed out", "tls lib accept fn", "timed out"),
    ("closed the connection during the handshake", "tls lib accept fn", "TCP connection closed by peer"),
    ("connection was cut", "tls lib accept fn", "TCP connection closed by peer"),
    ("ALPN ", "handshake", ""),
)

_UNTRUSTED = "the client does not trust our certificate: give it a copy, or get one from an authority that it knows"
# What stands in OpenSSL's text or ours, in order; what it means, whose fault it is, what to do.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    ("alert certificate unknown", PEER, _UNTRUSTED),
    ("alert unknown ca", PEER, _UNTRUSTED),
    ("alert bad certificate", PEER, "the client does not trust our certificate: give it a copy, or check its name"),
    ("alert certificate expired", PEER, "to the client our certificate has expired: renew it, or mend the clocks"),
    ("alert certificate revoked", PEER, "to the client our certificate is revoked: get another one"),
    ("alert handshake failure", PEER, "the client finds nothing in common with us"),
    ("alert protocol version", PEER, "the client speaks no version of TLS that we speak"),
    ("alert no application protocol", PEER, "the client wants another protocol (ALPN)"),
    ("alert", PEER, "the client gave up"),
    ("http request", PEER, "a web browser or a scanner; nothing to do"),
    ("clear text where a TLS record was expected", PEER, "the client speaks without TLS: it needs another port"),
    ("not a TLS record", PEER, "the client does not speak TLS"),
    ("handshake does not begin with a ClientHello", PEER, "the client does not speak TLS"),
    ("empty handshake record", PEER, "the client does not speak TLS"),
    ("ClientHello", PEER, "the client does not speak TLS as others do"),
    ("longer than the protocol allows", PEER, "the client does not speak TLS"),
    ("ALPN ", PEER, "the client is made for another service, or was led here"),
    ("too many handshakes", PEER, "let it wait; raise tls_handshakes_per_host for a host that needs more"),
    ("unsupported protocol", PEER, "the client offers no version of TLS from 1.2 on"),
    ("no shared cipher", PEER, "the client offers no cipher suite that tls_require_ciphers and our keys allow"),
    ("no suitable key share", PEER, "the client offers no group that tls_eccurve allows"),
    ("no shared group", PEER, "the client offers no group that tls_eccurve allows"),
    ("no suitable signature algorithm", PEER, "the client can't check our kind of key: add an RSA certificate"),
    ("peer did not return a certificate", PEER, "the client shows no certificate, and tls_verify_hosts demands one"),
    ("was presented", PEER, "the client shows no certificate, and tls_verify_hosts demands one"),
    ("has expired on", PEER, "the client's certificate must be renewed"),
    ("not valid before", PEER, "the client's certificate is not valid yet: mend its date or the clocks"),
    ("was revoked", PEER, "the client needs another certificate"),
    ("not in the trusted set", PEER, "to let the client in, add its certificate to tls_verify_certificates"),
    ("revocation list", OURS, "fetch a new list for tls_crl"),
    ("timed out", NETWORK, "the client said nothing more"),
    ("closed the connection during the handshake", NETWORK, "the client hung up"),
    ("connection was cut", NETWORK, "the client hung up"),
    ("no TLS context for this client", OURS, ""),
)


def explain(reason: str, by_peer: bool) -> Fault:
    """Whose fault a failure is, from OpenSSL's words or ours; `by_peer`: it was the peer that ended it."""
    for text, whose, remedy in _KNOWN:
        if text in reason:
            return Fault(whose, reason, remedy)
    return Fault(PEER if by_peer else OURS, reason)


@dataclass(slots=True)
class _Account:
    """What one address has left. `tokens` fill up again with time."""

    tokens: float
    updated: float
    logged: int = 0
    suppressed: int = 0
    window: float = 0.0


# What a failed handshake costs beyond the one that it was.
FAILURE_COST = 9.0
# Lines about failed handshakes of one address in a window of so many seconds; then they are only counted.
LOGGED_LINES = 5
LOG_WINDOW = 600.0
# Addresses that are remembered; who falls out begins anew.
ADDRESSES = 4096


class HandshakeGuard:
    """How many handshakes an address may begin, and which failures are worth a line.

    `per_minute` handshakes are free (0: any number); a failed one counts ten times, one that ends with a certificate
    that verifies not at all. Addresses of IPv6 are one for a
    whole /64.
    """

    def __init__(self, per_minute: int = 0, addresses: int = ADDRESSES) -> None:
        self._limit = float(per_minute)
        self._size = addresses
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def may_begin(self, address: str, now: float) -> bool:
        """Whether a handshake may begin at `now`; it is paid for if it may."""
        if not self._limit:
            return True
        account = self._account(address, now)
        if account.tokens < 1.0:
            return False
        account.tokens -= 1.0
        return True

    def verified(self, address: str, now: float) -> None:
        """A handshake ended with a certificate that we trust: it is not counted: laptops make one per message."""
        if self._limit:
            account = self._account(address, now)
            account.tokens = min(account.tokens + 1.0, self._limit)

    def failed(self, address: str, now: float) -> int | None:
        """A handshake failed: None where it is not to be logged, else the number of those that were not before it."""
        account = self._account(address, now)
        account.tokens = max(account.tokens - FAILURE_COST, 0.0)
        if now - account.window >= LOG_WINDOW:
            account.window, account.logged = now, 0
        if account.logged >= LOGGED_LINES:
            account.suppressed += 1
            return None
        account.logged += 1
        suppressed, account.suppressed = account.suppressed, 0
        return suppressed

    def _account(self, address: str, now: float) -> _Account:
        key = _network(address)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(self._limit, now, window=now)
            while len(self._accounts) > self._size:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(key)
        passed = max(now - account.updated, 0.0)
        account.tokens = min(account.tokens + passed * self._limit / 60.0, self._limit)
        account.updated = now
        return account


def _network(address: str) -> str:
    if ":" not in address:
        return address
    head, _, tail = address.partition("::")
    groups = head.split(":") if head else []
    if tail or "::" in address:
        behind = tail.split(":") if tail else []
        groups += ["0"] * (8 - len(groups) - len(behind)) + behind
    return ":".join(groups[:4])
