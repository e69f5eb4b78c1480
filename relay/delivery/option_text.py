"""The text of an option of a local transport, and the refusal of what comes from outside (decision)."""

from __future__ import annotations

from relay.delivery.jobs import deferred, misconfigured
from relay.expand.errors import ExpansionFailed, ForcedFailure
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.expand.values import is_tainted
from relay.mail.ports import TemporaryFailure
from relay.mail.text import printable

_USE_DATA = "use $local_part_data and $domain_data"


async def expanded(expansion: Expansion, scope: Scope, what: str, transport: str) -> str:
    """The text of an option. Raises NotDelivered in Exim's words, and ForcedFailure."""
    try:
        return await expansion.text(scope)
    except ForcedFailure:
        raise
    except (ExpansionFailed, TemporaryFailure) as error:
        shown = printable(expansion.source, 200)
        text = f'Expansion of "{shown}" ({what} for {transport} transport) failed: {error}'
        raise (deferred if isinstance(error, TemporaryFailure) else misconfigured)(text) from error


def no_taint(text: str, what: str, transport: str) -> str:
    """The text, unless it comes from outside. Raises NotDelivered."""
    if is_tainted(text):
        shown = printable(text, 200)
        raise misconfigured(f"Tainted '{shown}' ({what} for {transport} transport) not permitted ({_USE_DATA})")
    return text
