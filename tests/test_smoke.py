"""What must hold of the package as installed; also run against the built wheel, away from the checkout."""

import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import relay

pytestmark = pytest.mark.smoke

COMMANDS = [
    entry.name
    for entry in importlib.metadata.entry_points(group="console_scripts")
    if entry.dist is not None and entry.dist.name == "fingerpost"
]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_both_commands_are_installed() -> None:
    assert sorted(COMMANDS) == ["relay", "relay-sendmail"]


@pytest.mark.parametrize("command", [("relay", "--help"), ("relay-sendmail", "-bV")], ids=" ".join)
def test_a_command_answers(tmp_path: Path, command: tuple[str, str]) -> None:
    name, option = command
    done = run(Path(sys.executable).with_name(name), option, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_twistd_lists_the_plugin(tmp_path: Path) -> None:
    done = run(Path(sys.executable).with_name("twistd"), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ["relay", "A", "mail", "relay"] in [line.split()[:4] for line in done.stdout.splitlines()]


def test_the_plugin_has_its_service_maker() -> None:
    maker = importlib.import_module("relay.tap")
    assert callable(maker.makeService)
    assert maker.Options is not None


def test_the_version_is_told_once() -> None:
    assert importlib.metadata.version("fingerpost") == relay.__version__


@pytest.mark.parametrize("file", ["py.typed", "cli/templates/relay.conf", "cli/templates/laptop.conf"])
def test_a_file_beside_the_code_is_shipped(file: str) -> None:
    assert (Path(relay.__file__).parent / file).is_file()


@pytest.mark.parametrize(
    "name",
    [m.name for m in pkgutil.walk_packages(relay.__path__, "relay.") if not m.name.endswith("__main__")],
)
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)
