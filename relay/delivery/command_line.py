"""A command as an argument list: cut into words first, each of them expanded afterwards (machine).

So no text that an expansion gives can become two arguments, and no shell ever sees a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.expand.evaluate import Expansion, compile_for_use

_MOST = 60
_WORD = re.compile(
    r"""[ \t\n]*(?:'(?P<verbatim>[^']*)(?:'|$)|"(?P<quoted>(?:[^"\\]|\\.)*)(?:"|$)|(?P<plain>[^ \t\n]+))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ADDRESSES = frozenset({"$pipe_addresses", "${pipe_addresses}"})
_ADDRESS_PIPE = frozenset({"$address_pipe", "${address_pipe}"})


class TooManyWords(ValueError):
    """A command of more words than Exim takes."""


def split_command(text: str) -> tuple[str, ...]:
    """The words: between single quotes as they stand, between double quotes with escapes. Raises TooManyWords."""
    words: list[str] = []
    position = 0
    while (match := _WORD.match(text, position)) is not None:
        position = match.end()
        verbatim, quoted, plain = match.group("verbatim", "quoted", "plain")
        words.append(verbatim if verbatim is not None else plain if plain is not None else _unescaped(quoted))
        if len(words) > _MOST:
            raise TooManyWords(text)
    return tuple(words)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    octal, hexadecimal, other = match.groups()
    if octal or hexadecimal:
        return chr(int(octal, 8) & 0xFF if octal else int(hexadecimal, 16))
    return _LETTERS.get(other, other)


@dataclass(frozen=True, slots=True)
class AllAddresses:
    """The word `$pipe_addresses`: one argument for each recipient of the batch."""


@dataclass(frozen=True, slots=True)
class AddressPipe:
    """The word `$address_pipe` of a forced command: the words that the redirection named."""


Word = Expansion | AllAddresses | AddressPipe


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command of the configuration: its text, and its words compiled."""

    text: str
    words: tuple[Word, ...]

    @property
    def expansions(self) -> tuple[Expansion, ...]:
        return tuple(word for word in self.words if isinstance(word, Expansion))


def compile_command(text: str) -> CommandLine:
    """Cuts and compiles; a mistake in a word is one of its use. Raises TooManyWords, NotServed."""
    return CommandLine(text, tuple(_word(word) for word in split_command(text)))


def _word(word: str) -> Word:
    if word in _ADDRESSES:
        return AllAddresses()
    if word in _ADDRESS_PIPE:
        return AddressPipe()
    return compile_for_use(word)
