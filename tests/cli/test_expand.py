"""`relay expand`: values, failures, and what they leave in the exit status."""

import json
import os
import re
from pathlib import Path

import pytest

from relay.cli import main


@pytest.fixture(autouse=True)
def nobody_has_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.cli.places.SYSTEM_DIRECTORY", tmp_path / "etc")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_values_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "${uc:hello}", "${if eq{a}{b}{yes}{no}}"]) == 0
    assert capsys.readouterr().out == "HELLO\nno\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "--json", "${lc:A}", "${nonsense:A}"]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good == {"string": "${lc:A}", "value": "a"}
    assert bad["string"] == "${nonsense:A}"
    assert "value" not in bad
    assert "nonsense" in bad["error"]


def test_a_mistake_is_underlined(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "a $nothing b"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    first, text, carets = said.err.splitlines()
    assert first.startswith("Failed: ")
    assert text == "  a $nothing b"
    assert set(carets) == {" ", "^"}


def test_a_forced_failure_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "${if eq{a}{b}{yes}fail}"]) == 1
    assert capsys.readouterr().err.startswith("Failed: ")


def test_a_configuration_that_was_named_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "-C", str(tmp_path / "no.conf"), "x"]) == 1
    assert capsys.readouterr().err == f"relay: {tmp_path}/no.conf: no such file (check the path)\n"


@pytest.mark.parametrize("definition", ["lower=1", "=x", "A B=1", ""])
def test_a_macro_needs_a_name(definition: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "-D", definition, "x"]) == 2
    assert "is no macro definition" in capsys.readouterr().err


DOCUMENTED = Path(__file__).parents[2] / "docs" / "expanding.md"


@pytest.mark.skipif(not DOCUMENTED.exists(), reason="the documentation is not beside the tests")
def test_the_explanations_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"<!-- explained: (.*) -->\n```text\n\$ .*\n([^`]*)```", DOCUMENTED.read_text("utf-8"))
    assert len(examples) == 2
    for string, shown in examples:
        main.main(["expand", "--explain", string])
        said = capsys.readouterr()
        assert said.out + said.err == shown


def test_an_explanation_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "--explain", "--json", "${if eq{$pid}{x}{a}{${lc:B}}}"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["value"], told["cut"]) == ("b", False)
    condition, branch = told["steps"]["steps"]
    assert (condition["role"], condition["answer"]) == ("condition", False)
    assert branch == {"role": "else", "written": "${lc:B}", "value": "b", "tainted": False}


def test_an_explanation_in_json_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "--explain", "--json", "${if eq{a}{b}{x}fail}", "${nothing:x}"]) == 1
    forced, mistake = json.loads(capsys.readouterr().out)
    assert forced["error"].startswith("forced failure")
    assert forced["steps"]["fault"] == "forced failure"
    assert "steps" not in mistake


def test_an_explanation_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "--explain", "${map{a}{\\x1b[2J\\n$item}}"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 4


def test_a_deep_text_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["expand", "--explain", "--json", "${lc:" * 140 + "X" + "}" * 140]) == 0
    assert json.loads(capsys.readouterr().out)[0]["value"] == "x"
    assert main.main(["expand", "--explain", "${if eq{" * 45 + "X" + "}{}{}{y}}" * 45]) == 0
