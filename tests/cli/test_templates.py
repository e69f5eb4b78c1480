"""Filling in the macros of a sample configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli import templates
from relay.cli.faults import Fault

SAMPLE = """\
# A comment with HOSTNAME = in it.
HOSTNAME = relay.example
PORT=25
RELAY_FROM_CERTS =

primary_hostname = HOSTNAME
"""


def test_only_the_definitions_change() -> None:
    filled = templates.fill(SAMPLE, {"HOSTNAME": "a.test", "PORT": "2525", "RELAY_FROM_CERTS": "AA : BB"})
    assert filled == (
        "# A comment with HOSTNAME = in it.\nHOSTNAME = a.test\nPORT = 2525\nRELAY_FROM_CERTS = AA : BB\n\n"
        "primary_hostname = HOSTNAME\n"
    )
    assert templates.defined_macros(filled) == {
        "HOSTNAME": "a.test",
        "PORT": "2525",
        "RELAY_FROM_CERTS": "AA : BB",
    }


def test_an_empty_value_takes_nothing_from_the_next_line() -> None:
    filled = templates.fill(SAMPLE, {"PORT": ""})
    assert templates.defined_macros(filled)["PORT"] == ""
    assert templates.defined_macros(filled)["RELAY_FROM_CERTS"] == ""
    assert "primary_hostname = HOSTNAME\n" in filled


@pytest.mark.parametrize(
    "values, what",
    [
        ({"NOBODY": "x"}, "macro NOBODY is to be defined once, and is 0 times"),
        ({"HOSTNAME": "a\nlog_selector = +all"}, "can't stand in a configuration"),
        ({"HOSTNAME": "${readfile{/etc/passwd}}"}, "can't stand in a configuration"),
        ({"HOSTNAME": "a\\"}, "can't stand in a configuration"),
        ({"HOSTNAME": "a#b"}, "can't stand in a configuration"),
        ({"HOSTNAME": "/srv/PORT/x"}, "contains PORT, the name of a macro"),
    ],
)
def test_what_would_mean_something_else(values: dict[str, str], what: str) -> None:
    with pytest.raises(Fault) as caught:
        templates.fill(SAMPLE, values)
    assert what in caught.value.format_message()


def test_a_macro_that_is_defined_twice() -> None:
    with pytest.raises(Fault, match="2 times"):
        templates.fill(SAMPLE + "PORT = 26\n", {"PORT": "1"})


@given(st.text())
def test_a_value_is_refused_or_comes_back_as_it_was(value: str) -> None:
    try:
        filled = templates.fill(SAMPLE, {"HOSTNAME": value})
    except Fault:
        return
    assert templates.defined_macros(filled) == {
        "HOSTNAME": value.strip(),
        "PORT": "25",
        "RELAY_FROM_CERTS": "",
    }
    assert filled.count("\n") == SAMPLE.count("\n")
