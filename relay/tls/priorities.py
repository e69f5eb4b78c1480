"""GnuTLS priority strings and Exim's older GnuTLS lists, as a choice of cipher suites for OpenSSL (machine).

A configuration that was written for an Exim with GnuTLS says what it wants in another language: by key exchange,
cipher, MAC and version instead of by suite. Here such a text is worked through item by item over a table of what both
libraries know, and comes out as names of suites. What has no equal here is an error that says so; what only speaks of
things that we never do (compression, TLS before 1.2, SHA-1 signatures) is passed over where it takes away.
GnuTLS manual, "Priority Strings"; Exim 4.69, "Requiring specific ciphers in GnuTLS".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


class BadCipherList(Exception):
    """The list names no cipher suite that this OpenSSL has, or says what can't be said here."""


@dataclass(frozen=True, slots=True)
class CipherChoice:
    """What a context is to be limited to. An empty field leaves OpenSSL's own choice of that kind."""

    suites: tuple[str, ...] = ()
    """OpenSSL items for TLS 1.2."""
    modern: tuple[str, ...] = ()
    """Suites of TLS 1.3 by their RFC 8446 names."""
    groups: tuple[str, ...] = ()
    old_version: bool = True
    """TLS 1.2 may be spoken."""
    new_version: bool = True
    """TLS 1.3 may be spoken."""


# Ciphers by GnuTLS's name, best first: OpenSSL's name inside a suite, the TLS 1.3 suite, the strength in bits, and for
# an AEAD the hash that stands at the end of a TLS 1.2 suite's name.
@dataclass(frozen=True, slots=True)
class _Cipher:
    openssl: str
    bits: int
    modern: str = ""
    digest: str = ""
    macs: tuple[str, ...] = ("AEAD",)


_CIPHERS = {
    "AES-256-GCM": _Cipher("AES256-GCM", 256, "TLS_AES_256_GCM_SHA384", "SHA384"),
    "CHACHA20-POLY1305": _Cipher("CHACHA20-POLY1305", 256, "TLS_CHACHA20_POLY1305_SHA256"),
    "AES-256-CCM": _Cipher("AES256-CCM", 256),
    "AES-256-CBC": _Cipher("AES256", 256, macs=("SHA384", "SHA256", "SHA1")),
    "AES-128-GCM": _Cipher("AES128-GCM", 128, "TLS_AES_128_GCM_SHA256", "SHA256"),
    "AES-128-CCM": _Cipher("AES128-CCM", 128, "TLS_AES_128_CCM_SHA256"),
    "AES-128-CBC": _Cipher("AES128", 128, macs=("SHA256", "SHA1")),
    "CAMELLIA-256-CBC": _Cipher("CAMELLIA256", 256, macs=("SHA384", "SHA256", "SHA1")),
    "CAMELLIA-128-CBC": _Cipher("CAMELLIA128", 128, macs=("SHA256", "SHA1")),
}
_EXCHANGES = {"ECDHE-ECDSA": "ECDHE-ECDSA-", "ECDHE-RSA": "ECDHE-RSA-", "DHE-RSA": "DHE-RSA-", "RSA": ""}
_MACS = ("AEAD", "SHA384", "SHA256", "SHA1")
# OpenSSL's own order: the hybrids with a post-quantum half first.
_GROUPS = {
    "X25519-MLKEM768": "X25519MLKEM768",
    "SECP256R1-MLKEM768": "SecP256r1MLKEM768",
    "SECP384R1-MLKEM1024": "SecP384r1MLKEM1024",
    "X25519": "X25519",
    "SECP256R1": "P-256",
    "X448": "X448",
    "SECP384R1": "P-384",
    "SECP521R1": "P-521",
    "FFDHE2048": "ffdhe2048",
    "FFDHE3072": "ffdhe3072",
    "FFDHE4096": "ffdhe4096",
    "FFDHE6144": "ffdhe6144",
    "FFDHE8192": "ffdhe8192",
}
_VERSIONS = ("TLS1.3", "TLS1.2")

# Names that GnuTLS knows and that stand for nothing here: taking them away is no loss, asking for them is an error.
_GONE = {
    "cipher": frozenset({
        "3DES-CBC", "ARCFOUR-128", "ARCFOUR-40", "DES-CBC", "RC2-40", "NULL", "SALSA20-256", "ESTREAM-SALSA20-256",
        "CAMELLIA-192-CBC", "CAMELLIA-128-GCM", "CAMELLIA-256-GCM", "AES-192-CBC", "AES-192-GCM", "AES-128-CCM-8",
        "AES-256-CCM-8", "GOST28147-TC26Z-CNT", "AES-128-SIV", "AES-256-SIV",
    }),
    "kx": frozenset({
        "DHE-DSS", "ANON-DH", "ANON-ECDH", "PSK", "DHE-PSK", "ECDHE-PSK", "RSA-PSK", "SRP", "SRP-RSA", "SRP-DSS",
        "RSA-EXPORT", "ANON-DH-X", "VKO-GOST-12",
    }),
    "mac": frozenset({"MD5", "UMAC-96", "UMAC-128", "SHA512", "GOSTR341194", "GOST28147-TC26Z-IMIT"}),
    "version": frozenset({"SSL3.0", "TLS1.0", "TLS1.1", "DTLS1.0", "DTLS1.2", "DTLS0.9"}),
    "group": frozenset({
        "SECP192R1", "SECP224R1", "GC256A", "GC256B", "GC256C", "GC256D", "GC512A", "GC512B", "GC512C", "FFDHE-ALL",
    }),
}  # fmt: skip

# Flags that change nothing here, since OpenSSL (or we) do so anyway, or they are workarounds for peers of long ago.
_IDLE_FLAGS = frozenset({
    "COMPAT", "DUMBFW", "NO_EXTENSIONS", "NO_TICKETS", "NO_TICKETS_TLS12", "NO_SESSION_HASH", "NO_ETM",
    "FORCE_SESSION_HASH", "FORCE_ETM", "PARTIAL_RENEGOTIATION", "SAFE_RENEGOTIATION", "DISABLE_SAFE_RENEGOTIATION",
    "DISABLE_WILDCARDS", "STATELESS_COMPRESSION", "LATEST_RECORD_VERSION", "SSL3_RECORD_VERSION", "GENERAL_LOW",
    "VERIFY_ALLOW_SIGN_RSA_MD5", "VERIFY_ALLOW_SIGN_WITH_SHA1", "VERIFY_ALLOW_BROKEN", "VERIFY_ALLOW_X509_V1_CA_CRT",
    "VERIFY_DISABLE_CRL_CHECKS", "ALLOW_SMALL_RECORDS", "DISABLE_TLS13_COMPAT_MODE", "SERVER_PRECEDENCE", "PROFILE_LOW",
    "PROFILE_LEGACY", "PROFILE_MEDIUM", "FALLBACK_SCSV", "UNSAFE_RENEGOTIATION",
})  # fmt: skip
# Of those, the ones that would loosen what we hold to.
_REFUSED_FLAGS = frozenset({
    "UNSAFE_RENEGOTIATION", "VERIFY_ALLOW_BROKEN", "VERIFY_ALLOW_SIGN_RSA_MD5", "VERIFY_DISABLE_CRL_CHECKS",
})  # fmt: skip

_BASES = frozenset({
    "NORMAL", "LEGACY", "PFS", "PERFORMANCE", "SECURE", "SECURE128", "SECURE192", "SECURE256", "SUITEB192", "NONE",
    "EXPORT", "SYSTEM",
})  # fmt: skip


def is_priority_string(text: str) -> bool:
    """Whether a `tls_require_ciphers` is GnuTLS's rather than OpenSSL's: by its first word, or by forms that only
    GnuTLS has."""
    items = [item.strip().upper() for item in text.split(":")]
    first = items[0].lstrip("+")
    if first in _BASES or (first.startswith("@") and not first.startswith(("@SECLEVEL", "@STRENGTH"))):
        return True
    return any(item.startswith("%") or item[1:6] == "VERS-" for item in items)


@dataclass(slots=True)
class _State:
    """What is permitted so far, each in the order of preference."""

    versions: list[str] = field(default_factory=list)
    kx: list[str] = field(default_factory=list)
    ciphers: list[str] = field(default_factory=list)
    macs: list[str] = field(default_factory=list)
    groups: list[str] | None = None
    """None: OpenSSL's own choice."""

    def choice(self, text: str) -> CipherChoice:
        """Raises BadCipherList where nothing is left."""
        new = "TLS1.3" in self.versions
        modern = tuple(_CIPHERS[each].modern for each in self.ciphers if _CIPHERS[each].modern) if new else ()
        suites = tuple(self._suites()) if "TLS1.2" in self.versions else ()
        if not modern and not suites:
            raise BadCipherList(f"no cipher suite matches {text!r}")
        groups = tuple(_GROUPS[each] for each in self.groups or ())
        return CipherChoice(suites, modern, groups, old_version=bool(suites), new_version=bool(modern))

    def _suites(self) -> Iterable[str]:
        for name in self.ciphers:
            cipher = _CIPHERS[name]
            for kx in self.kx:
                for mac in cipher.macs:
                    if mac in self.macs and _exists(kx, name, mac):
                        yield f"{_EXCHANGES[kx]}{_ending(cipher, mac)}"


def _ending(cipher: _Cipher, mac: str) -> str:
    if mac == "AEAD":
        return f"{cipher.openssl}-{cipher.digest}" if cipher.digest else cipher.openssl
    return f"{cipher.openssl}-{'SHA' if mac == 'SHA1' else mac}"


def _exists(kx: str, cipher: str, mac: str) -> bool:
    """Not every combination has been given a number (RFC 5246, 5288, 5289, 6367, 6655, 7251, 7905)."""
    elliptic = kx.startswith("ECDHE")
    match cipher, mac:
        case "CHACHA20-POLY1305", _:
            return kx != "RSA"
        case ("AES-256-CCM" | "AES-128-CCM"), _:
            return kx != "ECDHE-RSA"
        case ("AES-256-CBC" | "CAMELLIA-256-CBC"), "SHA384":
            return elliptic
        case ("AES-256-CBC" | "CAMELLIA-256-CBC"), "SHA256":
            return not elliptic
        case ("CAMELLIA-256-CBC" | "CAMELLIA-128-CBC"), "SHA1":
            return not elliptic
    return True


def _base(name: str) -> _State:
    everything = list(_CIPHERS)
    aes = [each for each in everything if not each.startswith("CAMELLIA")]
    state = _State(list(_VERSIONS), list(_EXCHANGES), aes, list(_MACS))
    match name:
        case "NONE":
            return _State(groups=[])
        case "PFS":
            state.kx.remove("RSA")
        case "PERFORMANCE":
            state.ciphers.sort(key=lambda each: _CIPHERS[each].bits)
        case "SECURE" | "SECURE128":
            state.macs = ["AEAD", "SHA384", "SHA256", "SHA1"]
        case "SECURE192" | "SECURE256":
            state.ciphers = [each for each in aes if _CIPHERS[each].bits == 256]
            state.macs = ["AEAD", "SHA384"]
            state.groups = ["SECP384R1", "SECP521R1", "X448", "SECP384R1-MLKEM1024", "FFDHE8192"]
        case "SUITEB192":
            state.ciphers, state.kx, state.macs = ["AES-256-GCM"], ["ECDHE-ECDSA"], ["AEAD"]
            state.groups = ["SECP384R1"]
        case "SUITEB128":
            state.ciphers, state.kx = ["AES-128-GCM", "AES-256-GCM"], ["ECDHE-ECDSA"]
            state.macs, state.groups = ["AEAD"], ["SECP256R1", "SECP384R1"]
        case "EXPORT":
            raise BadCipherList('"EXPORT" means ciphers that were weak on purpose; nothing here speaks them')
        case _:
            pass
    return state


def read_priority_string(text: str) -> CipherChoice:
    """What a GnuTLS priority string permits. Raises BadCipherList."""
    state: _State | None = None
    for number, item in enumerate(each.strip() for each in text.split(":")):
        if not item:
            continue
        upper = item.upper()
        name = upper.lstrip("+")
        if name in _BASES or name == "SUITEB128":
            if number and state is not None and not upper.startswith("+"):
                raise BadCipherList(f'"{item}" can only stand at the beginning of a priority string')
            state = _base(name)
        elif name.startswith("@"):
            # A name of the system's own; where it is not there GnuTLS takes what follows the comma.
            state = _base(name.rpartition(",")[2] if "," in name else "NORMAL")
        else:
            state = state or _base("NONE")
            _apply(state, upper, item)
    if state is None:
        raise BadCipherList(f"no cipher suite matches {text!r}")
    return state.choice(text)


def _apply(state: _State, item: str, shown: str) -> None:
    if item.startswith("%"):
        flag = item[1:].partition("(")[0]
        if flag in _REFUSED_FLAGS or (flag not in _IDLE_FLAGS and not flag.startswith("PROFILE")):
            raise BadCipherList(f'"{shown}" has no equal in OpenSSL; remove it')
        if flag in ("PROFILE_HIGH", "PROFILE_ULTRA", "PROFILE_FUTURE", "PROFILE_SUITEB128", "PROFILE_SUITEB192"):
            raise BadCipherList(f'"{shown}" has no equal here; write SECURE256 or an OpenSSL list with @SECLEVEL')
        return
    sign, name = item[0], item[1:]
    if sign not in "+-!":
        raise BadCipherList(f'"{shown}" is not an item of a priority string; write + or - before it')
    kind, target, known, name = _place(state, name, shown)
    adds = sign == "+"
    if name == "ALL":
        target[:] = list(known) if adds else []
    elif name in _GONE.get(kind, frozenset()):
        if adds:
            raise BadCipherList(f'"{shown}" has no equal here: {_why_gone(kind)}; remove it')
    elif name in known:
        if adds and name not in target:
            target.append(name)
        elif not adds and name in target:
            target.remove(name)
    elif kind:
        raise BadCipherList(f'"{shown}" is not known')


def _why_gone(kind: str) -> str:
    return "versions before TLS 1.2 are not spoken" if kind == "version" else "OpenSSL has it no more, or we refuse it"


def _place(state: _State, name: str, shown: str) -> tuple[str, list[str], Iterable[str], str]:
    """The kind of an item, the list that it is about, what may stand there, and the name that it has there."""
    for prefix, kind in (("VERS-", "version"), ("GROUP-", "group"), ("CURVE-", "group"), ("CIPHER-", "cipher"),
                         ("KX-", "kx"), ("MAC-", "mac")):  # fmt: skip
        if name.startswith(prefix):
            return kind, *_list_of(state, kind), _whole(kind, name.removeprefix(prefix))
    if name.startswith(("COMP-", "SIGN-", "CTYPE-", "CT-")):
        if name.startswith("COMP-") and name not in ("COMP-NULL", "COMP-ALL"):
            raise BadCipherList(f'"{shown}" has no equal: TLS compression is not spoken')
        # Signatures and kinds of certificates: OpenSSL's own choice holds.
        return "", [], (), name
    for kind in ("cipher", "kx", "mac"):
        target, known = _list_of(state, kind)
        if name in known or name in _GONE[kind]:
            return kind, target, known, name
    raise BadCipherList(f'"{shown}" is not known')


def _whole(kind: str, name: str) -> str:
    if kind == "version" and name in ("TLS-ALL", "ALL"):
        return "ALL"
    return name


def _list_of(state: _State, kind: str) -> tuple[list[str], Iterable[str]]:
    match kind:
        case "version":
            return state.versions, _VERSIONS
        case "cipher":
            return state.ciphers, _CIPHERS
        case "kx":
            return state.kx, _EXCHANGES
        case "mac":
            return state.macs, _MACS
    if state.groups is None:
        state.groups = list(_GROUPS)
    return state.groups, _GROUPS


# The lists of Exim before 4.80

_OLD_CIPHERS: dict[str, tuple[str, ...]] = {
    "AES_256": ("AES-256-GCM", "AES-256-CBC"),
    "AES_128": ("AES-128-GCM", "AES-128-CBC"),
    "AES": ("AES-256-GCM", "AES-256-CBC", "AES-128-GCM", "AES-128-CBC"),
    "3DES": (),
    "ARCFOUR_128": (),
    "ARCFOUR_40": (),
    "ARCFOUR": (),
}
# Names of whole suites as GnuTLS wrote them then; only the cipher in them counts.
_OLD_SUITE = re.compile(r"(DHE_)?(RSA|DSS|ANON_DH)_(AES(_256|_128)?|3DES(_EDE)?|ARCFOUR(_128|_40)?)(_CBC)?_(SHA1?|MD5)")
_OLD_EXCHANGES = {
    "DHE_RSA": ("DHE-RSA", "ECDHE-RSA", "ECDHE-ECDSA"),
    "RSA": ("RSA", "DHE-RSA", "ECDHE-RSA", "ECDHE-ECDSA"),
    "DHE_DSS": (),
    "DHE": ("DHE-RSA", "ECDHE-RSA", "ECDHE-ECDSA"),
}
_OLD_MACS: dict[str, tuple[str, ...]] = {"SHA": _MACS, "SHA1": _MACS, "MD5": ()}
_OLD_PROTOCOLS: dict[str, tuple[str, ...]] = {"TLS1": _VERSIONS, "SSL3": ()}


def is_old_list(text: str) -> bool:
    """Whether every item is a name of Exim's older GnuTLS lists, and one of them is no name of OpenSSL's."""
    items = [item.strip().lstrip("!").upper() for item in text.split(":") if item.strip()]
    if not items or any(item not in _OLD_CIPHERS and not _OLD_SUITE.fullmatch(item) for item in items):
        return False
    return " " in text.strip() or any("_" in item or item.startswith("ARCFOUR") for item in items)


def read_old_lists(ciphers: str, kx: str, mac: str, protocols: str) -> CipherChoice:
    """What the four options `tls_require_ciphers` and `gnutls_require_…` permit together; empty ones have their
    default. TLS 1.3 and elliptic curves were not there yet and count as the better form of what was.

    Raises BadCipherList.
    """
    state = _State(
        _old(protocols, _OLD_PROTOCOLS, ("TLS1", "SSL3"), "gnutls_require_protocols"),
        _old(kx, _OLD_EXCHANGES, ("RSA", "DHE_DSS", "DHE_RSA"), "gnutls_require_kx"),
        _old(ciphers, _OLD_CIPHERS, ("AES_256", "AES_128", "3DES", "ARCFOUR_128"), "tls_require_ciphers"),
        _old(mac, _OLD_MACS, ("SHA", "MD5"), "gnutls_require_mac"),
    )
    return state.choice(" / ".join(each for each in (ciphers, kx, mac, protocols) if each))


def _old(text: str, known: dict[str, tuple[str, ...]], default: tuple[str, ...], option: str) -> list[str]:
    """One of the lists: what begins with an exclamation mark leaves the defaults, anything else replaces them."""
    items = [item.strip() for item in text.split(":") if item.strip()]
    chosen: list[str] = list(default) if not items or items[0].startswith("!") else []
    for item in items:
        name = _recognised(item.lstrip("!"), known)
        if item.startswith("!"):
            gone = set(known.get(name, ()))
            chosen = [each for each in chosen if each != name and not (gone and gone >= set(known[each]))]
        elif name:
            chosen.append(name)
    found: list[str] = []
    for name in chosen:
        found += [each for each in known[name] if each not in found]
    if not found:
        raise BadCipherList(f"{option} leaves nothing that is spoken here: {text.strip()!r}")
    return found


def _recognised(item: str, known: dict[str, tuple[str, ...]]) -> str:
    """Names of whole suites (RSA_AES_SHA) stand for the algorithm in them; what is not recognised is passed over."""
    upper = item.upper().replace("-", "_")
    if upper in known:
        return upper
    inside = [name for name in known if f"_{name}_" in f"_{upper}_"]
    return max(inside, key=len) if inside else ""
