"""The scripted client and the scripted server against each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from certs import relay
from interop import peers
from interop.suite import client, server

FOLDER = Path(client.__file__).parent
SERVER_SCRIPT = """\
220 Hello
EHLO
>250-one
250 two
DATA
>>354
> go
.
250 OK
"""
CLIENT_SCRIPT = """\
??? 220
EHLO me
????250-
??? 250
DATA
??? 354 go
x\\r\\n.y
.
??? 250 OK
??? *
"""


@pytest.fixture
def script_server(tmp_path: Path):
    """Starts the server with a script; gives its port and the process."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *options: str) -> tuple[int, subprocess.Popen[str]]:
        port = peers.free_port()
        pid_file = tmp_path / "pid"
        command = [sys.executable, FOLDER / "server.py", "-noipv6", "-oP", pid_file, *options, str(port)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdin
        process.stdin.write(script + "++++\n")
        process.stdin.flush()
        peers.wait_until("the server to listen", pid_file.exists)
        return port, process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def play(script: str, port: int, *options: str) -> tuple[int, str]:
    command = [sys.executable, FOLDER / "client.py", *options, "127.0.0.1", str(port)]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout.replace(str(port), "PORT")


def test_a_dialog(script_server):
    port, process = script_server(SERVER_SCRIPT)
    code, said = play(CLIENT_SCRIPT.replace("??? *", "???*"), port)
    assert said.splitlines() == [
        "Connecting to 127.0.0.1 port PORT ... connected",
        "??? 220", "<<< 220 Hello", ">>> EHLO me", "????250-", "??? 250", "<<< 250 two", ">>> DATA",
        "??? 354 go", "<<< 354 go", ">>> x\\r\\n.y", ">>> .", "??? 250 OK", "<<< 250 OK", "???*", "Expected EOF read",
        "End of script",
    ]  # fmt: skip
    assert code == 0
    assert process.communicate(timeout=10)[0].splitlines()[1:] == [
        "Connection request from [127.0.0.1]",
        "220 Hello", "EHLO me", ">250-one", "250 two", "DATA", ">>354", "> go", "x", ".y", ".", "250 OK",
        "End of script",
    ]  # fmt: skip


def test_tls(script_server, tmp_path: Path):
    certificate, key = relay().write(tmp_path, "server")
    script = "220 Hello\nSTARTTLS\n220 go\n*starttls\nQUIT\n221 bye\n"
    port, process = script_server(script, "-tls", str(certificate), str(key))
    code, said = play("??? 220\nSTARTTLS\n??? 220\nQUIT\n??? 221\n", port, "--tls")
    assert code == 0, said
    assert "Attempting to start TLS\nSucceeded in starting TLS\n>>> QUIT\n??? 221\n<<< 221 bye\n" in said
    assert process.communicate(timeout=10)[0].endswith("QUIT\n221 bye\nEnd of script\n")


def test_the_client_stops_at_what_it_does_not_expect(script_server):
    port, _ = script_server("220 Hello\n")
    code, said = play("??? 250\n", port)
    assert code == client.MISMATCH
    assert said.endswith("<<< 220 Hello\n\n******** Input mismatch ********\n")


def test_the_client_does_not_wait_for_ever(script_server):
    port, _ = script_server("*sleep 20\n")
    assert play("??? 250\n", port, "-t1")[0] == client.TIMED_OUT


def test_the_server_stops_at_what_it_does_not_expect(script_server):
    port, process = script_server("220 Hello\nEHLO\n250 OK\n")
    play("??? 220\nHELO\n???*\n", port)
    assert process.communicate(timeout=10)[0].endswith("HELO\nComparison failed - bailing out\nExpected: EHLO\n")


def test_nobody_listens():
    assert play("", peers.free_port())[0] == client.NOT_CONNECTED


@pytest.mark.parametrize(("text", "expected"), [(rb"a\r\n\x41\\", b"a\r\nA\\"), (rb"\q", b"q"), (b"x\\", b"x\\")])
def test_escapes_of_the_client(text: bytes, expected: bytes):
    assert client.unescaped(text) == expected


def test_escapes_of_the_server():
    assert server.script_of(b"a\\x41\\\\ \n++++\nmore\n") == [b"aA\\"]
    assert server.shown(b"a\\\x00") == r"a\\\x00"
