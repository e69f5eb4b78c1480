"""The copy of a message that goes to servers, as the transport wants it: header, return path, size (decision)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from relay.delivery.header_edits import NO_EDITS, HeaderEdits, HeaderFailed, RouterEdits, edited_header
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.address import address_from_text
from relay.mail.envelope import Envelope
from relay.mail.outcome import Deferred, ErrorClass, Failed
from relay.mail.ports import Journal, TemporaryFailure
from relay.mail.queue import QueuedMessage

_UNITS = {"k": 10, "m": 20, "g": 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRules:
    """Options of any transport, named as in Exim."""

    header: HeaderEdits = field(default_factory=HeaderEdits)
    return_path: Expansion | None = None
    message_size_limit: Expansion | None = None


async def remote_copy(
    rules: CopyRules,
    name: str,
    envelope: Envelope,
    message: QueuedMessage,
    scope: Scope,
    now: float,
    journal: Journal,
    by_routers: RouterEdits = NO_EDITS,
) -> tuple[Envelope, bytes] | Deferred | Failed:
    """The envelope and the header for the servers; or why there is no copy."""
    try:
        limit = await _limit(rules, scope)
        if limit is None:
            return Deferred(f"message_size_limit of {name} transport is no number", ErrorClass.LOCAL)
        if 0 < limit < message.size:
            return Failed(f"message is too big (transport limit = {limit})")
        if rules.return_path is not None:
            envelope = await _with_return_path(envelope, rules.return_path, scope)
        header = await edited_header(
            message.header,
            rules.header,
            scope.child(more={**scope.more, "return_path": str(envelope.sender)}),
            return_path=envelope.sender,
            recipients=[each.address for each in envelope.recipients],
            now=now,
            journal=journal,
            routers_add=by_routers.add,
            routers_remove=by_routers.remove,
        )
    except (HeaderFailed, ExpansionFailed, TemporaryFailure) as error:
        return Deferred(f"{name} transport: {error}", ErrorClass.LOCAL)
    return envelope, header


async def _limit(rules: CopyRules, scope: Scope) -> int | None:
    """Octets, 0 for no limit; None where the text is no size."""
    if rules.message_size_limit is None:
        return 0
    try:
        return size_of(await rules.message_size_limit.text(scope))
    except ForcedFailure:
        return 0


async def _with_return_path(envelope: Envelope, option: Expansion, scope: Scope) -> Envelope:
    try:
        return replace(envelope, sender=address_from_text(await option.text(scope)))
    except ForcedFailure:
        return envelope


def size_of(text: str) -> int | None:
    """Octets of a size such as `50M`; None for anything else."""
    text = text.strip().lower()
    unit = _UNITS.get(text[-1:], 0)
    digits = text[:-1] if unit else text
    if not digits.isdigit() or not digits.isascii() or len(digits) > 18:
        return None
    return min(int(digits) << unit, 2**62)
