"""Timers that nobody can set (edge).

Twisted's reactors count time by the wall clock. Where somebody sets it (a first NTP answer, a dead battery, an
administrator), every timer of such a reactor rings at once or not for years: sessions are cut, deadlines are never
reached. So the programs that own their reactor let it count by the machine's steady clock. Who uses our factories in a
program of his own keeps the reactor as he made it.
"""

from __future__ import annotations

import time
from typing import Any


def use_steady_clock(reactor: Any) -> None:
    """From now on the reactor's time is the steady clock's. To be called before anything is to be called later:
    where something is, the reactor is left as it is."""
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
