"""What the makers of closures share: compiled code, and the compiler as they see it (values).

`evaluate.py` walks the tree; for every name it asks a table of `items.py`, `operators.py` or `conditions.py`, and what
it finds there builds a closure with the help of the compiler. These two classes stand between the two sides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from relay.expand.errors import ExpansionError, ExpansionFailed, Span
from relay.expand.list_items import ListKind, Subject
from relay.expand.list_scan import Entry, ListAnswer
from relay.expand.lookups import Found, LookupKind
from relay.expand.patterns import Pattern, PatternError
from relay.expand.scope import SIZE_LIMIT, ACLAnswer, Evaluator, Frame, Scope, Test
from relay.expand.splitting import Split
from relay.expand.tree import Branches, Condition, ListTemplate, Template
from relay.expand.values import text_of
from relay.mail.ports import TemporaryFailure


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled text. Where it is constant, `constant` has it and whoever uses it can prepare for that."""

    run: Evaluator
    constant: str | None = None
    cut: Callable[[Frame], Awaitable[list[str]]] | None = None
    """How its text is evaluated in pieces, where it has any."""

    async def text(self, frame: Frame) -> str:
        """The value as text."""
        return text_of(await self.run(frame))

    async def pieces(self, frame: Frame) -> list[str]:
        """The value as text, cut where its parts meet, those of the branch that an `${if` takes too."""
        return [await self.text(frame)] if self.cut is None else await self.cut(frame)


SplitCode = Callable[[Frame], Awaitable[Split]]
Scan = Callable[[ListKind, tuple[Entry, ...], Subject, Scope], Awaitable[ListAnswer]]
Find = Callable[[Scope, LookupKind, str, str], Awaitable[Found | None]]
Choose = Callable[[Frame, str | None], Awaitable[str]]


class Compiler(Protocol):
    """What a table's entry can ask for while it builds its closure. Each raises ExpansionError."""

    @property
    def scan(self) -> Scan:
        """How a list is asked: `list_scan.scan`, or one that also records the answer."""
        ...

    @property
    def find(self) -> Find:
        """How a lookup is asked: `lookups.find`, or one that also records the answer."""
        ...

    def template(self, template: Template) -> Code: ...

    def condition(self, condition: Condition) -> Test: ...

    def list_items(self, source: ListTemplate) -> SplitCode:
        """Compiles a list that is cut when it has been expanded."""
        ...

    def choose(self, name: str, branches: Branches) -> Choose:
        """Compiles branches: given the frame and what was found (None: nothing), evaluates the right one with $value
        set to it."""
        ...

    def is_certificate(self, template: Template) -> bool:
        """True for nothing but a variable that holds a certificate."""
        ...

    def program(self, text: str) -> Code:
        """Compiles a text that an evaluation has made. Raises ExpansionFailed, also for text from outside."""
        ...

    def note_lists(self, lists: frozenset[tuple[ListKind, str]]) -> None:
        """Named lists are referred to."""
        ...


def checked(text: str) -> str:
    """`text` if it is not over the bound of sizes."""
    if len(text) > SIZE_LIMIT:
        raise ExpansionFailed("the expanded string is too long")
    return text


def check_size(size: int) -> None:
    """Raises ExpansionFailed where a result that grows is over the bound of sizes."""
    if size > SIZE_LIMIT:
        raise ExpansionFailed("the expanded string is too long")


async def run_acl(frame: Frame, texts: list[str]) -> ACLAnswer:
    """Asks the scope's runner. Raises TemporaryFailure where there is none."""
    runner = frame.scope.acl_runner
    if runner is None:
        raise TemporaryFailure(f'ACL "{texts[0]}" can\'t be run here')
    scope = frame.inner_scope()
    scope.acl_arguments = tuple(texts[1:])
    return await runner.run(texts[0], scope.acl_arguments, scope)


def prepared_pattern(code: Code, span: Span) -> Callable[[Frame], Awaitable[Pattern]]:
    """A pattern, made now where its text is constant. Raises ExpansionError."""
    if code.constant is not None:
        try:
            ready = Pattern(code.constant)
        except PatternError as error:
            raise ExpansionError(str(error), span) from None

        async def constant(_frame: Frame) -> Pattern:
            return ready

        return constant

    async def made(frame: Frame) -> Pattern:
        try:
            return Pattern(await code.text(frame))
        except PatternError as error:
            raise ExpansionFailed(str(error)) from None

    return made
