"""Mail addresses as values (values).

An address is kept as its two halves in their meaning, not their spelling: the local part without quoting, the domain
as it was written. `str` gives the form for the wire, quoted where RFC 5321 4.1.2 asks for it. Reading an address from
a command is the business of `esmtp/grammar.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOT_STRING = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
_QUOTABLE = re.compile(r'(["\\])')


@dataclass(frozen=True, slots=True)
class Address:
    """`local_part@domain`; an empty domain marks an unqualified address, both empty the null sender `<>`."""

    local_part: str
    domain: str = ""

    def __str__(self) -> str:
        if self.is_null:
            return ""
        local = self.local_part
        if not _DOT_STRING.fullmatch(local):
            local = '"' + _QUOTABLE.sub(r"\\\1", local) + '"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_null(self) -> bool:
        """True for the sender of bounces, RFC 5321 4.5.5."""
        return not self.local_part and not self.domain

    @property
    def is_qualified(self) -> bool:
        return bool(self.domain)

    def qualified(self, domain: str) -> Address:
        """The same address with `domain` where it had none; the null sender stays null."""
        if self.domain or self.is_null:
            return self
        return Address(self.local_part, domain)

    def key(self) -> str:
        """What two spellings of one mailbox have in common: the domain in lower case."""
        return f"{self.local_part}@{self.domain.lower()}"


NULL_SENDER = Address("", "")


def address_from_text(text: str) -> Address:
    """An address from text that we wrote ourselves (a queue row, an option): split at the last `@`, unquoted.

    No syntax is checked here; input from outside goes through `esmtp.grammar`.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        local, domain = text, ""
    if len(local) >= 2 and local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(local, domain)
