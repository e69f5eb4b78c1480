"""Our daemon and the real servers, in both roles."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import daemons

import certs
from interop import exim, peers, postfix

MESSAGE = b"From: <me@laptop.test>\nTo: <you@example.org>\nSubject: over the hill\n\nGood morning.\n.\nA dot above.\n"
SENDER, RECIPIENT = "me@laptop.test", "you@example.org"

# The laptop's lines of the wiki page: no list is set, so the relay's certificate must verify.
WIKI_TRANSPORT = "hosts_require_tls =\n  tls_verify_certificates = {anchor}"


def our_relay(directory: Path) -> AbstractContextManager[daemons.Daemon]:
    port = peers.free_port()
    configuration = daemons.relay_configuration(
        directory, port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()]
    )
    return daemons.running(directory, configuration, port)


def our_laptop(
    directory: Path, smarthost: int, *, client: certs.CertKey | None, server: certs.CertKey
) -> AbstractContextManager[daemons.Daemon]:
    port = peers.free_port()
    directory.mkdir()
    anchor = directory / "relay.crt"
    anchor.write_bytes(server.cert_pem)
    configuration = daemons.laptop_configuration(
        directory, port, client, smarthost, WIKI_TRANSPORT.format(anchor=anchor)
    )
    return daemons.running(directory, configuration, port)


@pytest.mark.interop("exim")
@pytest.mark.parametrize("close_tls", [True, False], ids=["TLS closed between messages", "TLS kept"])
def test_exim_as_a_laptop_relays_through_us(tmp_path: Path, close_tls: bool) -> None:
    with (
        our_relay(tmp_path / "relay") as relay,
        exim.laptop(
            smarthost=relay.port, client=certs.laptop(), server=certs.relay(), close_tls_between_messages=close_tls
        ) as laptop,
    ):
        for _ in range(3):
            laptop.submit(MESSAGE, sender=SENDER, recipients=[RECIPIENT])
        laptop.run_queue()
        assert laptop.waiting() == 0, laptop.log_text() + relay.log_text()
        peers.wait_until("three messages in our maildir", lambda: len(relay.messages()) == 3)
        for text in relay.messages():
            assert b"Good morning.\n.\nA dot above.\n" in text
        assert relay.log_text().count(f"FP={certs.laptop().fingerprint}") >= 3


@pytest.mark.interop("exim")
def test_exim_with_another_certificate_is_refused(tmp_path: Path) -> None:
    with (
        our_relay(tmp_path / "relay") as relay,
        exim.laptop(smarthost=relay.port, client=certs.stranger(), server=certs.relay()) as laptop,
    ):
        laptop.submit(MESSAGE, sender=SENDER, recipients=[RECIPIENT])
        laptop.run_queue()
        assert "relay not permitted" in laptop.log_text()
        assert relay.messages() == []


@pytest.mark.interop("postfix")
def test_postfix_as_a_client_relays_through_us(tmp_path: Path) -> None:
    with (
        our_relay(tmp_path / "relay") as relay,
        postfix.client(relayhost=relay.port, client=certs.laptop(), server=certs.relay()) as client,
    ):
        client.submit(MESSAGE, sender=SENDER, recipients=[RECIPIENT])
        peers.wait_until("the message in our maildir", relay.messages)
        peers.wait_until("an empty queue", lambda: client.waiting() == 0)


RELAYS = [
    pytest.param(exim.relay, marks=pytest.mark.interop("exim"), id="exim"),
    pytest.param(postfix.relay, marks=pytest.mark.interop("postfix"), id="postfix"),
]


@pytest.mark.parametrize("relay", RELAYS)
def test_our_laptop_relays_through_a_real_relay(
    relay: Callable[..., AbstractContextManager[exim.Relay | postfix.Relay]], tmp_path: Path
) -> None:
    with (
        relay(server=certs.relay(), trusted=[certs.laptop()]) as peer,
        our_laptop(tmp_path / "laptop", peer.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        for _ in range(3):
            done = laptop.sendmail("-i", "-f", SENDER, RECIPIENT, message=MESSAGE)
            assert done.returncode == 0, done.stderr
        peers.wait_until("three messages in its maildir", lambda: len(peer.messages()) == 3, 30)
        peers.wait_until("our queue to be empty", lambda: laptop.waiting() == 0)
        assert "CV=yes" in laptop.log_text()
        for text in peer.messages():
            assert b"Good morning.\n.\nA dot above.\n" in text


@pytest.mark.parametrize("relay", RELAYS)
def test_our_laptop_without_its_certificate_is_refused(
    relay: Callable[..., AbstractContextManager[exim.Relay | postfix.Relay]], tmp_path: Path
) -> None:
    with (
        relay(server=certs.relay(), trusted=[certs.laptop()]) as peer,
        our_laptop(tmp_path / "laptop", peer.port, client=certs.stranger(), server=certs.relay()) as laptop,
    ):
        laptop.sendmail("-i", "-f", SENDER, RECIPIENT, message=MESSAGE)
        laptop.wait_for_log("** you@example.org")
        assert peer.messages() == []


@pytest.mark.parametrize("relay", RELAYS)
def test_our_laptop_keeps_its_mail_from_an_impostor(
    relay: Callable[..., AbstractContextManager[exim.Relay | postfix.Relay]], tmp_path: Path
) -> None:
    with (
        relay(server=certs.stranger(), trusted=[certs.laptop()]) as impostor,
        our_laptop(tmp_path / "laptop", impostor.port, client=certs.laptop(), server=certs.relay()) as laptop,
    ):
        laptop.sendmail("-i", "-f", SENDER, RECIPIENT, message=MESSAGE)
        laptop.wait_for_log("== you@example.org")
        assert "certificate does not verify" in laptop.log_text()
        assert laptop.waiting() == 1
        assert impostor.messages() == []
