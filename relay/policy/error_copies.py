"""Who else gets what is sent to a sender about a failure (decision).

Exim: errors_copy, moan_check_errorcopy. Each item of the list is a pattern for the address that is told, blanks, and
the addresses of those who get a copy; the first item that fits counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from relay.expand.errors import ExpansionError
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import ListKind, MatchList, NamedLists, compile_list
from relay.expand.scope import AddressView, Scope
from relay.expand.splitting import split_list
from relay.mail.address import Address, address_from_text
from relay.mail.source import ConfigurationError, Location, Problem

_ITEM = re.compile(r'("(?:[^"\\]|\\.)*"|\S+)\s+(\S.*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ErrorCopy:
    """One item: for whom, and to whom."""

    pattern: MatchList
    addresses: Expansion


def parse_error_copies(text: str, location: Location, named: NamedLists | None = None) -> tuple[ErrorCopy, ...]:
    """The items of `errors_copy`. Raises ConfigurationError with every mistake in it."""
    found: list[ErrorCopy] = []
    problems: list[Problem] = []
    for item in split_list(text).items:
        match = _ITEM.fullmatch(item.strip())
        try:
            if match is None:
                problems.append(
                    Problem(location, f'errors_copy: "{item}" names nobody', "write a pattern, a blank, and addresses")
                )
            else:
                pattern = re.sub(r"\\(.)", r"\1", match[1][1:-1]) if match[1].startswith('"') else match[1]
                single = compile_list(ListKind.ADDRESS, f"<\x01 {pattern}", named)
                found.append(ErrorCopy(single, compile_expansion(match[2])))
        except ExpansionError as error:
            problems.append(Problem(location, f"errors_copy: {error}"))
    if problems:
        raise ConfigurationError(*problems)
    return tuple(found)


async def copies_of(rules: Sequence[ErrorCopy], told: Address, scope: Scope) -> tuple[Address, ...]:
    """Who gets a copy of what `told` is sent. Raises ExpansionFailed, TemporaryFailure."""
    view = AddressView(local_part=told.local_part, domain=told.domain)
    for rule in rules:
        if await rule.pattern.match(told, scope) is None:
            continue
        text = await rule.addresses.text(scope.child(address=view))
        addresses = (address_from_text(each.strip()) for each in text.split(","))
        return tuple(each for each in addresses if each.local_part and each.domain)
    return ()
