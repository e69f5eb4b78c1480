"""The guards' player, on a project of one module."""

from pathlib import Path

import pytest

import play_guards

MODULE = """
def may_relay(trusted):
    if not trusted:
        return False
    return True
"""
TESTS = """
import time

import pytest

from gate import may_relay


def test_strangers():
    assert not may_relay(False)


def test_friends():
    assert may_relay(True)


@pytest.mark.skip(reason="not here")
def test_skipped():
    assert not may_relay(False)


@pytest.fixture
def gate():
    return {True: "open"}[may_relay(True)]


def test_with_fixture(gate):
    assert gate


def test_wrong_from_the_start():
    assert may_relay(False)
"""
GOOD = play_guards.Guard(
    name="strangers stay out",
    invariant=2,
    file="gate.py",
    find="if not trusted:",
    replace="if False:",
    test="tests/test_gate.py::test_strangers",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "tests").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n")
    (root / "gate.py").write_text(MODULE)
    (root / "tests" / "test_gate.py").write_text(TESTS)
    return root


def changed(**fields: str) -> play_guards.Guard:
    return play_guards.Guard(**{name: getattr(GOOD, name) for name in GOOD.__slots__} | fields)


def test_a_guard_whose_test_notices(project: Path) -> None:
    assert play_guards.play(GOOD, project) == play_guards.Noticed()
    assert (project / "gate.py").read_text() == MODULE


def test_a_guard_whose_test_does_not_notice(project: Path) -> None:
    blind = changed(test="tests/test_gate.py::test_friends")
    assert play_guards.play(blind, project) == play_guards.Unnoticed()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"find": "if trusted:"}, "occurs 0 times"),
        ({"find": "return"}, "occurs 2 times"),
        ({"file": "nowhere.py"}, "there is no nowhere.py"),
        ({"replace": "if not trusted:"}, "changes nothing"),
        ({"replace": "if ("}, "is no Python"),
        ({"test": "tests/test_gate.py::test_of_old"}, "status 4"),
        ({"test": "tests/test_gate.py::test_skipped"}, "was skipped"),
        ({"find": "def may_relay", "replace": "def may_deliver"}, "ImportError"),
        (
            {"find": "return True", "replace": "return 0", "test": "tests/test_gate.py::test_with_fixture"},
            "status 1",
        ),
    ],
)
def test_an_entry_that_shows_nothing(project: Path, fields: dict[str, str], why: str) -> None:
    result = play_guards.play(changed(**fields), project)
    assert isinstance(result, play_guards.Broken)
    assert why in result.why
    assert (project / "gate.py").read_text() == MODULE


def test_a_test_that_hangs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_guards, "TEST_SECONDS", 3)
    result = play_guards.play(changed(replace="while not trusted:\n        continue\n    if False:"), project)
    assert result == play_guards.Broken("the test did not end within 3 s")


def entry(guard: play_guards.Guard) -> str:
    fields = (f"{name} = {getattr(guard, name)!r}\n" for name in guard.__slots__)
    return "[[guard]]\n" + "".join(fields)


@pytest.mark.parametrize(
    ("guards", "status", "line"),
    [
        ([GOOD], 0, "guards: 1, noticed when taken out: 1"),
        (
            [GOOD, changed(name="blind", test="tests/test_gate.py::test_friends")],
            1,
            "UNNOTICED  invariant 2: blind",
        ),
        (
            [GOOD, changed(name="red", test="tests/test_gate.py::test_wrong_from_the_start")],
            1,
            "do not all pass",
        ),
        ([GOOD, GOOD], 2, "two guards are called"),
        ([], 0, "guards: 0 in the file"),
    ],
)
def test_the_whole_play(
    project: Path, capsys: pytest.CaptureFixture[str], guards: list[play_guards.Guard], status: int, line: str
) -> None:
    (project / "tests" / "guards.toml").write_text("\n".join(entry(guard) for guard in guards))
    assert play_guards.main(["--root", str(project)]) == status
    assert line in capsys.readouterr().out


def test_an_entry_without_a_test(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "guards.toml").write_text('[[guard]]\nname = "half"\n')
    assert play_guards.main(["--root", str(project)]) == 2
    assert "guard 1 (half)" in capsys.readouterr().out


def test_the_real_guards_stand_where_the_file_says() -> None:
    """Whoever changes a guarded line hears of it at once, and not only when all guards are played."""
    here = Path(play_guards.__file__)
    for guard in play_guards.read_guards(here.with_name("guards.toml")):
        play_guards.file_with(guard, here.parent.parent)
