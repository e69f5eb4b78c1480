"""What routing makes of an address, as `-bt` and `-bv` print it (decision).

The layout is Exim's to the blank, because people and scripts read it: deliveries that were found last come first, each
with the addresses that it was made of, its router, transport and hosts. Exim: verify_address, test_address.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from relay.expand.scope import Scope
from relay.expand.values import text_of
from relay.mail.address import Address
from relay.mail.outcome import DNSSEC
from relay.mail.text import printable
from relay.policy.routers.answers import Direct, Discarded, Redirected, Routed, RouteDeferred, RouteHost, Unroutable
from relay.policy.routers.items import AddressItem, top_item
from relay.policy.routers.ports import REMOTE, Purpose, RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import dialling_order, route


class Verdict(enum.Enum):
    """What an address came to; the value is the exit status of the command."""

    GOOD = 0
    DEFERRED = 1
    BAD = 2


@dataclass(frozen=True, slots=True)
class Report:
    """The lines about one address."""

    lines: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """How addresses are looked at."""

    routers: Sequence[Router]
    scope: Scope
    ports: RoutingPorts
    purpose: Purpose = Purpose.TEST
    is_full: bool = True
    """Follow every address that comes of it, and show all deliveries; otherwise one line says whether it is good."""
    source: random.Random = field(default_factory=random.SystemRandom)
    known: set[str] = field(default_factory=set)
    """Deliveries that have been shown, to mark those that are the same."""


async def report_on(address: Address, inquiry: Inquiry) -> Report:
    """The report on one address."""
    return await (_Full(address, inquiry).run() if inquiry.is_full else _in_short(address, inquiry))


async def _in_short(address: Address, inquiry: Inquiry) -> Report:
    """One line. An address that stands for one other is as good as that one; one that stands for several is good."""
    shown = _shown(address)
    item = top_item(address)
    while True:
        answer = await route(item, inquiry.routers, inquiry.scope, inquiry.ports, inquiry.purpose)
        match answer:
            case Redirected(_, (AddressItem() as child,)):
                item = child
            case Routed() | Redirected() | Discarded():
                return Report((f"{shown} {_GOOD[_is_test(inquiry)]}",), Verdict.GOOD)
            case Unroutable(reason):
                return Report((f"{shown} {_BAD[_is_test(inquiry)]}: {_told(reason)}",), Verdict.BAD)
            case RouteDeferred(reason):
                return Report((f"{shown} {_DEFERRED}: {_told(reason)}",), Verdict.DEFERRED)
            case _ as never:
                assert_never(never)


_GOOD = {True: "is deliverable", False: "verified"}
_BAD = {True: "is undeliverable", False: "failed to verify"}
_DEFERRED = "cannot be resolved at this time"


def _is_test(inquiry: Inquiry) -> bool:
    return inquiry.purpose is Purpose.TEST


def _shown(address: Address) -> str:
    return _visible(str(address))


def _visible(text: str) -> str:
    """A text as it is, unless something in it could not be seen or would move a cursor."""
    return text if text.isprintable() else printable(text)


def _told(reason: str) -> str:
    """A reason may have several lines, of the configuration's own."""
    return "\n".join(_visible(line) for line in text_of(reason).split("\n"))


class _Full:
    """An address with all that comes of it."""

    def __init__(self, address: Address, inquiry: Inquiry) -> None:
        self._address = address
        self._inquiry = inquiry
        self._lines: list[str] = []
        self._local: list[Routed] = []
        self._remote: list[Routed] = []
        self._verdict = Verdict.GOOD
        self._is_all_well = True
        """Nothing failed, and nothing is a file or a command."""

    async def run(self) -> Report:
        await self._follow()
        if self._is_all_well and not self._local and not self._remote:
            self._lines.append(f"mail to {_shown(self._address)} is discarded")
        for answer in (*reversed(self._local), *reversed(self._remote)):
            self._lines += self._delivery(answer)
        return Report(tuple(self._lines), self._verdict)

    async def _follow(self) -> None:
        inquiry = self._inquiry
        waiting: list[AddressItem | Direct] = [top_item(self._address)]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Direct):
                self._is_all_well = False
                self._lines += _direct(item)
                continue
            answer = await route(item, inquiry.routers, inquiry.scope, inquiry.ports, inquiry.purpose)
            match answer:
                case Redirected(_, children):
                    waiting.extend(reversed(children))
                case Routed():
                    facts = inquiry.ports.transports.get(answer.transport, REMOTE)
                    (self._local if facts.is_local else self._remote).append(answer)
                    if answer.clone is not None:
                        waiting.append(answer.clone)
                case Discarded():
                    pass
                case Unroutable(reason):
                    self._fail(item, f"{_BAD[_is_test(inquiry)]}: {_told(reason)}", Verdict.BAD)
                case RouteDeferred(reason):
                    self._fail(item, f"{_DEFERRED}: {_told(reason)}", Verdict.DEFERRED)
                case _ as never:
                    assert_never(never)

    def _fail(self, item: AddressItem, what: str, verdict: Verdict) -> None:
        self._is_all_well = False
        self._lines.append(f"{_shown(item.address)} {what}")
        self._lines += _parents(item)
        if verdict is Verdict.BAD or self._verdict is Verdict.GOOD:
            self._verdict = verdict

    def _delivery(self, answer: Routed) -> Iterator[str]:
        item, inquiry = answer.item, self._inquiry
        duplicate = "   [duplicate, would not be delivered]" if item.unique in inquiry.known else ""
        inquiry.known.add(item.unique)
        yield f"{_shown(item.address)}{duplicate}"
        yield from _parents(item)
        yield f"  router = {answer.router}, transport = {answer.transport or 'unset'}"
        facts = inquiry.ports.transports.get(answer.transport, REMOTE)
        if not answer.transport or facts.overrides_hosts:
            return
        if answer.host_text and facts.is_local:
            yield f"  host {_visible(answer.host_text)}  {'':7} "
        yield from _hosts(dialling_order(answer.hosts, answer.order, inquiry.source))


def _parents(item: AddressItem) -> Iterator[str]:
    for parent in item.ancestors():
        yield f"    <-- {_shown(parent.address)}"


def _direct(item: Direct) -> Iterator[str]:
    match item.answer:
        case Routed() as routed:
            yield f"{_shown(item.parent.address)} -> {_visible(routed.text)}"
            yield f"  transport = {routed.transport}"
        case Unroutable():
            yield f"{_shown(item.parent.address)} -> {_visible(item.text)} *** forbidden ***"
        case RouteDeferred(reason):
            yield f"{_shown(item.parent.address)} -> {_visible(item.text)}"
            yield "*** Error in setting up pipe, file, or autoreply:"
            yield _told(reason)
        case _ as never:
            assert_never(never)


def _hosts(pairs: Sequence[tuple[RouteHost, str]]) -> Iterator[str]:
    """Names and addresses in columns."""
    name_width = max((len(host.name) for host, _ in pairs), default=0)
    address_width = max((len(address) for _, address in pairs), default=0)
    for host, address in pairs:
        shown = f"[{address}]".ljust(address_width + 2)
        mx = "" if host.preference is None else f" MX={host.preference}"
        port = "" if host.port is None else f" port={host.port}"
        signed = " AD" if host.dnssec is DNSSEC.YES else ""
        yield f"  host {_visible(host.name):<{name_width}} {shown}{mx}{port}{signed}"
