"""Nothing that is written can do more than fail: errors are the language's own, and work and size are bounded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand.errors import ExpansionError, ExpansionFailed
from relay.expand.evaluate import Expansion, compile_expansion
from relay.expand.forms import (
    BARE_CONDITIONS,
    CALLS,
    CHOICES,
    GROUPS,
    LIST_MEMBERSHIP,
    LITERAL_LISTS,
    ONE_TEXT,
    QUANTIFIERS,
    SORT_COMPARISONS,
    TWO_TEXTS,
)
from relay.expand.list_items import HostSubject, ListKind
from relay.expand.lists import compile_list
from relay.expand.operators import OPERATORS
from relay.expand.scope import STEP_LIMIT, AddressView, Budget, Frame, MessageView, Scope
from relay.expand.syntax import NESTING_LIMIT, parse, parse_condition
from relay.mail.address import Address
from relay.mail.ports import TemporaryFailure

Run = Callable[..., Any]

ITEMS = ["if", "extract", "extract json", "listextract", "filter", "map", "reduce", "sort", "lookup", *CALLS, *CHOICES]
CONDITIONS = sorted(
    BARE_CONDITIONS | ONE_TEXT | TWO_TEXTS | LITERAL_LISTS | LIST_MEMBERSHIP | GROUPS | QUANTIFIERS | {"acl", "def:"}
)
TOKENS = st.sampled_from(
    [
        "${",
        "}",
        "{",
        "}{",
        "{{",
        "}}",
        "$",
        "\\",
        "\\N",
        "\\x4",
        "\\1",
        ":",
        "_",
        "!",
        "<,",
        " ",
        "\n",
        ",",
        "fail",
        "1",
        "-1",
    ]
    + [
        "999999999999",
        "0",
        "$item",
        "$value",
        "$1",
        "${2}",
        "$h_to:",
        "$sender_address",
        "$local_part",
        "a",
        "é",
        "\udcff",
    ]
    + ["lsearch{/f}", "partial-lsearch*@", "dnsdb{a=x}", "\0", "^a(.*)", "yes", "{^(a+)+$}", "@", ";", "/", "[", "("]
    + [f"${{{name}{{" for name in ITEMS]
    + [f"${{{name}:" for name in OPERATORS]
    + [f"${{{name}_3:" for name in OPERATORS]
    + [f"${{if {name}{{" for name in CONDITIONS]
    + [f"{name}{{" for name in (*CONDITIONS, *SORT_COMPARISONS)]
)
LANGUAGE = st.lists(TOKENS, max_size=25).map("".join)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.text("${}\\:_!<,a1N ", max_size=60) | LANGUAGE

VALID = [
    "${if and{{eq{$local_part}{a}}{!match{$domain}{^x(.*)y\\$}}}{${lc:$1}}fail}",
    "${map{<, a,b,,c}{${item}${length_2:$item}}}",
    "${extract{2}{:}{a:$sender_address:c}{$value}{none}}",
    '${extract json{a}{{"a":[1,2]}}{$value}}',
    "${reduce{1:2:3}{0}{${eval:$value+$item}}}",
    "${sort{3:1:2}{<}{$item}}",
    "${lookup{$local_part}lsearch{/f}{$value}{x}}",
    "${sg{abc}{(b)}{\\$1\\$1}}",
    "${if forany{a:b}{match_domain{$item}{+x:*.b:!c}}{y}}",
    "${filter{<; a;b}{inlist{$item}{a:c}}}",
    "${substr{-1}{2}{abc}}${hash_3_4:abc}${nhash{8}{16}{x}}${mask:10.1.2.3/8}${tr{a}{b}{c}}",
    "${if def:h_subject:{$rh_subject:}{$bheader_x:}}${if bool{$acl_m_x}{y}}${time_interval:99}",
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A text of the language with a piece lost, doubled, or another one put in."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 6)))
        put = draw(st.just("") | TOKENS | st.just(text[start:end] * 2))
        text = text[:start] + put + text[end:]
    return text


def _scope() -> Scope:
    return Scope(
        message=MessageView(sender=Address("a", "b.test")), address=AddressView("a", "b.test"), now=1_000_000_000.0
    )


def _is_placed(error: ExpansionError, text: str) -> None:
    start, end = error.span
    assert 0 <= start <= end <= len(text), error.span
    line, carets = error.underline(text).split("\n")
    assert line in text
    assert carets.strip(" ").strip("^") == ""


def _says_why(failure: Exception) -> None:
    assert str(failure)


def _compiled(text: str) -> Expansion | None:
    try:
        return compile_expansion(text)
    except ExpansionError as error:
        _is_placed(error, text)
        return None


@given(TEXTS | mutated())
@settings(max_examples=300, deadline=None)
def test_any_text_is_compiled_and_evaluated_or_refused(run: Run, text: str) -> None:
    compiled = _compiled(text)
    if compiled is None:
        return
    try:
        assert isinstance(run(compiled.text(_scope())), str)
    except (ExpansionFailed, TemporaryFailure) as failure:
        _says_why(failure)


@given(TEXTS | mutated())
@settings(max_examples=100, deadline=None)
def test_any_condition_is_read_or_refused(text: str) -> None:
    try:
        parse_condition(text)
    except ExpansionError as error:
        _is_placed(error, text)


LIST_TOKENS = st.sampled_from(
    [
        ":",
        "::",
        "<;",
        "!",
        "*",
        "*.",
        "+",
        "+caseful",
        "+include_unknown",
        "@",
        "@[]",
        "@@",
        "^",
        "^(a",
        "/",
        "/f",
        "a",
        "a@b",
        ";",
        "[",
        "]",
        "lsearch;",
        "partial-lsearch;/f",
        "net-",
        "net24-iplsearch;/f",
        "net-lsearch;x",
        "10.0.0.0/8",
        "10.0.0.0/99",
        "::1",
        "1.2.3",
        "\\",
        " ",
        "\n",
        "$sender_address",
        "${lc:A}",
        "${if",
        "{",
        "}",
        "é",
        "\udcff",
        "\0",
        "@mx_any",
        "*@",
        "@mx_primary/ignore=",
        "partial(x)-lsearch*@;",
    ]
)
LISTS = st.lists(LIST_TOKENS, max_size=12).map("".join) | st.text(max_size=30)


@given(st.sampled_from(ListKind), LISTS, st.sampled_from(["", "a", "a@b", "@", "b.test", "10.1.2.3", "::1", "é\0"]))
@settings(max_examples=300, deadline=None)
def test_any_list_is_compiled_and_asked_or_refused(run: Run, kind: ListKind, text: str, subject: str) -> None:
    try:
        compiled = compile_list(kind, text)
    except ExpansionError as error:
        _is_placed(error, text)
        return
    try:
        run(compiled.decide(HostSubject(subject) if kind is ListKind.HOST else subject, _scope()))
    except TemporaryFailure as failure:
        _says_why(failure)


@pytest.mark.parametrize("levels", [10_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("${lc:", "}"),
        ("${if eq{", "}{}}"),
        ("${if and{{eq{", "}{}}}}"),
        ("${map{", "}{x}}"),
        ("${map{x}{", "}}"),
        ("${filter{a}{eq{", "}{}}}"),
        ("${extract{", "}{a}}"),
        ("${lookup{", "}lsearch{/f}}"),
        ("${lookup{a}lsearch{", "}}"),
        ("${if !!!!eq{", "}{}}"),
        ("${sg{a}{b}{", "}}"),
        ("${if eq{a}{a}{", "}}"),
        ("${if eq{a}{a}{x}{", "}}"),
    ],
)
def test_deep_nesting_is_refused_and_not_a_crash(opening: str, closing: str, levels: int) -> None:
    for text in (opening * levels + "x" + closing * levels, opening * levels):
        with pytest.raises(ExpansionError, match="too deeply"):
            parse(text)


def test_the_deepest_that_is_read_is_evaluated(expand: Callable[..., str]) -> None:
    levels = NESTING_LIMIT - 1
    assert expand("${lc:" * levels + "$pid" + "}" * levels, pid=7) == "7"
    with_join = "${lc:a" * levels + "$pid" + "}" * levels
    assert expand(with_join, pid=7) == "a" * levels + "7"


@pytest.mark.parametrize(
    "text",
    ["x" * 2**20, "\\n" * 2**19, "$pid" * 2**17, "{" * 2**20, "}" * 2**20, "$h_" + "a" * 2**20, "${lc:" + "b" * 2**20],
)
def test_a_long_text_is_read_once(text: str) -> None:
    try:
        parse(text)
    except ExpansionError as error:
        _is_placed(error, text)


def test_an_evaluation_near_the_end_of_the_stack_fails_as_any_other(run: Run) -> None:
    compiled = compile_expansion("${lc:a" * 140 + "$pid" + "}" * 140)

    def dive(levels: int) -> Any:
        return dive(levels - 1) if levels else run(compiled.text(Scope()))

    with pytest.raises(ExpansionFailed, match="too deeply"):
        dive(sys.getrecursionlimit() - 250)


def test_texts_that_expand_each_other_end(expand: Callable[..., str]) -> None:
    deep = "${lc:a" * 140 + "${expand:$acl_c0}" + "}" * 140
    for text in (deep, "x${expand:$acl_c0}", "${expand:$acl_c0}"):
        assert "nested too deeply" in expand(text, acl_variables={"acl_c0": text})
    assert "nested too deeply" in expand("${sg{a}{a}{$acl_c0}}", acl_variables={"acl_c0": "${sg{a}{a}{$acl_c0}}"})


# Bounds of work: rounds are counted, so that these tests count them as well and look at no clock.


def _spent(run: Run, text: str, budget: int = STEP_LIMIT, **given: Any) -> int | str:
    """The steps that an evaluation takes of its budget, or how it failed."""
    frame = Frame(Scope(**given), Budget(budget))
    try:
        run(compile_expansion(text)._run(frame))
    except ExpansionFailed as failure:
        return str(failure)
    return budget - frame.budget.left


def _numbers(count: int) -> str:
    return ":".join(map(str, range(count)))


def test_rounds_of_loops_inside_of_loops_are_counted_together(run: Run) -> None:
    inner = "${map{$acl_m_x}{$item}}"
    assert _spent(run, inner, acl_variables={"acl_m_x": _numbers(20)}) == 20
    assert _spent(run, f"${{map{{$acl_m_x}}{{{inner}}}}}", acl_variables={"acl_m_x": _numbers(20)}) == 20 + 20 * 20
    three = f"${{map{{$acl_m_x}}{{${{map{{$acl_m_x}}{{{inner}}}}}}}}}"
    assert "too many steps" in str(_spent(run, three, 50_000, acl_variables={"acl_m_x": _numbers(40)}))


@pytest.mark.parametrize(
    "text",
    [
        "${reduce{$acl_m_n}{$acl_m_x}{$value$value}}",
        "${reduce{$acl_m_n}{x}{$value$value}}",
        "${reduce{$acl_m_n}{$acl_m_x}{${base64:$value}}}",
        "${reduce{$acl_m_n}{$acl_m_x}{${rxquote:$value.}}}",
        "${reduce{$acl_m_n}{$acl_m_x}{${hexquote:$value}${quote:$value}}}",
        "${reduce{$acl_m_n}{$acl_m_x}{${map{$acl_m_n}{$value}}}}",
        "${map{$acl_m_n}{${map{$acl_m_n}{$acl_m_x}}}}",
        "${reduce{$acl_m_n}{a:b}{${map{$value}{$value}}}}",
        "${reduce{$acl_m_n}{:}{${listquote{:}{$value}}}}",
    ],
)
def test_what_doubles_ends(run: Run, text: str) -> None:
    end = _spent(run, text, 100_000, acl_variables={"acl_m_n": _numbers(2000), "acl_m_x": 'x."' * 1000})
    assert "too long" in str(end) or "too many steps" in str(end)


@pytest.mark.parametrize(
    "body",
    [
        "${if inlist{q}{$acl_m_x}{y}}",
        "${if forany{$acl_m_x}{eq{$item}{q}}{y}}",
        "${if match{$acl_m_x}{q}{y}}",
        "${extract{q}{$acl_m_x}}",
        "${extract{2}{:}{$acl_m_x}}",
        "${listextract{-1}{$acl_m_x}}",
        "${lc:$acl_m_x}",
        "${sha256:$acl_m_x}",
        "${length_3:$acl_m_x}",
        "${sg{$acl_m_x}{q}{}}",
        "${tr{$acl_m_x}{q}{r}}",
        "${substr{1}{2}{$acl_m_x}}",
        "${sort{$acl_m_x}{<}{$item}}",
        '${if forany_json{["$acl_m_x"]}{eq{$item}{q}}{y}}',
        '${extract json{q}{{"a":"$acl_m_x"\\}}}',
        "${listcount:$acl_m_x}",
    ],
)
def test_a_peers_text_read_in_a_loop_over_a_peers_text_is_not_quadratic(run: Run, body: str) -> None:
    """Each by itself is fine; each of a thousand rounds over it is what a peer could make expensive."""
    variables = {"acl_m_x": _numbers(5_000), "acl_m_n": _numbers(1000)}
    alone = _spent(run, body, 100_000, acl_variables=variables)
    assert isinstance(alone, int) or "sort" in body
    loop = f"${{map{{$acl_m_n}}{{${{strlen:{body}}}}}}}"
    assert "too many steps" in str(_spent(run, loop, 100_000, acl_variables=variables))


@pytest.mark.parametrize(
    "text",
    [
        "${length_9999999999:abc}",
        "${length_999999999:abc}",
        "${substr_-999999999:abc}",
        "${substr_-99999999999:abc}",
        "${substr{-999999999}{999999999}{abc}}",
        "${substr{999999999}{abc}}",
        "${hash_999999999:abc}",
        "${nhash_999999999:abc}",
        "${eval:1<<999999999999}",
        "${eval:1<<-1}",
        "${eval:-9223372036854775808/-1}",
        "${eval:0x" + "f" * 100_000 + "}",
        "${eval:" + "9" * 100_000 + "}",
        "${eval:" + "1+" * 100_000 + "1}",
        "${eval:" + "-" * 100_000 + "1}",
        "${eval:" + "(" * 100_000 + "1}",
        "${eval:9223372036854775807*9223372036854775807}",
        "${base62:" + "9" * 100_000 + "}",
        "${base62d:" + "z" * 100_000 + "}",
        "${base32d:" + "7" * 100_000 + "}",
        "${time_interval:" + "9" * 100_000 + "}",
        "${time_eval:" + "9" * 100_000 + "w}",
        "${mask:10.0.0.0/" + "9" * 100_000 + "}",
        "${mask:10.0.0.0/" + "0" * 100_000 + "}",
        "${if ={" + "9" * 100_000 + "}{1}{y}}",
        "${if bool{" + "9" * 100_000 + "}{y}}",
        "${extract{" + "9" * 100_000 + "}{:}{a:b}}",
        "${extract json{" + "9" * 9 + "}{[1]}}",
        "${listextract{" + "9" * 100_000 + "}{a:b}}",
        "${listextract{-999999999}{a:b}}",
        "$" + "9" * 100_000,
        "${" + "9" * 100_000 + "}",
        "${extract json{a}{" + "[" * 100_000 + "}}",
        "${extract json{a}{" + '{"a":' * 100_000 + "}}",
        "${if isip{" + ":" * 100_000 + "}{y}}",
        "${if match_ip{10.0.0.1}{10.0.0.0/" + "9" * 10_000 + "}{y}}",
    ],
)
def test_huge_numbers_and_depths_are_answers_or_failures(expand: Callable[..., str], text: str) -> None:
    assert len(expand(text)) < 1_000_000
