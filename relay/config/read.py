"""A configuration file becomes a frozen, typed `Configuration` (machine).

The journey: `syntax.read_text` gives logical lines; named lists are gathered, because everything else may
name them; ACLs are compiled; then the main options, the drivers and the retry rules are converted by their
tables; at last `references` looks whether names lead anywhere. All problems are gathered on the way and
raised together, sorted by file and line; warnings and notes stay in the result. Files come from a callable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from relay.config import references, sanity
from relay.config.blocks import DriverBlock
from relay.config.built_in import built_in_macros
from relay.config.convert import Converter
from relay.config.driver_options import DRIVERS, GENERIC, drivers_of
from relay.config.drivers import Transport, make_router, make_transport
from relay.config.main_options import MAIN_OPTIONS, SYNONYMS, MainOptions
from relay.config.options import (
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
)
from relay.config.syntax import MAIN, ConfigurationText, FileReader, LogicalLine, read_text
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import compile_expansion
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.mail.source import ConfigurationError, Location, Problem, Severity
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import ACL, VERB_NAMES, inline_lines, parse_acl
from relay.policy.retry import RetryRule, parse_rules
from relay.policy.rewrite import RewriteRule, parse_rewrite_rules
from relay.policy.routing import Router
from relay.policy.words import nearest


@dataclass(frozen=True, slots=True)
class SetOption:
    """An option of the main section as it was set: its line, its text, and whether it is hidden (`hide`)."""

    location: Location
    text: str | None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a configuration says, compiled. Nothing in it changes; a reload makes another one."""

    path: str
    files: tuple[str, ...]
    main: MainOptions
    static: Mapping[str, str]
    """Main options that expansions may read, by name: what `Scope.main` shows."""
    settings: Mapping[str, SetOption]
    """The main options that were set, by name."""
    macros: Mapping[str, str]
    named_lists: NamedLists
    acls: Mapping[str, ACL]
    """By name; an ACL that was read from a file of its own by its path."""
    routers: tuple[Router, ...]
    transports: Mapping[str, Transport]
    authenticators: tuple[DriverBlock, ...]
    retry: tuple[RetryRule, ...]
    rewrite: tuple[RewriteRule, ...]
    blocks: tuple[DriverBlock, ...]
    """Routers, transports and authenticators as they were written."""
    problems: tuple[Problem, ...]
    """Warnings and notes; with an error there is no configuration."""

    def place(self, option: str) -> Location:
        """The line that sets a main option, or the file."""
        found = self.settings.get(option)
        return found.location if found else Location(self.path)


def read_configuration(
    path: str,
    reader: FileReader,
    macros: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    host_name: str = "",
) -> Configuration:
    """Reads and compiles. `macros` are those of the command line, `host_name` is used where the file names
    none.

    Raises ConfigurationError with every problem that was found if one of them is an error.
    """
    definitions = tuple(macros.items()) if isinstance(macros, Mapping) else tuple(macros)
    text = read_text(path, reader, definitions, built_in_macros())
    return _Reading(text, reader, path, host_name or os.uname().nodename).configuration()


_NAMED_LIST = re.compile(
    r"(hide[ \t]+)?(domain|host|address|localpart)list(_cache)?[ \t]+([A-Za-z0-9_]+)[ \t]*(=?)[ \t]*(.*)", re.DOTALL
)
_LIST_KINDS = {
    "domain": ListKind.DOMAIN,
    "host": ListKind.HOST,
    "address": ListKind.ADDRESS,
    "localpart": ListKind.LOCAL_PART,
}
_HEAD = re.compile(r"([A-Za-z][A-Za-z0-9_]*)[ \t]*:[ \t]*(.*)", re.DOTALL)
_NAME_LIMIT = 63
# With nothing behind the sign these are as if they were not set, so that a macro may be left empty.
_DEFAULT_WHEN_EMPTY = frozenset({"primary_hostname"})


@dataclass(slots=True)
class _Block:
    """A named group of lines: an ACL, a router, a transport, an authenticator."""

    name: str
    location: Location
    lines: list[LogicalLine] = field(default_factory=list)


class _Reading:
    """One reading: each step adds to `problems` and leaves its result for the next ones."""

    def __init__(self, text: ConfigurationText, reader: FileReader, path: str, host_name: str) -> None:
        self._text = text
        self._reader = reader
        self._path = path
        self._host_name = host_name
        self.problems = list(text.problems)
        self._acls: dict[str, ACL] = {}
        self._settings: dict[str, SetOption] = {}
        self._blocks: list[DriverBlock] = []
        self._transport_names: set[str] = set()
        option_lines = self._named_lists()
        self._converter = Converter(self._lists, self._acl_reference, {"config_file": path})
        self._option_lines = option_lines

    def configuration(self) -> Configuration:
        """Takes the steps in their order. Raises ConfigurationError."""
        self._read_acls()
        main = self._main()
        routers, transports = self._routers(), self._transports()
        authenticators = self._driver_blocks("authenticators")
        retry, rewrite = self._retry(), self._rewrite()
        self._unread_sections()
        if main is not None:
            self.problems += sanity.problems(main, self._place_set)
            self.problems += references.acl_problems(main, self._acls)
        self.problems += references.transport_problems(routers, self._transport_names)
        self.problems.sort(key=lambda problem: problem.location)
        if main is None or any(problem.severity is Severity.ERROR for problem in self.problems):
            raise ConfigurationError(*self.problems)
        return Configuration(
            path=self._path,
            files=self._text.files,
            main=main,
            static=dict(self._converter.static),
            settings=self._settings,
            macros=self._text.macros,
            named_lists=self._lists,
            acls=self._acls,
            routers=routers,
            transports=transports,
            authenticators=authenticators,
            retry=retry,
            rewrite=rewrite,
            blocks=tuple(self._blocks),
            problems=tuple(self.problems),
        )

    def _place_set(self, option: str) -> Location:
        found = self._settings.get(option)
        return found.location if found else Location(self._path)

    def _complain(self, location: Location, what: str, remedy: str = "", severity: Severity = Severity.ERROR) -> None:
        self.problems.append(Problem(location, what, remedy, severity))

    # Named lists

    def _named_lists(self) -> list[LogicalLine]:
        """Gathers the named lists; gives the lines that are left."""
        definitions: dict[tuple[ListKind, str], NamedList] = {}
        rest: list[LogicalLine] = []
        for line in self._text.section(MAIN):
            match = _NAMED_LIST.fullmatch(line.text)
            if match is None:
                rest.append(line)
                continue
            hide, word, _, name, sign, value = match.groups()
            kind = _LIST_KINDS[word]
            if not sign:
                self._complain(line.location, f'"=" is missing after "{name}"', f"write {word}list {name} = …")
                continue
            known = definitions.get((kind, name))
            if known is not None:
                what = f'{word}list "{name}" is defined a second time'
                self._complain(line.location, what, f"the first one is at {known.location}")
                continue
            try:
                text = read_string(value, name)
            except BadValue as error:
                self._complain(line.location, error.what, error.remedy)
                text = ""
            definitions[kind, name] = NamedList(kind, name, text, line.location, bool(hide))
        self._lists = NamedLists(definitions)
        for definition, mistake in self._lists.problems():
            what = f"{definition.kind.value} list {definition.name}: {mistake.message}"
            self._complain(definition.location, what, "correct the list")
        return rest

    # Main options

    def _main(self) -> MainOptions | None:
        """The main section, or None where a value of it is missing because it is wrong."""
        given: dict[str, tuple[Option, Setting, Location]] = {}
        for line in self._option_lines:
            found = self._main_setting(line)
            if found is None:
                continue
            option, setting = found
            if option.name in given:
                what = f'"{option.name}" option set for the second time'
                self._complain(line.location, what, f"the first time is at {given[option.name][2]}")
                continue
            given[option.name] = (option, setting, line.location)
            self._settings[option.name] = SetOption(line.location, setting.text, setting.hidden)
        values: dict[str, object] = {}
        for each in fields(MainOptions):
            option = MAIN_OPTIONS[each.name]
            try:
                values[each.name] = self._main_value(option, given.get(each.name))
            except BadValue as error:
                self._complain(self._place(option.name, given), error.what, error.remedy)
                continue
            if isinstance(values[each.name], str):
                self._converter.static[each.name] = str(values[each.name])
        for option, setting, location in given.values():
            if option.name not in values and option.name not in MainOptions.__dataclass_fields__:
                self._stands(option, setting, location, self._loose_value(option, setting, location))
        if len(values) < len(fields(MainOptions)):
            return None
        return MainOptions(**values)  # type: ignore[arg-type]  # each value was made by its row's kind

    def _place(self, name: str, given: Mapping[str, tuple[Option, Setting, Location]]) -> Location:
        return given[name][2] if name in given else Location(self._path)

    def _main_setting(self, line: LogicalLine) -> tuple[Option, Setting] | None:
        if line.text[:1].isupper():
            self._complain(line.location, f'malformed macro definition "{line.text[:60]}"', "write NAME = text")
            return None
        try:
            setting = read_setting(line.text)
            name = SYNONYMS.get(setting.name)
            if name is not None:
                setting = Setting(name, setting.text, setting.negated, setting.hidden)
            found = find(MAIN_OPTIONS, setting)
            if found is None:
                raise unknown(setting, MAIN_OPTIONS, "main")
        except BadValue as error:
            self._complain(line.location, error.what, error.remedy)
            return None
        return found

    def _main_value(self, option: Option, given: tuple[Option, Setting, Location] | None) -> object:
        if given is None:
            if option.name == "primary_hostname":
                return self._host_name
            return self._converter.default(option)
        _, setting, location = given
        value = self._converter.setting(option, setting.text, location, negated=setting.negated)
        if not value and option.name in _DEFAULT_WHEN_EMPTY:
            return self._main_value(option, None)
        self._stands(option, setting, location, value)
        return value

    def _loose_value(self, option: Option, setting: Setting, location: Location) -> object:
        """The value of an option that we know by name only."""
        try:
            return self._converter.setting(option, setting.text, location, negated=setting.negated)
        except BadValue as error:
            self._complain(location, error.what, error.remedy)
            return None

    def _stands(self, option: Option, setting: Setting, location: Location, value: object) -> None:
        """Complains about an option that is set and does nothing here, unless doing nothing is what it
        asks for."""
        if option.standing is Standing.USED:
            return
        text = (setting.text or "").strip()
        idle = value is False if option.is_boolean else text in ("", ":")
        if idle:
            return
        if option.standing is Standing.UNSUPPORTED:
            why = f": {option.text}" if option.group == "exim" else ""
            self._complain(location, f'option "{option.name}" is not supported{why}', "remove it")
        else:
            self._complain(location, f'option "{option.name}" has no effect here', "", Severity.NOTE)

    # ACLs

    def _read_acls(self) -> None:
        for block in self._named_blocks("acl", "ACL"):
            lines = tuple((line.location, line.text) for line in block.lines)
            try:
                self._acls[block.name] = parse_acl(block.name, lines, self._lists, block.location)
            except ConfigurationError as error:
                self.problems += error.problems
                # A stand-in, so that references to it are not called unknown as well.
                self._acls[block.name] = ACL(block.name, block.location, ())

    def _acl_reference(self, text: str, location: Location) -> ACLReference:
        """The value of an `acl_…` option. Raises BadValue."""
        try:
            expansion = compile_expansion(text)
        except ExpansionError as error:
            raise BadValue(f"ACL: {error.message}", "correct the expansion") from None
        if expansion.constant is None:
            return ACLReference(expansion, location)
        name = expansion.constant.strip()
        if not name:
            return ACLReference(expansion, location, ACL("", location, ()))
        if name not in self._acls and name.startswith("/") and " " not in name:
            self._read_acl_file(name, location)
        if name in self._acls:
            return ACLReference(expansion, location, self._acls[name])
        if name.split()[0] not in VERB_NAMES:
            raise BadValue(f'there is no ACL "{name[:60]}"', nearest(name, self._acls) or "define it behind begin acl")
        return ACLReference(expansion, location, self._parsed(name, inline_lines(name, location), location))

    def _parsed(self, name: str, lines: tuple[tuple[Location, str], ...], location: Location) -> ACL:
        try:
            return parse_acl(name, lines, self._lists, location)
        except ConfigurationError as error:
            self.problems += error.problems
            return ACL(name, location, ())

    def _read_acl_file(self, name: str, location: Location) -> None:
        try:
            text = self._reader(name)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadValue(f"ACL file {name} cannot be read: {reason}", "correct the name") from None
        self._acls[name] = self._parsed(name, inline_lines(text, Location(name)), Location(name))

    # Drivers

    def _named_blocks(self, section: str, what: str) -> list[_Block]:
        """The lines of a section, cut at each `name:`."""
        blocks: list[_Block] = []
        names: set[str] = set()
        for line in self._text.section(section):
            head = _HEAD.fullmatch(line.text)
            if head is None:
                if blocks:
                    blocks[-1].lines.append(line)
                else:
                    self._complain(line.location, f"{what} name missing", f"begin with the {what}'s name and a colon")
                    blocks.append(_Block("", line.location))
                continue
            name, rest = head.groups()
            if rest:
                self._complain(line.location, f'extra characters follow {what} name "{name}"', "begin a new line")
            if len(name) > _NAME_LIMIT:
                self._complain(line.location, f"{what} name {name[:20]}… is too long", f"use {_NAME_LIMIT} letters")
            if name in names:
                self._complain(line.location, f'there are two {what}s called "{name}"', "rename one of them")
            names.add(name)
            blocks.append(_Block(name, line.location))
        return [block for block in blocks if block.name]

    def _driver_blocks(self, section: str) -> tuple[DriverBlock, ...]:
        """The blocks of a section whose driver is known, with their options converted."""
        what = section.removesuffix("s")
        named = self._named_blocks(section, what)
        if section == "transports":
            # Those with a mistake as well: a reference to them is none.
            self._transport_names = {block.name for block in named}
        found = [self._driver_block(section, what, block) for block in named]
        blocks = tuple(block for block in found if block is not None)
        self._blocks += blocks
        return blocks

    def _driver_block(self, section: str, what: str, block: _Block) -> DriverBlock | None:
        settings: list[tuple[Setting, Location]] = []
        for line in block.lines:
            try:
                settings.append((read_setting(line.text), line.location))
            except BadValue as error:
                self._complain(line.location, error.what, error.remedy)
        names = [(setting.text or "", place) for setting, place in settings if setting.name == "driver"]
        if not names:
            self._complain(block.location, f"no driver is set for {what} {block.name}", "set driver = …")
            return None
        name, place = names[0]
        driver = DRIVERS.get((section, name))
        if driver is None:
            known = drivers_of(section)
            self._complain(place, f'there is no {what} driver "{name}"', nearest(name, known) or f"use {known[0]}")
            return None
        if not driver.served:
            is_error = section != "authenticators"
            severity = Severity.ERROR if is_error else Severity.WARNING
            self._complain(place, f'{what} driver "{name}" is not served yet: {driver.why}', "", severity)
        if driver.served or driver.options:
            options = {**GENERIC[section], **driver.options}
            values, places = self._block_values(f"{what} {block.name}:", settings, options, quiet=not driver.served)
            return DriverBlock(section, block.name, name, block.location, values, places)
        return None

    def _block_values(
        self, where: str, settings: list[tuple[Setting, Location]], options: OptionTable, *, quiet: bool
    ) -> tuple[dict[str, object], dict[str, Location]]:
        values = {name: self._converter.default(option) for name, option in options.items()}
        places: dict[str, Location] = {}
        for given, place in settings:
            try:
                found = find(options, given)
                if found is None:
                    raise unknown(given, options, where)
                option, setting = found
                value = self._converter.setting(option, setting.text, place, negated=setting.negated)
                if option.repeat is not Repeat.ERROR:
                    earlier = values[option.name]
                    assert isinstance(earlier, tuple)
                    value = (*earlier, value)
                elif option.name in places:
                    what = f'"{option.name}" option set for the second time'
                    raise BadValue(what, f"the first time is at {places[option.name]}")
            except BadValue as error:
                self._complain(place, error.what, error.remedy)
                continue
            values[option.name] = value
            places[option.name] = place
            if not quiet:
                self._stands(option, setting, place, value)
        return values, places

    def _routers(self) -> tuple[Router, ...]:
        routers: list[Router] = []
        for block in self._driver_blocks("routers"):
            if DRIVERS["routers", block.driver].served:
                try:
                    routers.append(make_router(block, self._lists))
                except ConfigurationError as error:
                    self.problems += error.problems
        return tuple(routers)

    def _transports(self) -> dict[str, Transport]:
        transports: dict[str, Transport] = {}
        for block in self._driver_blocks("transports"):
            if DRIVERS["transports", block.driver].served:
                try:
                    transports[block.name] = make_transport(block)
                except ConfigurationError as error:
                    self.problems += error.problems
        return transports

    # The rest

    def _retry(self) -> tuple[RetryRule, ...]:
        lines = tuple((line.location, line.text) for line in self._text.section("retry"))
        try:
            return parse_rules(lines, self._lists)
        except ConfigurationError as error:
            self.problems += error.problems
            return ()

    def _rewrite(self) -> tuple[RewriteRule, ...]:
        lines = tuple((line.location, line.text) for line in self._text.section("rewrite"))
        try:
            return parse_rewrite_rules(lines, self._lists)
        except ConfigurationError as error:
            self.problems += error.problems
            return ()

    def _unread_sections(self) -> None:
        lines = self._text.section("local_scan")
        if lines:
            what = "local_scan section: there is no local_scan function here"
            self._complain(lines[0].location, what, "remove its lines")
