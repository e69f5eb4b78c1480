"""The items of `local_interfaces` that are Twisted's endpoints (edge).

An item such as `endpoint:systemd:domain=INET6:index=0` is a description that Twisted's `serverFromString` knows: a
socket that was opened by somebody else (systemd, for one), or a TCP port with options. Behind `endpoint-tls:` each
connection begins with TLS. Ours; Exim has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.mail.source import ConfigurationError, Location, Problem

_ENDPOINT = re.compile(r"endpoint(-tls)?:(.*)", re.DOTALL)
_TCP_PORT = re.compile(r"endpoint(?:-tls)?:tcp6?:(?:port=)?(\d{1,5})\b")
_SERVED = ("tcp", "tcp6", "systemd")


@dataclass(frozen=True, slots=True)
class EndpointItem:
    """A description of Twisted's, and whether connections to it begin with TLS."""

    description: str
    tls: bool = False


def endpoint_item(text: str, location: Location) -> EndpointItem | None:
    """What an item of `local_interfaces` says of an endpoint; None for an address. Raises ConfigurationError."""
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None:
        return None
    description = match.group(2).strip()
    kind = description.partition(":")[0]
    if kind not in _SERVED or "domain=UNIX" in description:
        remedy = "write endpoint:tcp:PORT, or endpoint:systemd:domain=INET6:index=0; endpoint-tls: begins with TLS"
        raise ConfigurationError(Problem(location, f'local_interfaces: "{description}" can\'t be served', remedy))
    return EndpointItem(description, match.group(1) is not None)


def endpoint_port(text: str) -> int | None:
    """The port of such an item, where it says one."""
    match = _TCP_PORT.match(text.strip())
    return int(match.group(1)) if match is not None else None
