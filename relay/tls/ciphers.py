"""Cipher lists: ours, and an operator's (machine).

TLS 1.2 and TLS 1.3 suites are set by different calls in OpenSSL. Exim lets underscores stand for hyphens in
`tls_require_ciphers`, so that lists written for another library can be used; so do we.
"""

from __future__ import annotations

from OpenSSL import SSL

# Forward secrecy and AEAD first; CBC suites with SHA-1 stay for old clients, since the alternative is clear text.
DEFAULT_LIST = (
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AESGCM:RSA+AES:!aNULL:!PSK:!SRP:!DSS"
)


class BadCipherList(Exception):
    """The list names no cipher suite that this OpenSSL has."""


def set_ciphers(context: SSL.Context, required: str) -> None:
    """Puts `tls_require_ciphers` (empty: our own list) on a context. TLS 1.3 suites are named as in RFC 8446.

    Raises BadCipherList.
    """
    if not required:
        context.set_cipher_list(DEFAULT_LIST.encode("ascii"))
        return
    items = [item.strip() for item in required.split(":") if item.strip()]
    modern = [item for item in items if item.startswith("TLS_")]
    older = [item.replace("_", "-") for item in items if not item.startswith("TLS_")]
    if not items:
        raise BadCipherList(f"no cipher suite matches {required!r}")
    try:
        if not older:
            # Else OpenSSL's own list for TLS 1.2 would stand beside what is required.
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
        if modern:
            context.set_tls13_ciphersuites(":".join(modern).encode("ascii"))
        if older:
            context.set_cipher_list(":".join(older).encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise BadCipherList(f"no cipher suite matches {required!r}") from None
