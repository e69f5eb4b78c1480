"""Does what an operator orders of queued messages, and writes it into the log in Exim's words (edge).

The same orders are done in the daemon, for whoever asks at `control.sock`, and in a process of one's own where no
daemon runs. Each change is one durable step of the queue that leaves a message alone while it is being delivered; the
log line follows the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from relay.daemon.orders import Answer, BadOrder, Order, Outcome, Progress, Run, Verb
from relay.daemon.runner import DeliveryRunner, Swept
from relay.delivery.scopes import message_scope
from relay.delivery.told_outcomes import ToldRecipients
from relay.esmtp.grammar import Malformed, read_address
from relay.expand.scope import Scope
from relay.mail.address import Address
from relay.mail.envelope import Recipient
from relay.mail.events import Completed, MessageNote
from relay.mail.ports import Clock, Journal
from relay.mail.queue import QueuedMessage, QueueEntry, RecipientState
from relay.mail.text import printable
from relay.net.threads import ThreadedSpool
from relay.policy.event_action import NO_ACTIONS, EventActions
from relay.spool.codec import Unreadable
from relay.spool.store import Change, Claim, Transaction

CANCELLED = "delivery cancelled by administrator"

_MISSING = Answer(Outcome.MISSING)
_LOCKED = Answer(Outcome.LOCKED)
_DENIED = Answer(Outcome.DENIED)
_MODIFIED = Answer(Outcome.DONE, "has been modified")


class _Refused(Exception):
    """The order can't be carried out; the text is what Exim says of it."""


class Operator:
    """Carries out orders on the queue of this process."""

    def __init__(
        self,
        spool: ThreadedSpool,
        runner: DeliveryRunner,
        journal: Journal,
        clock: Clock,
        *,
        runs_max: Callable[[], Awaitable[int]] | None = None,
        anybody_delivers: bool = False,
        events: EventActions = NO_ACTIONS,
        scope: Scope | None = None,
    ) -> None:
        """`runs_max`: runs over the queue at the same time, 0 for no limit (Exim: queue_run_max);
        `anybody_delivers`: whether who is no administrator may have messages delivered (Exim: prod_requires_admin);
        `events`: who is told of messages that are removed, which `scope` shows (Exim: event_action)."""
        self._spool = spool
        self._runner = runner
        self._journal = journal
        self._clock = clock
        self._runs_max = runs_max
        self._anybody_delivers = anybody_delivers
        self._runs = 0
        self._events = events
        self._scope = scope or Scope()

    async def carry_out(self, order: Order, login: str, uid: int, *, is_admin: bool) -> Answer:
        """What became of it. Raises SpoolUnavailable."""
        if not is_admin and not await self._is_open_to(order, uid):
            return _DENIED
        try:
            match order.verb:
                case Verb.DELIVER | Verb.DELIVER_IF_DUE:
                    return await self._deliver(order, is_admin)
                case Verb.GIVE_UP:
                    return await self._give_up(order.message_id, login)
                case Verb.ADD_RECIPIENTS | Verb.MARK_DELIVERED | Verb.MARK_ALL_DELIVERED | Verb.SET_SENDER:
                    return await self._edit(order, login)
                case Verb.FREEZE | Verb.THAW | Verb.REMOVE | Verb.MAKE_DUE:
                    return await self._change(order, login)
        except _Refused as refused:
            return Answer(Outcome.REFUSED, str(refused))
        except Unreadable as error:
            return Answer(Outcome.REFUSED, f"can't be read: {printable(str(error))}")

    async def run(self, wanted: Run, told: Callable[[Progress], object]) -> Progress:
        """Tries the messages of a run and waits for them; `told` gets how far it is.

        Raises BadOrder for a pattern that is none and where there are too many runs, TemporaryFailure,
        SpoolUnavailable.
        """
        wanted.selection.check()
        most = await self._runs_max() if self._runs_max is not None else 0
        if most and self._runs >= most:
            raise BadOrder(f"{self._runs} queue runs are under way already (queue_run_max)")
        began = self._clock.now()
        total = await self._spool.read(lambda queue: queue.count())

        def wants(entry: QueueEntry) -> bool:
            return wants_of_run(wanted, entry, began)

        def tell(swept: Swept) -> None:
            told(Progress(swept.seen, max(total, swept.seen), swept.tried))

        self._runs += 1
        try:
            swept = await self._runner.sweep(wants, thaw=wanted.thaw, force=wanted.force, told=tell)
        finally:
            self._runs -= 1
        return Progress(swept.seen, max(total, swept.seen), swept.tried, is_over=True)

    async def _is_open_to(self, order: Order, uid: int) -> bool:
        """Who handed a message over may take it back, and no more (Exim: queue_action)."""
        if order.verb in (Verb.DELIVER, Verb.DELIVER_IF_DUE):
            return self._anybody_delivers
        if order.verb is not Verb.REMOVE:
            return False
        message = await self._message(order.message_id)
        caller = message.facts.session.caller if message is not None else None
        return caller is not None and caller.uid == uid

    async def _message(self, message_id: str) -> QueuedMessage | None:
        return await self._spool.read(lambda queue: queue.message(message_id))

    def _note(self, message_id: str, text: str) -> None:
        self._journal.record(MessageNote(message_id, text))

    # Simple changes

    async def _change(self, order: Order, login: str) -> Answer:
        message_id, now = order.message_id, self._clock.now()
        step, done, already, note = _STEPS[order.verb]
        is_told = order.verb is Verb.REMOVE and self._events.main is not None
        message = await self._message(message_id) if is_told else None
        change = await self._spool.change(lambda queue: step(queue, message_id, now))
        if change is not Change.DONE:
            return _not_done(change, already)
        if message is not None:
            told = ToldRecipients(self._events, message_scope(message, self._scope, now))
            await told.cancelled([each.recipient.address for each in message.pending], f"message removed by {login}")
            await told.complete()
        if note:
            self._note(message_id, f"{note} by {login}")
        if order.verb is Verb.REMOVE:
            self._journal.record(Completed(message_id))
        elif order.verb is not Verb.FREEZE:
            self._runner.queue_run()
        return Answer(Outcome.DONE, done)

    # Deliveries

    async def _deliver(self, order: Order, is_admin: bool) -> Answer:
        message = await self._message(order.message_id)
        if message is None:
            return _MISSING
        force = order.verb is Verb.DELIVER
        thaw = force and is_admin
        if message.frozen and not thaw:
            return Answer(Outcome.REFUSED, "is frozen")
        tried = await self._runner.try_now(order.message_id, frozen=message.frozen, thaw=thaw, force=force)
        return Answer(Outcome.DONE) if tried else _LOCKED

    async def _give_up(self, message_id: str, login: str) -> Answer:
        now = self._clock.now()

        def take(queue: Transaction) -> Change | Claim:
            change = queue.thaw(message_id, now)
            return change if change in (Change.MISSING, Change.CLAIMED) else queue.claim_one(message_id)

        taken = await self._spool.write(take)
        if isinstance(taken, Change):
            return _not_done(taken, "")
        if not taken.messages:
            raise _Refused("can't be read and was set aside")
        self._note(message_id, f"cancelled by {login}")
        given_up = await self._runner.give_up(taken.messages[0], CANCELLED)
        return Answer(Outcome.DONE) if given_up else _LOCKED

    # Edits

    async def _edit(self, order: Order, login: str) -> Answer:
        message = await self._message(order.message_id)
        if message is None:
            return _MISSING
        match order.verb:
            case Verb.MARK_ALL_DELIVERED:
                return await self._mark(message, [each.recipient.address for each in message.recipients], login)
            case Verb.MARK_DELIVERED:
                return await self._mark(message, read_addresses(order.addresses, "marking as delivered"), login)
            case Verb.SET_SENDER:
                return await self._set_sender(message, order.addresses, login)
            case _:
                return await self._add(message, read_addresses(order.addresses, "adding recipient"), login)

    async def _mark(self, message: QueuedMessage, addresses: Sequence[Address], login: str) -> Answer:
        numbers = []
        for address in addresses:
            rows = [each for each in message.recipients if each.recipient.address == address]
            if not rows:
                raise _Refused(
                    "- error while marking as delivered:\n"
                    f"  {printable(str(address))} is not a recipient: message not updated"
                )
            numbers += [each.number for each in rows if each.state is RecipientState.PENDING]
        message_id, who = message.message_id, f"marked delivered by {login}"
        change = await self._spool.change(lambda queue: queue.mark_delivered(message_id, numbers, who))
        if change is not Change.DONE:
            return _not_done(change, "")
        for address in addresses:
            self._note(message_id, f"address <{printable(str(address))}> {who}")
        return _MODIFIED

    async def _add(self, message: QueuedMessage, addresses: Sequence[Address], login: str) -> Answer:
        message_id = message.message_id
        recipients = tuple(Recipient(each) for each in addresses)
        change = await self._spool.change(lambda queue: queue.add_recipients(message_id, recipients))
        if change is not Change.DONE:
            return _not_done(change, "")
        for address in addresses:
            self._note(message_id, f"recipient <{printable(str(address))}> added by {login}")
        return _MODIFIED

    async def _set_sender(self, message: QueuedMessage, texts: Sequence[str], login: str) -> Answer:
        if len(texts) > 1:
            raise _Refused("- only one sender address can be specified")
        (sender,) = read_addresses(texts, "editing sender", allow_null=True)
        message_id = message.message_id
        change = await self._spool.change(lambda queue: queue.set_sender(message_id, sender))
        if change is not Change.DONE:
            return _not_done(change, "")
        self._note(message_id, f"sender address changed to <{printable(str(sender))}> by {login}")
        return _MODIFIED


def wants_of_run(wanted: Run, entry: QueueEntry, now: float) -> bool:
    """Whether a message belongs to a run that began at `now`. One that was only queued has not been tried: it does."""
    attempts = sum(each.attempts for each in entry.recipients)
    if wanted.first_only and attempts:
        return False
    return (wanted.force or attempts == 0 or entry.due <= now) and wanted.selection.takes(entry)


def read_addresses(texts: Sequence[str], doing: str, *, allow_null: bool = False) -> tuple[Address, ...]:
    """The addresses that were typed, each with its domain. Raises _Refused."""
    if not texts:
        raise _Refused(f"- error while {doing}: no address given")
    found = []
    for text in texts:
        try:
            address = read_address(text, allow_null=allow_null)
        except Malformed as error:
            raise _Refused(f"- error while {doing}:\n  bad address {printable(text)}: {error}") from None
        if not (address.is_qualified or address.is_null):
            raise _Refused(f"- error while {doing}:\n  bad address {printable(text)}: domain missing")
        found.append(address)
    return tuple(found)


def _not_done(change: Change, already: str) -> Answer:
    match change:
        case Change.MISSING:
            return _MISSING
        case Change.CLAIMED:
            return _LOCKED
        case _:
            return Answer(Outcome.REFUSED, already)


def _freeze(queue: Transaction, message_id: str, now: float) -> Change:
    return queue.freeze(message_id)


def _thaw(queue: Transaction, message_id: str, now: float) -> Change:
    return queue.thaw(message_id, now)


def _remove(queue: Transaction, message_id: str, now: float) -> Change:
    return queue.remove(message_id)


def _make_due(queue: Transaction, message_id: str, now: float) -> Change:
    return queue.set_due(message_id, now)


_Step = Callable[[Transaction, str, float], Change]

# What is done to the message, what is said of it, what where it was so already, and what the log has before "by".
_STEPS: dict[Verb, tuple[_Step, str, str, str]] = {
    Verb.FREEZE: (_freeze, "is now frozen", "is already frozen", "frozen"),
    Verb.THAW: (_thaw, "is no longer frozen", "is not frozen", "unfrozen"),
    Verb.REMOVE: (_remove, "has been removed", "", "removed"),
    Verb.MAKE_DUE: (_make_due, "is due now", "", ""),
}
