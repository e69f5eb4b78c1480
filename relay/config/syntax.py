"""Exim's configuration text as logical lines that know where they came from (machine).

Here stands what happens before a line means anything: joining, comments, macros, conditionals, includes,
sections. The reader works on physical lines in Exim's order (macros are replaced first, then a comment or a
directive is recognised, then the line is joined to what it continues), because a configuration may depend on
it. Files come from a callable, so that nothing here touches a disk. Every mistake becomes a `Problem`; the
reader goes on behind it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from relay.mail.source import Location, Problem
from relay.policy.words import nearest

FileReader = Callable[[str], str]
"""Gives the text of a file, or raises OSError (FileNotFoundError where there is none) or ValueError."""

INCLUDE_DEPTH = 20
INCLUDED_FILES = 500
CONDITION_DEPTH = 64
LINE_LIMIT = 1 << 20
"""Characters of one logical line after macros: three macros that name each other can double it every time."""
PROBLEM_LIMIT = 200
MACRO_NAME_LIMIT = 63

SECTIONS = ("acl", "authenticators", "local_scan", "retry", "rewrite", "routers", "transports")
MAIN = ""
_WITHOUT_MACRO_DEFINITIONS = frozenset({"retry", "rewrite"})

_SPACE = " \t\r\v\f"
_BYTE_ORDER_MARK = "\ufeff"
_DEFINITION = re.compile(r"([A-Z][A-Za-z0-9_]*)[ \t]*(==?)[ \t]*")
_DEFINITION_HEAD = re.compile(r"[A-Z][A-Za-z0-9_]*[ \t]*(?==)")
_MACRO_START = re.compile(r"_?[A-Z]")
_DIRECTIVE = re.compile(r"\.(ifdef|ifndef|elifdef|elifndef|else|endif)(?:[ \t]|$)")
_INCLUDE = re.compile(r"\.include(_if_exists)?[ \t]+(.*)")
_BEGIN = re.compile(r"begin[ \t]+(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """A line after joining and macro replacement, without surrounding space; never empty."""

    location: Location
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """The lines from one `begin` to the next; `name` is "" for the main section."""

    name: str
    location: Location
    lines: tuple[LogicalLine, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationText:
    """What was read: sections in the order of the file (the main one first), macros as they stood at the end."""

    sections: tuple[Section, ...]
    macros: Mapping[str, str]
    files: tuple[str, ...]
    problems: tuple[Problem, ...]
    listing: tuple[str, ...] = ()
    """All logical lines, macro definitions and `begin` too, with `# NUMBER "FILE"` where a file begins or goes
    on."""

    def section(self, name: str) -> tuple[LogicalLine, ...]:
        """The lines of a section; none where it does not occur."""
        for each in self.sections:
            if each.name == name:
                return each.lines
        return ()


@dataclass(slots=True)
class _Macro:
    replacement: str
    from_command_line: bool


@dataclass(slots=True)
class _Source:
    """A file that is being read: its lines, and the number of the next one."""

    name: str
    lines: list[str]
    next: int = 0


@dataclass(slots=True)
class _Condition:
    """One open `.ifdef`: where it stands, whether its branch is read, whether a branch was read already."""

    location: Location
    outer_active: bool
    active: bool
    settled: bool


@dataclass(slots=True)
class _Joining:
    """The logical line that is being put together."""

    location: Location
    parts: list[str] = field(default_factory=list)
    length: int = 0
    last: int = 0


def read_text(
    path: str,
    reader: FileReader,
    macros: Iterable[tuple[str, str]] = (),
    built_in: Mapping[str, str] | None = None,
) -> ConfigurationText:
    """Reads a configuration file and all that it includes.

    `macros` are those of the command line (`-D`): they win over definitions in the file. `built_in` holds the
    names that start with an underscore (`_HAVE_TLS`). A problem of the text is in the result, never raised.
    """
    return _TextReader(reader, macros, built_in or {}).read(path)


class _TextReader:
    """One reading. The order of `_macros` is the order of definition, in which they are replaced."""

    def __init__(self, reader: FileReader, macros: Iterable[tuple[str, str]], built_in: Mapping[str, str]) -> None:
        self._reader = reader
        self._built_in = built_in
        self._built_in_pattern: re.Pattern[str] | None = None
        self._macros = {name: _Macro(text, True) for name, text in macros if name}
        self._stack: list[_Source] = []
        self._files: list[str] = []
        self._conditions: list[_Condition] = []
        self._problems: list[Problem] = []
        self._joining: _Joining | None = None
        self._section_name = MAIN
        self._section_start = Location("")
        self._section_lines: list[LogicalLine] = []
        self._sections: list[Section] = []
        self._listing: list[str] = []

    def read(self, path: str) -> ConfigurationText:
        self._section_start = Location(path)
        self._open(path, Location(path))
        while self._stack and len(self._problems) < PROBLEM_LIMIT:
            source = self._stack[-1]
            if source.next >= len(source.lines):
                self._stack.pop()
                if self._stack:
                    self._list_position(self._stack[-1].name, self._stack[-1].next)
                continue
            source.next += 1
            if source.next == 1:
                self._list_position(source.name, 1)
            self._physical_line(source.lines[source.next - 1], Location(source.name, source.next))
        self._finish_line()
        for condition in self._conditions:
            self._complain(condition.location, ".endif is missing", "end the conditional part with .endif")
        self._finish_section()
        return ConfigurationText(
            tuple(self._sections),
            {name: macro.replacement for name, macro in self._macros.items()},
            tuple(self._files),
            tuple(self._problems),
            tuple(self._listing),
        )

    def _list_position(self, name: str, line: int) -> None:
        self._listing.append(f'# {line} "{name}"')

    def _complain(self, location: Location, what: str, remedy: str = "") -> None:
        self._problems.append(Problem(location, what, remedy))

    def _open(self, path: str, location: Location, *, optional: bool = False) -> bool:
        """Whether the file is there to be read."""
        try:
            text = self._reader(path)
        except (OSError, ValueError) as error:
            if not (optional and isinstance(error, FileNotFoundError)):
                reason = getattr(error, "strerror", None) or str(error)
                what = f"failed to open {'included ' if location.line else ''}configuration file {path}"
                self._complain(location, what, f"{reason}: correct its name or its permissions")
            return False
        self._files.append(path)
        self._stack.append(_Source(path, text.removesuffix("\n").split("\n")))
        return True

    # Physical lines

    def _physical_line(self, raw: str, location: Location) -> None:
        if location.line == 1 and raw.startswith(_BYTE_ORDER_MARK):
            self._complain(location, "found unexpected BOM (Byte Order Mark)", "save the file without it")
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        text, replaced = self._replace_macros(raw.lstrip(_SPACE), location)
        text = text.lstrip(_SPACE)
        if text.startswith("#"):
            return
        if text.startswith("."):
            directive = _DIRECTIVE.match(text)
            if directive:
                self._condition(directive.group(1), replaced, location)
                return
        if self._conditions and not self._conditions[-1].active:
            return
        include = _INCLUDE.match(text) if text.startswith(".include") else None
        if include:
            self._include(include.group(2).strip(_SPACE), location, optional=include.group(1) is not None)
            return
        self._join(text.rstrip(_SPACE), location)

    def _replace_macros(self, text: str, location: Location) -> tuple[str, bool]:
        """The line with its macros replaced, and whether there was any. A name that is being defined stays."""
        start = 0
        if self._joining is None:
            head = _DEFINITION_HEAD.match(text)
            start = head.end() if head else 0
        head_text, rest, replaced = text[:start], text[start:], False
        first = _MACRO_START.search(rest)
        # Exim looks for these only where what may begin a macro first is an underscore.
        if self._built_in and first is not None and first.group()[0] == "_":
            rest, count = self._any_built_in().subn(lambda match: self._built_in[match.group()], rest)
            replaced = count > 0
        for name, macro in self._macros.items():
            if name not in rest:
                continue
            replaced = True
            grown = len(rest) + rest.count(name) * (len(macro.replacement) - len(name))
            if grown > LINE_LIMIT:
                self._complain(location, f"the line is too long after macro {name!r}", "shorten the macro")
                return "", True
            rest = rest.replace(name, macro.replacement)
        return head_text + rest, replaced

    def _any_built_in(self) -> re.Pattern[str]:
        """A thousand names: made when a line needs it, since most files name none of them."""
        if self._built_in_pattern is None:
            # A longer name first, so that no name hides another of which it is the beginning.
            names = sorted(self._built_in, key=lambda name: (-len(name), name))
            self._built_in_pattern = re.compile("|".join(map(re.escape, names)))
        return self._built_in_pattern

    def _condition(self, word: str, replaced: bool, location: Location) -> None:
        holds = replaced if word in ("ifdef", "elifdef") else not replaced
        if word in ("ifdef", "ifndef"):
            outer = not self._conditions or self._conditions[-1].active
            if len(self._conditions) >= CONDITION_DEPTH:
                self._complain(location, f".{word} is nested too deeply", "use fewer conditional parts")
            self._conditions.append(_Condition(location, outer, outer and holds, holds))
            return
        if not self._conditions:
            self._complain(location, f".{word} without .ifdef", "remove the line, or add .ifdef before it")
            return
        if word == "endif":
            self._conditions.pop()
            return
        condition = self._conditions[-1]
        holds = holds or word == "else"
        condition.active = condition.outer_active and holds and not condition.settled
        condition.settled = condition.settled or holds

    def _include(self, name: str, location: Location, *, optional: bool) -> None:
        if len(name) >= 2 and name[0] == name[-1] == '"':
            name = name[1:-1]
        if not name.startswith("/"):
            if optional:
                self._complain(location, f'.include specifies a non-absolute path "{name}"', "name it whole")
                return
            name = posixpath.join(posixpath.dirname(location.file), name)
        if len(self._stack) >= INCLUDE_DEPTH or len(self._files) >= INCLUDED_FILES:
            self._complain(location, f"{name} is included too deeply or too often", "include it once")
            return
        self._list_position(location.file, location.line)
        if not self._open(name, location, optional=optional):
            self._listing.pop()

    # Logical lines

    def _join(self, text: str, location: Location) -> None:
        continued = text.endswith("\\")
        if continued:
            text = text[:-1]
        if self._joining is None:
            if not text:
                return
            self._joining = _Joining(location)
        self._joining.last = location.line
        self._joining.length += len(text)
        if self._joining.length <= LINE_LIMIT:
            self._joining.parts.append(text)
        if not continued:
            self._finish_line()

    def _finish_line(self) -> None:
        joining, self._joining = self._joining, None
        if joining is None:
            return
        if joining.length > LINE_LIMIT:
            self._complain(joining.location, "the line is too long", "shorten it, or use a file or a lookup")
            return
        text = "".join(joining.parts).rstrip(_SPACE)
        if not text:
            return
        self._listing.append(text)
        begin = _BEGIN.match(text)
        if begin:
            self._begin(begin.group(1).strip(_SPACE), joining.location)
            return
        if self._section_name not in _WITHOUT_MACRO_DEFINITIONS and _DEFINITION.match(text):
            self._define(text, joining.location)
            return
        if text.startswith("."):
            word = text.split()[0]
            known = (".ifdef", ".ifndef", ".elifdef", ".elifndef", ".else", ".endif", ".include", ".include_if_exists")
            self._complain(joining.location, f'unknown directive "{word}"', nearest(word, known))
            return
        self._section_lines.append(LogicalLine(replace(joining.location, last=joining.last), text))

    def _define(self, text: str, location: Location) -> None:
        match = _DEFINITION.match(text)
        assert match is not None
        name, sign, replacement = match.group(1), match.group(2), text[match.end() :]
        if len(name) > MACRO_NAME_LIMIT:
            what = f"macro name too long (maximum is {MACRO_NAME_LIMIT} characters)"
            self._complain(location, what, f"shorten {name[:20]}...")
            return
        known = self._macros.get(name)
        if known is not None and known.from_command_line:
            return
        if known is not None:
            if sign == "=":
                self._complain(location, f'macro "{name}" is already defined', 'use "==" to redefine it')
                return
            known.replacement = replacement
            return
        for other in self._macros:
            if other in name:
                self._complain(
                    location,
                    f'"{name}" cannot be a macro: the macro "{other}", defined before it, is a part of its name',
                    "rename one of them, or define the longer name first",
                )
                return
        if sign == "==":
            self._complain(location, f'macro "{name}" is not defined yet', 'use "=" to define it')
            return
        self._macros[name] = _Macro(replacement, False)

    # Sections

    def _begin(self, name: str, location: Location) -> None:
        self._finish_section()
        lowered = name.lower()
        found = lowered
        for known in SECTIONS:
            if lowered in (known, known + "s", known.removesuffix("s")):
                found = known
                break
        else:
            self._complain(location, f'unknown section "{name}"', nearest(lowered, SECTIONS))
        if any(section.name == found for section in self._sections):
            self._complain(location, f'section "{found}" begins a second time', "join its two parts")
        self._section_name, self._section_start, self._section_lines = found, location, []

    def _finish_section(self) -> None:
        self._sections.append(Section(self._section_name, self._section_start, tuple(self._section_lines)))
