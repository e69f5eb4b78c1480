"""Which reports follow from an attempt, and in which words (decision).

Failures, delays, deliveries that somebody wanted to hear of, messages that are held: each kind is written elsewhere
(`bounce`, `delay`, `success`, `frozen`); who gets one, and what the operator's options make of it, is here. An option
that can't be expanded is told in the log, and the report goes out in our own words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from relay.delivery.bounce import make_bounce, to_report
from relay.delivery.delay import due_warning, in_words, make_delay_notice, to_warn
from relay.delivery.frozen import make_freeze_notice
from relay.delivery.report import Report, ReportSettings, Wording, wanted_of_body
from relay.delivery.settle import GivenUp, Judgement, Result
from relay.delivery.success import make_success_report, to_confirm
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.scope import Scope
from relay.expand.values import from_octets, is_tainted
from relay.mail.address import Address
from relay.mail.events import Trouble
from relay.mail.ports import Body, Journal, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import QueuedMessage, make_message_id
from relay.policy.error_copies import ErrorCopy, copies_of
from relay.policy.routers.arriving import holds

# An operator's file of texts is not longer.
_FILE_LIMIT = 100_000
_SEPARATOR = "****"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRules:
    """The operator's options about reports, Exim's names; times in seconds."""

    settings: ReportSettings
    dsn_from: Expansion | None = None
    errors_copy: tuple[ErrorCopy, ...] = ()
    bounce_message_file: Expansion | None = None
    warn_message_file: Expansion | None = None
    delay_warning: tuple[float, ...] = ()
    delay_warning_condition: Expansion | None = None
    freeze_tell: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Reports:
    """What goes into the queue with the outcome of an attempt."""

    reports: tuple[Report, ...] = ()
    warnings: int | None = None
    """How many warnings the sender has had, where that has changed."""


class Reporting:
    """Writes the reports on one message."""

    def __init__(
        self,
        message: QueuedMessage,
        body: Body,
        scope: Scope,
        rules: ReportRules,
        journal: Journal,
        source: random.Random,
        now: float,
    ) -> None:
        self._message = message
        self._body = body
        self._scope = scope
        self._rules = rules
        self._journal = journal
        self._source = source
        self._now = now

    async def reports(self, judgement: Judgement, results: Sequence[Result]) -> Reports:
        """All of them. `results` are those of the whole attempt."""
        found = [*await self._successes(results), *await self._bounces(judgement.given_up)]
        warned: tuple[Report, ...] = ()
        warnings = None
        if judgement.freeze:
            found += await self._freeze_notice(judgement.freeze)
        else:
            warned, warnings = await self._warnings(judgement)
        return Reports((*found, *warned), warnings)

    async def _successes(self, results: Sequence[Result]) -> list[Report]:
        """RFC 3461 4.1: NOTIFY=SUCCESS."""
        told = to_confirm(self._message, results)
        if not told:
            return []
        wording = Wording(sender=await self._sender())
        report_id = self._new_id()
        return [make_success_report(self._message, told, self._rules.settings, report_id, self._now, wording=wording)]

    async def _bounces(self, given_up: Sequence[GivenUp]) -> list[Report]:
        """A report for each of those who are to be told."""
        told = to_report(self._message, given_up)
        if not told:
            return []
        settings = self._rules.settings
        try:
            body = await read_body(self._body, wanted_of_body(self._message, settings))
        except SpoolUnavailable:
            # What was delivered has to be written down now; the report then has the header only.
            body = b""
        found = []
        for to, reported in told.items():
            scope = self._scope.child(more={**self._scope.more, "bounce_recipient": str(to)})
            wording = Wording(
                sender=await self._sender(),
                texts=await self._texts(self._rules.bounce_message_file, "bounce_message_file", scope),
                copies=await self._copies(to),
            )
            report_id = self._new_id()
            bounce = make_bounce(self._message, reported, body, settings, report_id, self._now, to=to, wording=wording)
            found.append(bounce)
        return found

    async def _warnings(self, judgement: Judgement) -> tuple[tuple[Report, ...], int | None]:
        """The notices about delays that are due, and the new count of them."""
        message, rules = self._message, self._rules
        due = due_warning(rules.delay_warning, self._now - message.facts.received_at)
        told = to_warn(message, judgement.waiting)
        if due.count <= message.warnings or message.sender.is_null or not told or not await self._is_to_be_warned():
            return (), None
        found = []
        for to, waiting in told.items():
            more = {"warn_message_recipients": str(to), "warn_message_delay": in_words(due.delay)}
            more |= {"warn_message_recipient": str(to)} | {"warnmsg_delay": more["warn_message_delay"]}
            more |= {"warnmsg_recipients": str(to), "warnmsg_recipient": str(to)}
            scope = self._scope.child(more={**self._scope.more, **more})
            wording = Wording(
                sender=await self._sender(),
                texts=await self._texts(rules.warn_message_file, "warn_message_file", scope),
            )
            report_id = self._new_id()
            notice = make_delay_notice(
                message, waiting, due.delay, rules.settings, report_id, self._now, to=to, wording=wording
            )
            found.append(notice)
        return tuple(found), due.count

    async def _freeze_notice(self, why: str) -> list[Report]:
        """Nobody is told of a report of ours that is held: the next one might be about that one."""
        message, settings = self._message, self._rules.settings
        is_report = message.sender.is_null and message.facts.session.caller == settings.caller
        if not self._rules.freeze_tell or is_report:
            return []
        to = self._rules.freeze_tell
        wording = Wording(sender=await self._sender())
        return [make_freeze_notice(message, why, to, settings, self._new_id(), self._now, wording=wording)]

    def _new_id(self) -> str:
        return make_message_id(self._now, self._source)

    # Options

    async def _sender(self) -> str:
        return await self._expanded(self._rules.dsn_from, "dsn_from", self._scope)

    async def _is_to_be_warned(self) -> bool:
        """Exim: delay_warning_condition. Where it can't be told the notice waits for the next attempt."""
        condition = self._rules.delay_warning_condition
        if condition is None:
            return True
        try:
            return await holds(condition, self._scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._tell(f"delay_warning_condition: {error}")
            return False

    async def _copies(self, to: Address) -> tuple[Address, ...]:
        try:
            return await copies_of(self._rules.errors_copy, to, self._scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._tell(f"errors_copy: {error}")
            return ()

    async def _texts(self, file: Expansion | None, option: str, scope: Scope) -> tuple[str, ...]:
        """The paragraphs of an operator's file, each expanded; none where it can't be had."""
        path = await self._expanded(file, option, scope)
        if not path:
            return ()
        if not path.startswith("/") or is_tainted(path):
            self._tell(
                f"{option} is not {'untainted' if path.startswith('/') else 'absolute'} after expansion: '{path}'"
            )
            return ()
        if self._scope.file_system is None:
            return ()
        try:
            text = from_octets(await self._scope.file_system.contents(path, _FILE_LIMIT))
        except OSError as error:
            self._tell(f"{option}: {path}: {error.strerror or error}")
            return ()
        texts = []
        for each in _paragraphs(text):
            try:
                texts.append(await compile_expansion(each).text(scope))
            except (ExpansionError, ExpansionFailed, TemporaryFailure) as error:
                self._tell(f"{option}: {path}: {error}")
                return ()
        return tuple(texts)

    async def _expanded(self, text: Expansion | None, option: str, scope: Scope) -> str:
        if text is None:
            return ""
        try:
            return await text.text(scope)
        except ForcedFailure:
            return ""
        except (ExpansionFailed, TemporaryFailure) as error:
            self._tell(f"{option}: {error}")
            return ""

    def _tell(self, what: str) -> None:
        self._journal.record(Trouble(what, "", self._message.message_id))


def _paragraphs(text: str) -> list[str]:
    """Divided by lines of four stars."""
    found: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.rstrip("\r\n") == _SEPARATOR:
            found.append([])
        else:
            found[-1].append(line)
    if not found[-1]:
        found.pop()
    return ["".join(each) for each in found]


async def read_body(body: Body, size: int) -> bytes:
    """The first `size` octets; fewer where the body ends before."""
    pieces: list[bytes] = []
    while size > 0 and (piece := await body.piece(len(pieces))):
        pieces.append(piece[:size])
        size -= len(pieces[-1])
    return b"".join(pieces)
