"""The header of a copy as a transport wants it: fields added, removed, rewritten (decision).

Exim's order: the fields of the delivery itself, the message's own without those removed and rewritten, what routers
add, what the transport adds. What is added to one copy is in no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.splitting import split_list
from relay.mail.address import Address
from relay.mail.header import Field, join_fields, make_field, split_header
from relay.mail.ports import Journal, TemporaryFailure
from relay.mail.text import printable, to_wire
from relay.policy.rewrite import RewriteContext, RewriteRule, rewrite_header


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """The options of a transport that change the header, named as in Exim."""

    return_path_add: bool = False
    envelope_to_add: bool = False
    delivery_date_add: bool = False
    headers_add: tuple[Expansion, ...] = ()
    headers_remove: tuple[Expansion, ...] = ()
    headers_rewrite: tuple[RewriteRule, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (
            self.return_path_add
            or self.envelope_to_add
            or self.delivery_date_add
            or self.headers_add
            or self.headers_remove
            or self.headers_rewrite
        )


@dataclass(frozen=True, slots=True)
class RouterEdits:
    """What routers add and remove, expanded already; a last star of a name stands for any end."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


NO_EDITS = RouterEdits()


class HeaderFailed(Exception):
    """headers_add or headers_remove could not be expanded; the text is for the log."""


async def edited_header(
    header: bytes,
    edits: HeaderEdits,
    scope: Scope,
    *,
    return_path: Address,
    recipients: Sequence[Address],
    now: float,
    journal: Journal,
    routers_add: Sequence[str] = (),
    routers_remove: Sequence[str] = (),
) -> bytes:
    """The header section for one copy, without the empty line. Raises HeaderFailed."""
    if edits.is_empty and not routers_add and not routers_remove:
        return header
    try:
        removed = [*routers_remove, *await _names(edits.headers_remove, scope)]
        added = [*routers_add, *await _texts(edits.headers_add, scope)]
    except (ExpansionFailed, TemporaryFailure) as error:
        raise HeaderFailed(f"failed to expand headers_add or headers_remove: {error}") from error
    first = _delivery_fields(edits, return_path, recipients, now)
    fields, rest = split_header(header)
    patterns = [_pattern(name) for name in removed if name]
    kept = tuple(
        field
        for field in fields
        if not any(field.is_named(each.name) for each in first)
        and not any(pattern.fullmatch(field.name) for pattern in patterns)
    )
    if edits.headers_rewrite:
        context = RewriteContext(scope, journal, scope.main.get("qualify_recipient", ""))
        kept = await rewrite_header(kept, edits.headers_rewrite, context)
    return join_fields((*first, *kept)) + b"".join(_lines(text) for text in added) + rest


def _delivery_fields(
    edits: HeaderEdits, return_path: Address, recipients: Sequence[Address], now: float
) -> tuple[Field, ...]:
    """RFC 5321 4.4: one Return-Path, made at the final delivery; older fields of these names are dropped."""
    made: list[Field] = []
    if edits.return_path_add:
        made.append(make_field("Return-path", f"<{_on_one_line(str(return_path))}>"))
    if edits.envelope_to_add:
        shown = dict.fromkeys(_on_one_line(str(each)) for each in recipients)
        made.append(make_field("Envelope-to", ",\r\n ".join(shown)))
    if edits.delivery_date_add:
        made.append(make_field("Delivery-date", formatdate(now, localtime=True)))
    return tuple(made)


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else printable(text)


async def _names(expansions: Sequence[Expansion], scope: Scope) -> list[str]:
    names: list[str] = []
    for expansion in expansions:
        try:
            names += [name.rstrip(": \t") for name in split_list(await expansion.text(scope)).items]
        except ForcedFailure:
            continue
    return names


async def _texts(expansions: Sequence[Expansion], scope: Scope) -> list[str]:
    texts: list[str] = []
    for expansion in expansions:
        try:
            texts.append(await expansion.lines(scope))
        except ForcedFailure:
            continue
    return texts


def _pattern(name: str) -> re.Pattern[str]:
    """A star at the end stands for any end."""
    stem = name.removesuffix("*")
    return re.compile(re.escape(stem) + (".*" if stem != name else ""), re.IGNORECASE)


def _lines(text: str) -> bytes:
    """Added text as lines of a header: an empty line would end it, so none is written."""
    return b"".join(to_wire(line) + b"\r\n" for line in text.replace("\r\n", "\n").split("\n") if line.strip())
