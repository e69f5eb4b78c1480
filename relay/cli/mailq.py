"""The queue as `mailq` shows it, in Exim's format to the column (values).

Programs read it (exiqsumm, monitoring): age, size, message id, sender, then the recipients, `D` before those
that are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from relay.mail.queue import QueueEntry, RecipientState
from relay.mail.text import printable


def age(seconds: float) -> str:
    """Minutes up to ninety, hours up to seventy-two, then days, two columns and a letter."""
    minutes = max(int(seconds), 0) // 60
    if minutes <= 90:
        return f"{minutes:2d}m"
    hours = (minutes + 30) // 60
    if hours <= 72:
        return f"{hours:2d}h"
    return f"{(hours + 12) // 24:2d}d"


def size(octets: int) -> str:
    """A size in five columns."""
    if octets == 0:
        return "     "
    if octets < 1024:
        return f"{octets:5d}"
    if octets < 10 * 1024:
        return f"{octets / 1024:4.1f}K"
    if octets < 1024 * 1024:
        return f"{(octets + 512) // 1024:4d}K"
    if octets < 10 * 1024 * 1024:
        return f"{octets / (1024 * 1024):4.1f}M"
    return f"{(octets + 512 * 1024) // (1024 * 1024):4d}M"


def listing(entries: Iterable[QueueEntry], now: float, letters: str) -> Iterator[str]:
    """The lines of `-bp`; `letters` are what followed it: i for ids alone, u for recipients that wait
    alone, a for what was made of them as well."""
    for entry in entries:
        if "i" in letters:
            yield entry.message_id
            continue
        # Who called is shown where the sender does not say it.
        is_told = entry.caller and entry.caller != entry.sender.local_part
        caller = f" ({printable(entry.caller)})" if is_told else ""
        frozen = " *** frozen ***" if entry.frozen else ""
        sender = f"<{printable(str(entry.sender))}>"
        yield f"{age(now - entry.received_at)} {size(entry.size)} {entry.message_id} {sender}{caller}{frozen}"
        for each in entry.recipients:
            is_done = each.state is not RecipientState.PENDING
            if not (is_done and "u" in letters):
                yield f"        {'D' if is_done else ' '} {printable(str(each.recipient.address))}"
        if "a" in letters:
            yield from (f"       +D {printable(each)}" for each in _made_and_done(entry))
        yield ""


def _made_and_done(entry: QueueEntry) -> list[str]:
    """Addresses that are done and were made of recipients."""
    named = {each.recipient.address.key() for each in entry.recipients}
    done = {key.partition("\t")[0] for each in entry.recipients for key in each.done}
    return sorted(done - named)
