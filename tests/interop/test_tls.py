"""Other programs' TLS clients at our relay: Exim with a handshake for each message, swaks, gnutls-cli, openssl."""

import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import daemons

import certs
from certs import CertKey
from interop import exim, peers

MESSAGE = b"From: <me@laptop.test>\nTo: <you@example.org>\nSubject: over the hill\n\nGood morning.\n"
SENDER, RECIPIENT = "me@laptop.test", "you@example.org"
PRIORITIES = {"TLS1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3"}


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[daemons.Daemon]:
    port = peers.free_port()
    text = daemons.relay_configuration(
        tmp_path / "relay", port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()],
        main="log_timezone = false",
    )  # fmt: skip
    text = text.replace("log_selector = ", "log_selector = +millisec +incoming_port ")
    (tmp_path / "relay").mkdir(exist_ok=True)
    with daemons.running(tmp_path / "relay", text, port) as daemon:
        yield daemon


def arrivals(relay: daemons.Daemon) -> list[str]:
    return [line for line in relay.log_text().splitlines() if " <= " in line]


def second_of_the_day(line: str) -> float:
    hours, minutes, seconds = line.split()[1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


# Exim


@pytest.mark.interop("exim")
@pytest.mark.parametrize("version", PRIORITIES)
def test_exim_shakes_hands_anew_for_each_message_of_one_connection(relay: daemons.Daemon, version: str) -> None:
    """hosts_noproxy_tls = *. An Exim that has to wait for our close_notify waits two seconds for each message."""
    count = 6
    with exim.laptop(
        smarthost=relay.port,
        client=certs.laptop(),
        server=certs.relay(),
        close_tls_between_messages=True,
        transport=f"tls_require_ciphers = {PRIORITIES[version]}",
    ) as laptop:
        for _ in range(count):
            laptop.submit(MESSAGE, sender=SENDER, recipients=[RECIPIENT])
        laptop.run_queue()
        assert laptop.waiting() == 0, laptop.log_text() + relay.log_text()
    peers.wait_until("all lines", lambda: len(arrivals(relay)) == count)
    found = arrivals(relay)
    assert all(f"X={version}:" in line and "CV=yes" in line for line in found), relay.log_text()
    ports = [line.partition("]:")[2].partition(" ")[0] for line in found]
    assert len(set(ports)) == 1, "one connection"
    shown = [line for line in relay.log_text().splitlines() if "TLS client certificate" in line]
    assert len(shown) == count, "a handshake with the certificate for each message"
    gaps = [after - before for before, after in pairwise(map(second_of_the_day, found))]
    # A stalled machine makes some of them long, never all; without our answer no one is shorter.
    assert min(gaps) < 1.9, f"two seconds were waited for each message: {gaps}"


# swaks


def swaks(relay: daemons.Daemon, directory: Path, client: CertKey | None) -> subprocess.CompletedProcess[str]:
    shown: list[str | Path] = []
    if client is not None:
        certificate, key = client.write(directory, "client")
        shown = ["--tls-cert", certificate, "--tls-key", key]
    return subprocess.run(
        [
            "swaks", "--server", peers.HOST, "--port", str(relay.port), "--tls", *shown, "--helo", "laptop.test",
            "--from", SENDER, "--to", RECIPIENT, "--header", "Subject: over the hill", "--timeout", "20",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.interop("swaks")
def test_swaks_with_a_trusted_certificate(relay: daemons.Daemon, tmp_path: Path) -> None:
    done = swaks(relay, tmp_path, certs.laptop())
    assert done.returncode == 0, done.stdout
    peers.wait_until("a message in the maildir", relay.messages)
    assert b"Subject: over the hill" in relay.messages()[0]


@pytest.mark.interop("swaks")
@pytest.mark.parametrize("client", [None, certs.stranger], ids=["no certificate", "a stranger's"])
def test_swaks_without_one_gets_a_session_and_no_rights(relay: daemons.Daemon, tmp_path: Path, client) -> None:
    done = swaks(relay, tmp_path, client() if client is not None else None)
    assert done.returncode == 24, done.stdout  # swaks: no recipient was accepted
    assert "relay not permitted" in done.stdout
    assert relay.messages() == []


# gnutls-cli and openssl, over STARTTLS


@pytest.mark.interop("gnutls-cli")
@pytest.mark.parametrize("version", PRIORITIES)
def test_gnutls_cli(relay: daemons.Daemon, tmp_path: Path, version: str) -> None:
    anchor = tmp_path / "relay.pem"
    anchor.write_bytes(certs.relay().cert_pem)
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    done = subprocess.run(
        [
            "gnutls-cli", "--starttls-proto", "smtp", "--priority", PRIORITIES[version], "--x509cafile", anchor,
            "--x509certfile", certificate, "--x509keyfile", key, "--port", str(relay.port), "--verify-hostname",
            "relay.test", "--crlf", peers.HOST,
        ],
        input=f"EHLO laptop.test\nMAIL FROM:<{SENDER}>\nRCPT TO:<{RECIPIENT}>\nQUIT\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "Handshake was completed" in done.stdout, done.stdout + done.stderr
    relay.wait_for_log(f"FP={certs.laptop().fingerprint} KEY=")


@pytest.mark.interop("openssl")
@pytest.mark.parametrize(("version", "switch"), [("TLSv1.2", "-tls1_2"), ("TLSv1.3", "-tls1_3")])
def test_openssl_s_client(relay: daemons.Daemon, tmp_path: Path, version: str, switch: str) -> None:
    certificate, key = certs.laptop().write(tmp_path, "laptop")
    done = subprocess.run(
        [
            "openssl", "s_client", "-connect", f"{peers.HOST}:{relay.port}", "-starttls", "smtp", switch, "-cert",
            certificate, "-key", key, "-crlf", "-ign_eof",
        ],
        input="QUIT\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "221 relay.test closing connection" in done.stdout, done.stdout + done.stderr
    assert f"{version}, Cipher is " in done.stdout
    relay.wait_for_log(f"FP={certs.laptop().fingerprint} KEY=")


@pytest.mark.interop("openssl")
def test_s_client_is_told_which_certificates_will_do(tmp_path: Path) -> None:
    """Where one is demanded and the trusted ones are a file."""
    port = peers.free_port()
    main = "tls_verify_hosts = *"
    text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[], main=main)
    anchors = tmp_path / "laptops.pem"
    anchors.write_bytes(certs.laptop().cert_pem)
    text = text.replace(f"tls_verify_certificates = {tmp_path / 'anchors'}", f"tls_verify_certificates = {anchors}")
    with daemons.running(tmp_path, text, port):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{peers.HOST}:{port}", "-starttls", "smtp"],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = done.stdout.partition("Acceptable client certificate CA names")[2]
        assert told.splitlines()[1:2] == ["CN = laptop.test"], done.stdout
