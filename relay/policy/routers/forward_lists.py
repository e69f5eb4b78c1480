r"""The text of a redirection: addresses, files, commands, and words in colons (machine).

Items stand between commas and line ends, and a `#` where an item could begin makes the rest of the line a comment.
An item is an address, `|command`, `/file` (a directory where it ends with a slash), `:include:/file`, or one of
`:fail: text`, `:defer: text`, `:blackhole:`, which end the list. Exim: parse_forward_list.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.esmtp.header_addresses import Mailbox, Unreadable, locate_mailboxes
from relay.expand.values import taint_like
from relay.mail.address import Address

_FILTERS = re.compile(r"\s*#\s*(Exim|Sieve)\s+filter\b", re.IGNORECASE)
_GAP = re.compile(r"(?:[\s,]+|#[^\n]*)*")
# The end of an item: quoted pairs, quoted strings and comments are passed over, none of them over a line's end.
_PART = re.compile(
    r"\\[^\n]"
    r'|"(?:[^"\\\n]|\\.)*(?:"|(?=\n|\Z))'
    r"|[^\\\"(,\n<>]+"
    r"|.",
    re.DOTALL,
)
_SPECIAL = re.compile(r":(fail|defer|blackhole):[ \t]*(.*)", re.DOTALL)
_INCLUDE = ":include:"


class Word(enum.Enum):
    """What a redirection may say instead of addresses."""

    FAIL = "fail"
    DEFER = "defer"
    BLACKHOLE = "blackhole"


@dataclass(frozen=True, slots=True)
class Named:
    """An address. `is_escaped`: it had a backslash in front and no domain, so it belongs to the incoming one."""

    address: Address
    is_escaped: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """`|command`, with its bar."""

    text: str


@dataclass(frozen=True, slots=True)
class FileName:
    """`/file`, or a directory with a slash at its end."""

    text: str


@dataclass(frozen=True, slots=True)
class Include:
    """The items of another file. `path` "": none is named."""

    path: str


@dataclass(frozen=True, slots=True)
class Said:
    """`:fail:` and its like with the rest of the text; `item` as it was written, for complaints."""

    word: Word
    text: str
    item: str


@dataclass(frozen=True, slots=True)
class Broken:
    """An item that is nothing of this."""

    text: str
    reason: str


ForwardItem = Named | Command | FileName | Include | Said | Broken


def filter_language(text: str) -> str:
    """`Exim` or `Sieve` where the text is a program in one of these, "" where it is a list."""
    found = _FILTERS.match(text)
    return found.group(1).capitalize() if found else ""


def read_forward_list(text: str) -> Iterator[ForwardItem]:
    """The items in their order; nothing follows a word in colons."""
    position = 0
    while True:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else position
        if position >= len(text):
            return
        end = _end_of_item(text, position)
        item = text[position:end].strip()
        is_quoted = len(item) >= 2 and item[0] == item[-1] == '"'
        if is_quoted:
            item = item[1:-1].strip()
        if said := _SPECIAL.match(item):
            # The text goes on over commas and lines to the very end.
            rest = _SPECIAL.match(text, text.index(":", position))
            told = rest.group(2).rstrip("\n") if rest else said.group(2)
            yield Said(Word(said.group(1)), taint_like(told, text), item)
            return
        if item != ":unknown:":
            yield from _read_item(item, is_quoted, text)
        position = end


def _end_of_item(text: str, position: int) -> int:
    angles = 0
    while found := _PART.match(text, position):
        part = found.group()
        if part == "\n" or (part == "," and angles <= 0):
            break
        if part == "(":
            position = _end_of_comment(text, position)
            continue
        angles += (part == "<") - (part == ">")
        position = found.end()
    return position


def _end_of_comment(text: str, position: int) -> int:
    """Comments nest; a line's end closes all."""
    depth = 0
    while position < len(text) and text[position] != "\n":
        character = text[position]
        position += 2 if character == "\\" else 1
        depth += (character == "(") - (character == ")")
        if not depth:
            break
    return min(position, len(text))


def _read_item(item: str, is_quoted: bool, text: str) -> Iterator[ForwardItem]:
    if item.startswith(_INCLUDE):
        yield Include(taint_like(item[len(_INCLUDE) :].strip(), text))
        return
    if item.startswith("\\"):
        found = _only_mailbox(item[1:])
        if isinstance(found, Mailbox) and not found.address.domain:
            yield Named(found.address, is_escaped=True)
            return
    found = _only_mailbox(item)
    if item[:1] in ("|", "/") and not (isinstance(found, Mailbox) and found.address.domain):
        plain = taint_like(re.sub(r"\\(.)", r"\1", item, flags=re.DOTALL) if is_quoted else item, text)
        yield Command(plain) if item[0] == "|" else FileName(plain)
    elif isinstance(found, Mailbox):
        yield Named(found.address)
    elif found is not None:
        yield Broken(item, found.reason)


def _only_mailbox(item: str) -> Mailbox | Unreadable | None:
    """The address of an item; None where there are only comments, which some put into alias files."""
    found = list(locate_mailboxes(item))
    if len(found) > 1:
        return Unreadable((0, len(item)), "more than one address")
    return found[0] if found else None
