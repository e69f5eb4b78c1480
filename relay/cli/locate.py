"""Where the queue of a configuration is, found without compiling the configuration (edge).

A program that hands mail over needs one path and should not wait for a whole configuration to be read. A
short scan follows macros and continuation lines up to the `spool_directory` setting; whatever it does not
understand it leaves to the real reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MACRO = re.compile(r"([A-Z][A-Za-z0-9_]*)\s*(==?)\s*(.*)", re.DOTALL)
_SETTING = re.compile(r"(?:hide\s+)?spool_directory\s*=\s*(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"\.[a-z]")


class NotFound(Exception):
    """The text does not say in plain words where the queue is."""


def scan_spool_directory(text: str, macros: Mapping[str, str]) -> str:
    """The value of `spool_directory` in a configuration's text. NotFound where it takes the real reader to
    know."""
    known = dict(macros)
    for line in _logical_lines(text):
        if line.split(None, 1)[:1] == ["begin"]:
            break
        if _DIRECTIVE.match(line):
            raise NotFound("a directive comes before it")
        macro = _MACRO.fullmatch(line)
        if macro is not None:
            name, sign, value = macro.groups()
            # What -D defined stays; "==" gives a new value to what the file defined.
            if name not in macros and (name not in known or sign == "=="):
                known[name] = _substituted(value, known)
            continue
        setting = _SETTING.fullmatch(_substituted(line, known))
        if setting is not None:
            value = setting.group(1).strip()
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if not value.startswith("/") or "$" in value or "\\" in value:
                raise NotFound("its value is not a plain path")
            return value
    raise NotFound("it is not set")


def _substituted(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        if name in text:
            text = text.replace(name, value)
    return text


def _logical_lines(text: str) -> list[str]:
    """Lines joined over backslashes, without comments and empty lines."""
    lines: list[str] = []
    joined = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("#") or (not line and not joined):
            continue
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        lines.append(joined + line)
        joined = ""
    if joined:
        lines.append(joined)
    return lines


def spool_directory(path: str, macros: Mapping[str, str]) -> str:
    """The spool directory of a configuration file. Raises OSError, UnicodeError, or ConfigurationError."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return scan_spool_directory(text, macros)
    except NotFound:
        return _read_spool_directory(path, macros)


def _read_spool_directory(path: str, macros: Mapping[str, str]) -> str:
    """The same by the real reader, which takes its time."""
    from pathlib import Path

    from relay.cli.reading import expanded_options, understand_configuration

    return expanded_options(understand_configuration(Path(path), macros).configuration)["spool_directory"]
