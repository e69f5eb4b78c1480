"""When a message's addresses are rewritten: once its header is known, before the DATA ACL judges it (decision).

The same for local messages and for those of peers. The ACLs for MAIL and RCPT have seen the addresses as they were
given; the recipients are rewritten first, then the sender, then the header, whose rules see the new sender.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.expand.scope import MessageView, Scope
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.header import Field
from relay.policy.rewrite import Flag, RewriteContext, RewriteRule, rewrite_address, rewrite_header, rewrite_path
from relay.reception.rules import Ports, Rules


@dataclass(frozen=True, slots=True)
class Addressed:
    """The parts of a message that have addresses in them."""

    sender: Address
    recipients: tuple[Recipient, ...]
    fields: tuple[Field, ...]


async def rewrite_recipients(
    recipients: tuple[Recipient, ...], rules: tuple[RewriteRule, ...], context: RewriteContext
) -> tuple[Recipient, ...]:
    """The recipients rewritten; where that has made two the same, the first of them stays."""
    found = [await rewrite_address(each.address, Flag.ENVELOPE_TO, rules, context) for each in recipients]
    if all(new == each.address for new, each in zip(found, recipients, strict=True)):
        return recipients
    unique: dict[str, Recipient] = {}
    for new, each in zip(found, recipients, strict=True):
        unique.setdefault(new.key(), replace(each, address=new))
    return tuple(unique.values())


async def rewrite_message(given: Addressed, rules: tuple[RewriteRule, ...], context: RewriteContext) -> Addressed:
    """Envelope and header rewritten."""
    recipients = await rewrite_recipients(given.recipients, rules, context)
    sender = await rewrite_address(given.sender, Flag.ENVELOPE_FROM, rules, context)
    view = replace(context.scope.message or MessageView(), sender=sender)
    seen = replace(context, scope=context.scope.child(message=view))
    return Addressed(sender, recipients, await rewrite_header(given.fields, rules, seen))


# For the session


async def rewrite_incoming(given: Addressed, rules: Rules, scope: Scope, ports: Ports, completes: Flag) -> Addressed:
    """A message rewritten. Unqualified addresses in the fields that `completes` names get a domain."""
    context = replace(_context(rules, scope, ports), completes=completes)
    if completes:
        context = replace(context, qualify_domain=rules.qualify_domain)
    return await rewrite_message(given, rules.rewrite, context)


async def rewrite_at_smtp_time(
    address: Address, is_sender: bool, rules: Rules, scope: Callable[[], Scope], ports: Ports
) -> Address:
    """The address of MAIL or RCPT as rules with the flag S make it, before anything else sees it."""
    if not any(rule.flags & Flag.SMTP_TIME for rule in rules.rewrite):
        return address
    return await rewrite_path(address, is_sender, rules.rewrite, _context(rules, scope(), ports))


def _context(rules: Rules, scope: Scope, ports: Ports) -> RewriteContext:
    return RewriteContext(scope, ports.journal, rules.qualify_recipient, concurrency=ports.concurrency)
