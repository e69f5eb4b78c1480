"""The options of the main section: one row each, and the typed value of the whole section (values).

A row is a field of `MainOptions`: its Python type for those who use it, and in `row(…)` the kind, the default
as an operator would write it, the operator's sentence and the group. Options of Exim's that nothing reads are in
`other_options.py`. `MAIN_OPTIONS` is the table made of both. Defaults and meanings: Exim, chapter
"Main configuration"; what is ours says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from relay.config.options import Kind, Option, Standing, table
from relay.config.other_options import OTHER_OPTIONS
from relay.expand.evaluate import Expansion
from relay.expand.lists import MatchList
from relay.policy.acl import ACLReference

_USED, _IGNORED, _UNSUPPORTED = Standing.USED, Standing.IGNORED, Standing.UNSUPPORTED


def row(
    kind: Kind,
    default: str | None,
    text: str,
    group: str,
    standing: Standing = _USED,
    *,
    ours: bool = False,
) -> Mapping[str, Any]:
    """What a field knows beside its name and type."""
    return {"row": Option("", kind, default, text, group, standing, ours)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MainOptions:
    """The main section as the daemon is built from it. Sizes are octets, times seconds."""

    # fmt: off
    # Names
    primary_hostname: str = field(metadata=row(
        Kind.STATIC, None, "Our name, in replies, Received: and as the default of other names.", "names"))
    qualify_domain: str = field(metadata=row(
        Kind.STATIC, "$primary_hostname", "Domain of a sender that was given without one.", "names"))
    qualify_recipient: str = field(metadata=row(
        Kind.STATIC, "$qualify_domain", "Domain of a recipient that was given without one.", "names"))
    hosts_treat_as_local: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Hosts that are this one, whatever their addresses.", "names"))
    percent_hack_domains: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Domains in which user%other is user@other.", "names"))
    allow_mx_to_ip: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "An address may stand in an MX record.", "names"))
    dns_ipv4_lookup: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Hosts no address of IPv6 is looked up for.", "names"))

    # Places
    spool_directory: str = field(metadata=row(
        Kind.STATIC, "/var/spool/fingerpost", "Where the queue and our sockets are.", "places"))
    log_file_path: str = field(metadata=row(
        Kind.STATIC, "$spool_directory/log/%slog", "Where logs go; %s becomes main, reject, panic.", "places"))
    pid_file_path: str = field(metadata=row(
        Kind.STATIC, "$spool_directory/daemon.pid", "Where the daemon writes its process id.", "places"))
    queue: str = field(metadata=row(
        Kind.STATIC, "sqlite:$spool_directory/queue",
        "The queue: sqlite: and a directory, or postgresql:// and a database that several hosts share.", "places",
        ours=True))
    queue_lease: int = field(metadata=row(
        Kind.TIME, "30s", "How long a host that shares the queue may be silent until others take its messages.",
        "places", ours=True))
    peers_directory: str = field(metadata=row(
        Kind.STATIC, "", "Directory of the certificates of our devices.", "places", ours=True))

    # Users
    exim_user: str = field(metadata=row(Kind.STATIC, "", "The user that the daemon runs as.", "users"))
    never_users: tuple[str, ...] = field(
        metadata=row(Kind.ACCOUNTS, None, "Users that no local delivery runs as; root is one always.", "users")
    )
    exim_group: str = field(metadata=row(Kind.STATIC, "", "The group that the daemon runs as.", "users"))
    trusted_users: tuple[str, ...] = field(metadata=row(
        Kind.ACCOUNTS, "", "Users who may give any sender and reception facts.", "users"))
    trusted_groups: tuple[str, ...] = field(metadata=row(
        Kind.ACCOUNTS, "", "Groups whose members are trusted users.", "users"))
    admin_groups: tuple[str, ...] = field(metadata=row(
        Kind.ACCOUNTS, "", "Groups whose members may look at the queue and change it.", "users"))
    gecos_pattern: str | None = field(metadata=row(
        Kind.STRING, None, "Regular expression for an account's comment; gecos_name says what is made of it.",
        "users"))
    gecos_name: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "A local caller's full name, with $1 and so on of gecos_pattern.", "users"))
    untrusted_set_sender: MatchList | None = field(metadata=row(
        Kind.ADDRESSES, None, "Senders that users who are not trusted may give.", "users"))
    local_from_check: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Add Sender: where a local From: is not the caller's.", "users"))
    local_from_prefix: tuple[str, ...] = field(metadata=row(
        Kind.ITEMS, "", "What may stand before the caller's name in a local From:, as in local_part_prefix.", "users"))
    local_from_suffix: tuple[str, ...] = field(metadata=row(
        Kind.ITEMS, "", "What may stand behind it.", "users"))
    local_sender_retain: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Keep a Sender: that a local caller gives.", "users"))
    return_path_remove: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Take Return-Path: out of submitted messages.", "users"))
    envelope_to_remove: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Take Envelope-To: out of them.", "users"))
    delivery_date_remove: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Take Delivery-Date: out of them.", "users"))
    extract_addresses_remove_arguments: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "With -t, addresses on the command line are taken off the recipients.", "users"))

    # Log
    log_selector: str = field(metadata=row(
        Kind.STRING, "", "What is logged beyond the usual, +name and -name.", "log"))
    log_timezone: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Write the offset from UTC into each time of the log.", "log"))
    write_rejectlog: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Write refusals into the reject log as well.", "log"))
    message_logs: bool = field(metadata=row(
        Kind.BOOLEAN, "true",
        "Keep a log of each message that waits, msglog/ID in the spool directory; not where hosts share the queue.",
        "log"))
    preserve_message_logs: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Keep it in msglog.OLD/ when its message is gone; nothing removes it there.", "log"))

    event_action: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Expanded at steps of a reception, and when a message is gone, by $event_name.", "log"))

    # Listening
    daemon_smtp_ports: tuple[int, ...] = field(metadata=row(
        Kind.PORTS, "smtp", "Ports to listen on.", "listening"))
    local_interfaces: tuple[str, ...] = field(metadata=row(
        Kind.ITEMS, "<; ::0 ; 0.0.0.0",
        "Addresses to listen on, each with a port of its own if it has one. Ours: `endpoint:` and a description of "
        "Twisted's (`endpoint:systemd:domain=INET6:index=0`), `endpoint-tls:` where connections begin with TLS.",
        "listening"))
    disable_ipv6: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Look no address of IPv6 up, route to none and listen on none.", "listening"))
    extra_local_interfaces: tuple[str, ...] = field(metadata=row(
        Kind.ITEMS, "", "Further addresses that are ours, for @[] and for routing.", "listening"))
    smtp_connect_backlog: int = field(metadata=row(
        Kind.INTEGER, "20", "Connections that the system may keep waiting.", "listening"))
    smtp_accept_max: int = field(metadata=row(
        Kind.INTEGER, "20", "Sessions at the same time, 0 for no limit.", "listening"))
    smtp_accept_max_per_host: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Sessions at the same time from one address.", "listening"))
    smtp_accept_max_per_connection: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "1000", "Messages in one session.", "listening"))
    smtp_accept_reserve: int = field(metadata=row(
        Kind.INTEGER, "0", "Of these sessions, how many are kept for smtp_reserve_hosts.", "listening"))
    smtp_reserve_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that the reserved sessions are for.", "listening"))
    smtp_accept_queue_per_connection: int = field(metadata=row(
        Kind.INTEGER, "0", "Messages of one session after which further ones wait for a queue run, 0 for no limit.",
        "listening"))
    hosts_connection_nolog: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts whose connections are not logged.", "log"))
    hosts_proxy: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that must begin with a PROXY header.", "listening"))
    hosts_xclient: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may say by XCLIENT for whom they speak.", "listening"))
    proxy_protocol_timeout: int = field(metadata=row(
        Kind.TIME, "3s", "How long the PROXY header may take.", "listening"))
    host_reject_connection: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts whose connections are refused.", "listening"))

    # Sessions
    smtp_banner: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "$smtp_active_hostname ESMTP Fingerpost $tod_full", "The greeting, behind its 220.", "sessions"))
    smtp_receive_timeout: int = field(metadata=row(
        Kind.TIME, "5m", "How long a client may be silent.", "sessions"))
    allow_domain_literals: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Take addresses whose domain is an address in brackets.", "sessions"))
    smtp_enforce_sync: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Refuse clients that talk before they are asked.", "sessions"))
    smtp_max_synprot_errors: int = field(metadata=row(
        Kind.INTEGER, "3", "Syntax or protocol errors until a session is ended.", "sessions"))
    smtp_max_unknown_commands: int = field(metadata=row(
        Kind.INTEGER, "3", "Unknown commands until a session is ended.", "sessions"))
    smtp_accept_max_nonmail: int = field(metadata=row(
        Kind.INTEGER, "10", "Commands that bring no mail until a session is ended.", "sessions"))
    smtp_accept_max_nonmail_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that the limit of such commands is for.", "sessions"))
    smtp_return_error_details: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Tell clients why an address could not be verified.", "sessions"))
    callout_domain_positive_expire: int = field(metadata=row(
        Kind.TIME, "7d", "How long it is known of a domain that its hosts talk to us.", "sessions"))
    callout_domain_negative_expire: int = field(metadata=row(
        Kind.TIME, "3h", "How long it is known of a domain that its hosts refuse us, or bounces.", "sessions"))
    callout_positive_expire: int = field(metadata=row(
        Kind.TIME, "24h", "How long an address counts as one that its host takes.", "sessions"))
    callout_negative_expire: int = field(metadata=row(
        Kind.TIME, "2h", "How long an address counts as one that its host refuses.", "sessions"))
    callout_random_local_part: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "$primary_hostname-$tod_epoch-testing",
        "A local part that nobody has, to find out whether a host takes all.", "sessions"))
    pipelining_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that PIPELINING is offered to.", "sessions"))
    chunking_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that CHUNKING is offered to.", "sessions"))
    prdr_enable: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Offer each recipient a reply of its own to the data (PRDR).", "sessions"))
    smtputf8_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that SMTPUTF8 is offered to.", "sessions"))
    enhanced_status_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that ENHANCEDSTATUSCODES is offered to.", "sessions",
        ours=True))
    binarymime_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that BINARYMIME is offered to, where CHUNKING is.", "sessions",
        ours=True))
    limits_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that LIMITS is offered to.", "sessions"))
    dsn_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that DSN is offered to.", "sessions"))
    auth_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that AUTH is offered to.", "sessions"))
    accept_8bitmime: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Offer 8BITMIME.", "sessions"))
    helo_verify_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts whose greeting must be true.", "sessions"))
    helo_try_verify_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts whose greeting is checked for the ACLs.", "sessions"))
    helo_accept_junk_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may give any text for a name in EHLO.", "sessions"))
    helo_allow_chars: str = field(metadata=row(
        Kind.STRING, "", "Further characters that such a name may have.", "sessions"))
    hosts_require_helo: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that must greet before MAIL.", "sessions"))
    helo_lookup_domains: MatchList | None = field(metadata=row(
        Kind.DOMAINS, "@ : @[]", "Names in EHLO that make us look up the client's own.", "sessions"))
    host_lookup: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts whose names are looked up when they connect.", "sessions"))
    smtp_active_hostname: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Our name in replies, where it is not primary_hostname.", "sessions"))
    sender_unqualified_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may give senders without a domain.", "sessions"))
    recipient_unqualified_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may give recipients without a domain.", "sessions"))
    smtp_ratelimit_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that are slowed down.", "sessions"))
    smtp_ratelimit_mail: str = field(metadata=row(
        Kind.STRING, "", "How, by messages: number,first pause,factor,longest pause.", "sessions"))
    smtp_ratelimit_rcpt: str = field(metadata=row(
        Kind.STRING, "", "How, by recipients.", "sessions"))
    future_release_max: int = field(metadata=row(
        Kind.TIME, "0s", "How long a client may have a message held (FUTURERELEASE), 0s: not at all.", "sessions",
        ours=True))
    smtp_etrn_command: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "What is run for ETRN.", "sessions"))
    smtp_etrn_serialize: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "One ETRN run at a time for the same argument.", "sessions"))

    # TLS, as a server
    tls_advertise_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that STARTTLS is offered to.", "tls"))
    tls_on_connect_ports: tuple[int, ...] = field(metadata=row(
        Kind.PORTS, "", "Ports on which TLS begins at once.", "tls"))
    tls_certificate: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "PEM files with our certificates and their chains; a self-signed one where unset.",
        "tls"))
    tls_privatekey: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "PEM files with their keys; the certificates' files where unset.", "tls"))
    tls_verify_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that must show a certificate that verifies, or lose the connection.", "tls"))
    tls_try_verify_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that are asked for a certificate; ACLs see whether it verified.", "tls"))
    tls_verify_certificates: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "system", "File or directory of the certificates that are trusted, and no others.", "tls"))
    tls_crl: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "File or directory of lists of certificates that were revoked.", "tls"))
    tls_require_ciphers: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Cipher suites: OpenSSL's list, names of TLS 1.3, or a GnuTLS priority string.", "tls"))
    tls_resumption_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may resume a TLS session.", "tls"))
    tls_dn_style: str = field(metadata=row(
        Kind.STRING, "openssl", "How names in certificates are written: openssl (/CN=a) or rfc2253 (CN=a).", "tls",
        ours=True))
    tls_dhparam: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Diffie-Hellman parameters: a file, a group, none, historic, or a size in bits.", "tls"))
    tls_dh_max_bits: int = field(metadata=row(
        Kind.INTEGER, "2236", "Largest size of such parameters.", "tls"))
    tls_eccurve: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "auto", "Groups of the key exchange.", "tls"))
    openssl_options: str = field(metadata=row(
        Kind.STATIC, "", "Switches of OpenSSL, +name and -name.", "tls"))
    tls_ocsp_file: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Files with OCSP responses to staple, one for each certificate.", "tls"))
    tls_remember_esmtp: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "After STARTTLS, MAIL with its parameters without a new EHLO.", "tls"))
    tls_alpn: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "smtp : esmtp", "Protocol names of which clients may offer one.", "tls"))
    hosts_require_alpn: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that must offer such a name.", "tls"))
    tls_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that must use TLS before MAIL and are always offered it (Exim 3).", "old"))
    tls_host_accept_relay: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may relay inside TLS (Exim 3); not beside acl_smtp_rcpt.", "old"))
    host_accept_relay: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may relay (Exim 3); not beside acl_smtp_rcpt.", "old"))
    host_auth_accept_relay: MatchList | None = field(metadata=row(
        Kind.HOSTS, None, "Hosts that may relay when they have authenticated (Exim 3); not beside acl_smtp_rcpt.",
        "old"))
    auth_over_tls_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "*", "Hosts that AUTH is offered to inside TLS alone.", "old"))
    tls_verify_ciphers: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Cipher suites for the clients in tls_verify_hosts (Exim 3).", "old"))
    tls_log_cipher: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Write X= into the log (Exim 3).", "old"))
    tls_log_peerdn: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Write DN= into the log (Exim 3).", "old"))
    gnutls_require_kx: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Key exchanges that are permitted (Exim before 4.80 with GnuTLS).", "old"))
    gnutls_require_mac: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "MAC algorithms that are permitted (Exim before 4.80 with GnuTLS).", "old"))
    gnutls_require_protocols: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Protocols that are permitted (Exim before 4.80 with GnuTLS).", "old"))
    tls_handshakes_per_host: int = field(metadata=row(
        Kind.INTEGER, "600", "Handshakes in a minute of an address without a trusted certificate, 0 for no limit.",
        "tls", ours=True))
    tls_early_banner_hosts: MatchList | None = field(metadata=row(
        Kind.HOSTS, "", "Hosts that get the greeting early on a TLS-on-connect port.", "tls", _IGNORED))

    # ACLs
    acl_smtp_connect: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for new connections.", "acl"))
    acl_smtp_helo: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for EHLO and HELO.", "acl"))
    acl_smtp_starttls: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for STARTTLS.", "acl"))
    acl_smtp_auth: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for AUTH.", "acl"))
    acl_smtp_mail: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for MAIL.", "acl"))
    acl_smtp_mailauth: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for the parameter AUTH of MAIL.", "acl"))
    acl_smtp_rcpt: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for RCPT; without one every recipient is refused.", "acl"))
    acl_smtp_predata: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for DATA.", "acl"))
    acl_smtp_data: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for the message.", "acl"))
    acl_smtp_data_prdr: ACLReference | None = field(metadata=row(
        Kind.ACL, "accept", "ACL for the message and each recipient, where PRDR is asked for.", "acl"))
    acl_smtp_etrn: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for ETRN.", "acl"))
    acl_smtp_atrn: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for ATRN.", "acl", _IGNORED))
    acl_smtp_vrfy: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for VRFY.", "acl"))
    acl_smtp_expn: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for EXPN.", "acl"))
    acl_smtp_quit: ACLReference | None = field(metadata=row(Kind.ACL, None, "ACL for QUIT.", "acl"))
    acl_smtp_notquit: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for sessions that end without QUIT.", "acl"))
    acl_smtp_mime: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for each MIME part.", "acl", _UNSUPPORTED))
    acl_smtp_dkim: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for each DKIM signature.", "acl", _UNSUPPORTED))
    acl_not_smtp: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL for messages of local callers.", "acl"))
    acl_not_smtp_start: ACLReference | None = field(metadata=row(
        Kind.ACL, None, "ACL before messages of local callers.", "acl"))

    # Messages
    message_size_limit: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "50M", "Largest message that is accepted, 0 for no limit.", "messages"))
    recipients_max: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "50000", "Recipients of one message, 0 for no limit.", "messages"))
    recipients_max_reject: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Refuse the whole message behind that number.", "messages"))
    message_id_header_domain: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Behind the @ of a Message-Id: that we add; unset: primary_hostname.", "messages"))
    message_id_header_text: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "Behind the message's id in it.", "messages"))
    received_header_text: Expansion | None = field(metadata=row(
        Kind.EXPANDED,
        "Received: ${if def:sender_rcvhost{from $sender_rcvhost}"
        "{${if def:sender_ident{from ${quote_local_part:$sender_ident} }}"
        "${if def:sender_helo_name{(helo=$sender_helo_name)}}}}"
        "${if or{{def:sender_rcvhost}{def:sender_helo_name}}{\\n\\t}}"
        "by $primary_hostname ${if def:received_protocol{with $received_protocol }}"
        "${if def:tls_in_ver{ ($tls_in_ver) }}${if def:tls_in_cipher_std{tls $tls_in_cipher_std}}"
        "${if def:tls_in_cipher_std{\\n\\t}}(Fingerpost)\\n\\t"
        "${if def:sender_address{(envelope-from <$sender_address>)}}${if def:sender_address{\\n\\t}}"
        "id $message_exim_id${if def:received_for{\\n\\t}}${if def:received_for{for $received_for}}",
        "The Received: field that we add, without its date.", "messages"))
    received_headers_max: int = field(metadata=row(
        Kind.INTEGER, "30", "Received: fields of a message that has gone in a circle.", "messages"))
    header_maxsize: int = field(metadata=row(
        Kind.INTEGER, "1M", "Largest header section that is accepted.", "messages"))
    header_line_maxsize: int = field(metadata=row(
        Kind.SIZE, "0", "Largest field of a header, 0 for no limit of its own.", "messages"))
    message_body_visible: int = field(metadata=row(
        Kind.SIZE, "500", "Octets of a body that $message_body shows.", "messages"))
    message_body_newlines: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Line ends stay in what $message_body shows.", "messages"))
    expand_reads_files: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "${readfile and ${stat: may be used.", "messages", ours=True))
    headers_charset: str = field(metadata=row(
        Kind.STRING, "UTF-8", "Character set that header fields are decoded to.", "messages", _IGNORED))

    # Queue
    queue_only: bool = field(metadata=row(
        Kind.BOOLEAN, "false", "Accept only; a queue run delivers.", "queue"))
    queue_only_override: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "-odb, -odf and -odi go before all of these but queue_only_file.", "queue"))
    queue_only_file: str = field(metadata=row(
        Kind.STRING, "", "Files; while one exists messages are only accepted; /… behind `smtp`: only routed.", "queue"))
    hold_domains: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Domains whose mail stays here until it is asked for by hand.", "queue"))
    queue_only_load: float | None = field(metadata=row(
        Kind.FIXED, None, "Load average above which messages are only accepted.", "queue"))
    smtp_accept_queue: int = field(metadata=row(
        Kind.INTEGER, "0", "Sessions above which messages are only accepted, 0 for no limit.", "queue"))
    check_spool_space: int = field(metadata=row(
        Kind.KIBIBYTES, "10M", "What must stay free on the queue's disk: below it MAIL is answered with 452.", "queue"))
    check_spool_inodes: int = field(metadata=row(
        Kind.INTEGER, "100", "The same in inodes.", "queue"))
    check_log_space: int = field(metadata=row(
        Kind.KIBIBYTES, "10M", "The same for the disk that the logs are on.", "queue"))
    check_log_inodes: int = field(metadata=row(
        Kind.INTEGER, "100", "The same in inodes.", "queue"))
    smtp_check_spool_space: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "The size that a client announces is taken off what is free.", "queue"))
    queue_length_warning: int = field(metadata=row(
        Kind.INTEGER, "0", "Messages in the queue above which a line is logged, 0 for none.", "queue", ours=True))
    queue_domains: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Domains that wait for a queue run, without being routed.", "queue"))
    queue_smtp_domains: MatchList | None = field(metadata=row(
        Kind.DOMAINS, None, "Domains that are only routed before one, where they go to another host.", "queue"))
    queue_run_max: Expansion | None = field(metadata=row(
        Kind.EXPANDED, "5", "Queue runs at the same time, 0 for no limit.", "queue"))
    queue_list_requires_admin: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Only administrators list the queue.", "queue"))
    prod_requires_admin: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Only administrators have queued messages delivered.", "queue"))
    remote_max_parallel: int = field(metadata=row(
        Kind.INTEGER, "6", "Into how many deliveries a message's recipients at other hosts are shared out.", "queue"))
    retry_interval_max: int = field(metadata=row(
        Kind.TIME, "1d", "Longest time between two tries.", "queue"))
    retry_data_expire: int = field(metadata=row(
        Kind.TIME, "7d", "How long what was learnt of a host is kept.", "queue"))
    ignore_bounce_errors_after: int = field(metadata=row(
        Kind.TIME, "10w", "How long an undeliverable bounce is kept.", "queue"))
    timeout_frozen_after: int = field(metadata=row(
        Kind.TIME, "0s", "Age at which a frozen message is given up, 0s for never.", "queue"))
    auto_thaw: int = field(metadata=row(
        Kind.TIME, "0s", "When a frozen message is tried again, 0s for never.", "queue"))
    delay_warning: tuple[int, ...] = field(metadata=row(
        Kind.TIMES, "1d", "When the sender of a message is told that it waits.", "reports"))
    delay_warning_condition: Expansion | None = field(metadata=row(
        Kind.EXPANDED,
        "${if or {{!eq{$h_list-id:$h_list-post:$h_list-subscribe:}{}}"
        "{match{$h_precedence:}{(?i)bulk|list|junk}}"
        "{match{$h_auto-submitted:}{(?i)auto-generated|auto-replied}}}{no}{yes}}",
        "Whether the sender of this message is told.", "reports"))
    warn_message_file: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "A file with other words for notices about delays.", "reports"))
    bounce_return_size_limit: int = field(metadata=row(
        Kind.SIZE, "100K", "Octets of a message that its bounce returns.", "reports"))
    bounce_return_linesize_limit: int = field(metadata=row(
        Kind.SIZE, "998", "A message with a longer line is returned without its body.", "reports"))
    bounce_return_body: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Return the body in a bounce.", "reports"))
    bounce_return_message: bool = field(metadata=row(
        Kind.BOOLEAN, "true", "Return the message in a bounce, or its header.", "reports"))
    bounce_message_text: str = field(metadata=row(
        Kind.STRING, "", "Put into the opening of every bounce.", "reports"))
    bounce_sender_authentication: str = field(metadata=row(
        Kind.STRING, "", "Whom AUTH= names when a report is sent.", "reports"))
    bounce_message_file: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "A file with other words for bounces.", "reports"))
    dsn_from: Expansion | None = field(metadata=row(
        Kind.EXPANDED, None, "From: of reports; unset: Mail Delivery System.", "reports"))
    errors_reply_to: str = field(metadata=row(
        Kind.STRING, "", "Reply-To: of reports.", "reports"))
    errors_copy: str = field(metadata=row(
        Kind.STRING, "", "Who gets a copy of which bounces: PATTERN ADDRESSES, a list.", "reports"))
    freeze_tell: str = field(metadata=row(
        Kind.STRING, "", "Who is told of a frozen message, separated by commas.", "reports"))

    # Ours
    worker_processes: int = field(metadata=row(
        Kind.INTEGER, "0",
        "Processes that share the ports; 0: one for each core, up to 8, where the queue is PostgreSQL, else 1.",
        "ours", ours=True))
    metrics_address: str = field(metadata=row(
        Kind.STRING, "", "Where counters are served to Prometheus, ADDRESS:PORT; nowhere if empty.", "ours", ours=True))
    # fmt: on


SYNONYMS = {"daemon_smtp_port": "daemon_smtp_ports", "return_size_limit": "bounce_return_size_limit"}
"""Old names of options."""


def _named(name: str, known: Option) -> Option:
    return Option(name, known.kind, known.default, known.text, known.group, known.standing, known.ours)


MAIN_OPTIONS: Mapping[str, Option] = table(
    *(_named(each.name, each.metadata["row"]) for each in fields(MainOptions)), *OTHER_OPTIONS
)
