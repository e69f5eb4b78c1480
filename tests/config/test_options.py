"""Options: how their texts become values, and what the tables promise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config import options
from relay.config.built_in import built_in_macros
from relay.config.convert import Converter
from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import BadValue, Kind, Option, Setting, Standing, find, listed, read_setting
from relay.expand.lists import NamedLists
from relay.mail.source import Location

HERE = Location("conf", 1)


def converter() -> Converter:
    def no_acl(text: str, location: Location) -> None:
        raise AssertionError("no ACL was asked for")

    return Converter(NamedLists(), no_acl, {"primary_hostname": "relay.test"})  # type: ignore[arg-type]


def value(kind: Kind, text: str | None, *, negated: bool = False) -> object:
    return converter().setting(Option("it", kind, None, ""), text, HERE, negated=negated)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Kind.STRING, "as it is", "as it is"),
        (Kind.STRING, r'"a\nb\x41\101\\\""', 'a\nbAA\\"'),
        (Kind.STRING, "", ""),
        (Kind.STATIC, "$primary_hostname!", "relay.test!"),
        (Kind.ITEMS, "a : b:: c", ("a", "b: c")),
        (Kind.ITEMS, "<; ::1 ; [::1]:25;", ("::1", "[::1]:25")),
        (Kind.ITEMS, "", ()),
        (Kind.PORTS, "25 : smtps : 25", (25, 465)),
        (Kind.PORTS, "", ()),
        (Kind.BOOLEAN, None, True),
        (Kind.BOOLEAN, "yes", True),
        (Kind.BOOLEAN, "FALSE", False),
        (Kind.BOOLEAN, "", True),
        (Kind.EXPANDED_BOOLEAN, "no", False),
        (Kind.INTEGER, "20", 20),
        (Kind.INTEGER, "-3", -3),
        (Kind.INTEGER, "010", 8),
        (Kind.INTEGER, "0x1F", 31),
        (Kind.INTEGER, "2K", 2048),
        (Kind.SIZE, "50M", 50 * 1024 * 1024),
        (Kind.SIZE, "-1K", -1024),
        (Kind.INTEGER, "2147483647", 2**31 - 1),
        (Kind.KIBIBYTES, "10M", 10240),
        (Kind.KIBIBYTES, "3K", 3),
        (Kind.KIBIBYTES, "1500", 1),
        (Kind.KIBIBYTES, "1P", 2**40),
        (Kind.ACCOUNTS, "root : 5678", ("root", "5678")),
        (Kind.ACCOUNTS, "${if eq{1}{1}{a : b}}", ("a", "b")),
        (Kind.USER, "$local_part", "$local_part"),
        (Kind.OCTAL, "0700", 0o700),
        (Kind.OCTAL, "600", 0o600),
        (Kind.TIME, "5m30s", 330),
        (Kind.TIME, "1w2d3h", 604800 + 2 * 86400 + 3 * 3600),
        (Kind.TIME, "0s", 0),
        (Kind.TIMES, "1h : 2h:1d", (3600, 7200, 86400)),
        (Kind.TIMES, "0s", ()),
        (Kind.TIMES, "", ()),
        (Kind.FIXED, "2.5", 2.5),
        (Kind.FIXED, "3", 3.0),
        (Kind.FIXED, "0.0019", 0.001),
    ],
)
def test_values(kind: Kind, text: str | None, expected: object) -> None:
    assert value(kind, text) == expected


def test_a_negated_boolean() -> None:
    assert value(Kind.BOOLEAN, None, negated=True) is False


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.STRING, None),
        (Kind.STRING, '"no end'),
        (Kind.STRING, '"an end" and more'),
        (Kind.STRING, '"\\"'),
        (Kind.STATIC, "$nosuch"),
        (Kind.STATIC, "${if ={a}{1}}"),
        (Kind.EXPANDED, "${run{/bin/date}}"),
        (Kind.HOSTS, "${perl{x}}"),
        (Kind.HOSTS, "+nosuch"),
        (Kind.DOMAINS, "^("),
        (Kind.PORTS, "70000"),
        (Kind.PORTS, "http"),
        (Kind.PORTS, "٢٥"),
        (Kind.BOOLEAN, "perhaps"),
        (Kind.INTEGER, ""),
        (Kind.INTEGER, "20x"),
        (Kind.INTEGER, "08"),
        (Kind.INTEGER, "9" * 30),
        (Kind.OCTAL, "0800"),
        (Kind.TIME, "5"),
        (Kind.TIME, ""),
        (Kind.TIME, "5x"),
        (Kind.TIMES, "2h:1h"),
        (Kind.FIXED, "-1"),
        (Kind.FIXED, "1,5"),
    ],
)
def test_values_that_are_none(kind: Kind, text: str | None) -> None:
    with pytest.raises(BadValue) as caught:
        value(kind, text)
    assert caught.value.what


def test_a_negation_before_what_is_no_boolean() -> None:
    with pytest.raises(BadValue):
        value(Kind.STRING, "x", negated=True)
    with pytest.raises(BadValue):
        value(Kind.BOOLEAN, "yes", negated=True)


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.ACL]), st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_value_or_a_bad_one(kind: Kind, text: str) -> None:
    with contextlib.suppress(BadValue):
        value(kind, text)


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("name = text = more", Setting("name", "text = more")),
        ("name=text", Setting("name", "text")),
        ("name =", Setting("name", "")),
        ("name", Setting("name", None)),
        ("hide name = secret", Setting("name", "secret", hidden=True)),
        ("hide no_name", Setting("no_name", None, hidden=True)),
    ],
)
def test_settings(line: str, setting: Setting) -> None:
    assert read_setting(line) == setting


@pytest.mark.parametrize("line", ["= x", "name text", "1name = x", "", "hide = x y"])
def test_lines_that_are_no_settings(line: str) -> None:
    if line == "hide = x y":
        # An option may be called that: it is unknown, not malformed.
        assert read_setting(line).name == "hide"
        return
    with pytest.raises(BadValue):
        read_setting(line)


def test_prefixes_of_booleans() -> None:
    table = options.table(Option("no_thing", Kind.BOOLEAN, None, ""), Option("flag", Kind.BOOLEAN, None, ""))
    for line, name, negated in (
        ("no_flag", "flag", True),
        ("not_flag", "flag", True),
        ("no_thing", "no_thing", False),
        ("no_no_thing", "no_thing", True),
    ):
        found = find(table, read_setting(line))
        assert found is not None
        assert (found[0].name, found[1].negated) == (name, negated)
    assert find(table, read_setting("no_such")) is None


# The tables

MAIN_NAMES = [
    "tls_advertise_hosts", "tls_on_connect_ports", "tls_certificate", "tls_privatekey", "tls_verify_hosts",
    "tls_try_verify_hosts", "tls_verify_certificates", "tls_crl", "tls_require_ciphers", "tls_dhparam",
    "tls_dh_max_bits", "tls_eccurve", "openssl_options", "gnutls_compat_mode", "gnutls_allow_auto_pkcs11",
    "tls_ocsp_file", "tls_remember_esmtp", "tls_resumption_hosts", "tls_alpn", "hosts_require_alpn",
    "tls_early_banner_hosts", "acl_smtp_starttls", "acl_smtp_etrn", "acl_smtp_atrn", "smtp_etrn_command",
    "smtp_etrn_serialize", "chunking_advertise_hosts", "smtputf8_advertise_hosts",
    "limits_advertise_hosts", "dsn_advertise_hosts", "exim_path", "never_users", "keep_environment",
    "rfc1413_hosts", "rfc1413_query_timeout", "host_lookup",
]  # fmt: skip
SMTP_NAMES = [
    "hosts_avoid_tls", "hosts_verify_avoid_tls", "hosts_require_tls", "tls_tempfail_tryclear",
    "tls_certificate", "tls_privatekey", "tls_verify_certificates", "tls_verify_hosts",
    "tls_try_verify_hosts", "tls_verify_cert_hostnames", "tls_crl", "tls_sni", "tls_alpn",
    "tls_require_ciphers", "tls_dh_min_bits", "tls_resumption_hosts", "host_name_extract",
    "hosts_require_ocsp", "hosts_request_ocsp", "hosts_try_dane", "hosts_require_dane",
    "dane_require_tls_ciphers", "dnssec_request_domains", "dnssec_require_domains", "hosts_noproxy_tls",
    "hosts_nopass_tls", "connection_max_messages", "hosts_require_auth", "hosts_try_auth",
    "hosts_avoid_esmtp", "hosts_avoid_pipelining", "hosts_try_chunking", "hosts_pipe_connect", "protocol",
    "socks_proxy",
]  # fmt: skip


def every_option() -> list[Option]:
    tables = [MAIN_OPTIONS, *GENERIC.values(), *(driver.options for driver in DRIVERS.values())]
    return [option for table in tables for option in table.values()]


def test_every_default_is_a_value() -> None:
    for option in every_option():
        if option.kind is not Kind.ACL and not (option.default or "").startswith(("$qualify", "$spool", "sqlite:")):
            converter().default(option)


def test_every_option_that_is_used_says_what_it_does() -> None:
    served = [MAIN_OPTIONS, *GENERIC.values(), *(driver.options for driver in DRIVERS.values() if driver.served)]
    for table in served:
        for option in table.values():
            assert option.text, option.name
            assert option.group, option.name


@pytest.mark.parametrize(
    "name",
    MAIN_NAMES,
)
def test_main_options_that_are_known(name: str) -> None:
    assert name in MAIN_OPTIONS


@pytest.mark.parametrize(
    "name",
    SMTP_NAMES,
)
def test_smtp_options_that_are_known(name: str) -> None:
    assert name in DRIVERS["transports", "smtp"].options


def test_generic_options_and_those_of_drivers_do_not_meet() -> None:
    for (section, name), driver in DRIVERS.items():
        assert not set(driver.options) & set(GENERIC[section]), name


def test_macros_say_what_is_served() -> None:
    macros = built_in_macros()
    for name in (
        "_HAVE_TLS", "_HAVE_OPENSSL", "_OPT_MAIN_TLS_CERTIFICATE", "_OPT_TRANSPORT_SMTP_HOSTS_REQUIRE_TLS",
        "_OPT_ROUTERS_DOMAINS", "_DRIVER_ROUTER_MANUALROUTE", "_ACL_COND_VERIFY", "_ACL_MOD_LOGWRITE",
    ):  # fmt: skip
        assert macros[name] == "y"
    for name in ("_HAVE_GNUTLS", "_DRIVER_ROUTER_QUERYPROGRAM", "_OPT_MAIN_SYSTEM_FILTER"):
        assert name not in macros
    assert MAIN_OPTIONS["system_filter"].standing is Standing.UNSUPPORTED


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (Kind.INTEGER, "2147483648", "too large"),
        (Kind.INTEGER, "999999M", "too large"),
        (Kind.INTEGER, "99Q", "extra characters"),
        (Kind.INTEGER, "99 K", "extra characters"),
        (Kind.INTEGER, "1P", "extra characters"),
        (Kind.SIZE, "4G", "too large"),
        (Kind.KIBIBYTES, "4000Z", "too large"),
        (Kind.KIBIBYTES, "40MK", "extra characters"),
        (Kind.FIXED, "4000000000000000.1", "too large"),
        (Kind.FIXED, "4000000000.1", "too large"),
    ],
)
def test_numbers_that_exim_refuses_too(kind: Kind, text: str, complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint):
        value(kind, text)


def test_rows_in_short() -> None:
    rows = listed("g", Standing.IGNORED, "why", "\n  a_time  time  5m\n  a_text  string  two words\n  unset  hosts\n")
    assert [(row.name, row.kind, row.default) for row in rows] == [
        ("a_time", Kind.TIME, "5m"),
        ("a_text", Kind.STRING, "two words"),
        ("unset", Kind.HOSTS, None),
    ]
    assert {(row.group, row.standing, row.text) for row in rows} == {("g", Standing.IGNORED, "why")}
