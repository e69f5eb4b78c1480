"""Messages that are held back: when they are let go by themselves, and who is told that one is held (machine).

Exim looks at a frozen message in each queue run; here the runner looks at all of them from time to time. What somebody
has frozen by hand has no time of freezing and is never thawed by `auto_thaw`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from relay.delivery.report import (
    OUR_WORDING,
    Report,
    ReportSettings,
    Wording,
    from_field,
    last_fields,
    received,
    references,
    shown,
)
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.facts import MessageFacts, SessionFacts
from relay.mail.queue import NewMessage, QueuedMessage, QueueEntry
from relay.mail.text import printable, to_wire

TIMED_OUT = "delivery cancelled; message timed out"


@dataclass(frozen=True, slots=True)
class FrozenRules:
    """Exim's options of the same names, in seconds; 0: never."""

    timeout_frozen_after: float = 0.0
    auto_thaw: float = 0.0
    ignore_bounce_errors_after: float = 70 * 86400.0


NEVER_RELEASED = FrozenRules(ignore_bounce_errors_after=float("inf"))


class Release(enum.Enum):
    """Why a frozen message goes on, as the log says it."""

    CANCELLED = "cancelled by timeout_frozen_after"
    """It is given up without a further try."""
    OLD_BOUNCE = "Unfrozen by errmsg timer"
    AUTO_THAW = "Unfrozen by auto-thaw"
    FORCED = "Unfrozen by forced delivery"


def release_of(entry: QueueEntry, now: float, rules: FrozenRules) -> Release | None:
    """Whether a frozen message is to go on by itself."""
    age = now - entry.received_at
    if 0 < rules.timeout_frozen_after <= age:
        return Release.CANCELLED
    if entry.sender.is_null:
        return Release.OLD_BOUNCE if age >= rules.ignore_bounce_errors_after else None
    if rules.auto_thaw > 0 and entry.frozen_at is not None and now > entry.frozen_at + rules.auto_thaw:
        return Release.AUTO_THAW
    return None


def make_freeze_notice(
    message: QueuedMessage,
    why: str,
    to: Sequence[Address],
    settings: ReportSettings,
    report_id: str,
    now: float,
    *,
    wording: Wording = OUR_WORDING,
) -> Report:
    """Tells operators that a message is held (Exim: freeze_tell)."""
    fields = [
        received(report_id, to, now, settings),
        "Auto-Submitted: auto-replied",
        from_field(wording, settings),
        "To: " + ",\r\n ".join(shown(each) for each in to),
        *references(message.header),
        "Subject: Message frozen",
        *last_fields(report_id, now, settings),
    ]
    header = "".join(f"{each}\r\n" for each in fields)
    lines = [
        f"Message {message.message_id} has been frozen ({printable(why, 900)}).",
        f"The sender is <{shown(message.sender)}>.",
    ]
    if message.pending:
        lines += ["", "The following address(es) have yet to be delivered:"]
    for each in message.pending:
        error = f": {printable(each.last_error, 900)}" if each.last_error else ""
        lines.append(f"  {shown(each.recipient.address)}{error}"[:998])
    body = to_wire("".join(f"{line}\r\n" for line in lines))
    new = NewMessage(
        message_id=report_id,
        sender=NULL_SENDER,
        recipients=tuple(Recipient(each) for each in to),
        header=to_wire(header),
        facts=MessageFacts(SessionFacts(caller=settings.caller), now, is_rehearsal=message.facts.is_rehearsal),
        body_size=len(body),
        due=None,
    )
    return Report(new, body)
