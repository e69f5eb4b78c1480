"""The macros that say what is there."""

from __future__ import annotations

import asyncio

import pytest

from relay.config.built_in import built_in_macros
from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Standing
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.mail.facts import SessionFacts, TLSFacts


def test_an_option_has_one_unless_it_is_refused_or_not_of_such_an_exim() -> None:
    macros = built_in_macros()
    tables = {"MAIN": MAIN_OPTIONS, **{section.upper(): options for section, options in GENERIC.items()}}
    for of, options in tables.items():
        for option in options.values():
            expected = option.standing is not Standing.UNSUPPORTED and not option.ours
            there = f"_OPT_{of}_{option.name.upper()}" in macros
            assert there is (expected and not option.name.startswith("gnutls_")), option.name


def test_neither_gnutls_nor_our_own_options_are_told_of() -> None:
    macros = built_in_macros()
    assert not [each for each in macros if "GNUTLS" in each]
    assert "_OPT_TRANSPORT_SMTP_TLS_PINS" not in macros


def test_a_driver_has_one_if_it_is_served() -> None:
    macros = built_in_macros()
    for driver in DRIVERS.values():
        name = f"{driver.section.removesuffix('s').upper()}_{driver.name.upper()}"
        assert (f"_DRIVER_{name}" in macros) is driver.served
        if not driver.served:
            assert not [each for each in macros if each.startswith(f"_OPT_{name}_")]


def test_features_and_forms() -> None:
    macros = built_in_macros()
    there = {
        "_HAVE_TLS", "_HAVE_OPENSSL", "_HAVE_LOOKUP_LSEARCH", "_HAVE_LOOKUP_SQLITE", "_ACL_MOD_SET", "_ACL_COND_HOSTS",
        "_EXP_OP_SHA256", "_EXP_ITEM_IF", "_EXP_ITEM_SG", "_EXP_COND_INLIST", "_EXP_COND_DEF", "_LOG_TLS_CIPHER",
        "_EXP_VAR_TLS_IN_PEERCERT", "_HAVE_FINGERPOST",
    }  # fmt: skip
    assert there <= set(macros)
    absent = {"_HAVE_GNUTLS", "_HAVE_PERL", "_HAVE_SPF", "_HAVE_LOOKUP_MYSQL", "_EXP_ITEM_PERL", "_EXP_COND_=="}
    assert absent.isdisjoint(macros)
    assert {value for name, value in macros.items() if name != "_RESUME_DECODE"} == {"y"}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256), "not requested or offered"),
        (TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, resumption=3), "client requested, no server ticket"),
        (
            TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, resumption=11),
            "client requested new ticket, server provided",
        ),
        (TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, resumed=True), "session resumed"),
        (TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, resumption=31), "session resumed, also new ticket"),
        (TLSFacts("TLS1.3", "TLS_AES_256_GCM_SHA384", 256, resumption=5), "0x05"),
    ],
)
def test_what_became_of_a_ticket_can_be_said_in_words(facts: TLSFacts, words: str) -> None:
    text = f"${{listextract {{$tls_in_resumption}} {{{built_in_macros()['_RESUME_DECODE']}}}}}"
    scope = Scope(session=SessionFacts(tls=facts))
    assert asyncio.run(compile_expansion(text).text(scope)) == words


def test_they_stand_in_exims_order() -> None:
    names = list(built_in_macros())
    expected = ["_EXP_VAR_PRDR_REQUESTED", "_LOG_PID", "_OPT_TRANSPORT_SMTP_HOSTS_TRY_PRDR", "_OPT_MAIN_PRDR_ENABLE",
                "_OPT_MAIN_ACL_SMTP_DATA_PRDR", "_HAVE_PRDR"]  # fmt: skip
    assert sorted(expected, key=names.index) == expected


def test_an_underscore_stands_in_front_of_letters() -> None:
    names = list(built_in_macros())
    expected = [f"_OPT_TRANSPORT_SMTP_{each}" for each in (
        "TLS_VERIFY_CERTIFICATES", "TLS_VERIFY_CERT_HOSTNAMES", "HOSTS_AVOID_TLS", "HOST_NAME_EXTRACT")]  # fmt: skip
    assert sorted(expected, key=names.index) == expected
