"""The text of `tls_require_ciphers` is taken apart by what language it is in."""

from __future__ import annotations

import pytest

from relay.tls.cipher_lists import DEFAULT_LIST, is_modern, is_openssl_list, joined_lists, read_ciphers, shown
from relay.tls.priorities import BadCipherList, CipherChoice, read_old_lists, read_priority_string


def test_unset_means_our_own_list() -> None:
    assert read_ciphers("") == CipherChoice((DEFAULT_LIST,))


def test_an_openssl_list_is_left_as_it_is() -> None:
    assert read_ciphers("HIGH:!MD5:!SHA1") == CipherChoice(("HIGH", "!MD5", "!SHA1"))
    assert read_ciphers(" -ALL : kRSA ") == CipherChoice(("-ALL", "kRSA"))


def test_underscores_stand_for_hyphens() -> None:
    assert read_ciphers("ECDHE_RSA-AES256-SHA").suites == ("ECDHE-RSA-AES256-SHA",)
    assert read_ciphers("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").suites == ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",)


def test_names_of_tls_1_3() -> None:
    alone = read_ciphers("TLS_AES_128_GCM_SHA256")
    assert alone == CipherChoice((), ("TLS_AES_128_GCM_SHA256",), old_version=False)
    both = read_ciphers("TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256")
    assert both == CipherChoice(("ECDHE-RSA-AES128-GCM-SHA256",), ("TLS_AES_128_GCM_SHA256",))
    assert is_modern("TLS_AES_128_GCM_SHA256")
    assert not is_modern("TLS_RSA_WITH_AES_128_CBC_SHA")


def test_the_languages_of_gnutls() -> None:
    assert read_ciphers("NORMAL:%COMPAT") == read_priority_string("NORMAL")
    assert read_ciphers("AES : 3DES") == read_old_lists("AES : 3DES", "", "", "")
    assert read_ciphers(joined_lists("AES_128", "DHE", "", "")) == read_old_lists("AES_128", "DHE", "", "")


def test_the_old_options_count_where_exim_heeded_them() -> None:
    assert joined_lists("HIGH", "", "", "") == "HIGH"
    assert joined_lists("NORMAL", "DHE", "", "") == "NORMAL"
    assert shown(joined_lists("", "DHE", "", "TLS1")) == "DHE /  / TLS1"
    assert is_openssl_list("HIGH")
    assert not is_openssl_list("")
    assert not is_openssl_list("NORMAL")
    assert not is_openssl_list(joined_lists("", "DHE", "", ""))


@pytest.mark.parametrize("text", [" ", ":", " : "])
def test_an_empty_list(text: str) -> None:
    with pytest.raises(BadCipherList):
        read_ciphers(text)
