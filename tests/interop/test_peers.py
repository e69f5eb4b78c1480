"""The real servers start here, trust the certificate they are told to trust, and no other."""

import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import certs
from interop import exim, peers, postfix

MESSAGE = b"From: <me@laptop.test>\nTo: <you@example.org>\nSubject: over the hill\n\nGood morning.\n"

RelayMaker = Callable[..., AbstractContextManager[exim.Relay | postfix.Relay]]


def swaks(port: int, client: certs.CertKey, directory: Path) -> subprocess.CompletedProcess[str]:
    certificate, key = client.write(directory, "client")
    return subprocess.run(
        [
            "swaks", "--server", peers.HOST, "--port", str(port), "--tls", "--tls-cert", certificate,
            "--tls-key", key, "--helo", "laptop.test", "--from", "me@laptop.test", "--to", "you@example.org",
            "--header", "Subject: over the hill", "--timeout", "20",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


RELAYS = [
    pytest.param(exim.relay, marks=pytest.mark.interop("exim", "swaks"), id="exim"),
    pytest.param(postfix.relay, marks=pytest.mark.interop("postfix", "swaks"), id="postfix"),
]


@pytest.mark.parametrize("relay", RELAYS)
def test_a_relay_takes_mail_from_a_trusted_certificate(relay: RelayMaker, tmp_path: Path) -> None:
    with relay(server=certs.relay(), trusted=[certs.laptop()]) as peer:
        done = swaks(peer.port, certs.laptop(), tmp_path)
        assert done.returncode == 0, done.stdout + peer.log_text()
        peers.wait_until("a message in the maildir", peer.messages)
        assert b"Subject: over the hill" in peer.messages()[0]


@pytest.mark.parametrize("relay", RELAYS)
def test_a_relay_takes_none_from_a_stranger(relay: RelayMaker, tmp_path: Path) -> None:
    with relay(server=certs.relay(), trusted=[certs.laptop()]) as peer:
        done = swaks(peer.port, certs.stranger(), tmp_path)
        assert done.returncode == 24, done.stdout  # swaks: no recipient was accepted
        assert peer.messages() == []


@pytest.mark.interop("exim")
def test_exim_as_a_laptop_sends_to_exim_as_a_relay() -> None:
    with (
        exim.relay(server=certs.relay(), trusted=[certs.laptop()]) as relay,
        exim.laptop(smarthost=relay.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        for _ in range(3):
            laptop.submit(MESSAGE, sender="me@laptop.test", recipients=["you@example.org"])
        assert laptop.waiting() == 3
        laptop.run_queue()
        assert laptop.waiting() == 0, laptop.log_text()
        peers.wait_until("three messages in the maildir", lambda: len(relay.messages()) == 3)


@pytest.mark.interop("exim")
def test_exim_as_a_laptop_keeps_its_mail_from_an_impostor() -> None:
    with (
        exim.relay(server=certs.stranger(), trusted=[certs.laptop()]) as impostor,
        exim.laptop(smarthost=impostor.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        laptop.submit(MESSAGE, sender="me@laptop.test", recipients=["you@example.org"])
        laptop.run_queue()
        assert "certificate verification failed" in laptop.log_text()
        assert laptop.waiting() == 1
        assert impostor.messages() == []


@pytest.mark.interop("exim", "postfix")
def test_postfix_as_a_client_sends_to_exim_as_a_relay() -> None:
    with (
        exim.relay(server=certs.relay(), trusted=[certs.laptop()]) as relay,
        postfix.client(relayhost=relay.port, client=certs.laptop(), server=certs.relay()) as client,
    ):
        client.submit(MESSAGE, sender="me@laptop.test", recipients=["you@example.org"])
        peers.wait_until("the message in the maildir", relay.messages)
        peers.wait_until("an empty queue", lambda: client.waiting() == 0)


@pytest.mark.interop("postfix")
def test_postfix_as_a_client_keeps_its_mail_from_an_impostor() -> None:
    with (
        postfix.relay(server=certs.stranger(), trusted=[certs.laptop()]) as impostor,
        postfix.client(relayhost=impostor.port, client=certs.laptop(), server=certs.relay()) as client,
    ):
        client.submit(MESSAGE, sender="me@laptop.test", recipients=["you@example.org"])
        peers.wait_until("the message to be deferred", lambda: "status=deferred" in client.log_text())
        assert "Server certificate not verified" in client.log_text()
        assert client.waiting() == 1
        assert impostor.messages() == []


def test_a_port_that_was_asked_for_is_nobody_elses() -> None:
    port = peers.free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((peers.HOST, port))  # as who was given it by chance
    for _ in range(2):  # a server may go, and come back
        with socket.create_server((peers.HOST, port)), socket.create_connection((peers.HOST, port)):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((peers.HOST, port))
