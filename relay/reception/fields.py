"""The header section as it goes into the queue: our trace field, and what ACLs changed (values).

Header fix-ups (`fixups.py`) are for submissions only, local callers and `control = submission`: a message that is
merely relayed leaves with the fields that it came with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.patterns import Pattern, PatternError
from relay.expand.scope import Scope
from relay.mail.envelope import BodyType
from relay.mail.header import Field, make_field, split_header
from relay.mail.text import from_wire, printable, to_wire
from relay.policy.acl_values import AddedField, Effects, Place

_UNSAFE = re.compile(r"[^\x09\x0a\x20-\x7e\x80-\U0010ffff]")


async def received_field(template: Expansion, scope: Scope, now: float) -> Field:
    """Our Received: field (Exim: received_header_text, the date is added behind it). Raises ExpansionFailed.

    Peer text in it is made printable first, so that it can't begin a field of its own. A text that is empty makes a
    field without any octets: the message gets none.
    """
    text = await template.lines(scope)
    value = text.partition(":")[2] if text.lower().startswith("received:") else text
    lines = [_UNSAFE.sub("?", line).strip() for line in value.strip().split("\n")]
    folded = "\r\n\t".join(line for line in lines if line)
    if not folded:
        return Field("Received", b"")
    return make_field("Received", f"{folded};\r\n\t{formatdate(now, localtime=True)}")


def change_header(fields: tuple[Field, ...], trace: Field, effects: Effects) -> tuple[Field, ...]:
    """The fields less what ACLs removed, plus what they added; `trace` is our own, which nobody removes.

    Only what came before is removed, not what is added with it. Among fields that go to one place other than the end
    the last one comes first. Exim: receive.c, add_acl_headers.
    """
    kept = [field for field in fields if field is trace or not _is_removed(field, effects.removed)]
    for each in effects.added:
        found = added_fields(each)
        place = _place(kept, each.place)
        kept[place:place] = found
    return tuple(kept)


def body_type(fields: tuple[Field, ...], *, is_ascii: bool) -> BodyType:
    """What is said of a message for which nobody has said it.

    BODY=8BITMIME promises a MIME message (RFC 6152 3). Octets outside US-ASCII without MIME are nothing that has a
    name: they go on as they came and without a promise, as Exim sends them.
    """
    is_mime = any(field.is_named("MIME-Version") for field in fields)
    return BodyType.EIGHTBITMIME if is_mime and not is_ascii else BodyType.SEVENBIT


def _is_removed(field: Field, removed: list[str]) -> bool:
    """An item is a name, or with `^` a pattern for the whole field."""
    for item in removed:
        if item.startswith("^"):
            if _pattern(item).search(from_wire(field.raw)) is not None:
                return True
        elif field.is_named(item):
            return True
    return False


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern:
    """Raises ExpansionFailed."""
    try:
        return Pattern(text, caseless=False)
    except PatternError as error:
        raise ExpansionFailed(f"remove_header: {error}") from None


def _place(fields: list[Field], place: Place) -> int:
    """Where the next field goes."""
    match place:
        case Place.END:
            return len(fields)
        case Place.START:
            return 0
        case Place.AFTER_RECEIVED:
            first = next((number for number, field in enumerate(fields) if field.is_named("Received")), len(fields))
            return _behind(fields, first, lambda field: field.is_named("Received"))
        case Place.START_RFC:
            # RFC 5322 3.6.6: a block that says how a message was resent stays on top.
            return _behind(fields, 1, lambda field: field.is_named("Received") or _is_resent(field))


def _behind(fields: list[Field], start: int, belongs: Callable[[Field], bool]) -> int:
    """The first place from `start` on whose field does not belong to the block."""
    place = start
    while place < len(fields) and belongs(fields[place]):
        place += 1
    return min(place, len(fields))


def _is_resent(field: Field) -> bool:
    return field.name.lower().startswith("resent-")


def added_fields(added: AddedField) -> list[Field]:
    """The text of an `add_header` as fields; a line that is no field becomes X-ACL-Warn as in Exim."""
    lines = _UNSAFE.sub("?", added.text).rstrip("\n").split("\n")
    raw = b"".join(to_wire(line) + b"\r\n" for line in lines if line.strip())
    fields, rest = split_header(raw)
    if rest:
        fields = (*fields, make_field("X-ACL-Warn", printable(from_wire(rest).strip())))
    return list(fields)
