"""`relay run`: what it says when it can't begin."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli import init
from relay.cli.init import Role, make_installation
from relay.cli.places import Places, places_under


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def relay(tmp_path: Path, taken: int) -> Places:
    places = places_under(tmp_path / "relay")
    make_installation(Role("relay", init.relay_macros(str(taken), "127.0.0.1")), places, "relay.example")
    return places


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relay", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use(relay: Places, taken: int) -> None:
    done = run("-C", str(relay.configuration))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"relay: {relay.configuration}:")
    assert f"port {taken}" in line
    assert line.endswith(")")


def test_a_configuration_with_a_mistake(relay: Places) -> None:
    with relay.configuration.open("a") as file:
        file.write("begin nowhere\n")
    done = run("-C", str(relay.configuration))
    assert done.returncode == 1
    assert done.stderr.startswith(f"relay: {relay.configuration}:")
    assert "Traceback" not in done.stderr


def test_no_configuration(tmp_path: Path) -> None:
    done = run("-C", str(tmp_path / "no.conf"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"relay: {tmp_path}/no.conf: no such file (")
    assert done.stderr.count("\n") == 1
