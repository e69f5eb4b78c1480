"""Evaluates an expansion and tells how its value came about: `relay expand --explain` (decision).

`explain` compiles a text with a compiler of its own, whose closures are those of `evaluate.py`, each wrapped in one
that writes down what it gave. What comes out is a tree of steps in the order in which they were taken. What was never
evaluated, such as the branch that was not taken, has no step. An ordinary evaluation knows nothing of all this and
pays nothing for it.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from relay.expand import lookups
from relay.expand.compiling import Code
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure, Span
from relay.expand.evaluate import TreeCompiler
from relay.expand.list_items import ListKind, Subject
from relay.expand.list_scan import Entry, ListAnswer, ListMatch, Telling, scan
from relay.expand.lookups import Found, LookupKind
from relay.expand.scope import Frame, Scope, Test
from relay.expand.syntax import TOO_DEEP, parse
from relay.expand.tree import Branches, Condition, Forced, Literal, Node, Template
from relay.expand.values import Value, is_tainted
from relay.mail.ports import TemporaryFailure

# How many steps are kept: a loop over a long list does not fill the memory.
STEPS_LIMIT = 5000

T = TypeVar("T")


class Role(enum.Enum):
    """What a step is part of its parent as."""

    TEXT = "text"
    CONDITION = "condition"
    YES = "then"
    NO = "else"
    LIST = "list"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of a text: `text` is all of it, `span` says where."""

    text: str
    span: Span

    @property
    def written(self) -> str:
        """The piece."""
        return self.text[self.span[0] : self.span[1]]


@dataclass(frozen=True, slots=True)
class Gave:
    """A text or certificate."""

    value: Value


@dataclass(frozen=True, slots=True)
class Held:
    """A condition's or a list's answer, and what decided it where that is known."""

    yes: bool
    by: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """A lookup that found nothing, which is not the same as finding an empty text."""


class Fault(enum.Enum):
    """The three ways to have no value."""

    FAILED = "failed"
    FORCED = "forced failure"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Broke:
    """No value, and why."""

    fault: Fault
    message: str


Outcome = Gave | Held | Missed | Broke


@dataclass(frozen=True, slots=True)
class Step:
    """One sub-expression, what it came to, and the steps inside of it in the order in which they were taken."""

    role: Role
    written: str
    """As the text has it; for lookups and lists what was asked."""
    outcome: Outcome
    place: Place | None = None
    """None for what has no place in a text of its own."""
    changed: tuple[tuple[str, str], ...] = ()
    """Variables that differ from what they were in the step around this one: ("item", "x"), ("1", "y")."""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole evaluation: its last step, and whether more steps were taken than are kept."""

    step: Step
    cut: bool

    @property
    def failed(self) -> Step | None:
        """The innermost step that failed, None where the text has a value."""
        step = self.step
        if not isinstance(step.outcome, Broke):
            return None
        while step.steps and isinstance(step.steps[-1].outcome, Broke):
            step = step.steps[-1]
        return step

    @property
    def failed_at(self) -> Place | None:
        """The innermost place in a text that failed."""
        step, found = self.step, None
        while isinstance(step.outcome, Broke):
            found = step.place or found
            if not step.steps:
                break
            step = step.steps[-1]
        return found


async def explain(text: str, scope: Scope) -> Explanation:
    """Evaluates `text` as `compile_expansion(text).text(scope)` does; a failure is told, not raised.

    Raises ExpansionError where the text is not in the language.
    """
    if is_tainted(text):
        raise ExpansionError(f"attempt to expand tainted string '{text}'")
    record = _Record()
    compiler = _Explainer(text, record)
    tree = parse(text)
    try:
        code = compiler.whole(tree)
    except RecursionError:
        raise ExpansionError(TOO_DEEP, tree.span) from None
    try:
        await code.run(Frame(scope))
    except (ExpansionFailed, TemporaryFailure):
        pass  # the step says so
    return Explanation(record.root, record.cut)


@dataclass(slots=True)
class _Open:
    """A step that is being taken."""

    seen: tuple[str, str, tuple[str, ...]]
    """$item, $value and $0 to $9 when it began."""
    changed: tuple[tuple[str, str], ...]
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Part:
    """A sub-expression whose evaluation will be a step, as it is known when it is compiled."""

    role: Role
    place: Place
    known: tuple[Step, ...] = ()
    """Its arguments that need no evaluation and yet are not what they look like (escapes)."""


class _Record:
    """The steps as they are taken: evaluation goes one way at a time, so one stack is enough."""

    def __init__(self) -> None:
        self.open: list[_Open] = []
        self.kept = 0
        self.cut = False
        self._root: Step | None = None

    @property
    def root(self) -> Step:
        assert self._root is not None
        return self._root

    async def take(self, frame: Frame, part: Part, work: Awaitable[T], told: Callable[[T], Outcome]) -> T:
        """Awaits `work` as one step."""
        self._begin(frame, part)
        try:
            result = await work
        except (ExpansionFailed, TemporaryFailure) as failure:
            self._end(part, _broke(failure))
            raise
        self._end(part, told(result))
        return result

    def note(self, step: Step) -> None:
        """A step of the one that is open, or the last of all."""
        if not self.open:
            self._root = step
        elif self.kept >= STEPS_LIMIT and not isinstance(step.outcome, Broke):
            self.cut = True  # of a failure the way to it is kept
        else:
            self.kept += 1
            self.open[-1].steps.append(step)

    def _begin(self, frame: Frame, part: Part) -> None:
        seen = (frame.item, frame.value, frame.captures)
        before = self.open[-1].seen if self.open else seen
        self.open.append(_Open(seen, _changes(before, seen), list(part.known)))

    def _end(self, part: Part, outcome: Outcome) -> None:
        ended, place = self.open.pop(), part.place
        steps = tuple(ended.steps)
        if len(steps) == 1 and steps[0].place == place and not steps[0].changed:
            steps = steps[0].steps  # an argument that is nothing but one item
        self.note(Step(part.role, place.written, outcome, place, ended.changed, steps))


def _changes(
    before: tuple[str, str, tuple[str, ...]], now: tuple[str, str, tuple[str, ...]]
) -> tuple[tuple[str, str], ...]:
    found = [("item", now[0])] if before[0] != now[0] else []
    if before[1] != now[1]:
        found.append(("value", now[1]))
    if before[2] != now[2]:
        found += [(str(number), text) for number, text in enumerate(now[2])]
    return tuple(found)


def _broke(failure: Exception) -> Broke:
    match failure:
        case ForcedFailure():
            return Broke(Fault.FORCED, str(failure))
        case TemporaryFailure():
            return Broke(Fault.DEFERRED, str(failure))
        case _:
            return Broke(Fault.FAILED, str(failure))


class _Explainer(TreeCompiler):
    """The compiler whose closures write down what they give."""

    def __init__(self, text: str, record: _Record) -> None:
        super().__init__()
        self.text = text
        self.record = record
        self.known: list[Step] = []
        """`Part.known` of the sub-expression that is being compiled."""

    def whole(self, template: Template) -> Code:
        """The text that is explained: a step even where it is constant."""
        return self.traced(Role.TEXT, template.span, lambda: super(_Explainer, self).template(template))

    def traced(self, role: Role, span: Span, build: Callable[[], Code]) -> Code:
        """What `build` compiles, as a step."""
        outer, self.known = self.known, []
        run = build().run
        part, take = Part(role, Place(self.text, span), tuple(self.known)), self.record.take
        self.known = outer

        async def evaluate(frame: Frame) -> Value:
            return await take(frame, part, run(frame), Gave)

        return Code(evaluate)

    def template(self, template: Template) -> Code:
        """An argument: what has several parts is a step of its own, else its one part is."""
        if len(template.nodes) > 1:
            return self.traced(Role.TEXT, template.span, lambda: super(_Explainer, self).template(template))
        code, place = super().template(template), Place(self.text, template.span)
        if code.constant is not None and code.constant != place.written:
            self.known.append(Step(Role.TEXT, place.written, Gave(code.constant), place))
        return code

    def node(self, node: Node) -> Code:
        if isinstance(node, Literal):
            return super().node(node)
        return self.traced(Role.TEXT, node.span, lambda: super(_Explainer, self).node(node))

    def condition(self, condition: Condition) -> Test:
        outer, self.known = self.known, []
        test, take = super().condition(condition), self.record.take
        start, end = condition.span
        if condition.negated:
            start = self.text.rfind("!", 0, start)
        part = Part(Role.CONDITION, Place(self.text, (start, end)), tuple(self.known))
        self.known = outer

        async def ask(frame: Frame) -> bool:
            return await take(frame, part, test(frame), Held)

        return ask

    def positive(self, branches: Branches, otherwise: Code) -> Code:
        if branches.positive is None:
            return otherwise
        span = branches.positive.span
        return self.traced(Role.YES, span, lambda: super(_Explainer, self).positive(branches, otherwise))

    def negative(self, name: str, branches: Branches) -> Code:
        match branches.negative:
            case None:
                return super().negative(name, branches)
            case Forced(span) | Template(span=span):
                return self.traced(Role.NO, span, lambda: super(_Explainer, self).negative(name, branches))

    def program(self, text: str) -> Code:
        """A text that an evaluation has made has places of its own."""
        super().program(text)
        return _Explainer(text, self.record).whole(parse(text))

    async def scan(
        self,
        kind: ListKind,
        entries: tuple[Entry, ...],
        subject: Subject,
        scope: Scope,
        telling: Telling | None = None,
    ) -> ListAnswer:
        asked = f"{kind.value} list"
        try:
            answer = await scan(kind, entries, subject, scope, telling)
        except (ExpansionFailed, TemporaryFailure) as failure:
            self.record.note(Step(Role.LIST, asked, _broke(failure)))
            raise
        held = Held(isinstance(answer, ListMatch), answer.decided_by)
        self.record.note(Step(Role.LIST, asked, held))
        return answer

    async def find(self, scope: Scope, kind: LookupKind, key: str, source: str) -> Found | None:
        asked = f'{kind.text} "{key or source}"' + (f" in {source}" if source and key else "")
        try:
            found = await lookups.find(scope, kind, key, source)
        except (ExpansionFailed, TemporaryFailure) as failure:
            self.record.note(Step(Role.LOOKUP, asked, _broke(failure)))
            raise
        self.record.note(Step(Role.LOOKUP, asked, Missed() if found is None else Gave(found.data)))
        return found
