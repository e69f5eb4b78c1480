"""`relay demo`: what it makes, and what it does with what it finds."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from relay.cli import demo, main, templates
from relay.cli.cert import read_file
from relay.cli.children import is_free
from relay.cli.faults import Fault

import certs


def test_two_installations_that_know_each_other(tmp_path: Path) -> None:
    stage = demo.prepare(tmp_path / "run")
    relay, laptop = read_file(stage.relay.certificate)[0], read_file(stage.laptop.certificate)[0]
    (known_to_relay,) = stage.relay.trusted.iterdir()
    (known_to_laptop,) = stage.laptop.trusted.iterdir()
    assert read_file(known_to_relay)[0].fingerprint == laptop.fingerprint
    assert read_file(known_to_laptop)[0].fingerprint == relay.fingerprint
    macros = templates.defined_macros(stage.relay.configuration.read_text())
    assert macros["RELAY_FROM_CERTS"] == laptop.fingerprint
    assert macros["PORT"] == str(stage.relay_port)
    assert stage.relay_port != stage.laptop_port


def test_the_outside_world_ends_in_a_maildir(tmp_path: Path) -> None:
    stage = demo.prepare(tmp_path / "run")
    text = stage.relay.configuration.read_text()
    assert "begin routers\n\n# For the demo: the outside world.\ndemo_outside:\n" in text
    assert "demo_outside" not in stage.laptop.configuration.read_text()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = demo.prepare(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert demo.prepare(tmp_path / "run") == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_broken_off_run_left_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Fault("broken off")

    with monkeypatch.context() as patched:
        patched.setattr(demo, "laptop_macros", fail)
        with pytest.raises(Fault, match="broken off"):
            demo.prepare(tmp_path / "run")
    stage = demo.prepare(tmp_path / "run")
    assert stage.laptop.certificate.is_file()
    assert len(list(stage.relay.trusted.iterdir())) == 1


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(Fault, match="is not the directory of a demo"):
        demo.prepare(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_a_directory_that_was_moved(tmp_path: Path) -> None:
    demo.prepare(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(Fault, match="was made for"):
        demo.prepare(tmp_path / "moved")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"relay_port": "x", "laptop_port": 1}'])
def test_a_state_that_can_not_be_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(Fault, match="can't be read"):
        demo.prepare(tmp_path)


def test_a_port_that_somebody_else_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (tmp_path / "demo.json").write_text(json.dumps({"relay_port": port, "laptop_port": port}))
        assert main.main(["demo", "--dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"port {port} of this demo is in use" in error
    assert error.count("\n") == 1


def test_received_fields_are_shown_without_control_characters() -> None:
    assert demo.printable_lines("from a\n\tby b\x1b[2J") == ["from a", "    by b\\033[2J"]


def run_demo(directory: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "relay", "demo", "--dir", str(directory), *words]
    # Who runs the tests in the background has interrupts ignored, which a child inherits.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.smoke
@pytest.mark.slow
def test_the_first_message_arrives_on_certificates_alone(tmp_path: Path) -> None:
    for _ in range(2):  # the second time with what is there
        out, error = (process := run_demo(tmp_path / "run", "--once", "--json")).communicate(timeout=120)
        assert (process.returncode, error) == (0, "")
        said = json.loads(out)
        file = Path(said["file"])
        assert file.is_relative_to(tmp_path / "run" / "relay")
        assert b"Subject: The first message" in file.read_bytes()
        assert "with esmtps" in said["received"][0]
        assert any(" CV=yes " in line and said["laptop"]["fingerprint"] in line for line in said["relay"]["log"])
        assert any(" CV=yes " in line and said["relay"]["fingerprint"] in line for line in said["laptop"]["log"])
        assert said["statement"]["lines"][0] == "accept verify        = certificate"


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    process = run_demo(tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:
        if "until Ctrl-C" in line:
            break
    ports = json.loads((tmp_path / "run" / "demo.json").read_text())
    assert not is_free(ports["relay_port"])
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "stopped\n")
    assert is_free(ports["relay_port"])
    assert is_free(ports["laptop_port"])


@pytest.mark.slow
def test_a_daemon_that_can_not_start_is_the_reason(tmp_path: Path) -> None:
    stage = demo.prepare(tmp_path / "run")
    with stage.laptop.configuration.open("a") as file:
        file.write("begin nowhere\n")
    _, error = (process := run_demo(tmp_path / "run", "--once")).communicate(timeout=60)
    assert process.returncode == 1
    assert "laptop ended with status 1" in error
    assert f"relay: {stage.laptop.configuration}:" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_message_that_does_not_arrive_is_shown_with_both_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = demo.prepare(tmp_path / "run")
    for each in stage.laptop.trusted.iterdir():
        each.write_bytes(certs.stranger().cert_pem)
    monkeypatch.setattr(demo, "ARRIVE_WITHIN", 1.0)
    assert main.main(["demo", "--dir", str(tmp_path / "run"), "--once"]) == 1
    error = capsys.readouterr().err
    assert "the arrival of the first message did not happen within 1 s" in error
    assert "laptop, last lines:" in error
    assert list(stage.relay.mail.glob("**/new/*")) == []
