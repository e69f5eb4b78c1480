"""Lists of hosts as a route or a transport names them (machine).

`name`, `name:port` (the colon doubled where colons separate), `[address]:port`, an address; `+` begins a new group
within which hosts are shuffled; `name/MX` stands for the mail exchangers of a domain.
"""

from __future__ import annotations

import ipaddress
import re

from relay.expand.splitting import split_list
from relay.mail.text import printable
from relay.policy.routers.answers import RouteHost

_HOST_WITH_PORT = re.compile(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+):(\d+)")
_MX = "/mx"


class HostListError(Exception):
    """A list that can't be read; the text says what, and `remedy` what to do."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy


def parse_hosts(text: str) -> tuple[RouteHost, ...]:
    """The hosts in their order. Raises HostListError."""
    hosts: list[RouteHost] = []
    group = 0
    for item in split_list(text).items:
        if item == "+":
            group += 1
        elif item:
            hosts.append(_parse_host(item, group))
    return tuple(hosts)


def _parse_host(item: str, group: int) -> RouteHost:
    name, port = item, None
    if is_address(item):
        return RouteHost(item, None, (), group)
    if found := _HOST_WITH_PORT.fullmatch(item):
        name = found.group(1) or found.group(3)
        digits = found.group(2) or found.group(4)
        port = int(digits) if digits else None
    shown = printable(item, 200)
    if port is not None and not 0 < port < 65536:
        raise HostListError(f'"{shown}": {port} is no port', "ports go from 1 to 65535")
    bare = exchangers_of(name) or name
    if re.search(r"[\s:/\[\]]", bare) and not is_address(bare):
        raise HostListError(f'"{shown}" is no host', "write name, name::port, or <; name ; [2001:db8::1]:587")
    return RouteHost(name, port, (), group)


def exchangers_of(name: str) -> str:
    """The domain of `domain/MX`, "" for any other name."""
    return name[: -len(_MX)] if name.lower().endswith(_MX) and len(name) > len(_MX) else ""


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 address without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
