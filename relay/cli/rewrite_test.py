"""`relay-sendmail -brw ADDRESS`: what the rewriting rules make of an address, in each place where it may stand (edge).

Exim: rewrite_test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from relay.cli.address_test import Complaints
from relay.cli.expand import make_scope
from relay.cli.reading import answer, understand_configuration
from relay.esmtp.header_addresses import Mailbox, Unreadable, locate_mailboxes
from relay.mail.address import Address
from relay.mail.header import make_field
from relay.mail.text import from_wire, printable
from relay.policy.rewrite import Flag, RewriteContext, RewriteRule, rewrite_address, rewrite_header, rewrite_path

_FIELDS = ("sender", "from", "to", "cc", "bcc", "reply-to")
_ENVELOPE = (("env-from", Flag.ENVELOPE_FROM), ("env-to", Flag.ENVELOPE_TO))


def test_rewriting(path: Path, macros: dict[str, str], text: str) -> Iterator[str]:
    """The lines about an address, which may be written as in a header field. Raises ConfigurationError."""
    configuration = understand_configuration(path, macros).configuration
    rules = configuration.rewrite
    if not rules:
        yield "No rewrite rules are defined"
        return
    domain = configuration.main.qualify_recipient
    context = RewriteContext(make_scope(path, macros), Complaints(), domain)
    at_smtp_time = [rule for rule in rules if rule.flags & Flag.SMTP_TIME]
    told = answer(_as_path(text, rules, context)) if at_smtp_time else ""
    if told:
        yield f"    SMTP: {told}"
    if not any(rule.flags & Flag.EVERYWHERE for rule in rules):
        return
    text = text if "@" in text else f"{text}@{domain}"
    found = _only(text)
    if isinstance(found, str):
        if not told:
            yield f"Syntax error in {printable(text)}"
            yield found[:1].upper() + found[1:]
        return
    for name in _FIELDS:
        (field,) = answer(rewrite_header((make_field(name, text),), rules, context))
        yield f"{name:>8}: {printable(from_wire(field.value).strip())}"
    for name, which in _ENVELOPE:
        yield f"{name:>8}: {_shown(answer(rewrite_address(found, which, rules, context)))}"


async def _as_path(text: str, rules: tuple[RewriteRule, ...], context: RewriteContext) -> str:
    """What it is at SMTP time; "" where nothing changes, and where it is no address."""
    given = _only(text)
    if isinstance(given, str):
        return ""
    found = await rewrite_path(given, True, rules, context)
    return "" if found == given else _shown(found)


def _only(text: str) -> Address | str:
    """The one address that a text is, or what is wrong with it."""
    match list(locate_mailboxes(text)):
        case [Mailbox(address)]:
            return address
        case [Unreadable(_, reason), *_]:
            return reason
        case _:
            return "more than one address, or none"


def _shown(address: Address) -> str:
    return "<>" if address.is_null else printable(str(address))
