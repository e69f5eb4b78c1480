"""kill -9 under load: what got its 250 arrives, whatever the daemon was doing."""

import contextlib
import os
import random
import signal
import smtplib
import threading
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

ROUNDS = 6


class Sender(threading.Thread):
    """Sends numbered messages until the connection breaks; `promised` are those that got their 250."""

    def __init__(self, port: int, name: str, promised: set[str]) -> None:
        super().__init__(name=name)
        self._port = port
        self._promised = promised
        self.refused: list[str] = []

    def run(self) -> None:
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            smtplib.SMTP("127.0.0.1", self._port, local_hostname="laptop.test", timeout=20) as smtp,
        ):
            for number in range(10000):
                mark = f"{self.name}-{number}"
                message = f"From: <me@laptop.test>\r\nSubject: {mark}\r\n\r\n{'x' * random.randrange(200000)}\r\n"
                try:
                    smtp.sendmail("me@laptop.test", ["you@relay.test"], message)
                except smtplib.SMTPResponseException as error:
                    self.refused.append(f"{mark}: {error}")
                    return
                self._promised.add(mark)


def subjects(relay: daemons.Daemon) -> set[str]:
    found = set()
    for text in relay.messages():
        header = text.split(b"\n\n", 1)[0].decode()
        found.add(next(line[9:] for line in header.splitlines() if line.startswith("Subject: ")))
    return found


@pytest.mark.slow
def test_no_message_that_got_250_is_lost(tmp_path: Path) -> None:
    port = peers.free_port()
    text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[], main="smtp_accept_max = 100")
    promised: set[str] = set()
    for round_number in range(ROUNDS):
        with daemons.running(tmp_path, text, port) as relay:
            senders = [Sender(port, f"r{round_number}s{number}", promised) for number in range(4)]
            before = len(promised)
            for sender in senders:
                sender.start()
            enough = before + random.randrange(5, 40)
            peers.wait_until("messages to be accepted", lambda wanted=enough: len(promised) >= wanted, 60)
            os.kill(int((relay.spool / "daemon.pid").read_text()), signal.SIGKILL)
            for sender in senders:
                sender.join()
            assert [refusal for sender in senders for refusal in sender.refused] == []
    with daemons.running(tmp_path, text, port) as relay:
        peers.wait_until("everything promised to arrive", lambda: promised <= subjects(relay), 60)
        peers.wait_until("an empty queue", lambda: relay.waiting() == 0, 60)
        assert not list((relay.spool / "queue").glob("*.broken"))
    # Nothing half-written became a message.
    for message in relay.messages():
        assert message.rstrip(b"\n").endswith(b"x") or b"\n\n\n" in message
