"""What the configuration says to sessions: the main section as reception's rules (edge)."""

from __future__ import annotations

from relay.config.main_options import MainOptions
from relay.config.options import BadValue
from relay.config.pauses import read_slowing
from relay.config.read import Configuration
from relay.config.references import acl_options
from relay.delivery.command_line import TooManyWords, split_command
from relay.esmtp.limits import ServerSettings
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import Expansion, compile_expansion, compile_for_use
from relay.expand.scope import Scope
from relay.mail.source import ConfigurationError, Problem
from relay.policy.authenticators import AuthRules
from relay.policy.tls import ServerTLSRules
from relay.reception.fixups import FromAffixes
from relay.reception.greeting import size_of
from relay.reception.header_id import HeaderId
from relay.reception.rules import ClientRules, EtrnRules, OfferRules, QueueRules, Rules, Slowing

_LONGEST_SILENCE = 86_400
_SIZE_LIMIT = 50 * 1024**2
_RECIPIENTS_LIMIT = 50000


def session_rules(configuration: Configuration, scope: Scope, queue_interval: float) -> Rules:
    """`queue_interval`: seconds that a message waits which is only queued. Raises ConfigurationError."""
    main = configuration.main
    return Rules(
        primary_hostname=main.primary_hostname,
        qualify_domain=main.qualify_domain,
        qualify_recipient=main.qualify_recipient,
        banner=main.smtp_banner or compile_expansion("$smtp_active_hostname ESMTP"),
        received_header=received_header(configuration),
        header_id=HeaderId(main.message_id_header_domain, main.message_id_header_text),
        tls=_tls(configuration),
        acls=dict(acl_options(main)),
        named_acls=configuration.acls,
        named_lists=configuration.named_lists,
        percent_hack_domains=main.percent_hack_domains,
        main=scope.main,
        message_size_limit=size_limit(main.message_size_limit),
        recipients_max=recipients_limit(main.recipients_max),
        received_headers_max=main.received_headers_max,
        queue_only=main.queue_only,
        queue_only_override=main.queue_only_override,
        queue_only_delay=queue_interval,
        pipelining_advertise_hosts=main.pipelining_advertise_hosts,
        local_addresses=scope.local_addresses,
        rewrite=configuration.rewrite,
        server_settings=_settings(configuration),
        offers=OfferRules(
            accept_8bitmime=main.accept_8bitmime,
            chunking_hosts=main.chunking_advertise_hosts,
            prdr=main.prdr_enable,
            enhanced_status_hosts=main.enhanced_status_advertise_hosts,
            binarymime_hosts=main.binarymime_advertise_hosts,
            smtputf8_hosts=main.smtputf8_advertise_hosts,
            dsn_hosts=main.dsn_advertise_hosts,
            limits_hosts=main.limits_advertise_hosts,
            xclient_hosts=main.hosts_xclient,
            future_release_max=main.future_release_max,
        ),
        clients=_clients(configuration),
        queueing=QueueRules(main.smtp_accept_queue_per_connection),
        etrn=EtrnRules(_etrn_command(configuration), main.smtp_etrn_serialize),
        auth=AuthRules(configuration.auth, main.auth_advertise_hosts, main.auth_over_tls_hosts),
        untrusted_set_sender=main.untrusted_set_sender,
        local_from_check=main.local_from_check,
        local_sender_retain=main.local_sender_retain,
        from_affixes=from_affixes(main),
        delivery_fields=delivery_fields(main),
        recipients_max_reject=main.recipients_max_reject,
        header_maxsize=main.header_maxsize,
        header_line_maxsize=main.header_line_maxsize,
        message_body_visible=main.message_body_visible,
        may_read_files=main.expand_reads_files,
    )


def _clients(configuration: Configuration) -> ClientRules:
    main = configuration.main
    size, most = main.message_size_limit, main.recipients_max
    return ClientRules(
        reject_connection=main.host_reject_connection,
        accept_max=main.smtp_accept_max,
        accept_reserve=main.smtp_accept_reserve,
        reserve_hosts=main.smtp_reserve_hosts,
        max_per_host=main.smtp_accept_max_per_host,
        messages_max=main.smtp_accept_max_per_connection,
        message_size_limit=size if size is not None and size.constant is None else None,
        recipients_max=most if most is not None and most.constant is None else None,
        nonmail_hosts=main.smtp_accept_max_nonmail_hosts,
        active_hostname=main.smtp_active_hostname,
        host_lookup=main.host_lookup,
        helo_lookup_domains=main.helo_lookup_domains,
        helo_verify_hosts=main.helo_verify_hosts,
        helo_try_verify_hosts=main.helo_try_verify_hosts,
        helo_accept_junk_hosts=main.helo_accept_junk_hosts,
        require_helo_hosts=main.hosts_require_helo,
        sender_unqualified_hosts=main.sender_unqualified_hosts,
        recipient_unqualified_hosts=main.recipient_unqualified_hosts,
        ratelimit_hosts=main.smtp_ratelimit_hosts,
        ratelimit_mail=_slowing(configuration, "smtp_ratelimit_mail", main.smtp_ratelimit_mail),
        ratelimit_rcpt=_slowing(configuration, "smtp_ratelimit_rcpt", main.smtp_ratelimit_rcpt),
        connection_nolog=main.hosts_connection_nolog,
    )


def _slowing(configuration: Configuration, option: str, text: str) -> Slowing | None:
    try:
        return read_slowing(text, option)
    except BadValue as error:
        raise ConfigurationError(Problem(configuration.place(option), error.what, error.remedy)) from None


def _etrn_command(configuration: Configuration) -> tuple[Expansion, ...]:
    command = configuration.main.smtp_etrn_command
    if command is None:
        return ()
    try:
        return tuple(compile_for_use(word) for word in split_command(command.source))
    except (TooManyWords, ExpansionError) as error:
        place = configuration.place("smtp_etrn_command")
        raise ConfigurationError(Problem(place, f"smtp_etrn_command: {error}", "correct the command")) from None


def _tls(configuration: Configuration) -> ServerTLSRules:
    main = configuration.main
    return ServerTLSRules(
        advertise_hosts=main.tls_advertise_hosts,
        certificate=main.tls_certificate,
        privatekey=main.tls_privatekey,
        verify_certificates=main.tls_verify_certificates,
        crl=main.tls_crl,
        require_ciphers=main.tls_require_ciphers,
        verify_hosts=main.tls_verify_hosts,
        try_verify_hosts=main.tls_try_verify_hosts,
        resumption_hosts=main.tls_resumption_hosts,
        on_connect_ports=frozenset(main.tls_on_connect_ports),
        host_name=main.primary_hostname,
        ocsp_file=main.tls_ocsp_file,
        dhparam=main.tls_dhparam,
        dh_max_bits=main.tls_dh_max_bits,
        eccurve=main.tls_eccurve,
        switches=main.openssl_options,
        alpn=main.tls_alpn,
        require_alpn=main.hosts_require_alpn,
        require_kx=main.gnutls_require_kx,
        require_mac=main.gnutls_require_mac,
        require_protocols=main.gnutls_require_protocols,
        verify_ciphers=main.tls_verify_ciphers,
        hosts=main.tls_hosts,
        dn_style=main.tls_dn_style,
    )


def received_header(configuration: Configuration) -> Expansion:
    """What our Received: field is made from."""
    return configuration.main.received_header_text or compile_expansion("Received: by $primary_hostname id $message_id")


def size_limit(option: Expansion | None) -> int:
    """Octets of a constant message_size_limit, 0 for no limit; the default where it depends on the client."""
    if option is None or option.constant is None:
        return _SIZE_LIMIT
    size = size_of(option.constant)
    return _SIZE_LIMIT if size is None else size


def recipients_limit(option: Expansion | None) -> int:
    """A constant recipients_max, 0 for no limit; the default where it depends on the client."""
    text = option.constant if option is not None else None
    return int(text) if text is not None and text.strip().isdecimal() else _RECIPIENTS_LIMIT


def receive_timeout(configuration: Configuration) -> float:
    """Seconds that a client may be silent; where Exim would wait for ever, a day."""
    return float(configuration.main.smtp_receive_timeout or _LONGEST_SILENCE)


def _settings(configuration: Configuration) -> ServerSettings:
    main = configuration.main
    return ServerSettings(
        size_limit=size_limit(main.message_size_limit),
        recipients_max=0,
        max_syntax_errors=main.smtp_max_synprot_errors,
        max_unknown=main.smtp_max_unknown_commands,
        max_nonmail=main.smtp_accept_max_nonmail,
        command_timeout=receive_timeout(configuration),
        data_timeout=receive_timeout(configuration),
        enforce_sync=main.smtp_enforce_sync,
        helo_allow_chars=main.helo_allow_chars,
        host_name=main.primary_hostname,
        remember_esmtp=main.tls_remember_esmtp,
        domain_literals=main.allow_domain_literals,
    )


def from_affixes(main: MainOptions) -> FromAffixes | None:
    """What a local From: may have around the caller's name; None where nothing."""
    if not main.local_from_prefix and not main.local_from_suffix:
        return None
    return FromAffixes(main.local_from_prefix, main.local_from_suffix)


def delivery_fields(main: MainOptions) -> frozenset[str]:
    """What only a delivery writes, and is taken out of messages that are submitted here."""
    named = {
        "return-path": main.return_path_remove,
        "envelope-to": main.envelope_to_remove,
        "delivery-date": main.delivery_date_remove,
    }
    return frozenset(name for name, is_removed in named.items() if is_removed)
