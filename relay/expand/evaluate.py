"""Compiles an expansion into closures, and evaluates it (decision).

`compile_expansion` reads the text and builds one closure for every node of its tree, once; evaluating only runs them.
Nothing is looked up by name any more at that time. Closures are coroutines because any of them may hold a lookup; a
string without lookups runs through without ever waiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from relay.expand import conditions, items, lookups, message_variables, operators, tls_variables, variables
from relay.expand.compiling import Choose, Code, SplitCode, check_size, checked
from relay.expand.errors import ExpansionError, ExpansionFailed, ForcedFailure, NotServed, Span
from relay.expand.list_items import ListKind
from relay.expand.list_scan import scan
from relay.expand.scope import Evaluator, Frame, Scope, Test
from relay.expand.splitting import Split, split_list
from relay.expand.syntax import TOO_DEEP, parse
from relay.expand.tree import (
    Branches,
    Call,
    Capture,
    Check,
    Choice,
    Condition,
    Defined,
    Extract,
    Filter,
    Forced,
    Group,
    HeaderVariable,
    If,
    InList,
    ListExtract,
    ListTemplate,
    Literal,
    LookUp,
    Map,
    Node,
    Operator,
    Quantified,
    Reduce,
    Sort,
    Template,
    Variable,
)
from relay.expand.values import Folded, Quoted, Tainted, Value, is_tainted, taint_like, text_of


class Expansion:
    """A compiled text. Made by `compile_expansion`, good for any number of evaluations at the same time."""

    __slots__ = ("_parts", "_run", "constant", "fault", "lists_used", "names_used", "source")

    def __init__(
        self,
        source: str,
        code: Code,
        parts: tuple[Code, ...],
        names: frozenset[str],
        lists: frozenset[tuple[ListKind, str]],
        fault: ExpansionError | None = None,
    ) -> None:
        self.fault = fault
        """The mistake because of which every evaluation fails."""
        self.source = source
        """The text as it was written."""
        self.constant = code.constant
        """The value, where nothing has to be evaluated; else None."""
        self.names_used = names
        """Variables that it mentions, without the dollar sign."""
        self.lists_used = lists
        """Named lists that it mentions: (kind, name)."""
        self._run = code.run
        self._parts = parts

    def __repr__(self) -> str:
        return f"Expansion({self.source!r})"

    async def value(self, scope: Scope) -> Value:
        """Evaluates. Raises ForcedFailure, ExpansionFailed, or what a port raises (TemporaryFailure)."""
        if self.constant is not None:
            return self.constant
        return await _within_the_stack(self._run(Frame(scope)))

    async def text(self, scope: Scope) -> str:
        """The value as text. Raises as `value`."""
        if self.constant is not None:
            return self.constant
        return text_of(await _within_the_stack(self._run(Frame(scope))))

    async def lines(self, scope: Scope) -> str:
        """The value as text whose line breaks are all the configuration's own, or ours in a field that we have folded;
        those from outside become blanks.

        For what is cut into lines afterwards (header fields, replies): no peer may begin a line there.
        """
        found = await self.pieces(scope)
        text = "".join(
            " ".join(piece.splitlines()) if is_tainted(piece) and not isinstance(piece, Folded) else piece
            for piece in found
        )
        return taint_like(text, *found)

    async def pieces(self, scope: Scope) -> list[str]:
        """The value cut where its parts meet, so that one can tell which of them came from outside."""
        frame = Frame(scope)
        return await _within_the_stack(_cut(self._parts, frame))


T = TypeVar("T")


async def _within_the_stack(evaluation: Awaitable[T]) -> T:
    """Texts that expand each other can come to more levels than Python has, each of them within its bounds."""
    try:
        return await evaluation
    except RecursionError:
        raise ExpansionFailed(TOO_DEEP) from None


def compile_expansion(text: str) -> Expansion:
    """Reads and compiles `text`. Raises ExpansionError.

    Text from outside is refused: it is never program.
    """
    if is_tainted(text):
        raise ExpansionError(f"attempt to expand tainted string '{text}'")
    compiler = TreeCompiler()
    tree = parse(text)
    try:
        parts = tuple(compiler.node(node) for node in tree.nodes)
    except RecursionError:
        raise ExpansionError(TOO_DEEP, tree.span) from None
    code = _join(parts)
    return Expansion(text, code, parts, frozenset(compiler.names), frozenset(compiler.lists))


def compile_for_use(text: str) -> Expansion:
    """As `compile_expansion`, for an option that need not be used: a mistake in the text makes every evaluation fail
    with Exim's words for it, as it would there, and `fault` tells of it beforehand. Raises NotServed."""
    try:
        return compile_expansion(text)
    except NotServed:
        raise
    except ExpansionError as error:
        return broken_expansion(text, error)


def broken_expansion(text: str, fault: ExpansionError) -> Expansion:
    """A text that can only fail."""

    async def fail(_frame: Frame) -> Value:
        raise ExpansionFailed(fault.message)

    code = Code(fail)
    return Expansion(text, code, (code,), frozenset(), frozenset(), fault)


class TreeCompiler:
    """One compilation: gathers the names that occur, builds the closures (the protocol of `compiling.Compiler`).

    `explaining.py` has one whose closures also record what they gave.
    """

    # How lists and lookups are asked.
    scan = staticmethod(scan)
    find = staticmethod(lookups.find)

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists: set[tuple[ListKind, str]] = set()

    def note_lists(self, lists: frozenset[tuple[ListKind, str]]) -> None:
        self.lists |= lists

    def program(self, text: str) -> Code:
        """A text that an evaluation has made, compiled on its own."""
        if is_tainted(text):
            raise ExpansionFailed(f"attempt to expand tainted string '{text}'")
        try:
            return TreeCompiler().template(parse(text))
        except RecursionError:
            raise ExpansionFailed(TOO_DEEP) from None
        except ExpansionError as error:
            raise ExpansionFailed(f'internal expansion of "{text}" failed: {error.message}') from None

    def template(self, template: Template) -> Code:
        return _join(tuple(self.node(node) for node in template.nodes))

    def node(self, node: Node) -> Code:
        """One node of a text."""
        match node:
            case Literal(text):
                return _constant(text)
            case Variable():
                return Code(self.variable(node))
            case Capture(number):
                return Code(_capture(number))
            case HeaderVariable(name, form):
                return Code(message_variables.header_getter(name, form))
            case Operator():
                return Code(operators.build(self, node))
            case If(condition, branches):
                return self.condition_item(condition, branches)
            case Call() | Choice() | Extract() | ListExtract() | LookUp() | Filter() | Map() | Reduce() | Sort():
                return Code(items.build(self, node))

    def variable(self, node: Variable) -> Evaluator:
        """`$name`. Raises ExpansionError in Exim's words where there is none."""
        self.names.add(node.name)
        getter = variables.find(node.name)
        if getter is None:
            what = f'unknown variable in "${{{node.name}}}"' if node.braced else f'unknown variable name "{node.name}"'
            raise _unknown(what, node.name, node.span)
        return getter

    def is_certificate(self, template: Template) -> bool:
        nodes = template.nodes
        return len(nodes) == 1 and isinstance(nodes[0], Variable) and nodes[0].name in tls_variables.CERTIFICATES

    def condition_item(self, condition: Condition, branches: Branches) -> Code:
        """`${if`: the condition may change $value and $0 to $9, and the branches see that."""
        test = self.condition(condition)
        positive = self.positive(branches, _constant("true"))
        negative = self.negative("if", branches)

        async def evaluate(frame: Frame) -> Value:
            inner = frame.fork()
            return await (positive if await test(inner) else negative).run(inner)

        async def cut(frame: Frame) -> list[str]:
            inner = frame.fork()
            return await (positive if await test(inner) else negative).pieces(inner)

        return Code(evaluate, cut=cut)

    def positive(self, branches: Branches, otherwise: Code) -> Code:
        """What is given in the positive case; `otherwise` where the text leaves that to the item."""
        return self.template(branches.positive) if branches.positive else otherwise

    def negative(self, name: str, branches: Branches) -> Code:
        """What is given in the negative case."""
        match branches.negative:
            case None:
                return _constant("")
            case Forced():
                return Code(_forced(f'"{name}" failed and "fail" requested'))
            case Template() as template:
                return self.template(template)

    def choose(self, name: str, branches: Branches) -> Choose:
        positive = self.positive(branches, Code(_value))
        negative = self.negative(name, branches)

        async def choose(frame: Frame, found: str | None) -> str:
            if found is None:
                return await negative.text(frame)
            inner = frame.fork()
            inner.value = found
            return await positive.text(inner)

        return choose

    def list_items(self, source: ListTemplate) -> SplitCode:
        code, separator = self.template(source.body), source.separator
        if code.constant is not None:
            ready = split_list(code.constant, separator)

            async def constant(_frame: Frame) -> Split:
                return ready

            return constant

        async def items_of(frame: Frame) -> Split:
            text = await code.text(frame)
            frame.budget.read(text)
            return split_list(text, separator)

        return items_of

    def condition(self, condition: Condition) -> Test:
        """A condition with its negation."""
        test = self.bare_condition(condition)
        if not condition.negated:
            return test

        async def negated(frame: Frame) -> bool:
            return not await test(frame)

        return negated

    def bare_condition(self, condition: Condition) -> Test:
        match condition:
            case Defined(what):
                return self.defined(what)
            case Check() | InList() | Group() | Quantified():
                return conditions.build(self, condition)

    def defined(self, what: Variable | HeaderVariable) -> Test:
        """`def:`: a variable that is not empty, a header that is there."""
        if isinstance(what, HeaderVariable):
            return message_variables.header_test(what.name)
        self.names.add(what.name)
        getter = variables.find(what.name)
        if getter is None:
            raise _unknown(f'unknown variable "{what.name}" after "def:"', what.name, what.span)

        async def test(frame: Frame) -> bool:
            return bool(await getter(frame))

        return test


def _constant(text: str) -> Code:
    async def constant(_frame: Frame) -> Value:
        return text

    return Code(constant, text)


async def _value(frame: Frame) -> Value:
    return frame.value


def _forced(message: str) -> Evaluator:
    async def forced(_frame: Frame) -> Value:
        raise ForcedFailure(message)

    return forced


def _capture(number: int) -> Evaluator:
    async def capture(frame: Frame) -> Value:
        captures = frame.captures
        return captures[number] if number < len(captures) else ""

    return capture


def _join(parts: tuple[Code, ...]) -> Code:
    """Several codes as one; what is made of a tainted part is tainted."""
    if not parts:
        return _constant("")
    if len(parts) == 1:
        return parts[0]
    elements: list[str | Callable[[Frame], Awaitable[Value]]] = [
        part.run if part.constant is None else part.constant for part in parts
    ]

    async def join(frame: Frame) -> Value:
        texts: list[str] = []
        tainted, quoted = False, True
        for element in elements:
            if isinstance(element, str):
                texts.append(element)
                continue
            text = text_of(await element(frame))
            if isinstance(text, Tainted):
                tainted, quoted = True, quoted and isinstance(text, Quoted)
            texts.append(text)
        joined = checked("".join(texts))
        frame.budget.copy(joined)
        if not tainted:
            return joined
        return Quoted(joined) if quoted else Tainted(joined)

    return Code(join, cut=lambda frame: _cut(parts, frame))


async def _cut(parts: tuple[Code, ...], frame: Frame) -> list[str]:
    """The pieces of several codes, within the bound that they have together."""
    pieces: list[str] = []
    size = 0
    for part in parts:
        found = await part.pieces(frame) if part.constant is None else [part.constant]
        size += sum(map(len, found))
        check_size(size)
        pieces += found
    return pieces


def _unknown(what: str, name: str, span: Span) -> ExpansionError:
    """The complaint about a variable."""
    kind = NotServed if variables.is_refused(name) else ExpansionError
    return kind(what + variables.hint(name), span)
