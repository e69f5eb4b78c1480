"""The command `relay`: its list, its help, its errors."""

import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from relay import __version__
from relay.cli import main
from relay.mail.source import ConfigurationError, Location, Problem

SLOW = {"twisted", "OpenSSL", "cryptography", "apsw", "relay.config", "relay.tls", "relay.daemon"}
UNEXPECTED = "run `relay --debug …` for the trace, and report it"


def all_commands(
    command: click.Command = main.relay, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from all_commands(child, (*path, name))


COMMANDS = list(all_commands())


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*path, "--help"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"Usage: {' '.join(['relay', *path])} ")
    assert said.err == ""


@pytest.mark.parametrize(
    "path, command",
    [row for row in COMMANDS if not isinstance(row[1], click.Group)],
    ids=lambda x: str(x)[:30],
)
def test_every_command_shows_an_example(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    main.main([*path, "--help"])
    example = capsys.readouterr().out.split("Example")[1]
    assert f"relay {' '.join(path)}" in example


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    command = main.relay.get_command(click.Context(main.relay), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == main.COMMANDS[name].summary
    assert command.name == name


def test_help_is_fast_because_it_loads_little() -> None:
    script = (
        "import json, sys; from relay.cli.main import main; status = main(['--help']); "
        f"print(json.dumps([status, [name for name in {sorted(SLOW)!r} if name in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"Fingerpost {__version__}\n"


@pytest.mark.parametrize(
    "words, said",
    [
        (["quue"], "relay: no command 'quue'; did you mean 'queue'? (see: relay --help)\n"),
        (["xyzzy"], "relay: no command 'xyzzy'; there are: init, run, check, "),
        (["a\x1b[2Jb"], "relay: no command 'a\\\\033[2Jb'; "),
        (["queue", "list", "--jsn"], "relay: No such option"),
        (["cert", "show", "-C"], "relay: Option '-C' requires an argument"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command("broken")
    def broken() -> None:
        raise error

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: broken)


@pytest.mark.parametrize(
    "error, said",
    [
        (FileNotFoundError(2, "No such file", "x.conf"), "relay: x.conf: no such file (check the path)\n"),
        (
            ConfigurationError(
                Problem(Location("a.conf", 3), "bad", "mend it"), Problem(Location("a.conf", 9), "worse")
            ),
            "relay: a.conf:3: bad (mend it)\nrelay: a.conf:9: worse\n",
        ),
        (
            ZeroDivisionError("by\x1bzero"),
            f"relay: unexpected error, ZeroDivisionError: by\\033zero ({UNEXPECTED})\n",
        ),
        (KeyboardInterrupt(), "relay: interrupted\n"),
    ],
)
def test_a_fault_is_never_a_traceback(
    error: BaseException, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that_raises(monkeypatch, error)
    assert main.main(["queue"]) == (130 if isinstance(error, KeyboardInterrupt) else 1)
    said_now = capsys.readouterr()
    assert said_now.err.lstrip("\n") == said
    assert said_now.out == ""


def test_the_trace_is_there_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that_raises(monkeypatch, ZeroDivisionError("zero"))
    assert main.main(["--debug", "queue"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m relay --help | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
