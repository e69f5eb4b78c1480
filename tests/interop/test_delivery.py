"""A queue of messages from our laptop to real servers: over one connection where the server goes on in clear behind
TLS, over new ones where it does not; nothing is lost, sent twice or held up."""

from __future__ import annotations

import re
import smtplib
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import daemons
from net.odd_peer import Oddness, odd_peer

import certs
from interop import exim, peers, postfix

MESSAGE = "From: <me@laptop.test>\nTo: <you@example.org>\nSubject: number {}\n\nGood morning.\n"
# The laptop's lines of the wiki page, and one connection at a time.
TRANSPORT = "hosts_require_tls =\n  tls_verify_certificates = {anchor}\n  serialize_hosts = *"


def our_laptop(directory: Path, smarthost: int) -> AbstractContextManager[daemons.Daemon]:
    port = peers.free_port()
    directory.mkdir()
    anchor = directory / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    lines = TRANSPORT.format(anchor=anchor)
    text = daemons.laptop_configuration(directory, port, certs.laptop(), smarthost, lines)
    return daemons.running(directory, "queue_only\n" + text, port)


def send(laptop: daemons.Daemon, count: int) -> list[str]:
    """Sends so many messages in one run of the queue; the lines of the log about them."""
    with smtplib.SMTP("127.0.0.1", laptop.port, "here.test", timeout=20) as client:
        for number in range(count):
            client.sendmail("me@laptop.test", ["you@example.org"], MESSAGE.format(number))
    laptop.sendmail("-qqf")
    peers.wait_until("an empty queue", lambda: laptop.log_text().count(" Completed") == count, 30)
    log = laptop.log_text()
    assert " == " not in log
    assert " ** " not in log
    lines = [line for line in log.splitlines() if " => you@example.org" in line]
    assert len(lines) == count
    assert all(" X=TLS1." in line and " CV=yes" in line and ' C="250' in line for line in lines)
    return lines


def on_passed_connections(lines: list[str], port: int) -> int:
    return sum(f":{port}* " in line for line in lines)


def subjects(messages: list[bytes]) -> list[int]:
    found = [re.search(rb"^Subject: number (\d+)", text, re.MULTILINE) for text in messages]
    return sorted(int(each.group(1)) for each in found if each is not None)


VERSIONS = [pytest.param("", id="TLS 1.3"), pytest.param("NORMAL:-VERS-TLS1.3", id="TLS 1.2")]


@pytest.mark.interop("exim")
@pytest.mark.parametrize("ciphers", VERSIONS)
def test_exim_has_twelve_messages_on_one_connection(ciphers: str, tmp_path: Path) -> None:
    """It never answers our close_notify, and nobody waits for that."""
    with (
        exim.relay(
            server=certs.relay(),
            trusted=[certs.laptop()],
            main="smtp_accept_queue_per_connection = 0",
            tls_require_ciphers=ciphers,
        ) as relay,
        our_laptop(tmp_path / "laptop", relay.port) as laptop,
    ):
        lines = send(laptop, 12)
        peers.wait_until("twelve messages in its maildir", lambda: len(relay.messages()) == 12, 30)
        assert subjects(relay.messages()) == list(range(12))
        log = relay.log_text()
    assert on_passed_connections(lines, relay.port) == 11
    assert len(set(re.findall(r" <= me@laptop\.test H=.* \[127\.0\.0\.1\]:(\d+) ", log))) == 1
    arrived = [line for line in log.splitlines() if " <= me@laptop.test" in line]
    assert len(arrived) == 12
    assert all(" X=TLS1." in line and " CV=yes" in line for line in arrived)


@pytest.mark.interop("postfix")
def test_postfix_has_each_message_on_a_connection_of_its_own(tmp_path: Path) -> None:
    """It closes TCP with TLS: that is noticed at once, held against nobody, and not tried again."""
    with (
        postfix.relay(server=certs.relay(), trusted=[certs.laptop()]) as relay,
        our_laptop(tmp_path / "laptop", relay.port) as laptop,
    ):
        lines = send(laptop, 6)
        peers.wait_until("six messages in its maildir", lambda: len(relay.messages()) == 6, 30)
        assert subjects(relay.messages()) == list(range(6))
        log = relay.log_text()
    assert on_passed_connections(lines, relay.port) == 0
    connections = [line for line in log.splitlines() if "disconnect from" in line and " starttls=1" in line]
    assert len(connections) == 6
    assert sum(" quit=1" in line for line in connections) == 5, "only one is ended by a probe"


def test_our_own_relay_has_them_on_one_connection(tmp_path: Path) -> None:
    port = peers.free_port()
    text = daemons.relay_configuration(
        tmp_path / "relay", port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()]
    )
    with (
        daemons.running(tmp_path / "relay", text, port) as relay,
        our_laptop(tmp_path / "laptop", port) as laptop,
    ):
        lines = send(laptop, 12)
        peers.wait_until("twelve messages", lambda: relay.log_text().count(" Completed") == 12, 30)
        assert subjects(relay.messages()) == list(range(12))
    assert on_passed_connections(lines, port) == 11


@pytest.mark.parametrize("how, passed", [("tcp close", 0), ("at once", 5)])
def test_a_server_as_chasquid_and_one_as_openssl_exim(how: str, passed: int, tmp_path: Path) -> None:
    with (
        odd_peer(Oddness(on_close=how, certificates=(certs.relay(),)), tmp_path) as peer,
        our_laptop(tmp_path / "laptop", peer.port) as laptop,
    ):
        lines = send(laptop, 6)
    assert len(peer.messages) == 6
    assert on_passed_connections(lines, peer.port) == passed
