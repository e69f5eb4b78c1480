"""The script of one test of Exim's suite, read into steps (machine).

    script = parse(text)
    script.title, script.marks, script.steps

A step is a command with what it is to return and the lines that follow it, up to a line of four asterisks. Nothing
is substituted here: what stands in the steps are the words of the file. Which commands have lines is the language's
own knowledge (the suite's README, "Test commands"). Texts are Latin-1, an octet a character.
"""

import re
from dataclasses import dataclass
from typing import Final

MARKS: Final = frozenset(
    ("no_message_check", "no_msglog_check", "no_munge", "no_stderr_check", "no_stdout_check", "rmfiltertest", "sortlog")
)
NEEDS: Final = frozenset(("need_ipv4", "need_ipv6", "need_largefiles", "need_move_frozen_messages"))

_EXIM = re.compile(
    r"(?P<settings>(?:[A-Za-z\d_]+=\S+\s+)+)?(?P<hold>\d+)?\s*(?P<sudo>sudo(?:\s+-u\s+(?P<user>\w+))?\s+)?"
    r"exim(?P<special>_\S+)?\s+(?P<arguments>.*)$"
)
_UTILITY = re.compile(r"exim(?:_lock|_id_update)\b|exinext\s|exigrep\s|exiqgrep\b|eximstats\s")
_WITH_LINES = re.compile(r"server\s|(?:cat)?write\s+\S|client|(?:sudo\s+)?perl\b|background$")
_RETURNS = re.compile(r"(?P<other>~)?(?P<code>\d+)\s*(?:(?P<name>[A-Z]+)=(?P<value>\S+))?$")
_END = re.compile(r"\*{4}\s*$")


class ScriptError(ValueError):
    """The file is not a script of the suite."""


@dataclass(frozen=True, slots=True)
class Returns:
    """The code with which a command has to end; `other`: with any but this one."""

    code: int = 0
    other: bool = False

    def met_by(self, code: int) -> bool:
        return (code == self.code) != self.other


@dataclass(frozen=True, slots=True)
class Step:
    """`line` counts from 1 and is that of the command; `lines` keep their line ends."""

    line: int
    command: str
    returns: Returns = Returns()
    settings: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    title: str
    marks: frozenset[str]
    needs: frozenset[str]
    steps: tuple[Step, ...]
    wants_socket: bool
    """It listens for a daemon that is started by inetd (PORT_DYNAMIC)."""


@dataclass(frozen=True, slots=True)
class EximCommand:
    """`hold`: seconds before the end of its input; `special`: the end of another program's name, as in `exim_exim`."""

    arguments: str
    settings: str = ""
    hold: int = 0
    sudo: bool = False
    user: str = ""
    special: str = ""


def exim_command(command: str) -> EximCommand | None:
    """What the command says, if it is one that starts the program under test."""
    if _UTILITY.match(command):
        return None
    found = _EXIM.match(command)
    if not found:
        return None
    return EximCommand(
        found["arguments"],
        (found["settings"] or "").strip(),
        int(found["hold"] or 0),
        bool(found["sudo"]),
        found["user"] or "",
        found["special"] or "",
    )


def has_lines(command: str) -> bool:
    return bool(_WITH_LINES.match(command)) or exim_command(command) is not None


def parse(text: str) -> Script:
    """The whole script, or a `ScriptError`."""
    lines = text.splitlines(keepends=True) if "\r" not in text else re.findall(r"[^\n]*\n|[^\n]+$", text)
    if not lines or not lines[0].startswith("#"):
        raise ScriptError("the first line is not a comment")
    marks: set[str] = set()
    needs: set[str] = set()
    steps: list[Step] = []
    place = 1
    while place < len(lines):
        line = lines[place]
        word = line.split(None, 1)[0] if line.strip() else ""
        if not word or (line.startswith("#") and not re.match(r"###\s", line)):
            place += 1
        elif word in MARKS or word in NEEDS:
            (marks if word in MARKS else needs).add(word)
            place += 1
        else:
            step, place = _step(lines, place)
            steps.append(step)
    return Script(
        lines[0].lstrip("# ").strip(),
        frozenset(marks),
        frozenset(needs),
        tuple(steps),
        wants_socket=re.search(r"\bPORT_DYNAMIC\b", text) is not None,
    )


def _step(lines: list[str], place: int) -> tuple[Step, int]:
    returns = Returns()
    settings: tuple[tuple[str, str], ...] = ()
    found = _RETURNS.match(lines[place].rstrip("\n"))
    if found:
        returns = Returns(int(found["code"]), bool(found["other"]))
        if found["name"]:
            settings = ((found["name"], found["value"]),)
        place += 1
        if place == len(lines):
            raise ScriptError("a code to return stands at the end, without a command")
    line = place + 1
    command, place = _command(lines, place)
    following: list[str] = []
    if has_lines(command):
        if command == "background" and place < len(lines):
            following.append(lines[place])
            place += 1
        while place < len(lines) and not _END.match(lines[place]):
            following.append(lines[place])
            place += 1
        place += 1
    return Step(line, command, returns, settings, tuple(following)), place


def _command(lines: list[str], place: int) -> tuple[str, int]:
    """The command's line with those it is continued by."""
    command = lines[place].rstrip()
    place += 1
    while command.endswith("\\"):
        command = command[:-1]
        if place < len(lines):
            command += lines[place].strip()
            place += 1
    return command, place
