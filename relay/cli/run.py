"""`relay run`: the daemon in the foreground, as `twistd -n relay` has it (edge).

Nothing of the daemon is here but its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from relay.cli.reading import configuration_option, macros_option


@click.command(
    "run",
    epilog="""\b
Example:
  relay run -C /etc/fingerpost/fingerpost.conf
""",
)
@configuration_option
@macros_option
@click.pass_context
def command(context: click.Context, configuration: Path, macros: Mapping[str, str]) -> None:
    """Serve until stopped, in the foreground."""
    context.exit(serve(configuration, macros))


def serve(configuration: Path, macros: Mapping[str, str]) -> int:
    """Runs the daemon until it is stopped; its exit status. Raises ConfigurationError."""
    from relay.daemon import service

    return service.run(str(configuration), macros)
