"""The options of the smtp transport: what each comes to, and that each has a test of what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.config.options import Standing
from relay.config.read import read_configuration
from relay.config.smtp_options import SMTP
from relay.delivery.smtp_rules import SMTPRules
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.mail.source import ConfigurationError

TESTS = Path(__file__).parents[1]
CLIENT, TALK, REMOTE = "net/test_client.py", "delivery/test_conversation.py", "delivery/test_remote.py"
CALLOUT, LOOKUP = "delivery/test_callout.py", "delivery/test_host_lookup.py"
CHOICE, MEMORY, LOGIN = "delivery/test_host_choice.py", "delivery/test_host_memory.py", "delivery/test_login.py"
# Option: a value, where it goes, what stands there, and the test of what it does.
TABLE: dict[str, tuple[str, str, Any, tuple[str, str]]] = {
    "allow_localhost": ("true", "hosts.allow_localhost", True, (CHOICE, "test_allow_localhost")),
    "authenticated_sender": ("x@y", "login.sender", "x@y", (LOGIN, "test_the_sender_that_is_asserted")),
    "authenticated_sender_force": ("true", "login.sender_force", True, (LOGIN, "test_the_sender_that_is_asserted")),
    "batch_max": ("7", "passing.max_messages", 7, (TALK, "test_connection_max_messages")),
    "command_timeout": ("7s", "timeouts.command", 7, (CLIENT, "command_timeout")),
    "connect_timeout": ("7s", "timeouts.connect", 7, (CLIENT, "test_connect_timeout")),
    "connection_max_messages": ("7", "passing.max_messages", 7, (TALK, "test_connection_max_messages")),
    "data_timeout": ("7s", "timeouts.data", 7, (CLIENT, "data_timeout")),
    "delay_after_cutoff": (
        "false", "hosts.delay_after_cutoff", False, (MEMORY, "test_a_host_that_failed_for_too_long")
    ),
    "dns_qualify_single": ("false", "hosts.qualify_single", False, (LOOKUP, "test_names_that_are_not_whole")),
    "dns_search_parents": ("true", "hosts.search_parents", True, (LOOKUP, "test_names_that_are_not_whole")),
    "dnssec_request_domains": ("x.test", "hosts.dnssec_request", "x.test", (LOOKUP, "test_signatures_are_asked_for")),
    "dnssec_require_domains": ("x.test", "hosts.dnssec_require", "x.test", (LOOKUP, "test_signatures_are_demanded")),
    "fallback_hosts": ("a:b", "hosts.fallback", "a:b", (CHOICE, "test_fallback_hosts")),
    "final_timeout": ("7s", "timeouts.final", 7, (CLIENT, "final_timeout")),
    "gethostbyname": ("true", "hosts.by_name", True, (LOOKUP, "test_gethostbyname")),
    "helo_data": ("x", "helo_data", "x", (REMOTE, "test_who_we_say_we_are")),
    "host_name_extract": ("x", "host_name_extract", "x", (TALK, "test_whose_session_may_be_resumed")),
    "hosts": ("a:b", "hosts.hosts", "a:b", (CHOICE, "test_hosts_for_addresses_that_were_routed_without")),
    "hosts_avoid_certificate": (
        "10.0.0.1", "tls.avoid_certificate", "10.0.0.1", (CLIENT, "test_hosts_avoid_certificate")
    ),
    "hosts_avoid_esmtp": ("10.0.0.1", "avoid_esmtp", "10.0.0.1", (CLIENT, "test_helo_alone")),
    "hosts_avoid_pipelining": ("10.0.0.1", "avoid_pipelining", "10.0.0.1", (CLIENT, "test_cut_at_every_octet")),
    "hosts_avoid_tls": ("10.0.0.1", "tls.avoid_tls", "10.0.0.1", (REMOTE, "test_tls_or_not")),
    "hosts_max_try": ("7", "hosts.max_try", 7, (CHOICE, "test_hosts_max_try")),
    "hosts_max_try_hardlimit": ("7", "hosts.max_try_hardlimit", 7, (CHOICE, "test_hosts_max_try_hardlimit")),
    "hosts_nopass_tls": ("10.0.0.1", "passing.no_pass", "10.0.0.1", (TALK, "test_hosts_nopass_tls")),
    "hosts_noproxy_tls": ("", "passing.new_handshake", "", (TALK, "test_without_noproxy_tls_stays_up")),
    "hosts_override": ("true", "hosts.override", True, (CHOICE, "test_hosts_override")),
    "hosts_randomize": ("true", "hosts.randomize", True, (CHOICE, "test_random_within_the_groups")),
    "hosts_request_ocsp": ("", "tls.request_ocsp", "", ("trust/test_staple.py", "test_a_server_is_asked_for_it")),
    "hosts_require_alpn": ("10.0.0.1", "tls.require_alpn", "10.0.0.1", (CLIENT, "test_alpn")),
    "hosts_require_auth": ("10.0.0.1", "login.require", "10.0.0.1", (LOGIN, "test_hosts_require_auth")),
    "hosts_require_ocsp": ("10.0.0.1", "tls.require_ocsp", "10.0.0.1", (TALK, "test_a_session_that_is_not_what_it")),
    "hosts_require_pq": ("10.0.0.1", "tls.require_pq", "10.0.0.1", (TALK, "test_a_session_that_is_not_what_it")),
    "hosts_require_tls": ("10.0.0.1", "tls.require_tls", "10.0.0.1", (REMOTE, "test_tls_or_not")),
    "hosts_try_auth": ("10.0.0.1", "login.try_", "10.0.0.1", (LOGIN, "test_hosts_try_auth")),
    "hosts_try_chunking": ("", "try_chunking", "", (CHOICE, "test_manners")),
    "hosts_try_prdr": ("", "try_prdr", "", (CHOICE, "test_manners")),
    "interface": ("10.0.0.1", "interface", "10.0.0.1", (CLIENT, "test_we_dial_from_the_address_that_is_wanted")),
    "keepalive": ("false", "keepalive", False, (CHOICE, "test_manners")),
    "lmtp_ignore_quota": ("true", "lmtp_ignore_quota", True, (CHOICE, "test_lmtp_ignore_quota")),
    "max_rcpt": ("7", "max_rcpt", 7, ("delivery/test_remote.py", "most_at_once")),
    "multi_domain": ("false", "multi_domain", False, (CHOICE, "test_multi_domain")),
    "port": ("7", "port", 7, (REMOTE, "test_the_port")),
    "protocol": ("lmtp", "lmtp", True, (REMOTE, "test_on_connect_there_is_no_clear_text")),
    "retry_include_ip_address": (
        "false", "hosts.include_address", False, (MEMORY, "test_without_the_address_in_the_key")
    ),
    "serialize_hosts": ("10.0.0.1", "hosts.serialize", "10.0.0.1", (TALK, "test_serialize_hosts")),
    "size_addition": ("-1", "size_addition", -1, (CHOICE, "test_size_addition")),
    "hosts_verify_avoid_tls": (
        "10.0.0.1", "verify_avoid_tls", "10.0.0.1", (CALLOUT, "test_hosts_that_are_asked_in_clear")
    ),
    "tls_alpn": ("smtp", "tls.alpn", "smtp", (CLIENT, "test_alpn")),
    "tls_certificate": ("/x", "tls.certificate", "/x", (CLIENT, "test_hosts_avoid_certificate")),
    "tls_crl": ("/x", "tls.crl", "/x", ("tls/test_anchors.py", "test_revoked_by_a_list")),
    "tls_pins": ("0" * 64, "tls.pins", ("0" * 64,), (REMOTE, "test_tls_or_not")),
    "tls_privatekey": ("/x", "tls.privatekey", "/x", (CLIENT, "test_hosts_avoid_certificate")),
    "tls_require_ciphers": ("HIGH", "tls.require_ciphers", "HIGH", (CLIENT, "test_ciphers_that_are_required")),
    "tls_resumption_hosts": ("*", "resumption_hosts", "*", (CLIENT, "test_sessions_are_resumed_where_that_is_allowed")),
    "tls_sni": ("x", "tls.sni", "x", (REMOTE, "test_what_is_known_of_the_layer")),
    "tls_tempfail_tryclear": ("false", "tls.tempfail_tryclear", False, (REMOTE, "test_tls_or_not")),
    "tls_try_verify_hosts": ("10.0.0.1", "tls.try_verify_hosts", "10.0.0.1", (REMOTE, "test_tls_or_not")),
    "tls_verify_cert_hostnames": (
        "", "tls.verify_cert_hostnames", "", (REMOTE, "test_names_are_checked_where_the_option_says_so")
    ),
    "tls_verify_certificates": ("/x", "tls.verify_certificates", "/x", (REMOTE, "test_tls_or_not")),
    "tls_verify_hosts": ("10.0.0.1", "tls.verify_hosts", "10.0.0.1", (REMOTE, "test_tls_or_not")),
    "utf8_downconvert": ("0", "downconvert", "0", (CHOICE, "test_utf8_downconvert")),
}  # fmt: skip


def read(*lines: str) -> SMTPRules:
    text = "begin transports\nt:\ndriver = smtp\n" + "\n".join(lines)
    rules = read_configuration("/etc/conf", lambda _: text).transports["t"]
    assert isinstance(rules, SMTPRules)
    return rules


def at(rules: SMTPRules, path: str) -> Any:
    value: Any = rules
    for name in path.split("."):
        value = getattr(value, name)
    return value.source if isinstance(value, Expansion | MatchList) else value


@pytest.mark.parametrize("option", TABLE)
def test_values(option: str) -> None:
    text, path, expected, _ = TABLE[option]
    assert at(read(f"{option} = {text}"), path) == expected
    assert at(read(), path) != expected, "the default is another"


def test_every_option_that_is_used_is_in_the_table() -> None:
    assert {name for name, option in SMTP.items() if option.standing is Standing.USED} == TABLE.keys()


@pytest.mark.parametrize("option", TABLE)
def test_every_option_has_a_test_of_what_it_does(option: str) -> None:
    file, name = TABLE[option][3]
    assert name in (TESTS / file).read_text("utf-8")


def test_the_defaults_are_exims() -> None:
    rules = read()
    assert (rules.hosts.max_try, rules.hosts.max_try_hardlimit, rules.passing.max_messages) == (5, 50, 500)
    assert (rules.multi_domain, rules.size_addition, rules.hosts.include_address) == (True, 1024, True)
    assert at(rules, "try_chunking") == "*"
    assert at(rules, "passing.new_handshake") == "*", "and this one is ours"


@pytest.mark.parametrize(
    "lines, words",
    [
        (("shadow_transport = other",), "shadow transport not allowed on non-local transport"),
        (("protocol = http",), "is not a protocol"),
        (("port = x y",), "port"),
        (("tls_pins = abc",), "is not a SHA-256 fingerprint"),
        (("batch_max = 3", "connection_max_messages = 4"), "both are set"),
        (("multi_domain = ${if eq{1}{2}{true}{false}}",), "is not expanded here"),
        (("max_rcpt = ${if eq{1}{2}{3}{4}}",), "is not expanded here"),
    ],
)
def test_mistakes(lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(*lines)
