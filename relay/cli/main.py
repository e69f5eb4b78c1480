"""The command `relay`: a table of its subcommands, each imported when it is called (edge).

`relay --help` answers from the table alone, so that it costs no more than click does. A new command is a
row here and a module whose click command has the same first line of help (a test compares).
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from relay import __version__
from relay.cli.faults import Fault, fault_of_system
from relay.mail.ports import TemporaryFailure
from relay.mail.source import ConfigurationError
from relay.mail.text import printable


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a subcommand is, and its line in the list."""

    module: str
    summary: str


COMMANDS: Mapping[str, Entry] = {
    "init": Entry("relay.cli.init", "Make a working relay or laptop: configuration, key, certificate."),
    "run": Entry("relay.cli.run", "Serve until stopped, in the foreground."),
    "check": Entry("relay.cli.check", "Compile a configuration and say everything that is wrong with it."),
    "cert": Entry("relay.cli.cert", "Show certificates, or make a new one."),
    "password": Entry("relay.cli.password", "Make, change or remove an entry of a password file."),
    "queue": Entry("relay.cli.queue", "Look at the messages that wait, and change them."),
    "expand": Entry("relay.cli.expand", "Expand strings as the configuration would."),
    "demo": Entry("relay.cli.demo", "Run a relay and a laptop here and send a first message through both."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The module's object `command`."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry.module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help text, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name where there is none such."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            nearest = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(COMMANDS)}"
            ctx.fail(f"no command {printable(name, 60)!r}; {hint}")
        return super().resolve_command(ctx, args)


EPILOG = """\b
Example, a relay and a laptop on this machine:
  relay demo --dir ./run
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="Fingerpost", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the trace of an unexpected error.")
def relay(debug: bool) -> None:
    """A mail relay whose trust is certificates.

    Every command explains itself with --help.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0 done, 1 could not be done, 2 wrong command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = relay.main(words, prog_name="relay", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        return _usage(error)
    except click.Abort:
        click.echo("relay: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: no user meets a traceback unasked
        return _failed(error, debug="--debug" in words)
    return status if isinstance(status, int) else 0


def _usage(error: click.UsageError) -> int:
    context = error.ctx
    path = context.command_path if context else "relay"
    click.echo(f"relay: {error.format_message()} (see: {path} --help)", err=True)
    return error.exit_code


def _failed(error: Exception, *, debug: bool) -> int:
    match error:
        case click.ClickException():
            lines, status = error.format_message(), error.exit_code
        case ConfigurationError() | TemporaryFailure():
            lines, status = str(error), 1
        case OSError():
            lines, status = fault_of_system(error).format_message(), 1
        case _:
            what = printable(f"{type(error).__name__}: {error}", 300)
            remedy = "" if debug else "run `relay --debug …` for the trace, and report it"
            lines, status = Fault(f"unexpected error, {what}", remedy=remedy).format_message(), 1
    for line in lines.splitlines():
        click.echo(f"relay: {line}", err=True)
    if debug:
        traceback.print_exception(error)
    return status


if __name__ == "__main__":
    sys.exit(main())
