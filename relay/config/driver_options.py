"""The options of routers, transports and authenticators, for each driver and for all of a class (values).

A block's options are those of its class (`ROUTERS`, `TRANSPORTS`, `AUTHENTICATORS`) and of its driver
(`DRIVERS`). A driver that is known and not served has its options here all the same, so that its mistakes are
found. Defaults and meanings: Exim, chapters on generic options and on each driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from relay.config.options import Kind, Option, OptionTable, Repeat, Standing, others, table

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED
_NOT_YET = "without it other mail would be delivered, or otherwise"
_NO_EFFECT = "nothing here depends on it"


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver of a class: its own options, and whether it is served. `why` says what its absence means."""

    section: str
    name: str
    options: OptionTable
    served: bool = True
    why: str = ""


ROUTERS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of router it is.", "router"),
    Option("transport", Kind.EXPANDED, None, "Transport that gets the addresses.", "router"),
    Option("domains", Kind.DOMAINS, None, "Domains that it is for.", "router"),
    Option("local_parts", Kind.LOCAL_PARTS, None, "Local parts that it is for.", "router"),
    Option("senders", Kind.ADDRESSES, None, "Senders that it is for.", "router"),
    Option("condition", Kind.EXPANDED, None, "What must be true for it to run.", "router", repeat=Repeat.ALL_OF),
    Option("more", Kind.EXPANDED_BOOLEAN, "true", "Whether an address it declines goes on to the next.", "router"),
    Option("pass_on_timeout", Kind.BOOLEAN, "false", "Go on where a lookup gives no answer.", "router"),
    Option("address_data", Kind.EXPANDED, None, "Text that stays with the address.", "router"),
    Option("cannot_route_message", Kind.EXPANDED, None, "What is said of an address that is not routed.", "router"),
    Option("self", Kind.STRING, "freeze", "What to do where a host is this one.", "router"),
    Option("unseen", Kind.EXPANDED_BOOLEAN, "false", "Deliver, and give a copy to the next router.", "router",
           _UNSUPPORTED),
    *others("router", _IGNORED, _NO_EFFECT, """
        debug_print disable_logging? log_as_local? retry_use_local_part? address_test? expn? dsn_lasthop?
        dnssec_request_domains initgroups? transport_current_directory transport_home_directory
        router_home_directory
    """),
    *others("router", _IGNORED, "addresses are not verified by routing yet", """
        verify? verify_only? verify_recipient? verify_sender? fail_verify? fail_verify_recipient?
        fail_verify_sender?
    """),
    *others("router", _UNSUPPORTED, _NOT_YET, """
        caseful_local_part? check_local_user? dnssec_require_domains errors_to fallback_hosts group headers_add
        headers_remove ignore_target_hosts local_part_prefix local_part_prefix_optional? local_part_suffix
        local_part_suffix_optional? pass_router redirect_router require_files set translate_ip_address user
    """),
)  # fmt: skip

TRANSPORTS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of transport it is.", "transport"),
    Option("delivery_date_add", Kind.BOOLEAN, "false", "Add Delivery-date: on delivery.", "transport"),
    Option("envelope_to_add", Kind.BOOLEAN, "false", "Add Envelope-to: on delivery.", "transport"),
    Option("return_path_add", Kind.BOOLEAN, "false", "Add Return-path: on delivery.", "transport"),
    *others("transport", _IGNORED, _NO_EFFECT, """
        debug_print disable_logging? event_action initgroups? retry_use_local_part? current_directory home_directory
        rcpt_include_affixes? max_parallel
    """),
    Option("user", Kind.STRING, None, "User to deliver as: the daemon delivers as itself.", "transport", _IGNORED),
    Option("group", Kind.STRING, None, "Group to deliver as: the daemon delivers as itself.", "transport", _IGNORED),
    *others("transport", _UNSUPPORTED, _NOT_YET, """
        body_only? headers_only? headers_add headers_remove headers_rewrite message_size_limit return_path
        shadow_condition shadow_transport transport_filter transport_filter_timeout
    """),
)  # fmt: skip

AUTHENTICATORS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of authenticator it is.", "authenticator"),
    Option("public_name", Kind.STRING, None, "Name of the mechanism; the instance's where unset.", "authenticator"),
    Option("server_advertise_condition", Kind.EXPANDED, None, "Whether it is offered.", "authenticator"),
    Option("server_condition", Kind.EXPANDED, None, "Whether the client is let in.", "authenticator"),
    Option("server_set_id", Kind.EXPANDED, None, "The identity of a client that was let in.", "authenticator"),
    Option("server_mail_auth_condition", Kind.EXPANDED, None, "Whether AUTH= of MAIL is believed.", "authenticator"),
    Option("server_debug_print", Kind.EXPANDED, None, "Text for debugging.", "authenticator", _IGNORED),
    Option("client_condition", Kind.EXPANDED, None, "Whether it is tried as a client.", "authenticator"),
    Option("client_set_id", Kind.EXPANDED, None, "The identity that is logged as a client.", "authenticator"),
)

_MANUALROUTE = table(
    Option("route_list", Kind.STRING, None, "Domains with their hosts.", "manualroute"),
    Option("route_data", Kind.EXPANDED, None, "Hosts, by a lookup.", "manualroute"),
    Option("host_find_failed", Kind.STRING, "freeze", "What to do where a host is not found.", "manualroute"),
    Option("host_all_ignored", Kind.STRING, "defer", "What to do where no host is left.", "manualroute"),
    Option("hosts_randomize", Kind.BOOLEAN, "false", "Try the hosts in random order.", "manualroute"),
    Option("same_domain_copy_routing", Kind.BOOLEAN, "false", "Route a domain once.", "manualroute", _IGNORED),
)

_DNSLOOKUP = table(*others("dnslookup", _IGNORED, "the driver is not served yet", """
    check_secondary_mx? check_srv fail_defer_domains ipv4_only ipv4_prefer mx_domains mx_fail_domains qualify_single?
    rewrite_headers? same_domain_copy_routing? search_parents? srv_fail_domains widen_domains
"""))  # fmt: skip

_REDIRECT = table(*others("redirect", _IGNORED, "the driver is not served yet", """
    allow_defer? allow_fail? allow_filter? allow_freeze? check_ancestor? check_group? check_owner? data
    directory_transport file file_transport filter_prepend_home? forbid_blackhole? forbid_exim_filter? forbid_file?
    forbid_filter_dlfunc? forbid_filter_existstest? forbid_filter_logwrite? forbid_filter_lookup?
    forbid_filter_perl? forbid_filter_readfile? forbid_filter_readsocket? forbid_filter_reply? forbid_filter_run?
    forbid_include? forbid_pipe? forbid_sieve_filter? forbid_smtp_code? hide_child_in_errmsg? ignore_eacces?
    ignore_enotdir? include_directory modemask one_time? owners owngroups pipe_transport qualify_domain
    qualify_preserve_domain? repeat_use? reply_transport rewrite? sieve_enotify_mailto_owner sieve_inbox
    sieve_subaddress sieve_useraddress sieve_vacation_directory skip_syntax_errors? syntax_errors_text
    syntax_errors_to
"""))  # fmt: skip

_TLS_NOT_YET = "without it the server's certificate would be judged otherwise"

_SMTP = table(
    Option("port", Kind.STRING, "smtp", "Port of the hosts.", "smtp"),
    Option("protocol", Kind.STRING, "smtp", "smtp, lmtp, or smtps for TLS at once.", "smtp"),
    Option("helo_data", Kind.EXPANDED, "$primary_hostname", "Name that we greet with.", "smtp"),
    Option("max_rcpt", Kind.INTEGER, "100", "Recipients in one transaction, 0 for no limit.", "smtp"),
    Option("command_timeout", Kind.TIME, "5m", "How long the answer to a command may take.", "smtp"),
    Option("connect_timeout", Kind.TIME, "5m", "How long a connection may take.", "smtp"),
    Option("data_timeout", Kind.TIME, "5m", "How long the server may stop taking data.", "smtp"),
    Option("final_timeout", Kind.TIME, "10m", "How long the answer to the end of the data may take.", "smtp"),
    Option("hosts_require_tls", Kind.HOSTS, None, "Hosts that get no mail without TLS.", "smtp"),
    Option("hosts_avoid_tls", Kind.HOSTS, None, "Hosts that TLS is not tried with.", "smtp"),
    Option("tls_certificate", Kind.EXPANDED, None, "PEM file with the certificate that we show.", "smtp"),
    Option("tls_privatekey", Kind.EXPANDED, None, "PEM file with its key.", "smtp"),
    Option("tls_verify_certificates", Kind.EXPANDED, None, "File or directory of trusted servers.", "smtp"),
    Option("tls_verify_hosts", Kind.HOSTS, None, "Hosts whose certificate must verify.", "smtp"),
    Option("tls_try_verify_hosts", Kind.HOSTS, None, "Hosts whose certificate is judged for the log.", "smtp"),
    Option("tls_verify_cert_hostnames", Kind.HOSTS, None, "Hosts whose certificate must hold their name.", "smtp"),
    Option("tls_crl", Kind.EXPANDED, None, "File of certificates that were revoked.", "smtp"),
    Option("tls_require_ciphers", Kind.EXPANDED, None, "OpenSSL cipher list for TLS 1.2.", "smtp"),
    Option("tls_sni", Kind.EXPANDED, None, "Name that we ask for in the handshake.", "smtp"),
    Option("tls_tempfail_tryclear", Kind.BOOLEAN, "true", "Send in clear where TLS fails and is not required.", "smtp"),
    Option("tls_pins", Kind.ITEMS, "", "Fingerprints of certificates or keys that the server may have.", "smtp",
           ours=True),
    *others("smtp", _IGNORED, _NO_EFFECT, """
        address_retry_include_sender? allow_localhost? connection_max_messages dane_require_tls_ciphers
        delay_after_cutoff? dns_qualify_single? dns_search_parents? dnssec_request_domains dscp gethostbyname?
        host_name_extract hosts_avoid_esmtp hosts_avoid_pipelining hosts_max_try hosts_max_try_hardlimit
        hosts_nopass_tls hosts_noproxy_tls hosts_override? hosts_pipe_connect hosts_randomize? hosts_request_ocsp
        hosts_try_auth hosts_try_chunking hosts_try_dane hosts_try_fastopen hosts_try_prdr hosts_verify_avoid_tls
        keepalive? lmtp_ignore_quota? message_linelength_limit multi_domain? retry_include_ip_address?
        serialize_hosts size_addition tls_alpn tls_dh_min_bits tls_resumption_hosts utf8_downconvert
    """),
    *others("smtp", _UNSUPPORTED, _TLS_NOT_YET, "hosts_require_alpn hosts_require_dane hosts_require_ocsp"),
    *others("smtp", _UNSUPPORTED, _NOT_YET, """
        arc_sign authenticated_sender authenticated_sender_force? dkim_canon dkim_domain dkim_hash dkim_identity
        dkim_private_key dkim_selector dkim_sign_headers dkim_strict dkim_timestamps dnssec_require_domains
        fallback_hosts hosts hosts_require_auth interface socks_proxy
    """),
)  # fmt: skip

_APPENDFILE = table(
    Option("directory", Kind.EXPANDED, None, "The Maildir.", "appendfile"),
    Option("maildir_format", Kind.BOOLEAN, "false", "Deliver into a Maildir, the one form here.", "appendfile"),
    Option("create_directory", Kind.BOOLEAN, "true", "Make the directory where it is missing.", "appendfile"),
    Option("directory_mode", Kind.OCTAL, "0700", "Mode of a new directory.", "appendfile"),
    Option("mode", Kind.OCTAL, "0600", "Mode of a new file.", "appendfile"),
    *others("appendfile", _IGNORED, _NO_EFFECT, """
        allow_fifo? allow_symlink? batch_id batch_max check_group? check_owner? create_file file_must_exist?
        lock_fcntl_timeout lock_flock_timeout lock_interval lock_retries lockfile_mode lockfile_timeout
        mailbox_filecount mailbox_size maildir_retries mode_fail_narrower? notify_comsat? use_fcntl_lock?
        use_flock_lock? use_lockfile? use_mbx_lock? message_prefix message_suffix check_string escape_string
    """),
    *others("appendfile", _UNSUPPORTED, _NOT_YET, """
        directory_file file file_format maildir_quota_directory_regex maildir_tag maildir_use_size_file?
        maildirfolder_create_regex mailstore_format? mailstore_prefix mailstore_suffix mbx_format? quota
        quota_directory quota_filecount quota_is_inclusive? quota_size_regex quota_warn_message
        quota_warn_threshold use_bsmtp? use_crlf?
    """),
)  # fmt: skip


def _strings(group: str, *names: str) -> OptionTable:
    return table(*(Option(name, Kind.EXPANDED, None, "", group) for name in names))


_NO_AUTH = "AUTH is neither offered nor used"
_NOT_SERVED = "mail that it is for would not be delivered"

DRIVERS: Mapping[tuple[str, str], Driver] = {
    (each.section, each.name): each
    for each in (
        Driver("routers", "accept", {}),
        Driver("routers", "manualroute", _MANUALROUTE),
        Driver("routers", "dnslookup", _DNSLOOKUP, False, _NOT_SERVED),
        Driver("routers", "redirect", _REDIRECT, False, _NOT_SERVED),
        Driver("routers", "ipliteral", {}, False, _NOT_SERVED),
        Driver("routers", "iplookup", {}, False, _NOT_SERVED),
        Driver("routers", "queryprogram", {}, False, _NOT_SERVED),
        Driver("transports", "smtp", _SMTP),
        Driver("transports", "appendfile", _APPENDFILE),
        Driver("transports", "autoreply", {}, False, _NOT_SERVED),
        Driver("transports", "lmtp", {}, False, _NOT_SERVED),
        Driver("transports", "pipe", {}, False, _NOT_SERVED),
        Driver("transports", "queuefile", {}, False, _NOT_SERVED),
        Driver(
            "authenticators",
            "plaintext",
            {
                **_strings("plaintext", "client_send", "server_prompts"),
                **table(Option("client_ignore_invalid_base64", Kind.BOOLEAN, "false", "", "plaintext")),
            },
            False,
            _NO_AUTH,
        ),
        Driver(
            "authenticators",
            "external",
            _strings("external", "client_send", "server_param2", "server_param3"),
            False,
            _NO_AUTH,
        ),
        Driver(
            "authenticators",
            "tls",
            _strings("tls", "server_param", "server_param1", "server_param2", "server_param3"),
            False,
            _NO_AUTH,
        ),
        Driver(
            "authenticators",
            "cram_md5",
            _strings("cram_md5", "client_name", "client_secret", "server_secret"),
            False,
            _NO_AUTH,
        ),
        Driver("authenticators", "cyrus_sasl", {}, False, _NO_AUTH),
        Driver("authenticators", "dovecot", {}, False, _NO_AUTH),
        Driver("authenticators", "gsasl", {}, False, _NO_AUTH),
        Driver("authenticators", "heimdal_gssapi", {}, False, _NO_AUTH),
        Driver("authenticators", "spa", {}, False, _NO_AUTH),
    )
}

GENERIC: Mapping[str, OptionTable] = {
    "routers": ROUTERS,
    "transports": TRANSPORTS,
    "authenticators": AUTHENTICATORS,
}


def drivers_of(section: str) -> tuple[str, ...]:
    """Names of the drivers that a section may have."""
    return tuple(name for of, name in DRIVERS if of == section)
