"""The macros that say what is there."""

from __future__ import annotations

from relay.config.built_in import built_in_macros
from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Standing


def test_an_option_has_one_unless_it_is_refused() -> None:
    macros = built_in_macros()
    for option in MAIN_OPTIONS.values():
        there = f"_OPT_MAIN_{option.name.upper()}" in macros
        assert there is (option.standing is not Standing.UNSUPPORTED), option.name
    for section, options in GENERIC.items():
        for option in options.values():
            there = f"_OPT_{section.upper()}_{option.name.upper()}" in macros
            assert there is (option.standing is not Standing.UNSUPPORTED), option.name


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
    assert set(macros.values()) == {"y"}
    assert list(macros) == sorted(macros)
