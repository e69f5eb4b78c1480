"""What a TLS layer is asked to be, as values that contexts are cached by (values).

All strings are already expanded. A `ServerTLS` or `ClientTLS` is hashable: equal values share one OpenSSL context,
because making a context costs as much as a handshake.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CertificateRequest(enum.Enum):
    """What a server does about the client's certificate."""

    NONE = "none"
    TRY = "try"
    """Ask and judge, and go on whatever comes (Exim: tls_try_verify_hosts)."""
    MUST = "must"
    """Ask, and end the handshake unless it verifies (Exim: tls_verify_hosts)."""


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """Exim's main TLS options for one connection, expanded. File names are absolute."""

    certificate: str
    privatekey: str = ""
    """Empty: the key is in the certificate's file."""
    verify_certificates: str = "system"
    """`system`, a PEM file, or a directory of PEM files. A named set is only that set."""
    crl: str = ""
    request: CertificateRequest = CertificateRequest.NONE
    require_ciphers: str = ""
    resumption: bool = False
    policy_name: str = ""
    """Anything else that resumption must not cross (listener, SNI)."""


class TLSDemand(enum.Enum):
    """Whether a client wants TLS on a connection."""

    AVOID = "avoid"
    OPPORTUNISTIC = "opportunistic"
    """TLS where offered; in clear where refused (Exim's default)."""
    REQUIRED = "required"


class VerifyServer(enum.Enum):
    """What a client does about the server's certificate."""

    TRY = "try"
    """Judge it for the log, go on whatever comes."""
    MUST = "must"
    """It must verify, and a failure never leads to clear text."""


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """The smtp transport's TLS options for one host, expanded."""

    demand: TLSDemand = TLSDemand.OPPORTUNISTIC
    certificate: str = ""
    privatekey: str = ""
    verify_certificates: str = "system"
    crl: str = ""
    verify: VerifyServer = VerifyServer.TRY
    names: tuple[str, ...] = ()
    """Host names of which the certificate must hold one; empty: no name is checked."""
    pins: tuple[str, ...] = ()
    """SHA-256 of a certificate or public key, upper-case hex; ours (`tls_pins`)."""
    require_ciphers: str = ""
    sni: str = ""
    alpn: tuple[str, ...] = ()
    tempfail_tryclear: bool = True
    on_connect: bool = False
