"""The notice to a sender whose message is still waiting (machine).

When one is due is Exim's arithmetic (delay_warning): after each of the times in the list, then again and again at the
distance of its last two. What it says: who has not got the message, why, how long it is tried, and that nothing needs
to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.delivery.plain_words import diagnostic_of, for_sender, status_of
from relay.delivery.report import (
    CREATED,
    OUR_WORDING,
    Action,
    Draft,
    Report,
    ReportSettings,
    Told,
    Wording,
    about,
    as_written,
    assemble,
    returned,
    shown,
    wants_utf8,
)
from relay.delivery.settle import Waiting
from relay.esmtp.parameters import Notify, wanted_notices
from relay.mail.address import Address
from relay.mail.header import split_header
from relay.mail.queue import QueuedMessage
from relay.mail.text import from_wire, printable, readable

# The paragraphs of an operator's file (Exim: warn_message_file). The header is paragraph 0.
_OPENING, _CLOSING = 1, 2


@dataclass(frozen=True, slots=True)
class DueWarning:
    """How many warnings there should have been by now, and the delay that the last of them tells of, in seconds."""

    count: int
    delay: float


def due_warning(times: Sequence[float], age: float) -> DueWarning:
    """Exim: delay_warning. `times` in seconds, growing."""
    count = sum(age >= each for each in times)
    if count == 0:
        return DueWarning(0, 0.0)
    delay = times[count - 1]
    if count == len(times):
        gap = delay - times[-2] if count > 1 else delay
        more = int((age - delay) / gap)
        return DueWarning(count + more, delay + gap * more)
    return DueWarning(count, delay)


def to_warn(message: QueuedMessage, waiting: Sequence[Waiting]) -> dict[Address, tuple[Waiting, ...]]:
    """Who is to be told that which recipients have to wait, as far as NOTIFY lets us (RFC 3461 4.1)."""
    told: dict[Address, tuple[Waiting, ...]] = {}
    for each in waiting:
        address = each.result.errors_to or message.sender
        notices = wanted_notices(each.result.recipient.recipient.parameters)
        if address.is_null or (notices is not None and Notify.DELAY not in notices):
            continue
        told[address] = (*told.get(address, ()), each)
    return told


def in_words(delay: float) -> str:
    """Exim: $warn_message_delay."""
    return f"{int(delay // 60)} minutes" if delay < 120 * 60 else f"{int(delay // 3600)} hours"


def make_delay_notice(
    message: QueuedMessage,
    waiting: Sequence[Waiting],
    delay: float,
    settings: ReportSettings,
    report_id: str,
    now: float,
    *,
    to: Address,
    wording: Wording = OUR_WORDING,
) -> Report:
    """The notice that recipients have been waiting for `delay` seconds. Raises ValueError where it would go to the null
    sender."""
    told = tuple(_told(each) for each in reversed(waiting))
    text = _opening(message, delay, len(told), settings, wording, to) + "\r\n"
    text += "".join(about(each, "Delay reason: ", is_utf8=wants_utf8(message)) for each in told)
    text += "\r\n" + _closing(wording)
    draft = Draft(
        report_id=report_id,
        now=now,
        to=to,
        subject=f"Warning: message {message.message_id} delayed {in_words(delay)}",
        text=text,
        told=told,
        returned=returned(message, None, settings, is_notice=True),
        wording=wording,
    )
    return assemble(message, draft, settings)


def _told(waiting: Waiting) -> Told:
    deferred = waiting.deferred
    return Told(
        result=waiting.result,
        action=Action.DELAYED,
        status=status_of(deferred, "4", deferred.error),
        words=for_sender(deferred, is_routed=bool(waiting.result.transport)),
        diagnostic=diagnostic_of(deferred),
        host=deferred.host,
        error=deferred.error,
    )


def _opening(
    message: QueuedMessage, delay: float, many: int, settings: ReportSettings, wording: Wording, to: Address
) -> str:
    own = wording.text(_OPENING)
    if own is not None:
        return as_written(own)
    if to == message.sender:
        text = "A message that you sent has not yet been delivered to one or more of its\r\nrecipients after more than "
    else:
        text = (
            f"A message sent by\r\n\r\n  <{shown(message.sender, is_utf8=wants_utf8(message))}>\r\n\r\n"
            "has not yet been delivered to one or more of its recipients after more than \r\n"
        )
    text += f"{in_words(delay)} on the queue on {settings.primary_hostname}.\r\n\r\n"
    text += f"The message identifier is:     {message.message_id}\r\n"
    for name, words in (("Subject", "The subject of the message is: "), ("Date", "The date of the message is:    ")):
        if value := _value_of(message, name):
            text += f"{words}{value}\r\n"
    which, verb = ("es", "are") if many != 1 else ("", "is")
    return f"{CREATED}{text}\r\nThe address{which} to which the message has not yet been delivered {verb}:\r\n"


def _value_of(message: QueuedMessage, name: str) -> str:
    for each in split_header(message.header)[0]:
        if each.is_named(name):
            text = " ".join(from_wire(each.value).split())
            return readable(text, 200) if wants_utf8(message) else printable(text, 200)
    return ""


def _closing(wording: Wording) -> str:
    if wording.texts:
        own = wording.text(_CLOSING)
        return "" if own is None else as_written(own)
    return (
        "No action is required on your part. Delivery attempts will continue for\r\n"
        "some time, and this warning may be repeated at intervals if the message\r\n"
        "remains undelivered. Eventually the mail delivery software will give up,\r\n"
        "and when that happens, the message will be returned to you.\r\n"
    )
