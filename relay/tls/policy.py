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
class IdentityFiles:
    """The files of one certificate of ours. File names are absolute."""

    certificate: str
    """The chain, leaf first."""
    privatekey: str = ""
    """Empty: the key is in the certificate's file."""
    staple: str = ""
    """File with an OCSP response for the leaf; with `PEM ` before its name it is in that form, else in DER."""


def staple_file(text: str) -> str:
    """The file in an item of `tls_ocsp_file`."""
    return text[4:].strip() if text[:4] in ("PEM ", "DER ") else text


def staple_files(items: tuple[str, ...]) -> tuple[str, ...]:
    """Items of `tls_ocsp_file` with `PEM ` before each name that is of that form: a prefix holds on for the rest."""
    form, found = "DER", []
    for item in items:
        if item[:4] in ("PEM ", "DER "):
            form = item[:3]
        name = staple_file(item)
        found.append(f"PEM {name}" if form == "PEM" and name else name)
    return tuple(found)


def named_set(text: str) -> str:
    """What `tls_verify_certificates` names: nothing and Exim's `system,cache` are `system`; we keep each set that is
    in use anyway."""
    return "system" if text in ("", "system,cache") else text


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """Exim's main TLS options for one connection, expanded. File names are absolute."""

    certificate: str
    """Empty: a self-signed one for `self_signed_for`."""
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
    staple: str = ""
    """The first certificate's OCSP response, as in `IdentityFiles`."""
    further: tuple[IdentityFiles, ...] = ()
    """Certificates of other key types (Exim: tls_certificate with several names)."""
    self_signed_for: str = ""
    dhparam: str = ""
    """A file, `none`, `historic`, a number of bits, or the name of a group; empty: ffdhe2048."""
    dh_max_bits: int = 2236
    groups: tuple[str, ...] = ()
    """Key exchange groups (Exim: tls_eccurve); empty: OpenSSL's own choice, post-quantum hybrids first."""
    switches: str = ""
    """Exim: openssl_options, as `tls.switches` reads it."""
    alpn: tuple[str, ...] = ()
    """Protocol names that a client may offer; empty: whatever it offers is passed over."""
    require_alpn: bool = False

    @property
    def identities(self) -> tuple[IdentityFiles, ...]:
        """Every certificate with its files; none where it is self-signed."""
        if not self.certificate:
            return ()
        return (IdentityFiles(self.certificate, self.privatekey, self.staple), *self.further)


class TLSDemand(enum.Enum):
    """Whether a client wants TLS on a connection."""

    AVOID = "avoid"
    OPPORTUNISTIC = "opportunistic"
    """TLS where offered; in clear where refused (Exim's default)."""
    REQUIRED = "required"


class VerifyServer(enum.Enum):
    """What a client does about the server's certificate."""

    NOT = "not"
    """Nobody cares who it is."""
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
    require_alpn: bool = False
    """The server has to take one of `alpn`."""
    require_pq: bool = False
    """The key exchange has to be a post-quantum hybrid; ours."""
    require_ocsp: bool = False
    request_ocsp: bool = False
