"""docs/rfc.md: what the RFCs ask for, the tests that hold us to it, and the modules that name the clause.

`python tests/rfc_page.py > docs/rfc.md` writes it, from tests/requirements.toml and from the references in the code,
which have one form, `RFC 5321 4.5.2`. `faults` says what is wrong with either: a test that does not exist, a
requirement twice, a reference in another form.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
STATES = ("yes", "partly", "no")

_REFERENCE = re.compile(r"\bRFC (\d+)(?: (\d+(?:\.\d+)*))?")
_ODD_REFERENCE = re.compile(r"\b(?:rfc \d+|RFC[-:]?\d{4}|RFC \d+,? ?(?:section|sec\.|§|#))")

_HEAD = """\
# Requirements of RFCs

What the standards of the dialog ask for, and the tests that would fail if we did not do it. Made by `tests/rfc_page.py`
from `tests/requirements.toml`; the modules are those that name the clause.
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause of one RFC."""

    rfc: str
    section: str
    state: str
    text: str
    tests: tuple[str, ...]


def read() -> tuple[Mapping[str, str], tuple[Requirement, ...]]:
    """The titles by number, and all requirements."""
    told = tomllib.loads((TESTS / "requirements.toml").read_text())
    rows = tuple(
        Requirement(number, section, state, text, tuple(tests))
        for number, rfc in told.items()
        for section, state, text, tests in rfc["rows"]
    )
    return {number: rfc["title"] for number, rfc in told.items()}, rows


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    titles, rows = read()
    named = references()
    yield _HEAD
    for number in sorted(titles, key=int):
        yield f"## RFC {number}: {titles[number]}\n"
        yield "| Section | Requirement | Served | Tests | Modules |"
        yield "| --- | --- | --- | --- | --- |"
        for row in rows:
            if row.rfc != number:
                continue
            tests = "<br>".join(f"`{each}`" for each in row.tests)
            modules = "<br>".join(f"`{each}`" for each in named.get((number, row.section), ()))
            yield f"| {row.section} | {row.text} | {row.state} | {tests} | {modules} |"
        yield ""


def references() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Which modules of the package name a section."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for path in sorted((ROOT / "relay").rglob("*.py")):
        for number, section in _REFERENCE.findall(path.read_text()):
            if section:
                found.setdefault((number, section), {})[str(path.relative_to(ROOT / "relay"))] = None
    return {key: tuple(modules) for key, modules in found.items()}


def faults() -> Iterator[str]:
    """All that is wrong, one line each."""
    _, rows = read()
    for row in rows:
        place = f"RFC {row.rfc} {row.section}"
        if not re.fullmatch(r"\d+(\.\d+)*", row.section):
            yield f"{place}: no number of a section"
        if row.state not in STATES:
            yield f"{place}: {row.state!r} is none of {', '.join(STATES)}"
        if bool(row.tests) == (row.state == "no"):
            yield f"{place}: what is served has a test, what is not has none"
        for test in row.tests:
            file, _, name = test.partition("::")
            if name not in _tests_of(file):
                yield f"{place}: there is no test {test}"
    if len(set(rows)) < len(rows):
        yield "a requirement stands there twice"
    for path in sorted((ROOT / "relay").rglob("*.py")):
        for odd in _ODD_REFERENCE.findall(path.read_text()):
            yield f"{path.relative_to(ROOT)}: {odd!r} is to be written as RFC 5321 4.5.2"


@cache
def _tests_of(file: str) -> frozenset[str]:
    """The functions, and the names that are assigned (a state machine of Hypothesis is one)."""
    path = TESTS / file
    if not path.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return frozenset(each for each in found if each.startswith(("test", "Test")))


if __name__ == "__main__":
    sys.stdout.write(page())
