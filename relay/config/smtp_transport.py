"""A block of driver smtp becomes the rules of its transport (machine).

What can't be made of it is a `ConfigurationError` with its line.
"""

from __future__ import annotations

import re

from relay.config.blocks import DriverBlock
from relay.config.local_transports import header_edits, transport_filter
from relay.config.options import BadValue, read_port, read_small_integer
from relay.delivery.link import Timeouts
from relay.delivery.remote_copy import CopyRules
from relay.delivery.smtp_rules import HostRules, LoginRules, PassingRules, SMTPRules
from relay.expand.evaluate import Expansion
from relay.mail.source import ConfigurationError, Problem
from relay.policy.tls import ClientTLSRules

_PIN = re.compile(r"[0-9A-F]{64}")
_TLS_ON_CONNECT = frozenset({"smtps", "submissions"})


def smtp(block: DriverBlock) -> SMTPRules:
    """The smtp transport that a block describes. Raises ConfigurationError."""
    protocol = block.text("protocol").lower() or "smtp"
    if protocol not in _TLS_ON_CONNECT | {"smtp", "lmtp"}:
        raise _wrong(block, "protocol", f'"{protocol[:40]}" is not a protocol', "use smtp, smtps or lmtp")
    if block.text("shadow_transport"):
        what = f"shadow transport not allowed on non-local transport {block.name}"
        raise _wrong(block, "shadow_transport", what, "use unseen in a router")
    return SMTPRules(
        name=block.name,
        copy=_copy(block),
        filter=transport_filter(block),
        tls=_client_tls(block, on_connect=protocol in _TLS_ON_CONNECT),
        helo_data=block.expansion("helo_data"),
        port=_port(block),
        port_text=_port_text(block),
        max_rcpt=_constant_number(block, "max_rcpt"),
        timeouts=Timeouts(
            connect=block.number("connect_timeout"),
            command=block.number("command_timeout"),
            data=block.number("data_timeout"),
            final=block.number("final_timeout"),
        ),
        lmtp=protocol == "lmtp",
        hosts=_hosts(block),
        passing=_passing(block),
        login=LoginRules(
            require=block.matching("hosts_require_auth"),
            try_=block.matching("hosts_try_auth"),
            sender=block.expansion("authenticated_sender"),
            sender_force=block.flag("authenticated_sender_force"),
        ),
        interface=block.expansion("interface"),
        multi_domain=_constant_flag(block, "multi_domain"),
        size_addition=block.number("size_addition"),
        lmtp_ignore_quota=block.flag("lmtp_ignore_quota"),
        keepalive=block.flag("keepalive"),
        includes_affixes=block.flag("rcpt_include_affixes"),
        avoid_esmtp=block.matching("hosts_avoid_esmtp"),
        avoid_pipelining=block.matching("hosts_avoid_pipelining"),
        verify_avoid_tls=block.matching("hosts_verify_avoid_tls"),
        try_prdr=block.matching("hosts_try_prdr"),
        try_chunking=block.matching("hosts_try_chunking"),
        downconvert=block.expansion("utf8_downconvert"),
        host_name_extract=block.expansion("host_name_extract"),
        resumption_hosts=block.matching("tls_resumption_hosts"),
    )


def _hosts(block: DriverBlock) -> HostRules:
    return HostRules(
        hosts=block.expansion("hosts"),
        override=block.flag("hosts_override"),
        dnssec_request=block.matching("dnssec_request_domains"),
        dnssec_require=block.matching("dnssec_require_domains"),
        by_name=block.flag("gethostbyname"),
        qualify_single=block.flag("dns_qualify_single"),
        search_parents=block.flag("dns_search_parents"),
        fallback=block.expansion("fallback_hosts"),
        randomize=_constant_flag(block, "hosts_randomize"),
        allow_localhost=block.flag("allow_localhost"),
        max_try=block.number("hosts_max_try"),
        max_try_hardlimit=block.number("hosts_max_try_hardlimit"),
        include_address=_constant_flag(block, "retry_include_ip_address"),
        delay_after_cutoff=block.flag("delay_after_cutoff"),
        serialize=block.matching("serialize_hosts"),
    )


def _passing(block: DriverBlock) -> PassingRules:
    old = "batch_max" in block.set_at
    if old and "connection_max_messages" in block.set_at:
        what = "batch_max is the old name of connection_max_messages, and both are set"
        raise _wrong(block, "batch_max", what, "remove it")
    return PassingRules(
        max_messages=block.number("batch_max" if old else "connection_max_messages"),
        no_pass=block.matching("hosts_nopass_tls"),
        new_handshake=block.matching("hosts_noproxy_tls"),
    )


def _client_tls(block: DriverBlock, *, on_connect: bool) -> ClientTLSRules:
    return ClientTLSRules(
        certificate=block.expansion("tls_certificate"),
        privatekey=block.expansion("tls_privatekey"),
        verify_certificates=block.expansion("tls_verify_certificates"),
        crl=block.expansion("tls_crl"),
        require_ciphers=block.expansion("tls_require_ciphers"),
        sni=block.expansion("tls_sni"),
        alpn=block.expansion("tls_alpn"),
        verify_hosts=block.matching("tls_verify_hosts"),
        try_verify_hosts=block.matching("tls_try_verify_hosts"),
        verify_cert_hostnames=block.matching("tls_verify_cert_hostnames"),
        require_tls=block.matching("hosts_require_tls"),
        avoid_tls=block.matching("hosts_avoid_tls"),
        avoid_certificate=block.matching("hosts_avoid_certificate"),
        require_alpn=block.matching("hosts_require_alpn"),
        require_pq=block.matching("hosts_require_pq"),
        require_ocsp=block.matching("hosts_require_ocsp"),
        request_ocsp=block.matching("hosts_request_ocsp"),
        pins=_pins(block),
        tempfail_tryclear=block.flag("tls_tempfail_tryclear"),
        on_connect=on_connect,
    )


def _pins(block: DriverBlock) -> tuple[str, ...]:
    pins = tuple(each.upper() for each in block.items("tls_pins"))
    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise _wrong(block, "tls_pins", f'"{pin[:70]}" is not a SHA-256 fingerprint', "write 64 hexadecimal digits")
    return pins


def _copy(block: DriverBlock) -> CopyRules:
    for option in ("body_only", "headers_only"):
        if block.flag(option):
            raise _wrong(block, option, f"{option} is not served for smtp", "remove it")
    return CopyRules(
        header=header_edits(block),
        return_path=block.expansion("return_path"),
        message_size_limit=block.expansion("message_size_limit"),
    )


def _constant_number(block: DriverBlock, option: str) -> int:
    expansion = block.expansion(option)
    if expansion is None or expansion.constant is None:
        raise _wrong(block, option, f"{option} is not expanded here", "write a number")
    try:
        return read_small_integer(expansion.constant, option)
    except BadValue as error:
        raise _wrong(block, option, error.what, error.remedy) from None


def _constant_flag(block: DriverBlock, option: str) -> bool:
    value = block.flag_or_expansion(option)
    if not isinstance(value, bool):
        raise _wrong(block, option, f"{option} is not expanded here", "use true or false")
    return value


def _port_text(block: DriverBlock) -> Expansion | None:
    """The port where the delivery decides."""
    option = block.expansion("port")
    return option if option is not None and "$" in option.source else None


def _port(block: DriverBlock) -> int:
    """The transport's own port, 0 where the protocol decides, or the delivery."""
    option = block.expansion("port")
    if option is None or _port_text(block) is not None:
        return 0
    try:
        return read_port(option.source, "port")
    except BadValue as error:
        raise _wrong(block, "port", error.what, error.remedy) from None


def _wrong(block: DriverBlock, option: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(Problem(block.place(option), f"{block.name}: {what}", remedy))
