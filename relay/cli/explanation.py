"""How the explanation of an expansion is shown, as lines and as JSON (edge).

A line is `what is written -> what it gave`, and for conditions and lists `what is written: yes` (or no); what is
inside of it stands below, two columns further in. `then` and `else` say which branch was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from relay.expand.explaining import Broke, Gave, Held, Missed, Outcome, Role, Step
from relay.expand.values import Absent, is_tainted
from relay.mail.facts import Certificate
from relay.mail.text import printable

# Columns of a sub-expression as it is written, and of a value.
_WRITTEN = 70
_VALUE = 300
# What goes deeper is not moved further to the right.
_INDENTATION = 20


def as_data(step: Step) -> dict[str, Any]:
    """A step and all below it, for `--json`."""
    told: dict[str, Any] = {"role": step.role.value, "written": step.written}
    match step.outcome:
        case Gave(Certificate() as certificate):
            told["certificate"] = certificate.fingerprint
        case Gave(str() as value):
            told |= {"value": str(value), "tainted": is_tainted(value)}
        case Held(yes, by):
            told |= {"answer": yes, "decided_by": by} if by else {"answer": yes}
        case Missed():
            told["value"] = None
        case Broke(fault, message):
            told |= {"fault": fault.value, "error": message}
    if step.changed:
        told["variables"] = {name: str(value) for name, value in step.changed}
    if step.steps:
        told["steps"] = [as_data(each) for each in step.steps]
    return told


def explanation_lines(step: Step, depth: int = 0) -> Iterator[str]:
    """The lines of a step and of all below it; nothing in them can move a terminal's cursor."""
    margin = "  " * min(depth, _INDENTATION)
    for name, value in step.changed:
        yield f"{margin}with ${name} = {_quoted(value)}"
    yield f"{margin}{_written(step)}{_outcome(step.outcome)}"
    for each in step.steps:
        yield from explanation_lines(each, depth + 1)


def _written(step: Step) -> str:
    text = printable(" ".join(step.written.split()))
    if len(text) > _WRITTEN:
        text = f"{text[: _WRITTEN - 15]} ... {text[-10:]}"
    match step.role:
        case Role.YES | Role.NO:
            return f"{step.role.value} {{{text}}}" if text != "fail" else f"{step.role.value} fail"
        case Role.LOOKUP:
            return f"lookup {text}"
        case Role.TEXT | Role.CONDITION | Role.LIST:
            return text or '""'


def _outcome(outcome: Outcome) -> str:
    match outcome:
        case Gave(value):
            return f" -> {_quoted(value)}"
        case Held(yes, by):
            said = "yes" if yes else "no"
            return f": {said}, by {printable(by)}" if by else f": {said}"
        case Missed():
            return " -> not found"
        case Broke(fault, message):
            return f" -> {fault.value}: {printable(message)}"


def _quoted(value: str | Certificate) -> str:
    if isinstance(value, Certificate):
        return f"the certificate {value.fingerprint}"
    shown = printable(value)
    if len(shown) > _VALUE:
        shown = f"{shown[:_VALUE]}..."
    mark = " (tainted)" if is_tainted(value) else " (of nothing)" if isinstance(value, Absent) else ""
    return f'"{shown}"{mark}'
