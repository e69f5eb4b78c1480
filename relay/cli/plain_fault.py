"""A configuration that can't be used, told as Exim tells it: to those who call this program by Exim's name (edge).

Exim stops at its first mistake: `Exim configuration error in line 7 of FILE:`, then what is wrong, on standard error
and in the panic log. `relay check` and our own names for the command say everything at once, and what to do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from enum import Enum

from relay.mail.source import ConfigurationError, Location, Problem, Severity
from relay.mail.text import printable


class Audience(Enum):
    """Who reads of the fault."""

    TESTER = "tester"
    """Somebody who asks what would happen (-bV, -bt, -bh): only standard error."""
    OPERATOR = "operator"
    """The panic log as well."""
    WATCHER = "watcher"
    """Who watches log lines being written (-v, -bP) sees this one in their form; it is in the panic log as well."""


def tell(error: ConfigurationError, audience: Audience, path: str, macros: Mapping[str, str]) -> None:
    """Writes the fault on standard error, and in the panic log where the configuration has named one before."""
    for problem in _first(error):
        text = f"{_heading(problem)}:\n  {printable(problem.what)}\n"
        stamped = time.strftime("%Y-%m-%d %H:%M:%S ") + text
        if audience is Audience.WATCHER:
            # Exim ends a little later where a macro is wrong, and says so.
            dies = "" if problem.what.startswith("macro ") else " DIE"
            stated = f"LOG: PANIC{dies}\n  {text}"
        else:
            stated = stamped
        sys.stderr.write(stated)
        if audience is not Audience.TESTER:
            _log(stamped, problem.location, path, macros)


def _first(error: ConfigurationError) -> tuple[Problem, ...]:
    """The mistake that Exim would stop at; where there is none, all that is not served, which Exim would serve."""
    errors = [each for each in error.problems if each.severity is Severity.ERROR]
    mistakes = [each for each in errors if each not in error.obstacles]
    return tuple(mistakes[:1] or errors)


def _heading(problem: Problem) -> str:
    if problem.subject is not None:
        return "Exim configuration error" + (f" for {printable(problem.subject)}" if problem.subject else "")
    location = problem.location
    line = max(location.last, location.line)
    return f"Exim configuration error in line {line} of {location.file}" if line else "Exim configuration error"


def _log(text: str, place: Location, path: str, macros: Mapping[str, str]) -> None:
    """Into the panic log; nowhere if its place is not known yet, or can't be written to."""
    from relay.observe.files import open_logs
    from relay.observe.line import Log

    known = _settings_before(place, path, macros)
    spool = known.get("spool_directory", "")
    log_file_path = known.get("log_file_path", "").replace("$spool_directory", spool)
    if not (log_file_path or spool) or "$" in log_file_path + spool:
        return
    try:
        open_logs(log_file_path, spool).write(Log.PANIC, text.encode(), time.time())
    except ValueError:
        return


def _settings_before(place: Location, path: str, macros: Mapping[str, str]) -> Mapping[str, str]:
    """What the main section sets above the place of the fault, as it is written."""
    from relay.config.built_in import built_in_macros
    from relay.config.options import BadValue, read_setting, written_text
    from relay.config.syntax import MAIN, read_text

    def read(name: str) -> str:
        with open(name, encoding="utf-8") as file:
            text = file.read()
        return "".join(text.splitlines(keepends=True)[: place.line - 1]) if name == place.file else text

    found: dict[str, str] = {}
    for line in read_text(os.path.abspath(path), read, macros.items(), built_in_macros()).section(MAIN):
        if line.location.file == place.file and 0 < place.line <= line.location.line:
            break
        try:
            setting = read_setting(line.text)
        except BadValue:
            continue
        found[setting.name] = written_text(setting)
    return found
