"""Event actions that write down what they are told."""

from __future__ import annotations

from typing import Any

from relay.expand.evaluate import compile_expansion
from relay.mail.events import WrittenByACL
from relay.mail.source import BUILT_IN
from relay.policy.acl import compile_text
from relay.policy.event_action import EventAction

SHOWN = "$event_name <$event_data> $local_part@$domain $host_address"


def action(journal: Any, transport: str = "", *, shown: str = SHOWN, says: str = "") -> EventAction:
    """Writes `shown` into the log, and has `says` for an answer."""
    lines = ["accept logwrite = " + shown, *(["message = " + says] if says else [])]
    acl = compile_text("note", [(BUILT_IN, line) for line in lines], None)
    return EventAction(compile_expansion("${acl {note}}"), transport, {"note": acl}, journal, None)  # type: ignore[arg-type]


def told(journal: Any) -> list[str]:
    """What was written, in order."""
    return [each.text for each in journal.events if isinstance(each, WrittenByACL)]
