"""GnuTLS priority strings and Exim's older GnuTLS lists come out as suites that OpenSSL has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.tls.priorities import (
    BadCipherList,
    CipherChoice,
    is_old_list,
    is_priority_string,
    read_old_lists,
    read_priority_string,
)


def offered(choice: CipherChoice) -> set[str]:
    """What a context with these suites has of TLS 1.2."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(":".join(choice.suites).encode())
    return {each for each in SSL.Connection(context, None).get_cipher_list() if not each.startswith("TLS_")}


@pytest.mark.parametrize(
    "text",
    ["NORMAL", "SECURE128", "SECURE256", "PFS", "PERFORMANCE", "LEGACY", "SUITEB192", "NORMAL:+CAMELLIA-256-CBC"],
)
def test_every_suite_that_comes_out_is_one_of_openssls(text: str) -> None:
    choice = read_priority_string(text)
    assert offered(choice) == set(choice.suites)


def test_normal_has_what_it_says() -> None:
    choice = read_priority_string("NORMAL:%COMPAT")
    assert choice == read_priority_string("NORMAL")
    assert {"ECDHE-ECDSA-AES256-GCM-SHA384", "DHE-RSA-AES128-SHA", "AES256-SHA256"} <= set(choice.suites)
    assert choice.modern[0] == "TLS_AES_256_GCM_SHA384"
    assert choice.groups == ()
    assert not any("CAMELLIA" in each for each in choice.suites)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("NORMAL:-VERS-TLS1.3", True, False),
        ("NORMAL:-VERS-TLS1.2", False, True),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.3", False, True),
        ("NORMAL:-VERS-TLS-ALL:+VERS-TLS1.2", True, False),
        ("NORMAL:-VERS-SSL3.0:-VERS-TLS1.0:-VERS-TLS1.1", True, True),
    ],
)
def test_versions(text: str, old: bool, new: bool) -> None:
    choice = read_priority_string(text)
    assert (choice.old_version, choice.new_version) == (old, new)
    assert (bool(choice.suites), bool(choice.modern)) == (old, new)


def test_what_is_taken_away_is_gone_and_the_rest_stays() -> None:
    choice = read_priority_string("NORMAL:!DHE-RSA:-ECDHE-RSA:-ECDHE-ECDSA:!DHE-DSS:!ECDHE-PSK:-AES-128-CBC")
    assert choice.suites
    assert not any("DHE" in each for each in choice.suites)
    assert not any(each.startswith("AES128-SHA") for each in choice.suites)
    assert "AES256-SHA" in choice.suites


def test_nothing_but_what_is_asked_for() -> None:
    text = "NONE:+VERS-TLS1.2:+ECDHE-RSA:+AES-256-GCM:+AEAD:+SIGN-ALL:+COMP-NULL:+CTYPE-X509:+GROUP-SECP256R1"
    assert read_priority_string(text) == CipherChoice(
        ("ECDHE-RSA-AES256-GCM-SHA384",), (), ("P-256",), new_version=False
    )


def test_groups() -> None:
    assert read_priority_string("SECURE192").groups[0] == "P-384"
    without = read_priority_string("NORMAL:-GROUP-X25519").groups
    assert without[0] == "X25519MLKEM768"
    assert "X25519" not in without
    assert read_priority_string("NORMAL:-GROUP-ALL:+GROUP-X25519").groups == ("X25519",)
    assert read_priority_string("NORMAL:-CURVE-ALL:+CURVE-SECP384R1").groups == ("P-384",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NORMAL:+VERS-TLS1.0", "no equal"),
        ("NORMAL:+VERS-SSL3.0", "no equal"),
        ("NORMAL:+ARCFOUR-128", "no equal"),
        ("NORMAL:+ANON-DH", "no equal"),
        ("NORMAL:+MD5", "no equal"),
        ("NORMAL:+COMP-DEFLATE", "compression"),
        ("NORMAL:%UNSAFE_RENEGOTIATION", "no equal"),
        ("NORMAL:%PROFILE_ULTRA", "no equal"),
        ("NORMAL:%FOO", "no equal"),
        ("NORMAL:+FOO", "not known"),
        ("NORMAL:+VERS-TLS9", "not known"),
        ("NORMAL:FOO", "write + or -"),
        ("NORMAL:SECURE128", "at the beginning"),
        ("EXPORT", "weak on purpose"),
        ("NONE", "no cipher suite"),
        ("NORMAL:-VERS-ALL", "no cipher suite"),
        ("NORMAL:-CIPHER-ALL", "no cipher suite"),
    ],
)
def test_what_has_no_equal_is_an_error(text: str, why: str) -> None:
    with pytest.raises(BadCipherList, match=why.replace("+", "\\+")):
        read_priority_string(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("NORMAL", True),
        ("normal:%COMPAT", True),
        ("SECURE128", True),
        ("@SYSTEM", True),
        ("@KEYWORD,NORMAL", True),
        ("ECDHE:+VERS-TLS1.3", True),
        ("HIGH:!MD5:!SHA1", False),
        ("DEFAULT", False),
        ("DEFAULT:@SECLEVEL=2", False),
        ("@SECLEVEL=1:ALL", False),
        ("SUITEB128", False),
        ("-ALL:kRSA", False),
        ("", False),
    ],
)
def test_how_the_two_languages_are_told_apart(text: str, is_one: bool) -> None:
    assert is_priority_string(text) is is_one


# Exim before 4.80


def test_an_old_list() -> None:
    choice = read_old_lists("AES : 3DES", "", "", "")
    assert set(choice.suites) == offered(choice)
    assert all("AES" in each for each in choice.suites)
    assert choice.modern
    assert read_old_lists("!ARCFOUR", "", "", "") == read_old_lists("", "", "", "")
    assert all("AES128" in each for each in read_old_lists("!AES_256", "", "", "").suites)
    assert all("AES256" in each for each in read_old_lists("AES_256", "", "", "").suites)
    assert read_old_lists("RSA_AES_SHA", "", "", "").suites == read_old_lists("AES", "", "", "").suites


def test_the_other_old_lists() -> None:
    assert all("DHE" in each for each in read_old_lists("", "DHE", "", "").suites)
    assert any("DHE" not in each for each in read_old_lists("", "RSA", "", "").suites)
    assert read_old_lists("", "", "SHA1", "TLS1") == read_old_lists("", "", "", "")
    for lists in (("3DES : ARCFOUR", "", "", ""), ("", "DHE_DSS", "", ""), ("", "", "MD5", ""), ("", "", "", "SSL3")):
        with pytest.raises(BadCipherList, match="leaves nothing"):
            read_old_lists(*lists)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("AES : 3DES", True),
        ("!ARCFOUR", True),
        ("AES_128", True),
        ("RSA_ARCFOUR_SHA", True),
        ("AES:3DES", False),  # OpenSSL's meaning is the same
        ("AES", False),
        ("ECDHE_RSA-AES256-SHA", False),
        ("", False),
    ],
)
def test_how_an_old_list_is_known(text: str, is_one: bool) -> None:
    assert is_old_list(text) is is_one


WORDS = st.sampled_from(
    ["NORMAL", "NONE", "+", "-", "!", "%COMPAT", "+VERS-ALL", "-VERS-TLS1.3", "+AES-128-GCM", "+ECDHE-RSA", "-KX-ALL",
     "+AEAD", "+GROUP-ALL", "+SIGN-RSA-SHA256", "@SYSTEM", "", "é", "%", "+MAC-ALL", "+CIPHER-ALL", "+CT-ALL"]
)  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=6))
def test_any_text_is_a_choice_or_an_error(items: list[str]) -> None:
    text = ":".join(items)
    for read in (read_priority_string, lambda each: read_old_lists(each, "", "", "")):
        try:
            choice = read(text)
        except BadCipherList:
            continue
        assert choice.suites or choice.modern
        if choice.suites:
            assert offered(choice) == set(choice.suites)
