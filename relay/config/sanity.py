"""Values of main options that are well formed and still make no sense (machine)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from relay.config.main_options import MainOptions
from relay.config.options import BadValue, read_integer
from relay.mail.source import Location, Problem
from relay.observe.selectors import parse_selector

DN_STYLES = ("openssl", "rfc2253")
_ENGINES = ("sqlite:", "postgresql:")


def problems(main: MainOptions, place: Callable[[str], Location]) -> list[Problem]:
    """All of them; `place` gives the line that sets an option."""
    return [Problem(place(option), what, remedy) for option, what, remedy in _found(main)]


def _found(main: MainOptions) -> Iterator[tuple[str, str, str]]:
    if main.tls_dn_style not in DN_STYLES:
        yield "tls_dn_style", f'"{main.tls_dn_style}" is not a style of names', f"use {' or '.join(DN_STYLES)}"
    if not main.spool_directory.startswith("/"):
        yield "spool_directory", f'spool_directory "{main.spool_directory}" is not an absolute path', "name it whole"
    if not main.queue.startswith(_ENGINES):
        yield "queue", f'"{main.queue}" names no database', "write queue = sqlite:/path/to/directory"
    elif main.queue.startswith("postgresql:"):
        yield "queue", "a queue in PostgreSQL is not served yet", "write queue = sqlite:/path/to/directory"
    try:
        parse_selector(main.log_selector)
    except ValueError as error:
        yield "log_selector", str(error), "correct the name"
    for path in main.log_file_path.split(":"):
        if path.strip() not in ("", "syslog") and "%s" not in path:
            yield "log_file_path", f'log_file_path "{path.strip()}" does not contain "%s"', "write …/%slog"
    size = main.message_size_limit
    if size is not None:
        try:
            if size.constant is None:
                raise BadValue("it is not expanded for each message here")
            read_integer(size.constant or "0", "message_size_limit")
        except BadValue as error:
            yield "message_size_limit", f"message_size_limit: {error.what}", "write a number such as 50M"
    for option, value in (
        ("smtp_accept_max", main.smtp_accept_max),
        ("smtp_connect_backlog", main.smtp_connect_backlog),
        ("recipients_max", main.recipients_max),
        ("received_headers_max", main.received_headers_max),
        ("smtp_max_synprot_errors", main.smtp_max_synprot_errors),
        ("smtp_max_unknown_commands", main.smtp_max_unknown_commands),
        ("bounce_return_size_limit", main.bounce_return_size_limit),
    ):
        if value < 0:
            yield option, f"{option} is negative", "write a number that is not"
