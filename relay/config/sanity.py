"""Values of main options that are well formed and still make no sense (machine)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from relay.config.blocks import DriverBlock
from relay.config.main_options import MainOptions
from relay.config.options import BadValue, read_integer
from relay.config.pauses import read_slowing
from relay.expand.evaluate import Expansion
from relay.mail.source import Location, Problem
from relay.observe.selectors import parse_selector
from relay.spool.engine import NoEngine, make_store
from relay.tls.cipher_lists import read_ciphers
from relay.tls.dh_groups import BadParameters, check_name
from relay.tls.priorities import BadCipherList
from relay.tls.switches import NAMES, BadSwitch, read_switches

DN_STYLES = ("openssl", "rfc2253")
_ENGINES = ("sqlite:", "postgresql:")
_SHORTEST_LEASE = 2


def problems(main: MainOptions, place: Callable[[str], Location]) -> list[Problem]:
    """All of them; `place` gives the line that sets an option."""
    return [Problem(place(option), what, remedy) for option, what, remedy in _found(main)]


def unserved(main: MainOptions, place: Callable[[str], Location]) -> list[Problem]:
    """Values that Exim takes, or another version of ours will, and that can't be served."""
    return [Problem(place(option), what, remedy) for option, what, remedy in _unserved(main)]


def _unserved(main: MainOptions) -> Iterator[tuple[str, str, str]]:
    if main.queue.startswith("postgresql:"):
        try:
            make_store(main.queue, elapsed=lambda: 0.0, pause=lambda _: None)
        except NoEngine as error:
            yield "queue", str(error), error.remedy


def _found(main: MainOptions) -> Iterator[tuple[str, str, str]]:
    if main.tls_dn_style not in DN_STYLES:
        yield "tls_dn_style", f'"{main.tls_dn_style}" is not a style of names', f"use {' or '.join(DN_STYLES)}"
    yield from _tls(main)
    for option, text in (
        ("smtp_ratelimit_mail", main.smtp_ratelimit_mail),
        ("smtp_ratelimit_rcpt", main.smtp_ratelimit_rcpt),
    ):
        try:
            read_slowing(text, option)
        except BadValue as error:
            yield option, error.what, error.remedy
    if main.smtp_etrn_command is not None and not main.smtp_etrn_command.source.startswith("/"):
        yield "smtp_etrn_command", "smtp_etrn_command does not begin with an absolute path", "name the program whole"
    if not main.spool_directory.startswith("/"):
        yield "spool_directory", f'spool_directory "{main.spool_directory}" is not an absolute path', "name it whole"
    if main.queue_lease < _SHORTEST_LEASE:
        yield "queue_lease", f"queue_lease {main.queue_lease}s is shorter than a pause of the network", "write 30s"
    if not main.queue.startswith(_ENGINES):
        yield "queue", f'"{main.queue}" names no database', "write queue = sqlite:/path/to/directory"
    try:
        parse_selector(main.log_selector)
    except ValueError as error:
        yield "log_selector", str(error), "correct the name"
    for path in main.log_file_path.split(":"):
        if path.strip() not in ("", "syslog") and "%s" not in path:
            yield "log_file_path", f'log_file_path "{path.strip()}" does not contain "%s"', "write …/%slog"
    size = main.message_size_limit
    if size is not None and size.constant is not None:
        try:
            read_integer(size.constant or "0", "message_size_limit")
        except BadValue as error:
            yield "message_size_limit", f"message_size_limit: {error.what}", "write a number such as 50M"
    most = main.recipients_max
    if most is not None and most.constant is not None and not most.constant.strip().isdecimal():
        yield "recipients_max", f'recipients_max: "{most.constant}" is no number', "write a number such as 100"
    for option, value in (
        ("smtp_accept_max", main.smtp_accept_max),
        ("smtp_connect_backlog", main.smtp_connect_backlog),
        ("received_headers_max", main.received_headers_max),
        ("smtp_max_synprot_errors", main.smtp_max_synprot_errors),
        ("smtp_max_unknown_commands", main.smtp_max_unknown_commands),
        ("bounce_return_size_limit", main.bounce_return_size_limit),
    ):
        if value < 0:
            yield option, f"{option} is negative", "write a number that is not"


def _tls(main: MainOptions) -> Iterator[tuple[str, str, str]]:
    """Constant TLS options that would fail each handshake."""
    try:
        read_switches(main.openssl_options)
    except BadSwitch as error:
        yield "openssl_options", f"openssl_options: {error}", f"known are {', '.join(NAMES)}"
    for option in ("tls_require_ciphers", "tls_verify_ciphers", "tls_dhparam"):
        expansion: Expansion | None = getattr(main, option)
        if expansion is None or expansion.constant is None:
            continue
        try:
            check_name(expansion.constant.strip()) if option == "tls_dhparam" else read_ciphers(expansion.constant)
        except (BadCipherList, BadParameters) as error:
            yield option, f"{option}: {error}", "correct the name"
    if main.tls_handshakes_per_host < 0:
        yield "tls_handshakes_per_host", "tls_handshakes_per_host is negative", "write a number that is not"


# What makes an authenticator one for servers, or for clients, where it is not any option of that half.
_SERVER: Mapping[str, str] = {
    "cram_md5": "server_secret",
    "external": "server_condition",
    "plaintext": "server_condition",
    "spa": "server_password",
    "tls": "server_param1",
}
_CLIENT: Mapping[str, str] = {
    "cram_md5": "client_secret",
    "external": "client_send",
    "plaintext": "client_send",
    "spa": "client_username",
}


def authenticator_problems(blocks: Iterable[DriverBlock]) -> Iterator[Problem]:
    """Mechanisms that are there twice for the same half (Exim: auths_init)."""
    for one, other in itertools.combinations(blocks, 2):
        name = one.text("public_name") or one.name
        if name.lower() != (other.text("public_name") or other.name).lower():
            continue
        for half, settings in (("server", _SERVER), ("client", _CLIENT)):
            if _has_half(one, half, settings) and _has_half(other, half, settings):
                what = f"two {half} authenticators ({one.name} and {other.name}) have the same public name ({name})"
                yield Problem(other.location, what, "remove one of them", subject="")


def _has_half(block: DriverBlock, half: str, settings: Mapping[str, str]) -> bool:
    if block.driver in settings:
        return settings[block.driver] in block.set_at
    return any(name.startswith(f"{half}_") for name in block.set_at)


# Drivers of routers that can do nothing without a transport, and those that must not have one (Exim: route_init).
_WITH_TRANSPORT = frozenset({"accept", "dnslookup", "ipliteral"})
_WITHOUT_TRANSPORT = frozenset({"iplookup", "redirect"})


def router_problems(block: DriverBlock) -> Iterator[Problem]:
    """A router whose driver wants a transport, or wants none."""
    has_one = "transport" in block.set_at
    if block.driver in _WITH_TRANSPORT and not has_one and not block.flag("verify_only"):
        what = "a transport is required for this router"
        yield _about(block, block.location, what, "name one with transport = …")
    if block.driver in _WITHOUT_TRANSPORT and has_one:
        what = "a transport must not be defined for this router"
        yield _about(block, block.place("transport"), what, "remove it")
    if block.driver == "redirect" and block.flag("one_time") and _may_be_true(block, "unseen"):
        what = '"unseen" may not be used with "one_time"'
        yield _about(block, block.place("unseen"), what, "remove one of them")


def _may_be_true(block: DriverBlock, option: str) -> bool:
    """What is expanded later may become true, even where it can't be expanded as it stands."""
    return option in block.set_at and bool(block.options[option] or "$" in block.written[option].text)


def _about(block: DriverBlock, location: Location, what: str, remedy: str) -> Problem:
    return Problem(location, what, remedy, subject=f"{block.name} router")
