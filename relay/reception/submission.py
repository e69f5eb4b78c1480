"""A message from a local program on its way into the queue (decision).

Whoever calls may hand a message over; what is said about the sender is believed of trusted callers alone.
Everybody else sends as `login@qualify_domain`, except that the null sender may always be set and that
`untrusted_set_sender` may allow more; and a From: that names somebody else gets a Sender: that names the
caller. Header fields that a message must have are added, here and not in the program, so that they are the
same whichever way it came.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.esmtp.grammar import Malformed, check_literal, read_address
from relay.esmtp.header_addresses import read_address_list
from relay.expand.scope import MessageView, Scope
from relay.mail.address import NULL_SENDER, Address
from relay.mail.envelope import Recipient
from relay.mail.events import QUEUED_BY_ACL, Arrived, Completed, MessageNote, ProtocolViolated
from relay.mail.facts import LocalCaller, MessageFacts, SessionFacts, make_connection_id
from relay.mail.glance import longest_line
from relay.mail.header import Field, join_fields, split_header
from relay.mail.ports import Capacity, Clock, Concurrency, Intake, Journal, SpoolUnavailable, TemporaryFailure
from relay.mail.queue import CHUNK_SIZE, NewMessage, make_message_id
from relay.mail.text import printable
from relay.policy.acl_values import Deferred as Refused
from relay.policy.acl_values import Denied, Discarded, Freeze, Queueing, Switch, Verdict, Where
from relay.policy.rewrite import RewriteContext, RewriteRule
from relay.reception.dropped import dropped_fields
from relay.reception.fields import body_type, change_header
from relay.reception.fixups import (
    DELIVERY_FIELDS,
    FixedHeader,
    Fixing,
    FromAffixes,
    HeaderNeeds,
    fix_header,
    recipients_in_header,
)
from relay.reception.given import read_given, reference, session_of
from relay.reception.header_id import HeaderId
from relay.reception.local_acls import LocalACLs, LocalJudge, refusal, refusal_text
from relay.reception.local_text import BodyLineEnds, HeaderCutter, HeaderTooLong
from relay.reception.request import DeliveryMode, Status, SubmissionAnswer, SubmissionRequest
from relay.reception.rewriting import Addressed, rewrite_message
from relay.spool.store import MessageExists


class Pieces(Protocol):
    """The message's octets as they arrive."""

    async def next(self) -> bytes:
        """The next octets, b"" behind the last. Raises `Cancelled` when the program has gone half-way."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the trace field of a message is made from."""

    message_id: str
    session: SessionFacts
    sender: Address
    recipients: tuple[Address, ...]
    received_at: float


class TraceField(Protocol):
    """Makes the Received: field (Exim: received_header_text)."""

    async def __call__(self, arrival: Arrival) -> Field: ...


class SetSender(Protocol):
    """Whether anybody may send as this address (Exim: untrusted_set_sender)."""

    async def __call__(self, address: Address) -> bool: ...


class Deliveries(Protocol):
    """Whoever delivers."""

    def takes_new(self) -> bool:
        """Whether a message should be committed as ours, for an attempt at once; else it is due like others."""
        ...

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        """A message was committed as claimed by us: its first attempt may start. `routes_only`: it leaves what goes to
        other hosts."""
        ...

    async def attempt_now(self, message_id: str, *, routes_only: bool = False) -> None:
        """The same, and wait until that attempt is over, however it ends."""
        ...


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """The options that decide, with Exim's names and defaults; sizes in octets, times in seconds."""

    primary_hostname: str
    qualify_domain: str
    qualify_recipient: str
    message_size_limit: int = 50 * 1024 * 1024
    header_maxsize: int = 1024 * 1024
    header_line_maxsize: int = 0
    header_id: HeaderId = field(default_factory=HeaderId)
    recipients_max: int = 50000
    received_headers_max: int = 30
    extract_addresses_remove_arguments: bool = True
    local_from_check: bool = True
    local_sender_retain: bool = False
    delivery_fields: frozenset[str] = DELIVERY_FIELDS
    from_affixes: FromAffixes | None = None
    rewrite: tuple[RewriteRule, ...] = ()
    local_acls: LocalACLs = field(default_factory=LocalACLs)
    queue_only_override: bool = True
    allow_domain_literals: bool = True
    queue_interval: float = 1800.0
    """How long a message that is only to be queued (-odq) waits if no queue run comes before."""


@dataclass(frozen=True, slots=True)
class SubmissionPorts:
    """What a submission needs of the world."""

    intake: Intake
    clock: Clock
    journal: Journal
    trace_field: TraceField
    may_set_sender: SetSender
    deliveries: Deliveries
    random_source: random.Random
    scope: Scope = field(default_factory=Scope)
    """What rewriting rules see beside the message."""
    concurrency: Concurrency | None = None
    capacity: Capacity | None = None


@dataclass(frozen=True, slots=True)
class Originator:
    """Who hands over, and the full name that the system knows of them."""

    caller: LocalCaller
    full_name: str = ""


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Drop:
    """How a message that waits in a file becomes one message, whenever the machine may stop.

    `message_id` is made from the file, the same at each try; `committed` is called between the commit and the
    first attempt and removes the file. A try that finds the id taken knows that it had come so far before.
    For that, deliveries must not begin before the files that a stop has left were looked at.
    """

    message_id: str
    committed: Callable[[], None] = field(default=_nothing)


def _session(request: SubmissionRequest, caller: LocalCaller) -> SessionFacts:
    """Raises _Refusal for an address that is none."""
    try:
        given = read_given(dict(request.given))
    except ValueError as error:
        raise _Refusal(f"{printable(str(error), 200)} is not an IP address") from None
    return session_of(caller, given, batched=request.batched)


class _Refusal(Exception):
    """The message or the request is at fault; the text is what the caller is told."""


class _TooBig(_Refusal):
    """It goes on beyond the limit."""


@dataclass(frozen=True, slots=True)
class _Received:
    """A message that was read whole, and its line in the log for when it is committed."""

    message: NewMessage
    arrived: Arrived
    discarded: str | None = None
    """An ACL takes it and throws it away; the text is for the log."""
    is_queued: bool = False
    """An ACL wants it to wait for a queue run."""


class Submission:
    """Takes messages of local programs."""

    def __init__(self, settings: SubmissionSettings, ports: SubmissionPorts) -> None:
        self._settings = settings
        self._ports = ports

    async def submit(
        self, request: SubmissionRequest, originator: Originator, pieces: Pieces, drop: Drop | None = None
    ) -> SubmissionAnswer:
        """Takes one message; when this says ACCEPTED, it is on disk and synced. Raises `Cancelled`."""
        now = self._ports.clock.now()
        message_id = drop.message_id if drop else make_message_id(now, self._ports.random_source)
        body = _Body(self._ports.intake, message_id, self._settings.message_size_limit)
        try:
            if self._ports.capacity is not None:
                await self._ports.capacity.check(None)
            # From the message's being kept until its attempt begins nothing may be waited for: whoever stopped
            # meanwhile would leave it.
            routes_only = await self._routes_only(request)
            received = await self._receive(request, originator, pieces, body, now)
            if received.discarded is not None:
                await self._discard(received, body, drop)
                return SubmissionAnswer(Status.ACCEPTED, message_id)
            await self._ports.intake.accept(received.message, body.number, body.tail)
        except MessageExists:
            if drop is None:
                return SubmissionAnswer(Status.DEFERRED, text="message id is taken, please try again")
            # It came so far before, and was stopped before its file was gone: no attempt has begun.
            drop.committed()
            await self._start(request, message_id, routes_only=routes_only)
            return SubmissionAnswer(Status.ACCEPTED, message_id)
        except _Refusal as refusal:
            await body.abandon()
            return SubmissionAnswer(Status.REFUSED, text=str(refusal))
        except SpoolUnavailable as trouble:
            await body.abandon()
            return SubmissionAnswer(Status.DEFERRED, text=f"the queue takes nothing now: {trouble}")
        except TemporaryFailure as trouble:
            await body.abandon()
            return SubmissionAnswer(Status.DEFERRED, text=str(trouble))
        except BaseException:
            await body.abandon()
            raise
        if drop is not None:
            drop.committed()
        self._ports.journal.record(received.arrived)
        if received.is_queued:
            self._ports.journal.record(MessageNote(message_id, QUEUED_BY_ACL, in_message_log=True))
        if received.message.due is None and not received.message.frozen:
            await self._start(request, message_id, routes_only=routes_only or received.is_queued)
        return SubmissionAnswer(Status.ACCEPTED, message_id)

    async def _discard(self, received: _Received, body: _Body, drop: Drop | None) -> None:
        """The program hears that all is well, and nothing is kept."""
        await body.abandon()
        if drop is not None:
            drop.committed()
        message_id, journal = received.message.message_id, self._ports.journal
        journal.record(received.arrived)
        why = f": {received.discarded}" if received.discarded else ""
        journal.record(MessageNote(message_id, f"=> blackhole (non-SMTP ACL discarded recipients){why}"))
        journal.record(Completed(message_id))

    async def _only_queues(self, request: SubmissionRequest) -> bool:
        """What was asked for on the command line goes before the state of the machine (Exim: queue_only_override)."""
        if self._ports.capacity is None:
            return False
        asked = request.delivery_asked and self._settings.queue_only_override
        return await self._ports.capacity.only_queues(delivery_asked=asked)

    def _due(self, mode: DeliveryMode, now: float) -> float | None:
        """When the first attempt is due; None: we make it at once."""
        if mode is DeliveryMode.QUEUE:
            return now + self._settings.queue_interval
        if mode is DeliveryMode.BACKGROUND and not self._ports.deliveries.takes_new():
            return now
        return None

    async def _routes_only(self, request: SubmissionRequest) -> bool:
        """Exim: -odqs, queue_only_file with `smtp`."""
        capacity = self._ports.capacity
        return request.routes_only or (capacity is not None and await capacity.routes_only())

    async def _start(self, request: SubmissionRequest, message_id: str, *, routes_only: bool) -> None:
        deliveries = self._ports.deliveries
        if request.delivery is DeliveryMode.INTERACTIVE:
            await deliveries.attempt_now(message_id, routes_only=routes_only)
        elif request.delivery is DeliveryMode.BACKGROUND:
            deliveries.arrived(message_id, routes_only=routes_only)

    async def _receive(
        self,
        request: SubmissionRequest,
        originator: Originator,
        pieces: Pieces,
        body: _Body,
        now: float,
    ) -> _Received:
        """Reads the whole message; the body's last piece is left to the commit."""
        given = self._arguments(request)
        arguments = tuple(self._qualified(each, request) for each in given)
        if not arguments and not request.extract_recipients:
            raise _Refusal("no recipients given")
        number = make_connection_id(now, self._ports.random_source)
        session = replace(_session(request, originator.caller), connection_id=number)
        judge = LocalJudge(self._settings.local_acls, self._ports.journal, self._ports.concurrency)
        said = await self._sender(request, originator, "")
        before = MessageView(said, arguments, True, message_id=body.message_id, received_at=now)
        await judge.verdict(Where.NOT_SMTP_START, self._scope(session, before, now))
        cutter = HeaderCutter(self._settings.header_maxsize, self._settings.header_line_maxsize)
        raw_header, first = await self._header(cutter, pieces)
        sender = await self._sender(request, originator, cutter.from_line_sender)
        fields, _ = split_header(raw_header)
        self._check_loop(fields)
        named = self._recipients(request, given, fields)
        recipients = tuple(self._qualified(each, request) for each in named)
        needs = self._needs(request, originator, sender, body.message_id, now)
        if request.sender is None and originator.caller.trusted and cutter.from_line_sender:
            # The message is somebody else's, whose name is not ours.
            needs = replace(needs, full_name="")
        if session.peer is not None or judge.effects.has(Switch.SUPPRESS_LOCAL_FIXUPS):
            needs = replace(needs, fixing=Fixing.NONE, drop_sender_field=False)
        seen = replace(before, sender=sender, message_id=body.message_id)
        needs = await self._settings.header_id.completed(needs, lambda: self._scope(session, seen, now))
        fixed = fix_header(fields, needs)
        body.take_room(len(raw_header))
        try:
            await body.add(first)
            while piece := await pieces.next():
                await body.add(piece)
            await body.end()
        except _TooBig:
            limit = self._settings.message_size_limit
            what = f"message too big: read={limit + 1} max={limit}"
            self._ports.journal.record(ProtocolViolated(session, what, str(sender), message_id=body.message_id))
            raise
        parts = Addressed(sender, tuple(Recipient(each) for each in recipients), fixed.fields)
        if self._settings.rewrite or request.qualify:
            parts = await self._rewritten(parts, request, session, body.message_id, now)
        longest = longest_line(raw_header)
        stages = (fields, fixed.fields, parts.fields)
        received = await self._judged(request, parts, fixed, body, judge, session, now, longest, stages)
        about = request.about or reference(originator.caller, dict(request.given))
        return replace(received, arrived=replace(received.arrived, named=named, bounce_of=about))

    async def _judged(
        self,
        request: SubmissionRequest,
        parts: Addressed,
        fixed: FixedHeader,
        body: _Body,
        judge: LocalJudge,
        session: SessionFacts,
        now: float,
        longest: int,
        stages: Sequence[tuple[Field, ...]],
    ) -> _Received:
        """The message with its trace field and what ACLs made of it. Raises _Refusal, TemporaryFailure."""
        addresses = tuple(each.address for each in parts.recipients)
        trace = await self._ports.trace_field(Arrival(body.message_id, session, parts.sender, addresses, now))
        parts = replace(parts, fields=change_header((trace, *parts.fields), trace, judge.effects))
        judge.effects.added, judge.effects.removed = [], []
        verdict = await self._verdict(parts, body, judge, session, now)
        final = change_header(parts.fields, trace, judge.effects)
        header = join_fields(final)
        controls = judge.effects.controls
        is_queued = any(isinstance(each, Queueing) for each in controls)
        stays = any(isinstance(each, Queueing) and not each.route for each in controls)
        queue_only = stays or await self._only_queues(request)
        message = NewMessage(
            message_id=body.message_id,
            sender=parts.sender,
            recipients=parts.recipients,
            header=header,
            facts=MessageFacts(
                session=session,
                received_at=now,
                acl_variables=dict(judge.variables),
                longest_header_line=longest,
                is_rehearsal=not request.deliver_really,
                dropped=dropped_fields(*stages, [each for each in final if each is not trace]),
            ),
            body_type=body_type(final, is_ascii=body.is_ascii and header.isascii()),
            body_size=body.size,
            frozen=any(isinstance(each, Freeze) for each in controls),
            due=self._due(DeliveryMode.QUEUE if queue_only else request.delivery, now),
        )
        arrived = Arrived(
            message_id=body.message_id,
            sender=parts.sender,
            session=session,
            size=len(header) + 2 + body.size,
            header_message_id=fixed.given_message_id,
            made_message_id=fixed.made_message_id,
            subject=fixed.subject,
            recipients=addresses,
            waits=message.due is not None or message.frozen,
        )
        return _Received(message, arrived, verdict.log_text if isinstance(verdict, Discarded) else None, is_queued)

    def _scope(self, session: SessionFacts, view: MessageView, now: float) -> Scope:
        return self._ports.scope.child(session=session, now=now, message=view)

    async def _verdict(
        self, parts: Addressed, body: _Body, judge: LocalJudge, session: SessionFacts, now: float
    ) -> Verdict:
        """What the ACL for local messages says of this one. Raises _Refusal, TemporaryFailure."""
        view = MessageView(
            sender=parts.sender,
            recipients=tuple(each.address for each in parts.recipients),
            recipients_visible=True,
            size=len(join_fields(parts.fields)) + 2 + body.size,
            body_size=body.size,
            header=parts.fields,
            message_id=body.message_id,
            received_at=now,
        )
        verdict = await judge.verdict(Where.NOT_SMTP, self._scope(session, view, now))
        if not isinstance(verdict, Denied | Refused):
            return verdict
        if verdict.logs:
            self._ports.journal.record(refusal(verdict, session, view))
        text = refusal_text(verdict)
        if isinstance(verdict, Refused):
            raise TemporaryFailure(text)
        raise _Refusal(text)

    async def _rewritten(
        self, parts: Addressed, request: SubmissionRequest, session: SessionFacts, message_id: str, now: float
    ) -> Addressed:
        """The message after the rewriting rules; addresses in its header get a domain as well."""
        settings = self._settings
        view = MessageView(parts.sender, header=parts.fields, message_id=message_id, received_at=now)
        scope = self._ports.scope.child(session=session, now=now, message=view)
        domain = settings.qualify_domain if request.qualify else ""
        context = RewriteContext(
            scope, self._ports.journal, settings.qualify_recipient, domain, concurrency=self._ports.concurrency
        )
        return await rewrite_message(parts, settings.rewrite, context)

    async def _header(self, cutter: HeaderCutter, pieces: Pieces) -> tuple[bytes, bytes]:
        try:
            while piece := await pieces.next():
                cut = cutter.feed(piece)
                if cut is not None:
                    return cut
            return cutter.finish()
        except HeaderTooLong as error:
            raise _Refusal(f"{error}: message not accepted") from None

    def _arguments(self, request: SubmissionRequest) -> tuple[Address, ...]:
        """The addresses of the command line; a list with commas in one argument is usual."""
        found: list[Address] = []
        for argument in request.recipients:
            try:
                found += read_address_list(argument)
                for each in found:
                    check_literal(each, allowed=self._settings.allow_domain_literals)
            except Malformed as error:
                raise _Refusal(f'bad recipient address "{printable(argument, 200)}": {error}') from None
        return tuple(found)

    def _qualified(self, address: Address, request: SubmissionRequest) -> Address:
        if not address.domain and not request.qualify:
            shown = printable(str(address), 200)
            raise _Refusal(f'bad recipient address "{shown}": unqualified recipient address not allowed')
        return address.qualified(self._settings.qualify_recipient)

    async def _sender(self, request: SubmissionRequest, originator: Originator, from_line: str) -> Address:
        """The envelope's sender. What an untrusted caller may not say is ignored, as Exim does, not
        refused."""
        own = Address(originator.caller.login, self._settings.qualify_domain)
        wish = request.sender
        is_in_text = wish is None
        if wish is None:
            wish = from_line
            if not wish:
                return own
        try:
            address = read_address(wish, allow_null=True, utf8=True) if wish.strip() else NULL_SENDER
            check_literal(address, allowed=self._settings.allow_domain_literals)
        except Malformed as error:
            if is_in_text:
                return own
            raise _Refusal(f'bad -f address "{printable(wish, 200)}": {error}') from None
        address = address.qualified(self._settings.qualify_domain)
        is_anybodys = originator.caller.trusted or (address.is_null and not is_in_text)
        return address if is_anybodys or await self._ports.may_set_sender(address) else own

    def _recipients(
        self, request: SubmissionRequest, arguments: tuple[Address, ...], fields: tuple[Field, ...]
    ) -> tuple[Address, ...]:
        """Who gets it, each once, in the order in which they were named, and as they were."""
        chosen = list(arguments)
        if request.extract_recipients:
            try:
                listed = recipients_in_header(fields)
            except Malformed as error:
                raise _Refusal(f"bad address in a header line: {error}") from None
            if self._settings.extract_addresses_remove_arguments:
                unwanted = {self._qualified(each, request).key() for each in arguments}
                chosen = [each for each in listed if self._qualified(each, request).key() not in unwanted]
                if listed and not chosen:
                    raise _Refusal("all recipients in the header lines were removed because they are arguments as well")
            else:
                chosen += listed
            if not chosen:
                raise _Refusal("no recipient addresses found in header lines")
        unique: dict[str, Address] = {}
        for each in chosen:
            unique.setdefault(self._qualified(each, request).key(), each)
        if 0 < self._settings.recipients_max < len(unique):
            raise _Refusal("too many recipients")
        return tuple(unique.values())

    def _check_loop(self, fields: tuple[Field, ...]) -> None:
        hops = sum(each.is_named("Received") for each in fields)
        if hops > self._settings.received_headers_max:
            raise _Refusal('too many "Received" headers - suspected mail loop')

    def _needs(
        self,
        request: SubmissionRequest,
        originator: Originator,
        sender: Address,
        message_id: str,
        now: float,
    ) -> HeaderNeeds:
        caller = originator.caller
        if not request.fix_header:
            fixing = Fixing.NONE
        elif caller.trusted or not self._settings.local_from_check:
            fixing = Fixing.COMPLETE
        else:
            fixing = Fixing.COMPLETE_AND_CHECK_FROM
        name_is_wished = request.full_name is not None
        use_name = not caller.trusted or name_is_wished or request.sender is None
        full_name = (request.full_name if request.full_name is not None else originator.full_name) or ""
        return HeaderNeeds(
            fixing=fixing,
            message_id=message_id,
            id_domain=self._settings.primary_hostname,
            now=now,
            sender=sender,
            originator=Address(caller.login, self._settings.qualify_domain),
            full_name=full_name,
            name_in_from=use_name,
            drop_sender_field=not caller.trusted and request.fix_header and not self._settings.local_sender_retain,
            drop_bcc=request.extract_recipients,
            from_affixes=self._settings.from_affixes,
            delivery_fields=self._settings.delivery_fields,
        )


class _Body:
    """The body on its way into the queue: line ends made CRLF, cut into pieces, the last one kept back."""

    def __init__(self, intake: Intake, message_id: str, room: int) -> None:
        self.message_id = message_id
        self.number = 0
        """Of the piece that is kept back."""
        self.size = 0
        self.is_ascii = True
        self._intake = intake
        self._room = room
        self._line_ends = BodyLineEnds()
        self._buffer = bytearray()

    def take_room(self, octets: int) -> None:
        """The header counts into the size of the message."""
        self._room -= octets

    async def abandon(self) -> None:
        """Forgets what was stored. Where that fails, it goes when the queue is put in order at a start."""
        if self.number:
            try:
                await self._intake.abandon(self.message_id)
            except TemporaryFailure:
                pass

    async def add(self, piece: bytes) -> None:
        await self._store(self._line_ends.feed(piece))

    async def end(self) -> None:
        await self._store(self._line_ends.finish())

    @property
    def tail(self) -> bytes:
        return bytes(self._buffer)

    async def _store(self, text: bytes) -> None:
        self.size += len(text)
        if self.size > self._room:
            raise _TooBig("message too big")
        self.is_ascii = self.is_ascii and text.isascii()
        self._buffer += text
        while len(self._buffer) > CHUNK_SIZE:
            chunk = bytes(self._buffer[:CHUNK_SIZE])
            del self._buffer[:CHUNK_SIZE]
            await self._intake.append(self.message_id, self.number, chunk)
            self.number += 1
