"""One attempt to deliver a message: route, group, hand over, record, settle (decision).

The journey of a claimed message:

1. every pending recipient is followed to the addresses that it comes to (`family.route_recipients`), the
leaves; those that no router takes have their outcome already (`_route_all`); 2. the others are grouped by
transport, hosts and whatever else has to be the same (`grouping.grouped`), at most as many in a group as the
transport takes; 3. each group is handed to its transport (`_deliver_group`), and each outcome goes into the log as
it comes; 4. where more groups follow, deliveries that succeeded are written down first (`_checkpoint`), so that a
crash repeats nothing but what was in flight; 5. the outcomes are judged (`settle.judge`), reports are written to
those who are to be told (`reporting`), and all is committed in one step; what follows from it (Completed, the arrival
of a bounce) is told afterwards.

The dialog with a server and the writing of files are behind `RemoteTransport` and `LocalTransport`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from relay.delivery.bounce import wants_report
from relay.delivery.family import (
    Leaf,
    in_order_of_delivery,
    in_order_of_routing,
    replacement,
    route_recipients,
    routed_as,
)
from relay.delivery.first_pass import EVERYTHING_GOES, FirstPass
from relay.delivery.grouping import Group, Member, grouped
from relay.delivery.header_edits import RouterEdits
from relay.delivery.lineage import Lineage
from relay.delivery.remembering import Remembering, RememberingDNS
from relay.delivery.report import Report, message_id_of
from relay.delivery.reporting import Reporting, ReportRules
from relay.delivery.scopes import address_scope, local_address, message_scope, remote_scope, with_body, without_affixes
from relay.delivery.settle import Judgement, Result, SettleRules, delivered_only, frame_of, judge, without
from relay.delivery.told_outcomes import ToldRecipients
from relay.delivery.transports import LocalTransport, RemoteTransport
from relay.expand.debug_print import tell_watcher
from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import HostView, Scope
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Envelope
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    AddressNames,
    Arrived,
    ChildrenComplete,
    Completed,
    Event,
    Frozen,
    MessageNote,
    Trouble,
)
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome
from relay.mail.ports import (
    Body,
    Clock,
    Journal,
    Outgoing,
    SpoolUnavailable,
    TemporaryFailure,
    Watch,
)
from relay.mail.queue import NewBounce, QueuedMessage, RecipientUpdate, Settlement
from relay.policy.event_action import NO_ACTIONS, EventActions
from relay.policy.retry import RULES_UNAVAILABLE, RetryRule, choose_rule, host_key
from relay.policy.routers.answers import Discarded, HostOrder, Routed, RouteDeferred, RouteHost, Unroutable
from relay.policy.routers.ports import RoutingPorts
from relay.policy.routers.settings import Router
from relay.policy.routing import remote_hosts

# Between the settlement of a checkpoint and the new claim the message belongs to nobody. This far ahead it is due
# meanwhile (seconds), so that nobody who looks for due messages takes it; after a crash it waits that long.
_CHECKPOINT_PAUSE = 600.0


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
    watch: Watch | None = None
    body_visible: int | None = None
    """As much of either end of a body as variables show; None: none is asked for."""
    debug_prints: Mapping[str, Expansion] = field(default_factory=dict)
    """What is told to who watches before a transport is run, by its name (Exim: debug_print)."""
    first_pass: FirstPass = EVERYTHING_GOES
    """What is left for a queue run."""
    events: EventActions = NO_ACTIONS
    """Who is told of what becomes of recipients and the message (Exim: event_action)."""
    deliver_first: Callable[[str], Awaitable[None]] | None = None
    """Tries a message that this one has given rise to, and waits for it: where somebody waits for this one, that is
    done when all is done."""


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


async def go_through(message: QueuedMessage, body: Body, ports: AttemptPorts) -> None:
    """Routes all pending recipients and asks their transports, for what the journal is told of it: nothing is settled.
    Raises SpoolUnavailable for the body."""
    await _Attempt(message, body, ports).go_through()


async def give_up(message: QueuedMessage, body: Body, ports: AttemptPorts, why: str) -> Settlement:
    """Fails all pending recipients of a claimed message without trying them, and tells the sender if there is one
    (Exim: -Mg). Raises as `attempt` does."""
    return await _Attempt(message, body, ports).give_up(why)


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
        self._lineage = Lineage(())
        self._told = ToldRecipients(ports.events, self._scope, tuple(ports.remote)) if ports.events else None
        self._ignored_failures: dict[Event, Result] = {}

    async def go_through(self) -> None:
        for group in await self._prepared():
            await self._deliver_group(group)

    async def run(self) -> Settlement:
        groups = await self._prepared()
        for number, group in enumerate(groups):
            results = await self._deliver_group(group)
            self._results += results
            if number + 1 < len(groups):
                taken = await self._checkpoint(delivered_only(results))
                if taken is not None:
                    return taken
        return await self._settle()

    async def _prepared(self) -> list[Group]:
        """What is to be handed to transports; whoever watches is told that it begins."""
        if self._ports.watch is not None:
            run = f" (queue run pid {self._scope.pid})" if self._scope.queue_running else ""
            self._ports.watch(f"delivering {self._message.message_id}{run}")
        if self._ports.body_visible is not None:
            self._scope = await with_body(self._scope, self._message, self._body, self._ports.body_visible)
        ports, taken = self._ports, await self._route_all()
        return await grouped(taken, self._scope, ports.local, ports.remote, ports.first_pass)

    async def give_up(self, why: str) -> Settlement:
        """Nobody is told where there is no sender: such a message would otherwise be held for ever."""
        nobody = NULL_SENDER if self._message.sender.is_null else None
        self._is_given_up = True
        if self._told is not None:
            await self._told.cancelled([each.recipient.address for each in self._message.pending], why)
        self._results = [Result(each, Failed(why), errors_to=nobody) for each in self._message.pending]
        return await self._settle()

    # Routing

    def _note(self, text: str) -> None:
        self._ports.journal.record(MessageNote(self._message.message_id, text))

    async def _route_all(self) -> list[Member]:
        """The leaves that a router took; the others get their results here."""
        ports = self._ports
        dns = ports.routing.dns
        routing = replace(
            ports.routing,
            resolver=Remembering(ports.routing.resolver),
            dns=None if dns is None else RememberingDNS(dns),
            note=self._note,
        )
        family = await route_recipients(self._message, ports.routers, self._scope, routing)
        self._lineage = Lineage(family.leaves)
        taken: list[Member] = []
        for leaf in in_order_of_routing(family.leaves):
            match leaf.end:
                case Routed() as routed if self._is_known(routed.transport):
                    taken.append(Member(leaf, routed))
                case Routed(router=router, transport=transport):
                    what = f'transport "{transport}" of router {router} not found'
                    await self._add(leaf, Deferred(what, ErrorClass.LOCAL), router)
                case Discarded(router):
                    await self._add(leaf, Delivered(":blackhole:"), router, shown=":blackhole:")
                case Unroutable(reason, router, transport=transport):
                    await self._add(leaf, Failed(reason), router, transport)
                case RouteDeferred(reason, router, error, freeze, told, note):
                    if note:
                        self._note(note)
                    await self._add(leaf, Deferred(reason, error, told=told), router, freeze=freeze)
                case _ as never:
                    assert_never(never)
        self._results += [Result(each, Delivered(each.last_error), is_echo=True) for each in family.finished]
        places = {id(leaf): place for place, leaf in enumerate(in_order_of_delivery(family.leaves))}
        return sorted(taken, key=lambda member: places[id(member.leaf)])

    def _is_known(self, transport: str) -> bool:
        return transport in self._ports.remote or transport in self._ports.local

    # Delivery

    async def _deliver_group(self, group: Group) -> list[Result]:
        ports, started = self._ports, self._ports.clock.now()
        here = group.routed.transport in ports.local
        await self._tell_watcher(group.routed)
        outcomes = await (self._deliver_here(group) if here else self._deliver_there(group))
        elapsed = ports.clock.now() - started
        results: list[Result] = []
        first = True
        for member, outcome in zip(group.members, outcomes, strict=True):
            is_nowhere = here and member.leaf.text == _NOWHERE
            transport = _BYPASSED if is_nowhere else member.routed.transport
            if isinstance(outcome, Delivered) and outcome.transport:
                transport = outcome.transport
            found = await self._judged(member.leaf, outcome, member.routed.router, transport)
            if group.left is not None and not ports.first_pass.is_told:
                found = [replace(each, is_logged=False) for each in found]
            await self._record(found[0], first, elapsed)
            self._tell_parents(member.leaf, outcome)
            first = first and not isinstance(outcome, Delivered)
            results += found
        return results

    async def _tell_watcher(self, routed: Routed) -> None:
        scope = address_scope(self._scope, routed)
        if routed.hosts:
            host = routed.hosts[0]
            scope = scope.child(host=HostView(host.name, host.addresses[0] if host.addresses else ""))
        await tell_watcher(self._ports.debug_prints.get(routed.transport), scope, self._ports.watch)

    async def _deliver_here(self, group: Group) -> tuple[Outcome, ...]:
        addresses = tuple(
            local_address(self._scope, each.leaf.recipient.recipient, each.routed, each.leaf.further)
            for each in group.members
        )
        if addresses[0].file == _NOWHERE:
            return (Delivered(_NOWHERE),) * len(addresses)
        if self._message.facts.is_rehearsal:
            return (Delivered(is_bypassed=True),) * len(addresses)
        transport = self._ports.local[group.routed.transport]
        return await transport.deliver(addresses, self._message, self._body)

    async def _deliver_there(self, group: Group) -> tuple[Outcome, ...]:
        routed = group.routed
        if group.left is not None:
            transport = self._ports.remote[routed.transport]
            hosts = remote_hosts(routed.hosts, routed.order, transport.default_port, self._ports.source)
            recipients = tuple(each.leaf.recipient.recipient for each in group.members)
            scope = remote_scope(self._scope, recipients, routed)
            host = await transport.first_host(hosts, self._message, scope)
            return (replace(group.left, host=host),) * len(group.members)
        outcomes = await self._send(group.members, routed.hosts, routed.order)
        if not routed.fallback_hosts:
            return outcomes
        return await self._fall_back(group, outcomes)

    async def _fall_back(self, group: Group, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
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
        self, members: Sequence[Member], hosts: tuple[RouteHost, ...], order: HostOrder
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

    async def _add(
        self, leaf: Leaf, outcome: Outcome, router: str, transport: str = "", *, freeze: bool = False, shown: str = ""
    ) -> None:
        results = await self._judged(leaf, outcome, router, transport)
        results = [replace(each, freeze=freeze or each.freeze, shown=shown or each.shown) for each in results]
        await self._record(results[0], first=True, elapsed=0.0)
        self._tell_parents(leaf, outcome)
        self._results += results

    def _tell_parents(self, leaf: Leaf, outcome: Outcome) -> None:
        """The addresses that are complete with this one, which is over unless it waits or its failure may be for an
        operator to see."""
        is_stuck = isinstance(outcome, Failed) and self._message.sender.is_null
        if not (isinstance(outcome, Deferred) or is_stuck):
            for address in self._lineage.over(leaf):
                self._ports.journal.record(ChildrenComplete(self._message.message_id, address))

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
            shown=leaf.text,
            routed_as=self._routed_as(leaf, outcome),
            host=self._host(leaf),
            has_parent=leaf.item.parent is not None,
            errors_to=carried.errors_to,
            is_distant=leaf.generation > 1,
            between=leaf.between,
            is_text=bool(leaf.text),
            is_hidden=leaf.is_hidden,
            is_logged=leaf.end.is_logged if isinstance(leaf.end, Routed) else True,
        )
        if isinstance(outcome, Deferred):
            result = await self._with_rule(result, outcome, address)
            if self._ports.first_pass.is_told:
                result = replace(result, replacement=replacement(leaf, self._message))
        echoes = [
            replace(result, recipient=origin.recipient, key=origin.key, is_echo=True, replacement=None)
            for origin in leaf.origins[1:]
        ]
        return [result, *echoes]

    def _routed_as(self, leaf: Leaf, outcome: Outcome) -> str:
        name = leaf.end.transport if isinstance(leaf.end, Routed) else ""
        here, there = self._ports.local.get(name), self._ports.remote.get(name)
        transport = there if here is None else here
        is_here = isinstance(outcome, Delivered) and here is not None
        return routed_as(leaf, is_here=is_here, with_affixes=transport is not None and transport.includes_affixes)

    def _host(self, leaf: Leaf) -> str:
        """The name of the first host where the transport is a local one, which speaks to none."""
        end = leaf.end
        if not isinstance(end, Routed) or end.transport not in self._ports.local:
            return ""
        return end.hosts[0].name if end.hosts else end.host_text

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

    async def _record(self, result: Result, first: bool, elapsed: float) -> None:
        if not result.is_logged:
            return
        journal, message_id = self._ports.journal, self._message.message_id
        address, router, transport = result.recipient.recipient.address, result.router, result.transport
        shown = result.shown or result.routed_as
        has_names = shown or result.original or result.host or result.has_parent
        names = AddressNames(shown, result.original, result.host, result.has_parent, result.between, result.is_text)
        named, about = names if has_names else None, frame_of(self._message, result, self._ports.clock.now())
        match result.outcome:
            case Delivered() as outcome:
                if outcome.dialog is not None and outcome.dialog.is_further is not None:
                    first = not outcome.dialog.is_further
                event = AddressDelivered(message_id, address, router, transport, outcome, first, elapsed, named, about)
                journal.record(event)
                if self._told is not None:
                    await self._told.delivered(result)
            case Deferred() as outcome:
                is_first = result.recipient.attempts == 0
                journal.record(AddressDeferred(message_id, address, router, transport, outcome, named, is_first))
            case Failed() as outcome:
                if self._told is not None and not outcome.is_expired:
                    await self._told.failing(result)
                journal.record(AddressFailed(message_id, address, router, transport, outcome, named, about))
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
        await self._record_expired(judgement)
        reporting = Reporting(self._message, self._body, self._scope, ports.reports, ports.journal, ports.source, now)
        written_now = await reporting.reports(judgement, self._results)
        reports = written_now.reports
        first = reports[0] if reports else None
        settlement = Settlement(
            message_id=self._message.message_id,
            updates=judgement.updates,
            due=judgement.due,
            is_complete=judgement.is_complete,
            freeze=bool(judgement.freeze),
            frozen_at=now if judgement.freeze else None,
            warnings=written_now.warnings,
            waits_for=judgement.waits_for,
            replacements=judgement.replacements,
            bounce=first.message if first else None,
            bounce_body=first.body if first else b"",
            more_bounces=tuple(NewBounce(each.message, each.body) for each in reports[1:]),
        )
        consequences = self._consequences(judgement, reports, now)
        await self._write(settlement, now, consequences)
        for event in consequences:
            await self._record_consequence(event)
            if isinstance(event, Arrived) and not event.waits and ports.deliver_first is not None:
                await ports.deliver_first(event.message_id)
        return settlement

    async def _record_consequence(self, event: Event) -> None:
        failure = self._ignored_failures.get(event)
        if self._told is not None and failure is not None:
            await self._told.failed(failure)
        self._ports.journal.record(event)
        if self._told is not None and isinstance(event, Completed):
            await self._told.complete()

    async def _write(self, settlement: Settlement, now: float, consequences: tuple[Event, ...] = ()) -> None:
        try:
            await self._ports.outgoing.settle(settlement, now)
        except SpoolUnavailable as error:
            raise Unsettled(error, settlement, consequences) from error

    async def _record_expired(self, judgement: Judgement) -> None:
        """Exim's second line for an address whose time is over: `**` behind its `==`, from the last to the first."""
        for each in reversed(judgement.given_up):
            if each.last is not None:
                await self._record(replace(each.result, outcome=each.failed), first=True, elapsed=0.0)

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
                    made_message_id=message_id_of(new),
                    recipients=tuple(each.address for each in new.recipients),
                    bounce_of=message_id,
                    waits=new.due is not None,
                )
            )
        if judgement.freeze:
            # As in Exim: what the line of an address has said is not said again.
            events.append(Frozen(message_id, judgement.freeze if judgement.is_stuck else ""))
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
            why = ""
            if not each.is_ignored and (told is None or not told.is_null):
                if told is None or wants_report(row):
                    continue
                why = ": RFC 3461 DSN, failure notify not requested"
            note = MessageNote(self._message.message_id, f"{row.address}: error ignored{why}")
            self._ignored_failures[note] = replace(each.result, outcome=each.failed)
            yield note
