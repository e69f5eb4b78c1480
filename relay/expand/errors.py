"""How reading and evaluating the language can fail (values).

A mistake in the text is an `ExpansionError` and is found when the configuration is read; whoever uses the text
nevertheless has a failure then (`evaluate.compile_for_use`). What can only be known while a string is expanded is an
`ExpansionFailed`; the word `fail` gives its subclass `ForcedFailure`, which callers treat as an answer ("leave this
out"), not as a fault; a lookup that can't answer now raises `relay.mail.ports.TemporaryFailure`. An empty string is
none of the three.
"""

from __future__ import annotations

# Where a piece of the language stands in its text: index of its first character, and the one behind its last.
Span = tuple[int, int]


class ExpansionError(Exception):
    """The text is not in the language; `message` is in Exim's words where Exim has some, `span` says where."""

    def __init__(self, message: str, span: Span = (0, 0)) -> None:
        super().__init__(message)
        self.message = message
        self.span = span

    def underline(self, text: str) -> str:
        """The line of `text` that holds the mistake, and below it a line of carets: for terminals."""
        start, end = self.span
        first = text.rfind("\n", 0, start) + 1
        last = text.find("\n", start)
        line = text[first : len(text) if last < 0 else last]
        width = max(1, min(end, first + len(line)) - start)
        return f"{line}\n{' ' * (start - first)}{'^' * width}"


class NotServed(ExpansionError):
    """It is in Exim's language and not in ours: it would do something there, so that it is no matter of its use."""


class ExpansionFailed(Exception):
    """A string could not be expanded; the text is for the log."""

    @property
    def message(self) -> str:
        return str(self)


class ForcedFailure(ExpansionFailed):
    """The configuration asked for the failure with the word `fail`."""
