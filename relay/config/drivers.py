"""Blocks of the configuration become what routing and delivery work with (machine).

One function for each driver that is served, listed in `_ROUTER_MAKERS` and `_TRANSPORT_MAKERS`. What can't be
made of a block is a `ConfigurationError` with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from relay.config.blocks import DriverBlock
from relay.config.options import BadValue, read_port, read_small_integer
from relay.delivery.local import MaildirTransport
from relay.delivery.remote import SMTPRules, Timeouts
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import NamedLists
from relay.mail.source import ConfigurationError, Problem
from relay.policy.routing import (
    HOST_ALL_IGNORED,
    HOST_FIND_FAILED,
    SELF,
    Accept,
    Fallback,
    Manualroute,
    Preconditions,
    RouteItem,
    Router,
    compile_route_list,
)
from relay.policy.tls import ClientTLSRules
from relay.policy.words import nearest

Transport = SMTPRules | MaildirTransport


def make_router(block: DriverBlock, named: NamedLists) -> Router:
    """The router that a block describes. Raises ConfigurationError."""
    return _ROUTER_MAKERS[block.driver](block, named)


def make_transport(block: DriverBlock) -> Transport:
    """The transport that a block describes. Raises ConfigurationError."""
    return _TRANSPORT_MAKERS[block.driver](block)


def _wrong(block: DriverBlock, option: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(Problem(block.place(option), f"{block.name}: {what}", remedy))


# Routers


def _preconditions(block: DriverBlock) -> Preconditions:
    return Preconditions(
        domains=block.matching("domains"),
        local_parts=block.matching("local_parts"),
        senders=block.matching("senders"),
        conditions=block.expansions("condition"),
    )


def _transport_of(block: DriverBlock) -> Expansion:
    transport = block.expansion("transport")
    assert transport is not None, "sanity.router_problems has looked"
    return transport


def _accept(block: DriverBlock, _named: NamedLists) -> Router:
    return Accept(
        name=block.name,
        location=block.location,
        transport=_transport_of(block),
        preconditions=_preconditions(block),
        more=block.flag_or_expansion("more"),
        pass_on_timeout=block.flag("pass_on_timeout"),
        cannot_route_message=block.expansion("cannot_route_message"),
        address_data=block.expansion("address_data"),
    )


def _manualroute(block: DriverBlock, named: NamedLists) -> Router:
    return Manualroute(
        name=block.name,
        location=block.location,
        transport=block.expansion("transport") or compile_expansion(""),
        preconditions=_preconditions(block),
        more=block.flag_or_expansion("more"),
        pass_on_timeout=block.flag("pass_on_timeout"),
        cannot_route_message=block.expansion("cannot_route_message"),
        address_data=block.expansion("address_data"),
        routes=_routes(block, named),
        host_find_failed=_fallback(block, "host_find_failed", HOST_FIND_FAILED),
        host_all_ignored=_fallback(block, "host_all_ignored", HOST_ALL_IGNORED),
        hosts_randomize=_constant_flag(block, "hosts_randomize"),
        self_action=_fallback(block, "self", SELF),
    )


def _routes(block: DriverBlock, named: NamedLists) -> tuple[RouteItem, ...] | Expansion:
    data = block.expansion("route_data")
    text = block.text("route_list")
    if data is not None and text:
        raise _wrong(block, "route_data", "route_list and route_data are both set", "set only one of them")
    if data is not None:
        return data
    if not text:
        raise _wrong(block, "route_list", "neither route_list nor route_data is set", "set one of them")
    items = compile_route_list(text, block.place("route_list"), named)
    if block.expansion("transport") is None and not all(item.options.transport for item in items):
        raise _wrong(block, "transport", "no transport is set", "name one with transport = …")
    return items


def _constant_flag(block: DriverBlock, option: str) -> bool:
    value = block.flag_or_expansion(option)
    if not isinstance(value, bool):
        raise _wrong(block, option, f"{option} is not expanded here", "use true or false")
    return value


def _fallback(block: DriverBlock, option: str, allowed: tuple[Fallback, ...]) -> Fallback:
    word = block.text(option)
    for each in allowed:
        if each.value == word:
            return each
    words = [each.value for each in allowed]
    remedy = nearest(word, words) or f"use {', '.join(words)}"
    raise _wrong(block, option, f'"{word}" is not a value for {option}', remedy)


# Transports

_PIN = re.compile(r"[0-9A-F]{64}")


def _smtp(block: DriverBlock) -> Transport:
    protocol = block.text("protocol").lower() or "smtp"
    if protocol not in ("smtp", "smtps", "submissions", "lmtp"):
        raise _wrong(block, "protocol", f'"{protocol[:40]}" is not a protocol', "use smtp, smtps or lmtp")
    return SMTPRules(
        name=block.name,
        tls=_client_tls(block, on_connect=protocol in ("smtps", "submissions")),
        helo_data=block.expansion("helo_data"),
        port=_port(block),
        max_rcpt=_constant_number(block, "max_rcpt"),
        timeouts=Timeouts(
            connect=block.number("connect_timeout"),
            command=block.number("command_timeout"),
            data=block.number("data_timeout"),
            final=block.number("final_timeout"),
        ),
        lmtp=protocol == "lmtp",
    )


def _constant_number(block: DriverBlock, option: str) -> int:
    expansion = block.expansion(option)
    if expansion is None or expansion.constant is None:
        raise _wrong(block, option, f"{option} is not expanded here", "write a number")
    try:
        return read_small_integer(expansion.constant, option)
    except BadValue as error:
        raise _wrong(block, option, error.what, error.remedy) from None


def _port(block: DriverBlock) -> int:
    """The transport's own port, 0 where the protocol decides."""
    if "port" not in block.set_at:
        return 0
    try:
        return read_port(block.text("port"), "port")
    except BadValue as error:
        raise _wrong(block, "port", error.what, error.remedy) from None


def _client_tls(block: DriverBlock, *, on_connect: bool) -> ClientTLSRules:
    return ClientTLSRules(
        certificate=block.expansion("tls_certificate"),
        privatekey=block.expansion("tls_privatekey"),
        verify_certificates=block.expansion("tls_verify_certificates"),
        crl=block.expansion("tls_crl"),
        require_ciphers=block.expansion("tls_require_ciphers"),
        sni=block.expansion("tls_sni"),
        verify_hosts=block.matching("tls_verify_hosts"),
        try_verify_hosts=block.matching("tls_try_verify_hosts"),
        verify_cert_hostnames=block.matching("tls_verify_cert_hostnames"),
        require_tls=block.matching("hosts_require_tls"),
        avoid_tls=block.matching("hosts_avoid_tls"),
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


def _appendfile(block: DriverBlock) -> Transport:
    directory = block.expansion("directory")
    if directory is None or not block.flag("maildir_format"):
        what = "only delivery into a Maildir is served"
        raise _wrong(block, "driver", what, "set directory = … and maildir_format")
    return MaildirTransport(
        name=block.name,
        directory=directory,
        create_directory=block.flag("create_directory"),
        directory_mode=block.number("directory_mode"),
        mode=block.number("mode"),
        return_path_add=block.flag("return_path_add"),
        envelope_to_add=block.flag("envelope_to_add"),
        delivery_date_add=block.flag("delivery_date_add"),
    )


_ROUTER_MAKERS: Mapping[str, Callable[[DriverBlock, NamedLists], Router]] = {
    "accept": _accept,
    "manualroute": _manualroute,
}
_TRANSPORT_MAKERS: Mapping[str, Callable[[DriverBlock], Transport]] = {"smtp": _smtp, "appendfile": _appendfile}
