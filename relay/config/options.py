"""What an option is, and how its text becomes a typed value (machine).

An option is one row: name, kind of value, default, the operator's sentence, group, and how it stands with us.
The rows are in `main_options.py` and `driver_options.py`; nothing outside of these tables knows an option by
name, so that the reference page, the checks and the reader can't disagree. Conversion follows Exim's reading
of each kind and raises `BadValue` with a text for the operator.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from relay.policy import words
from relay.policy.words import nearest


class Kind(enum.Enum):
    """How the text of an option is read; the comment says which Python value it becomes."""

    STRING = "string"
    """str, as it stands."""
    STATIC = "string, expanded when the configuration is read"
    """str."""
    EXPANDED = "string, expanded when it is used"
    """Expansion, or None where unset."""
    HOSTS = "host list"
    """MatchList, or None where unset; so are the other lists."""
    DOMAINS = "domain list"
    LOCAL_PARTS = "local part list"
    ADDRESSES = "address list"
    STRINGS = "string list"
    ITEMS = "list of words"
    """tuple[str, ...], split and not expanded."""
    ACCOUNTS = "list of users or groups"
    """tuple[str, ...], names or numbers; expanded when the configuration is read."""
    PORTS = "list of ports"
    """tuple[int, ...]."""
    BOOLEAN = "boolean"
    """bool."""
    EXPANDED_BOOLEAN = "boolean, expanded when it is used"
    """bool, or Expansion where its text has a `$`."""
    INTEGER = "integer"
    """int."""
    OCTAL = "octal integer"
    """int."""
    SIZE = "size"
    """int, octets."""
    KIBIBYTES = "size in kibibytes"
    """int, KiB; a number without a letter counts octets and is rounded (Exim: opt_Kint)."""
    TIME = "time"
    """int, seconds."""
    TIMES = "list of times"
    """tuple[int, ...], seconds."""
    FIXED = "fixed-point number"
    """float."""
    ACL = "ACL"
    """ACLReference, or None where unset."""
    USER = "user"
    """str, a name, a number, or an expansion that gives one."""
    GROUP = "group"
    """The same."""


LISTS = frozenset({Kind.HOSTS, Kind.DOMAINS, Kind.LOCAL_PARTS, Kind.ADDRESSES, Kind.STRINGS})
BOOLEANS = frozenset({Kind.BOOLEAN, Kind.EXPANDED_BOOLEAN})


class Standing(enum.Enum):
    """What becomes of an option that is set."""

    USED = "used"
    IGNORED = "has no effect here"
    """Nothing to act on, or nothing depends on it: accepted, and `relay check` says so."""
    UNSUPPORTED = "not supported"
    """Without it a decision or a delivery would be another: an error."""


class Repeat(enum.Enum):
    """What a second setting of an option in the same block means."""

    ERROR = "error"
    ALL_OF = "all of"
    """Conditions that must all hold (a router's `condition`)."""
    LINES = "lines"
    """Further lines (headers_add)."""
    NAMES = "names"
    """Further names (headers_remove)."""
    VARIABLES = "variables"
    """Further variables (a router's `set`)."""

    def joined(self, earlier: str, later: str) -> str:
        """Two settings in the one text that Exim keeps, and prints with -bP."""
        match self:
            case Repeat.ALL_OF:
                return f"${{if and{{{{bool_lax{{{earlier}}}}}{{bool_lax{{{later}}}}}}}}}"
            case Repeat.LINES:
                return f"{earlier}\n{later}"
            case Repeat.NAMES:
                return f"{earlier}:{later}"
            case Repeat.VARIABLES:
                return f"{earlier};{later}"
            case Repeat.ERROR:
                return later
            case _ as never:
                assert_never(never)


@dataclass(frozen=True, slots=True)
class Option:
    """One row of a table. `default` is written as an operator would write it; None means unset."""

    name: str
    kind: Kind
    default: str | None
    text: str
    group: str = ""
    standing: Standing = Standing.USED
    ours: bool = False
    repeat: Repeat = Repeat.ERROR

    @property
    def is_boolean(self) -> bool:
        return self.kind in BOOLEANS


OptionTable = Mapping[str, Option]


def table(*options: Option) -> dict[str, Option]:
    """A table by name; a name that stands twice is a fault of ours."""
    found = {option.name: option for option in options}
    assert len(found) == len(options), "an option stands twice in its table"
    return found


_SHORT: Mapping[str, Kind] = {
    "acl": Kind.ACL,
    "accounts": Kind.ACCOUNTS,
    "addresses": Kind.ADDRESSES,
    "boolean": Kind.BOOLEAN,
    "domains": Kind.DOMAINS,
    "expanded": Kind.EXPANDED,
    "fixed": Kind.FIXED,
    "group": Kind.GROUP,
    "hosts": Kind.HOSTS,
    "integer": Kind.INTEGER,
    "kibibytes": Kind.KIBIBYTES,
    "octal": Kind.OCTAL,
    "size": Kind.SIZE,
    "string": Kind.STRING,
    "switch": Kind.EXPANDED_BOOLEAN,
    "time": Kind.TIME,
    "user": Kind.USER,
}


def listed(group: str, standing: Standing, text: str, rows: str) -> tuple[Option, ...]:
    """Rows that share what is said of them, for options of Exim's that nothing here reads.

    Each stands on a line of its own: name, kind by its short word, and the default, nothing where it is unset.
    """
    found: list[Option] = []
    for row in rows.splitlines():
        name, kind, default = (*row.split(None, 2), "", "", "")[:3]
        if name:
            found.append(Option(name, _SHORT[kind], default or None, text, group, standing))
    return tuple(found)


def explained(group: str, rows: str) -> tuple[Option, ...]:
    """Rows of options that are used, each with its sentence behind ` : `."""
    found: list[Option] = []
    for row in rows.splitlines():
        left, colon, text = row.partition(" : ")
        if colon:
            name, kind, default = (*left.split(None, 2), "")[:3]
            found.append(Option(name, _SHORT[kind], default.strip() or None, text.strip(), group))
    return tuple(found)


class BadValue(ValueError):
    """The text of an option can't be its value; `what` and `remedy` are for the operator."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class BadExpansion(BadValue):
    """The text is a value, and can't be expanded or matched; Exim would find that where it is used."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The left side of an option line, taken apart: `text` is None where no value was given."""

    name: str
    text: str | None
    negated: bool = False
    hidden: bool = False


_SETTING = re.compile(r"(hide[ \t]+)?([A-Za-z][A-Za-z0-9_]*)[ \t]*(=?)[ \t]*(.*)", re.DOTALL)


def read_setting(line: str) -> Setting:
    """Takes `hide name = text`, `no_name`, `name` apart. Raises BadValue where no option name stands."""
    match = _SETTING.fullmatch(line)
    if match is None:
        raise BadValue(f'an option setting is expected, not "{line[:60]}"', "write NAME = VALUE")
    hide, name, sign, rest = match.groups()
    if not sign and rest:
        raise BadValue(f'"=" is missing after {name}', f"write {name} = {rest[:60]}")
    return Setting(name, rest if sign else None, hidden=bool(hide))


def find(options: OptionTable, setting: Setting) -> tuple[Option, Setting] | None:
    """The row that a setting means, with `no_` and `not_` taken off where they negate a boolean."""
    if setting.name in options:
        return options[setting.name], setting
    for prefix in ("no_", "not_"):
        name = setting.name.removeprefix(prefix)
        if name != setting.name and name in options:
            return options[name], Setting(name, setting.text, True, setting.hidden)
    return None


def unknown(setting: Setting, options: OptionTable, where: str) -> BadValue:
    """The complaint about a name that is in no table, with the nearest one that is."""
    return BadValue(f'{where} option "{setting.name}" unknown', nearest(setting.name, options))


# Text to values

_INTEGER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([KkMmGgTtPpEeZz]?)")
_OCTAL = re.compile(r"([+-]?)0*([0-7]+)")
_FIXED = re.compile(r"([0-9]{1,20})(?:\.([0-9]*))?")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.)|$)", re.DOTALL)
_POWERS = "kmgtpez"
_LARGEST_FIXED = 2**31 // 1000
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_TRUE = frozenset({"true", "yes"})
_FALSE = frozenset({"false", "no"})


def read_string(text: str, name: str) -> str:
    """A string value: as it stands, or between double quotes with escapes (Exim: string_dequote)."""
    if not text.startswith('"'):
        return text
    position = 1
    while position < len(text) and text[position] != '"':
        position += 2 if text[position] == "\\" else 1
    if position >= len(text):
        raise BadValue(f"missing quote at end of string value for {name}", 'add a " at its end')
    if text[position + 1 :].strip():
        rest = text[position + 1 :][:40].strip()
        raise BadValue(f"extra characters follow string value for {name}", f'remove "{rest}"')
    return _ESCAPE.sub(_unescape, text[1:position])


def _unescape(match: re.Match[str]) -> str:
    octal, hexadecimal, other = match.groups()
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    return _LETTERS.get(other, other or "")


def written_text(setting: Setting) -> str:
    """The text of a setting without the quotes around it; "" where there is none, or where it is wrong."""
    try:
        return read_string(setting.text or "", setting.name)
    except BadValue:
        return ""


def read_boolean(text: str | None, name: str, *, negated: bool) -> bool:
    """`name`, `no_name`, `name = yes`; a negated name takes no value."""
    if text is None or (not text and not negated):
        return not negated
    if negated:
        raise BadValue(f"extra characters follow the boolean option {name}", f"write no_{name}, or {name} = false")
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValue(f'"{text[:40]}" is not a valid value for the boolean option {name}', "use true or false")


def read_integer(text: str, name: str) -> int:
    """Decimal, octal (leading 0) or hexadecimal (0x), with K, M, G or T behind it; at most 2^62."""
    value, unit = _number(text, name)
    if unit and unit not in "kmgt":
        raise BadValue(f"extra characters follow integer value for {name}", f'remove "{unit.upper()}"')
    return _bounded(value * 1024 ** (_POWERS.index(unit) + 1 if unit else 0), text, name)


def read_small_integer(text: str, name: str) -> int:
    """As `read_integer`, within what Exim keeps in an int."""
    value = read_integer(text, name)
    if not -(2**31) <= value < 2**31:
        raise _overflow(text, name, "absolute value of ")
    return value


def read_kibibytes(text: str, name: str) -> int:
    """An amount in KiB: `10M` is 10240, and a number without a letter counts octets."""
    value, unit = _number(text, name)
    return _bounded(value * 1024 ** _POWERS.index(unit) if unit else (value + 512) // 1024, text, name)


def _number(text: str, name: str) -> tuple[int, str]:
    match = _INTEGER.match(text.strip())
    if match is None or len(match.group(2)) > 20:
        raise BadValue(f"integer expected for {name}", f'"{text[:40]}" is none: write 20, 50M or 0x1f')
    if rest := text.strip()[match.end() :].strip():
        raise BadValue(f"extra characters follow integer value for {name}", f'remove "{rest[:40]}"')
    sign, digits, unit = match.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    return int(digits, base) * (-1 if sign == "-" else 1), unit.lower()


def _overflow(text: str, name: str, what: str = "") -> BadValue:
    return BadValue(f'{what}integer "{text[:40]}" is too large (overflow)', f"write a smaller number for {name}")


def _bounded(value: int, text: str, name: str) -> int:
    if abs(value) > 2**62:
        raise _overflow(text, name, "absolute value of ")
    return value


def read_octal(text: str, name: str) -> int:
    """An octal integer, as modes are written."""
    match = _OCTAL.fullmatch(text.strip())
    if match is None or len(match.group(2)) > 10:
        raise BadValue(f'octal integer expected for {name}, not "{text[:40]}"', "write a mode such as 0700")
    return int(match.group(2), 8)


def read_time(text: str, name: str) -> int:
    """Seconds of a time such as `5m30s`."""
    seconds = words.read_time(text.strip())
    if seconds is None:
        raise BadValue(f'invalid time value for {name}: "{text[:40]}"', "write a time such as 30s, 5m or 1h30m")
    return seconds


def read_times(text: str, name: str) -> tuple[int, ...]:
    """Times in growing order, separated by colons (Exim: delay_warning); a single zero time means none."""
    if not text.strip():
        return ()
    times = tuple(read_time(each, name) for each in text.split(":"))
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise BadValue(f"time value out of order for {name}", "write the times in growing order")
    return () if times == (0,) else times


def read_fixed(text: str, name: str) -> float:
    """A number that is not negative, held to three decimal places."""
    match = _FIXED.fullmatch(text.strip())
    if match is None:
        raise BadValue(f'fixed-point number expected for {name}, not "{text[:40]}"', "write a number such as 2.5")
    if int(match.group(1)) >= _LARGEST_FIXED:
        raise _overflow(text, name)
    return int(match.group(1)) + int(((match.group(2) or "") + "000")[:3]) / 1000


def split_items(text: str) -> tuple[str, ...]:
    """The items of an Exim list that is not expanded: `:` or `<X` as the separator, doubled to be itself."""
    text = text.strip()
    separator = ":"
    if len(text) >= 2 and text[0] == "<" and not text[1].isalnum() and text[1] not in " \t":
        separator, text = text[1], text[2:]
    items = [each.replace("\0", separator).strip() for each in _split_undoubled(text.replace("\0", ""), separator)]
    return tuple(each for each in items if each)


def _split_undoubled(text: str, separator: str) -> list[str]:
    return text.replace(separator * 2, "\0").split(separator)


_PORT_NAMES = {"smtp": 25, "smtps": 465, "submissions": 465, "ssmtp": 465, "submission": 587}


def read_port(text: str, name: str) -> int:
    """A port number, or the name of a mail port."""
    if text in _PORT_NAMES:
        return _PORT_NAMES[text]
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise BadValue(f'"{text[:40]}" is not a port for {name}', "use a number from 1 to 65535, or smtp, submission")
    return int(text)


def read_ports(text: str, name: str) -> tuple[int, ...]:
    """A list of ports by number or name, each once."""
    return tuple(dict.fromkeys(read_port(each, name) for each in split_items(text)))
