"""The lines of a section of named blocks become `DriverBlock`s with typed options (machine).

A block begins with `name:`. Its driver decides which options it may have; each setting is converted by its
kind. Complaints go to `Complaints`, which tells a mistake, which Exim would find as well when it reads the
file, from what only keeps the configuration from being served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from relay.config.blocks import DriverBlock, Written
from relay.config.convert import Converter
from relay.config.driver_options import DRIVERS, GENERIC, drivers_of
from relay.config.options import (
    BadExpansion,
    BadValue,
    Option,
    OptionTable,
    Repeat,
    Setting,
    Standing,
    find,
    read_setting,
    read_string,
    unknown,
    written_text,
)
from relay.config.syntax import LogicalLine
from relay.expand.splitting import split_list
from relay.mail.source import Location, Problem, Severity
from relay.policy.words import nearest

_HEAD = re.compile(r"([A-Za-z][A-Za-z0-9_]*)[ \t]*:[ \t]*(.*)", re.DOTALL)
_NAME_LIMIT = 63


@dataclass(slots=True)
class Complaints:
    """What is wrong with a configuration, as it is found."""

    mistakes: list[Problem] = field(default_factory=list)
    """Errors of the text, and the warnings and notes."""
    obstacles: list[Problem] = field(default_factory=list)
    """Errors that are none of the text: what it asks for is not served, or fails when it is used."""

    def mistake(self, location: Location, what: str, remedy: str = "", severity: Severity = Severity.ERROR) -> None:
        self.mistakes.append(Problem(location, what, remedy, severity))

    def obstacle(self, location: Location, what: str, remedy: str = "") -> None:
        self.obstacles.append(Problem(location, what, remedy))

    def bad_value(self, location: Location, error: BadValue) -> None:
        """What conversion raised."""
        kind = self.obstacles if isinstance(error, BadExpansion) else self.mistakes
        kind.append(Problem(location, error.what, error.remedy))

    def hindered(self, problems: Iterable[Problem]) -> None:
        """Takes up problems of others; errors among them are obstacles."""
        for problem in problems:
            (self.obstacles if problem.severity is Severity.ERROR else self.mistakes).append(problem)

    def standing(self, option: Option, setting: Setting, location: Location, value: object) -> None:
        """Complains about an option that is set and does nothing here, unless nothing or its default is what it
        asks for."""
        if option.standing is Standing.USED or _asks_for_nothing(option, setting, value):
            return
        if option.standing is Standing.UNSUPPORTED:
            why = f": {option.text}" if option.group == "exim" else ""
            self.obstacle(location, f'option "{option.name}" is not supported{why}', "remove it")
        else:
            self.mistake(location, f'option "{option.name}" has no effect here', "", Severity.NOTE)


def _asks_for_nothing(option: Option, setting: Setting, value: object) -> bool:
    if option.is_boolean:
        return value is (option.default == "true")
    text = (setting.text or "").strip()
    return text in ("", ":") or text == option.default


@dataclass(slots=True)
class NamedLines:
    """A group of lines with a name: an ACL, a router, a transport, an authenticator."""

    name: str
    location: Location
    lines: list[LogicalLine] = field(default_factory=list)


def named_lines(lines: Iterable[LogicalLine], what: str, complaints: Complaints) -> list[NamedLines]:
    """The lines of a section, cut at each `name:`; `what` is what such a group is called."""
    blocks: list[NamedLines] = []
    names: set[str] = set()
    for line in lines:
        head = _HEAD.fullmatch(line.text)
        if head is None:
            if blocks:
                blocks[-1].lines.append(line)
            else:
                complaints.mistake(line.location, f"{what} name missing", f"begin with the {what}'s name and a colon")
                blocks.append(NamedLines("", line.location))
            continue
        name, rest = head.groups()
        if rest:
            complaints.mistake(line.location, f'extra characters follow {what} name "{name}"', "begin a new line")
        if len(name) > _NAME_LIMIT:
            complaints.mistake(line.location, f"{what} name {name[:20]}… is too long", f"use {_NAME_LIMIT} letters")
        if name in names:
            complaints.mistake(line.location, f'there are two {what}s called "{name}"', "rename one of them")
        names.add(name)
        blocks.append(NamedLines(name, line.location))
    return [block for block in blocks if block.name]


def driver_block(section: str, named: NamedLines, converter: Converter, complaints: Complaints) -> DriverBlock | None:
    """The block with its options converted; None where its driver is not known."""
    what = section.removesuffix("s")
    settings: list[tuple[Setting, Location]] = []
    for line in named.lines:
        try:
            settings.append((read_setting(line.text), line.location))
        except BadValue as error:
            complaints.bad_value(line.location, error)
    names = [(setting.text or "", place) for setting, place in settings if setting.name == "driver"]
    if not names:
        complaints.mistake(named.location, f"no driver is set for {what} {named.name}", "set driver = …")
        return None
    name, place = names[0]
    driver = DRIVERS.get((section, name))
    if driver is None:
        known = drivers_of(section)
        complaints.mistake(place, f'there is no {what} driver "{name}"', nearest(name, known) or f"use {known[0]}")
        return None
    if not driver.served:
        problem = f'{what} driver "{name}" is not served yet: {driver.why}'
        if section == "authenticators":
            complaints.mistake(place, problem, "", Severity.WARNING)
        else:
            complaints.obstacle(place, problem)
    options = {**GENERIC[section], **driver.options}
    tell: _Tell = complaints.standing if driver.served else _tell_nothing
    reading = _BlockReading(f"{what} {named.name}:", options, converter, complaints, tell)
    for setting, place in settings:
        reading.take(setting, place)
    return DriverBlock(section, named.name, name, named.location, reading.values, reading.places, reading.written)


_Tell = Callable[[Option, Setting, Location, object], None]


def _tell_nothing(_option: Option, _setting: Setting, _place: Location, _value: object) -> None:
    """Of a driver that is not served nothing more needs to be said."""


# Settings that stand for two options (Exim: opt_bool_verify).
_FOR_BOTH: Mapping[str, tuple[str, ...]] = {
    "verify": ("verify", "verify_recipient", "verify_sender"),
    "fail_verify": ("fail_verify", "fail_verify_recipient", "fail_verify_sender"),
}


class _BlockReading:
    """The settings of one block, one after the other."""

    def __init__(
        self, where: str, options: OptionTable, converter: Converter, complaints: Complaints, tell: _Tell
    ) -> None:
        self._where = where
        self._options = options
        self._converter = converter
        self._complaints = complaints
        self._tell = tell
        self.values = {name: converter.default(option) for name, option in options.items()}
        self._given: dict[str, Location] = {}
        self.places: dict[str, Location] = {}
        self.written: dict[str, Written] = {}

    def take(self, given: Setting, place: Location) -> None:
        """One more setting."""
        try:
            found = find(self._options, given)
            if found is None:
                raise unknown(given, self._options, self._where)
            option, setting = found
            if option.repeat is Repeat.ERROR and option.name in self._given:
                what = f'"{option.name}" option set for the second time'
                raise BadValue(what, f"the first time is at {self._given[option.name]}")
            self._given[option.name] = place
            value = self._value(option, setting, place)
        except BadValue as error:
            self._complaints.bad_value(place, error)
            return
        self._tell(option, setting, place, value)
        earlier = self.written.get(option.name)
        text = written_text(setting) if earlier is None else option.repeat.joined(earlier.text, written_text(setting))
        hidden = setting.hidden or (earlier is not None and earlier.hidden)
        for name in _FOR_BOTH.get(option.name, (option.name,)):
            self.values[name] = value
            self.places[name] = place
            self.written[name] = Written(text, hidden)

    def _value(self, option: Option, setting: Setting, place: Location) -> object:
        """Raises BadValue, but not for an expansion that fails: that is told, and the default is taken."""
        try:
            values = [
                self._converter.setting(option, each, place, negated=setting.negated)
                for each in self._items(option, setting)
            ]
        except BadExpansion as error:
            self._complaints.bad_value(place, error)
            return self.values[option.name]
        if option.repeat is Repeat.ERROR:
            return values[0]
        earlier = self.values[option.name]
        assert isinstance(earlier, tuple)
        return (*earlier, *values)

    def _items(self, option: Option, setting: Setting) -> tuple[str | None, ...]:
        """The texts that are converted one by one: a list of names is cut before anything in it is expanded."""
        if option.repeat is not Repeat.NAMES or setting.text is None or setting.negated:
            return (setting.text,)
        return split_list(read_string(setting.text, option.name)).items
