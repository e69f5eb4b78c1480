"""The options of transports: those that every transport has, and those of each driver (values).

Names, types and defaults: Exim, chapters "Generic options for transports" and those of the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.config.options import Kind, Option, OptionTable, Repeat, Standing, listed, table

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED
_NOT_YET = "without it other mail would be delivered, or otherwise"
_NO_EFFECT = "nothing here depends on it"
_NOT_SERVED = "the driver is not served yet"

TRANSPORTS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of transport it is.", "transport"),
    Option("delivery_date_add", Kind.BOOLEAN, "false", "Add Delivery-date: on delivery.", "transport"),
    Option("envelope_to_add", Kind.BOOLEAN, "false", "Add Envelope-to: on delivery.", "transport"),
    Option("return_path_add", Kind.BOOLEAN, "false", "Add Return-path: on delivery.", "transport"),
    *listed("transport", _IGNORED, _NO_EFFECT, """
        current_directory                  expanded
        debug_print                        expanded
        disable_logging                    boolean    false
        event_action                       expanded
        home_directory                     expanded
        initgroups                         boolean    false
        max_parallel                       expanded
        rcpt_include_affixes               boolean    false
        retry_use_local_part               boolean    true
    """),
    Option("user", Kind.USER, None, "User to deliver as: the daemon delivers as itself.", "transport", _IGNORED),
    Option("group", Kind.GROUP, None, "Group to deliver as: the daemon delivers as itself.", "transport", _IGNORED),
    *listed("transport", _UNSUPPORTED, _NOT_YET, """
        body_only                          boolean    false
        headers_only                       boolean    false
        headers_rewrite                    string
        message_size_limit                 expanded
        return_path                        expanded
        shadow_condition                   expanded
        shadow_transport                   string
        transport_filter                   expanded
        transport_filter_timeout           time       5m
    """),
    Option("headers_add", Kind.EXPANDED, None, _NOT_YET, "transport", _UNSUPPORTED, repeat=Repeat.LINES),
    Option("headers_remove", Kind.EXPANDED, None, _NOT_YET, "transport", _UNSUPPORTED, repeat=Repeat.NAMES),
)  # fmt: skip

_TLS_NOT_YET = "without it the server's certificate would be judged otherwise"

_SMTP = table(
    Option("port", Kind.STRING, None, "Port of the hosts; where unset, that of the protocol.", "smtp"),
    Option("protocol", Kind.STRING, None, "smtp (also where unset), lmtp, or smtps for TLS at once.", "smtp"),
    Option("helo_data", Kind.EXPANDED, "$primary_hostname", "Name that we greet with.", "smtp"),
    Option("max_rcpt", Kind.EXPANDED, "100", "Recipients in one transaction, 0 for no limit.", "smtp"),
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
    *listed("smtp", _IGNORED, _NO_EFFECT, """
        address_retry_include_sender       boolean    true
        allow_localhost                    boolean    false
        connection_max_messages            integer    500
        dane_require_tls_ciphers           expanded
        delay_after_cutoff                 boolean    true
        dns_qualify_single                 boolean    true
        dns_search_parents                 boolean    false
        dnssec_request_domains             domains    *
        dscp                               expanded
        gethostbyname                      boolean    false
        gnutls_compat_mode                 boolean    false
        gnutls_require_kx                  expanded
        gnutls_require_mac                 expanded
        gnutls_require_protocols           expanded
        host_name_extract                  expanded
        hosts_avoid_esmtp                  hosts
        hosts_avoid_pipelining             hosts
        hosts_max_try                      integer    5
        hosts_max_try_hardlimit            integer    50
        hosts_nopass_tls                   hosts
        hosts_noproxy_tls                  hosts
        hosts_override                     boolean    false
        hosts_pipe_connect                 hosts
        hosts_randomize                    switch     false
        hosts_request_ocsp                 hosts      *
        hosts_try_auth                     hosts
        hosts_try_chunking                 hosts      *
        hosts_try_dane                     hosts      *
        hosts_try_fastopen                 hosts      *
        hosts_try_prdr                     hosts      *
        hosts_verify_avoid_tls             hosts
        keepalive                          boolean    true
        lmtp_ignore_quota                  boolean    false
        message_linelength_limit           integer    998
        multi_domain                       switch     true
        retry_include_ip_address           switch     true
        serialize_hosts                    hosts
        size_addition                      integer    1024
        tls_alpn                           expanded
        tls_dh_min_bits                    integer    1024
        tls_resumption_hosts               hosts
        utf8_downconvert                   expanded
    """),
    *listed("smtp", _UNSUPPORTED, _TLS_NOT_YET, """
        hosts_require_alpn                 hosts
        hosts_require_dane                 hosts
        hosts_require_ocsp                 hosts
        tls_verify_ciphers                 expanded
    """),
    *listed("smtp", _UNSUPPORTED, _NOT_YET, """
        arc_sign                           string
        authenticated_sender               expanded
        authenticated_sender_force         boolean    false
        dkim_canon                         expanded
        dkim_domain                        expanded
        dkim_hash                          expanded
        dkim_identity                      expanded
        dkim_private_key                   expanded
        dkim_selector                      expanded
        dkim_sign_headers                  expanded
        dkim_strict                        expanded
        dkim_timestamps                    expanded
        dnssec_require_domains             domains
        fallback_hosts                     expanded
        hosts                              expanded
        hosts_require_auth                 hosts
        interface                          expanded
        socks_proxy                        expanded
    """),
)  # fmt: skip

_APPENDFILE = table(
    Option("directory", Kind.EXPANDED, None, "The Maildir.", "appendfile"),
    Option("maildir_format", Kind.BOOLEAN, "false", "Deliver into a Maildir, the one form here.", "appendfile"),
    Option("create_directory", Kind.BOOLEAN, "true", "Make the directory where it is missing.", "appendfile"),
    Option("directory_mode", Kind.OCTAL, "0700", "Mode of a new directory.", "appendfile"),
    Option("mode", Kind.OCTAL, "0600", "Mode of a new file.", "appendfile"),
    *listed("appendfile", _IGNORED, _NO_EFFECT, """
        allow_fifo                         boolean    false
        allow_symlink                      boolean    false
        batch_id                           expanded
        batch_max                          integer    1
        check_group                        boolean    false
        check_owner                        boolean    true
        check_string                       string
        create_file                        string     anywhere
        escape_string                      string
        file_must_exist                    boolean    false
        lock_fcntl_timeout                 time       0s
        lock_flock_timeout                 time       0s
        lock_interval                      time       3s
        lock_retries                       integer    10
        lockfile_mode                      octal      0600
        lockfile_timeout                   time       30m
        mailbox_filecount                  expanded
        mailbox_size                       expanded
        maildir_retries                    integer    10
        message_prefix                     expanded
        message_suffix                     expanded
        mode_fail_narrower                 boolean    true
        notify_comsat                      boolean    false
        use_fcntl_lock                     boolean    false
        use_flock_lock                     boolean    false
        use_lockfile                       boolean    false
        use_mbx_lock                       boolean    false
    """),
    *listed("appendfile", _UNSUPPORTED, _NOT_YET, r"""
        directory_file                     string     q${base62:$tod_epoch}-$inode
        file                               expanded
        file_format                        string
        maildir_quota_directory_regex      string     ^(?:cur|new|\..*)$
        maildir_tag                        expanded
        maildir_use_size_file              switch     false
        maildirfolder_create_regex         string
        mailstore_format                   boolean    false
        mailstore_prefix                   expanded
        mailstore_suffix                   expanded
        mbx_format                         boolean    false
        quota                              expanded
        quota_directory                    expanded
        quota_filecount                    expanded
        quota_is_inclusive                 boolean    true
        quota_size_regex                   string
        quota_warn_message                 expanded
        quota_warn_threshold               expanded
        use_bsmtp                          boolean    false
        use_crlf                           boolean    false
    """),
)  # fmt: skip

_AUTOREPLY = table(*listed("autoreply", _IGNORED, _NOT_SERVED, """
    bcc                                expanded
    cc                                 expanded
    file                               expanded
    file_expand                        boolean    false
    file_optional                      boolean    false
    from                               expanded
    headers                            expanded
    log                                expanded
    mode                               octal      0600
    never_mail                         addresses
    once                               expanded
    once_file_size                     integer    0
    once_repeat                        expanded
    reply_to                           expanded
    return_message                     boolean    false
    subject                            expanded
    text                               expanded
    to                                 expanded
"""))  # fmt: skip

_LMTP = table(*listed("lmtp", _IGNORED, _NOT_SERVED, """
    batch_id                           expanded
    batch_max                          integer    1
    command                            expanded
    ignore_quota                       boolean    false
    socket                             expanded
    timeout                            time       5m
"""))  # fmt: skip

_PIPE = table(*listed("pipe", _IGNORED, _NOT_SERVED, """
    allow_commands                     expanded
    batch_id                           expanded
    batch_max                          integer    1
    check_string                       string
    command                            expanded
    environment                        expanded
    escape_string                      string
    force_command                      boolean    false
    freeze_exec_fail                   boolean    false
    freeze_signal                      boolean    false
    ignore_status                      boolean    false
    log_defer_output                   boolean    false
    log_fail_output                    boolean    false
    log_output                         boolean    false
    max_output                         size       20K
    message_prefix                     expanded
    message_suffix                     expanded
    path                               expanded   /bin:/usr/bin
    permit_coredump                    boolean    false
    pipe_as_creator                    boolean    false
    restrict_to_path                   boolean    false
    return_fail_output                 boolean    false
    return_output                      boolean    false
    temp_errors                        string     75:73
    timeout                            time       1h
    timeout_defer                      boolean    false
    umask                              octal      022
    use_bsmtp                          boolean    false
    use_classresources                 boolean    false
    use_crlf                           boolean    false
    use_shell                          boolean    false
"""))  # fmt: skip

_QUEUEFILE = table(*listed("queuefile", _IGNORED, _NOT_SERVED, """
    directory                          expanded
"""))  # fmt: skip

TRANSPORT_DRIVERS: Mapping[str, OptionTable] = {
    "appendfile": _APPENDFILE,
    "autoreply": _AUTOREPLY,
    "lmtp": _LMTP,
    "pipe": _PIPE,
    "queuefile": _QUEUEFILE,
    "smtp": _SMTP,
}
"""A driver's own options, by its name."""
