"""The options of the smtp transport's own (values).

Names, types and defaults: Exim, chapter "The smtp transport". What differs on purpose: `hosts_noproxy_tls` is `*` where
it is not set, so that each message has a TLS session of its own.
"""

from __future__ import annotations

from relay.config.options import Kind, Option, OptionTable, Standing, listed, table

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED
_NO_EFFECT = "nothing here depends on it"
_NOT_YET = "without it other mail would be delivered, or otherwise"
_TLS_NOT_YET = "without it the server's certificate would be judged otherwise"
# The name that each of Outlook's many servers gives itself.
_HOST_NAME_EXTRACT = r"${if and {{match {$host}{\N\.outlook\.com$\N}} {match {$item}{\N^250-([\w.]+)\s\N}}} {$1}}"

SMTP: OptionTable = table(
    Option("allow_localhost", Kind.BOOLEAN, "false", "Deliver to hosts of `hosts` that are this one.", "smtp"),
    Option("authenticated_sender", Kind.EXPANDED, None, "Value of AUTH= on MAIL, where we are logged in.", "smtp"),
    Option("authenticated_sender_force", Kind.BOOLEAN, "false", "Say AUTH= without being logged in, too.", "smtp"),
    Option("batch_max", Kind.INTEGER, "0", "The old name of connection_max_messages.", "smtp"),
    Option("command_timeout", Kind.TIME, "5m", "How long the answer to a command may take.", "smtp"),
    Option("connect_timeout", Kind.TIME, "5m", "How long a connection may take.", "smtp"),
    Option("connection_max_messages", Kind.INTEGER, "500", "Messages in one connection, 0 for no limit.", "smtp"),
    Option("data_timeout", Kind.TIME, "5m", "How long the server may stop taking data.", "smtp"),
    Option(
        "delay_after_cutoff", Kind.BOOLEAN, "true",
        "A host that failed for too long is left alone until its next time.", "smtp",
    ),
    Option("dns_qualify_single", Kind.BOOLEAN, "true", "A host of one label is looked for in our own domain.", "smtp"),
    Option("dns_search_parents", Kind.BOOLEAN, "false", "Hosts are looked for in the domains of resolv.conf.", "smtp"),
    Option(
        "dnssec_request_domains", Kind.DOMAINS, "*",
        "Hosts of the transport's own that the DNS is asked for, and whether that is signed.", "smtp",
    ),
    Option(
        "dnssec_require_domains", Kind.DOMAINS, None,
        "Hosts of the transport's own that only signed records lead to.", "smtp",
    ),
    Option("fallback_hosts", Kind.EXPANDED, None, "Hosts that are tried when all others were in vain.", "smtp"),
    Option("final_timeout", Kind.TIME, "10m", "How long the answer to the end of the data may take.", "smtp"),
    Option("gethostbyname", Kind.BOOLEAN, "false", "Ask the system for hosts, not the DNS.", "smtp"),
    Option("helo_data", Kind.EXPANDED, "$primary_hostname", "Name that we greet with.", "smtp"),
    Option(
        "host_name_extract", Kind.EXPANDED, _HOST_NAME_EXTRACT,
        "What the server calls itself, of which a TLS session is resumed.", "smtp",
    ),
    Option("hosts", Kind.EXPANDED, None, "Hosts for addresses that were routed without any.", "smtp"),
    Option("hosts_avoid_esmtp", Kind.HOSTS, None, "Hosts that are greeted with HELO.", "smtp"),
    Option("hosts_avoid_pipelining", Kind.HOSTS, None, "Hosts that get one command at a time.", "smtp"),
    Option("hosts_verify_avoid_tls", Kind.HOSTS, None, "Hosts that callouts ask in clear where they may.", "smtp"),
    Option("hosts_avoid_tls", Kind.HOSTS, None, "Hosts that TLS is not tried with.", "smtp"),
    Option("hosts_max_try", Kind.INTEGER, "5", "Addresses that are tried in one delivery.", "smtp"),
    Option("hosts_max_try_hardlimit", Kind.INTEGER, "50", "Addresses that are looked at in one delivery.", "smtp"),
    Option("hosts_nopass_tls", Kind.HOSTS, None, "Hosts whose connection ends after one message over TLS.", "smtp"),
    Option(
        "hosts_noproxy_tls", Kind.HOSTS, "*",
        "Hosts with which each message has its own TLS handshake; empty: TLS stays up.", "smtp",
    ),
    Option("hosts_override", Kind.BOOLEAN, "false", "`hosts` holds for all addresses.", "smtp"),
    Option(
        "hosts_randomize", Kind.EXPANDED_BOOLEAN, "false",
        "Try `hosts` and `fallback_hosts` in random order.", "smtp",
    ),
    Option(
        "hosts_request_ocsp", Kind.HOSTS, "*",
        "Hosts that are asked to prove that their certificate is not revoked.", "smtp",
    ),
    Option("hosts_require_alpn", Kind.HOSTS, None, "Hosts that have to take one of tls_alpn.", "smtp"),
    Option("hosts_require_auth", Kind.HOSTS, None, "Hosts that get no mail before we are logged in.", "smtp"),
    Option(
        "hosts_require_ocsp", Kind.HOSTS, None,
        "Hosts that have to prove that their certificate is not revoked.", "smtp",
    ),
    Option("hosts_require_tls", Kind.HOSTS, None, "Hosts that get no mail without TLS.", "smtp"),
    Option("hosts_try_auth", Kind.HOSTS, None, "Hosts that we log in to, if they let us.", "smtp"),
    Option("hosts_try_chunking", Kind.HOSTS, "*", "Hosts that get messages by BDAT, if they take it.", "smtp"),
    Option("hosts_try_prdr", Kind.HOSTS, "*", "Hosts that may answer for each recipient, if they know PRDR.", "smtp"),
    Option("interface", Kind.EXPANDED, None, "Our addresses to connect from, one for each family.", "smtp"),
    Option("keepalive", Kind.BOOLEAN, "true", "Let the system watch idle connections.", "smtp"),
    Option("lmtp_ignore_quota", Kind.BOOLEAN, "false", "Say IGNOREQUOTA to an LMTP server that knows it.", "smtp"),
    Option("max_rcpt", Kind.EXPANDED, "100", "Recipients in one transaction, 0 for no limit.", "smtp"),
    Option(
        "multi_domain", Kind.EXPANDED_BOOLEAN, "true",
        "Recipients of several domains may share a transaction.", "smtp",
    ),
    Option("port", Kind.EXPANDED, None, "Port of the hosts; where unset, that of the protocol.", "smtp"),
    Option("protocol", Kind.STRING, None, "smtp (also where unset), lmtp, or smtps for TLS at once.", "smtp"),
    Option(
        "retry_include_ip_address", Kind.EXPANDED_BOOLEAN, "true",
        "Failures are remembered of addresses, not of host names.", "smtp",
    ),
    Option("serialize_hosts", Kind.HOSTS, None, "Hosts that get one connection at a time.", "smtp"),
    Option(
        "size_addition", Kind.INTEGER, "1024",
        "Octets more than there are, said with SIZE; negative: nothing is said.", "smtp",
    ),
    Option("tls_alpn", Kind.EXPANDED, None, "Protocol names that we offer in the handshake.", "smtp"),
    Option("tls_certificate", Kind.EXPANDED, None, "PEM file with the certificate that we show.", "smtp"),
    Option("tls_crl", Kind.EXPANDED, None, "File of certificates that were revoked.", "smtp"),
    Option("tls_privatekey", Kind.EXPANDED, None, "PEM file with its key.", "smtp"),
    Option("tls_require_ciphers", Kind.EXPANDED, None, "OpenSSL cipher list for TLS 1.2.", "smtp"),
    Option("tls_resumption_hosts", Kind.HOSTS, None, "Hosts whose TLS sessions are resumed.", "smtp"),
    Option("tls_sni", Kind.EXPANDED, None, "Name that we ask for in the handshake.", "smtp"),
    Option("tls_tempfail_tryclear", Kind.BOOLEAN, "true", "Send in clear where TLS fails and is not required.", "smtp"),
    Option("tls_try_verify_hosts", Kind.HOSTS, None, "Hosts whose certificate is judged for the log.", "smtp"),
    Option("tls_verify_cert_hostnames", Kind.HOSTS, None, "Hosts whose certificate must hold their name.", "smtp"),
    Option("tls_verify_certificates", Kind.EXPANDED, None, "File or directory of trusted servers.", "smtp"),
    Option("tls_verify_hosts", Kind.HOSTS, None, "Hosts whose certificate must verify.", "smtp"),
    Option(
        "utf8_downconvert", Kind.EXPANDED, "-1",
        "Domains outside US-ASCII go out in ASCII: 1, 0 never, -1 where the server has no SMTPUTF8.", "smtp",
    ),
    Option(
        "hosts_avoid_certificate", Kind.HOSTS, None,
        "Hosts that do not get to see our certificate.", "smtp", ours=True,
    ),
    Option(
        "hosts_require_pq", Kind.HOSTS, None,
        "Hosts that get no mail without a post-quantum key exchange.", "smtp", ours=True,
    ),
    Option(
        "tls_pins", Kind.ITEMS, "",
        "Fingerprints of certificates or keys that the server may have.", "smtp", ours=True,
    ),
    *listed("smtp", _IGNORED, _NO_EFFECT, """
        address_retry_include_sender       boolean    true
        dane_require_tls_ciphers           expanded
        dscp                               expanded
        gnutls_compat_mode                 boolean    false
        gnutls_require_kx                  expanded
        gnutls_require_mac                 expanded
        gnutls_require_protocols           expanded
        hosts_pipe_connect                 hosts
        hosts_try_dane                     hosts      *
        hosts_try_fastopen                 hosts      *
        message_linelength_limit           integer    998
        tls_dh_min_bits                    integer    1024
    """),
    *listed("smtp", _UNSUPPORTED, _TLS_NOT_YET, """
        hosts_require_dane                 hosts
        tls_verify_ciphers                 expanded
    """),
    *listed("smtp", _UNSUPPORTED, _NOT_YET, """
        arc_sign                           string
        dkim_canon                         expanded
        dkim_domain                        expanded
        dkim_hash                          expanded
        dkim_identity                      expanded
        dkim_private_key                   expanded
        dkim_selector                      expanded
        dkim_sign_headers                  expanded
        dkim_strict                        expanded
        dkim_timestamps                    expanded
        socks_proxy                        expanded
    """),
)  # fmt: skip
