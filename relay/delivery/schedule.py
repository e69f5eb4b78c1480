"""What may be attempted now: new messages, due ones, and the limits in total and per host (machine).

The schedule knows nothing of queues, hosts and timers. Its user, the runner, wakes for three reasons (timer,
new message, finished attempt) and then does the same thing each time:

    start every `next_new()`; then claim `next_claim(now)` due messages and tell `claimed`; start those; ask
    the queue when the next one is due, and set the timer to `next_wakeup(now, that)`.

There are two sources of work. New messages were accepted as claimed by this process and need no look into the
queue; they go first, because their bodies are still in memory. Due messages are claimed when there is room
for them, never to wait here: what this process holds and does not work on, no other process can take.

Per-host limits are for attempts that know where they are going: `enter_host` lets one in or puts it in line,
`leave_host` names who is next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once. Exim's names where it has one."""

    attempts: int = 20
    """Attempts under way in this process (Exim: queue_run_max, remote_max_parallel)."""
    attempts_per_host: int = 8
    """Attempts that may talk to one host at the same time."""
    new_waiting: int = 100
    """New messages that may wait for an attempt to end; further ones are only queued."""
    claim: int = 16
    """Messages claimed in one step."""
    longest_sleep: float = 60.0
    """Seconds until the queue is looked at anew, whatever it said: other processes add to it, and clocks are set."""
    queue_only: bool = False
    """No message is attempted on arrival (Exim: queue_only)."""
    queue_only_load: float | None = None
    """Above this load average messages are only queued (Exim: queue_only_load)."""
    deliver_queue_load_max: float | None = None
    """Above this load average no queued message is attempted (Exim: deliver_queue_load_max)."""
    smtp_accept_queue: int = 0
    """With more connections than this messages are only queued; 0: no limit (Exim: smtp_accept_queue)."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine is, as last observed: the load average, and the connections that are open."""

    average: float = 0.0
    connections: int = 0


class _Host:
    __slots__ = ("busy", "line", "most")

    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.line: deque[str] = deque()
        self.most = 0


class Schedule:
    """The state of one process' deliveries. Message ids are opaque; times are seconds since the epoch."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._load = Load()
        self._sharers = 1
        self._new: deque[str] = deque()
        self._running: set[str] = set()
        self._hosts: dict[str, _Host] = {}
        self._claiming = 0
        self._look_at: float | None = None
        """When something is known to be due; None: now, as nobody has looked yet."""
        self._not_before: float | None = None
        """The end of a pause after a failed claim."""

    @property
    def limits(self) -> Limits:
        """What was given."""
        return self._limits

    @property
    def running(self) -> frozenset[str]:
        """Messages with an attempt under way."""
        return frozenset(self._running)

    @property
    def has_room(self) -> bool:
        """One more attempt may begin."""
        return self._room() > 0

    @property
    def is_idle(self) -> bool:
        """Nothing under way and nothing waiting in this process: it may stop."""
        return not self._running and not self._new and not self._claiming

    def change_limits(self, limits: Limits) -> None:
        """Other limits from now on (a reload); what is under way goes on."""
        self._limits = limits
        self._look_at = None

    def share(self, number: int) -> None:
        """So many processes, this one among them, deliver from one queue: each has its part of what a host is to get
        from all of them, and one connection at least."""
        self._sharers = max(number, 1)

    def observe(self, load: Load) -> None:
        """Tells how busy the machine is."""
        self._load = load

    # New messages

    def takes_new(self) -> bool:
        """Whether a message that arrives now should be attempted at once. If not it is committed unclaimed, due now."""
        limits = self._limits
        if limits.queue_only or _exceeds(self._load.average, limits.queue_only_load):
            return False
        if limits.smtp_accept_queue and self._load.connections > limits.smtp_accept_queue:
            return False
        return len(self._new) < limits.new_waiting

    def new_message(self, message_id: str) -> None:
        """A message was committed as claimed by this process: it is attempted here, sooner or later."""
        if message_id not in self._running and message_id not in self._new:
            self._new.append(message_id)

    def next_new(self) -> str | None:
        """The next new message to begin with, if there is room; it counts as started."""
        if not self._new or self._room() <= 0:
            return None
        message_id = self._new.popleft()
        self._running.add(message_id)
        return message_id

    def withdraw_new(self) -> tuple[str, ...]:
        """Forgets the new messages that wait, so that their claims can be given back (a stop)."""
        waiting = tuple(self._new)
        self._new.clear()
        return waiting

    # Due messages

    def next_claim(self, now: float) -> int | None:
        """How many due messages to claim; None: none, for now. `claimed` or `claim_failed` has to follow."""
        if self._claiming or _exceeds(self._load.average, self._limits.deliver_queue_load_max):
            return None
        if now < self._earliest(now):
            return None
        number = min(self._room() - len(self._new), self._limits.claim)
        if number <= 0:
            return None
        self._claiming = number
        return number

    def claimed(self, message_ids: tuple[str, ...], now: float) -> None:
        """What the claim gave; each counts as started. Fewer than asked for: no more is due until the queue says so."""
        if len(message_ids) < self._claiming:
            self._look_at = now + self._limits.longest_sleep
        self._claiming = 0
        self._not_before = None
        for each in message_ids:
            if each in self._new:
                self._new.remove(each)
        self._running.update(message_ids)

    def claim_failed(self, now: float, pause: float) -> None:
        """The queue did not answer: not again before `pause` seconds are over."""
        self._claiming = 0
        self._not_before = now + min(pause, self._limits.longest_sleep)

    def queue_run(self) -> None:
        """Look at the queue at the next wake-up, whatever is known (an operator's wish, a neighbour's note)."""
        self._look_at = None

    def next_wakeup(self, now: float, next_due: float | None) -> float | None:
        """When to wake for the queue, given when its next message is due; None: the end of an attempt will wake.

        Never before `now`; a time that has come means at once. What the queue says is kept for `next_claim`.
        """
        horizon = now + self._limits.longest_sleep
        if _exceeds(self._load.average, self._limits.deliver_queue_load_max):
            return horizon
        self._look_at = horizon if next_due is None else min(max(next_due, now), horizon)
        if self._claiming or self._room() - len(self._new) <= 0:
            return None
        return max(self._earliest(now), now)

    # Attempts

    def attempt_started(self, message_id: str) -> bool:
        """Begins a message out of turn (an operator's wish); False: it is under way already."""
        if message_id in self._running:
            return False
        if message_id in self._new:
            self._new.remove(message_id)
        self._running.add(message_id)
        return True

    def attempt_finished(self, message_id: str) -> tuple[str, ...]:
        """The end of an attempt, however it went. Whoever waited in line for a host that it held may go in."""
        self._running.discard(message_id)
        admitted = []
        for name in [name for name, host in self._hosts.items() if message_id in host.busy or message_id in host.line]:
            follower = self.leave_host(name, message_id)
            if follower is not None:
                admitted.append(follower)
        return tuple(admitted)

    def enter_host(self, name: str, message_id: str, most: int = 0, *, stands_in_line: bool = False) -> bool:
        """True: go on. False: it stands in line, until `leave_host` or `attempt_finished` names it.

        `most`: how many may be in, where it is fewer than `attempts_per_host` (Exim: serialize_hosts); what was said
        last holds. `stands_in_line`: although there is room, behind somebody who is in and will leave.
        """
        host = self._hosts.setdefault(name, _Host())
        host.most = most
        if message_id in host.busy:
            return True
        if self._has_room(host) and not host.line and not (stands_in_line and host.busy):
            host.busy.add(message_id)
            return True
        if message_id not in host.line:
            host.line.append(message_id)
        return False

    def leave_host(self, name: str, message_id: str) -> str | None:
        """Done with this host (or tired of the line); the message that may go in instead, which now counts as in."""
        host = self._hosts.get(name)
        if host is None:
            return None
        host.busy.discard(message_id)
        if message_id in host.line:
            host.line.remove(message_id)
        follower = None
        if host.line and self._has_room(host):
            follower = host.line.popleft()
            host.busy.add(follower)
        if not host.busy and not host.line:
            del self._hosts[name]
        return follower

    def next_in_line(self, name: str) -> str | None:
        """Who goes in next when somebody leaves; None where nobody waits."""
        host = self._hosts.get(name)
        return host.line[0] if host is not None and host.line else None

    def _has_room(self, host: _Host) -> bool:
        most = max(self._limits.attempts_per_host // self._sharers, 1)
        return len(host.busy) < (min(most, host.most) if host.most else most)

    def _earliest(self, now: float) -> float:
        """When the queue may be looked at next. A time beyond the longest sleep means that the clock was set back."""
        horizon = now + self._limits.longest_sleep
        times = [time for time in (self._look_at, self._not_before) if time is not None and time <= horizon]
        return max(times, default=now)

    def _room(self) -> int:
        return self._limits.attempts - len(self._running) - self._claiming


def _exceeds(value: float, limit: float | None) -> bool:
    return limit is not None and value > limit
