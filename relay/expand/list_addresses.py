"""Single items of address lists (decision).

The forms are Exim's: `local@domain`, where each side may be a pattern and the domain anything that a domain list may
hold; a bare domain; `^regex` and `type;file` for the whole address; `@@type;file`, which finds local parts by domain;
and nothing, for the sender of bounces.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.expand.list_items import Hit, InnerList, ItemTest, ListKind, Subject, lookup_item, regex_item, string_item
from relay.expand.scope import Scope
from relay.expand.splitting import SPACE, split_list
from relay.expand.values import lower, taint_like
from relay.mail.ports import TemporaryFailure

_WHOLE_LOOKUP = re.compile(r"[A-Za-z0-9-]*\*?@?;")
_SPECIAL_DOMAINS = ("", "[]", "mx_any", "mx_primary", "mx_secondary")
# How often a list of local parts may lead on to another one.
_CHAIN_LIMIT = 50


def address_item(text: str, caseless: bool, inner: InnerList) -> ItemTest:
    """The test for one item. Raises BadItem, NoLookup. Exim: check_address."""
    if text.startswith("^"):
        return _of_whole_address(regex_item(text, caseless), caseless, gives_data=False)
    if _WHOLE_LOOKUP.match(text):
        return _of_whole_address(lookup_item(text, caseless, is_whole_address=True), caseless)
    if text.startswith("@@"):
        return _local_parts_by_domain(text[2:], caseless)
    local, domain = _split_pattern(text)
    shown = "" if local is None else local.removeprefix("*")
    star = _local_pattern(local, caseless) if local is not None else None
    # Exim: behind +caseful the domain of an item is compared as it is written, with the address's in lower case.
    in_domains = inner(ListKind.DOMAIN, (taint_like(domain, text),) if domain else (), caseless)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        if not subject.text:
            return None if text else Hit("")
        given = _as_compared(subject, caseless)
        subject_local, at, subject_domain = given.rpartition("@")
        if not at:
            return None
        found = star(subject_local) if star is not None else ()
        if found is None:
            return None
        subject_domain = taint_like(subject_domain, given)
        hit = await in_domains(Subject(subject_domain, subject_domain), scope)
        if hit is None:
            return None
        stars = (taint_like(each, given) for each in found)
        return Hit(f"{shown}@{hit.data or ''}", (subject.text, *stars, *hit.captures[1:]))

    return matches


def _as_compared(subject: Subject, caseless: bool) -> str:
    """The address in lower case; where the case of the local part counts, only its domain."""
    if caseless:
        return subject.folded
    local, at, domain = subject.text.rpartition("@")
    return taint_like(f"{local}{at}{lower(domain)}", subject.text)


def _of_whole_address(test: ItemTest, caseless: bool, gives_data: bool = True) -> ItemTest:
    """A test that a text without a domain, which is no address, does not pass."""

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        if "@" not in subject.text and subject.text:
            return None
        given = _as_compared(subject, caseless)
        hit = await test(Subject(given, given), scope)
        return None if hit is None else Hit(hit.data if gives_data else None, (subject.text, *hit.captures[1:]))

    return matches


def _split_pattern(text: str) -> tuple[str | None, str]:
    """Local part (None: any) and domain of `local@domain`, `domain`, `local@@`, `local@@[]`."""
    at = text.rfind("@")
    if at < 0:
        return None, text
    if at > 0 and text[at - 1] == "@" and text[at + 1 :] in _SPECIAL_DOMAINS:
        return text[: at - 1], text[at:]
    return text[:at], text[at + 1 :]


def _local_pattern(pattern: str, caseless: bool) -> Callable[[str], tuple[str, ...] | None]:
    """The local part of an item: gives what its star stands for, if it has one; None for no."""
    wanted = lower(pattern) if caseless else pattern
    if not wanted.startswith("*"):
        return lambda local: () if local == wanted else None
    tail = wanted[1:]
    return lambda local: (local[: len(local) - len(tail)],) if local.endswith(tail) else None


def _local_parts_by_domain(text: str, caseless: bool) -> ItemTest:
    """`@@type;file`: the domain gives a list of local parts, whose last item may lead on with `>`."""
    domain_test = string_item(text, caseless=True)

    async def matches(subject: Subject, scope: Scope) -> Hit | None:
        given = _as_compared(subject, caseless)
        local, _, domain = given.rpartition("@")
        if not domain or local == "*":
            return None
        local = taint_like(local, given)
        key: str | None = taint_like(domain, given)
        for _ in range(_CHAIN_LIMIT):
            hit = await domain_test(Subject(key or "", key or ""), scope)
            if hit is None or hit.data is None:
                return None
            parts, key = _chained(hit.data)
            for part in split_list(taint_like(parts, hit.data)).items:
                negated = part.startswith("!")
                bare = taint_like(part[1:].lstrip(SPACE), part) if negated else part
                found = await string_item(bare, caseless)(Subject(local, lower(local)), scope)
                if found is not None:
                    return None if negated else Hit(found.data)
            if key is None:
                return None
        raise TemporaryFailure(f"Loop detected in lookup of local part of {subject.text} in @@{text}")

    return matches


def _chained(data: str) -> tuple[str, str | None]:
    """A list of local parts, and the key that its last item leads on to."""
    head, colon, last = data.rpartition(":")
    last = last.strip(SPACE)
    if not last.startswith(">"):
        return data, None
    return (head + colon if colon else ""), last[1:].strip(SPACE)
