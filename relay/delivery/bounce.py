"""The report to a sender whose message could not be delivered (machine).

A bounce is a multipart/report (RFC 6522) of three parts: an explanation for people, a delivery-status part
for programs (RFC 3464), and what was sent: the whole message where it is small enough, its header otherwise.
It goes to the envelope sender from the null sender, so that no bounce can ever give rise to another.

Everything that a peer said (replies, addresses, the original message) is either escaped to one printable line
or kept inside the third part, which no line of it can end: the boundary is chosen so that it does not occur
there.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from relay.delivery.settle import GivenUp
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType, Recipient
from relay.mail.facts import LocalCaller, MessageFacts, SessionFacts
from relay.mail.header import Field, split_header
from relay.mail.outcome import ErrorClass
from relay.mail.queue import NewMessage, QueuedMessage
from relay.mail.text import printable, to_wire

# Exim: bounce_return_size_limit.
RETURN_SIZE_LIMIT = 100 * 1024

# RFC 5322 2.1.1: no line may be longer, CRLF not counted; we fold long before.
_LONGEST_LINE = 998
_FOLD_AT = 78
_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class BounceSettings:
    """What bounces of this server have in common."""

    primary_hostname: str
    qualify_domain: str
    return_size_limit: int = RETURN_SIZE_LIMIT
    """Octets of the original that are sent back; a longer one is represented by its header."""
    caller: LocalCaller = field(default_factory=lambda: LocalCaller("fingerpost", 0, 0, trusted=True))
    """Whom the log names as the one who hands bounces in (`U=`)."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A report that is ready for the queue."""

    message: NewMessage
    body: bytes


def to_report(message: QueuedMessage, given_up: Sequence[GivenUp]) -> dict[Address, tuple[GivenUp, ...]]:
    """Who is to be told of which: nobody where the sender is null, RFC 5321 6.1, or where a router names the null
    sender; none is told of a recipient whose NOTIFY parameter leaves failures out, RFC 3461 4.1."""
    told: dict[Address, tuple[GivenUp, ...]] = {}
    for each in given_up:
        address = each.is_told_to(message.sender)
        if address is None or address.is_null or not _wants_report(each.result.recipient.recipient):
            continue
        told[address] = (*told.get(address, ()), each)
    return told


def _told_of(given_up: GivenUp) -> Address:
    """The address as the report names it: the original one where the router hides what it made of it."""
    result = given_up.result
    if result.is_hidden and result.original is not None:
        return result.original
    return result.recipient.recipient.address


def _wants_report(recipient: Recipient) -> bool:
    notify = recipient.parameters.get("NOTIFY")
    return notify is None or "FAILURE" in notify.upper().split(",")


def wanted_of_body(message: QueuedMessage, settings: BounceSettings) -> int:
    """How many octets of the body `make_bounce` needs: all or nothing."""
    headers_only = (message.parameters.get("RET") or "").upper() == "HDRS"  # RFC 3461 4.3
    return 0 if headers_only or message.size > settings.return_size_limit else message.body_size


def make_bounce(
    message: QueuedMessage,
    reported: Sequence[GivenUp],
    body: bytes,
    settings: BounceSettings,
    bounce_id: str,
    now: float,
    *,
    to: Address | None = None,
) -> Bounce:
    """The report on `reported`, which must not be empty, to the sender or to somebody else.

    `body` is the original's where `wanted_of_body` asked for it. The bounce is due at once. Raises ValueError where
    it would go to the null sender.
    """
    to = message.sender if to is None else to
    if to.is_null:
        raise ValueError("a message from the null sender is never answered")
    returned = _Returned.of(message, body, settings)
    parts = (
        _part(
            "Content-Type: text/plain; charset=us-ascii\r\n",
            _explanation(message, reported, returned, settings),
        ),
        _part("Content-Type: message/delivery-status\r\n", _delivery_status(message, reported, settings, now)),
        returned.part(),
    )
    boundary = _boundary(bounce_id, parts)
    delimiter = f"--{boundary}".encode("ascii")
    content = b"This is a report in MIME format.\r\n\r\n"
    content += b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    is_8bit = not content.isascii()
    header = _header(message, reported, settings, bounce_id, boundary, is_8bit, now, to)
    new = NewMessage(
        message_id=bounce_id,
        sender=NULL_SENDER,
        recipients=(Recipient(to),),
        header=header,
        facts=MessageFacts(SessionFacts(caller=settings.caller), now),
        body_type=BodyType.EIGHTBITMIME if is_8bit else BodyType.SEVENBIT,
        body_size=len(content),
        due=None,
    )
    return Bounce(new, content)


def _part(header: str, content: str) -> bytes:
    return to_wire(f"{header}\r\n{content}")


def _boundary(bounce_id: str, parts: Iterable[bytes]) -> str:
    """A boundary that no part contains, RFC 2046 5.1.1."""
    everything = b"".join(parts)
    boundary, number = f"={bounce_id}", 0
    while f"--{boundary}".encode("ascii") in everything:
        number += 1
        boundary = f"={bounce_id}-{number}"
    return boundary


# The header


def _header(
    message: QueuedMessage,
    reported: Sequence[GivenUp],
    settings: BounceSettings,
    bounce_id: str,
    boundary: str,
    is_8bit: bool,
    now: float,
    to: Address,
) -> bytes:
    host, date = settings.primary_hostname, formatdate(now, localtime=True)
    failed = ", ".join(_shown(_told_of(each)) for each in reported)
    fields = [
        f"Received: by {host} (Fingerpost) with local id {bounce_id};\r\n\t{date}",
        _folded("X-Failed-Recipients", failed),
        "Auto-Submitted: auto-replied",  # RFC 3834 5
        f"From: Mail Delivery System <Mailer-Daemon@{settings.qualify_domain}>",
        _folded("To", _shown(to)),
        "Subject: Mail delivery failed: returning message to sender",
        f"Message-ID: <E{bounce_id}@{host}>",
        f"Date: {date}",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    if is_8bit:
        fields.append("Content-Transfer-Encoding: 8bit")
    if original := _original_id(message.header):
        fields.append(_folded("References", original))
    return to_wire("".join(f"{field}\r\n" for field in fields))


def _original_id(header: bytes) -> str:
    """The Message-ID of the original where it is one that may be repeated."""
    fields, _ = split_header(header)
    for each in fields:
        if each.is_named("Message-ID"):
            value = each.value
            return value.decode("ascii") if re.fullmatch(rb"<[!-;=?-~]{1,250}>", value) else ""
    return ""


def _folded(name: str, value: str) -> str:
    """A field with its value folded at blanks, RFC 5322 2.2.3; a word too long for a line is cut."""
    lines = textwrap.wrap(
        f"{name}: {value}", _FOLD_AT, subsequent_indent=" ", break_on_hyphens=False, break_long_words=False
    )
    return "\r\n".join(line[:_LONGEST_LINE] for line in lines)


def _shown(address: Address) -> str:
    """An address on one printable line."""
    return printable(str(address), 900)


# The part for people

# What failed, in words that need no knowledge of mail. `{host}` is the server, or "the mail server for this
# address".
_PLAIN_WORDS: dict[ErrorClass, str] = {
    ErrorClass.TLS_REQUIRED: (
        "A private (encrypted) connection to {host} is required for this message, and the server could not "
        "provide one. To keep your message private, no part of it was sent."
    ),
    ErrorClass.TLS_FAILED: (
        "A private (encrypted) connection to {host} could not be set up: either the two servers could not "
        "agree, or the server could not prove that it is the right one. To keep your message private, no "
        "part of it was sent."
    ),
    ErrorClass.AUTH_FAILED: ("{host} did not accept the credentials of this server, so the message was not sent."),
    ErrorClass.CONNECTION_REFUSED: "{host} could be reached, but does not accept mail connections.",
    ErrorClass.TIMEOUT_CONNECT: "{host} did not answer.",
    ErrorClass.TIMEOUT: "{host} stopped answering before the message was delivered.",
    ErrorClass.LOST_CONNECTION: "The connection to {host} was lost before the message was delivered.",
    ErrorClass.LOOKUP: "The address of {host} could not be found.",
    ErrorClass.QUOTA: "There is no room for the message: the mailbox or the disk is full.",
    ErrorClass.LOCAL: "The mailbox could not be written to. The operator of this server has to mend that.",
}


def _explanation(
    message: QueuedMessage, reported: Sequence[GivenUp], returned: _Returned, settings: BounceSettings
) -> str:
    some = "one or more of its recipients" if len(message.recipients) > 1 else "its recipient"
    opening = (
        f"This message was created automatically by the mail server {settings.primary_hostname}. "
        f"A message that you sent could not be delivered to {some}. No further attempts will be made."
    )
    paragraphs = [_wrapped(opening), *("\r\n".join(_about(each)) for each in reported)]
    paragraphs.append(_wrapped(returned.note))
    return "\r\n\r\n".join(paragraphs) + "\r\n"


def _about(given_up: GivenUp) -> list[str]:
    lines = [f"  {_shown(_told_of(given_up))}"]
    original = given_up.result.original
    if given_up.result.shown:
        lines = [f"  {printable(given_up.result.shown, 900)}"]
        original = original or _told_of(given_up)
    if original is not None and not given_up.result.is_hidden:
        lines.append(f"    (generated from {_shown(original)})")
    host = given_up.failed.host
    named = f"the server {printable(host.name, 255)}" if host else "the mail server for this address"
    if given_up.last is not None:
        plain = _PLAIN_WORDS.get(given_up.last.error, "").format(host=named)
        plain = (plain[:1].upper() + plain[1:] + " " if plain else "") + "Delivery was tried for as long as allowed."
        lines.append(_wrapped(plain, indent="    "))
    elif given_up.failed.reply is not None:
        lines.append(_wrapped(f"{named[:1].upper()}{named[1:]} refused it.", indent="    "))
    lines.append(_wrapped(f"Details: {_reason(given_up)}", indent="    "))
    if given_up.failed.output:
        lines.append("")
        lines.append(_wrapped("What was written during the delivery attempt:", indent="    "))
        lines += ["    " + printable(line, _LONGEST_LINE - 4) for line in given_up.failed.output.splitlines()]
    return lines


def _reason(given_up: GivenUp) -> str:
    """Why, as far as the sender is to know."""
    return printable(given_up.failed.told or given_up.failed.reason, _LONGEST_TEXT)


def _wrapped(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(text, 72, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return "\r\n".join(lines)


# The part for programs


def _delivery_status(message: QueuedMessage, reported: Sequence[GivenUp], settings: BounceSettings, now: float) -> str:
    """RFC 3464 2: fields of the message, then a block for each recipient, an empty line before each."""
    fields = [f"Reporting-MTA: dns; {settings.primary_hostname}"]
    if envelope_id := _xtext(message.parameters.get("ENVID") or ""):
        fields.insert(0, _folded("Original-Envelope-Id", envelope_id))
    fields.append(f"Arrival-Date: {formatdate(message.facts.received_at, localtime=True)}")
    blocks = ["\r\n".join(fields)]
    blocks.extend("\r\n".join(_status_fields(each, now)) for each in reported)
    return "\r\n\r\n".join(blocks) + "\r\n"


def _status_fields(given_up: GivenUp, now: float) -> list[str]:
    recipient, failed = given_up.result.recipient.recipient, given_up.failed
    fields = []
    kind, semicolon, original = (recipient.parameters.get("ORCPT") or "").partition(";")
    if semicolon and re.fullmatch(r"[A-Za-z0-9-]+", kind):
        fields.append(_folded("Original-Recipient", f"{kind}; {_xtext(original)}"))
    fields += [
        _folded("Final-Recipient", f"rfc822; {_shown(_told_of(given_up))}"),
        "Action: failed",
        f"Status: {status_code(given_up)}",
    ]
    if failed.host is not None:
        fields.append(_folded("Remote-MTA", f"dns; {printable(failed.host.name, 255)}"))
    if failed.reply is not None:
        said = " ".join(printable(line, _LONGEST_TEXT) for line in failed.reply.lines)
        status = f"{failed.reply.enhanced} " if failed.reply.enhanced else ""
        fields.append(_folded("Diagnostic-Code", f"smtp; {failed.reply.code} {status}{said}"[:_LONGEST_TEXT]))
    else:
        fields.append(_folded("Diagnostic-Code", f"X-Fingerpost; {_reason(given_up)}"))
    fields.append(f"Last-Attempt-Date: {formatdate(now, localtime=True)}")
    return fields


_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_STATUS_OF_ERROR: dict[ErrorClass, str] = {
    ErrorClass.AUTH_FAILED: "4.7.8",
    ErrorClass.CONNECTION_REFUSED: "4.4.1",
    ErrorClass.TIMEOUT_CONNECT: "4.4.1",
    ErrorClass.TIMEOUT: "4.4.2",
    ErrorClass.LOST_CONNECTION: "4.4.2",
    ErrorClass.TLS_REQUIRED: "4.7.10",
    ErrorClass.TLS_FAILED: "4.7.5",
    ErrorClass.LOOKUP: "4.4.3",
    ErrorClass.QUOTA: "4.2.2",
    ErrorClass.LOCAL: "4.3.0",
}


def status_code(given_up: GivenUp) -> str:
    """The enhanced status, RFC 3463: the remote server's own where it gave one, else the nearest that
    fits."""
    reply = given_up.failed.reply
    if reply is not None:
        if _STATUS.fullmatch(reply.enhanced):
            return reply.enhanced
        return f"{reply.code // 100 if reply.code // 100 in (4, 5) else 5}.0.0"
    if given_up.failed.status:
        return given_up.failed.status
    if given_up.last is not None:
        return _STATUS_OF_ERROR.get(given_up.last.error, "4.4.7")
    return "5.4.4" if not given_up.result.transport else "5.0.0"


def _xtext(text: str) -> str:
    """RFC 3461 4: xtext as what it stands for, on one printable line."""
    return printable(re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found.group(1), 16)), text), 500)


# The original


@dataclass(frozen=True, slots=True)
class _Returned:
    """What goes back of the original, and the sentence that says so."""

    content_type: str
    content: bytes
    note: str

    @classmethod
    def of(cls, message: QueuedMessage, body: bytes, settings: BounceSettings) -> _Returned:
        whole = message.header + b"\r\n" + body
        if len(body) == message.body_size and len(whole) <= settings.return_size_limit and _fits_lines(whole):
            return cls("message/rfc822", whole, "A copy of your message follows, including all its header lines.")
        header, is_cut = _leading_fields(message.header, settings.return_size_limit)
        note = "Only the header lines of your message follow" + (", and not all of them." if is_cut else ".")
        return cls("text/rfc822-headers", header, note)

    def part(self) -> bytes:
        encoding = "" if self.content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
        return to_wire(f"Content-Type: {self.content_type}\r\n{encoding}\r\n") + self.content


def _fits_lines(content: bytes) -> bool:
    """True for what 8bit may carry: no NUL, no line over the limit, RFC 2045 2.8."""
    if b"\0" in content:
        return False
    return not re.search(rb"[^\n]{%d}" % (_LONGEST_LINE + 2), content)


def _leading_fields(header: bytes, limit: int) -> tuple[bytes, bool]:
    """The fields from the top that fit, each line of them within the limits, and whether any were left
    out."""
    fields, rest = split_header(header)
    kept: list[bytes] = []
    size = 0
    for each in fields:
        if size + len(each.raw) > limit or not _is_sound(each):
            continue
        kept.append(each.raw)
        size += len(each.raw)
    return b"".join(kept), len(kept) < len(fields) or bool(rest)


def _is_sound(field: Field) -> bool:
    return _fits_lines(field.raw) and field.raw.endswith(b"\r\n")
