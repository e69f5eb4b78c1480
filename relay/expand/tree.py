"""The parsed form of an expansion: a frozen tree in which every node knows its place (values).

One class for each form that the language has, not for each name: `${lc:…}` and `${md5:…}` are both an `Operator`. What
a name means is in the tables of `operators.py`, `items.py` and `conditions.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.expand.errors import Span


@dataclass(frozen=True, slots=True)
class Literal:
    """Text as it is, escapes already replaced."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, or `${name}` if `braced`."""

    name: str
    braced: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Capture:
    """`$1`, `${1}`: a substring of the last match."""

    number: int
    span: Span


class HeaderForm(enum.Enum):
    """The four ways to see a header field."""

    DECODED = "h"
    RAW = "rh"
    UNCONVERTED = "bh"
    LIST = "lh"


@dataclass(frozen=True, slots=True)
class HeaderVariable:
    """`$h_name:` and its relatives."""

    name: str
    form: HeaderForm
    span: Span


@dataclass(frozen=True, slots=True)
class Template:
    """A text with things to expand in it; `span` is without the braces around it."""

    nodes: tuple[Node, ...]
    span: Span

    @property
    def constant(self) -> str | None:
        """The text, where there is nothing to expand."""
        if not self.nodes:
            return ""
        if len(self.nodes) == 1 and isinstance(self.nodes[0], Literal):
            return self.nodes[0].text
        return None


@dataclass(frozen=True, slots=True)
class ListTemplate:
    """An argument that is a list: a change of separator is read from the text, before anything is expanded."""

    separator: str
    """Empty where the text does not change it."""
    body: Template


@dataclass(frozen=True, slots=True)
class Operator:
    """`${name:…}`; `name` has its arguments in it (`length_3`)."""

    name: str
    argument: Template
    span: Span


@dataclass(frozen=True, slots=True)
class Forced:
    """The word `fail` where a text for the negative case could stand."""

    span: Span


@dataclass(frozen=True, slots=True)
class Branches:
    """What to give in the positive and in the negative case; None: what the item itself says."""

    positive: Template | None = None
    negative: Template | Forced | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """`${name{…}{…}}`: an item that only takes arguments."""

    name: str
    arguments: tuple[Template, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Choice:
    """`${name{…}…{yes}{no}}`: an item that finds something or not (certextract, env)."""

    name: str
    arguments: tuple[Template, ...]
    branches: Branches
    span: Span


@dataclass(frozen=True, slots=True)
class If:
    """`${if condition{yes}{no}}`."""

    condition: Condition
    branches: Branches
    span: Span


@dataclass(frozen=True, slots=True)
class Extract:
    """`${extract{…}…}`: what the first argument expands to decides whether one or two follow before the branches."""

    form: str
    """Empty, `json` or `jsons`."""
    arguments: tuple[Template, ...]
    forced: Forced | None
    span: Span


@dataclass(frozen=True, slots=True)
class ListExtract:
    """`${listextract{number}{list}{yes}{no}}`."""

    number: Template
    source: ListTemplate
    branches: Branches
    span: Span


@dataclass(frozen=True, slots=True)
class LookUp:
    """`${lookup{key} type {file}…}`, or `${lookup type {query}…}` with `key` None."""

    key: Template | None
    kind: str
    source: Template
    branches: Branches
    span: Span


@dataclass(frozen=True, slots=True)
class Filter:
    """`${filter{list}{condition}}`."""

    source: ListTemplate
    condition: Condition
    span: Span


@dataclass(frozen=True, slots=True)
class Map:
    """`${map{list}{text}}`."""

    source: ListTemplate
    body: Template
    span: Span


@dataclass(frozen=True, slots=True)
class Reduce:
    """`${reduce{list}{initial}{text}}`."""

    source: ListTemplate
    initial: Template
    body: Template
    span: Span


@dataclass(frozen=True, slots=True)
class Sort:
    """`${sort{list}{comparison}{key}}`; the comparison is a name."""

    source: ListTemplate
    comparison: str
    key: Template
    span: Span


Node = (
    Literal
    | Variable
    | Capture
    | HeaderVariable
    | Operator
    | Call
    | Choice
    | If
    | Extract
    | ListExtract
    | LookUp
    | Filter
    | Map
    | Reduce
    | Sort
)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that takes texts: `eq{a}{b}`, `bool{a}`, `isip{a}`, `acl{{name}{argument}}`."""

    name: str
    arguments: tuple[Template, ...]
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class InList:
    """`inlist{text}{list}` and `inlisti`."""

    name: str
    subject: Template
    source: ListTemplate
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Defined:
    """`def:name`."""

    what: Variable | HeaderVariable
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """`and{{…}{…}}` and `or`."""

    name: str
    members: tuple[Condition, ...]
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Quantified:
    """`forany{list}{condition}` and its relatives."""

    name: str
    source: ListTemplate
    condition: Condition
    negated: bool
    span: Span


Condition = Check | InList | Defined | Group | Quantified
