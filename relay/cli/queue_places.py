"""What the commands of `relay queue` have in common: which queue, and how their faults are told (edge)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import click

from relay.cli.arguments import read_time
from relay.cli.faults import Fault
from relay.cli.locate import spool_directory
from relay.cli.queue_access import (
    Denied,
    NotServed,
    Place,
    QueueChanging,
    QueueReading,
    StoreReading,
    changing,
    reading,
)
from relay.cli.reading import configuration_option, macros_option

F = TypeVar("F", bound=Callable[..., object])


def place_options(function: F) -> F:
    """`-C FILE` and `-D NAME=value`."""
    return configuration_option(macros_option(function))


def age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """The callback of an option that is a length of time in Exim's form; seconds."""
    try:
        return None if value is None else read_time(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time, as in 90s, 2h, 1d12h") from None


@contextlib.contextmanager
def told_as_faults() -> Iterator[None]:
    """What the queue or the daemon refuses becomes the one line that the user gets."""
    try:
        yield
    except Denied:
        raise Fault("you may not", remedy="run it as root, or as a member of one of admin_groups") from None
    except NotServed as error:
        raise Fault(str(error)) from None


@contextlib.contextmanager
def open_reading(configuration: Path, macros: Mapping[str, str]) -> Iterator[QueueReading]:
    """The queue to look at."""
    with told_as_faults():
        queue = reading(place_of(configuration, macros))
        try:
            if isinstance(queue, StoreReading):
                queue.require()
            yield queue
        finally:
            queue.close()


@contextlib.contextmanager
def open_changing(configuration: Path, macros: Mapping[str, str]) -> Iterator[QueueChanging]:
    """The queue to change."""
    with told_as_faults():
        yield changing(place_of(configuration, macros))


def place_of(configuration: Path, macros: Mapping[str, str]) -> Place:
    """Which queue it is. Raises OSError."""
    return Place(configuration, macros, spool_directory(str(configuration), macros))


def the_queue(count: int) -> str:
    """How many messages, in words."""
    return f"{count} message{'' if count == 1 else 's'}"

