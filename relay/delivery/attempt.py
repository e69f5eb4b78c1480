"""One attempt to deliver a message: route, group, hand over, record, settle (decision).

The journey of a claimed message:

1. every pending recipient is followed to the addresses that it comes to (`family.route_recipients`), the
leaves; those that no router takes have their outcome already (`_route_all`); 2. the others are grouped by
transport, hosts and whatever else has to be the same (`_grouped`), at most as many in a group as the transport
takes; 3. each group is handed to its transport (`_deliver_group`), and each outcome goes into the log as it comes;
4. where more groups follow, deliveries that succeeded are written down first (`_checkpoint`), so that a crash
repeats nothing but what was in flight; 5. the outcomes are judged (`settle.judge`), reports are written to
those who are to be told (`reporting`), and all is committed in one step; what follows from it (Completed, the arrival
of a bounce) is told afterwards.

The dialog with a server and the writing of files are behind `RemoteTransport` and `LocalTransport`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ParamSpec, Protocol, TypeVar, assert_never

from relay.delivery.bounce import wants_report
from relay.delivery.family import Leaf, in_order_of_delivery, in_order_of_routing, route_recipients
from relay.delivery.header_edits import RouterEdits
from relay.delivery.local_address import LocalAddress
from relay.delivery.remembering import Remembering, RememberingDNS
from relay.delivery.report import Report
from relay.delivery.reporting import Reporting, ReportRules
from relay.delivery.scopes import local_address, message_scope, remote_scope, without_affixes
from relay.delivery.settle import (
    Judgement,
    Result,
    SettleRules,
    delivered_only,
    judge,
    without,
)
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import Scope
from relay.expand.values import Tainted
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Envelope
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    AddressNames,
    Arrived,
    Completed,
    Event,
    Frozen,
    MessageNote,
    Trouble,
)
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import (
    Body,
    Clock,
    Journal,
    Outgoing,
    SpoolUnavailable,
    TemporaryFailure,
)
from relay.mail.queue import NewBounce, QueuedMessage, RecipientUpdate, Settlement
from relay.policy.retry import RULES_UNAVAILABLE, RetryRule, choose_rule, host_key
from relay.policy.routers.answers import Discarded, HostOrder, Routed, RouteDeferred, RouteHost, Unroutable
from relay.policy.routers.ports import RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import remote_hosts

P = ParamSpec("P")
T = TypeVar("T")


# Between the settlement of a checkpoint and the new claim the message belongs to nobody. This far ahead it is
# due meanwhile (seconds), so that nobody who looks for due messages takes it; after a crash it waits that
# long.
_CHECKPOINT_PAUSE = 600.0


class BlockingCalls(Protocol):
    """Where blocking code is run, so that it holds up nobody."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or the exception that it raised."""
        ...


class RemoteTransport(Protocol):
    """A transport that speaks to servers."""

    @property
    def default_port(self) -> int:
        """The port of a host that was routed without one."""
        ...

    @property
    def max_recipients(self) -> int:
        """Recipients in one transaction (Exim: max_rcpt); 0: no limit."""
        ...

    @property
    def includes_affixes(self) -> bool:
        """Whether recipients are named with their prefixes and suffixes (Exim: rcpt_include_affixes)."""
        ...

    def forgive(self, now: float) -> None:
        """Hosts that failed before may be tried again at once (a forced queue run)."""
        ...

    async def deliver(
        self,
        hosts: tuple[RemoteHost, ...],
        envelope: Envelope,
        message: QueuedMessage,
        body: Body,
        scope: Scope,
        by_routers: RouterEdits,
    ) -> tuple[Outcome, ...]:
        """One outcome per recipient of the envelope, in its order; `scope` has message and address. Hosts are tried
        in turn; each that failed is recorded as HostFailed by the transport. Raises SpoolUnavailable for the body."""
        ...


class LocalTransport(Protocol):
    """A transport that delivers here: one recipient at a time, or as many together as `batch_max` lets it."""

    @property
    def batch_max(self) -> int:
        """Recipients that may be delivered in one go (Exim: batch_max)."""
        ...

    async def batch_key(self, address: LocalAddress) -> str | None:
        """Recipients with the same key may go together; None: this one goes alone."""
        ...

    async def deliver(
        self, addresses: tuple[LocalAddress, ...], message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """An outcome for each of them. Raises SpoolUnavailable for the body."""
        ...


_NOWHERE = "/dev/null"
_BYPASSED = "**bypassed**"
"""What the log names as the transport of a redirection to nowhere: none is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPorts:
    """All that attempts have in common: the configuration as built, and the world."""

    clock: Clock
    journal: Journal
    outgoing: Outgoing
    source: random.Random
    scope: Scope
    """What every expansion sees: main options, ports, named lists; message and address are put in here."""
    routing: RoutingPorts
    routers: Sequence[Router]
    retry_rules: Sequence[RetryRule]
    remote: Mapping[str, RemoteTransport] = field(default_factory=dict)
    local: Mapping[str, LocalTransport] = field(default_factory=dict)
    settling: SettleRules = field(default_factory=SettleRules)
    reports: ReportRules


class Unsettled(SpoolUnavailable):
    """The attempt is over and could not be recorded. Until `settlement` is, the message must not be tried
    again by this process: what it delivered would be delivered twice. `consequences` are to be told once it
    is."""

    def __init__(self, cause: SpoolUnavailable, settlement: Settlement, consequences: tuple[Event, ...] = ()) -> None:
        super().__init__(str(cause))
        self.settlement = settlement
        self.consequences = consequences


async def attempt(message: QueuedMessage, body: Body, ports: AttemptPorts) -> Settlement:
    """Tries all pending recipients of a claimed message once, settles, and returns what was settled last.

    A bounce in it is due at once (its `due` is None): the caller may start on it by its id. Raises Unsettled,
    and SpoolUnavailable where the body can't be read: then the claim is still held.
    """
    return await _Attempt(message, body, ports).run()


async def give_up(message: QueuedMessage, body: Body, ports: AttemptPorts, why: str) -> Settlement:
    """Fails all pending recipients of a claimed message without trying them, and tells the sender if there is one
    (Exim: -Mg). Raises as `attempt` does."""
    return await _Attempt(message, body, ports).give_up(why)


@dataclass(frozen=True, slots=True)
class _Member:
    """A leaf that a router took."""

    leaf: Leaf
    routed: Routed


@dataclass(frozen=True, slots=True)
class _Group:
    """Leaves that go to their transport together. `routed` is the first one's; hosts and transport are those of
    all."""

    routed: Routed
    members: tuple[_Member, ...]


class _Attempt:
    """The state of one attempt: the message as it stands in the queue, and the results so far."""

    def __init__(self, message: QueuedMessage, body: Body, ports: AttemptPorts) -> None:
        self._message = message
        self._body = body
        self._ports = ports
        self._results: list[Result] = []
        self._written: tuple[RecipientUpdate, ...] = ()
        self._is_given_up = False
        self._scope = message_scope(message, ports.scope, ports.clock.now())

    async def run(self) -> Settlement:
        groups = await self._grouped(await self._route_all())
        for number, group in enumerate(groups):
            results = await self._deliver_group(group)
            self._results += results
            if number + 1 < len(groups):
                taken = await self._checkpoint(delivered_only(results))
                if taken is not None:
                    return taken
        return await self._settle()

    async def give_up(self, why: str) -> Settlement:
        """Nobody is told where there is no sender: such a message would otherwise be held for ever."""
        nobody = NULL_SENDER if self._message.sender.is_null else None
        self._is_given_up = True
        self._results = [Result(each, Failed(why), errors_to=nobody) for each in self._message.pending]
        return await self._settle()

    # Routing

    async def _route_all(self) -> list[_Member]:
        """The leaves that a router took; the others get their results here."""
        ports = self._ports
        dns = ports.routing.dns
        routing = replace(
            ports.routing,
            resolver=Remembering(ports.routing.resolver),
            dns=None if dns is None else RememberingDNS(dns),
        )
        family = await route_recipients(self._message, ports.routers, self._scope, routing)
        taken: list[_Member] = []
        for leaf in in_order_of_routing(family.leaves):
            match leaf.end:
                case Routed() as routed if self._is_known(routed.transport):
                    taken.append(_Member(leaf, routed))
                case Routed(router=router, transport=transport):
                    what = f'transport "{transport}" of router {router} not found'
                    await self._add(leaf, Deferred(what, ErrorClass.LOCAL), router)
                case Discarded(router):
                    await self._add(leaf, Delivered(":blackhole:"), router, shown=":blackhole:")
                case Unroutable(reason, router):
                    await self._add(leaf, Failed(reason), router)
                case RouteDeferred(reason, router, error, freeze):
                    await self._add(leaf, Deferred(reason, error), router, freeze=freeze)
                case _ as never:
                    assert_never(never)
        self._results += [Result(each, Delivered(each.last_error), is_echo=True) for each in family.finished]
        places = {id(leaf): place for place, leaf in enumerate(in_order_of_delivery(family.leaves))}
        return sorted(taken, key=lambda member: places[id(member.leaf)])

    def _is_known(self, transport: str) -> bool:
        return transport in self._ports.remote or transport in self._ports.local

    async def _grouped(self, taken: Sequence[_Member]) -> list[_Group]:
        """Groups in the order of their first recipients: local deliveries first, as in Exim."""
        together: dict[object, list[_Member]] = {}
        here: list[_Member] = []
        for member in taken:
            if member.routed.transport in self._ports.local:
                here.append(member)
            else:
                together.setdefault(_shared_by_group(member.routed), []).append(member)
        groups = await self._batches(here)
        for members in together.values():
            most = self._ports.remote[members[0].routed.transport].max_recipients or len(members)
            for start in range(0, len(members), most):
                part = tuple(members[start : start + most])
                groups.append(_Group(part[0].routed, part))
        return groups

    async def _batches(self, here: Sequence[_Member]) -> list[_Group]:
        """Local recipients, together where their transport takes several at once (Exim: batch_max)."""
        batches: list[list[_Member]] = []
        open_batches: dict[tuple[str, str], list[_Member]] = {}
        for member in here:
            name = member.routed.transport
            transport = self._ports.local[name]
            key = None
            if transport.batch_max > 1:
                key = await transport.batch_key(
                    local_address(self._scope, member.leaf.recipient.recipient, member.routed)
                )
            batch = open_batches.get((name, key)) if key is not None else None
            if batch is None or len(batch) >= transport.batch_max:
                batch = []
                batches.append(batch)
                if key is not None:
                    open_batches[(name, key)] = batch
            batch.append(member)
        return [_Group(batch[0].routed, tuple(batch)) for batch in batches]

    # Delivery

    async def _deliver_group(self, group: _Group) -> list[Result]:
        ports, started = self._ports, self._ports.clock.now()
        here = group.routed.transport in ports.local
        outcomes = await (self._deliver_here(group) if here else self._deliver_there(group))
        elapsed = ports.clock.now() - started
        results: list[Result] = []
        first = True
        for member, outcome in zip(group.members, outcomes, strict=True):
            is_nowhere = here and member.leaf.text == _NOWHERE
            transport = _BYPASSED if is_nowhere else member.routed.transport
            found = await self._judged(member.leaf, outcome, member.routed.router, transport)
            self._record(found[0], first, elapsed)
            first = first and not isinstance(outcome, Delivered)
            results += found
        return results

    async def _deliver_here(self, group: _Group) -> tuple[Outcome, ...]:
        addresses = tuple(
            local_address(self._scope, each.leaf.recipient.recipient, each.routed) for each in group.members
        )
        if addresses[0].file == _NOWHERE:
            return (Delivered(_NOWHERE),) * len(addresses)
        transport = self._ports.local[group.routed.transport]
        return await transport.deliver(addresses, self._message, self._body)

    async def _deliver_there(self, group: _Group) -> tuple[Outcome, ...]:
        routed = group.routed
        outcomes = await self._send(group.members, routed.hosts, routed.order)
        if not routed.fallback_hosts:
            return outcomes
        return await self._fall_back(group, outcomes)

    async def _fall_back(self, group: _Group, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        """Those that would have to wait go to the fallback hosts at once."""
        waiting = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Deferred)]
        if not waiting:
            return outcomes
        members = tuple(group.members[number] for number in waiting)
        found = list(outcomes)
        again = await self._send(members, group.routed.fallback_hosts, group.routed.fallback_order)
        for number, outcome in zip(waiting, again, strict=True):
            found[number] = outcome
        return tuple(found)

    async def _send(
        self, members: Sequence[_Member], hosts: tuple[RouteHost, ...], order: HostOrder
    ) -> tuple[Outcome, ...]:
        """One transaction at one of the hosts."""
        routed = members[0].routed
        transport = self._ports.remote[routed.transport]
        recipients = tuple(each.leaf.recipient.recipient for each in members)
        scope = remote_scope(self._scope, recipients, routed)
        if not transport.includes_affixes:
            recipients = tuple(
                replace(each, address=without_affixes(each.address, member.routed))
                for each, member in zip(recipients, members, strict=True)
            )
        message, carried = self._message, routed.carried
        envelope = Envelope(
            sender=message.sender if carried.errors_to is None else carried.errors_to,
            recipients=recipients,
            body=message.body_type,
            size=message.size,
            parameters=message.parameters,
        )
        dialled = remote_hosts(hosts, order, transport.default_port, self._ports.source)
        edits = RouterEdits(carried.headers_add, carried.headers_remove)
        return await transport.deliver(dialled, envelope, message, self._body, scope, edits)

    # Results

    async def _add(self, leaf: Leaf, outcome: Outcome, router: str, *, freeze: bool = False, shown: str = "") -> None:
        results = await self._judged(leaf, outcome, router, "")
        results = [replace(each, freeze=freeze or each.freeze, shown=shown or each.shown) for each in results]
        self._record(results[0], first=True, elapsed=0.0)
        self._results += results

    async def _judged(self, leaf: Leaf, outcome: Outcome, router: str, transport: str) -> list[Result]:
        """The result with the retry rule that is for it, where it has to wait; the same for each further recipient
        that leads to it."""
        carried = leaf.end.carried if isinstance(leaf.end, Routed) else leaf.item.carried
        address = leaf.item.address
        result = Result(
            leaf.recipient,
            outcome,
            router,
            transport,
            key=leaf.origins[0].key,
            original=None if leaf.original == address else leaf.original,
            shown=self._shown(leaf, outcome),
            errors_to=carried.errors_to,
            is_hidden=leaf.item.is_hidden,
            is_logged=leaf.end.is_logged if isinstance(leaf.end, Routed) else True,
        )
        if isinstance(outcome, Deferred):
            result = await self._with_rule(result, outcome, address)
        echoes = [
            replace(result, recipient=origin.recipient, key=origin.key, is_echo=True) for origin in leaf.origins[1:]
        ]
        return [result, *echoes]

    def _shown(self, leaf: Leaf, outcome: Outcome) -> str:
        """What a log line names: a file or command, or the local part of a mailbox here (Exim: log_as_local)."""
        if leaf.text:
            return leaf.text
        end = leaf.end
        if not (isinstance(end, Routed) and end.logs_local_part and isinstance(outcome, Delivered)):
            return ""
        view = end.view
        is_here = end.transport in self._ports.local
        return Tainted(f"{view.prefix}{view.local_part}{view.suffix}") if is_here else ""

    async def _with_rule(self, result: Result, outcome: Deferred, address: Address) -> Result:
        result = replace(result, freeze=outcome.freeze)
        failing = host_key(outcome.host.name) if outcome.host and outcome.host_wide else address
        try:
            rules, sender = self._ports.retry_rules, self._message.sender
            keys = (failing, host_key(address.domain))
            rule = await choose_rule(rules, keys, outcome, sender, self._scope)
        except (ExpansionFailed, TemporaryFailure) as error:
            self._ports.journal.record(Trouble(f"retry rules: {error}", "", self._message.message_id))
            return replace(result, steps=RULES_UNAVAILABLE)
        return replace(result, steps=rule.steps if rule is not None else ())

    def _record(self, result: Result, first: bool, elapsed: float) -> None:
        if not result.is_logged:
            return
        journal, message_id = self._ports.journal, self._message.message_id
        address, router, transport = result.recipient.recipient.address, result.router, result.transport
        named = AddressNames(result.shown, result.original) if result.shown or result.original else None
        match result.outcome:
            case Delivered() as outcome:
                event = AddressDelivered(message_id, address, router, transport, outcome, first, elapsed, named)
                journal.record(event)
            case Deferred() as outcome:
                journal.record(AddressDeferred(message_id, address, router, transport, outcome, named))
            case Failed() as outcome:
                journal.record(AddressFailed(message_id, address, router, transport, outcome, named))
            case _ as never:
                assert_never(never)

    # The queue

    async def _checkpoint(self, done: tuple[RecipientUpdate, ...]) -> Settlement | None:
        """Writes deliveries down while others are still to come, and claims the message again. Where another
        process was faster, or the message is held or gone, the attempt is over: the settlement that was
        written."""
        if not done:
            return None
        ports, now = self._ports, self._ports.clock.now()
        settlement = Settlement(self._message.message_id, done, now + _CHECKPOINT_PAUSE)
        await self._write(settlement, now)
        self._written += done
        self._message = without(self._message, done)
        if await ports.outgoing.claim_one(self._message.message_id, now) is None:
            ports.journal.record(
                MessageNote(self._message.message_id, "the rest is left to whoever took it over, held or removed it")
            )
            return settlement
        return None

    async def _settle(self) -> Settlement:
        ports, now = self._ports, self._ports.clock.now()
        written = {update.number for update in self._written if update.is_attempt}
        results = [each for each in self._results if each.recipient.number not in written]
        judgement = judge(self._message, results, now, ports.source, ports.settling)
        self._record_expired(judgement)
        reporting = Reporting(self._message, self._body, self._scope, ports.reports, ports.journal, ports.source, now)
        written_now = await reporting.reports(judgement, self._results)
        reports = written_now.reports
        first = reports[0] if reports else None
        settlement = Settlement(
            message_id=self._message.message_id,
            updates=judgement.updates,
            due=judgement.due,
            freeze=bool(judgement.freeze),
            frozen_at=now if judgement.freeze else None,
            warnings=written_now.warnings,
            bounce=first.message if first else None,
            bounce_body=first.body if first else b"",
            more_bounces=tuple(NewBounce(each.message, each.body) for each in reports[1:]),
        )
        consequences = self._consequences(judgement, reports, now)
        await self._write(settlement, now, consequences)
        for event in consequences:
            ports.journal.record(event)
        return settlement

    async def _write(self, settlement: Settlement, now: float, consequences: tuple[Event, ...] = ()) -> None:
        try:
            await self._ports.outgoing.settle(settlement, now)
        except SpoolUnavailable as error:
            raise Unsettled(error, settlement, consequences) from error

    def _record_expired(self, judgement: Judgement) -> None:
        """Exim's second line for an address whose time is over: `**` behind its `==`."""
        for each in judgement.given_up:
            if each.last is not None:
                self._record(replace(each.result, outcome=each.failed), first=True, elapsed=0.0)

    def _consequences(self, judgement: Judgement, reports: Sequence[Report], now: float) -> tuple[Event, ...]:
        """What is true as soon as the settlement is on disk, in the order of Exim's log."""
        message_id = self._message.message_id
        events: list[Event] = [*self._ignored(judgement)]
        for report in reports:
            new = report.message
            events.append(
                Arrived(
                    message_id=new.message_id,
                    sender=new.sender,
                    session=new.facts.session,
                    size=len(new.header) + 2 + len(report.body),
                    recipients=tuple(each.address for each in new.recipients),
                    bounce_of=message_id,
                )
            )
        if judgement.freeze:
            events.append(Frozen(message_id, judgement.freeze))
        if judgement.is_complete:
            events.append(Completed(message_id, now - self._message.facts.received_at))
        return tuple(events)

    def _ignored(self, judgement: Judgement) -> Iterator[MessageNote]:
        """Failures that nobody is told of, in Exim's words; why a message is given up whole is in the log already."""
        if self._is_given_up and self._message.sender.is_null:
            return
        for each in judgement.given_up:
            told = each.is_told_to(self._message.sender)
            row = each.result.recipient.recipient
            if each.is_ignored or (told is not None and told.is_null):
                yield MessageNote(self._message.message_id, f"{row.address}: error ignored")
            elif told is not None and not wants_report(row):
                why = "RFC 3461 DSN, failure notify not requested"
                yield MessageNote(self._message.message_id, f"{row.address}: error ignored: {why}")


def _shared_by_group(routed: Routed) -> object:
    """What remote recipients must have in common to go together."""
    carried = routed.carried
    return (
        routed.transport,
        routed.hosts,
        routed.order,
        routed.fallback_hosts,
        carried.errors_to,
        carried.headers_add,
        carried.headers_remove,
    )
