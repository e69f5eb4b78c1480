"""Scripts of our own in the suite's language."""

import pytest

from interop.suite.script import EximCommand, Returns, ScriptError, exim_command, has_lines, parse

SCRIPT = """\
# What it is about
need_ipv4
no_stdout_check
#
# A comment
exim -odi \\
   someone
Text \\
# text too
****
### seen
~1
sleep 1

7 LANG=C
exim_msgdate -l
****
server PORT_S
220 Hello
****
write test-data 2x4=b_
before
++++
after
****
no_msglog_check
"""


def test_a_script_is_steps_with_their_lines():
    script = parse(SCRIPT)
    assert script.title == "What it is about"
    assert script.marks == {"no_stdout_check", "no_msglog_check"}
    assert script.needs == {"need_ipv4"}
    assert [step.command for step in script.steps] == [
        "exim -odi someone",
        "### seen",
        "sleep 1",
        "exim_msgdate -l",
        "server PORT_S",
        "write test-data 2x4=b_",
    ]
    first, seen, sleep, date, server, write = script.steps
    assert first.lines == ("Text \\\n", "# text too\n")
    assert first.line == 6
    assert seen.lines == sleep.lines == ()
    assert sleep.returns == Returns(1, other=True)
    assert (date.returns, date.settings) == (Returns(7), (("LANG", "C"),))
    assert server.lines == ("220 Hello\n",)
    assert write.lines == ("before\n", "++++\n", "after\n")


def test_the_last_lines_may_lack_their_end():
    assert parse("# x\nexim -bp\nlast").steps[0].lines == ("last",)


def test_carriage_returns_do_not_end_a_line():
    assert parse("# x\nexim -bS\na\rb\r\n****\n").steps[0].lines == ("a\rb\r\n",)


def test_the_background_command_has_its_program_in_the_next_line():
    assert parse("# x\nbackground\nprogram\n****\nsleep 1\n").steps[0].lines == ("program\n",)


@pytest.mark.parametrize("text", ["", "exim\n****\n", "# x\n3\n"])
def test_what_is_not_a_script(text: str):
    with pytest.raises(ScriptError):
        parse(text)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("exim -bs", EximCommand("-bs")),
        ("sudo exim -q", EximCommand("-q", sudo=True)),
        ("sudo -u someone exim -q", EximCommand("-q", sudo=True, user="someone")),
        ("A=b C=d 3 exim -bs", EximCommand("-bs", settings="A=b C=d", hold=3)),
        ("exim_exim -bt x", EximCommand("-bt x", special="_exim")),
    ],
)
def test_what_starts_the_program_under_test(command: str, expected: EximCommand):
    assert exim_command(command) == expected
    assert has_lines(command)


@pytest.mark.parametrize("command", ["exim_lock -v x", "exinext x", "exiqgrep", "killdaemon", "eximstats x", "cat x"])
def test_what_has_no_lines(command: str):
    assert exim_command(command) is None
    assert not has_lines(command)


def test_codes():
    assert Returns(2).met_by(2)
    assert not Returns(2).met_by(0)
    assert Returns(2, other=True).met_by(0)
    assert not Returns(2, other=True).met_by(2)
