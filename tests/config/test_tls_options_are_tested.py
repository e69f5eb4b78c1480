"""Each TLS option of the main section has a test of what it does; a new option without one fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import Standing

TESTS = Path(__file__).parents[1]
SYSTEM, OPTIONS, POLICY, OLD = (
    "system/test_server_tls.py",
    "tls/test_server_options.py",
    "policy/test_tls.py",
    "config/test_old_options.py",
)
TESTED = {
    "tls_advertise_hosts": (POLICY, "test_to_whom_tls_is_offered"),
    "tls_on_connect_ports": (SYSTEM, "test_tls_on_connect"),
    "tls_certificate": (OPTIONS, "test_an_rsa_certificate_beside_an_ecdsa_one"),
    "tls_privatekey": (POLICY, "test_several_certificates"),
    "tls_verify_hosts": (SYSTEM, "test_a_certificate_that_is_demanded_and_missing_ends_the_connection"),
    "tls_try_verify_hosts": ("system/test_relaying.py", "test_a_trusted_certificate_relays"),
    "tls_verify_certificates": ("tls/test_anchors.py", "test_revoked_by_a_list"),
    "tls_crl": (OPTIONS, "test_revocation_lists_of_a_directory"),
    "tls_require_ciphers": (OPTIONS, "test_a_priority_string"),
    "tls_resumption_hosts": (OPTIONS, "test_a_ticket_is_good_under_its_own_policy_alone"),
    "tls_dn_style": ("config/test_check.py", "test_names_in_the_other_style"),
    "tls_dhparam": (OPTIONS, "test_diffie_hellman"),
    "tls_dh_max_bits": (OPTIONS, "test_larger_ones_than_allowed"),
    "tls_eccurve": (OPTIONS, "test_groups_that_are_named"),
    "openssl_options": (OPTIONS, "test_a_version_that_is_switched_off"),
    "tls_ocsp_file": (OPTIONS, "test_a_staple_for_each_certificate"),
    "tls_remember_esmtp": (SYSTEM, "test_a_client_that_sends_no_new_greeting"),
    "tls_alpn": (SYSTEM, "test_a_client_that_wants_another_protocol"),
    "hosts_require_alpn": (SYSTEM, "test_a_client_that_wants_another_protocol"),
    "tls_handshakes_per_host": (SYSTEM, "test_an_address_that_fails_too_often"),
    "tls_hosts": (SYSTEM, "test_tls_is_required_of_whom_tls_hosts_names"),
    "tls_host_accept_relay": (SYSTEM, "test_relaying_by_the_options_of_exim_3"),
    "host_accept_relay": (OLD, "test_the_relay_options_become_statements"),
    "host_auth_accept_relay": (OLD, "test_the_relay_options_become_statements"),
    "auth_over_tls_hosts": ("policy/test_authenticators.py", "test_not_in_clear"),
    "tls_verify_ciphers": (POLICY, "test_the_ciphers_of_older_options"),
    "tls_log_cipher": (OLD, "test_what_is_logged"),
    "tls_log_peerdn": (OLD, "test_what_is_logged"),
    "gnutls_require_kx": (POLICY, "test_the_ciphers_of_older_options"),
    "gnutls_require_mac": ("tls/test_priorities.py", "test_the_other_old_lists"),
    "gnutls_require_protocols": ("tls/test_priorities.py", "test_the_other_old_lists"),
}
"""The option, and the test that would fail if it had no effect."""

SERVED = [
    option.name
    for option in MAIN_OPTIONS.values()
    if option.group in ("tls", "old") and option.standing is Standing.USED
]


def test_the_table_is_complete() -> None:
    assert set(SERVED) - set(TESTED) == set(), "name a test for each"
    assert set(TESTED) - set(SERVED) == set(), "take what is not served out of the table"


@pytest.mark.parametrize("option", TESTED)
def test_the_test_that_is_named_is_there(option: str) -> None:
    path, name = TESTED[option]
    assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text("utf-8"), re.MULTILINE), f"{path} has no {name}"


def test_no_tls_option_hides_in_another_group() -> None:
    words = ("tls_", "gnutls_", "openssl_")
    strays = [
        option.name
        for option in MAIN_OPTIONS.values()
        if option.name.startswith(words) and option.standing is Standing.USED and option.group not in ("tls", "old")
    ]
    assert strays == []
