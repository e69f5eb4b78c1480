"""Texts for who watches."""

from collections.abc import Callable
from typing import Any

import pytest

from relay.expand.debug_print import tell_watcher
from relay.expand.evaluate import compile_expansion
from relay.expand.notes import Notes
from relay.expand.scope import AddressView, Scope

SCOPE = Scope(address=AddressView(local_part="bob", domain="x.test"))
Run = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("for $local_part", ["for bob"]),
        ("one\ntwo\n", ["one\ntwo"]),
        ("", []),
        ("bell \a", ["bell \\007"]),
        ("${if eq{a}{b}{c}fail}", ['failed to expand debug_output "${if eq{a}{b}{c}fail}": forced failure']),
    ],
)
def test_what_is_told(run: Run, text: str, told: list[str]) -> None:
    lines: list[str] = []
    run(tell_watcher(compile_expansion(text), SCOPE, lines.append))
    assert len(lines) == len(told)
    assert [line[:40] for line in lines] == [line[:40] for line in told]


def test_nothing_is_expanded_where_nobody_watches(run: Run) -> None:
    run(tell_watcher(compile_expansion("$local_part"), Scope(), None))
    lines: list[str] = []
    run(tell_watcher(None, SCOPE, lines.append))
    assert lines == []


def test_a_played_session_has_it_among_its_notes(run: Run) -> None:
    lines: list[str] = []
    run(tell_watcher(compile_expansion("seen"), SCOPE.child(notes=Notes(lines.append)), None))
    assert lines == [">>> seen"]
