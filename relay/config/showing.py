"""Options as `-bP` prints them: a line for each, in Exim's form (machine).

A value is shown as Exim keeps it: a time in its largest units, a size with K or M where it is a multiple, a
boolean as `name` or `no_name`, a string as it was written, without the quotes. Exim: `readconf_print`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from relay.config.blocks import DriverBlock
from relay.config.convert import Converter
from relay.config.driver_options import DRIVERS, GENERIC
from relay.config.main_options import MAIN_OPTIONS
from relay.config.options import LISTS, Kind, Option
from relay.config.read import Configuration
from relay.expand.lists import NamedLists
from relay.expand.variables import EXIM_VERSION
from relay.mail.source import Location

HIDDEN = "<value not displayable>"

# Exim's own second names of others, and what only older ones have: left out where everything is shown.
_OF_OLDER_ONES = frozenset({
    "auth_over_tls_hosts", "gnutls_require_kx", "gnutls_require_mac", "gnutls_require_protocols",
    "host_accept_relay", "host_auth_accept_relay", "tls_host_accept_relay", "tls_hosts", "tls_log_cipher",
    "tls_log_peerdn", "tls_verify_ciphers",
})  # fmt: skip
_LEFT_OUT = _OF_OLDER_ONES | {"return_size_limit", "rfc1413_port"}
_LEFT_OUT_OF_BLOCKS = _OF_OLDER_ONES | {
    "fail_verify", "gnutls_compat_mode", "server_param", "use_classresources", "verify",
}  # fmt: skip

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\b": "\\b", "\v": "\\v", "\f": "\\f", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, and how much is to be printed."""

    sees_hidden: bool
    labels: bool = True
    """Print `name = value`, not the value alone (-n)."""
    name_user: Callable[[str], str] = str
    """The name of a user that may be given by a number."""
    name_group: Callable[[str], str] = str

    def line(self, name: str, text: str, *, hidden: bool = False) -> str:
        """One option or list."""
        shown = HIDDEN if hidden and not self.sees_hidden else text
        return f"{name} = {shown}" if self.labels else shown


# Single values


def duration(seconds: int) -> str:
    """A time in Exim's notation: 90 is `1m30s`."""
    rest = abs(seconds)
    text = ""
    for letter, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{letter}" if count else ""
    return ("-" if seconds < 0 else "") + (text or "0s")


def size(octets: int) -> str:
    """Octets, with K or M where that is the whole of it."""
    if octets and octets % 1024 == 0:
        return f"{octets >> 20}M" if octets % (1 << 20) == 0 else f"{octets >> 10}K"
    return str(octets)


def kibibytes(amount: int) -> str:
    """KiB, with the largest letter that leaves a whole number."""
    for letter, shift in (("T", 30), ("G", 20), ("M", 10)):
        if amount and amount % (1 << shift) == 0:
            return f"{amount >> shift}{letter}"
    return f"{amount}K" if amount else "0"


def fixed(value: float) -> str:
    """At least one decimal place, at most three."""
    whole, thousandths = divmod(round(value * 1000), 1000)
    return f"{whole}.{f'{thousandths:03}'.rstrip('0') or '0'}"


def printed(text: str) -> str:
    """A string in printable ASCII, other characters escaped."""
    return "".join(_ESCAPES.get(each) or _octets(each) for each in text)


def _octets(character: str) -> str:
    if " " <= character <= "~":
        return character
    return "".join(f"\\{octet:03o}" for octet in character.encode("utf-8", "surrogateescape"))


def value_text(option: Option, value: object, written: str) -> str:
    """What is shown of a value that is no boolean; `written` is its text as it was set or defaulted."""
    match option.kind, value:
        case Kind.INTEGER, int():
            return str(value)
        case Kind.SIZE, int():
            return size(value)
        case Kind.KIBIBYTES, int():
            return kibibytes(value)
        case Kind.OCTAL, int():
            return f"0{value:o}" if value else "0"
        case Kind.TIME, int():
            return duration(value)
        case Kind.TIMES, tuple():
            return ":".join(duration(each) for each in value)
        case Kind.FIXED, float():
            return fixed(value)
        case Kind.STATIC, str():
            return printed(value)
        case _:
            return printed(written)


def _option_line(option: Option, value: object, written: str, viewer: Viewer, *, hidden: bool) -> str:
    if isinstance(value, bool) and not (hidden and not viewer.sees_hidden):
        return option.name if value else f"no_{option.name}"
    if option.kind is Kind.ACCOUNTS and isinstance(value, tuple):
        name = viewer.name_group if "group" in option.name else viewer.name_user
        text = ":".join(map(name, value))
    else:
        text = value_text(option, value, written)
    if not text and option.kind in (Kind.ACCOUNTS, Kind.FIXED):
        return f"{option.name} =" if viewer.labels else ""
    return viewer.line(option.name, text, hidden=hidden)


# The main section


def main_line(configuration: Configuration, name: str, viewer: Viewer) -> str | None:
    """One main option; None where there is none of that name."""
    option = MAIN_OPTIONS.get(name)
    if option is None:
        return None
    was_set = configuration.settings.get(name)
    if was_set is not None:
        value = getattr(configuration.main, name, was_set.value)
        return _option_line(option, value, was_set.written, viewer, hidden=was_set.hidden)
    if name == "exim_version":
        return viewer.line(name, EXIM_VERSION)
    value = getattr(configuration.main, name) if hasattr(configuration.main, name) else _default(option)
    return _option_line(option, value, option.default or "", viewer, hidden=False)


def main_lines(configuration: Configuration, viewer: Viewer) -> Iterator[str]:
    """All main options, by name."""
    for name in sorted(MAIN_OPTIONS):
        if name not in _LEFT_OUT:
            line = main_line(configuration, name, viewer)
            assert line is not None
            yield line


def _default(option: Option) -> object:
    """The value of an option that is not set, as far as it is shown by its value."""
    if option.kind in (Kind.ACL, Kind.EXPANDED, *LISTS):
        return None
    return Converter(NamedLists(), _no_acl).default(option)


def _no_acl(text: str, location: Location) -> NoReturn:
    raise AssertionError(f"an ACL is no default: {text} {location}")


def named_list_lines(configuration: Configuration, name: str, viewer: Viewer) -> Iterator[str]:
    """The named lists of one name: there may be one of each kind."""
    found = [each for each in configuration.named_lists.definitions.values() if each.name == name]
    for each in sorted(found, key=lambda named: named.kind.value):
        kind = each.kind.value.replace(" ", "")
        yield viewer.line(f"{kind}list {name}", each.text, hidden=each.hidden)


# Routers, transports, authenticators


def block_lines(block: DriverBlock, viewer: Viewer) -> Iterator[str]:
    """The options of one driver: those of its class, then its own."""
    own = DRIVERS[block.section, block.driver].options
    made = _made_defaults(block)
    for options in (GENERIC[block.section], own):
        for name in sorted(options):
            if name in _LEFT_OUT_OF_BLOCKS:
                continue
            was_set = block.written.get(name)
            text = was_set.text if was_set else made.get(name) or options[name].default or ""
            hidden = was_set.hidden if was_set else False
            yield _option_line(options[name], _block_value(block, name), text, viewer, hidden=hidden)


_MAILBOX = {
    "message_prefix": "From ${if def:return_path{$return_path}{MAILER-DAEMON}} ${tod_bsdinbox}\n",
    "message_suffix": "\n",
}


def _made_defaults(block: DriverBlock) -> Mapping[str, str]:
    """The defaults that Exim makes when it knows the other options."""
    if block.driver not in ("appendfile", "pipe"):
        return {}
    if block.flag("use_bsmtp"):
        return {"check_string": ".", "escape_string": ".."}
    if block.driver == "pipe":
        return _MAILBOX
    if "directory" in block.set_at or block.flag("maildir_format") or block.flag("mailstore_format"):
        return {}
    return {**_MAILBOX, "check_string": "From ", "escape_string": ">From "}


# Options that are true without being set where the driver or another option makes them so.
_LOCAL_DRIVERS = frozenset({"accept"})
_FOR_LOCAL_PARTS = (
    "check_local_user",
    "local_parts",
    "condition",
    "local_part_prefix",
    "local_part_suffix",
    "senders",
    "require_files",
)


def _block_value(block: DriverBlock, name: str) -> object:
    value = block.options[name]
    if name in block.set_at or block.section == "authenticators":
        return value
    if name == "log_as_local":
        return block.driver in _LOCAL_DRIVERS
    if name == "retry_use_local_part":
        if block.section == "transports":
            return block.driver != "smtp"
        return any(each in block.set_at and bool(block.options[each]) for each in _FOR_LOCAL_PARTS)
    return value


# The text


def text_lines(listing: tuple[str, ...], viewer: Viewer) -> Iterator[str]:
    """A configuration as it was read, indented by its parts; macros and what is hidden only for who may see it.

    Lines of the form `# NUMBER "FILE"` say where the following ones come from.
    """
    step = 2 if viewer.labels else 0
    indent = 0
    for raw in listing:
        line = _single_spaces(raw)
        if line.startswith("#"):
            yield line
        elif line.startswith("begin "):
            yield from ("", line) if viewer.labels else (line,)
            indent = step
        elif line.endswith(":") and "=" not in line:
            yield from ("", " " * step + line) if viewer.labels else (line,)
            indent = 2 * step
        elif not viewer.sees_hidden and (line[:1].isupper() or line.startswith("hide ")):
            name, sign, _ = line.partition("=")
            yield " " * indent + (f"{name}= {HIDDEN}" if sign else HIDDEN)
        else:
            yield " " * indent + line


def _single_spaces(line: str) -> str:
    """Runs of space as one, up to where quotes or an expansion may be formatted with care."""
    stop = min((at for at in map(line.find, "\"'$") if at >= 0), default=len(line))
    head = line[:stop]
    shortened = " ".join(head.split())
    tail = " " if shortened and head[-1:].isspace() else ""
    return shortened + tail + line[stop:]


def driver_names(configuration: Configuration, section: str) -> list[str]:
    """The names of a section's blocks, in their order."""
    return [block.name for block in configuration.blocks if block.section == section]


def macro_lines(macros: Mapping[str, str], viewer: Viewer) -> Iterator[str]:
    """All macros, `NAME=text`."""
    for name, text in macros.items():
        yield f"{name}={text}" if viewer.labels else text
