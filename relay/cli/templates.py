"""Configurations that we write are the samples of `conf/`, with the macros at their top filled in (edge).

A sample is Exim's language and stands on its own; what differs from one machine to the next is in macro
definitions (`HOSTNAME = relay.example.org`) before the first option. Only those lines are changed, so that
what a person finds in the file is the commented text of the sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

import click

from relay.cli.faults import Fault

_DEFINITION = re.compile(r"^(?P<name>[A-Z][A-Za-z0-9_]*)(?P<equals>[ \t]*=[ \t]*)(?P<value>.*)$", re.MULTILINE)

# What Exim's reader or its expansions would take for more than a character of a name.
_UNSAFE = re.compile(r"[^A-Za-z0-9_./@+,=~%:\[\] -]")
_UNSAFE_IN_PATH = re.compile(r"[^A-Za-z0-9_./@+,=~%-]")


def read_template(name: str) -> str:
    """The text of `relay.conf` or `laptop.conf`."""
    try:
        return (resources.files("relay.cli") / "templates" / name).read_text("utf-8")
    except OSError as error:
        raise Fault(
            "the sample configuration is missing from this installation",
            where=name,
            remedy="install it again",
        ) from error


def defined_macros(text: str) -> dict[str, str]:
    """The macros that a configuration defines, by name, with the value as it stands."""
    return {match["name"]: match["value"].strip() for match in _DEFINITION.finditer(text)}


def fill(text: str, values: Mapping[str, str]) -> str:
    """The configuration with these macros set to these values.

    Raises Fault where the text has no such macro (or twice), where a value can't be written in Exim's
    language, or where it contains the name of a macro, which Exim would replace.
    """
    names = [match["name"] for match in _DEFINITION.finditer(text)]
    for name, value in values.items():
        if names.count(name) != 1:
            raise Fault(f"macro {name} is to be defined once, and is {names.count(name)} times")
        check_value(value)
        inside = next((each for each in names if each in value), "")
        if inside:
            raise Fault(f"{value!r} contains {inside}, the name of a macro", remedy="choose another name")

    def with_value(match: re.Match[str]) -> str:
        value = values.get(match["name"])
        return match.group() if value is None else f"{match['name']} = {value}".rstrip()

    return _DEFINITION.sub(with_value, text)


def check_value(value: str) -> None:
    """Raises Fault for text that would mean something else inside a configuration."""
    found = _UNSAFE.search(value)
    if found:
        raise Fault(f"{value!r} can't stand in a configuration: it has the character {found.group()!r}")


def check_path(path: str) -> None:
    """The same for a path, which may have neither a space nor a colon: both separate the items of a list."""
    found = _UNSAFE_IN_PATH.search(path)
    if found:
        raise click.UsageError(
            f"{path!r} can't be named in a configuration: it has the character {found.group()!r}; choose another path"
        )
