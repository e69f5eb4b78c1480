"""`relay-sendmail -bP`: what the configuration says, in the words that Exim prints (edge).

    -bP                          all main options
    -bP NAME…                    these
    -bP +LIST                    named lists
    -bP router|transport|authenticator|macro NAME
    -bP routers|transports|authenticators|macros, router_list, … , macro_list
    -bP config | config_file | environment

Exim: `readconf_print`. A configuration that asks for what is not served is printed all the same: this delivers
nothing. What `hide` stands before is for administrators.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relay import __version__
from relay.config import showing
from relay.config.built_in import built_in_macros
from relay.config.read import Configuration
from relay.config.showing import Viewer

_SECTIONS = {"router": "routers", "transport": "transports", "authenticator": "authenticators"}
_KINDS = (*_SECTIONS, "macro")


class NotShown(Exception):
    """One of the names can't be printed; the text is the one line that Exim has for it."""


class Denied(Exception):
    """It is for administrators."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is printed, and whether every name was known."""

    lines: tuple[str, ...]
    complete: bool


def print_options(configuration: Configuration, words: Sequence[str], *, labels: bool) -> Listing:
    """The lines for these words of the command line. Raises Denied."""
    viewer = Viewer(is_administrator(configuration), labels, _user_name, _group_name)
    lines: list[str] = []
    complete = True
    for kind, name in _questions(words):
        try:
            lines.extend(_answer(configuration, kind, name, viewer))
        except NotShown as error:
            lines.append(str(error))
            complete = False
    return Listing(tuple(lines), complete)


def _questions(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The words in pairs: what kind of thing, "" for a main option, and its name."""
    waiting = list(words) or ["all"]
    while waiting:
        word = waiting.pop(0)
        if word in _KINDS and waiting:
            yield word, waiting.pop(0)
        else:
            yield "", word


def _answer(configuration: Configuration, kind: str, name: str, viewer: Viewer) -> Iterator[str]:
    """Raises NotShown, Denied."""
    if kind == "macro":
        yield _macro(configuration, name, viewer)
    elif kind:
        yield from _block(configuration, kind, name, viewer)
    elif name.startswith("+"):
        yield from _named_list(configuration, name[1:], viewer)
    else:
        yield from _by_word(configuration, name, viewer)


def _by_word(configuration: Configuration, name: str, viewer: Viewer) -> Iterator[str]:
    match name:
        case "all":
            yield from showing.main_lines(configuration, viewer)
        case "config_file" | "configure_file":
            yield configuration.path
        case "config":
            yield f"# Exim Configuration (Fingerpost {__version__})"
            yield from showing.text_lines(configuration.listing, viewer)
        case "environment":
            for variable, value in sorted(os.environ.items()):
                yield f"{variable}={value}" if viewer.labels else variable
        case "local_scan":
            raise NotShown("local_scan() options are not supported")
        case "routers" | "transports" | "authenticators":
            kind = name.removesuffix("s")
            for block in configuration.blocks:
                if block.section == name:
                    yield from ("", f"{block.name} {kind}:")
                    yield from showing.block_lines(block, viewer)
        case "router_list" | "transport_list" | "authenticator_list":
            yield from showing.driver_names(configuration, _SECTIONS[name.removesuffix("_list")])
        case "macros":
            yield from showing.macro_lines(_macros(configuration, viewer), viewer)
        case "macro_list":
            yield from _macros(configuration, viewer)
        case _:
            line = showing.main_line(configuration, name, viewer)
            if line is None:
                raise NotShown(f"{name} is not a known option")
            yield line


def _block(configuration: Configuration, kind: str, name: str, viewer: Viewer) -> Iterator[str]:
    for block in configuration.blocks:
        if block.section == _SECTIONS[kind] and block.name == name:
            yield from showing.block_lines(block, viewer)
            return
    raise NotShown(f"{kind} {name} not found")


def _named_list(configuration: Configuration, name: str, viewer: Viewer) -> Iterator[str]:
    lines = tuple(showing.named_list_lines(configuration, name, viewer))
    if not lines:
        raise NotShown(f"no address, domain, host, or local part list called '{name}' exists")
    yield from lines


def _macros(configuration: Configuration, viewer: Viewer) -> dict[str, str]:
    """All macros in the order in which they are replaced. Raises Denied: people keep passwords in them."""
    if not viewer.sees_hidden:
        raise Denied
    return {**built_in_macros(), **configuration.macros}


def _macro(configuration: Configuration, name: str, viewer: Viewer) -> str:
    found = _macros(configuration, viewer).get(name)
    if found is None:
        raise NotShown(f"macro {name} not found")
    return f"{name}={found}" if viewer.labels else found


def _user_name(text: str) -> str:
    """A user by name, who may be given by a number; the number where it has no name."""
    try:
        return pwd.getpwuid(int(text)).pw_name if text.isdecimal() else text
    except (KeyError, OverflowError):
        return text


def _group_name(text: str) -> str:
    """The same of a group."""
    try:
        return grp.getgrgid(int(text)).gr_name if text.isdecimal() else text
    except (KeyError, OverflowError):
        return text


def is_administrator(configuration: Configuration) -> bool:
    """Root, the daemon's user, the configuration's owner, and members of `admin_groups`."""
    user = os.getuid()
    if user == 0 or _owner(configuration.path) == user:
        return True
    try:
        if pwd.getpwuid(user).pw_name == configuration.main.exim_user:
            return True
    except KeyError:
        pass
    mine = {os.getgid(), *os.getgroups()}
    return not mine.isdisjoint(_groups(configuration.main.admin_groups))


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _groups(names: Sequence[str]) -> Iterator[int]:
    for name in names:
        if name.isdigit():
            yield int(name)
            continue
        try:
            yield grp.getgrnam(name).gr_gid
        except KeyError:
            continue
