"""The header fields that a message came with and does not go on with (values).

Programs that fix and rewrite a header leave an operator with the question what was there before. Exim keeps such fields
in its spool with a star, and `-Mvh` shows them; they are never delivered. Only fields that were taken out or written
anew are kept, at the place where they were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from relay.mail.facts import DroppedField
from relay.mail.header import Field

# Octets that are kept of a message: what goes beyond is forgotten, last first.
_LIMIT = 65536


def dropped_fields(*stages: Sequence[Field]) -> tuple[DroppedField, ...]:
    """What was in one stage of a header and is not in the next; in place of the last one."""
    slots: list[list[Field]] = [[] for _ in range(len(stages[0]) + 1)]
    fields = stages[0]
    for after in stages[1:]:
        if fields != after:
            slots = _moved(fields, slots, after)
        fields = after
    left = _LIMIT
    found: list[DroppedField] = []
    for place, slot in enumerate(slots):
        for field in slot:
            left -= len(field.raw)
            if left < 0:
                return tuple(found)
            found.append(DroppedField(len(fields) - place, field.raw))
    return tuple(found)


def _moved(before: Sequence[Field], slots: Sequence[Sequence[Field]], after: Sequence[Field]) -> list[list[Field]]:
    """What stands in front of each field of the new stage, and behind the last one. A field that was written anew has
    the old one in front of it; one that was taken out stays behind its neighbour."""
    same: dict[Field, deque[int]] = {}
    for place, field in enumerate(after):
        same.setdefault(field, deque()).append(place)
    kept = {number: same[field].popleft() for number, field in enumerate(before) if same.get(field)}
    named: dict[str, deque[int]] = {}
    for place in sorted(place for places in same.values() for place in places):
        named.setdefault(after[place].name.lower(), deque()).append(place)
    found: list[list[Field]] = [[] for _ in range(len(after) + 1)]
    next_place = 0
    for number, field in enumerate(before):
        found[next_place] += slots[number]
        if number in kept:
            next_place = kept[number] + 1
        elif places := named.get(field.name.lower()):
            place = places.popleft()
            found[place].append(field)
            next_place = place + 1
        else:
            found[next_place].append(field)
    found[next_place] += slots[len(before)]
    return found
