"""What an explanation tells: every value, every answer, the branch, and the place of a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.expand import explaining
from relay.expand.errors import ExpansionError
from relay.expand.explaining import Broke, Explanation, Fault, Gave, Held, Missed, Role, Step, explain
from relay.expand.lists import ListKind, NamedList, NamedLists
from relay.expand.scope import MessageView, Scope
from relay.expand.values import Tainted
from relay.mail.address import Address

Explain = Callable[..., Explanation]


@pytest.fixture
def ask(run: Callable[..., Any]) -> Explain:
    def ask(text: str, **given: Any) -> Explanation:
        result = run(explain(text, Scope(**{"main": {"primary_hostname": "relay.test"}, **given})))
        assert isinstance(result, Explanation)
        return result

    return ask


def shape(step: Step) -> Any:
    """The tree as (written, what it came to, steps)."""
    match step.outcome:
        case Gave(value):
            told: Any = value
        case Held(yes):
            told = yes
        case Missed():
            told = None
        case Broke(fault):
            told = fault
    return (step.written, told, *(shape(each) for each in step.steps))


def find(step: Step, written: str) -> list[Step]:
    """All steps of that text."""
    found = [step] if step.written == written else []
    for each in step.steps:
        found += find(each, written)
    return found


def test_each_sub_expression_has_its_value(ask: Explain) -> None:
    assert shape(ask("a ${lc:${uc:b}c}").step) == (
        "a ${lc:${uc:b}c}",
        "a bc",
        ("${lc:${uc:b}c}", "bc", ("${uc:b}c", "Bc", ("${uc:b}", "B"))),
    )


def test_what_was_not_evaluated_has_no_step(ask: Explain) -> None:
    step = ask("${if or{{eq{a}{a}}{eq{$pid}{1}}}{${lc:YES}}{${lc:NO}}}").step
    assert shape(step)[1:] == (
        "yes",
        ("or{{eq{a}{a}}{eq{$pid}{1}}}", True, ("eq{a}{a}", True)),
        ("${lc:YES}", "yes"),
    )
    assert [each.role for each in step.steps] == [Role.CONDITION, Role.YES]


def test_the_other_branch(ask: Explain) -> None:
    step = ask("${if !eq{$primary_hostname}{relay.test}{a}fail}").step
    assert shape(step)[1:] == (
        Fault.FORCED,
        ("!eq{$primary_hostname}{relay.test}", False, ("$primary_hostname", "relay.test")),
        ("fail", Fault.FORCED),
    )
    assert step.steps[1].role is Role.NO


def test_captures_and_values_are_told_where_they_change(ask: Explain) -> None:
    step = ask("${if match{abc}{a(.)}{$1}}").step
    assert step.steps[1].changed == (("0", "ab"), ("1", "b"))
    rounds = ask("${reduce{1:2}{0}{$value$item}}").step.steps
    assert [each.changed for each in rounds] == [(("item", "1"), ("value", "0")), (("item", "2"), ("value", "01"))]
    assert [each.outcome for each in rounds] == [Gave("01"), Gave("012")]


def test_escapes_are_told_where_they_changed_something(ask: Explain) -> None:
    (condition, _) = ask(r"${if match{a.b}{a\\.b}{y}{n}}").step.steps
    assert [(each.written, each.outcome) for each in condition.steps] == [(r"a\\.b", Gave(r"a\.b"))]


def test_a_list_says_which_item_decided(ask: Explain) -> None:
    lists = NamedLists.of(NamedList(ListKind.DOMAIN, "local", "example.org : *.test"))
    (condition, _) = ask("${if match_domain{mx.test}{+local}{y}}", named_lists=lists).step.steps
    assert [each.outcome for each in condition.steps] == [Held(True, "+local > *.test")]
    (condition,) = ask("${if match_domain{other}{+local}{y}}", named_lists=lists).step.steps[:1]
    assert [each.outcome for each in condition.steps] == [Held(False, "end of list")]


def test_a_list_that_has_no_answer(ask: Explain, fake_lookups: Any) -> None:
    explanation = ask("a${if match_domain{x}{lsearch;/nonexistent}{y}}", lookups=fake_lookups())
    assert explanation.failed is not None
    assert explanation.failed.role is Role.LIST
    assert explanation.failed_at is not None
    assert explanation.failed_at.written == "match_domain{x}{lsearch;/nonexistent}"


def test_lookups(ask: Explain, fake_lookups: Any) -> None:
    answers = {("lsearch", "a", "/f"): "1", ("lsearch", "b", "/f"): None}
    step = ask("${lookup{a}lsearch{/f}} ${lookup{b}lsearch{/f}{}{no}}", lookups=fake_lookups(answers)).step
    found, missed = step.steps
    assert [(each.written, each.outcome) for each in found.steps] == [('lsearch "a" in /f', Gave("1"))]
    assert [each.outcome for each in missed.steps] == [Missed(), Gave("no")]
    broken = ask("${lookup{a}lsearch{/nonexistent}}", lookups=fake_lookups()).failed
    assert broken is not None
    assert broken.role is Role.LOOKUP
    assert isinstance(broken.outcome, Broke)
    assert broken.outcome.fault is Fault.DEFERRED


def test_taint_is_seen(ask: Explain) -> None:
    message = MessageView(sender=Address("who", "peer.test"))
    step = ask("x${lc:$sender_address}", message=message).step
    for written in ("x${lc:$sender_address}", "${lc:$sender_address}", "$sender_address"):
        (found,) = find(step, written)
        assert isinstance(found.outcome, Gave)
        assert isinstance(found.outcome.value, Tainted)


def test_a_failure_is_placed(ask: Explain) -> None:
    explanation = ask("${if eq{a}{${mask:${lc:X}}}{y}{n}}")
    assert explanation.failed_at is not None
    assert explanation.failed_at.written == "${mask:${lc:X}}"


def test_a_text_that_was_made_has_places_of_its_own(ask: Explain) -> None:
    explanation = ask(r"${expand:\${lc:${uc:a}\}\${mask:q\}}")
    assert explanation.failed_at is not None
    assert explanation.failed_at.text == "${lc:A}${mask:q}"
    assert explanation.failed_at.written == "${mask:q}"


def test_text_from_outside_is_not_explained_either(ask: Explain) -> None:
    with pytest.raises(ExpansionError, match="tainted"):
        ask(Tainted("$primary_hostname"))


def test_steps_are_bounded_and_the_value_is_not(ask: Explain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "STEPS_LIMIT", 10)
    explanation = ask("${map{<, " + ",".join("abcdefghijklmnopqrstuvwxyz") + "}{$item$item}} ${mask:x}")
    assert explanation.cut
    assert explanation.failed_at is not None
    assert explanation.failed_at.written == "${mask:x}"
    assert len(find(explanation.step, "$item$item")) <= 10


_PIECES = [
    "${uc:a}",
    "${primary_hostname}",
    "x",
    "${if eq{$item}{a}{y}{n}}",
    "${map{a:b}{$item}}",
    "${mask:b}",
    "${eval:1+}",
]
_NESTED = st.recursive(
    st.sampled_from(_PIECES),
    lambda inner: st.tuples(inner, inner).flatmap(
        lambda two: st.sampled_from(
            [
                f"${{lc:{two[0]}{two[1]}}}",
                f"${{if !eq{{{two[0]}}}{{{two[1]}}}{{$0}}fail}}",
                f"${{sg{{{two[0]}}}{{.}}{{{two[1]}}}}}",
            ]
        )
    ),
    max_leaves=6,
)


@given(_NESTED)
@settings(max_examples=100, deadline=None)
def test_an_explanation_ends_as_the_evaluation_does(
    run: Callable[..., Any], expand: Callable[..., str], text: str
) -> None:
    outcome = run(explain(text, Scope(main={"primary_hostname": "relay.test"}))).step.outcome
    said = f"Failed: {outcome.message}" if isinstance(outcome, Broke) else outcome.value
    assert said == expand(text, main={"primary_hostname": "relay.test"})
