"""Main options of Exim's that nothing here reads: name, type and default of each (values).

They are accepted, and `relay check` says that they have no effect; or they are refused, because without them a
decision or a delivery would be another. A table says which. Whoever begins to serve one moves it to
`MainOptions`. Names, types and defaults: Exim, chapter "Main configuration".
"""

from __future__ import annotations

from relay.config.options import Option, Standing, listed

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED

OTHER_OPTIONS: tuple[Option, ...] = (
    *listed("exim", _IGNORED, "how Exim is built, started and kept; nothing here needs it", """
        add_environment                    string
        bi_command                         string
        commandline_checks_require_admin   boolean    false
        daemon_modules_load                string
        daemon_startup_retries             integer    9
        daemon_startup_sleep               time       30s
        debug_store                        boolean    false
        deliver_drop_privilege             boolean    false
        disable_fsync                      boolean    false
        exim_path                          string
        exim_version                       string
        finduser_retries                   integer    0
        gnutls_allow_auto_pkcs11           boolean    false
        gnutls_compat_mode                 boolean    false
        keep_environment                   string
        local_scan_timeout                 time       5m
        localhost_number                   expanded
        lookup_open_max                    integer    25
        max_username_length                integer    0
        notifier_socket                    string     $spool_directory/exim_daemon_notify
        panic_coredump                     boolean    false
        perl_at_start                      boolean    false
        perl_startup                       string
        perl_taintmode                     boolean    false
        slow_lookup_log                    integer    0
        smtp_backlog_monitor               integer    0
        strict_acl_vars                    boolean    false
        tcp_nodelay                        boolean    true
        timezone                           string
        unknown_login                      string
        unknown_username                   string
    """),
    *listed("exim", _IGNORED, "how Exim keeps and shows its files", """
        check_rfc2047_length               boolean    true
        keep_malformed                     time       4d
        log_ports                          string     *
        move_frozen_messages               boolean    false
        print_topbitchars                  boolean    false
        process_log_path                   string
        queue_fast_ramp                    boolean    true
        queue_run_in_order                 boolean    false
        smtp_accept_keepalive              boolean    true
        split_spool_directory              boolean    false
        spool_wireformat                   boolean    false
        syslog_duplication                 boolean    true
        syslog_facility                    string
        syslog_pid                         boolean    true
        syslog_processname                 string     exim
        syslog_timestamp                   boolean    true
    """),
    *listed("exim", _IGNORED, "a lookup that is not made here", """
        dns_again_means_nonexist           domains
        dns_check_names_pattern            string
        dns_cname_loops                    integer    1
        dns_csa_search_limit               integer    5
        dns_csa_use_reverse                boolean    true
        dns_dnssec_ok                      integer    -1
        dns_retrans                        time       0s
        dns_retry                          integer    0
        dns_trust_aa                       domains
        dns_use_edns0                      integer    -1
        host_lookup_order                  string     bydns:byaddr
        ldap_ca_cert_dir                   string
        ldap_ca_cert_file                  string
        ldap_cert_file                     string
        ldap_cert_key                      string
        ldap_cipher_suite                  string
        ldap_default_servers               string
        ldap_require_cert                  string
        ldap_start_tls                     boolean    false
        ldap_version                       string
        mysql_servers                      string
        oracle_servers                     string
        pgsql_servers                      string
        redis_servers                      string
        rfc1413_hosts                      hosts      @[]
        rfc1413_port                       integer    113
        rfc1413_query_timeout              time       0s
        sqlite_dbfile                      string
        sqlite_lock_timeout                integer    5
    """),
    *listed("exim", _IGNORED, "what it is about does not happen here, or not yet", """
        acl_smtp_wellknown                 acl
        allow_utf8_domains                 boolean    false
        av_scanner                         string     sophie:/var/run/sophie
        dcc_direct_add_header              boolean    false
        dccifd_address                     string     /usr/local/dcc/var/dccifd
        dccifd_options                     string     header
        deliver_queue_load_max             fixed
        dkim_verify_hashes                 string     sha256 : sha512
        dkim_verify_keytypes               string     ed25519 : rsa
        dkim_verify_min_keysizes           string     rsa=1024 ed25519=250
        dkim_verify_minimal                boolean    false
        dkim_verify_signers                string     $dkim_signers
        dmarc_forensic_sender              expanded
        dmarc_history_file                 string
        dmarc_tld_file                     string
        ignore_fromline_hosts              string
        ignore_fromline_local              boolean    false
        pipelining_connect_advertise_hosts hosts      *
        queue_only_load_latch              boolean    true
        receive_timeout                    time       0s
        remote_sort_domains                domains
        smtp_load_reserve                  fixed
        spamd_address                      string     127.0.0.1 783
        spf_guess                          string     v=spf1 a/24 mx/24 ptr ?all
        spf_smtp_comment_template          expanded   Please%_see%_http://www.open-spf.org/Why
        strip_excess_angle_brackets        boolean    false
        strip_trailing_dot                 boolean    false
        uucp_from_pattern                  string
        uucp_from_sender                   string     $1
        wellknown_advertise_hosts          hosts
    """),
    *listed("exim", _UNSUPPORTED, "without it other mail would be accepted, refused or delivered", """
        acl_not_smtp_mime                  acl
        mua_wrapper                        boolean    false
        system_filter                      expanded
        system_filter_directory_transport  expanded
        system_filter_file_transport       expanded
        system_filter_group                group
        system_filter_pipe_transport       expanded
        system_filter_reply_transport      expanded
        system_filter_user                 user
    """),
)  # fmt: skip
