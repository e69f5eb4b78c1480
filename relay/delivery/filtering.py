"""Filters of transports: the command with its words, and what comes out of it in place of the message (decision).

    text = await filters.filtered(job, identity, Content(header, body, …))

The filter sees the header and the body as the transport would write them, with LF at the ends of lines and nothing
escaped. What the transport puts around a message is not its concern. Exim: transport_filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from relay.delivery.carrying import Content
from relay.delivery.command_line import AddressPipe, AllAddresses, CommandLine
from relay.delivery.content import Form, MessageText
from relay.delivery.jobs import Filter, FilterEnd, Identity, misconfigured
from relay.delivery.option_text import expanded, no_taint
from relay.expand.errors import ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.ports import Body
from relay.mail.text import printable

_LEAST_LIMIT = 64 * 1024 * 1024
_GROWTH = 16


class FilterFailed(Exception):
    """There is nothing to be delivered."""

    def __init__(self, end: FilterEnd) -> None:
        super().__init__(end.text())
        self.end = end


@dataclass(frozen=True, slots=True)
class FilterRules:
    """The options of any transport; `timeout` in seconds."""

    command: CommandLine
    timeout: int = 300


class Filtered(Protocol):
    """What a filter has written."""

    async def piece(self, number: int) -> bytes:
        """Piece `number` from 0; b"" behind the last one. Raises SpoolUnavailable."""
        ...

    def close(self) -> None:
        """Nobody reads on."""
        ...


class Filters(Protocol):
    """Runs filters, as whoever delivers."""

    async def filtered(self, job: Filter, identity: Identity, content: Content) -> Filtered:
        """Raises FilterFailed, and what the content raises."""
        ...


async def filter_job(
    rules: FilterRules, transport: str, scope: Scope, recipients: Sequence[str], size: int
) -> Filter:
    """The command with its words expanded; `size` is the message's. Raises NotDelivered."""
    arguments: list[str] = []
    what = f'transport filter "{printable(rules.command.text, 200)}"'
    for word in rules.command.words:
        match word:
            case AllAddresses():
                arguments += recipients
            case AddressPipe():
                raise misconfigured(f"$address_pipe in {what} of {transport} transport")
            case Expansion():
                try:
                    text = await expanded(word, scope, what, transport)
                except ForcedFailure as error:
                    raise misconfigured(f"Expansion of {what} for {transport} transport failed: {error}") from error
                arguments.append(no_taint(text, f"argument of {what}", transport))
            case _ as never:
                assert_never(never)
    if not arguments or not arguments[0] or "\0" in "".join(arguments):
        raise misconfigured(f"no command in {what} of {transport} transport")
    limit = max(_LEAST_LIMIT, _GROWTH * size)
    return Filter(transport=transport, arguments=tuple(arguments), timeout=rules.timeout, limit=limit)


def filter_input(header: bytes, body: Body | None) -> Content:
    """What a filter reads. `header` has the empty line at its end, and is empty where no header is delivered."""
    text = MessageText(Form())
    return Content(text.header(header), body, text, b"")


class FilteredBody:
    """A filter's output as the body of a message, read in order from piece 0, and as often as is wanted. Its end is
    told only to who still has the message claimed."""

    def __init__(self, filtered: Filtered, source: Content, form: Form) -> None:
        """`source` is what the filter has read; `form` says how lines end."""
        self._filtered = filtered
        self._source = source
        self._form = form
        self._text = MessageText(form)
        self._next = 0
        self._is_over = False

    async def piece(self, number: int) -> bytes:
        """As of any body."""
        if number == 0:
            self._text, self._next, self._is_over = MessageText(self._form), 0, False
        while not self._is_over:
            piece = await self._filtered.piece(self._next)
            self._next += 1
            self._is_over = not piece
            text = self._text.body(piece) if piece else self._text.end()
            if text:
                return text
        await self._source.check_claim()
        return b""

    def close(self) -> None:
        """Nobody reads on."""
        self._filtered.close()


class FilteringBody:
    """A message that goes through the filter when its first octets are wanted, and then no more."""

    def __init__(self, filters: Filters, job: Filter, identity: Identity, source: Content, form: Form) -> None:
        self._filters = filters
        self._job = job
        self._identity = identity
        self._source = source
        self._form = form
        self._made: FilteredBody | None = None

    async def piece(self, number: int) -> bytes:
        """As of any body. Raises FilterFailed."""
        if self._made is None:
            filtered = await self._filters.filtered(self._job, self._identity, self._source)
            self._made = FilteredBody(filtered, self._source, self._form)
        return await self._made.piece(number)

    def close(self) -> None:
        """Nobody reads on."""
        if self._made is not None:
            self._made.close()
