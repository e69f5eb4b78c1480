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
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from relay.delivery.plain_words import in_plain_words
from relay.delivery.settle import Result
from relay.esmtp.parameters import decode_xtext
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import BodyType, Parameters, Recipient
from relay.mail.facts import Authentication, LocalCaller, MessageFacts, SessionFacts
from relay.mail.header import Field, split_header
from relay.mail.outcome import ErrorClass, RemoteHost
from relay.mail.queue import NewMessage, QueuedMessage
from relay.mail.text import from_wire, printable, readable, to_wire

# Exim: bounce_return_size_limit.
RETURN_SIZE_LIMIT = 100 * 1024

# RFC 5322 2.1.1: no line may be longer, CRLF not counted; we fold long before.
LONGEST_LINE = 998
_FOLD_AT = 78
LONGEST_TEXT = 2000
_LONGEST_DIAGNOSTIC = 951
_LONGEST_SAID = 255
_COLON_FROM = 45
_FAILED_IN_A_FIELD = 50
_MOST_REFERENCES = 12
_BUFFER = 8192
_ADMINISTRATIVE = b"X-Exim-DSN-Information: Due to administrative limits only headers are returned\r\n"

CREATED = "This message was created automatically by mail delivery software.\r\n"
"""How every report begins."""


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
    authenticated_sender: str = ""
    """What AUTH= says where a report is sent to a server that we log in at (Exim: bounce_sender_authentication)."""
    caller: LocalCaller = field(default_factory=lambda: LocalCaller("fingerpost", 0, 0, trusted=True))
    """Whom the log names as the one who hands reports in (`U=`)."""
    waits: float | None = None
    """Seconds for which reports wait for a queue run, as all new messages do; None: they are tried at once."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One recipient, as a report tells of it."""

    result: Result
    action: Action
    status: str
    """The enhanced status, RFC 3463."""
    words: str = ""
    """What people are told; a line of its own begins behind a backslash and an n."""
    diagnostic: str = ""
    """What programs are told, with its type (RFC 3464 2.3.6)."""
    host: RemoteHost | None = None
    error: ErrorClass | None = None
    """Why it had to wait."""


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
    boundary = _boundary(draft, parts)
    delimiter = f"--{boundary}".encode("ascii")
    content = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    is_8bit = not content.isascii()
    header = _header(message, draft, settings, boundary, is_8bit)
    recipients = (draft.to, *draft.wording.copies)
    needs_utf8 = not (header.isascii() and all(str(each).isascii() for each in recipients))
    new = NewMessage(
        message_id=draft.report_id,
        sender=NULL_SENDER,
        recipients=tuple(Recipient(each) for each in recipients),
        header=header,
        facts=MessageFacts(_session(settings), draft.now, is_rehearsal=message.facts.is_rehearsal),
        body_type=BodyType.EIGHTBITMIME if is_8bit or needs_utf8 else BodyType.SEVENBIT,
        body_size=len(content),
        parameters=Parameters((("SMTPUTF8", ""),)) if needs_utf8 else Parameters(),
        due=None if settings.waits is None else draft.now + settings.waits,
    )
    return Report(new, content)


def _session(settings: ReportSettings) -> SessionFacts:
    """Reports are messages of this machine's own."""
    caller, sender = settings.caller, settings.authenticated_sender
    return SessionFacts(caller=caller, authentication=Authentication("", caller.login, sender) if sender else None)


def wants_utf8(message: QueuedMessage) -> bool:
    """Whether the sender's own programs read what is outside of US-ASCII, RFC 6533 3."""
    return message.parameters.get("SMTPUTF8") is not None


def _part(content_type: str, content: bytes) -> bytes:
    encoding = "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return to_wire(f"Content-type: {content_type}\r\n{encoding}\r\n") + content


def _boundary(draft: Draft, parts: Iterable[bytes]) -> str:
    """A boundary that no part contains, RFC 2046 5.1.1. Exim's form, by which programs know such reports."""
    everything = b"".join(parts)
    number = zlib.crc32(draft.report_id.encode("utf-8", "replace"))
    while f"--{(boundary := f'{int(draft.now)}-eximdsn-{number}')}".encode("ascii") in everything:
        number += 1
    return boundary


# The header


def _header(message: QueuedMessage, draft: Draft, settings: ReportSettings, boundary: str, is_8bit: bool) -> bytes:
    """In the order in which Exim has them, who hands the report to itself and adds the last two."""
    fields = [received(draft.report_id, [draft.to, *draft.wording.copies], draft.now, settings)]
    fields += failed_recipients(draft.failed, is_utf8=not str(draft.to).isascii())
    if settings.reply_to:
        fields.append(_folded("Reply-To", _one_line(settings.reply_to)))
    fields += [f"Auto-Submitted: {draft.automatic}", from_field(draft.wording, settings)]
    fields.append(f"To: {shown(draft.to, is_utf8=True)}")
    fields += references(message.header)
    fields += [
        f"Content-Type: multipart/report; report-type=delivery-status; boundary={boundary}",
        "MIME-Version: 1.0",
    ]
    if is_8bit:
        fields.append("Content-Transfer-Encoding: 8bit")
    own_fields = draft.wording.text(0)
    fields += [_folded("Subject", draft.subject)] if own_fields is None else _fields_of(own_fields)
    fields += last_fields(draft.report_id, draft.now, settings)
    return to_wire("".join(f"{field}\r\n" for field in fields))


def received(report_id: str, to: Sequence[Address], now: float, settings: ReportSettings) -> str:
    """The field that says where the report began."""
    host, date = settings.primary_hostname, formatdate(now, localtime=True)
    only = f"\r\n\tfor {shown(to[0], is_utf8=True)}" if len(to) == 1 else ""
    name = printable(settings.caller.login, 255)
    return f"Received: from {name} by {host} with local (Fingerpost)\r\n\tid {report_id}{only};\r\n\t{date}"


def last_fields(report_id: str, now: float, settings: ReportSettings) -> list[str]:
    """Those that every message has."""
    return [f"Message-Id: <E{report_id}@{settings.primary_hostname}>", f"Date: {formatdate(now, localtime=True)}"]


def from_field(wording: Wording, settings: ReportSettings) -> str:
    """Exim: dsn_from."""
    usual = f"Mail Delivery System <Mailer-Daemon@{settings.qualify_domain}>"
    return _folded("From", _one_line(wording.sender) or usual)


def failed_recipients(failed: Sequence[Address], *, is_utf8: bool) -> list[str]:
    """X-Failed-Recipients, a field for each fifty."""
    each = [shown(one, is_utf8=is_utf8) for one in failed if is_utf8 or str(one).isascii()]
    starts = range(0, len(each), _FAILED_IN_A_FIELD)
    return ["X-Failed-Recipients: " + ",\r\n  ".join(each[start : start + _FAILED_IN_A_FIELD]) for start in starts]


def references(header: bytes) -> list[str]:
    """The messages before, and the one that the report is about, RFC 5322 3.6.4. The first and the last are kept of
    many (Exim: twelve)."""
    fields = split_header(header)[0]
    earlier = _ids(fields, "References") or _ids(fields, "In-Reply-To")
    own = _ids(fields, "Message-ID")[:1]
    if len(earlier) > _MOST_REFERENCES:
        earlier = [earlier[0], *earlier[1 - _MOST_REFERENCES :]]
    found = earlier + own
    while len(found) > 1 and len(" ".join(found)) > LONGEST_LINE - 20:
        # The first of them is what the others hang on.
        del found[1 if len(found) > 2 else 0]
    return [f"References: {' '.join(found)}"] if found else []


def _ids(fields: Iterable[Field], name: str) -> list[str]:
    """The ids of the first field of that name, as far as they may be repeated."""
    value = next((each.value for each in fields if each.is_named(name)), b"")
    return [each.decode("ascii") for each in re.findall(rb"<[!-;=?-~]{1,250}>", value)]


def _fields_of(text: str) -> list[str]:
    """The header fields that an operator has written, line by line; what is none is left out."""
    found = re.findall(r"^([!-9;-~]+:)[ \t]*(.*(?:\n[ \t]+[^\n]+)*)", text.replace("\r\n", "\n"), re.MULTILINE)
    return ["\r\n ".join([name, *map(_one_line, value.split("\n"))]).replace("\r\n", "", 1) for name, value in found]


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()), LONGEST_TEXT)


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


def as_written(text: str) -> str:
    """An operator's paragraph: its lines, each harmless."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return "".join(f"{readable(line, LONGEST_LINE)}\r\n" for line in lines)


def about(told: Told, leading: str, *, is_utf8: bool) -> str:
    """A recipient, what it was made of, and what there is to say of it, in Exim's layout."""
    lines = naming(told, is_utf8=is_utf8)
    if not told.result.is_hidden and told.words:
        lines += laid_out(leading + (readable if is_utf8 else printable)(told.words, LONGEST_TEXT))
    if plain := in_plain_words(told.error, told.host):
        lines += textwrap.wrap(plain, 72, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return "".join(f"{line}\r\n" for line in lines)


def laid_out(text: str) -> list[str]:
    """What a server said, line by line; a line that is long already ends behind the next colon."""
    lines = []
    for line in text.split("\\n"):
        while (colon := line.find(": ", _COLON_FROM)) >= 0:
            lines.append(f"    {line[: colon + 1]}")
            line = line[colon + 2 :]
        lines.append(f"    {line[:_LONGEST_SAID]}[truncated]" if len(line) >= _LONGEST_SAID else f"    {line}")
    return lines


def is_made(result: Result) -> bool:
    """Whether a recipient of the message was made into this one."""
    return result.original is not None or bool(result.shown)


def naming(told: Told, *, is_utf8: bool) -> list[str]:
    """The lines that name a recipient, what it was made of, and the server."""
    result, made = told.result, is_made(told.result)
    address = result.recipient.recipient.address
    top, printed = result.original or address, str(address).lower()
    if result.is_hidden and made:
        lines, printed = ["  an undisclosed address"], ""
    elif result.shown:
        kind = {"|": "pipe", ">": "mail"}.get(result.shown[:1], "save")
        lines = [f"  {kind} to {printable(result.shown.removeprefix('>'), 900)}"]
        lines.append(f"    generated by {shown(address, is_utf8=is_utf8)}")
    else:
        lines = [f"  {shown(address, is_utf8=is_utf8)}"]
    if made and str(top).lower() != printed:
        far = "ultimately " if result.is_distant else ""
        lines.append(f"    ({far}generated from {shown(top, is_utf8=is_utf8)})")
    if told.host is not None:
        lines.append(f"    host {printable(told.host.name, 255)} [{told.host.address}]")
    return lines


# The part for programs


def _delivery_status(message: QueuedMessage, draft: Draft, settings: ReportSettings) -> str:
    """RFC 3464 2: fields of the message, then a block for each recipient, an empty line before each."""
    fields = [f"Reporting-MTA: dns; {settings.primary_hostname}"]
    if envelope_id := _decoded(message.parameters.get("ENVID") or ""):
        fields.append(_folded("Original-Envelope-ID", envelope_id))
    blocks = ["\r\n".join(fields)]
    is_utf8 = wants_utf8(message)
    blocks.extend("\r\n".join(_status_fields(each, is_utf8)) for each in draft.told)
    return "\r\n\r\n".join(blocks) + "\r\n"


def _status_fields(told: Told, is_utf8: bool) -> list[str]:
    fields = []
    kind, semicolon, original = (told.result.recipient.recipient.parameters.get("ORCPT") or "").partition(";")
    if semicolon and re.fullmatch(r"[A-Za-z0-9-]+", kind):
        fields.append(_folded("Original-Recipient", f"{kind};{_decoded(original)}"))
    address = told.result.original or told.result.recipient.recipient.address
    # RFC 6533 3: an address of the type utf-8 stands as it is in the form for such messages.
    address_type = "rfc822" if str(address).isascii() or not is_utf8 else "utf-8"
    fields += [
        f"Action: {told.action.value}",
        _folded("Final-Recipient", f"{address_type};{shown(address, is_utf8=is_utf8)}"),
        f"Status: {told.status}",
    ]
    if told.host is not None:
        fields.append(_folded("Remote-MTA", f"dns; {printable(told.host.name, 255)}"))
    if told.diagnostic:
        said = f"Diagnostic-Code: {printable(told.diagnostic)}"
        if len(said) > _LONGEST_DIAGNOSTIC:
            said = f"{said[:_LONGEST_DIAGNOSTIC]}[truncated]"
        fields.append("\r\n ".join(said.split("\\n")))
    return fields


def _decoded(text: str) -> str:
    """RFC 3461 4: xtext as what it stands for, on one printable line."""
    return printable(decode_xtext(text), 500)


# The original


@dataclass(frozen=True, slots=True)
class Returned:
    """What goes back of the original."""

    content_type: str
    content: bytes


def wanted_of_body(message: QueuedMessage, settings: ReportSettings) -> int:
    """How many octets of the body `returned` needs for a bounce: all or nothing."""
    headers_only = (message.parameters.get("RET") or "").upper() == "HDRS"  # RFC 3461 4.3
    if headers_only or not settings.returns_message or not settings.returns_body:
        return 0
    return 0 if _is_too_large(message, settings) else message.body_size


def _is_too_large(message: QueuedMessage, settings: ReportSettings) -> bool:
    """The limit is that of the body, and not exact: Exim counts buffers. A header is never longer than that, either."""
    limit = _in_buffers(settings.return_size_limit)
    return bool(limit) and max(message.body_size, len(message.header)) > limit


def _in_buffers(limit: int) -> int:
    return (limit // _BUFFER + 1) * _BUFFER if limit else 0


def returned(
    message: QueuedMessage, body: bytes | None, settings: ReportSettings, *, is_notice: bool = False
) -> Returned | None:
    """The third part; `body` None: the header is enough, as it always is for a notice. None: nothing is to be
    returned."""
    if not settings.returns_message:
        return None
    is_global = wants_utf8(message)
    path = to_wire(f"Return-path: <{shown(message.sender, is_utf8=is_global)}>\r\n")
    if body is not None and len(body) == message.body_size:
        whole = path + message.header + b"\r\n" + body
        if not _is_too_large(message, settings) and _fits_lines(whole) and _came_within(message, body, settings):
            return Returned("message/global" if is_global else "message/rfc822", whole)
    limit = _in_buffers(settings.return_size_limit) or len(message.header)
    header = path + _leading_fields(message.header, limit)
    ret = (message.parameters.get("RET") or "").upper()
    is_limited = ret == "FULL" if not settings.returns_body else ret != "HDRS"
    if is_limited and not is_notice:
        header += _ADMINISTRATIVE
    return Returned("message/global-headers" if is_global else "text/rfc822-headers", header + b"\r\n")


def _came_within(message: QueuedMessage, body: bytes, settings: ReportSettings) -> bool:
    """Whether no line is longer than the operator wants them, apart from those that were put in front of the message
    here (Exim: max_received_linelength)."""
    limit, longest = settings.return_line_limit, message.facts.longest_header_line
    if longest is None:
        return _fits_lines(message.header + b"\r\n" + body, limit)
    return longest <= limit and _fits_lines(body, limit)


def _fits_lines(content: bytes, longest: int = LONGEST_LINE) -> bool:
    """True for what 8bit may carry: no NUL, no line over the limit, RFC 2045 2.8."""
    if b"\0" in content:
        return False
    return not re.search(rb"[^\n]{%d}" % (longest + 2), content)


def _leading_fields(header: bytes, limit: int) -> bytes:
    """The fields from the top that fit, each line of them within the limits."""
    kept: list[bytes] = []
    size = 0
    for each in split_header(header)[0]:
        if size + len(each.raw) > limit or not _is_sound(each):
            continue
        kept.append(each.raw)
        size += len(each.raw)
    return b"".join(kept)


def _is_sound(one: Field) -> bool:
    return _fits_lines(one.raw) and one.raw.endswith(b"\r\n")


def message_id_of(report: NewMessage) -> str:
    """The Message-ID: field of a report, "" if there is none."""
    fields, _ = split_header(report.header)
    return next((from_wire(each.value) for each in fields if each.is_named("Message-ID")), "")
