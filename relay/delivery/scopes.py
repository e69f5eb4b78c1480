"""What expansions see of a message that is being delivered, and of each address of it (values)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.delivery.local_address import LocalAddress
from relay.expand.scope import AddressView, HostView, MessageView, Scope
from relay.expand.values import taint_like
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.glance import BodyGlance
from relay.mail.header import split_header
from relay.mail.ports import Body
from relay.mail.queue import QueuedMessage
from relay.policy.routers.answers import Routed


def message_scope(message: QueuedMessage, base: Scope, now: float) -> Scope:
    """What expansions see of a queued message: the facts of its reception come from its row."""
    fields, _ = split_header(message.header)
    view = MessageView(
        sender=message.sender,
        recipients=tuple(each.recipient.address for each in message.recipients),
        size=message.size,
        body_size=message.body_size,
        header=fields,
        message_id=message.message_id,
        received_at=message.facts.received_at,
    )
    return base.child(
        session=message.facts.session,
        now=now,
        message=view,
        acl_variables=message.facts.acl_variables,
        first_delivery=message.attempts == 0,
    )


async def with_body(scope: Scope, message: QueuedMessage, body: Body, visible: int) -> Scope:
    """The scope of a message with what variables show of its body, `visible` octets of either end.

    Raises SpoolUnavailable.
    """
    if scope.message is None:
        return scope
    # Variables show LF where CRLF stands: twice as many octets are enough for any text.
    glance, number = BodyGlance(2 * visible), 0
    while piece := await body.piece(number):
        glance.look(piece)
        number += 1
    return scope.child(message=glanced(scope.message, message, glance, visible))


def glanced(view: MessageView, message: QueuedMessage, glance: BodyGlance, visible: int) -> MessageView:
    """Sizes are those of a spool with one octet at the end of each line, and the blank line is none of the lines."""
    header_lines = message.header.count(b"\n")
    return replace(
        view,
        size=message.size - header_lines - 1 - glance.lines,
        body_size=message.body_size - glance.lines,
        body_start=glance.start.replace(b"\r\n", b"\n")[:visible],
        body_end=glance.end.replace(b"\r\n", b"\n")[-visible:] if visible else b"",
        body_lines=glance.lines,
        body_zeros=glance.zeros,
        lines=header_lines + glance.lines,
        longest_line=glance.longest,
    )


def address_scope(scope: Scope, routed: Routed) -> Scope:
    """What the options of a transport see: the address, and what its router found out about it."""
    more = {**scope.more, "router_name": routed.router, "transport_name": routed.transport}
    if routed.self_hostname:
        more["self_hostname"] = routed.self_hostname
    if routed.text:
        more["address_pipe" if routed.text[0] == "|" else "address_file"] = routed.text
    return scope.child(
        address=routed.view,
        host=HostView(routed.host_text) if routed.host_text else None,
        domain_data=routed.domain_data,
        local_part_data=routed.local_part_data,
        more=more,
    )


def remote_scope(scope: Scope, recipients: Sequence[Recipient], routed: Routed) -> Scope:
    """What the options of a remote transport see: $domain where all recipients have it, $local_part where there is
    only one."""
    first = recipients[0].address
    seen = address_scope(scope, routed)
    if len(recipients) == 1:
        return seen
    is_shared = all(each.address.domain.lower() == first.domain.lower() for each in recipients)
    domain = first.domain if is_shared else ""
    return seen.child(address=AddressView(domain=domain, original_domain=domain, address_data=routed.view.address_data))


def without_affixes(address: Address, routed: Routed) -> Address:
    """As a server gets to see it: without the prefix and suffix that the router cut off."""
    local_part, view = address.local_part, routed.view
    if view.prefix and local_part.lower().startswith(view.prefix.lower()):
        local_part = local_part[len(view.prefix) :]
    if view.suffix and local_part.lower().endswith(view.suffix.lower()):
        local_part = local_part[: -len(view.suffix)]
    return replace(address, local_part=local_part)


def local_address(
    scope: Scope, recipient: Recipient, routed: Routed, further: tuple[Address, ...] = ()
) -> LocalAddress:
    """What a local transport gets of a recipient, and of others that the delivery is for."""
    is_pipe = routed.text.startswith("|")
    return LocalAddress(
        recipient=recipient,
        further=further,
        original=recipient.original or routed.item.top.address,
        scope=address_scope(scope, routed),
        file="" if is_pipe else routed.text,
        pipe=taint_like(routed.text[1:].lstrip(), routed.text) if is_pipe else "",
        user=routed.user,
        group=routed.group,
        initgroups=routed.initgroups,
        home_directory=routed.home_directory,
        current_directory=routed.current_directory,
        return_path=routed.carried.errors_to,
        headers_add=routed.carried.headers_add,
        headers_remove=routed.carried.headers_remove,
    )
