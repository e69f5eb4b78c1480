"""`openssl_options`: every name is known, and nothing in it can make TLS worse than it is here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.tls.switches import NAMES, BadSwitch, Switches, read_switches

# Exim's own list, tls-openssl.c.
EXIMS = (
    "all", "allow_no_dhe_kex", "allow_unsafe_legacy_renegotiation", "cipher_server_preference",
    "cryptopro_tlsext_bug", "dont_insert_empty_fragments", "enable_middlebox_compat", "ephemeral_rsa",
    "legacy_server_connect", "microsoft_big_sslv3_buffer", "microsoft_sess_id_bug", "msie_sslv2_rsa_padding",
    "netscape_challenge_bug", "netscape_reuse_cipher_change_bug", "no_anti_replay", "no_compression",
    "no_encrypt_then_mac", "no_renegotiation", "no_session_resumption_on_renegotiation", "no_sslv2", "no_sslv3",
    "no_ticket", "no_tlsv1", "no_tlsv1_1", "no_tlsv1_2", "no_tlsv1_3", "prioritize_chacha",
    "safari_ecdhe_ecdsa_bug", "single_dh_use", "single_ecdh_use", "ssleay_080_client_dh_bug",
    "sslref2_reuse_cert_type_bug", "tls_block_padding_bug", "tls_d5_bug", "tls_rollback_bug", "tlsext_padding",
)  # fmt: skip


@pytest.mark.parametrize("name", EXIMS)
def test_every_name_of_exims_is_known(name: str) -> None:
    assert name in NAMES
    read_switches(f"+{name}")
    read_switches(f"-{name}")


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("no_tlsv1_2", SSL.OP_NO_TLSv1_2),
        ("no_tlsv1_3", SSL.OP_NO_TLSv1_3),
        ("no_tlsv1", SSL.OP_NO_TLSv1),
        ("no_tlsv1_1", SSL.OP_NO_TLSv1_1),
        ("no_compression", SSL.OP_NO_COMPRESSION),
        ("no_renegotiation", SSL.OP_NO_RENEGOTIATION),
        ("cipher_server_preference", SSL.OP_CIPHER_SERVER_PREFERENCE),
        ("legacy_server_connect", SSL.OP_LEGACY_SERVER_CONNECT),
        ("dont_insert_empty_fragments", SSL.OP_DONT_INSERT_EMPTY_FRAGMENTS),
    ],
)
def test_the_bits_are_openssls(name: str, bit: int) -> None:
    assert read_switches(f"+{name}").bits == bit
    assert read_switches(f"+{name} -{name}").bits == 0


def test_exims_default() -> None:
    assert read_switches("+no_sslv2 +no_sslv3 +single_dh_use +no_ticket +no_renegotiation") == Switches(
        SSL.OP_NO_RENEGOTIATION
    )
    assert read_switches("") == Switches()


@pytest.mark.parametrize(
    "text", ["+allow_unsafe_legacy_renegotiation", "-no_renegotiation", "-no_compression", "-no_tlsv1", "-no_tlsv1_1"]
)
def test_nothing_makes_it_worse_and_that_is_said(text: str) -> None:
    found = read_switches(text)
    assert found.bits == 0
    assert text in found.notices[0]


@pytest.mark.parametrize("text", ["no_tlsv1", "+", "-", "+no_such", "+NO_TLSV1", "+no_tlsv1+no_tlsv1_1", "all"])
def test_what_is_malformed_or_unknown(text: str) -> None:
    with pytest.raises(BadSwitch):
        read_switches(text)


def test_something_must_be_left_to_speak() -> None:
    with pytest.raises(BadSwitch, match="no version"):
        read_switches("+no_tlsv1_2 +no_tlsv1_3")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_switches(text)
    except BadSwitch:
        pass
