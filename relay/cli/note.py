"""A line of an administrator's in the main log (edge)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from relay.cli.print_options import is_administrator
from relay.cli.reading import understand_configuration
from relay.daemon.alone import run_without_queue
from relay.daemon.build import Relay
from relay.mail.events import DaemonNote


def write_note(configuration: str, macros: Mapping[str, str], text: str) -> int:
    """Writes it; the exit status, 1 for who is no administrator (Exim: -z). Raises ConfigurationError."""
    if not is_administrator(understand_configuration(Path(configuration), macros).configuration):
        return 1

    async def work(relay: Relay) -> int:
        relay.journal.record(DaemonNote(text))
        return 0

    return run_without_queue(configuration, macros, work)
