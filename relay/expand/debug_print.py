"""Text that a configuration has for who watches, at its place in the work (decision).

Exim: debug_print_string. Where nobody watches nothing is expanded.
"""

from __future__ import annotations

from relay.expand.errors import ExpansionFailed
from relay.expand.evaluate import Expansion
from relay.expand.scope import Scope
from relay.mail.ports import TemporaryFailure, Watch
from relay.mail.text import printable


async def tell_watcher(text: Expansion | None, scope: Scope, watch: Watch | None) -> None:
    """Tells what the text says, line by line; an expansion that fails is told, and nothing depends on it."""
    if text is None or (watch is None and scope.notes is None):
        return
    try:
        said = await text.text(scope)
    except (ExpansionFailed, TemporaryFailure) as error:
        said = f'failed to expand debug_output "{text.source}": {error}'
    if not said:
        return
    shown = "\n".join(printable(line) for line in said.removesuffix("\n").split("\n"))
    if scope.notes is not None:
        scope.notes.say_at_margin(shown)
    elif watch is not None:
        watch(shown)
