"""A message that can't be delivered: its sender gets a real report, and a report is never reported on."""

import email
import socket
import threading
from email import policy
from pathlib import Path

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <nobody@refused.test>\nSubject: to nobody\n\nIs there anybody?\n"


def refuse_everybody(listener: socket.socket) -> None:
    """A server that knows no recipient."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"220 refused.test ESMTP\r\n")
            rest = b""
            while data := connection.recv(4096):
                *lines, rest = (rest + data).split(b"\r\n")
                for line in lines:
                    verb = line[:4].upper()
                    refusals = {b"RCPT": b"550 5.1.1 no such person here", b"DATA": b"503 no recipients"}
                    reply = refusals.get(verb, b"250 ok")
                    connection.sendall(reply + b"\r\n")


def test_the_sender_gets_a_report(tmp_path: Path) -> None:
    port = peers.free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse_everybody, args=(listener,))
        thread.start()
        text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[])
        away = listener.getsockname()[1]
        router = (
            "begin routers\n\naway:\n  driver = manualroute\n  domains = refused.test\n  transport = remote\n"
            f"  route_list = * 127.0.0.1::{away}\n  self = send\n"
        )
        text = text.replace("begin routers\n", router).replace(
            "begin transports\n", "begin transports\n\nremote:\n  driver = smtp\n"
        )
        with daemons.running(tmp_path, text, port) as relay:
            done = relay.sendmail("-i", "-f", "me@relay.test", "nobody@refused.test", message=MESSAGE)
            assert done.returncode == 0, done.stderr
            peers.wait_until("the report", relay.messages)
            relay.wait_for_log("Completed", times=2)
            assert relay.waiting() == 0
            (raw,) = relay.messages()
            log = relay.log_text()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    report = email.message_from_bytes(raw, policy=policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Return-Path"] == "<>"
    human, machine, original = report.iter_parts()
    assert "nobody@refused.test" in human.get_content()
    assert "550 5.1.1 no such person here" in human.get_content()
    recipient = machine.get_payload()[1]
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert "to nobody" in original.as_string()
    assert "** nobody@refused.test" in log
    assert " <= <> R=" in log
