"""The text of `tls_require_ciphers`: OpenSSL's list, names of TLS 1.3, or what GnuTLS reads (machine).

TLS 1.2 and TLS 1.3 suites are set by different calls in OpenSSL, so a list is taken apart. Exim lets underscores stand
for hyphens in OpenSSL's names, so that lists written for another library can be used; so do we.
"""

from __future__ import annotations

from relay.tls.priorities import (
    BadCipherList,
    CipherChoice,
    is_old_list,
    is_priority_string,
    read_old_lists,
    read_priority_string,
)

# Forward secrecy and AEAD first; CBC suites with SHA-1 stay for old clients, since the alternative is clear text.
DEFAULT_LIST = (
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!PSK:!SRP:!DSS"
)
# What separates the four older lists where they come as one text (`joined_lists`); no list can hold it.
_BETWEEN = "\x1f"


def joined_lists(ciphers: str, kx: str, mac: str, protocols: str) -> str:
    """`tls_require_ciphers` with the `gnutls_require_…` options beside it, as one text for `read_ciphers`."""
    if not (kx or mac or protocols) or is_priority_string(ciphers):
        # Exim has read the three options with OpenSSL or a newer GnuTLS without heeding them.
        return ciphers
    return _BETWEEN.join((ciphers, kx, mac, protocols))


def read_ciphers(required: str) -> CipherChoice:
    """Takes a `tls_require_ciphers` apart, empty for our own list. Raises BadCipherList."""
    if not required:
        return CipherChoice((DEFAULT_LIST,))
    if _BETWEEN in required:
        ciphers, kx, mac, protocols = required.split(_BETWEEN)
        return read_old_lists(ciphers, kx, mac, protocols)
    if is_priority_string(required):
        return read_priority_string(required)
    if is_old_list(required):
        return read_old_lists(required, "", "", "")
    items = [item.strip() for item in required.split(":") if item.strip()]
    if not items:
        raise BadCipherList(f"no cipher suite matches {required!r}")
    modern = tuple(item for item in items if is_modern(item))
    older = tuple(item if item.startswith("TLS_") else item.replace("_", "-") for item in items if not is_modern(item))
    # With TLS 1.3 suites alone, OpenSSL's own list for TLS 1.2 would stand beside what is required.
    return CipherChoice(older, modern, old_version=bool(older))


def is_modern(item: str) -> bool:
    """True for a suite of TLS 1.3 by its RFC 8446 name."""
    return item.startswith("TLS_") and "_WITH_" not in item


def is_openssl_list(required: str) -> bool:
    """Whether the text is in OpenSSL's own language."""
    return bool(required) and not (_BETWEEN in required or is_priority_string(required) or is_old_list(required))


def shown(required: str) -> str:
    """The text for people."""
    return required.replace(_BETWEEN, " / ").strip(" /")
