"""The report that a message was delivered, for a sender who asked for it (machine).

It is sent where the journey that we can tell of ends: in a mailbox here, or at a server that does not do DSN, which is
told as what it is (RFC 3461 5.2.2, 6.2.7). A server that does DSN was told what is wanted and reports itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.delivery.plain_words import server_named
from relay.delivery.report import (
    OUR_WORDING,
    Action,
    Draft,
    Report,
    ReportSettings,
    Told,
    Wording,
    assemble,
    naming,
    returned,
    wants_utf8,
    wrapped,
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
        action = Action.DELIVERED if outcome.host is None else Action.RELAYED
        told.append(Told(result=each, action=action, status="2.0.0", host=outcome.host))
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
    opening = (
        f"This message was created automatically by the mail server {settings.primary_hostname}. You asked to be told "
        "when your message was delivered."
    )
    paragraphs = [wrapped(opening), *("\r\n".join(_about(each, is_utf8=is_utf8)) for each in told)]
    draft = Draft(
        report_id=report_id,
        now=now,
        to=message.sender,
        subject="Delivery Status Notification",
        text="\r\n\r\n".join(paragraphs) + "\r\n",
        told=tuple(told),
        returned=returned(message, None, settings),
        wording=wording,
        automatic="auto-generated",
    )
    return assemble(message, draft, settings)


def _about(told: Told, *, is_utf8: bool) -> list[str]:
    if told.action is Action.DELIVERED:
        what = "The message was delivered."
    else:
        what = (
            f"The message was handed to {server_named(told.host)}, which does not send confirmations: it has taken the "
            "message, and whether it was delivered from there will not be told unless that fails."
        )
    return [*naming(told, is_utf8=is_utf8), wrapped(what, indent="    ")]
