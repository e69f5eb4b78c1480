"""The header section as it goes into the queue: our trace field, what ACLs changed, what submission adds (values).

Header fix-ups are for submissions only (local callers and `control = submission`): a message that is merely relayed
leaves with the fields that it came with.
"""

from __future__ import annotations

import re
from email.utils import formatdate

from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.header import Field, make_field, split_header
from relay.mail.text import from_wire, printable, to_wire
from relay.policy.acl_values import AddedField, Effects, Place, Switch
from relay.reception.fixups import HeaderNeeds, fix_header

# Added on top of the header, RFC 5321 4.4.
_TRACE = frozenset({"received", "return-path", "delivered-to", "authentication-results", "arc-seal"})
_UNSAFE = re.compile(r"[^\x09\x0a\x20-\x7e\x80-\U0010ffff]")


async def received_field(template: Expansion, scope: Scope, now: float) -> Field:
    """Our Received: field (Exim: received_header_text, the date is added behind it). Raises ExpansionFailed.

    Peer text in it is made printable first, so that it can't begin a field of its own.
    """
    text = await template.lines(scope)
    value = text.partition(":")[2] if text.lower().startswith("received:") else text
    lines = [_UNSAFE.sub("?", line).strip() for line in value.strip().split("\n")]
    folded = "\r\n\t".join(line for line in lines if line)
    return make_field("Received", f"{folded};\r\n\t{formatdate(now, localtime=True)}")


def shape_header(
    fields: tuple[Field, ...], received: Field, effects: Effects, submission: HeaderNeeds | None
) -> tuple[Field, ...]:
    """The fields in their final order: the trace field, then what came, less what ACLs removed, plus what they added.

    `submission` None: the message is relayed, and nothing else is done to it.
    """
    removed = {name.lower() for name in effects.removed}
    kept = [field for field in fields if field.name.lower() not in removed]
    if submission is not None and not effects.has(Switch.SUPPRESS_LOCAL_FIXUPS):
        kept = list(fix_header(tuple(kept), submission).fields)
    placed: dict[Place, list[Field]] = {place: [] for place in Place}
    for added in effects.added:
        placed[added.place] += added_fields(added)
    return (
        *placed[Place.START],
        received,
        *placed[Place.AFTER_RECEIVED],
        *_behind_trace(kept, placed[Place.START_RFC]),
        *placed[Place.END],
    )


def _behind_trace(kept: list[Field], added: list[Field]) -> list[Field]:
    """`added` in front of the first field that is no trace field, RFC 5322 3.6."""
    if not added:
        return kept
    place = next((number for number, field in enumerate(kept) if field.name.lower() not in _TRACE), len(kept))
    return kept[:place] + added + kept[place:]


def added_fields(added: AddedField) -> list[Field]:
    """The text of an `add_header` as fields; a line that is no field becomes X-ACL-Warn as in Exim."""
    lines = _UNSAFE.sub("?", added.text).rstrip("\n").split("\n")
    raw = b"".join(to_wire(line) + b"\r\n" for line in lines if line.strip())
    fields, rest = split_header(raw)
    if rest:
        fields = (*fields, make_field("X-ACL-Warn", printable(from_wire(rest).strip())))
    return list(fields)
