"""What a queue run by command says of messages whose time has not come: `retry time not reached` (decision).

Each recipient is routed and its transport is asked as in an attempt (`attempt.go_through`), but transports here deliver
nothing, nobody is dialled, and nothing is written down. Exim knows three such lines: a recipient that is not to be
routed yet, one whose mailbox is not to be tried yet (its transport delivers here), and one none of whose hosts is to
be tried yet. The daemon asks its queue for what is due and never meets such a message.
"""

from __future__ import annotations

from collections.abc import MutableSet
from dataclasses import dataclass, replace

from relay.delivery.attempt import AttemptPorts, go_through
from relay.delivery.first_pass import EVERYTHING_GOES
from relay.delivery.header_edits import RouterEdits
from relay.delivery.local_address import LocalAddress
from relay.delivery.transports import LocalTransport, RemoteTransport
from relay.expand.scope import Scope
from relay.mail.envelope import Envelope
from relay.mail.events import AddressDeferred, Event
from relay.mail.outcome import Deferred, ErrorClass, Outcome, RemoteHost
from relay.mail.ports import Body, Journal
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientState
from relay.policy.event_action import NO_ACTIONS

_NOT_ROUTED = Deferred("retry time not reached", ErrorClass.NOT_DUE_FOR_ROUTING)
_NOT_FILED = Deferred("Retry time not yet reached", ErrorClass.NOT_DUE_HERE)
_OTHER_MATTERS = frozenset({ErrorClass.HELD, ErrorClass.QUEUED})
"""What holds an address before its retry time is looked at."""


class NotDue:
    """Tells of the messages that one run passes over. It remembers the domains for which no name server answers, so
    that a run asks once for each."""

    def __init__(self) -> None:
        self._unanswered: set[str] = set()

    async def tell(self, message: QueuedMessage, body: Body, ports: AttemptPorts) -> None:
        """One line for each recipient that waits. Raises SpoolUnavailable for the body."""
        journal = _Telling(ports.journal, self._unanswered)
        known: list[QueuedRecipient] = []
        for each in message.recipients:
            address = each.recipient.address
            if each.state is RecipientState.PENDING and address.domain.lower() in self._unanswered:
                ports.journal.record(AddressDeferred(message.message_id, address, "", "", _NOT_ROUTED, None, False))
            else:
                known.append(each)
        quiet = replace(
            ports,
            journal=journal,
            remote={name: _NobodyDialled(each) for name, each in ports.remote.items()},
            local={name: _NothingFiled(each) for name, each in ports.local.items()},
            first_pass=EVERYTHING_GOES,
            events=NO_ACTIONS,
            debug_prints={},
        )
        rest = replace(message, recipients=tuple(known))
        if rest.pending:
            await go_through(rest, body, quiet)


@dataclass(frozen=True, slots=True)
class _Telling:
    """A journal that only hears who waits."""

    journal: Journal
    unanswered: MutableSet[str]

    def record(self, event: Event) -> None:
        if not isinstance(event, AddressDeferred):
            return
        error = event.outcome.error
        if not event.transport and error not in _OTHER_MATTERS:
            if error is ErrorClass.LOOKUP:
                self.unanswered.add(event.address.domain.lower())
            event = replace(event, router="", outcome=_NOT_ROUTED)
        elif error is ErrorClass.NOT_DUE_FOR_ROUTING:
            event = replace(event, router="", transport="")
        self.journal.record(replace(event, is_first_attempt=False))


@dataclass(frozen=True, slots=True)
class _NobodyDialled:
    """A transport to other hosts that only says why it does not try them."""

    transport: RemoteTransport

    @property
    def default_port(self) -> int:
        return self.transport.default_port

    def most_at_once(self, remote: int) -> int:
        return self.transport.most_at_once(remote)

    @property
    def includes_affixes(self) -> bool:
        return self.transport.includes_affixes

    def forgive(self, now: float) -> None:
        """Nothing is tried."""

    async def held_back(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body, scope: Scope
    ) -> tuple[Outcome | None, ...]:
        return await self.transport.held_back(hosts, envelope, message, body, scope)

    async def first_host(
        self, hosts: tuple[RemoteHost, ...], message: QueuedMessage, scope: Scope
    ) -> RemoteHost | None:
        return await self.transport.first_host(hosts, message, scope)

    async def deliver(
        self,
        hosts: tuple[RemoteHost, ...],
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        scope: Scope,
        by_routers: RouterEdits,
    ) -> tuple[Outcome, ...]:
        rows = {each.recipient.address: each for each in message.pending}
        found = await self.held_back(hosts, envelope, message, body, scope)
        return tuple(
            outcome or _waits_itself(message, each.address.domain, rows.get(each.address))
            for each, outcome in zip(envelope.recipients, found, strict=True)
        )


def _waits_itself(message: QueuedMessage, domain: str, row: QueuedRecipient | None) -> Deferred:
    """Its hosts may be tried: the server did not want this recipient yet, or this message. The row has no more of that
    than the words."""
    if row is not None and any(each in row.last_error for each in (" after RCPT TO", "PRDR error after ")):
        return _NOT_ROUTED
    return Deferred(f"retry time not reached for any host for '{domain}'", not_before=message.due)


@dataclass(frozen=True, slots=True)
class _NothingFiled:
    """A transport that delivers here, and does not yet."""

    transport: LocalTransport

    @property
    def batch_max(self) -> int:
        return 1

    @property
    def includes_affixes(self) -> bool:
        return self.transport.includes_affixes

    async def batch_key(self, address: LocalAddress) -> str | None:
        return None

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        return (_NOT_FILED,) * len(addresses)
