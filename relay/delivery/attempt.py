"""One attempt to deliver a message: route, group, hand over, record, settle (decision).

The journey of a claimed message:

1. every pending recipient is routed (`_route_all`); those that no router takes have their outcome already; 2.
the others are grouped by transport and hosts (`_grouped`), at most as many in a group as the transport takes;
3. each group is handed to its transport (`_deliver_group`), and each outcome goes into the log as it comes;
4. where more groups follow, deliveries that succeeded are written down first (`_checkpoint`), so that a crash
repeats nothing but what was in flight; 5. the outcomes are judged (`settle.judge`), a bounce is written for
those given up, and both are committed in one step; what follows from it (Completed, the bounce's arrival) is
told afterwards.

The dialog with a server and the writing of files are behind `RemoteTransport` and `LocalTransport`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ParamSpec, Protocol, TypeVar, assert_never

from relay.delivery.bounce import Bounce, BounceSettings, make_bounce, to_report, wanted_of_body
from relay.delivery.settle import (
    GivenUp,
    Judgement,
    Result,
    delivered_only,
    judge,
    without,
)
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import AddressView, HostView, MessageView, Scope
from relay.mail.address import Address
from relay.mail.envelope import Envelope, Recipient
from relay.mail.events import (
    AddressDeferred,
    AddressDelivered,
    AddressFailed,
    Arrived,
    Completed,
    Event,
    Frozen,
    MessageNote,
    Trouble,
)
from relay.mail.header import split_header
from relay.mail.outcome import Deferred, Delivered, ErrorClass, Failed, Outcome, RemoteHost
from relay.mail.ports import (
    Body,
    Clock,
    HostNotFound,
    Journal,
    Outgoing,
    Resolver,
    SpoolUnavailable,
    TemporaryFailure,
)
from relay.mail.queue import QueuedMessage, QueuedRecipient, RecipientUpdate, Settlement, make_message_id
from relay.policy.retry import RULES_UNAVAILABLE, RetryRule, choose_rule, host_key
from relay.policy.routing import (
    Routed,
    RouteDeferred,
    RouteHost,
    Router,
    RoutingPorts,
    Unroutable,
    remote_hosts,
    route,
)

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

    async def deliver(
        self, hosts: tuple[RemoteHost, ...], envelope: Envelope, message: QueuedMessage, body: Body
    ) -> tuple[Outcome, ...]:
        """One outcome per recipient of the envelope, in its order. Hosts are tried in the order given; each
        that failed is recorded as HostFailed by the transport. Raises SpoolUnavailable for the body."""
        ...


class LocalTransport(Protocol):
    """A transport that delivers here, one recipient at a time."""

    async def deliver(self, recipient: Recipient, message: QueuedMessage, body: Body, scope: Scope) -> Outcome:
        """The outcome. `scope` has the address and what its router found. Raises SpoolUnavailable for the
        body."""
        ...


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
    bounces: BounceSettings


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


@dataclass(frozen=True, slots=True)
class _Group:
    """Recipients that go to their transport together. `routed` is the first one's; hosts and transport are
    those of all."""

    routed: Routed
    members: tuple[tuple[QueuedRecipient, Routed], ...]


class _Attempt:
    """The state of one attempt: the message as it stands in the queue, and the results so far."""

    def __init__(self, message: QueuedMessage, body: Body, ports: AttemptPorts) -> None:
        self._message = message
        self._body = body
        self._ports = ports
        self._results: list[Result] = []
        self._written: tuple[RecipientUpdate, ...] = ()
        self._scope = message_scope(message, ports.scope, ports.clock.now())

    async def run(self) -> Settlement:
        groups = self._grouped(await self._route_all())
        for number, group in enumerate(groups):
            results = await self._deliver_group(group)
            self._results += results
            if number + 1 < len(groups):
                taken = await self._checkpoint(delivered_only(results))
                if taken is not None:
                    return taken
        return await self._settle()

    # Routing

    async def _route_all(self) -> list[tuple[QueuedRecipient, Routed]]:
        """The recipients that a router took; the others get their results here."""
        ports = self._ports
        routing = replace(ports.routing, resolver=_Remembering(ports.routing.resolver))
        taken: list[tuple[QueuedRecipient, Routed]] = []
        for recipient in self._message.pending:
            answer = await route(recipient.recipient.address, ports.routers, self._scope, routing)
            match answer:
                case Routed() if self._is_known(answer.transport):
                    taken.append((recipient, answer))
                case Routed(router, transport):
                    what = f'transport "{transport}" of router {router} not found'
                    await self._add(recipient, Deferred(what, ErrorClass.LOCAL), router, "")
                case Unroutable(reason, router):
                    await self._add(recipient, Failed(reason), router, "")
                case RouteDeferred(reason, router, error, freeze):
                    await self._add(recipient, Deferred(reason, error), router, "", freeze=freeze)
                case _ as never:
                    assert_never(never)
        return taken

    def _is_known(self, transport: str) -> bool:
        return transport in self._ports.remote or transport in self._ports.local

    def _grouped(self, taken: Sequence[tuple[QueuedRecipient, Routed]]) -> list[_Group]:
        """Groups in the order of their first recipients: local deliveries first, as in Exim."""
        together: dict[tuple[str, tuple[RouteHost, ...]], list[tuple[QueuedRecipient, Routed]]] = {}
        groups: list[_Group] = []
        for recipient, routed in taken:
            if routed.transport in self._ports.local:
                groups.append(_Group(routed, ((recipient, routed),)))
            else:
                together.setdefault((routed.transport, routed.hosts), []).append((recipient, routed))
        for (transport, _), members in together.items():
            most = self._ports.remote[transport].max_recipients or len(members)
            for start in range(0, len(members), most):
                part = tuple(members[start : start + most])
                groups.append(_Group(part[0][1], part))
        return groups

    # Delivery

    async def _deliver_group(self, group: _Group) -> list[Result]:
        ports, started = self._ports, self._ports.clock.now()
        here = group.routed.transport in ports.local
        outcomes = await (self._deliver_here(group) if here else self._deliver_there(group))
        elapsed = ports.clock.now() - started
        results: list[Result] = []
        first = True
        for (recipient, routed), outcome in zip(group.members, outcomes, strict=True):
            result = await self._judged(recipient, outcome, routed)
            self._record(result, first, elapsed)
            first = first and not isinstance(outcome, Delivered)
            results.append(result)
        return results

    async def _deliver_here(self, group: _Group) -> tuple[Outcome, ...]:
        ((recipient, routed),) = group.members
        scope = address_scope(self._scope, recipient.recipient.address, routed)
        transport = self._ports.local[routed.transport]
        return (await transport.deliver(recipient.recipient, self._message, self._body, scope),)

    async def _deliver_there(self, group: _Group) -> tuple[Outcome, ...]:
        transport = self._ports.remote[group.routed.transport]
        message = self._message
        envelope = Envelope(
            sender=message.sender,
            recipients=tuple(recipient.recipient for recipient, _ in group.members),
            body=message.body_type,
            size=message.size,
            parameters=message.parameters,
        )
        hosts = remote_hosts(group.routed, transport.default_port, self._ports.source)
        return await transport.deliver(hosts, envelope, message, self._body)

    # Results

    async def _add(
        self,
        recipient: QueuedRecipient,
        outcome: Outcome,
        router: str,
        transport: str,
        *,
        freeze: bool = False,
    ) -> None:
        routed = Routed(router, transport)
        result = replace(await self._judged(recipient, outcome, routed), freeze=freeze)
        self._record(result, first=True, elapsed=0.0)
        self._results.append(result)

    async def _judged(self, recipient: QueuedRecipient, outcome: Outcome, routed: Routed) -> Result:
        """The result with the retry rule that is for it, where it has to wait."""
        result = Result(recipient, outcome, routed.router, routed.transport)
        if not isinstance(outcome, Deferred):
            return result
        address = recipient.recipient.address
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
        journal, message_id = self._ports.journal, self._message.message_id
        address = result.recipient.recipient.address
        match result.outcome:
            case Delivered() as outcome:
                journal.record(
                    AddressDelivered(message_id, address, result.router, result.transport, outcome, first, elapsed)
                )
            case Deferred() as outcome:
                journal.record(AddressDeferred(message_id, address, result.router, result.transport, outcome))
            case Failed() as outcome:
                journal.record(AddressFailed(message_id, address, result.router, result.transport, outcome))
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
        written = {update.number for update in self._written}
        results = [each for each in self._results if each.recipient.number not in written]
        judgement = judge(self._message, results, now, ports.source)
        self._record_expired(judgement)
        bounce = await self._bounce(judgement.given_up, now)
        settlement = Settlement(
            message_id=self._message.message_id,
            updates=judgement.updates,
            due=judgement.due,
            freeze=bool(judgement.freeze),
            bounce=bounce.message if bounce else None,
            bounce_body=bounce.body if bounce else b"",
        )
        consequences = self._consequences(judgement, bounce, now)
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

    async def _bounce(self, given_up: Sequence[GivenUp], now: float) -> Bounce | None:
        reported = to_report(self._message, given_up)
        if not reported:
            return None
        settings = self._ports.bounces
        try:
            body = await read_body(self._body, wanted_of_body(self._message, settings))
        except SpoolUnavailable:
            # What was delivered has to be written down now; the report then has the header only.
            body = b""
        bounce_id = make_message_id(now, self._ports.source)
        return make_bounce(self._message, reported, body, settings, bounce_id, now)

    def _consequences(self, judgement: Judgement, bounce: Bounce | None, now: float) -> tuple[Event, ...]:
        """What is true as soon as the settlement is on disk, in the order of Exim's log."""
        message_id = self._message.message_id
        events: list[Event] = []
        if bounce is not None:
            new = bounce.message
            events.append(
                Arrived(
                    message_id=new.message_id,
                    sender=new.sender,
                    session=new.facts.session,
                    size=len(new.header) + 2 + len(bounce.body),
                    recipients=tuple(each.address for each in new.recipients),
                    bounce_of=message_id,
                )
            )
        if judgement.freeze:
            events.append(Frozen(message_id, judgement.freeze))
        if judgement.is_complete:
            events.append(Completed(message_id, now - self._message.facts.received_at))
        return tuple(events)


class _Remembering:
    """The resolver, asked once per name: a message with a hundred recipients has one smarthost."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, tuple[str, ...] | Exception] = {}

    async def addresses(self, name: str) -> tuple[str, ...]:
        if name not in self._answers:
            try:
                self._answers[name] = await self._resolver.addresses(name)
            except (HostNotFound, TemporaryFailure) as error:
                self._answers[name] = error
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def names(self, address: str) -> tuple[str, ...]:
        return await self._resolver.names(address)


def message_scope(message: QueuedMessage, base: Scope, now: float) -> Scope:
    """What expansions see of a queued message: the facts of its reception come from its row."""
    fields, _ = split_header(message.header)
    view = MessageView(
        sender=message.sender,
        recipients=tuple(each.recipient.address for each in message.recipients),
        size=message.size,
        body_size=message.body_size,
        header=fields,
        message_id=message.message_id,
        received_at=message.facts.received_at,
    )
    return base.child(
        session=message.facts.session,
        now=now,
        message=view,
        acl_variables=message.facts.acl_variables,
        first_delivery=message.attempts == 0,
    )


def address_scope(scope: Scope, address: Address, routed: Routed) -> Scope:
    """What the options of a transport see: the address, and what its router found out about it."""
    view = AddressView(
        local_part=address.local_part,
        domain=address.domain,
        original_local_part=address.local_part,
        original_domain=address.domain,
        address_data=routed.address_data,
    )
    return scope.child(
        address=view,
        host=HostView(routed.host_text) if routed.host_text else None,
        domain_data=routed.domain_data,
        local_part_data=routed.local_part_data,
        more={**scope.more, "router_name": routed.router, "transport_name": routed.transport},
    )


async def read_body(body: Body, size: int) -> bytes:
    """The first `size` octets; fewer where the body ends before."""
    pieces: list[bytes] = []
    while size > 0 and (piece := await body.piece(len(pieces))):
        pieces.append(piece[:size])
        size -= len(pieces[-1])
    return b"".join(pieces)
