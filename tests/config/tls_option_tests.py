"""The TLS options of the main section, each with a test in which a client finds what it does."""

OPTIONS, SERVER, FILES, SESSIONS, RELAYING = (
    f"tests/system/test_{name}.py" for name in ("tls_options", "server_tls", "tls_files", "tls_sessions", "relaying")
)
TESTED = {
    "tls_advertise_hosts": f"{OPTIONS}::test_advertise_hosts",
    "tls_on_connect_ports": f"{SERVER}::test_tls_on_connect",
    "tls_certificate": f"{OPTIONS}::test_certificate_and_privatekey",
    "tls_privatekey": f"{OPTIONS}::test_certificate_and_privatekey",
    "tls_verify_hosts": f"{SERVER}::test_who_lacks_a_certificate_that_is_demanded_may_only_quit",
    "tls_try_verify_hosts": f"{RELAYING}::test_a_trusted_certificate_relays",
    "tls_verify_certificates": f"{FILES}::test_a_file_of_trusted_certificates",
    "tls_crl": f"{FILES}::test_a_revocation_list",
    "tls_require_ciphers": f"{OPTIONS}::test_require_ciphers",
    "tls_resumption_hosts": f"{SESSIONS}::test_a_ticket_where_it_was_given_and_nowhere_else",
    "tls_dn_style": f"{OPTIONS}::test_dn_style",
    "tls_dhparam": f"{OPTIONS}::test_dhparam",
    "tls_dh_max_bits": f"{OPTIONS}::test_dh_max_bits",
    "tls_eccurve": f"{OPTIONS}::test_eccurve",
    "openssl_options": f"{OPTIONS}::test_openssl_options",
    "tls_ocsp_file": f"{SERVER}::test_what_an_acl_sees_of_the_layer",
    "tls_remember_esmtp": f"{SERVER}::test_a_client_that_sends_no_new_greeting",
    "tls_alpn": f"{OPTIONS}::test_alpn",
    "hosts_require_alpn": f"{SERVER}::test_a_client_that_wants_another_protocol",
    "tls_handshakes_per_host": f"{SERVER}::test_an_address_that_fails_too_often",
    "tls_hosts": f"{SERVER}::test_tls_is_required_of_whom_tls_hosts_names",
    "tls_host_accept_relay": f"{SERVER}::test_relaying_by_the_options_of_exim_3",
    "host_accept_relay": f"{OPTIONS}::test_host_accept_relay",
    "host_auth_accept_relay": f"{OPTIONS}::test_host_auth_accept_relay",
    "auth_over_tls_hosts": f"{OPTIONS}::test_auth_over_tls_hosts",
    "tls_verify_ciphers": f"{OPTIONS}::test_verify_ciphers",
    "tls_log_cipher": f"{OPTIONS}::test_log_cipher",
    "tls_log_peerdn": f"{OPTIONS}::test_log_peerdn",
    "gnutls_require_kx": f"{OPTIONS}::test_old_lists_that_leave_nothing[gnutls_require_kx-DHE_DSS]",
    "gnutls_require_mac": f"{OPTIONS}::test_old_lists_that_leave_nothing[gnutls_require_mac-MD5]",
    "gnutls_require_protocols": f"{OPTIONS}::test_old_lists_that_leave_nothing[gnutls_require_protocols-SSL3]",
}
"""The option, and the test that fails where it is ignored: `tests/play_options.py` plays that."""
