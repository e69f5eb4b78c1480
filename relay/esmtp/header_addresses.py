"""Lists of addresses in header fields, with names, comments and groups (machine).

RFC 5322 3.4, with the obsolete forms of 4.4 that mail programs still write: dots in display names, empty
elements, source routes, blanks and comments around dots. Needed where the recipients are taken from the
message (`relay-sendmail -t`), where From: is held against the sender, and where addresses are rewritten in
their places (`locate_mailboxes`). Text that cannot be read raises `grammar.Malformed`. Characters outside
US-ASCII are let through as they came: whether the next hop can take them is known only there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.esmtp.grammar import Malformed, check_size, is_domain, unquote
from relay.mail.address import Address

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    | (?P<atom>[A-Za-z0-9!\#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)
    | (?P<quoted>"(?:[^"\\\r\n]|\\[^\r\n]|\r?\n[ \t])*")
    | (?P<literal>\[[0-9A-Za-z:.]+\])
    | (?P<special>[<>@,;:.])""",
    re.VERBOSE,
)
_COMMENT_PART = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")


_ELEMENT_PART = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|\[[^\[\]]*\]|[^"\\\[(<>,;:]+|.', re.DOTALL)

_NO_LOCAL_PART = "missing or malformed local part"

Span = tuple[int, int]
"""Where a part of a text begins, and where it ends."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with its place in the text: `spec` is the addr-spec alone (a source route with it), `item`
    has the display name and comments as well."""

    address: Address
    spec: Span
    item: Span


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An element of a list that is no mailbox."""

    item: Span
    reason: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int = 0


_END = _Token("end", "")


def read_address_list(value: str) -> tuple[Address, ...]:
    """The addresses in a header field's value in their order, groups flattened and names dropped."""
    return tuple(_Reader(value).addresses())


def locate_mailboxes(value: str) -> Iterator[Mailbox | Unreadable]:
    """Each mailbox of a list with its place in `value`, which may be folded.

    An element that cannot be read does not keep the others from being found; empty ones and the names of
    groups are passed over.
    """
    for start, end in _elements(value):
        text = value[start:end]
        start += len(text) - len(text.lstrip())
        item = (start, start + len(text.strip()))
        try:
            found = _Reader(text.strip()).only()
        except Malformed as error:
            yield Unreadable(item, error.reason)
            continue
        if found is not None:
            address, (first, last) = found
            yield Mailbox(address, (start + first, start + last), item)


def _elements(value: str) -> Iterator[Span]:
    """The parts between the commas of a list and of the groups in it; what is not closed goes on to the end."""
    start = position = 0
    in_angles = in_group = False
    while match := _ELEMENT_PART.match(value, position):
        found, here, position = match.group(), position, match.end()
        if found == "(":
            try:
                position = _skip_comment(value, here)
            except Malformed:
                break
        elif found in ('"', "["):
            break
        elif found in ("<", ">"):
            in_angles = found == "<"
        elif in_angles:
            continue
        elif found == ":" and not in_group:
            start, in_group = position, True
        elif found == "," or (found == ";" and in_group):
            yield start, here
            start, in_group = position, in_group and found == ","
    yield start, len(value)


def _skip_comment(value: str, position: int) -> int:
    """Where the comment that opens at `position` ends; comments nest (RFC 5322 3.2.2)."""
    depth = 0
    while match := _COMMENT_PART.match(value, position):
        position = match.end()
        if match.group() == "(":
            depth += 1
        elif match.group() == ")":
            depth -= 1
            if not depth:
                return position
    raise Malformed("comment is not closed")


def _tokens(value: str) -> Iterator[_Token]:
    position = 0
    while position < len(value):
        if value[position] == "(":
            position = _skip_comment(value, position)
            continue
        match = _TOKEN.match(value, position)
        if not match:
            if value[position] == '"':
                raise Malformed("unmatched doublequote")
            raise Malformed(f"malformed address list at {value[position : position + 32]}")
        position = match.end()
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(match.group() if kind == "special" else kind, match.group(), match.start())


class _Reader:
    """One function per rule; `_next` is the token that is looked at."""

    def __init__(self, value: str) -> None:
        self._tokens = _tokens(value)
        self._next = _END
        self._end = 0
        """Where the token ends that was taken last."""
        self._spec: Span = (0, 0)
        self._advance()

    def _advance(self) -> _Token:
        taken, self._next = self._next, next(self._tokens, _END)
        self._end = taken.start + len(taken.text)
        return taken

    def only(self) -> tuple[Address, Span] | None:
        """The one mailbox that is there, with the place of its addr-spec; None where there are only comments."""
        if self._next is _END:
            return None
        address = self._mailbox(self._words())
        self._expect_separator(False)
        if self._next is not _END:
            raise Malformed("more than one address")
        return address, self._spec

    def addresses(self) -> Iterator[Address]:
        """address-list = [address] *("," [address]), groups opened and closed on the way."""
        in_group = False
        while self._next is not _END:
            match self._next.kind:
                case ",":
                    self._advance()
                    continue
                case ";" if in_group:
                    self._advance()
                    in_group = False
                    self._expect_separator(in_group)
                    continue
            words = self._words()
            if self._next.kind == ":" and words and not in_group:
                self._advance()
                in_group = True
                continue
            yield self._mailbox(words)
            self._expect_separator(in_group)

    def _expect_separator(self, in_group: bool) -> None:
        if self._next.kind not in ((",", "end", ";") if in_group else (",", "end")):
            raise Malformed(f"malformed address: {self._next.text[:32]} may not follow the address")

    def _words(self) -> list[_Token]:
        """Words and dots up to anything else: a display name, a group's name or a local part."""
        words = []
        while self._next.kind in ("atom", "quoted", "."):
            words.append(self._advance())
        return words

    def _mailbox(self, words: list[_Token]) -> Address:
        """mailbox = [display-name] "<" [route] addr-spec ">" / addr-spec, or a local part alone."""
        if self._next.kind != "<":
            start = words[0].start if words else self._next.start
            if self._next.kind == "@" and not words:
                # Exim: a source route, in brackets or not.
                self._route()
                words = self._words()
            # More than one word could have been a name.
            expected = ' (expected word or "<")' if len(words) > 1 else ""
            address = self._addr_spec(words, f"{_NO_LOCAL_PART}{expected}")
            self._spec = (start, self._end)
            return address
        self._advance()
        start = self._next.start
        if self._next.kind == "@":
            self._route()
        address = self._addr_spec(self._words())
        self._spec = (start, self._end)
        if self._next.kind != ">":
            raise Malformed("'>' missing at end of address")
        self._advance()
        return address

    def _route(self) -> None:
        """obs-route = "@" domain *("," "@" domain) ":", read and dropped."""
        while self._next.kind in ("@", ","):
            if self._advance().kind == "@":
                self._domain()
        if self._advance().kind != ":":
            raise Malformed("colon expected after route list")

    def _addr_spec(self, words: list[_Token], complaint: str = _NO_LOCAL_PART) -> Address:
        local_part = _dotted(words, complaint)
        if not local_part:
            raise Malformed(complaint)
        if self._next.kind != "@":
            return check_size(Address(local_part))
        self._advance()
        return check_size(Address(local_part, self._domain()))

    def _domain(self) -> str:
        if self._next.kind == "literal":
            return self._advance().text
        words = self._words()
        domain = _dotted(words, "domain missing or malformed")
        if not domain or any(word.kind == "quoted" for word in words) or not is_domain(domain, True):
            raise Malformed("domain missing or malformed")
        return domain


def _dotted(words: list[_Token], complaint: str) -> str:
    """word *("." word) as one string; anything else is a complaint."""
    is_word = [word.kind != "." for word in words]
    if is_word != [place % 2 == 0 for place in range(len(words))] or len(words) % 2 == 0:
        raise Malformed(complaint)
    return "".join(unquote(_FOLD.sub("", word.text)) for word in words)
