"""The report that a message was delivered, for a sender who asked for it (machine).

It is sent where the journey that we can tell of ends: in a mailbox here, or at a server that does not do DSN, which is
told as what it is (RFC 3461 5.2.2, 6.2.7). A server that does DSN was told what is wanted and reports itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.delivery.report import (
    CREATED,
    OUR_WORDING,
    Action,
    Draft,
    Report,
    ReportSettings,
    Told,
    Wording,
    assemble,
    returned,
    shown,
    wants_utf8,
)
from relay.delivery.settle import Result
from relay.esmtp.parameters import Notify, wanted_notices
from relay.mail.outcome import Delivered
from relay.mail.queue import QueuedMessage


def to_confirm(message: QueuedMessage, results: Sequence[Result]) -> tuple[Told, ...]:
    """The deliveries that the sender is to be told of; none where there is nobody to tell."""
    if message.sender.is_null:
        return ()
    told = []
    for each in results:
        outcome = each.outcome
        notices = wanted_notices(each.recipient.recipient.parameters) or ()
        if not isinstance(outcome, Delivered) or outcome.passes_dsn or each.is_echo or Notify.SUCCESS not in notices:
            continue
        said = "smtp; 250 Ok" if outcome.host is not None else "X-Exim; relayed via non SMTP router"
        told.append(Told(result=each, action=Action.DELIVERED, status="2.0.0", host=outcome.host, diagnostic=said))
    return tuple(told)


def make_success_report(
    message: QueuedMessage,
    told: Sequence[Told],
    settings: ReportSettings,
    report_id: str,
    now: float,
    *,
    wording: Wording = OUR_WORDING,
) -> Report:
    """The report on `told`, which must not be empty. Raises ValueError where it would go to the null sender."""
    is_utf8 = wants_utf8(message)
    last_first = tuple(reversed(told))
    text = CREATED + " ----- The following addresses had successful delivery notifications -----\r\n"
    text += "\r\n".join(_about(each, is_utf8=is_utf8) for each in last_first)
    draft = Draft(
        report_id=report_id,
        now=now,
        to=message.sender,
        subject="Delivery Status Notification",
        text=text,
        told=last_first,
        returned=returned(message, None, settings, is_notice=True),
        wording=wording,
        automatic="auto-generated",
    )
    return assemble(message, draft, settings)


def _about(told: Told, *, is_utf8: bool) -> str:
    where = 'via non "Remote SMTP" router' if told.host is None else "to non-DSN-aware mailer"
    return f"<{shown(told.result.recipient.recipient.address, is_utf8=is_utf8)}> (relayed {where})\r\n"
