"""How often somebody may be wrong about a password: by address and by name, in bounded memory (decision).

Each is a leaky bucket of failures. An attempt is counted when it begins and given back when it did not fail, so that a
hundred connections at once get no more guesses than one. A name that a stranger guesses at stays open to those
addresses from which it has been right before: nobody can lock a user out of where he works.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Failures that are let pass at once, and in how many seconds one of them is forgotten."""

    per_address: int = 10
    address_forgets: float = 60.0
    per_name: int = 20
    name_forgets: float = 60.0
    first_pause: float = 1.0
    """Seconds that the first failure costs; each further one from the address costs twice the last."""
    longest_pause: float = 16.0
    size: int = 10_000
    """Addresses, names and good pairs of both that are remembered, each; the longest untouched goes first."""


class _Buckets:
    """Failures by key."""

    def __init__(self, burst: int, forgets: float, size: int) -> None:
        self._burst = burst
        self._forgets = forgets
        self._size = size
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def level(self, key: str, now: float) -> float:
        """Failures that are not forgotten yet."""
        level, at = self._levels.get(key, (0.0, now))
        # A clock that was set back forgets nothing.
        return max(0.0, level - max(0.0, now - at) / self._forgets)

    def wait(self, key: str, now: float) -> float:
        """Seconds until another failure fits in, 0 if one does now."""
        return max(0.0, self.level(key, now) + 1 - self._burst) * self._forgets

    def add(self, key: str, amount: float, now: float) -> None:
        level = max(0.0, self.level(key, now) + amount)
        self._levels.pop(key, None)
        if level:
            self._levels[key] = (level, now)
        while len(self._levels) > self._size:
            self._levels.popitem(last=False)

    def __len__(self) -> int:
        return len(self._levels)


class FailureLimits:
    """What is remembered of failed attempts. One for a process; `now` in seconds, of any clock."""

    def __init__(self, settings: LimitSettings | None = None) -> None:
        self._settings = settings = settings or LimitSettings()
        self._addresses = _Buckets(settings.per_address, settings.address_forgets, settings.size)
        self._names = _Buckets(settings.per_name, settings.name_forgets, settings.size)
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def address_wait(self, address: str, now: float) -> float:
        """Seconds until the address may try again, 0 for now."""
        return self._addresses.wait(_place(address), now)

    def admit(self, address: str, name: str, now: float) -> float:
        """Counts an attempt that begins. Seconds to wait instead, 0 where it may be made."""
        place = _place(address)
        wait = self._addresses.wait(place, now)
        if (place, name) not in self._good:
            wait = max(wait, self._names.wait(name, now))
        if wait == 0.0:
            self._addresses.add(place, 1.0, now)
            self._names.add(name, 1.0, now)
        return wait

    def give_back(self, address: str, name: str, now: float) -> None:
        """The attempt that was admitted came to nothing, or to no guess."""
        self._addresses.add(_place(address), -1.0, now)
        self._names.add(name, -1.0, now)

    def succeeded(self, address: str, name: str, now: float) -> None:
        """The attempt that was admitted was right."""
        self.give_back(address, name, now)
        self._good.pop(key := (_place(address), name), None)
        self._good[key] = None
        while len(self._good) > self._settings.size:
            self._good.popitem(last=False)

    def pause(self, address: str, now: float) -> float:
        """Seconds that a failure costs now, this one counted."""
        failures = self._addresses.level(_place(address), now)
        # The exponent is bounded before it is used: 2**failures may be no number.
        doublings = min(max(failures - 1.0, 0.0), 32.0)
        return float(min(self._settings.longest_pause, self._settings.first_pause * 2.0**doublings))

    @property
    def remembered(self) -> int:
        """Entries of all three kinds, for metrics."""
        return len(self._addresses) + len(self._names) + len(self._good)


def _place(address: str) -> str:
    """Whom an address stands for: IPv4 itself, IPv6 its /64, which is what one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
