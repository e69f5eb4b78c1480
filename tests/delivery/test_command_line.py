"""Commands are cut into words before anything is expanded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.command_line import (
    AddressPipe,
    AllAddresses,
    TooManyWords,
    compile_command,
    split_command,
)
from relay.expand.errors import ExpansionError


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ()),
        ("  /bin/x  a\tb ", ("/bin/x", "a", "b")),
        ("/x 'a b' \"c d\"", ("/x", "a b", "c d")),
        (r'/x "a\"b\\c\tq\101\x42"', ("/x", 'a"b\\c\tqAB')),
        (r"/x 'a\b' c\d", ("/x", r"a\b", r"c\d")),
        ("/x '' \"\"", ("/x", "", "")),
        ("/x 'open end", ("/x", "open end")),
        ("/x a'b c'", ("/x", "a'b", "c'")),
        ("/x ; rm | y", ("/x", ";", "rm", "|", "y")),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert split_command(text) == words


def test_too_many_words() -> None:
    assert len(split_command("x " * 60)) == 60
    with pytest.raises(TooManyWords):
        split_command("x " * 61)


def test_special_words() -> None:
    line = compile_command("/x $pipe_addresses ${pipe_addresses} $address_pipe ${local_part}")
    assert [type(word) for word in line.words[1:4]] == [AllAddresses, AllAddresses, AddressPipe]
    assert [each.source for each in line.expansions] == ["/x", "${local_part}"]


def test_each_word_is_an_expansion_of_its_own() -> None:
    cut, whole = (compile_command(f"/x {text}") for text in ("${if eq {a}{b}{c}{d}}", '"${if eq {a}{b}{c}{d}}"'))
    assert [each.fault is not None for each in cut.expansions] == [False, True, False, False]
    assert [each.fault is not None for each in whole.expansions] == [False, False]
    with pytest.raises(ExpansionError):
        compile_command("/x ${perl{x}}")


@given(st.text(alphabet=" \t'\"\\ab0x\n", max_size=30))
def test_any_text_is_cut(text: str) -> None:
    split_command(text)
