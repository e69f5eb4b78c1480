"""The autoreply transport: a message of its own in answer to the one that it gets (decision).

It delivers nothing: it writes a reply from its options, gives it to whoever takes messages of local programs, from the
null sender, so that no two machines can talk to each other for ever, and says that the address is done. The reply is
in the queue before that is written down; a machine that stops in between sends it twice, never not at all. Files are
opened by the daemon's own user, never by root.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from relay.delivery import reply_files
from relay.delivery.carrying import Naming
from relay.delivery.header_edits import edited_header
from relay.delivery.jobs import FilterEnd, Identity, Job, NotDelivered, Report, Verdict, deferred, failed
from relay.delivery.local import Errand, LocalRules
from relay.delivery.option_text import no_taint
from relay.delivery.report import references
from relay.delivery.transports import BlockingCalls
from relay.esmtp.grammar import Malformed
from relay.esmtp.header_addresses import read_address_list
from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.lists import MatchList
from relay.expand.values import from_octets
from relay.mail.header import split_header
from relay.mail.outcome import ErrorClass, Outcome
from relay.mail.ports import Clock, Journal, TemporaryFailure
from relay.mail.text import from_wire, printable, to_wire
from relay.policy.words import read_time

_BUFFER = 8192
_FIELDS = ("from", "reply_to", "to", "cc", "bcc", "subject")
_NAMES = {"from": "From", "reply_to": "Reply-To", "to": "To", "cc": "Cc", "bcc": "Bcc", "subject": "Subject"}
_FILES = ("file", "log", "once", "once_repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoreplyRules:
    """The options of one autoreply transport, named and with defaults as in Exim; those that are expanded are in
    `texts`."""

    common: LocalRules
    texts: dict[str, Expansion]
    file_expand: bool = False
    file_optional: bool = False
    mode: int = 0o600
    never_mail: MatchList | None = None
    once_file_size: int = 0
    return_message: bool = False
    return_size_limit: int = 100 * 1024
    """Exim: bounce_return_size_limit."""

    @property
    def name(self) -> str:
        return self.common.name


class ReplyRefused(Exception):
    """The reply was not taken; the text is for the log."""


class NoRecipients(ReplyRefused):
    """There is nobody whom it could go to."""


class Replies(Protocol):
    """Whoever takes messages of local programs."""

    async def send(self, text: bytes, about: str, identity: Identity) -> None:
        """Takes a message, recipients in its header, from the null sender, handed in by that user in answer to the
        message `about`. Raises ReplyRefused."""
        ...


class Autoreply:
    """The driver."""

    def __init__(
        self,
        rules: AutoreplyRules,
        replies: Replies,
        calls: BlockingCalls,
        clock: Clock,
        journal: Journal,
        own: Identity,
    ) -> None:
        self._rules = rules
        self._replies = replies
        self._calls = calls
        self._clock = clock
        self._journal = journal
        self._own = own

    async def job(self, errand: Errand, number: int) -> tuple[Job, Naming | None] | Report:
        """Sends the reply. Raises NotDelivered."""
        rules = self._rules
        texts = {name: await self._expanded(name, text, errand) for name, text in rules.texts.items()}
        if rules.never_mail is not None and not await self._spared(texts, rules.never_mail, errand):
            return Report(Verdict.DELIVERED)
        now = self._clock.now()
        once, to = texts.get("once", ""), texts.get("to", "")
        if once and to and await self._was_sent(once, to, texts, now):
            await self._log(texts, f"{_stamp(now)}\n  previously sent to {to[:200]}\n")
            return Report(Verdict.DELIVERED)
        text = await self._written(texts, errand)
        try:
            await self._replies.send(text, errand.message.message_id, errand.identity)
        except NoRecipients:
            refusal = ""
        except ReplyRefused as error:
            refusal = f"Failed to send message from {rules.name} transport ({error})"
        else:
            refusal = ""
        if once and to:
            # Whatever became of it: one that is missing is better than many.
            await self._file("once", once, reply_files.note_sent, once, rules.mode, rules.once_file_size, to, now)
        if refusal:
            raise deferred(refusal)
        await self._log(texts, _log_entry(texts, now))
        return Report(Verdict.DELIVERED)

    def outcome(self, report: Report, errand: Errand) -> Outcome:
        """What the report says."""
        return report.outcome()

    def logs_output(self, report: Report) -> bool:
        """There is none."""
        return False

    def filter_failed(self, end: FilterEnd, _job: Job) -> Report:
        """It is tried again."""
        return deferred(end.text(), ErrorClass.FILTER).report

    # Options

    async def _expanded(self, name: str, text: Expansion, errand: Errand) -> str:
        """Raises NotDelivered: what can't be expanded, or would be no field, never comes right by waiting."""
        shown, transport = printable(text.source, 200), self._rules.name
        try:
            found = await (text.text if name in _FILES else text.lines)(errand.scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            raise failed(f'Expansion of "{shown}" failed in {transport} transport: {error}') from error
        if name in ("text", "headers"):
            return found
        for place, each in enumerate(found):
            is_fold = each == "\n" and name in _FIELDS and found[place + 1 : place + 2] in (" ", "\t")
            if not (each.isprintable() or (each == "\t" and name in _FIELDS) or is_fold):
                what = f"contains non-printing character {to_wire(each)[0]}"
                raise failed(f'Expansion of "{shown}" in {transport} transport {what}')
        return found

    async def _spared(self, texts: dict[str, str], never_mail: MatchList, errand: Errand) -> bool:
        """Takes those out who are never to be written to; False where nobody is left."""
        for name in ("to", "cc", "bcc"):
            try:
                listed = read_address_list(texts.get(name, ""))
                kept = [each for each in listed if await never_mail.match(str(each), errand.scope) is None]
            except Malformed:
                continue
            except (ExpansionFailed, TemporaryFailure) as error:
                what = f'Failed to expand "{printable(never_mail.source, 200)}" for "never_mail"'
                raise failed(f"{what} in {self._rules.name} transport") from error
            if len(kept) < len(listed):
                texts[name] = ", ".join(map(str, kept))
        return any(texts.get(name) for name in ("to", "cc", "bcc"))

    # Files

    async def _was_sent(self, once: str, to: str, texts: dict[str, str], now: float) -> bool:
        repeat = 0
        if written := texts.get("once_repeat", "").strip():
            found = read_time(written)
            if found is None:
                what = f'Invalid time value "{printable(written, 40)}" for "once_repeat"'
                raise failed(f"{what} in {self._rules.name} transport")
            repeat = found
        then = await self._file("once", once, reply_files.last_sent, once, self._rules.mode, to)
        return bool(then) and (repeat <= 0 or now - then < repeat)

    async def _file(self, what: str, path: str, function: object, *arguments: object) -> float:
        """A call of `reply_files`. Raises NotDelivered."""
        name = self._rules.name
        no_taint(path, f"{what} file", name)
        if self._own.uid == 0:
            raise deferred(f'no "{what}" file is opened as root for {name} transport')
        try:
            return await self._calls.call(function, *arguments) or 0.0  # type: ignore[arg-type]
        except OSError as error:
            reason = f'Failed to open "{what}" file {path} when sending message from {name} transport'
            raise deferred(f"{reason}: {error.strerror}", errno=error.errno or 0) from error

    async def _log(self, texts: dict[str, str], entry: str) -> None:
        """Where there is a log that can be written; a reply that was sent is not sent again for its sake."""
        path = texts.get("log", "")
        if path:
            try:
                await self._file("log", path, reply_files.append, path, self._rules.mode, to_wire(entry))
            except NotDelivered:
                pass

    async def _from_file(self, path: str, errand: Errand) -> str:
        """The operator's text. Raises NotDelivered."""
        rules, files = self._rules, errand.scope.file_system
        no_taint(path, "file", rules.name)
        try:
            if files is None:
                raise FileNotFoundError(2, "No such file or directory")
            text = from_octets(await files.contents(path, reply_files.LARGEST))
        except OSError as error:
            if rules.file_optional:
                return ""
            reason = f"Failed to open file {path} when sending message from {rules.name} transport"
            raise deferred(f"{reason}: {error.strerror}", errno=error.errno or 0) from error
        if not rules.file_expand:
            return text
        return "".join([await _line(each, errand) for each in text.splitlines(keepends=True)])

    # The message

    async def _written(self, texts: dict[str, str], errand: Errand) -> bytes:
        fields = [f"{_NAMES[name]}: {texts[name]}" for name in _FIELDS if texts.get(name)]
        header = errand.message.header
        if found := next((each for each in split_header(header)[0] if each.is_named("Message-ID")), None):
            fields.append(f"In-Reply-To: {printable(from_wire(found.value).strip(), 900)}")
        fields += [*references(header), "Auto-Submitted: auto-replied"]
        if texts.get("headers"):
            fields.append(texts["headers"].rstrip("\n"))
        text = texts.get("text", "")
        if text and not text.endswith("\n"):
            text += "\n"
        if path := texts.get("file", ""):
            text += await self._from_file(path, errand)
        whole = to_wire("".join(f"{each}\n" for each in fields) + "\n" + text)
        return whole + await self._copy(errand) if self._rules.return_message else whole

    async def _copy(self, errand: Errand) -> bytes:
        """The message that is answered, or as much of its body as bounces return."""
        rules, form = self._rules, self._rules.common.text
        what = "message, including all the headers"
        if form.headers_only:
            what = "message's header lines"
        elif form.body_only:
            what = "body of the message, without the headers"
        rubric, limit = f"\n------ This is a copy of the {what}.\n", rules.return_size_limit
        size = errand.message.body_size
        most = (limit // _BUFFER + 1) * _BUFFER
        if limit and not form.headers_only and size > most:
            rubric += f"------ The body of the message is {size} characters long; only the first\n"
            rubric += f"------ {most // 1000 * 1000} or so are included here.\n"
        copy = b""
        if not form.body_only:
            copy = await edited_header(
                errand.message.header,
                rules.common.header,
                errand.scope,
                return_path=errand.return_path,
                recipients=[each.recipient.address for each in errand.addresses],
                now=self._clock.now(),
                journal=self._journal,
            )
            copy += b"\r\n"
        if not form.headers_only and errand.body is not None:
            number, left = 0, limit or size
            while left > 0 and (piece := await errand.body.piece(number)):
                copy += piece[:left]
                number, left = number + 1, left - len(piece)
        return to_wire(rubric + "\n") + copy.replace(b"\r\n", b"\n")


async def _line(line: str, errand: Errand) -> str:
    """A line of the operator's file, expanded where it can be."""
    try:
        return await compile_expansion(line).lines(errand.scope)
    except (ExpansionError, ExpansionFailed, TemporaryFailure):
        return line


def _stamp(now: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))


def _log_entry(texts: dict[str, str], now: float) -> str:
    lines = [f"  {_NAMES[name]}: {texts[name]}" for name in ("from", "to", "cc", "bcc", "subject") if texts.get(name)]
    if texts.get("headers"):
        lines.append(f"  {texts['headers']}")
    return "".join(f"{each}\n" for each in (_stamp(now), *lines))
