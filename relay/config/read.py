"""A configuration file becomes a frozen, typed `Configuration` (machine).

The journey: `syntax.read_text` gives logical lines; named lists are gathered, because everything else may
name them; ACLs are compiled; then the main options, the drivers and the retry rules are converted by their
tables; at last `references` looks whether names lead anywhere. All problems are gathered on the way and
raised together, sorted by file and line; warnings and notes stay in the result. Files come from a callable.

An error is one of two kinds. A mistake is wrong in itself, and Exim refuses it as well when it reads the file;
nobody gets a configuration with one. An obstacle keeps it from being served: an option or a driver that we
don't serve, an expansion that could only fail. With obstacles there is still something to look at, for
commands that accept and deliver nothing (`understand_configuration`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from relay.config import old_options, references, sanity
from relay.config.authenticators import make_authenticator
from relay.config.block_reading import Complaints, driver_block, named_lines
from relay.config.blocks import DriverBlock
from relay.config.built_in import built_in_macros
from relay.config.convert import Converter
from relay.config.driver_options import DRIVERS
from relay.config.drivers import Transport, make_transport
from relay.config.faults import fault_problems
from relay.config.main_options import MAIN_OPTIONS, SYNONYMS, MainOptions
from relay.config.options import (
    BadExpansion,
    BadValue,
    Option,
    Setting,
    find,
    read_setting,
    read_string,
    unknown,
    written_text,
)
from relay.config.routers import make_router
from relay.config.syntax import MAIN, ConfigurationText, FileReader, LogicalLine, read_text
from relay.expand.errors import ExpansionError
from relay.expand.evaluate import compile_for_use
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.mail.source import ConfigurationError, Location, Problem, Severity
from relay.policy.acl import ACLReference
from relay.policy.acl_parse import VERB_NAMES, file_lines, inline_lines, parse_acl
from relay.policy.acl_program import ACL, INLINE
from relay.policy.authenticators import Authenticator
from relay.policy.error_copies import ErrorCopy, parse_error_copies
from relay.policy.retry import RetryRule, parse_rules
from relay.policy.rewrite import RewriteRule, parse_rewrite_rules
from relay.policy.routers.settings import Router


@dataclass(frozen=True, slots=True)
class SetOption:
    """An option of the main section as it was set: its line, its text, and whether it is hidden (`hide`)."""

    location: Location
    text: str | None
    hidden: bool = False
    value: object = None
    """Converted by the option's kind."""
    written: str = ""
    """The text without the quotes around it."""


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
    listing: tuple[str, ...]
    """The logical lines as they were read, for -bP config."""
    named_lists: NamedLists
    acls: Mapping[str, ACL]
    """By name; an ACL that was read from a file of its own by its path."""
    routers: tuple[Router, ...]
    transports: Mapping[str, Transport]
    authenticators: tuple[DriverBlock, ...]
    auth: tuple[Authenticator, ...]
    """The authenticators that are served, compiled."""
    retry: tuple[RetryRule, ...]
    error_copies: tuple[ErrorCopy, ...]
    """The main option errors_copy, compiled."""
    rewrite: tuple[RewriteRule, ...]
    blocks: tuple[DriverBlock, ...]
    """Routers, transports and authenticators as they were written."""
    problems: tuple[Problem, ...]
    """Warnings and notes; with an error there is no configuration."""

    def place(self, option: str) -> Location:
        """The line that sets a main option, or the file."""
        found = self.settings.get(option)
        return found.location if found else Location(self.path)


@dataclass(frozen=True, slots=True)
class Understood:
    """A configuration whose text is right, and what of it can't be served.

    With an obstacle it is good to look at (`-bP`, `-be`) and nothing may be accepted or delivered by it: routers
    and transports may be missing, and options may have their defaults.
    """

    configuration: Configuration
    obstacles: tuple[Problem, ...]


Macros = Mapping[str, str] | Iterable[tuple[str, str]]


def read_configuration(path: str, reader: FileReader, macros: Macros = (), *, host_name: str = "") -> Configuration:
    """Reads and compiles. `macros` are those of the command line, `host_name` is used where the file names
    none.

    Raises ConfigurationError with every problem that was found if one of them is an error.
    """
    configuration, problems, obstacles = _reading(path, reader, macros, host_name).result()
    if configuration is None or obstacles:
        found = sorted((*problems, *obstacles), key=lambda problem: problem.location)
        raise ConfigurationError(*found, obstacles=obstacles)
    return configuration


def understand_configuration(path: str, reader: FileReader, macros: Macros = (), *, host_name: str = "") -> Understood:
    """The same for those who only want to look at it: raises ConfigurationError for mistakes alone, with nothing
    else in it."""
    configuration, problems, obstacles = _reading(path, reader, macros, host_name).result()
    if configuration is None:
        raise ConfigurationError(*(each for each in problems if each.severity is Severity.ERROR))
    return Understood(configuration, obstacles)


def _reading(path: str, reader: FileReader, macros: Macros, host_name: str) -> _Reading:
    definitions = tuple(macros.items()) if isinstance(macros, Mapping) else tuple(macros)
    text = read_text(path, reader, definitions, built_in_macros())
    return _Reading(text, reader, path, host_name or os.uname().nodename)


_NAMED_LIST = re.compile(
    r"(hide[ \t]+)?(domain|host|address|localpart)list(_cache)?[ \t]+([A-Za-z0-9_]+)[ \t]*(=?)[ \t]*(.*)", re.DOTALL
)
_LIST_KINDS = {
    "domain": ListKind.DOMAIN,
    "host": ListKind.HOST,
    "address": ListKind.ADDRESS,
    "localpart": ListKind.LOCAL_PART,
}
# With nothing behind the sign these are as if they were not set, so that a macro may be left empty.
_DEFAULT_WHEN_EMPTY = frozenset({"primary_hostname"})


class _Reading:
    """One reading: each step adds to the complaints and leaves its result for the next ones."""

    def __init__(self, text: ConfigurationText, reader: FileReader, path: str, host_name: str) -> None:
        self._text = text
        self._reader = reader
        self._path = path
        self._host_name = host_name
        self._complaints = Complaints(list(text.problems))
        self._acls: dict[str, ACL] = {}
        self._settings: dict[str, SetOption] = {}
        self._blocks: list[DriverBlock] = []
        self._transport_names: set[str] = set()
        option_lines = self._named_lists()
        self._converter = Converter(self._lists, self._acl_reference, {"config_file": path})
        self._option_lines = option_lines

    def result(self) -> tuple[Configuration | None, tuple[Problem, ...], tuple[Problem, ...]]:
        """Takes the steps in their order. Gives what was made, None if the text is wrong; what is wrong or worth
        a remark; and what can't be served."""
        complaints = self._complaints
        self._read_acls()
        main = self._main()
        routers, transports = self._routers(), self._transports()
        authenticators = self._driver_blocks("authenticators")
        complaints.mistakes += sanity.authenticator_problems(authenticators)
        auth = self._auth(authenticators)
        retry, rewrite = self._retry(), self._rewrite()
        self._unread_sections()
        if main is not None:
            main = self._modernised(main)
            complaints.mistakes += sanity.problems(main, self._place_set)
            complaints.hindered(sanity.unserved(main, self._place_set))
            complaints.hindered(references.acl_problems(main, self._acls))
        complaints.mistakes += self._converter.faults
        complaints.mistakes += (fault for block in self._blocks for fault in block.faults)
        copies = self._error_copies(main)
        complaints.mistakes += references.router_problems(routers)
        complaints.hindered(references.transport_problems(routers, self._transport_names))
        problems, obstacles = (
            tuple(sorted(each, key=lambda problem: problem.location))
            for each in (complaints.mistakes, complaints.obstacles)
        )
        if main is None or any(problem.severity is Severity.ERROR for problem in problems):
            return None, problems, obstacles
        configuration = Configuration(
            path=self._path,
            files=self._text.files,
            main=main,
            static={**self._converter.static, **old_options.told_by_log(main)},
            settings=self._settings,
            macros=self._text.macros,
            listing=self._text.listing,
            named_lists=self._lists,
            acls=self._acls,
            routers=routers,
            transports=transports,
            authenticators=authenticators,
            auth=auth,
            retry=retry,
            error_copies=copies,
            rewrite=rewrite,
            blocks=tuple(self._blocks),
            problems=problems,
        )
        return configuration, problems, obstacles

    def _modernised(self, main: MainOptions) -> MainOptions:
        """With the ACLs that options of older Exims stand for."""
        found = old_options.modernised(main, self._settings.__contains__, self._place_set, self._lists)
        self._acls.update({acl.name: acl for acl in found.acls})
        self._complaints.mistakes += found.problems
        return found.main

    def _place_set(self, option: str) -> Location:
        found = self._settings.get(option)
        return found.location if found else Location(self._path)

    def _complain(self, location: Location, what: str, remedy: str = "", severity: Severity = Severity.ERROR) -> None:
        self._complaints.mistake(location, what, remedy, severity)

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
                self._complaints.bad_value(line.location, error)
                text = ""
            definitions[kind, name] = NamedList(kind, name, text, line.location, bool(hide))
        self._lists = NamedLists(definitions)
        for definition, mistake in self._lists.problems():
            what = f"{definition.kind.value} list {definition.name}: {mistake.message}"
            self._complaints.obstacle(definition.location, what, "correct the list")
        return rest

    # Main options

    def _main(self) -> MainOptions | None:
        """The main section, or None where a value of it is missing because it is wrong."""
        given: dict[str, tuple[Option, Setting, Location]] = {}
        names: dict[str, Location] = {}
        for line in self._option_lines:
            found = self._main_setting(line)
            if found is None:
                continue
            option, setting, name = found
            if name in names:
                what = f'"{name}" option set for the second time'
                self._complain(line.location, what, f"the first time is at {names[name]}")
                continue
            # Under another name it may be set again, as in Exim: the last one counts.
            names[name] = line.location
            given[option.name] = (option, setting, line.location)
        values: dict[str, object] = {}
        for each in fields(MainOptions):
            option = MAIN_OPTIONS[each.name]
            try:
                values[each.name] = self._main_value(option, given.get(each.name))
            except BadValue as error:
                self._complaints.bad_value(self._place(option.name, given), error)
                if not isinstance(error, BadExpansion):
                    continue
                values[each.name] = self._main_value(option, None)
            if isinstance(values[each.name], str):
                self._converter.static[each.name] = str(values[each.name])
            elif values[each.name] is True:
                self._converter.static[each.name] = "true"
        for option, setting, location in given.values():
            if option.name not in MainOptions.__dataclass_fields__:
                values[option.name] = self._loose_value(option, setting, location)
                self._complaints.standing(option, setting, location, values[option.name])
            value = values.get(option.name)
            self._settings[option.name] = SetOption(
                location, setting.text, setting.hidden, value, written_text(setting)
            )
        typed = {each.name: values[each.name] for each in fields(MainOptions) if each.name in values}
        if len(typed) < len(fields(MainOptions)):
            return None
        return MainOptions(**typed)  # type: ignore[arg-type]  # each value was made by its row's kind

    def _place(self, name: str, given: Mapping[str, tuple[Option, Setting, Location]]) -> Location:
        return given[name][2] if name in given else Location(self._path)

    def _main_setting(self, line: LogicalLine) -> tuple[Option, Setting, str] | None:
        """The option, its setting, and the name that it was set by, without no_ or not_."""
        if line.text[:1].isupper():
            self._complain(line.location, f'malformed macro definition "{line.text[:60]}"', "write NAME = text")
            return None
        try:
            setting = read_setting(line.text)
            synonym = setting.name if setting.name in SYNONYMS else ""
            if synonym:
                setting = Setting(SYNONYMS[synonym], setting.text, setting.negated, setting.hidden)
            found = find(MAIN_OPTIONS, setting)
            if found is None:
                raise unknown(setting, MAIN_OPTIONS, "main")
        except BadValue as error:
            self._complaints.bad_value(line.location, error)
            return None
        return *found, synonym or found[0].name

    def _main_value(self, option: Option, given: tuple[Option, Setting, Location] | None) -> object:
        if given is None:
            if option.name == "primary_hostname":
                return self._host_name
            return self._converter.default(option)
        _, setting, location = given
        value = self._converter.setting(option, setting.text, location, negated=setting.negated)
        if not value and option.name in _DEFAULT_WHEN_EMPTY:
            return self._main_value(option, None)
        self._complaints.standing(option, setting, location, value)
        return value

    def _loose_value(self, option: Option, setting: Setting, location: Location) -> object:
        """The value of an option that nothing here reads."""
        try:
            return self._converter.setting(option, setting.text, location, negated=setting.negated)
        except BadValue as error:
            self._complaints.bad_value(location, error)
            return None

    # ACLs

    def _read_acls(self) -> None:
        for block in named_lines(self._text.section("acl"), "ACL", self._complaints):
            lines = tuple((line.location, line.text) for line in block.lines)
            try:
                self._acls[block.name] = parse_acl(block.name, lines, self._lists, block.location)
            except ConfigurationError as error:
                self._complaints.hindered(error.problems)
                # A stand-in, so that references to it are not called unknown as well.
                self._acls[block.name] = ACL(block.name, block.location, ())

    def _acl_reference(self, text: str, location: Location) -> ACLReference:
        """The value of an `acl_…` option. Raises BadValue."""
        try:
            expansion = compile_for_use(text)
        except ExpansionError as error:
            raise BadExpansion(f"ACL: {error.message}", "correct the expansion") from None
        self._complaints.mistakes += fault_problems("ACL", location, expansion)
        if expansion.constant is None:
            return ACLReference(expansion, location, as_written=self._as_written(text, location))
        name = expansion.constant.strip()
        if not name:
            return ACLReference(expansion, location, ACL("", location, ()))
        if name not in self._acls and name.startswith("/") and " " not in name:
            self._read_acl_file(name)
        if name in self._acls:
            return ACLReference(expansion, location, self._acls[name])
        if name.split()[0] not in VERB_NAMES:
            # Exim finds that out when it is used; so do we, and `relay check` warns of it (references.py).
            return ACLReference(expansion, location)
        return ACLReference(expansion, location, self._parsed(INLINE, inline_lines(name, location), location))

    def _as_written(self, text: str, location: Location) -> ACL | None:
        """The statements of an option whose expansion may show what comes from outside; None where it has none."""
        if text.split()[0].removeprefix("!") not in VERB_NAMES:
            return None
        try:
            return parse_acl(INLINE, inline_lines(text, location), self._lists, location)
        except ConfigurationError:
            return None

    def _parsed(self, name: str, lines: tuple[tuple[Location, str], ...], location: Location) -> ACL:
        try:
            return parse_acl(name, lines, self._lists, location)
        except ConfigurationError as error:
            self._complaints.hindered(error.problems)
            return ACL(name, location, ())

    def _read_acl_file(self, name: str) -> None:
        """One that can't be read is looked for again when it is used."""
        try:
            text = self._reader(name)
        except (OSError, ValueError):
            return
        self._acls[name] = self._parsed(name, file_lines(text.split("\n"), name), Location(name))

    # Drivers

    def _driver_blocks(self, section: str) -> tuple[DriverBlock, ...]:
        """The blocks of a section whose driver is known, with their options converted."""
        named = named_lines(self._text.section(section), section.removesuffix("s"), self._complaints)
        if section == "transports":
            # Those with a mistake as well: a reference to them is none.
            self._transport_names = {block.name for block in named}
        found = [driver_block(section, block, self._converter, self._complaints) for block in named]
        blocks = tuple(block for block in found if block is not None)
        self._blocks += blocks
        return blocks

    def _routers(self) -> tuple[Router, ...]:
        routers: list[Router] = []
        for block in self._driver_blocks("routers"):
            wrong = list(sanity.router_problems(block))
            self._complaints.mistakes += wrong
            if DRIVERS["routers", block.driver].served and not wrong:
                try:
                    routers.append(make_router(block, self._lists))
                except ConfigurationError as error:
                    self._complaints.hindered(error.problems)
        return tuple(routers)

    def _transports(self) -> dict[str, Transport]:
        transports: dict[str, Transport] = {}
        for block in self._driver_blocks("transports"):
            if DRIVERS["transports", block.driver].served:
                try:
                    transports[block.name] = make_transport(block)
                except ConfigurationError as error:
                    self._complaints.hindered(error.problems)
        return transports

    def _auth(self, blocks: tuple[DriverBlock, ...]) -> tuple[Authenticator, ...]:
        found: list[Authenticator] = []
        for block in blocks:
            if DRIVERS["authenticators", block.driver].served:
                try:
                    found.append(make_authenticator(block))
                except ConfigurationError as error:
                    self._complaints.hindered(error.problems)
        return tuple(found)

    # The rest

    def _retry(self) -> tuple[RetryRule, ...]:
        lines = tuple((line.location, line.text) for line in self._text.section("retry"))
        try:
            return parse_rules(lines, self._lists)
        except ConfigurationError as error:
            self._complaints.mistakes += error.problems
            return ()

    def _error_copies(self, main: MainOptions | None) -> tuple[ErrorCopy, ...]:
        if main is None:
            return ()
        try:
            return parse_error_copies(main.errors_copy, self._place_set("errors_copy"), self._lists)
        except ConfigurationError as error:
            self._complaints.mistakes += error.problems
            return ()

    def _rewrite(self) -> tuple[RewriteRule, ...]:
        lines = tuple((line.location, line.text) for line in self._text.section("rewrite"))
        try:
            return parse_rewrite_rules(lines, self._lists)
        except ConfigurationError as error:
            self._complaints.mistakes += error.problems
            return ()

    def _unread_sections(self) -> None:
        lines = self._text.section("local_scan")
        if lines:
            what = "local_scan section: there is no local_scan function here"
            self._complain(lines[0].location, what, "remove its lines")
