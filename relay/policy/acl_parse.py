"""Access control lists: their lines become statements, compiled once (decision).

A statement is a verb with steps (conditions and modifiers) in the order in which they were written, because
that order is Exim's meaning: a `message` counts for the conditions behind it. What a condition or a modifier
is, is in the tables of `acl_conditions.py` and `acl_modifiers.py`. Every mistake of an ACL is collected
before it is raised. Exim: acl.c, acl_read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from relay.expand.evaluate import Expansion
from relay.expand.lists import NamedLists
from relay.mail.source import ConfigurationError, Location, Problem
from relay.policy.acl_conditions import CONDITIONS
from relay.policy.acl_modifiers import MODIFIERS
from relay.policy.acl_program import ACL, INLINE, Statement, Step
from relay.policy.acl_steps import Argument, Mistake, Row
from relay.policy.acl_values import Verb
from relay.policy.words import nearest

_VERBS = {verb.value: verb for verb in Verb}
VERB_NAMES = frozenset(_VERBS)
_WITH_ENDPASS = (Verb.ACCEPT, Verb.DISCARD)

_NAME = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9_]*)[ \t]*")


@dataclass(slots=True)
class _Building:
    """The statement that is being read."""

    verb: Verb
    location: Location
    steps: list[Step] = field(default_factory=list)
    message: Expansion | None = None
    log_message: Expansion | None = None
    endpass: bool = False
    faults: list[tuple[Location, str]] = field(default_factory=list)
    """What can't be expanded, with its line: of the whole ACL so far."""

    def built(self) -> Statement:
        return Statement(self.verb, self.location, tuple(self.steps), self.message, self.log_message, self.endpass)


def parse_acl(
    name: str, lines: Sequence[tuple[Location, str]], named_lists: NamedLists, location: Location | None = None
) -> ACL:
    """Compiles the logical lines of one ACL. Raises ConfigurationError with all of its mistakes."""
    start = location or (lines[0][0] if lines else Location(name))
    building: _Building | None = None
    statements: list[Statement] = []
    problems: list[Problem] = []
    faults: list[tuple[Location, str]] = []
    for place, line in lines:
        try:
            verb, negated, rest = _read_verb(line, expected=building is None)
            if verb is not None:
                if building is not None:
                    statements.append(building.built())
                building = _Building(verb, place, faults=faults)
                if not rest:
                    continue
            assert building is not None
            _add_step(building, name, place, line.strip(), negated, rest, named_lists)
        except Mistake as mistake:
            problems.append(Problem(place, f"{_named(name)}: {mistake.what}", mistake.remedy))
            if building is None:
                # The lines behind an unknown verb are read as its conditions, so that their mistakes show too.
                building = _Building(Verb.DENY, place, faults=faults)
    if problems:
        raise ConfigurationError(*problems)
    if building is not None:
        statements.append(building.built())
    return ACL(name, start, tuple(statements), tuple(faults))


def _named(name: str) -> str:
    return name if name == INLINE else f"ACL {name}"


def _read_verb(line: str, *, expected: bool) -> tuple[Verb | None, bool, str]:
    """The verb that a line begins with, if any; whether its condition is negated; the rest from the name on."""
    text = line.lstrip()
    negated = text.startswith("!")
    text = text.removeprefix("!")
    match = _NAME.match(text)
    word = match.group(1) if match else ""
    verb = _VERBS.get(word)
    if verb is None:
        if expected:
            raise Mistake(f'unknown ACL verb in "{line.strip()[:60]}"', nearest(word, _VERBS))
        return None, negated, text
    assert match is not None
    if negated:
        raise Mistake(f'malformed ACL line "{line.strip()[:60]}"', "only conditions can be negated")
    rest = text[match.end() :]
    return verb, rest.startswith("!"), rest.removeprefix("!")


def _add_step(
    building: _Building, acl: str, place: Location, line: str, negated: bool, rest: str, named_lists: NamedLists
) -> None:
    """Takes up one condition or modifier, `rest` being the text from its name on. Raises Mistake."""
    match = _NAME.match(rest)
    word = match.group(1) if match else ""
    tail = rest[match.end() :] if match else rest
    if word == "endpass":
        _endpass(building, negated, tail)
        return
    row = CONDITIONS.get(word) or MODIFIERS.get(word)
    is_message = word in ("message", "log_message")
    if row is None and not is_message:
        known = (*CONDITIONS, *MODIFIERS, "message", "log_message", "endpass")
        raise Mistake(f'unknown ACL condition or modifier in "{line[:60]}"', nearest(word, known))
    if negated and (is_message or (row is not None and row.is_modifier)):
        raise Mistake(f'negation is not allowed with "{word}"', 'remove the "!"')
    if word == "set":
        text = tail
    elif not tail.startswith("="):
        raise Mistake(f'"=" is missing after "{word}"', f"write {word} = …")
    else:
        text = tail[1:].lstrip()
    argument = Argument(place, word, text, building.verb.value, named_lists)
    if word == "message":
        building.message = argument.expansion()
    elif word == "log_message":
        building.log_message = argument.expansion()
    else:
        assert row is not None
        building.steps.append(_step(building, row, argument, line, negated))
    building.faults += ((place, fault) for fault in argument.faults)


def _endpass(building: _Building, negated: bool, tail: str) -> None:
    if negated:
        raise Mistake('negation is not allowed with "endpass"', 'remove the "!"')
    if building.verb not in _WITH_ENDPASS:
        raise Mistake(f'"endpass" is not allowed with "{building.verb.value}"', "use it with accept or discard")
    if tail.strip():
        raise Mistake('"endpass" takes no argument', "write endpass alone")
    building.endpass = True


def _step(building: _Building, row: Row, argument: Argument, line: str, negated: bool) -> Step:
    compiled = row.compile(argument)
    return Step(
        argument.location,
        row.name,
        line,
        compiled.test,
        negated,
        row.forbidden | compiled.forbidden,
        row.is_modifier,
        building.message,
        building.log_message,
        building.endpass,
        compiled.acl_names,
        compiled.inquiry,
        compiled.notice,
        compiled.unknown_lists,
    )


def inline_lines(text: str, location: Location) -> tuple[tuple[Location, str], ...]:
    """The logical lines of an ACL that is written inside of an option or comes out of an expansion.

    They are read as those of a file: comments, continuation by a backslash, blank lines.
    """
    return _joined((location, line) for line in text.split("\n"))


def file_lines(lines: Iterable[str], path: str) -> tuple[tuple[Location, str], ...]:
    """The logical lines of an ACL in a file of its own."""
    return _joined((Location(path, number), line) for number, line in enumerate(lines, 1))


def _joined(lines: Iterable[tuple[Location, str]]) -> tuple[tuple[Location, str], ...]:
    found: list[tuple[Location, str]] = []
    joining, start = "", None
    for location, raw in lines:
        line = raw.strip()
        if line.startswith("#"):
            continue
        start = start or location
        joining += line
        if joining.endswith("\\"):
            joining = joining[:-1]
            continue
        if joining:
            found.append((start, joining))
        joining, start = "", None
    if joining and start is not None:
        found.append((start, joining))
    return tuple(found)
