"""The notice to a sender whose message is still waiting (machine).

When one is due is Exim's arithmetic (delay_warning): after each of the times in the list, then again and again at the
distance of its last two. What it says: who has not got the message, why, how long it is tried, and that nothing needs
to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.delivery.plain_words import in_plain_words, status_of
from relay.delivery.report import (
    LONGEST_TEXT,
    OUR_WORDING,
    Action,
    Draft,
    Report,
    ReportSettings,
    Told,
    Wording,
    as_written,
    assemble,
    naming,
    returned,
    wants_utf8,
    whose,
    wrapped,
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
    told = tuple(_told(each) for each in waiting)
    paragraphs = _opening(message, delay, settings, wording, to)
    paragraphs += ["\r\n".join(_about(*each, is_utf8=wants_utf8(message))) for each in zip(waiting, told, strict=True)]
    paragraphs += _closing(told, wording)
    draft = Draft(
        report_id=report_id,
        now=now,
        to=to,
        subject=f"Warning: message {message.message_id} delayed {in_words(delay)}",
        text="\r\n\r\n".join(paragraphs) + "\r\n",
        told=told,
        returned=returned(message, None, settings),
        wording=wording,
    )
    return assemble(message, draft, settings)


def _told(waiting: Waiting) -> Told:
    deferred = waiting.deferred
    return Told(
        result=waiting.result,
        action=Action.DELAYED,
        status=status_of(deferred, "4.4.7"),
        reason=deferred.cause or deferred.reason,
        host=deferred.host,
        reply=deferred.reply,
        until=waiting.until,
    )


def _opening(
    message: QueuedMessage, delay: float, settings: ReportSettings, wording: Wording, to: Address
) -> list[str]:
    own = wording.text(_OPENING)
    if own is not None:
        return [as_written(own)]
    some = "one or more of its recipients" if len(message.recipients) > 1 else "its recipient"
    opening = (
        f"This message was created automatically by the mail server {settings.primary_hostname}. "
        f"{whose(message, to)} has not been delivered to {some} yet, after more than {in_words(delay)}."
    )
    about = [f"The message identifier is:     {message.message_id}"]
    for name, words in (("Subject", "The subject of the message is: "), ("Date", "The date of the message is:    ")):
        if value := _value_of(message, name):
            about.append(words + value)
    return [wrapped(opening), "\r\n".join(about)]


def _value_of(message: QueuedMessage, name: str) -> str:
    for each in split_header(message.header)[0]:
        if each.is_named(name):
            text = " ".join(from_wire(each.value).split())
            return readable(text, 200) if wants_utf8(message) else printable(text, 200)
    return ""


def _about(waiting: Waiting, told: Told, *, is_utf8: bool) -> list[str]:
    lines = naming(told, is_utf8=is_utf8)
    if plain := in_plain_words(waiting.deferred.error, waiting.deferred.host):
        lines.append(wrapped(plain, indent="    "))
    lines.append(wrapped(f"Details: {printable(told.reason, LONGEST_TEXT)}", indent="    "))
    return lines


def _closing(told: Sequence[Told], wording: Wording) -> list[str]:
    if wording.texts:
        own = wording.text(_CLOSING)
        return [] if own is None else [as_written(own)]
    return [
        wrapped(
            "You don't need to do anything. Delivery will be tried again for some time, and this notice may be "
            "repeated. Should it never succeed, the message will be returned to you."
        )
    ]
