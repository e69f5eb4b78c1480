"""Starts deliveries: the one place that wakes for a timer, a new message or a finished attempt (edge).

What may be tried is the schedule's knowledge, what becomes of a message the attempt's; here they meet the reactor. An
outcome that could not be recorded is handed in again until it is, and its message is not tried meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.daemon.extents import as_far_as, forced, of_run
from relay.delivery.attempt import AttemptPorts, Unsettled, attempt, give_up
from relay.delivery.first_pass import Extent
from relay.delivery.frozen import NEVER_RELEASED, TIMED_OUT, FrozenRules, Release, release_of
from relay.delivery.schedule import Schedule
from relay.mail.events import DaemonNote, MessageNote, Trouble
from relay.mail.ports import Cancelled, Clock, Journal, SpoolUnavailable
from relay.mail.queue import QueuedMessage, QueueEntry, Settlement
from relay.net.connection import is_cancellation
from relay.net.threads import ThreadedSpool
from relay.spool.store import Change

# Seconds before a queue that did not answer is asked again.
PAUSE = 10.0
# Seconds after which a message whose attempt broke down by our own fault is tried again.
AFTER_FAULT = 300.0
# Seconds from one look at the frozen messages to the next.
UPKEEP = 300.0
# Seconds for which the queue need not be asked again who waits for a host for which nobody did.
ASK_AGAIN = 10.0
_MOST_HOSTS = 4096
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """How far a run over the queue is: messages looked at, and those of them that are tried."""

    seen: int = 0
    tried: int = 0


class DeliveryRunner:
    """The deliveries of one process."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        spool: ThreadedSpool,
        schedule: Schedule,
        ports: AttemptPorts,
        journal: Journal,
        frozen: FrozenRules = NEVER_RELEASED,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._spool = spool
        self._schedule = schedule
        self._ports = ports
        # Whatever is not tried on arrival or by hand is tried in what Exim calls a queue run.
        self._run_ports = of_run(ports)
        self._journal = journal
        self._frozen = frozen
        self.is_rehearsal = False
        """No transport is run for any message (Exim: -N)."""
        self._routed_only: set[str] = set()
        """Messages whose first attempt leaves what goes to other hosts."""
        self._kept_up_at: float | None = None
        self._timer: IDelayedCall | None = None
        self._working = False
        self._woken = False
        """Somebody woke us while we were working: what they told may have come too late for that work."""
        self._serving = False
        self._stopping = False
        self._sweeps = 0
        """Runs over the queue under way."""
        self._summoning = 0
        """Claims under way for hosts that work again."""
        self._asked_for: dict[str, float] = {}
        """Hosts for which nobody waited, and when that was."""
        self._next_due: float | None = None
        self._look = True
        self._looked_at = 0.0
        self._attempts: dict[str, Deferred[None]] = {}
        self._watchers: dict[str, list[Deferred[None]]] = {}
        self._ends: list[Deferred[None]] = []
        self._awaits_all = False
        self._given_up: set[str] = set()
        """Messages that an operator gives up and waits for."""
        self._parents: set[str] = set()
        """Messages whose attempts wait for those of the reports on them."""

    # The Runner port

    def arrived(self, message_id: str, *, routes_only: bool = False) -> None:
        """A message was committed as claimed by this process. `routes_only`: its first attempt leaves what goes to
        other hosts."""
        if routes_only:
            self._routed_only.add(message_id)
        self._schedule.new_message(message_id)
        self._wake_at(0)

    def takes_new(self) -> bool:
        """Whether a message should be committed as ours, for an attempt at once."""
        return not self._stopping and self._schedule.takes_new()

    # For the daemon

    def start(self) -> None:
        """Looks at the queue for the first time, and from now on whenever something may be due there."""
        self._serving = True
        self._spool.when_due(self.queue_run)
        self._spool.when_shared(self._schedule.share)
        self._wake_at(0)

    def queue_run(self) -> None:
        """Somebody changed what is due."""
        self._look = True
        self._schedule.queue_run()
        self._wake_at(0)

    def network_changed(self, why: str) -> None:
        """What failed before may go now: it is tried at once, whatever the retry times are."""
        self._forgive()
        self._spawn(self._advance(self._clock.now(), why)).addErrback(self._report)

    def clock_set_back(self) -> None:
        """No retry time may be further away than the rules let it be."""
        self._kept_up_at = None
        self._wake_at(0)

    async def _advance(self, now: float, why: str) -> None:
        try:
            count = await self._spool.write(lambda queue: queue.advance(now, now))
        except SpoolUnavailable as error:
            self._journal.record(Trouble(f"{why}, and the queue can't be run: {error}"))
            return
        if count:
            self._journal.record(DaemonNote(f"{why}: {count} waiting message(s) are tried at once"))
        self.queue_run()

    async def sweep(
        self,
        wants: Callable[[QueueEntry], bool],
        *,
        thaw: bool,
        force: bool = False,
        in_order: bool = False,
        extent: Extent = Extent.WHOLE,
        told: Callable[[Swept], object] = lambda _: None,
        passed_over: Callable[[QueueEntry, AttemptPorts], Awaitable[None]] | None = None,
    ) -> Swept:
        """Attempts every waiting message that `wants` picks, due or not, and waits for the end of these attempts.

        `thaw` lets frozen ones go first; with `force` hosts are not waited for either. `in_order`: a message that was
        never tried goes by itself; those that wait for a server go side by side, as several share its connection.
        `extent`: how far each attempt goes. Messages that another process has are left to it. `told` gets how far it
        is, after each page; `passed_over` each message that is not tried. Raises SpoolUnavailable.
        """
        if force:
            # A run in a process of its own tries every message, whatever becomes of those before it (Exim: -qf).
            self._forgive(math.inf if in_order else None)
        ports = as_far_as(forced(self._run_ports) if force else self._run_ports, extent)
        self._sweeps += 1
        try:
            return await self._sweep(wants, thaw, ports, in_order, told, passed_over)
        finally:
            self._sweeps -= 1

    async def _sweep(
        self,
        wants: Callable[[QueueEntry], bool],
        thaw: bool,
        ports: AttemptPorts,
        in_order: bool,
        told: Callable[[Swept], object],
        passed_over: Callable[[QueueEntry, AttemptPorts], Awaitable[None]] | None,
    ) -> Swept:
        begun: set[str] = set()
        several = 1 if in_order and not self._ports.remote else self._schedule.limits.attempts
        swept = Swept()
        after = ""
        while not self._stopping and (page := await self._spool.entries(_PAGE, after)):
            after = page[-1].message_id
            for entry in page:
                swept = replace(swept, seen=swept.seen + 1)
                if not wants(entry):
                    if passed_over is not None:
                        await passed_over(entry, ports)
                    continue
                limit = 1 if in_order and not any(each.attempts for each in entry.recipients) else several
                await self._room_for(limit)
                if await self._sweep_one(entry, thaw, ports):
                    begun.add(entry.message_id)
                    swept = replace(swept, tried=swept.tried + 1)
                    told(swept)
                    await self._room_for(limit)
            begun.intersection_update(self._attempts)
            told(swept)
        await self._until(lambda: begun.isdisjoint(self._attempts))
        return swept

    async def _room_for(self, limit: int) -> None:
        """Waits until fewer attempts than `limit` are under way."""
        await self._until(lambda: len(self._attempts) < limit)

    async def try_now(self, message_id: str, *, frozen: bool, thaw: bool, force: bool) -> bool:
        """Attempts one message, due or not, and waits for the end; False where it is gone, held or another's."""
        if force:
            self._forgive()
        ports = forced(self._ports) if force else self._ports
        if frozen:
            begun = thaw and await self._release(message_id, Release.FORCED, ports)
        else:
            begun = await self._claim_and_begin(message_id, ports)
        if not begun:
            return False
        await self._until(lambda: message_id not in self._attempts)
        return True

    async def begin_waiting(self, host: str) -> None:
        """Begins with the oldest message that waits for this host, name and port, whether due or not: the host has just
        taken another. Returns when the attempt is over; at once where there is none, or no room, or where this process
        was started for other messages."""
        if not (self._serving or self._sweeps) or not self._schedule.has_room or self._nobody_waits(host):
            return
        self._summoning += 1
        try:
            begun = await self._claim_waiting(host)
        finally:
            self._summoning -= 1
            self._tell_waiting()
        if begun is not None:
            await begun

    async def _claim_waiting(self, host: str) -> Deferred[None] | None:
        """Claims and begins; the end of the attempt, None: nothing was begun."""
        try:
            claimed = await self._spool.claim_waiting(host, 1)
        except SpoolUnavailable:
            return None  # the queue's next run will tell of it
        if not claimed:
            self._asked_for[host] = self._clock.now()
        for message in claimed:
            if self._stopping or not self._schedule.attempt_started(message.message_id):
                await self._give_back(message.message_id, self._clock.now())
                continue
            over: Deferred[None] = Deferred()
            self._watchers.setdefault(message.message_id, []).append(over)
            self._begin(message.message_id, message, self._run_ports)
            return over
        return None

    def _nobody_waits(self, host: str) -> bool:
        """Whether the queue has said so a moment ago: it is not asked behind each message of a busy host."""
        asked = self._asked_for.get(host)
        if len(self._asked_for) > _MOST_HOSTS:
            self._asked_for.clear()
        return asked is not None and 0 <= self._clock.now() - asked < ASK_AGAIN

    async def give_up(self, message: QueuedMessage, why: str) -> bool:
        """Fails what is pending of a message that was claimed for this, reports to its sender, and waits for the end;
        False where it is under way already."""
        message_id = message.message_id
        if not self._schedule.attempt_started(message_id):
            return False
        self._given_up.add(message_id)
        try:
            self._begin(message_id, message, self._ports, why)
            await self._until(lambda: message_id not in self._attempts)
        finally:
            self._given_up.discard(message_id)
        return True

    def _forgive(self, until: float | None = None) -> None:
        """Hosts that failed may be tried again: those that failed until then, or until now."""
        for transport in self._ports.remote.values():
            transport.forgive(self._clock.now() if until is None else until)

    async def until_idle(self) -> None:
        """Waits until no attempt is under way or about to begin."""
        await self._until(lambda: self._schedule.is_idle)

    async def _sweep_one(self, entry: QueueEntry, thaw: bool, ports: AttemptPorts) -> bool:
        message_id = entry.message_id
        if not entry.frozen:
            return await self._claim_and_begin(message_id, ports)
        release = release_of(entry, self._clock.now(), self._frozen) or (Release.FORCED if thaw else None)
        if release is None:
            self._journal.record(MessageNote(message_id, "Message is frozen"))
            return False
        return await self._release(message_id, release, ports)

    async def _release(self, message_id: str, release: Release, ports: AttemptPorts) -> bool:
        """Thaws a message and begins with it; False where it is not to be had."""
        if self._stopping:
            return False
        now = self._clock.now()
        match await self._spool.change(lambda queue: queue.thaw(message_id, now)):
            case Change.DONE:
                self._journal.record(MessageNote(message_id, release.value))
            case Change.ALREADY if release is Release.FORCED:
                pass
            case _:
                return False
        return await self._claim_and_begin(message_id, ports, TIMED_OUT if release is Release.CANCELLED else "")

    async def _claim_and_begin(self, message_id: str, ports: AttemptPorts, giving_up: str = "") -> bool:
        if self._stopping:
            return False
        message = await self._spool.claim_one(message_id, self._clock.now())
        if message is None or not self._schedule.attempt_started(message_id):
            return False
        self._begin(message_id, message, ports, giving_up)
        return True

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Waits for attempts to end until the condition holds."""
        while not condition():
            ended: Deferred[None] = Deferred()
            self._ends.append(ended)
            await ended

    async def attempt_now(self, message_id: str, *, routes_only: bool = False) -> None:
        """As `arrived`, and waits until the attempt is over, however it ends."""
        waiting: Deferred[None] = Deferred()
        self._watchers.setdefault(message_id, []).append(waiting)
        self.arrived(message_id, routes_only=routes_only)
        await waiting

    def is_awaited(self, message_id: str) -> bool:
        """Whether somebody waits for the attempt on a message, and there is room for what it gives rise to."""
        return self._is_waited_for(message_id) and len(self._parents) + 1 < self._schedule.limits.attempts

    def everything_is_awaited(self) -> None:
        """Whoever started this process waits for all that it delivers (Exim: -odi)."""
        self._awaits_all = True

    def _is_waited_for(self, message_id: str) -> bool:
        return self._awaits_all or message_id in self._watchers or message_id in self._given_up

    async def stop(self, patience: float) -> None:
        """Starts nothing more; waits up to `patience` seconds for what is under way, then cuts it off."""
        self._stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for message_id in self._schedule.withdraw_new():
            await self._give_back(message_id, self._clock.now())
            self._tell_watchers(message_id)
        await self._until(lambda: not self._working and not self._summoning)
        if self._attempts:
            limit = self._reactor.callLater(patience, self._cut_off)
            await self._until(lambda: not self._attempts)
            if limit.active():
                limit.cancel()

    def _cut_off(self) -> None:
        for running in list(self._attempts.values()):
            running.cancel()

    # Waking

    def _wake_at(self, delay: float) -> None:
        if self._stopping:
            return
        when = self._reactor.seconds() + delay
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= when:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(delay, self._wake)

    def _wake(self) -> None:
        if self._stopping:
            return
        if self._working:
            self._woken = True
            return
        self._working, self._woken = True, False
        self._spawn(self._work()).addBoth(self._worked)

    def _worked(self, result: Any) -> None:
        self._working = False
        if isinstance(result, Failure):
            self._report(result)
            self._wake_at(PAUSE)
        if self._woken:
            self._wake_at(0)
        self._tell_waiting()

    async def _work(self) -> None:
        """Begins all that may begin now and sets the timer for the rest."""
        while (message_id := self._schedule.next_new()) is not None:
            extent = Extent.ROUTES_ONLY if message_id in self._routed_only else Extent.WHOLE
            self._begin(message_id, None, as_far_as(self._ports, extent))
        if not self._serving:
            return
        now = self._clock.now()
        if abs(now - self._looked_at) >= self._schedule.limits.longest_sleep:
            self._look = True  # whoever else adds to the queue does not tell us
        try:
            await self._keep_up(now)
            await self._claim_due(now)
            if self._look:
                self._look = False
                self._looked_at = now
                self._next_due = await self._spool.next_due()
        except SpoolUnavailable as error:
            self._look, self._next_due = True, now  # unknown: something may be due
            self._schedule.claim_failed(now, PAUSE)
            self._journal.record(Trouble(f"the queue can't be read: {error}"))
        now = self._clock.now()
        wakeup = self._schedule.next_wakeup(now, self._next_due)
        if wakeup is not None:
            self._wake_at(max(wakeup - now, 0.0))

    async def _keep_up(self, now: float) -> None:
        """From time to time: lets frozen messages go whose time has come, and mends retry times that a clock has left
        too far ahead."""
        if self._kept_up_at is not None and 0 <= now - self._kept_up_at < UPKEEP:
            return
        longest = self._ports.settling.longest_interval
        if await self._spool.write(lambda queue: queue.advance(now, now + longest)):
            self._look = True
        after = ""
        while page := await self._frozen_behind(after):
            after = page[-1].message_id
            for entry in page:
                release = release_of(entry, now, self._frozen)
                if release is None:
                    continue
                if len(self._schedule.running) >= self._schedule.limits.attempts or self._stopping:
                    return  # the end of an attempt wakes us, and the rest is looked at then
                await self._release(entry.message_id, release, self._run_ports)
        self._kept_up_at = now

    async def _frozen_behind(self, after: str) -> tuple[QueueEntry, ...]:
        return await self._spool.read(lambda queue: queue.frozen(_PAGE, after))

    async def _claim_due(self, now: float) -> None:
        if not self._look and (self._next_due is None or self._next_due > now):
            return
        number = self._schedule.next_claim(now)
        if number is None:
            return
        claimed = await self._spool.claim(now, number)
        if self._stopping:
            for message in claimed:
                await self._give_back(message.message_id, now)
            return
        self._schedule.claimed(tuple(message.message_id for message in claimed), now)
        self._look = True
        for message in claimed:
            # One that is under way here was claimed before; its lease was lost meanwhile and nobody else took it.
            if message.message_id not in self._attempts:
                self._begin(message.message_id, message, self._run_ports)

    # Attempts

    def _begin(self, message_id: str, message: QueuedMessage | None, ports: AttemptPorts, giving_up: str = "") -> None:
        running = self._spawn(self._attempt(message_id, message, ports, giving_up))
        if not running.called:
            self._attempts[message_id] = running
        running.addErrback(self._report)
        running.addBoth(self._finished, message_id)

    async def _attempt(
        self, message_id: str, message: QueuedMessage | None, ports: AttemptPorts, giving_up: str
    ) -> None:
        begun: set[str] = set()

        async def deliver_first(report_id: str) -> None:
            # One place is left for those that wait for nobody.
            if self.is_awaited(message_id):
                begun.add(report_id)
                self._parents.add(message_id)
                await self.attempt_now(report_id, routes_only=message_id in self._routed_only)
                self._parents.discard(message_id)

        if self._is_waited_for(message_id):
            ports = replace(ports, deliver_first=deliver_first)
        try:
            if message is None:
                message = await self._spool.claim_one(message_id, self._clock.now())
                if message is None:
                    return
            if self.is_rehearsal:
                message = replace(message, facts=replace(message.facts, is_rehearsal=True))
            body = self._spool.body(message_id)
            if giving_up:
                settlement = await give_up(message, body, ports, giving_up)
            else:
                settlement = await attempt(message, body, ports)
        except Unsettled as unsettled:
            settlement = unsettled.settlement
            await self._settle(settlement, unsettled)
            for event in unsettled.consequences:
                self._journal.record(event)
        except SpoolUnavailable as error:
            self._journal.record(Trouble(f"the attempt was given up: {error}", "", message_id))
            await self._give_back(message_id, self._clock.now() + PAUSE)
            return
        except (Cancelled, CancelledError):
            await self._give_back(message_id, self._clock.now())
            return
        except Exception:  # noqa: BLE001 - a mistake of ours must not leave the message claimed for ever
            self._log.failure("an attempt broke down")
            self._journal.record(
                Trouble("an attempt broke down by our fault; see the daemon's own log", "", message_id)
            )
            await self._give_back(message_id, self._clock.now() + AFTER_FAULT)
            return
        self._note(settlement, begun)

    async def _settle(self, settlement: Settlement, trouble: SpoolUnavailable) -> None:
        """Hands an outcome in until the queue has it: what was delivered must not be delivered again."""
        while True:
            what = f"an outcome could not be recorded yet, trying again: {trouble}"
            self._journal.record(Trouble(what, "", settlement.message_id))
            try:
                await deferLater(self._reactor, PAUSE, lambda: None)
            finally:
                # Also where the daemon stops meanwhile: once more, for what is not recorded is delivered again.
                again = await self._record(settlement)
            if again is None:
                return
            trouble = again

    async def _record(self, settlement: Settlement) -> SpoolUnavailable | None:
        """Why it could not be done."""
        try:
            await self._spool.settle(settlement, self._clock.now())
        except SpoolUnavailable as error:
            return error
        return None

    def _note(self, settlement: Settlement, begun: set[str]) -> None:
        """What the settlement means for the timer, and for the bounces that were committed as ours and not begun."""
        self._asked_for.pop(settlement.waits_for, None)
        if not settlement.is_complete and (self._next_due is None or settlement.due < self._next_due):
            self._next_due = settlement.due
        for bounce in settlement.bounces:
            if bounce.message.due is None and bounce.message.message_id not in begun:
                self._schedule.new_message(bounce.message.message_id)

    async def _give_back(self, message_id: str, due: float) -> None:
        try:
            await self._spool.release(message_id, due)
        except SpoolUnavailable as error:
            self._journal.record(Trouble(f"a claim could not be given back yet: {error}", "", message_id))
        self._look = True

    def _tell_watchers(self, message_id: str) -> None:
        for watcher in self._watchers.pop(message_id, []):
            watcher.callback(None)

    def _finished(self, _: Any, message_id: str) -> None:
        self._attempts.pop(message_id, None)
        self._routed_only.discard(message_id)
        self._parents.discard(message_id)
        self._schedule.attempt_finished(message_id)
        self._tell_watchers(message_id)
        self._wake_at(0)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        ends, self._ends = self._ends, []
        for ended in ends:
            ended.callback(None)

    @staticmethod
    def _spawn(coroutine: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(coroutine)

    def _report(self, failure: Failure) -> None:
        if not is_cancellation(failure):
            self._log.failure("delivery broke down", failure)
