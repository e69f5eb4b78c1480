"""The journal that everything records into: one event to every observer (edge).

An observer that raises never breaks the mail: its failure is counted and said once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.mail.events import Event
from relay.mail.ports import Journal
from relay.observe.files import complain


class FanOut:
    """A `Journal` that hands each event to its observers in their order."""

    def __init__(self, observers: Sequence[Journal], *, complain: Callable[[str], None] = complain) -> None:
        self._observers = tuple(observers)
        self._complain = complain
        self._complained: set[int] = set()
        self.failures = 0
        """Events that some observer failed on."""

    def record(self, event: Event) -> None:
        """Never raises."""
        for number, observer in enumerate(self._observers):
            try:
                observer.record(event)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a log, the message goes on
                self.failures += 1
                if number not in self._complained:
                    self._complained.add(number)
                    name = type(observer).__name__
                    self._complain(f"{name} failed on {type(event).__name__}: {type(error).__name__}: {error}")
