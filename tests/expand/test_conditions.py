"""Conditions that ask more than their texts: ACLs, captures, $value; and numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.expand.arithmetic import evaluate, integer, interval_of, seconds_of, wrapped
from relay.expand.errors import ExpansionFailed
from relay.expand.scope import ACLAnswer
from relay.mail.ports import TemporaryFailure


@dataclass
class FakeRunner:
    """Knows its ACLs, remembers what it was asked."""

    answers: dict[str, ACLAnswer]
    asked: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    async def run(self, name, arguments, scope):
        self.asked.append((name, arguments, scope.acl_arguments))
        if name == "slow":
            raise TemporaryFailure('DEFER from acl "slow"')
        return self.answers[name]


def test_acls(expand):
    runner = FakeRunner({"yes": ACLAnswer(True, "why"), "no": ACLAnswer(False, "why not")})
    assert expand("${if acl{{yes}{a b}}{Y:$value}{N:$value}}", acl_runner=runner) == "Y:why"
    assert expand("${if acl{{no}}{Y:$value}{N:$value}}", acl_runner=runner) == "N:why not"
    assert expand("<${acl{no}{x}{y}}>", acl_runner=runner) == "<why not>"
    assert expand("${acl{slow}}", acl_runner=runner) == 'Failed: DEFER from acl "slow"'
    assert [arguments for _, arguments, _ in runner.asked] == [("a b",), (), ("x", "y"), ()]
    assert all(arguments == seen for _, arguments, seen in runner.asked)
    assert expand("$acl_arg1.$acl_arg2.$acl_narg", acl_arguments=("a",)) == "a..1"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("${if match{ab}{(a)(b)}{$1 ${if match{cd}{(c)(d)}{$1$2}} $1$2}} $1", "a cd ab "),
        ("${if and{{match{ab}{(a)}}{match{cd}{(c)(d)}}}{$1$2}}", "cd"),
        ("${if forany{a:bc:d}{match{$item}{^(.)(.)}}{$1$2<$item>}}", "bc<>"),
        ("${filter{a1:b:c2}{match{$item}{[0-9]}}}", "a1:c2"),
        ("${if inlist{b}{a:b}{$value}}|$value", "b|"),
        ("${map{x:y}{${if eq{$item}{x}{$item$item}{-}}}}", "xx:-"),
        ("${if or{{eq{a}{b}}{eq{c}{c}}}{yes}{no}}", "yes"),
        ("${if !or{{eq{a}{b}}{eq{c}{d}}}{yes}{no}}", "yes"),
        ('${if forany_json{["a","b"]}{eq{$item}{"b"}}{yes}{no}}', "yes"),
        ('${if forall_jsons{["a","a"]}{eq{$item}{a}}{yes}{no}}', "yes"),
        ("${if ltI{a}{B}{x}}", 'Failed: unknown condition "ltI"'),
        ("${if lti{a}{B}{yes}{no}}${if lt{a}{B}{yes}{no}}", "yesno"),
        ("${if isip4{::1}{yes}{no}}${if isip6{fe80::1%eth0}{yes}{no}}", "noyes"),
        ("${if match_local_part{Root}{root:admin}{yes}{no}}", "yes"),
        ("${if match_address{a@b.test}{*@b.test}{yes}{no}}", "yes"),
        ("${if match_ip{10.0.0.1}{$acl_c0}{yes}{no}}", "no"),
    ],
)
def test_what_conditions_leave_behind(expand, text, wanted):
    assert expand(text, acl_variables={"acl_c0": "10.0.0.1"}) == wanted


@pytest.mark.parametrize(
    "text, number", [("", 0), ("  ", 0), (" 12 ", 12), ("-3k", -3072), ("2M", 2 << 20), ("1g", 1 << 30)]
)
def test_integers(text, number):
    assert integer(text) == number


@pytest.mark.parametrize("text", ["x", "1x", "0x10", "9999999999999999999", "9007199254740993g", "1 2"])
def test_what_is_no_integer(text):
    with pytest.raises(ExpansionFailed):
        integer(text)


@given(st.integers(-(2**70), 2**70))
def test_wrapping_is_that_of_64_bits(number):
    assert -(2**63) <= wrapped(number) < 2**63
    assert (wrapped(number) - number) % 2**64 == 0


@given(st.text(alphabet="0123456789+-*/%()&|^~<> xkMg", max_size=20), st.booleans())
def test_any_expression_has_a_value_or_a_complaint(text, decimal):
    try:
        assert -(2**63) <= evaluate(text, decimal) < 2**63
    except ExpansionFailed as error:
        assert "error in expression evaluation" in str(error)  # noqa: PT017


@given(st.integers(0, 10**9))
def test_intervals_go_there_and_back(seconds):
    assert seconds_of(interval_of(seconds)) == seconds
