"""What is known of a session and of its peer, as frozen values (values).

Facts are observed by the edge and the TLS layer, judged by trust, read by policy and expansions, written into the
message row and the log. They carry no opinion, with one exception: `TLSFacts.verification` holds what trust said of
the peer's certificate, so that it travels with the layer that it belongs to and dies with it.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import assert_never


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a TCP connection: a literal address without brackets (an IPv4-mapped one as IPv4), and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that its holder has just proved the key of, or one of ours.

    `subject` and `issuer` are distinguished names in OpenSSL's one-line form (`/C=DE/CN=laptop`); `key_digest` is the
    SHA-256 of the SubjectPublicKeyInfo in upper-case hex, what a key pin holds.
    """

    der: bytes
    subject: str
    issuer: str
    key_digest: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form in upper-case hex without colons, Exim's `${sha256:$tls_in_peercert}`."""
        return _digest(self.der)


@lru_cache(maxsize=64)
def _digest(der: bytes) -> str:
    """Asked for with every message of a session: the last ones are remembered."""
    return hashlib.sha256(der).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Verified:
    """The certificate passed: how ("anchor", "itself", "peer", "pin") it earned that."""

    by: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """The certificate did not pass, or there is none; `reason` is for the log and the operator."""

    reason: str
    faults: tuple[str, ...] = field(default=(), compare=False)
    """What an Exim says of it behind `SSL verify error`: all that is wrong, the first of which was enough."""


@dataclass(frozen=True, slots=True)
class NotAsked:
    """Nobody asked for a certificate."""


Verification = Verified | Unverified | NotAsked


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """The TLS layer now in force. There is none (None where this type is optional) on a connection in clear."""

    version: str
    """`TLS1.3`, `TLS1.2`: the form of Exim's `$tls_in_ver`."""
    suite: str
    """OpenSSL's name of the cipher suite."""
    bits: int
    group: str = ""
    """Key exchange group as OpenSSL names it, empty where unknown."""
    sni: str = ""
    alpn: str = ""
    resumed: bool = False
    ocsp: int = 0
    """$tls_in_ocsp, $tls_out_ocsp: 0 no OCSP response was asked for, 1 none given, 2 not verified, 3 bad, 4 good."""
    resumption: int = 0
    """$tls_in_resumption as bits, where the layer knows more than `resumed`."""
    ours: Certificate | None = None
    peer: Certificate | None = None
    verification: Verification = NotAsked()
    binding: bytes = b""
    """RFC 9266 tls-exporter value of this session, 32 octets."""

    @property
    def cipher(self) -> str:
        """Exim's `$tls_in_cipher` and `X=`: version:suite:bits."""
        return f"{self.version}:{self.suite}:{self.bits}"

    @property
    def is_verified(self) -> bool:
        return isinstance(self.verification, Verified)

    @property
    def why_unverified(self) -> str:
        """The reason of a failed verification, empty after a good one."""
        match self.verification:
            case Verified():
                return ""
            case Unverified(reason):
                return reason
            case NotAsked():
                return "no certificate was asked for"
            case _ as never:
                assert_never(never)


@dataclass(frozen=True, slots=True)
class Authentication:
    """A successful AUTH, or its standing-in by certificate: authenticator (the driver instance) and identity."""

    authenticator: str
    identity: str
    sender: str = ""
    """Whom AUTH= of MAIL has named, where that was believed, or a trusted caller."""
    mechanism: str = ""
    """What clients call the authenticator (its public_name); empty where nobody has said AUTH."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The greeting that is in force: the name given, and whether by EHLO."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class LocalCaller:
    """Who handed a message over without a network: the login name, numeric ids, and whether the options of trusted
    users are open to them."""

    login: str
    uid: int
    gid: int
    trusted: bool = False


def make_connection_id(now: float, source: random.Random) -> str:
    """An id for a session: the second of its beginning, and random digits (Exim: $connection_id)."""
    return f"{int(now)}{source.randrange(10**7):07d}"


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """A proxy speaks for the client: where the proxy is seen from here, and where the client thought that it was
    connecting to (Exim: $proxy_local_address, $proxy_external_address; None: the proxy did not say)."""

    internal: Endpoint
    external: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """All that is known of the client at one moment; a new value replaces it whenever something changes.

    One of `peer` (a network session) and `caller` (a local one) is set; both, where a trusted caller says for whom it
    speaks (Exim: -oMa).
    A change of the TLS layer clears `hello`, `authentication`, `peer_name` (DESIGN section 3, trust never outlives the
    layer that gave it).
    """

    peer: Endpoint | None = None
    local: Endpoint | None = None
    caller: LocalCaller | None = None
    peer_host: str = ""
    """Name of the client by forward-confirmed reverse lookup, empty where unknown (Exim: $sender_host_name)."""
    hello: Hello | None = None
    tls: TLSFacts | None = None
    tls_on_connect: bool = False
    authentication: Authentication | None = None
    peer_name: str = ""
    """Name of the paired device whose certificate is in force, ours."""
    batched: bool = False
    in_dialog: bool = False
    """It is SMTP that a program of this machine speaks through a pipe (-bs), also before it has said HELO."""
    ident: str = ""
    """Who a trusted caller says that the client is (Exim: -oMt); empty: the caller's login."""
    given_protocol: str = ""
    """How a trusted caller says that the message came (Exim: -oMr)."""
    smtputf8: bool = False
    """MAIL of the message at hand came with SMTPUTF8."""
    connection_id: str = ""
    """Digits that no other session of this host has had (Exim: $connection_id)."""
    proxy: ProxyFacts | None = None
    """Through whom `peer` speaks (PROXY header, XCLIENT)."""

    @property
    def user(self) -> str:
        """Exim's `$sender_ident` and `U=`; empty where nobody is known."""
        return self.ident or (self.caller.login if self.caller is not None else "")

    def protocol(self, names_on_connect: bool = False) -> str:
        """Exim's `$received_protocol`: local, local-smtp, smtp, esmtp with `s` for TLS and `a` for AUTH; `utf8` stands
        in front of it for a message with SMTPUTF8 (RFC 6531 3.7.3). `names_on_connect`: TLS on connect is told from
        STARTTLS, as ssmtp, essmtp (Exim: log_selector = +tls_on_connect)."""
        usual = self._usual_protocol(names_on_connect)
        return f"utf8{usual}" if self.smtputf8 else usual

    def _usual_protocol(self, names_on_connect: bool) -> str:
        if self.given_protocol:
            return self.given_protocol
        if self.caller is not None and self.hello is None and not self.in_dialog:
            return "local-bsmtp" if self.batched else "local"
        extended = self.hello is not None and self.hello.extended
        word = "esmtp" if extended else "smtp"
        known = "a" if extended and self.authentication is not None and self.authentication.authenticator else ""
        if self.caller is not None and self.peer is None:
            return f"local-{word}{known}"
        if names_on_connect and self.tls_on_connect and self.tls is not None:
            return ("essmtp" if extended else "ssmtp") + known
        return word + ("s" if self.tls else "") + known


@dataclass(frozen=True, slots=True)
class DroppedField:
    """A header field that was taken out when the message came."""

    behind: int
    """How many fields of the header as it is stored follow it."""
    raw: bytes


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What the message row carries of the message's reception, for routing, delivery, logs and explanations."""

    session: SessionFacts
    received_at: float
    """Seconds since the epoch."""
    acl_variables: dict[str, str] = field(default_factory=dict)
    """`acl_c…` and `acl_m…` (and `acl_…` names without prefix) as they stood at the end of DATA."""
    local_scan_data: str = ""
    longest_header_line: int | None = None
    """Octets of the longest line of the header as it was handed over, its end left out; None: nobody looked."""
    is_rehearsal: bool = False
    """It is routed and settled, and no transport is run for it nor for a report on it (Exim: -N)."""
    dropped: tuple[DroppedField, ...] = ()
    """What its header had when it came, for who looks into the queue; in its order."""
