"""What a command prints: JSON for programs, aligned lines for people (edge).

Everything that came from a peer or out of a certificate is escaped on its way to a terminal (`printable`);
JSON escapes by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from relay.mail.text import printable

F = TypeVar("F", bound=Callable[..., object])


def json_option(function: F) -> F:
    """`--json`, the same in every command that prints data."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def print_json(data: Any) -> None:
    """One JSON document in ASCII, so that no terminal is moved by it."""
    click.echo(json.dumps(data, indent=2))


def print_pairs(pairs: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """Names and values in two columns; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{indent}{name:<{width}}  {printable(value)}")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with left-aligned columns; the last one may be of any length."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
