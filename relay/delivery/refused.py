"""A host that does not get a message now, and why (values)."""

from __future__ import annotations

from relay.mail.outcome import Deferred, Failed


class HostRefused(Exception):
    """This host is out for this message; the outcome is the same for all recipients. `notes` are for the log."""

    def __init__(self, outcome: Deferred | Failed, notes: tuple[str, ...] = ()) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.notes = notes
