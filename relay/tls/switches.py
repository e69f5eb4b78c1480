"""Exim's `openssl_options`: switches of OpenSSL by name, on with a plus and off with a minus (machine).

Every name that any OpenSSL has had is known. Most are workarounds for programs of long ago: OpenSSL gives them no
meaning any more, and neither do we. Three can't be turned to the worse, whatever the text says: there is no TLS before
1.2 (RFC 8996), no compression and no renegotiation.
"""

from __future__ import annotations

from dataclasses import dataclass

# Bits of OpenSSL's ssl.h since 3.0, for those that do something in a server or client of TLS 1.2 and 1.3.
_BITS = {
    "allow_no_dhe_kex": 1 << 10,
    "cipher_server_preference": 1 << 22,
    "cryptopro_tlsext_bug": 1 << 31,
    "dont_insert_empty_fragments": 1 << 11,
    "legacy_server_connect": 1 << 2,
    "no_anti_replay": 1 << 24,
    "no_compression": 1 << 17,
    "no_encrypt_then_mac": 1 << 19,
    "no_renegotiation": 1 << 30,
    "no_session_resumption_on_renegotiation": 1 << 16,
    "no_ticket": 1 << 14,
    "no_tlsv1": 1 << 26,
    "no_tlsv1_1": 1 << 28,
    "no_tlsv1_2": 1 << 27,
    "no_tlsv1_3": 1 << 29,
    "prioritize_chacha": 1 << 21,
    "safari_ecdhe_ecdsa_bug": 1 << 6,
    "tlsext_padding": 1 << 4,
}
_MEANINGLESS = frozenset({
    "all", "ephemeral_rsa", "enable_middlebox_compat", "microsoft_big_sslv3_buffer", "microsoft_sess_id_bug",
    "msie_sslv2_rsa_padding", "netscape_ca_dn_bug", "netscape_challenge_bug", "netscape_demo_cipher_change_bug",
    "netscape_reuse_cipher_change_bug", "no_sslv2", "no_sslv3", "pkcs1_check_1", "pkcs1_check_2", "single_dh_use",
    "single_ecdh_use", "ssleay_080_client_dh_bug", "sslref2_reuse_cert_type_bug", "tls_block_padding_bug",
    "tls_d5_bug", "tls_rollback_bug",
})  # fmt: skip
_REFUSED = {
    "allow_unsafe_legacy_renegotiation": "renegotiation is never spoken",
}
_ALWAYS_ON = {
    "no_renegotiation": "renegotiation is never spoken",
    "no_compression": "TLS compression is never spoken",
    "no_tlsv1": "TLS before 1.2 is never spoken",
    "no_tlsv1_1": "TLS before 1.2 is never spoken",
}
NAMES = tuple(sorted({*_BITS, *_MEANINGLESS, *_REFUSED}))
"""Every name that is known."""


class BadSwitch(ValueError):
    """An item is malformed or unknown."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What the text asks for."""

    bits: int = 0
    """To be set on a context beside what we set anyway."""
    notices: tuple[str, ...] = ()
    """Items that have no effect though they ask for one, each with its reason."""


def read_switches(text: str) -> Switches:
    """Reads `+name -name …`. Raises BadSwitch."""
    bits = 0
    notices: list[str] = []
    for item in text.split():
        sign, name = item[0], item[1:]
        if sign not in "+-" or not name:
            raise BadSwitch(f'"{item[:60]}": + or - is expected before the name of a switch')
        if name not in NAMES:
            raise BadSwitch(f'"{name[:60]}" is not a switch of OpenSSL')
        if sign == "+":
            if name in _REFUSED:
                notices.append(f"+{name}: {_REFUSED[name]}")
            bits |= _BITS.get(name, 0)
        else:
            if name in _ALWAYS_ON:
                notices.append(f"-{name}: {_ALWAYS_ON[name]}")
            bits &= ~_BITS.get(name, 0)
    if bits & _BITS["no_tlsv1_2"] and bits & _BITS["no_tlsv1_3"]:
        raise BadSwitch("+no_tlsv1_2 +no_tlsv1_3 leave no version of TLS")
    # Tickets are for tls_resumption_hosts to allow, whatever stands here.
    return Switches(bits & ~_BITS["no_ticket"], tuple(notices))
