"""Items of host lists that look like addresses and are none, as a typing error makes them (machine).

Such an item is taken for a name that is not an address, so that it never matches (`10.0.0/24`), or it matches
less than it seems to say (`10.0.0.0/33`). Exim says nothing; `relay check` warns.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from relay.config.read import Configuration
from relay.expand.lists import ListKind, MatchList
from relay.expand.splitting import split_list
from relay.mail.source import Location, Problem, Severity

_LOOKS_LIKE_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+)*\.?(?:/.*)?")
_LOOKS_LIKE_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]+(?:/.*)?")
_STEP = re.compile(r"\bhosts\s*=\s*(.*)", re.DOTALL)


def fault_of(item: str) -> str:
    """What is wrong with an item of a host list, "" where nothing is to be said of it."""
    text = item.removeprefix("!").strip()
    if not _LOOKS_LIKE_IPV4.fullmatch(text) and not _LOOKS_LIKE_IPV6.fullmatch(text):
        return ""
    host, slash, mask = text.partition("/")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f'"{text[:60]}" is not an address and never matches'
    if slash and not (mask.isascii() and mask.isdigit()):
        return f'"{text[:60]}" has no number of bits behind its "/" and never matches'
    if slash and int(mask[:9]) > address.max_prefixlen:
        return f'"{text[:60]}" matches one address only: there are no more than {address.max_prefixlen} bits'
    return ""


def host_item_problems(configuration: Configuration) -> Iterator[Problem]:
    """A warning for each such item in an option, a named list or an ACL."""
    for location, text in _host_lists(configuration):
        if "$" in text:
            continue
        for item in split_list(text).items:
            if what := fault_of(item):
                yield Problem(location, what, "write it whole, as 192.0.2.0/24", Severity.WARNING)


def _host_lists(configuration: Configuration) -> Iterator[tuple[Location, str]]:
    for name, option in configuration.settings.items():
        value = getattr(configuration.main, name, option.value)
        if isinstance(value, MatchList) and value.kind is ListKind.HOST:
            yield option.location, value.source
    for block in configuration.blocks:
        for name, place in block.set_at.items():
            value = block.options[name]
            if isinstance(value, MatchList) and value.kind is ListKind.HOST:
                yield place, value.source
    for named in configuration.named_lists.definitions.values():
        if named.kind is ListKind.HOST:
            yield named.location, named.text
    for acl in configuration.acls.values():
        for step in acl.steps:
            if step.name == "hosts" and (match := _STEP.search(step.text)):
                yield step.location, match.group(1)
