"""What is remembered of hosts and addresses from one attempt, or one connection, to the next (disk).

A hint is advice with an end: a queue without its hints delivers the same mail, only with more failing
attempts. Keys are of Exim's retry database: `HOST` for a host by name, address and port, `ADDRESS` for a
recipient, `DOMAIN` for a routing failure. The value is JSON under one version; one that can't be read counts
as none.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from relay.mail.ports import HintChange
from relay.spool.store import Reading, Transaction

T = TypeVar("T")


class Kind(enum.Enum):
    """What a retry hint is about."""

    HOST = "retry-host"
    ADDRESS = "retry-address"
    DOMAIN = "retry-domain"


@dataclass(frozen=True, slots=True)
class RetryHint:
    """When and why this key failed; times in seconds since the epoch."""

    first_failed: float
    last_try: float
    next_try: float
    reason: str = ""
    error: str = ""
    """The ErrorClass' word."""
    exhausted: bool = False
    """The last cutoff of its retry rule has passed."""
    mark: str = ""
    """Of the file that stood for the records when this one was made."""


def retry_hint(reading: Reading, kind: Kind, key: str, now: float) -> RetryHint | None:
    """The hint that is in force at `now`."""
    text = reading.hint(kind.value, key, now)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        return RetryHint(
            first_failed=float(fields["first"]),
            last_try=float(fields["last"]),
            next_try=float(fields["next"]),
            reason=str(fields.get("why", "")),
            error=str(fields.get("error", "")),
            exhausted=bool(fields.get("over", False)),
            mark=str(fields.get("mark", "")),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def keep_retry_hint(transaction: Transaction, kind: Kind, key: str, hint: RetryHint, keep: float) -> None:
    """Remembers the hint until `keep` seconds after its next try (Exim: retry_data_expire, 7 days)."""
    fields: dict[str, object] = {"first": hint.first_failed, "last": hint.last_try, "next": hint.next_try}
    if hint.reason:
        fields["why"] = hint.reason
    if hint.error:
        fields["error"] = hint.error
    if hint.exhausted:
        fields["over"] = True
    if hint.mark:
        fields["mark"] = hint.mark
    transaction.put_hint(kind.value, key, json.dumps(fields, separators=(",", ":")), hint.next_try + keep)


def forget_retry_hint(transaction: Transaction, kind: Kind, key: str) -> None:
    """A success ends what was remembered."""
    transaction.remove_hint(kind.value, key)


# Other hints, whose text is their owner's business (`mail/ports.py`, Hints).


def change_hint(
    transaction: Transaction, kind: str, key: str, now: float, step: Callable[[str | None], HintChange[T]]
) -> T:
    """Reads a hint and writes what `step` makes of it; nobody comes between, as writers come one after the other."""
    change = step(transaction.hint(kind, key, now))
    if change.text is not None:
        transaction.put_hint(kind, key, change.text, change.expires)
    return change.answer
