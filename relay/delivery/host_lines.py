"""Who waits for a host, and connections handed from one message to the next (machine).

Whoever wants to talk to a host enters its line first and leaves it afterwards, however it went. As long as
there is room it goes on at once with nothing in hand; else it waits, and comes in with what its predecessor leaves:
a connection that is ready for the next message, or nothing.

Where nobody waits for a connection that would be closed, its owner may `offer` it: whoever comes next stands in line
for it although there is room.

A connection is only ever given to a wish equal to the one that it was made for (`Wish`): same transport, host, TLS
policy and manners. Whoever has one to give asks `next_is` first. The state is one process' own; a promise is what
somebody waits on (`Promise`, at the edge a Deferred).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from relay.delivery.link import Link, Manners
from relay.delivery.schedule import Schedule
from relay.mail.facts import TLSFacts
from relay.mail.outcome import RemoteHost
from relay.tls.policy import ClientTLS

# Seconds for which a host counts as one that does not go on in clear after a probe that failed.
NOT_ONWARD = 3600.0


def line_of(host: RemoteHost) -> str:
    """The name of the line at a host: its name and port."""
    return f"{host.name.lower()}:{host.port}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a connection is wanted for; equal wishes can share one."""

    transport: str
    host: str
    """Name and port."""
    policy: ClientTLS
    manners: Manners
    addresses: frozenset[str] = field(default=frozenset(), compare=False)
    """Where the host may be."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A connection between two messages. `tls` is the layer in force, None in clear."""

    link: Link
    wish: Wish
    messages: int
    """How many it has carried."""
    tls: TLSFacts | None = None
    had_tls: bool = False
    """TLS was up on it before: whatever is to be said next needs TLS again."""
    login: str = ""
    """As whom we are logged in on the layer in force, "" for nobody."""


class Promise(Awaitable[Parked | None], Protocol):
    """Something to wait on that is kept once."""

    def callback(self, result: Parked | None) -> object: ...


@dataclass(frozen=True, slots=True)
class Visit:
    """Leave to talk to a host, to be given back with `leave`. `parked`: with this connection."""

    wish: Wish
    number: str
    parked: Parked | None = None


@dataclass(slots=True)
class _Waiting:
    wish: Wish
    promise: Promise


class HostLines:
    """The lines of all hosts of one process."""

    def __init__(self, schedule: Schedule, promise: Callable[[], Promise]) -> None:
        self._schedule = schedule
        self._promise = promise
        self._visits = 0
        self._waiting: dict[str, _Waiting] = {}
        """By the number of the visit that is to be."""
        self._offers: dict[str, list[Promise]] = {}
        self._not_onward: dict[str, float] = {}

    async def enter(self, wish: Wish, *, alone: bool = False) -> Visit:
        """Waits for room at the host; `alone`: nobody else may be talking to it (Exim: serialize_hosts).

        `leave` has to follow, unless this raises.
        """
        self._visits += 1
        number = f"visit {self._visits}"
        offer = self._take_offer(wish.host)
        if self._schedule.enter_host(wish.host, number, 1 if alone else 0, stands_in_line=offer is not None):
            return Visit(wish, number)
        promise = self._promise()
        self._waiting[number] = _Waiting(wish, promise)
        if offer is not None:
            offer.callback(None)
        try:
            return Visit(wish, number, await promise)
        except BaseException:
            if self._waiting.pop(number, None) is not None:
                self.leave(Visit(wish, number))
            raise

    def next_is(self, wish: Wish, address: str) -> bool:
        """Whether the next in line wants just such a connection, to this address."""
        follower = self._schedule.next_in_line(wish.host)
        return follower is not None and _fits(wish, address, self._waiting[follower].wish)

    def leave(self, visit: Visit, parked: Parked | None = None) -> Parked | None:
        """Done with the host. Who is next gets `parked`; where nobody can use it, it comes back, to be closed."""
        follower = self._schedule.leave_host(visit.wish.host, visit.number)
        if follower is None:
            return parked
        waiting = self._waiting.pop(follower)
        if parked is not None and not _fits(parked.wish, parked.link.host.address, waiting.wish):
            waiting.promise.callback(None)
            return parked
        waiting.promise.callback(parked)
        return None

    # Connections on offer

    def is_empty(self, host: str) -> bool:
        """Whether nobody stands in this line."""
        return self._schedule.next_in_line(host) is None

    def offer(self, host: str) -> Promise:
        """Somebody in this line has a connection to give and will leave soon. Kept when somebody has come for it; to be
        withdrawn where nobody comes."""
        promise = self._promise()
        self._offers.setdefault(host, []).append(promise)
        return promise

    def withdraw(self, host: str, offer: Promise) -> None:
        """The offer does not stand any more; it is kept by this, if it was not before."""
        offers = self._offers.get(host, [])
        if offer in offers:
            offers.remove(offer)
            if not offers:
                del self._offers[host]
            offer.callback(None)

    def _take_offer(self, host: str) -> Promise | None:
        offers = self._offers.get(host)
        if not offers:
            return None
        offer = offers.pop(0)
        if not offers:
            del self._offers[host]
        return offer

    # Hosts that do not go on in clear

    def goes_on(self, host: str, now: float) -> bool:
        """Whether it is worth trying to take TLS down with this host."""
        since = self._not_onward.get(host)
        return since is None or not 0 <= now - since < NOT_ONWARD

    def does_not_go_on(self, host: str, now: float) -> None:
        """A probe failed."""
        self._not_onward = {name: since for name, since in self._not_onward.items() if 0 <= now - since < NOT_ONWARD}
        self._not_onward[host] = now


def _fits(wish: Wish, address: str, wanted: Wish) -> bool:
    return wish == wanted and address in wanted.addresses
