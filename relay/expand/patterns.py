"""Regular expressions: the one place where an engine for them is used (machine).

Exim's patterns are PCRE2 on octets; here they are the `regex` library's, also on octets, with ASCII character classes
and a limit of time for each match, so that no pattern hangs us on a peer's text. What differs: `\\Q…\\E`, callouts and
the verbs `(*…)` are not known, and a set such as `[[a]` may need its bracket escaped. To use another engine, change
`Pattern` and nothing else.
"""

from __future__ import annotations

import regex

from relay.expand.values import Value, from_octets, is_tainted, octets, taint_like
from relay.mail.ports import TemporaryFailure

# Seconds that a match may take, or all matches of one substitution together.
MATCH_SECONDS = 0.25
# Octets of a pattern that has text from outside in it.
TAINTED_PATTERN_LIMIT = 4096
# $0 to $9 and what Exim keeps behind them.
CAPTURES_LIMIT = 21


class PatternError(Exception):
    """The pattern is no regular expression; the text is for the operator."""


class Pattern:
    """A compiled pattern. Each method raises TemporaryFailure where the match takes too long."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str, caseless: bool = False) -> None:
        if is_tainted(source) and len(source) > TAINTED_PATTERN_LIMIT:
            raise PatternError("regular expression with text from outside is too long")
        flags = regex.ASCII | regex.VERSION0
        if caseless:
            flags |= regex.IGNORECASE
        self.source = source
        try:
            self._compiled = regex.compile(octets(source), flags)
        except (regex.error, RecursionError, OverflowError, ValueError) as error:
            raise PatternError(f'regular expression error in "{source}": {error}') from None

    def search(self, subject: str) -> tuple[str, ...] | None:
        """$0, $1, … of the first match, a group that took no part empty; None where there is no match."""
        try:
            match = self._compiled.search(octets(subject), timeout=MATCH_SECONDS)
        except TimeoutError:
            raise _too_slow(self.source) from None
        return None if match is None else _captures(match, subject)

    def matches(self, subject: str) -> list[tuple[int, int, tuple[str, ...]]]:
        """All matches from left to right as (start, end, captures), in octets; empty ones as Perl finds them.

        The limit of time holds for all of them together, and so bounds their number as well.
        """
        try:
            found = self._compiled.finditer(octets(subject), timeout=MATCH_SECONDS)
            return [(match.start(), match.end(), _captures(match, subject)) for match in found]
        except TimeoutError:
            raise _too_slow(self.source) from None


def _captures(match: regex.Match[bytes], subject: Value) -> tuple[str, ...]:
    found = (match.group(), *match.groups(b""))[:CAPTURES_LIMIT]
    return tuple(taint_like(from_octets(group), subject) for group in found)


def _too_slow(source: str) -> TemporaryFailure:
    return TemporaryFailure(f'regular expression "{source}" takes too long to match')
