"""The report to a sender whose message could not be delivered (machine).

What it says to people is here: who was to get the message, why that failed in words that an ordinary reader
understands, and the server's own words as a detail. The rest of it is that of every report (`report.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.delivery.plain_words import beginning, in_plain_words, server_named, status_of
from relay.delivery.report import (
    LONGEST_LINE,
    LONGEST_TEXT,
    OUR_WORDING,
    Action,
    Draft,
    Report,
    ReportSettings,
    Returned,
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
from relay.delivery.settle import GivenUp
from relay.esmtp.parameters import Notify, wanted_notices
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.queue import QueuedMessage
from relay.mail.text import printable

# The paragraphs of an operator's file (Exim: bounce_message_file). The header is paragraph 0.
_OPENING, _OUTPUT = 1, 2


def to_report(message: QueuedMessage, given_up: Sequence[GivenUp]) -> dict[Address, tuple[GivenUp, ...]]:
    """Who is to be told of which: nobody where the sender is null, RFC 5321 6.1, or where a router names the null
    sender; none is told of a recipient whose NOTIFY parameter leaves failures out, RFC 3461 4.1."""
    told: dict[Address, tuple[GivenUp, ...]] = {}
    for each in given_up:
        address = each.is_told_to(message.sender)
        if address is None or address.is_null or not wants_report(each.result.recipient.recipient):
            continue
        told[address] = (*told.get(address, ()), each)
    return told


def wants_report(recipient: Recipient) -> bool:
    """Whether a failure is to be told of, as far as NOTIFY says."""
    notices = wanted_notices(recipient.parameters)
    return notices is None or Notify.FAILURE in notices


def make_bounce(
    message: QueuedMessage,
    reported: Sequence[GivenUp],
    body: bytes,
    settings: ReportSettings,
    report_id: str,
    now: float,
    *,
    to: Address | None = None,
    wording: Wording = OUR_WORDING,
) -> Report:
    """The report on `reported`, which must not be empty, to the sender or to somebody else.

    `body` is the original's where `report.wanted_of_body` asked for it. The bounce is due at once. Raises ValueError
    where it would go to the null sender.
    """
    to = message.sender if to is None else to
    original = returned(message, body, settings)
    told = tuple(_told(each) for each in reported)
    is_to_sender = to == message.sender
    draft = Draft(
        report_id=report_id,
        now=now,
        to=to,
        subject="Mail delivery failed" + (": returning message to sender" if is_to_sender else ""),
        text=_explanation(message, tuple(zip(reported, told, strict=True)), original, settings, wording, to),
        told=told,
        returned=original,
        wording=wording,
        failed=tuple(each.address for each in told),
    )
    return assemble(message, draft, settings)


def _told(given_up: GivenUp) -> Told:
    failed = given_up.failed
    return Told(
        result=given_up.result,
        action=Action.FAILED,
        status=status_code(given_up),
        reason=failed.told or failed.reason,
        host=failed.host,
        reply=failed.reply,
    )


def status_code(given_up: GivenUp) -> str:
    """RFC 3463."""
    if given_up.last is not None:
        return status_of(given_up.last, "4.4.7")
    return status_of(given_up.failed, "5.4.4" if not given_up.result.transport else "5.0.0")


# The part for people


def _explanation(
    message: QueuedMessage,
    reported: Sequence[tuple[GivenUp, Told]],
    original: Returned | None,
    settings: ReportSettings,
    wording: Wording,
    to: Address,
) -> str:
    is_utf8 = wants_utf8(message)
    paragraphs = _opening(message, settings, wording, to)
    paragraphs += ["\r\n".join(_about(*each, is_utf8=is_utf8)) for each in reported]
    with_output = [each for each in reported if each[0].failed.output]
    if with_output:
        own = wording.text(_OUTPUT)
        paragraphs.append(as_written(own) if own else "What was written during the delivery attempt:")
        paragraphs += ["\r\n".join(_output(*each, is_utf8=is_utf8)) for each in with_output]
    if original is not None:
        paragraphs.append(wrapped(original.note))
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _opening(message: QueuedMessage, settings: ReportSettings, wording: Wording, to: Address) -> list[str]:
    own = wording.text(_OPENING)
    if own is not None:
        return [as_written(own)]
    some = "one or more of its recipients" if len(message.recipients) > 1 else "its recipient"
    first = f"This message was created automatically by the mail server {settings.primary_hostname}."
    second = f"{whose(message, to)} could not be delivered to {some}. No further attempts will be made."
    if not settings.bounce_text:
        return [wrapped(f"{first} {second}")]
    return [wrapped(first), as_written(settings.bounce_text), wrapped(second)]


def _about(given_up: GivenUp, told: Told, *, is_utf8: bool) -> list[str]:
    lines = naming(told, is_utf8=is_utf8)
    host = given_up.failed.host
    if given_up.last is not None:
        plain = in_plain_words(given_up.last.error, host)
        lines.append(wrapped(f"{plain} Delivery was tried for as long as allowed.".lstrip(), indent="    "))
    elif given_up.failed.reply is not None:
        lines.append(wrapped(f"{beginning(server_named(host))} refused it.", indent="    "))
    if told.reason:
        lines.append(wrapped(f"Details: {printable(told.reason, LONGEST_TEXT)}", indent="    "))
    return lines


def _output(given_up: GivenUp, told: Told, *, is_utf8: bool) -> list[str]:
    """What a command has written, below the recipient that it was for."""
    lines = naming(told, is_utf8=is_utf8)
    return lines + ["    " + printable(line, LONGEST_LINE - 4) for line in given_up.failed.output.splitlines()]
