"""Endpoints by name: what is one, and a socket that somebody else has opened."""

from __future__ import annotations

import os
import smtplib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import daemons
from relay.daemon.interfaces import EndpointItem, endpoint_item, endpoint_port
from relay.mail.source import ConfigurationError, Location

from interop import peers

HERE = Location("conf", 1)


@pytest.mark.parametrize(
    ("text", "item", "port"),
    [
        ("127.0.0.1.2525", None, None),
        ("[::1]:2525", None, None),
        ("endpoint:tcp:2525", EndpointItem("tcp:2525"), 2525),
        (" endpoint-tls:tcp6:port=465:interface=::1", EndpointItem("tcp6:port=465:interface=::1", tls=True), 465),
        ("endpoint:systemd:domain=INET6:index=0", EndpointItem("systemd:domain=INET6:index=0"), None),
    ],
)
def test_items(text: str, item: EndpointItem | None, port: int | None) -> None:
    assert endpoint_item(text, HERE) == item
    assert endpoint_port(text) == port


@pytest.mark.parametrize("description", ["ssl:465", "unix:/run/x", "systemd:domain=UNIX:index=0", ""])
def test_what_has_no_address_or_a_tls_of_its_own(description: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        endpoint_item(f"endpoint:{description}", HERE)
    assert "can't be served" in str(raised.value)


def configuration(directory: Path, interfaces: str) -> Path:
    for name in ("spool", "log"):
        (directory / name).mkdir()
    text = daemons.head(directory, 25, "relay.test").replace("= 127.0.0.1", f"= <; {interfaces}")
    path = directory / "conf"
    path.write_text(f"{text}\nacl_smtp_rcpt = deny\n")
    return path


def test_a_socket_that_was_handed_over(tmp_path: Path) -> None:
    path = configuration(tmp_path, "endpoint:systemd:domain=INET:index=0")
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        port = inherited.getsockname()[1]
        # As systemd does it: the socket is descriptor 3, and the process is named.
        script = f"""import os, sys
os.dup2({inherited.fileno()}, 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
os.execv(sys.executable, [sys.executable, "-m", "relay", "run", "-C", sys.argv[1]])"""
        command = [sys.executable, "-c", script, str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (
            (tmp_path / "output").open("wb") as output,
            subprocess.Popen(
                command, pass_fds=[inherited.fileno()], env=environment, stdout=output, stderr=output
            ) as process,
        ):
            try:
                log = tmp_path / "log/mainlog"
                peers.wait_until("its start", lambda: log.exists() and "daemon started" in log.read_text())
                assert f"listening for SMTP on [127.0.0.1]:{port}" in log.read_text()
                with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                    assert client.noop()[0] == 250
            finally:
                process.terminate()


def test_a_socket_that_was_not(tmp_path: Path) -> None:
    path = configuration(tmp_path, "endpoint:systemd:domain=INET:index=0")
    command = [sys.executable, "-m", "relay", "run", "-C", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "can't listen on endpoint systemd:domain=INET:index=0" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
