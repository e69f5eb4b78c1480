"""Lists of addresses in header fields, with names, comments and groups (machine).

RFC 5322 3.4, with the obsolete forms of 4.4 that mail programs still write: dots in display names, empty
elements, source routes, blanks and comments around dots. Needed where the recipients are taken from the
message (`relay-sendmail -t`) and where From: is held against the sender. Text that cannot be read raises
`grammar.Malformed`. Characters outside US-ASCII are let through as they came: whether the next hop can take
them is known only there.
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


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


_END = _Token("end", "")


def read_address_list(value: str) -> tuple[Address, ...]:
    """The addresses in a header field's value in their order, groups flattened and names dropped."""
    return tuple(_Reader(value).addresses())


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
            yield _Token(match.group() if kind == "special" else kind, match.group())


class _Reader:
    """One function per rule; `_next` is the token that is looked at."""

    def __init__(self, value: str) -> None:
        self._tokens = _tokens(value)
        self._next = _END
        self._advance()

    def _advance(self) -> _Token:
        taken, self._next = self._next, next(self._tokens, _END)
        return taken

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
            return self._addr_spec(words)
        self._advance()
        if self._next.kind == "@":
            self._route()
        address = self._addr_spec(self._words())
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

    def _addr_spec(self, words: list[_Token]) -> Address:
        local_part = _dotted(words, "missing or malformed local part")
        if not local_part:
            raise Malformed("missing or malformed local part")
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
