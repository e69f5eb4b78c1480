"""relay-sendmail's other modes as child processes: the daemon in the background, queue runs, a daemon that is down."""

import io
import os
import signal
import smtplib
import socket
import ssl
import sys
from pathlib import Path

import pytest

import daemons
from relay.cli.handover import MessageInput, hand_over
from relay.reception.request import SubmissionRequest

import certs
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <you@relay.test>\nSubject: modes\n\nGood morning.\n"


@pytest.fixture
def installation(tmp_path: Path) -> daemons.Daemon:
    """A configuration with nobody running."""
    port = peers.free_port()
    for name in ("spool", "log"):
        (tmp_path / name).mkdir()
    path = tmp_path / "fingerpost.conf"
    path.write_text(daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[]))
    return daemons.Daemon(tmp_path, path, port)


def stop(installation: daemons.Daemon) -> None:
    pid_file = installation.spool / "daemon.pid"
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    peers.wait_until("the daemon to remove its pid file", lambda: not pid_file.exists())


def leave_in_the_maildrop(installation: daemons.Daemon) -> None:
    """As a user does whom the queue does not belong to."""
    source = io.BytesIO(MESSAGE)
    request = SubmissionRequest(recipients=("you@relay.test",))
    hand_over(str(installation.spool), request, MessageInput(source.read, dot_ends=False))


def test_a_daemon_in_the_background(installation: daemons.Daemon) -> None:
    """-bd returns when it serves; -oX says where."""
    port = peers.free_port()
    done = installation.sendmail("-bd", "-q1m", "-oX", f"127.0.0.1.{port}")
    assert done.returncode == 0, done.stderr
    try:
        assert f"listening for SMTP on [127.0.0.1]:{port}" in installation.log_text()
        installation.sendmail("-i", "you@relay.test", message=MESSAGE)
        peers.wait_until("the message", installation.messages)
    finally:
        stop(installation)


def test_a_daemon_that_cannot_start_says_why(installation: daemons.Daemon) -> None:
    with socket.create_server(("127.0.0.1", installation.port)):
        done = installation.sendmail("-bd")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert f"can't listen on 127.0.0.1 port {installation.port}: Address already in use" in line
    assert "fingerpost.conf:" in line
    assert not (installation.spool / "daemon.pid").exists()


def test_messages_that_come_while_the_daemon_is_down_wait_in_the_maildrop(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-bd").returncode == 0
    stop(installation)
    leave_in_the_maildrop(installation)
    assert len(list((installation.spool / "maildrop").glob("new.*"))) == 1
    assert installation.sendmail("-bd").returncode == 0
    try:
        peers.wait_until("the message", installation.messages)
        maildrop = installation.spool / "maildrop"
        peers.wait_until("an empty maildrop", lambda: not list(maildrop.glob("new.*")))
        assert len(installation.messages()) == 1
    finally:
        stop(installation)


def test_only_queued_messages_wait_for_a_queue_run(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-bd").returncode == 0
    try:
        for _ in range(3):
            assert installation.sendmail("-odq", "-i", "you@relay.test", message=MESSAGE).returncode == 0
        assert installation.waiting() == 3
        assert installation.messages() == []
        assert "you@relay.test" in installation.sendmail("-bp").stdout.decode()
        done = installation.sendmail("-q")
        assert done.returncode == 0, done.stderr
        assert installation.waiting() == 0
        assert len(installation.messages()) == 3
    finally:
        stop(installation)


def test_a_queue_run_works_without_a_daemon(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-bd").returncode == 0
    installation.sendmail("-odq", "-i", "you@relay.test", message=MESSAGE)
    stop(installation)
    done = installation.sendmail("-qff")
    assert done.returncode == 0, done.stderr
    assert len(installation.messages()) == 1
    assert "Start queue run" in installation.log_text()
    assert "End queue run" in installation.log_text()


def test_foreground_delivery_waits_for_its_end(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-bd").returncode == 0
    try:
        assert installation.sendmail("-odi", "-i", "you@relay.test", message=MESSAGE).returncode == 0
        assert len(installation.messages()) == 1
    finally:
        stop(installation)


def test_tls_on_connect_is_for_every_port(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-tls-on-connect", "-bd").returncode == 0
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP_SSL("127.0.0.1", installation.port, timeout=20, context=context) as smtp:
            assert smtp.noop()[0] == 250
        assert f"listening for SMTPS on [127.0.0.1]:{installation.port}" in installation.log_text()
    finally:
        stop(installation)


def test_twistd_runs_it_as_a_plugin(installation: daemons.Daemon, tmp_path: Path) -> None:
    twistd = [
        sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n",
        "--pidfile", str(tmp_path / "twistd.pid"), "relay", "-C", str(installation.configuration),
    ]  # fmt: skip
    with peers.running(twistd, port=installation.port, output=tmp_path / "output", logs=tmp_path / "log"):
        installation.wait_for_log("daemon started")
        installation.sendmail("-i", "you@relay.test", message=MESSAGE)
        peers.wait_until("the message", installation.messages)
