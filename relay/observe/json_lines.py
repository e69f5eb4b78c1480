"""Events as JSON, one object a line, for programs that read logs (edge).

Field names are those of the events and facts. Certificates appear as fingerprint, key digest and names,
never as DER, and a channel binding never appears. Everything outside ASCII and every control character is
escaped by JSON itself.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from relay.mail.address import Address
from relay.mail.events import Event
from relay.mail.facts import Certificate, NotAsked, SessionFacts, TLSFacts, Unverified, Verified
from relay.mail.ports import Clock
from relay.mail.reply import Reply
from relay.observe.files import Sink
from relay.observe.line import Log

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HIDDEN = frozenset({"binding", "der"})


def event_name(event: Event) -> str:
    """`address_delivered` for AddressDelivered, `tls_started` for TLSStarted."""
    return _WORD_START.sub("_", type(event).__name__).lower()


def as_json(value: object) -> Json:
    """A value of `relay.mail` as what JSON can hold; None fields and empty texts are left out."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Address():
            return str(value)
        case Reply():
            return str(value)
        case Certificate():
            return {
                "fingerprint": value.fingerprint,
                "key_digest": value.key_digest,
                "subject": value.subject,
                "issuer": value.issuer,
            }
        case Verified() | Unverified() | NotAsked():
            return type(value).__name__.lower()
        case enum.Enum():
            return as_json(value.value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): as_json(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(each) for each in value]
        case _ if dataclasses.is_dataclass(value):
            return _fields(value)
        case _:
            return str(value)


def _fields(value: object) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name in getattr(value, "__dataclass_fields__", ()):
        each = getattr(value, name)
        if name in _HIDDEN or each is None or each == "" or each == ():
            continue
        found[name] = as_json(each)
    if isinstance(value, TLSFacts) and isinstance(value.verification, Unverified):
        found["why_unverified"] = value.verification.reason
    if isinstance(value, SessionFacts):
        found["protocol"] = value.protocol()
    return found


class JSONLines:
    """An observer that writes each event as a line of JSON."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    def record(self, event: Event) -> None:
        """Writes the event."""
        now = self._clock.now()
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        row: dict[str, Json] = {"time": moment, "event": event_name(event), **_fields(event)}
        self._sink.write(Log.MAIN, (json.dumps(row, separators=(",", ":")) + "\n").encode("ascii"), now)

    def reopen(self) -> None:
        """After a rotation."""
        self._sink.reopen()
