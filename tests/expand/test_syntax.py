"""The reader: places of nodes, and that nothing but its own error comes out of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.escapes import unescape
from relay.expand.evaluate import compile_expansion
from relay.expand.scope import Scope
from relay.expand.syntax import parse, parse_condition
from relay.expand.tree import Capture, Check, HeaderForm, HeaderVariable, If, Literal, Operator, Variable
from relay.mail.ports import TemporaryFailure

PIECES = st.sampled_from(
    [
        *("${", "}", "{", "$", "\\", "\\N", ":", "if", "eq", "def:", "!", "and", "inlist", "forany", " ", "a", "1"),
        *("_", "fail", "${lc:", "${if eq{a}{b}{c}}", "$value", "${extract{1}{:}{a:b}}", "${sg{", "match", "$h_from:"),
        *("<;", "${map{", "-", "lookup", "lsearch", "${reduce", "${sort{", "${substr_", "${eval:", "+", "(", ")", "^"),
        *("*", "[", "json", "\x00", "ü"),
    ]
)


def check_complaint(error, text):
    start, end = error.span
    assert 0 <= start <= end <= max(len(text), 1)
    assert error.message
    assert error.underline(text).rstrip().endswith("^")


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join)))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_with_its_place(run, text):
    try:
        expansion = compile_expansion(text)
    except ExpansionError as refused:
        check_complaint(refused, text)
        return
    try:
        value = run(expansion.text(Scope()))
    except (ExpansionFailed, TemporaryFailure):
        return
    assert isinstance(value, str)


@given(st.text(alphabet=st.characters(exclude_characters="$\\", exclude_categories=["Cs"])))
def test_text_without_signs_is_itself(text):
    assert compile_expansion(text).constant == text


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(ANY_TEXT.filter(lambda text: "\\N" not in text and not text.endswith("\\")))
def test_protected_text_is_itself(text):
    assert compile_expansion(f"\\N{text}\\N").constant == text


def test_nodes_know_their_place():
    text = "a${lc:$h_To:}${1}$x_y.${if def:x {b}fail}"
    nodes = parse(text).nodes
    assert [type(node) for node in nodes] == [Literal, Operator, Capture, Variable, Literal, If]
    assert [text[slice(*node.span)] for node in nodes] == [
        "a", "${lc:$h_To:}", "${1}", "$x_y", ".", "${if def:x {b}fail}",
    ]  # fmt: skip
    operator = nodes[1]
    assert isinstance(operator, Operator)
    assert operator.argument.nodes == (HeaderVariable("To", HeaderForm.DECODED, (6, 12)),)


@pytest.mark.parametrize(
    "text, form", [("$rh_x:", HeaderForm.RAW), ("$bheader_x:", HeaderForm.UNCONVERTED), ("$lh_x ", HeaderForm.LIST)]
)
def test_forms_of_headers(text, form):
    node = parse(text).nodes[0]
    assert isinstance(node, HeaderVariable)
    assert (node.name, node.form) == ("x", form)


def test_a_condition_alone():
    condition = parse_condition(" !! eq {a} {b} ")
    assert isinstance(condition, Check)
    assert (condition.name, condition.negated) == ("eq", False)
    with pytest.raises(ExpansionError):
        parse_condition("eq{a}{b} x")


@pytest.mark.parametrize(
    "text, character", [("\\n", "\n"), ("\\101", "A"), ("\\x41", "A"), ("\\x", "\0"), ("\\$", "$"), ("\\9", "9")]
)
def test_escapes(text, character):
    assert unescape(text, 0) == (character, len(text))


def test_octets_that_make_a_character_are_one():
    assert compile_expansion("\\xc3\\xbc").constant == "ü"


def test_separators_are_read_before_anything_is_expanded(expand):
    assert expand("${map{<, $acl_c0}{[$item]}}", acl_variables={"acl_c0": "a:b,c"}) == "[a:b],[c]"
    assert expand("${map{<\\n a\\nb}{$item$item}}") == "aa\nbb"
