"""The report to a sender whose message could not be delivered (machine).

What it says to people is here: who was to get the message, why that failed in words that an ordinary reader
understands, and the server's own words as a detail. The rest of it is that of every report (`report.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.delivery.plain_words import diagnostic_of, for_sender, status_of
from relay.delivery.report import (
    CREATED,
    LONGEST_LINE,
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
    is_made,
    naming,
    returned,
    shown,
    wants_utf8,
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
    pairs = [(each, _told(each)) for each in _last_first(reported)]
    is_to_sender = to == message.sender
    draft = Draft(
        report_id=report_id,
        now=now,
        to=to,
        subject="Mail delivery failed" + (": returning message to sender" if is_to_sender else ""),
        text=_explanation(message, pairs, settings, wording, to),
        told=_in_order_of_status(pairs),
        returned=returned(message, body, settings),
        wording=wording,
        failed=tuple(
            each.result.recipient.recipient.address
            for each, _ in pairs
            if not (each.result.is_hidden and is_made(each.result))
        ),
    )
    return assemble(message, draft, settings)


def _last_first(reported: Sequence[GivenUp]) -> list[GivenUp]:
    """As Exim lists them: those whose time was over, then the others, and of each the last one first."""
    ordered = sorted(reported, key=lambda each: each.last is not None)
    return ordered[::-1]


def _in_order_of_status(pairs: Sequence[tuple[GivenUp, Told]]) -> tuple[Told, ...]:
    """For programs it is the other way round, but that what has output comes first."""
    ordered = sorted(pairs, key=lambda pair: bool(pair[0].failed.output))
    return tuple(told for _, told in ordered[::-1])


def _told(given_up: GivenUp) -> Told:
    failed, last = given_up.failed, given_up.last
    return Told(
        result=given_up.result,
        action=Action.FAILED,
        status=status_code(given_up),
        words=for_sender(failed, is_routed=bool(given_up.result.transport or given_up.result.shown)),
        diagnostic=diagnostic_of(failed),
        host=failed.host,
        error=last.error if last is not None else None,
    )


def status_code(given_up: GivenUp) -> str:
    """RFC 3463."""
    last = given_up.last
    return given_up.failed.status or status_of(given_up.failed, "5", last.error if last is not None else None)


# The part for people


def _explanation(
    message: QueuedMessage,
    reported: Sequence[tuple[GivenUp, Told]],
    settings: ReportSettings,
    wording: Wording,
    to: Address,
) -> str:
    is_utf8 = wants_utf8(message)
    text = _opening(message, settings, wording, to) + "\r\n"
    text += "".join(about(told, "", is_utf8=is_utf8) for _, told in reported) + "\r\n"
    with_output = [each for each in reported if each[0].failed.output]
    if with_output:
        own, several = wording.text(_OUTPUT), "s" if len(with_output) > 1 else ""
        usual = f"The following text was generated during the delivery attempt{several}:\r\n"
        text += as_written(own) if own is not None else usual
        text += "".join(_output(*each, is_utf8=is_utf8) for each in with_output)
    else:
        text = text.removesuffix("\r\n")
    return text


def _opening(message: QueuedMessage, settings: ReportSettings, wording: Wording, to: Address) -> str:
    own = wording.text(_OPENING)
    if own is not None:
        return as_written(own)
    text = CREATED + (as_written(settings.bounce_text) if settings.bounce_text else "")
    if to == message.sender:
        return text + (
            "\r\nA message that you sent could not be delivered to one or more of its\r\n"
            "recipients. This is a permanent error. The following address(es) failed:\r\n"
        )
    return text + (
        f"\r\nA message sent by\r\n\r\n  <{shown(message.sender, is_utf8=wants_utf8(message))}>\r\n\r\n"
        "could not be delivered to one or more of its recipients. The following\r\naddress(es) failed:\r\n"
    )


def _output(given_up: GivenUp, told: Told, *, is_utf8: bool) -> str:
    """What a command has written, below the recipient that it was for."""
    first, *more = naming(replace(told, host=None), is_utf8=is_utf8)
    heading = "\r\n       ".join([first.strip(), *(line.strip() for line in more)])
    lines = [_harmless(line)[:LONGEST_LINE] for line in given_up.failed.output.split("\n")]
    if not lines[-1]:
        del lines[-1]
    return f"\r\n------ {heading} ------\r\n\r\n" + "".join(f"{line}\r\n" for line in lines)


def _harmless(line: str) -> str:
    """A line with nothing but its tabs left of what is no character."""
    return "\t".join(printable(each) for each in line.split("\t"))
