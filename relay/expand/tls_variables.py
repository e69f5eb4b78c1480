"""The variables `$tls_in_…`, `$tls_out_…`, and the old ones without a direction (decision)."""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.expand.scope import Frame, Getter
from relay.expand.values import Value
from relay.mail.facts import TLSFacts, Verified

# What `certextract` and the hashes of certificates can be asked about.
CERTIFICATES = frozenset({"tls_in_ourcert", "tls_in_peercert", "tls_out_ourcert", "tls_out_peercert"})

# How a key is agreed on and proved, by the beginning of OpenSSL's name; none stands for RSA in both.
_EXCHANGES = (
    ("ECDHE-ECDSA-", "ECDHE_ECDSA"),
    ("ECDHE-RSA-", "ECDHE_RSA"),
    ("ECDHE-PSK-", "ECDHE_PSK"),
    ("AECDH-", "ECDH_anon"),
    ("DHE-RSA-", "DHE_RSA"),
    ("DHE-DSS-", "DHE_DSS"),
    ("DHE-PSK-", "DHE_PSK"),
    ("ADH-", "DH_anon"),
    ("RSA-PSK-", "RSA_PSK"),
    ("PSK-", "PSK"),
    ("SRP-RSA-", "SRP_SHA_RSA"),
    ("SRP-DSS-", "SRP_SHA_DSS"),
    ("SRP-", "SRP_SHA"),
    ("", "RSA"),
)
# `ECDHE-ARIA…` leaves out the proof where it is RSA.
_ARIA = re.compile(r"(ECDHE|DHE)-(?=ARIA)")
_BLOCK_CIPHER = re.compile(r"(AES|CAMELLIA|ARIA)-?(128|256)-(GCM-|CCM8?|CBC-)?(SHA(?:256|384)?)?")


def standard_name(suite: str) -> str:
    """The name that IANA's registry has for a cipher suite that OpenSSL names otherwise; empty where unknown."""
    if suite.startswith("TLS_"):
        return suite
    name = _ARIA.sub(r"\1-RSA-", suite)
    prefix, exchange = next(each for each in _EXCHANGES if name.startswith(each[0]))
    cipher = _standard_cipher(name.removeprefix(prefix))
    if cipher.endswith("CCM_8") and exchange == "DHE_PSK":
        exchange = "PSK_DHE"
    return f"TLS_{exchange}_WITH_{cipher}" if cipher else ""


def _standard_cipher(name: str) -> str:
    match name:
        case "CHACHA20-POLY1305":
            return "CHACHA20_POLY1305_SHA256"
        case "DES-CBC3-SHA" | "3DES-EDE-CBC-SHA":
            return "3DES_EDE_CBC_SHA"
        case "NULL-SHA" | "NULL-SHA256" | "NULL-SHA384" | "NULL-MD5":
            return name.replace("-", "_")
    found = _BLOCK_CIPHER.fullmatch(name)
    if found is None:
        return ""
    family, bits, mode, digest = found.groups()
    mode = (mode or "CBC").removesuffix("-").replace("CCM8", "CCM_8")
    return "_".join(part for part in (family, bits, mode, digest) if part)


def _is_by_dane(tls: TLSFacts) -> bool:
    return isinstance(tls.verification, Verified) and tls.verification.by == "dane"


# Name behind `tls_in_`: reader, text where there is no TLS, whether the peer chooses it.
_BOTH: dict[str, tuple[Callable[[TLSFacts], Value], str, bool]] = {
    "bits": (lambda tls: str(tls.bits), "0", False),
    "certificate_verified": (lambda tls: "1" if tls.is_verified else "0", "0", False),
    "cipher": (lambda tls: tls.cipher, "", False),
    "cipher_std": (lambda tls: standard_name(tls.suite), "", False),
    "ocsp": (lambda tls: str(tls.ocsp), "0", False),
    "ourcert": (lambda tls: tls.ours or "", "", False),
    "peercert": (lambda tls: tls.peer or "", "", False),
    "peerdn": (lambda tls: tls.peer.subject if tls.peer else "", "", True),
    # Built in (1); ticket asked for (2), session offered (4) and used (16). Exim: RESUME_SUPPORTED and on.
    "resumption": (lambda tls: str(tls.resumption or (23 if tls.resumed else 1)), "0", False),
    "sni": (lambda tls: tls.sni, "", True),
    "ver": (lambda tls: tls.version, "", False),
    # Ours
    "certificate_error": (lambda tls: tls.why_unverified, "", True),
    "group": (lambda tls: tls.group, "", False),
}
_OUTBOUND: dict[str, tuple[Callable[[TLSFacts], Value], str, bool]] = {
    "dane": (lambda tls: "yes" if _is_by_dane(tls) else "no", "no", False),
}


def _inbound(read: Callable[[TLSFacts], Value], without: str) -> Getter:
    def get(frame: Frame) -> Value:
        tls = frame.scope.session.tls
        return read(tls) if tls is not None else without

    return get


def _outbound(read: Callable[[TLSFacts], Value], without: str) -> Getter:
    def get(frame: Frame) -> Value:
        tls = frame.scope.tls_out
        return read(tls) if tls is not None else without

    return get


def _either(read: Callable[[TLSFacts], Value], without: str) -> Getter:
    """The layer that matters at the moment."""
    inbound, outbound = _inbound(read, without), _outbound(read, without)
    return lambda frame: inbound(frame) if frame.scope.host is None else outbound(frame)


# Name: reader, whether its text comes from outside.
TABLE: dict[str, tuple[Getter, bool]] = {
    **{f"tls_in_{name}": (_inbound(read, without), outside) for name, (read, without, outside) in _BOTH.items()},
    **{
        f"tls_out_{name}": (_outbound(read, without), outside)
        for name, (read, without, outside) in {**_BOTH, **_OUTBOUND}.items()
    },
    **{
        f"tls_{name}": (_either(_BOTH[name][0], _BOTH[name][1]), _BOTH[name][2])
        for name in ("bits", "certificate_verified", "cipher", "peerdn", "sni")
    },
}
