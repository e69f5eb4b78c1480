"""What all reports about a message have in common: header, the part for programs, what is returned (machine).

A report is a multipart/report (RFC 6522) of up to three parts: a text for people, which is its maker's (`bounce`,
`delay`, `success`), a delivery-status part for programs (RFC 3464), and what was sent: the whole message, or its
header. It goes out from the null sender, so that no report can ever give rise to another.

Everything that a peer said (replies, addresses, the original message) is either escaped to one readable line or kept
inside the third part, which no line of it can end: the boundary is chosen so that it does not occur there. A message
with addresses outside US-ASCII is reported on in the forms of RFC 6533.
"""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate

from relay.delivery.settle import Result
from relay.esmtp.parameters import decode_xtext
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import LocalCaller, MessageFacts, SessionFacts
from relay.mail.header import Field, split_header
from relay.mail.outcome import RemoteHost
from relay.mail.queue import NewMessage, QueuedMessage
from relay.mail.reply import Reply
from relay.mail.text import printable, readable, to_wire

# Exim: bounce_return_size_limit.
RETURN_SIZE_LIMIT = 100 * 1024

# RFC 5322 2.1.1: no line may be longer, CRLF not counted; we fold long before.
LONGEST_LINE = 998
_FOLD_AT = 78
LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What reports of this server have in common."""

    primary_hostname: str
    qualify_domain: str
    return_size_limit: int = RETURN_SIZE_LIMIT
    """Octets of the original that are sent back; a longer one is represented by its header. 0: no limit."""
    return_line_limit: int = LONGEST_LINE
    """A message with a longer line is represented by its header."""
    returns_message: bool = True
    """Anything of the original is returned."""
    returns_body: bool = True
    """More than the header is."""
    reply_to: str = ""
    """Exim: errors_reply_to."""
    bounce_text: str = ""
    """What operators add to the opening of every bounce (Exim: bounce_message_text)."""
    caller: LocalCaller = field(default_factory=lambda: LocalCaller("fingerpost", 0, 0, trusted=True))
    """Whom the log names as the one who hands reports in (`U=`)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the operator's options come to for one report."""

    sender: str = ""
    """The value of `From:`; "": the usual one (Exim: dsn_from)."""
    texts: tuple[str, ...] = ()
    """The paragraphs of an operator's file in place of ours: header fields, opening, and so on."""
    copies: tuple[Address, ...] = ()
    """Who gets a copy (Exim: errors_copy)."""

    def text(self, number: int) -> str | None:
        """A paragraph; None where the file has no more."""
        return self.texts[number] if number < len(self.texts) else None


OUR_WORDING = Wording()


class Action(enum.Enum):
    """RFC 3464 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One recipient, as a report tells of it."""

    result: Result
    action: Action
    status: str
    """The enhanced status, RFC 3463."""
    reason: str = ""
    """What there is to say where no server gave a reply."""
    host: RemoteHost | None = None
    reply: Reply | None = None
    until: float | None = None
    """How long it is tried again, seconds since the epoch."""

    @property
    def address(self) -> Address:
        """The original address where the router hides what it made of it."""
        result = self.result
        if result.is_hidden and result.original is not None:
            return result.original
        return result.recipient.recipient.address


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is ready for the queue."""

    message: NewMessage
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All that a report is made of."""

    report_id: str
    now: float
    to: Address
    subject: str
    text: str
    """The part for people, lines ending in CRLF."""
    told: tuple[Told, ...]
    returned: Returned | None
    wording: Wording = OUR_WORDING
    automatic: str = "auto-replied"
    """RFC 3834 5."""
    failed: tuple[Address, ...] = ()
    """For `X-Failed-Recipients:`."""


def assemble(message: QueuedMessage, draft: Draft, settings: ReportSettings) -> Report:
    """The report on `message`, due at once. Raises ValueError where it would go to the null sender."""
    if draft.to.is_null:
        raise ValueError("a message from the null sender is never answered")
    is_global = wants_utf8(message)
    charset = "us-ascii" if draft.text.isascii() else "utf-8"
    status_type = "message/global-delivery-status" if is_global else "message/delivery-status"
    parts = [
        _part(f"text/plain; charset={charset}", to_wire(draft.text)),
        _part(status_type, to_wire(_delivery_status(message, draft, settings))),
    ]
    if draft.returned is not None:
        parts.append(_part(draft.returned.content_type, draft.returned.content))
    boundary = _boundary(draft.report_id, parts)
    delimiter = f"--{boundary}".encode("ascii")
    content = b"This is a report in MIME format.\r\n\r\n"
    content += b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    is_8bit = not content.isascii()
    header = _header(message, draft, settings, boundary, is_8bit)
    recipients = (draft.to, *draft.wording.copies)
    needs_utf8 = not (header.isascii() and all(str(each).isascii() for each in recipients))
    new = NewMessage(
        message_id=draft.report_id,
        sender=NULL_SENDER,
        recipients=tuple(Recipient(each) for each in recipients),
        header=header,
        facts=MessageFacts(SessionFacts(caller=settings.caller), draft.now),
        body_type=BodyType.EIGHTBITMIME if is_8bit or needs_utf8 else BodyType.SEVENBIT,
        body_size=len(content),
        parameters=Parameters((("SMTPUTF8", ""),)) if needs_utf8 else Parameters(),
        due=None,
    )
    return Report(new, content)


def wants_utf8(message: QueuedMessage) -> bool:
    """Whether the sender's own programs read what is outside of US-ASCII, RFC 6533 3."""
    return message.parameters.get("SMTPUTF8") is not None


def _part(content_type: str, content: bytes) -> bytes:
    encoding = "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return to_wire(f"Content-Type: {content_type}\r\n{encoding}\r\n") + content


def _boundary(report_id: str, parts: Iterable[bytes]) -> str:
    """A boundary that no part contains, RFC 2046 5.1.1."""
    everything = b"".join(parts)
    boundary, number = f"={report_id}", 0
    while f"--{boundary}".encode("ascii") in everything:
        number += 1
        boundary = f"={report_id}-{number}"
    return boundary


# The header


def _header(message: QueuedMessage, draft: Draft, settings: ReportSettings, boundary: str, is_8bit: bool) -> bytes:
    host, date = settings.primary_hostname, formatdate(draft.now, localtime=True)
    usual = f"Mail Delivery System <Mailer-Daemon@{settings.qualify_domain}>"
    sender = _one_line(draft.wording.sender) or usual
    is_utf8 = not str(draft.to).isascii()
    fields = [f"Received: by {host} (Fingerpost) with local id {draft.report_id};\r\n\t{date}"]
    if failed := [shown(each, is_utf8=is_utf8) for each in draft.failed if is_utf8 or str(each).isascii()]:
        fields.append(_folded("X-Failed-Recipients", ", ".join(failed)))
    if settings.reply_to:
        fields.append(_folded("Reply-To", _one_line(settings.reply_to)))
    fields += [f"Auto-Submitted: {draft.automatic}", _folded("From", sender)]
    fields.append(_folded("To", shown(draft.to, is_utf8=True)))
    own_fields = draft.wording.text(0)
    fields += [_folded("Subject", draft.subject)] if own_fields is None else _fields_of(own_fields)
    fields += [
        f"Message-ID: <E{draft.report_id}@{host}>",
        f"Date: {date}",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    if is_8bit:
        fields.append("Content-Transfer-Encoding: 8bit")
    if original := _original_id(message.header):
        fields.append(_folded("References", original))
    return to_wire("".join(f"{field}\r\n" for field in fields))


def _fields_of(text: str) -> list[str]:
    """The header fields that an operator has written; what is none is left out."""
    found = re.findall(r"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", text.replace("\r\n", "\n"), re.MULTILINE)
    return [_folded(name, _one_line(value)) for name, value in found]


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()), LONGEST_TEXT)


def _original_id(header: bytes) -> str:
    """The Message-ID of the original where it is one that may be repeated."""
    for each in split_header(header)[0]:
        if each.is_named("Message-ID"):
            value = each.value
            return value.decode("ascii") if re.fullmatch(rb"<[!-;=?-~]{1,250}>", value) else ""
    return ""


def _folded(name: str, value: str) -> str:
    """A field with its value folded at blanks, RFC 5322 2.2.3; a word too long for a line is cut."""
    lines = textwrap.wrap(
        f"{name}: {value}", _FOLD_AT, subsequent_indent=" ", break_on_hyphens=False, break_long_words=False
    )
    return "\r\n".join(line[:LONGEST_LINE] for line in lines)


def shown(address: Address, *, is_utf8: bool = False) -> str:
    """An address on one line that forges nothing."""
    return readable(str(address), 900) if is_utf8 else printable(str(address), 900)


# The part for people


def wrapped(text: str, indent: str = "") -> str:
    """Lines of a readable width."""
    lines = textwrap.wrap(text, 72, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return "\r\n".join(lines)


def as_written(text: str) -> str:
    """An operator's paragraph: its lines, each harmless."""
    return "\r\n".join(readable(line, LONGEST_LINE) for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"))


def naming(told: Told, *, is_utf8: bool) -> list[str]:
    """The lines that name a recipient, and what it was made of."""
    result = told.result
    lines, original = [f"  {shown(told.address, is_utf8=is_utf8)}"], result.original
    if result.shown:
        lines = [f"  {printable(result.shown, 900)}"]
        original = original or told.address
    if original is not None and not result.is_hidden:
        lines.append(f"    (generated from {shown(original, is_utf8=is_utf8)})")
    return lines


# The part for programs


def _delivery_status(message: QueuedMessage, draft: Draft, settings: ReportSettings) -> str:
    """RFC 3464 2: fields of the message, then a block for each recipient, an empty line before each."""
    fields = [f"Reporting-MTA: dns; {settings.primary_hostname}"]
    if envelope_id := _decoded(message.parameters.get("ENVID") or ""):
        fields.insert(0, _folded("Original-Envelope-Id", envelope_id))
    fields.append(f"Arrival-Date: {formatdate(message.facts.received_at, localtime=True)}")
    blocks = ["\r\n".join(fields)]
    is_utf8 = wants_utf8(message)
    blocks.extend("\r\n".join(_status_fields(each, draft.now, is_utf8)) for each in draft.told)
    return "\r\n\r\n".join(blocks) + "\r\n"


def _status_fields(told: Told, now: float, is_utf8: bool) -> list[str]:
    fields = []
    kind, semicolon, original = (told.result.recipient.recipient.parameters.get("ORCPT") or "").partition(";")
    if semicolon and re.fullmatch(r"[A-Za-z0-9-]+", kind):
        fields.append(_folded("Original-Recipient", f"{kind}; {_decoded(original)}"))
    # RFC 6533 3: an address of the type utf-8 stands as it is in the form for such messages.
    address_type = "rfc822" if str(told.address).isascii() or not is_utf8 else "utf-8"
    fields += [
        _folded("Final-Recipient", f"{address_type}; {shown(told.address, is_utf8=is_utf8)}"),
        f"Action: {told.action.value}",
        f"Status: {told.status}",
    ]
    if told.host is not None:
        fields.append(_folded("Remote-MTA", f"dns; {printable(told.host.name, 255)}"))
    if told.reply is not None:
        said = " ".join(printable(line, LONGEST_TEXT) for line in told.reply.lines)
        status = f"{told.reply.enhanced} " if told.reply.enhanced else ""
        fields.append(_folded("Diagnostic-Code", f"smtp; {told.reply.code} {status}{said}"[:LONGEST_TEXT]))
    elif told.reason:
        fields.append(_folded("Diagnostic-Code", f"X-Fingerpost; {printable(told.reason, LONGEST_TEXT)}"))
    fields.append(f"Last-Attempt-Date: {formatdate(now, localtime=True)}")
    if told.until is not None:
        fields.append(f"Will-Retry-Until: {formatdate(told.until, localtime=True)}")
    return fields


def _decoded(text: str) -> str:
    """RFC 3461 4: xtext as what it stands for, on one printable line."""
    return printable(decode_xtext(text), 500)


# The original


@dataclass(frozen=True, slots=True)
class Returned:
    """What goes back of the original, and the sentence that says so."""

    content_type: str
    content: bytes
    note: str


def wanted_of_body(message: QueuedMessage, settings: ReportSettings) -> int:
    """How many octets of the body `returned` needs for a bounce: all or nothing."""
    headers_only = (message.parameters.get("RET") or "").upper() == "HDRS"  # RFC 3461 4.3
    if headers_only or not settings.returns_message or not settings.returns_body:
        return 0
    return 0 if _is_too_large(message.size, settings) else message.body_size


def _is_too_large(size: int, settings: ReportSettings) -> bool:
    return bool(settings.return_size_limit) and size > settings.return_size_limit


def returned(message: QueuedMessage, body: bytes | None, settings: ReportSettings) -> Returned | None:
    """The third part; `body` None: the header is enough. None: nothing is to be returned."""
    if not settings.returns_message:
        return None
    is_global = wants_utf8(message)
    longest = min(settings.return_line_limit, LONGEST_LINE)
    if body is not None and len(body) == message.body_size:
        whole = message.header + b"\r\n" + body
        if not _is_too_large(len(whole), settings) and _fits_lines(whole, longest):
            kind = "message/global" if is_global else "message/rfc822"
            return Returned(kind, whole, "A copy of your message follows, including all its header lines.")
    limit = settings.return_size_limit or len(message.header)
    header, is_cut = _leading_fields(message.header, limit)
    note = "Only the header lines of your message follow" + (", and not all of them." if is_cut else ".")
    return Returned("message/global-headers" if is_global else "text/rfc822-headers", header, note)


def _fits_lines(content: bytes, longest: int = LONGEST_LINE) -> bool:
    """True for what 8bit may carry: no NUL, no line over the limit, RFC 2045 2.8."""
    if b"\0" in content:
        return False
    return not re.search(rb"[^\n]{%d}" % (longest + 2), content)


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


def _is_sound(one: Field) -> bool:
    return _fits_lines(one.raw) and one.raw.endswith(b"\r\n")


def whose(message: QueuedMessage, to: Address) -> str:
    """`A message that you sent`, or whose it was where somebody else is told."""
    if to == message.sender:
        return "A message that you sent"
    return f"A message sent by <{shown(message.sender, is_utf8=wants_utf8(message))}>"
