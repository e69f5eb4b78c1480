"""What relay-sendmail does in a process of its own: messages where no daemon runs, and SMTP on standard input."""

import smtplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <you@relay.test>\nSubject: alone\n\nGood morning.\n"
DIALOG = b"EHLO me\nMAIL FROM:<a@client.test>\nRCPT TO:<you@relay.test>\nDATA\nSubject: typed\n\ntext\n.\nQUIT\n"


@pytest.fixture
def installation(tmp_path: Path) -> daemons.Daemon:
    """A configuration with nobody running."""
    port = peers.free_port()
    for name in ("spool", "log"):
        (tmp_path / name).mkdir()
    path = tmp_path / "fingerpost.conf"
    path.write_text(daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[]))
    return daemons.Daemon(tmp_path, path, port)


def codes(output: bytes) -> list[bytes]:
    """The codes of the last lines of all replies."""
    return [line[:3] for line in output.splitlines() if line[3:4] == b" "]


@pytest.mark.parametrize("option", ["-odi", "-odf"])
def test_whom_the_queue_belongs_to_delivers_without_a_daemon(installation: daemons.Daemon, option: str) -> None:
    done = installation.sendmail(option, "-i", "you@relay.test", message=MESSAGE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(installation.messages()) == 1
    assert installation.waiting() == 0


def test_delivery_in_the_background_is_by_a_child(installation: daemons.Daemon) -> None:
    done = installation.sendmail("-i", "you@relay.test", message=MESSAGE)
    assert (done.returncode, done.stderr) == (0, b"")
    peers.wait_until("the message", installation.messages)
    installation.wait_for_log("Completed")


def test_what_is_only_queued_stays_in_the_queue(installation: daemons.Daemon) -> None:
    assert installation.sendmail("-odq", "-i", "you@relay.test", message=MESSAGE).returncode == 0
    assert (installation.waiting(), installation.messages()) == (1, [])
    assert installation.sendmail("-q").returncode == 0
    assert (installation.waiting(), len(installation.messages())) == (0, 1)


@pytest.mark.parametrize("option", ["-odi", "-odb"])
def test_a_bad_recipient_is_said_to_the_caller(installation: daemons.Daemon, option: str) -> None:
    done = installation.sendmail(option, "-i", "you@@relay.test", message=MESSAGE)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("relay-sendmail: bad recipient address")
    assert installation.waiting() == 0


def test_smtp_through_a_pipe(installation: daemons.Daemon) -> None:
    done = installation.sendmail("-odi", "-bs", message=DIALOG)
    assert (done.returncode, done.stderr) == (0, b"")
    assert codes(done.stdout) == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    (message,) = installation.messages()
    assert b"Subject: typed" in message
    assert "P=local-esmtp" in installation.log_text()


def test_a_pipe_that_ends_in_the_middle_leaves_nothing(installation: daemons.Daemon) -> None:
    installation.sendmail("-odi", "-bs", message=DIALOG[: DIALOG.index(b".\nQUIT")])
    assert (installation.waiting(), installation.messages()) == (0, [])


def serve_once(installation: daemons.Daemon, *options: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A connection that relay-sendmail has as its standard input, as inetd would start it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        connection, _ = listener.accept()
    command = [sys.executable, "-m", "relay.cli.sendmail", "-C", str(installation.configuration), *options]
    with connection:
        process = subprocess.Popen(command, stdin=connection, stdout=connection)
    return client, process


def test_a_socket_is_a_session_of_the_network(installation: daemons.Daemon) -> None:
    client, process = serve_once(installation, "-bs")
    with smtplib.SMTP() as smtp:
        smtp.sock = client
        assert smtp.getreply()[0] == 220
        # A stranger's recipient elsewhere is refused: what is local could be relayed.
        assert smtp.docmd("EHLO", "me")[0] == 250
        assert smtp.docmd("MAIL", "FROM:<a@client.test>")[0] == 250
        assert smtp.docmd("RCPT", "TO:<you@elsewhere.test>")[0] == 550
        assert smtp.docmd("RCPT", "TO:<you@relay.test>")[0] == 250
    assert process.wait(20) == 0
    assert "H=(me) [127.0.0.1]" in installation.log_text()


def test_tls_on_connect_on_a_socket(installation: daemons.Daemon) -> None:
    client, process = serve_once(installation, "-bs", "-tls-on-connect")
    context = ssl.create_default_context(cadata=certs.relay().cert_pem.decode())
    context.check_hostname = False
    with context.wrap_socket(client) as secured:
        assert secured.recv(100).startswith(b"220 ")
        secured.sendall(b"QUIT\r\n")
        assert secured.recv(100).startswith(b"221 ")
    assert process.wait(20) == 0


def test_a_played_session_decides_and_keeps_nothing(installation: daemons.Daemon) -> None:
    dialog = DIALOG.replace(b"DATA", b"RCPT TO:<you@elsewhere.test>\nDATA")
    done = installation.sendmail("-bh", "192.0.2.7", message=dialog)
    assert done.returncode == 0
    assert b"as if from host 192.0.2.7" in done.stdout
    assert codes(done.stdout) == [b"220", b"250", b"250", b"250", b"550", b"354", b"250", b"221"]
    assert b"LOG: H=(me) [192.0.2.7]" in done.stderr
    assert (installation.waiting(), installation.messages(), installation.log_text()) == (0, [], "")


@pytest.mark.parametrize(("trusted", "code"), [(True, b"250"), (False, b"550")])
def test_a_played_session_with_a_certificate(tmp_path: Path, trusted: bool, code: bytes) -> None:
    laptop, stranger = certs.laptop(), certs.stranger()
    (tmp_path / "spool").mkdir()
    path = tmp_path / "conf"
    path.write_text(daemons.relay_configuration(tmp_path, 25, certs.relay(), [laptop], trusted=[laptop]))
    (tmp_path / "shown.pem").write_bytes((laptop if trusted else stranger).cert_pem)
    installation = daemons.Daemon(tmp_path, path, 25)
    dialog = b"EHLO me\nMAIL FROM:<a@b.test>\nRCPT TO:<you@elsewhere.test>\nQUIT\n"
    done = installation.sendmail("-bh", "192.0.2.7", "--cert", str(tmp_path / "shown.pem"), message=dialog)
    assert codes(done.stdout) == [b"220", b"250", b"250", code, b"221"]
    assert b"STARTTLS" not in done.stdout


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_played_session_needs_the_certificate(installation: daemons.Daemon, content: bytes | None) -> None:
    path = installation.directory / "shown.pem"
    if content is not None:
        path.write_bytes(content)
    done = installation.sendmail("-bh", "192.0.2.7", "--cert", str(path))
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_a_played_session_needs_an_address(installation: daemons.Daemon) -> None:
    done = installation.sendmail("-bh", "nowhere")
    assert (done.returncode, done.stderr) == (1, b"relay-sendmail: nowhere is not an IP address\n")


def test_a_batch(installation: daemons.Daemon) -> None:
    message = b"MAIL FROM:<a@client.test>\nRCPT TO:<you@relay.test>\nDATA\nSubject: batched\n\ntext\n.\n"
    done = installation.sendmail("-odi", "-bS", message=message * 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(installation.messages()) == 3
    done = installation.sendmail("-odi", "-bS", message=message + b"RCPT TO:<\n")
    assert done.returncode == 1
    assert b"\nTransaction started in line 7\nError detected in line 8\nRCPT TO:<\n" in done.stdout
    assert len(installation.messages()) == 4
    done = installation.sendmail("-odi", "-bS", message=b"RCPT TO:<x@y>\n")
    assert done.returncode == 2


BATCH = b"MAIL FROM:<a@client.test>\nRCPT TO:<you@relay.test>\nDATA\nSubject: batched\n\ntext\n.\n"


@pytest.mark.parametrize(("mode", "message"), [("-bS", BATCH), ("-bs", DIALOG)])
@pytest.mark.parametrize(
    ("lines", "option", "is_delivered"),
    [
        ("queue_only", "-odi", True),
        ("queue_only", "-oi", False),
        ("queue_only\nqueue_only_override = false", "-odi", False),
        ("", "-odq", False),
    ],
)
def test_what_is_said_by_hand_goes_before_queue_only(
    installation: daemons.Daemon, lines: str, option: str, is_delivered: bool, mode: str, message: bytes
) -> None:
    installation.configuration.write_text(f"{lines}\n{installation.configuration.read_text()}")
    assert installation.sendmail(option, mode, message=message).returncode == 0
    assert (len(installation.messages()), installation.waiting()) == ((1, 0) if is_delivered else (0, 1))


def with_acl(installation: daemons.Daemon, option: str) -> None:
    """The option names an ACL that refuses."""
    text = installation.configuration.read_text().replace("begin acl\n", "begin acl\nno:\n  deny\n")
    installation.configuration.write_text(f"{option} = no\n{text}")


def test_who_starts_a_process_sees_what_it_writes_into_the_panic_log(installation: daemons.Daemon) -> None:
    with_acl(installation, "acl_smtp_quit")
    done = installation.sendmail("-bs", message=b"QUIT\n")
    assert (done.returncode, codes(done.stdout)) == (0, [b"220", b"221"])
    assert "ACL for QUIT returned ERROR: " in installation.log_text("panic")
    assert done.stderr.decode() == installation.log_text("panic")


def test_no_client_of_the_network_sees_it(installation: daemons.Daemon) -> None:
    with_acl(installation, "acl_smtp_quit")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        connection, _ = listener.accept()
    command = [sys.executable, "-m", "relay.cli.sendmail", "-C", str(installation.configuration), "-bs"]
    with connection:
        process = subprocess.Popen(command, stdin=connection, stdout=connection, stderr=connection)
    with client:
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: client.recv(1000), b""))
    assert process.wait(20) == 0
    assert codes(said) == [b"220", b"221"]
    assert b"ERROR" not in said
    assert "ACL for QUIT returned ERROR: " in installation.log_text("panic")


def test_a_session_whose_client_is_turned_away_has_not_failed(installation: daemons.Daemon) -> None:
    with_acl(installation, "acl_smtp_connect")
    done = installation.sendmail("-bs")
    assert (done.returncode, codes(done.stdout)) == (0, [b"550"])
