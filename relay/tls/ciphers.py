"""Puts cipher lists on contexts (machine)."""

from __future__ import annotations

from OpenSSL import SSL

from relay.tls.cipher_lists import is_modern, is_openssl_list, read_ciphers, shown
from relay.tls.priorities import BadCipherList, CipherChoice

__all__ = ["BadCipherList", "set_ciphers", "unknown_items"]


def set_ciphers(context: SSL.Context, required: str) -> CipherChoice:
    """Puts `tls_require_ciphers` (empty: our own list) on a context. Groups are for the caller to set.

    Raises BadCipherList.
    """
    choice = read_ciphers(required)
    try:
        if not choice.old_version:
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
        if not choice.new_version:
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
        if choice.modern:
            context.set_tls13_ciphersuites(":".join(choice.modern).encode("ascii"))
        if choice.suites:
            context.set_cipher_list(":".join(choice.suites).encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise BadCipherList(f"no cipher suite matches {shown(required)!r}") from None
    return choice


def unknown_items(required: str) -> tuple[str, ...]:
    """Items of an OpenSSL list that this OpenSSL does not know; it passes over them where others are known.

    Raises BadCipherList.
    """
    choice = set_ciphers(SSL.Context(SSL.TLS_SERVER_METHOD), required)
    if not is_openssl_list(required):
        return ()
    unknown = [item for item in choice.modern if not _is_known(item)]
    unknown += [item for item in choice.suites if not item.startswith("@") and not _is_known(item.lstrip("!-+"))]
    return tuple(unknown)


def _is_known(item: str) -> bool:
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        octets = item.encode("ascii")
        if is_modern(item):
            context.set_tls13_ciphersuites(octets)
        else:
            context.set_cipher_list(octets)
    except (SSL.Error, UnicodeEncodeError):
        return False
    return True
