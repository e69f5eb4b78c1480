"""The text of a redirection, cut into its items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.values import Tainted, is_tainted
from relay.mail.address import Address
from relay.policy.routers.forward_lists import (
    Broken,
    Command,
    FileName,
    ForwardItem,
    Include,
    Named,
    Said,
    Word,
    filter_language,
    read_forward_list,
)


def named(text: str, *, is_escaped: bool = False) -> Named:
    local_part, _, domain = text.partition("@")
    return Named(Address(local_part, domain), is_escaped)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" , ,\n", []),
        ("a", [named("a")]),
        ("a, b@c.test\nd", [named("a"), named("b@c.test"), named("d")]),
        ("# all, of it\na\n # b", [named("a")]),
        ("Anna Day <a@b.test>, (only a comment), c", [named("a@b.test"), named("c")]),
        ('"Day, Anna" <a@b.test>', [named("a@b.test")]),
        ("\\a", [named("a", is_escaped=True)]),
        ("|/bin/cat", [Command("|/bin/cat")]),
        ('"|/bin/cat a, b \\"c\\""', [Command('|/bin/cat a, b "c"')]),
        ("|/bin/sh a, /box", [Command("|/bin/sh a"), FileName("/box")]),
        ("/box/", [FileName("/box/")]),
        ("/X=a/Y=b/@gate.test", [named("/X=a/Y=b/@gate.test")]),
        (":include:/etc/x, a", [Include("/etc/x"), named("a")]),
        (":include:", [Include("")]),
        (":unknown:, a", [named("a")]),
        ("a, :fail: so, it\nis\n", [named("a"), Said(Word.FAIL, "so, it\nis", ":fail: so")]),
        (":blackhole:", [Said(Word.BLACKHOLE, "", ":blackhole:")]),
        (":defer:x", [Said(Word.DEFER, "x", ":defer:x")]),
    ],
)
def test_items(text: str, items: list[ForwardItem]) -> None:
    assert list(read_forward_list(text)) == items


@pytest.mark.parametrize("text", ["a b@c", "<a@b", "a@", '"unclosed'])
def test_mistakes(text: str) -> None:
    (item,) = read_forward_list(text)
    assert isinstance(item, Broken)
    assert item.reason


def test_what_comes_from_outside_stays_so() -> None:
    (command,) = read_forward_list(Tainted("|/bin/cat"))
    (include,) = read_forward_list(Tainted(":include:/etc/x"))
    assert isinstance(command, Command)
    assert is_tainted(command.text)
    assert isinstance(include, Include)
    assert is_tainted(include.path)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("# Exim filter\n", "Exim"),
        ("#exim   FILTER <<== do not edit", "Exim"),
        ("\n# Sieve filter", "Sieve"),
        ("# Exim filters\n", ""),
        ("a, # Exim filter", ""),
    ],
)
def test_programs_are_told_from_lists(text: str, language: str) -> None:
    assert filter_language(text) == language


PIECES = st.sampled_from(
    ["a", "@", "b.c", ",", "\n", '"', "\\", "(", ")", "<", ">", "|", "/", ":fail:", ":include:", "#", " "]
)


@given(st.lists(PIECES, max_size=15).map("".join))
def test_any_text_has_an_end(text: str) -> None:
    assert len(list(read_forward_list(text))) <= len(text)
