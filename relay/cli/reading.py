"""How a command reads the configuration: which file, with which macros, and what is printed when it is
wrong (edge).

`relay.config` is imported here, inside of functions, so that a command which only prints its help stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from relay.cli.faults import Fault
from relay.cli.places import default_configuration
from relay.daemon.configuration_file import read_file

if TYPE_CHECKING:
    from relay.config.read import Configuration, Understood

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def _existing(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    path = (value or default_configuration()).absolute()
    if not path.exists():
        raise Fault("no such file", where=path, remedy="name a configuration with -C, or make one: relay init --help")
    return path


def _definitions(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, str]:
    macros: dict[str, str] = {}
    for each in values:
        name, _, text = each.partition("=")
        name = name.strip()
        if not name[:1].isupper() or not name.replace("_", "a").isalnum():
            raise click.BadParameter(f"{each!r} is no macro definition, as in NAME=value")
        macros[name] = text.strip()
    return macros


def configuration_option(function: F) -> F:
    """`-C FILE`, the same in every command; the file that is read otherwise is
    `places.default_configuration`."""
    return click.option(
        "-C",
        "--configuration",
        "configuration",
        type=click.Path(path_type=Path),
        callback=_existing,
        metavar="FILE",
        help="The configuration (default: one's own, else /etc/fingerpost/fingerpost.conf).",
    )(function)


def _own_or_none(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    path = (value or default_configuration()).absolute()
    if value is not None and not path.exists():
        raise Fault("no such file", where=path, remedy="check the path")
    return path if path.exists() else None


def optional_configuration_option(function: F) -> F:
    """`-C FILE` of a command that can do without any configuration."""
    return click.option(
        "-C",
        "--configuration",
        "configuration",
        type=click.Path(path_type=Path),
        callback=_own_or_none,
        metavar="FILE",
        help="The configuration (default: one's own, else the system's, else none).",
    )(function)


def macros_option(function: F) -> F:
    """`-D NAME=value`, as Exim has it."""
    return click.option(
        "-D", "macros", multiple=True, callback=_definitions, metavar="NAME=VALUE", help="Define a macro."
    )(function)


def read_configuration(path: Path, macros: Mapping[str, str] | None = None) -> Configuration:
    """The compiled configuration. Raises ConfigurationError with every problem in it."""
    from relay.config.read import read_configuration as read

    return read(str(path), read_file, macros or {})


def understand_configuration(path: Path, macros: Mapping[str, str] | None = None) -> Understood:
    """The configuration for those who look at it and deliver nothing. Raises ConfigurationError for mistakes,
    not for what is not served."""
    from relay.config.read import understand_configuration as understand

    return understand(str(path), read_file, macros or {})


def expanded_options(configuration: Configuration) -> Mapping[str, str]:
    """The main options that expansions can read, by name."""
    return configuration.static


def answer(question: Coroutine[Any, Any, T]) -> T:
    """The result of a decision whose ports answer at once: a command waits for nothing."""
    try:
        question.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    question.close()
    raise Fault("this needs an answer from the network, which this command does not ask for")
