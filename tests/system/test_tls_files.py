"""TLS files that are renewed, broken and mended under a running daemon: what is in force, and what is said of it."""

import os
import signal
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import daemons
from tls.material import response

import certs
from interop import peers

SENDER, OUTSIDE = "me@laptop.test", "you@example.org"
KEPT, NOBODY = "TLS, what was good before stays in force: ", "TLS, no certificate verifies: "


def put(path: Path, octets: bytes) -> None:
    """As an operator's tools do: a reader sees the old file or the new one."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(octets)
    os.replace(new, path)


class Relay:
    """A relay whose server certificate and whose clients' certificates come from one authority each."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, peers.free_port()
        self.servers, self.clients = certs.authority("Servers"), certs.authority("Clients")
        self.ours = self.servers.issue("relay.test", sans=["relay.test"])
        self.laptop = self.clients.issue("laptop.test")
        self.certificate, self.key = self.ours.write(directory, "server")
        self.anchors, self.lists, self.staple = (directory / name for name in ("clients.pem", "crl.pem", "staple.der"))
        self.anchors.write_bytes(self.clients.cert_pem)
        self.lists.write_bytes(self.clients.crl())
        self.staple.write_bytes(response(self.servers, self.ours))

    def configuration(self, main: str = "") -> str:
        main = f"tls_crl = {self.lists}\ntls_ocsp_file = {self.staple}\n{main}"
        text = daemons.relay_configuration(
            self.directory, self.port, self.ours, [], trusted=[self.laptop], main=main
        )
        named = f"tls_verify_certificates = {self.directory / 'anchors'}"
        assert named in text
        return text.replace(named, f"tls_verify_certificates = {self.anchors}")

    def secured(self) -> smtplib.SMTP:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(*self.laptop.write(self.directory, "laptop"))
        smtp = smtplib.SMTP("127.0.0.1", self.port, local_hostname="laptop.test", timeout=20)
        smtp.starttls(context=context)
        smtp.ehlo()
        return smtp

    def shows(self) -> bytes | None:
        with self.secured() as smtp:
            assert isinstance(smtp.sock, ssl.SSLSocket)
            return smtp.sock.getpeercert(binary_form=True)

    def relays(self) -> bool:
        with self.secured() as smtp:
            smtp.mail(SENDER)
            return smtp.rcpt(OUTSIDE)[0] == 250


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


@pytest.fixture
def daemon(relay: Relay) -> Iterator[daemons.Daemon]:
    with daemons.running(relay.directory, relay.configuration(), relay.port) as found:
        yield found


def garbage(relay: Relay) -> dict[Path, bytes]:
    return {relay.certificate: b"garbage"}


def half_a_key(relay: Relay) -> dict[Path, bytes]:
    return {relay.key: relay.ours.key_pem[:60]}


def another_key(relay: Relay) -> dict[Path, bytes]:
    return {relay.key: certs.stranger().key_pem}


@pytest.mark.parametrize("broken", [garbage, half_a_key, another_key])
def test_a_certificate_and_its_key(
    relay: Relay, daemon: daemons.Daemon, broken: Callable[[Relay], dict[Path, bytes]]
) -> None:
    assert relay.shows() == relay.ours.der
    ((path, octets),) = broken(relay).items()
    put(path, octets)
    told = f"{KEPT}{path}: "
    peers.wait_until("the fault to be told", lambda: (relay.shows(), told in daemon.log_text())[1])
    daemon.wait_for_log(told, log="panic")
    assert relay.shows() == relay.ours.der
    command = [sys.executable, "-m", "relay", "check", "-C", daemon.configuration]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert str(path) in checked.stdout + checked.stderr
    renewed = relay.servers.issue("relay.test", sans=["relay.test"])
    put(relay.key, renewed.key_pem)
    put(relay.certificate, renewed.chain_pem)
    peers.wait_until("the new certificate", lambda: relay.shows() == renewed.der)


def test_a_revocation_list(relay: Relay, daemon: daemons.Daemon) -> None:
    assert relay.relays()
    revoked = relay.clients.crl([relay.laptop])
    put(relay.lists, revoked)
    peers.wait_until("the laptop to be revoked", lambda: not relay.relays())
    daemon.wait_for_log("the certificate was revoked on 20")
    put(relay.lists, revoked[:100])
    peers.wait_until(
        "the fault to be told", lambda: (relay.relays(), f"{KEPT}{relay.lists}: " in daemon.log_text("panic"))[1]
    )
    assert not relay.relays(), "a broken list revokes what the one before it did"
    put(relay.lists, relay.clients.crl())
    peers.wait_until("the laptop to be back", relay.relays)


@pytest.mark.parametrize("octets", [b"", b"garbage", None], ids=["empty", "garbage", "gone"])
def test_a_file_of_trusted_certificates(relay: Relay, daemon: daemons.Daemon, octets: bytes | None) -> None:
    assert relay.relays()
    if octets is None:
        relay.anchors.unlink()
    else:
        put(relay.anchors, octets)
    peers.wait_until("the rights to be gone", lambda: not relay.relays())
    daemon.wait_for_log(f"{NOBODY}{relay.anchors}: ", log="panic")
    before = daemon.log_text("panic").count(NOBODY)
    assert not relay.relays()
    assert daemon.log_text("panic").count(NOBODY) == before == 1, "said once, not for each client"
    put(relay.anchors, relay.clients.cert_pem)
    peers.wait_until("the rights to be back", relay.relays)


@pytest.mark.interop("openssl")
def test_a_staple(relay: Relay, daemon: daemons.Daemon) -> None:
    def stapled() -> str:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{relay.port}", "-starttls", "smtp", "-status"],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        lines = [line.strip() for line in done.stdout.splitlines()]
        return next((line for line in lines if line.startswith(("Next Update:", "OCSP response: no"))), done.stdout)

    first = stapled()
    assert first.startswith("Next Update:")
    put(relay.staple, b"garbage")
    peers.wait_until(
        "the fault to be told", lambda: (stapled(), f"{KEPT}{relay.staple}: " in daemon.log_text("panic"))[1]
    )
    assert stapled() == first
    put(relay.staple, response(relay.servers, relay.ours, until=None))
    peers.wait_until("the new staple", lambda: not stapled().startswith("Next Update:"))


def test_parameters_that_are_being_made_are_not_left_behind(relay: Relay) -> None:
    with daemons.running(relay.directory, relay.configuration("tls_dhparam = 8192"), relay.port) as daemon:
        relay.shows()
        made = str(daemon.spool / "gnutls-params-8192")
        peers.wait_until("a process that makes parameters", lambda: peers.processes_with(made))
        os.kill(int((daemon.spool / "daemon.pid").read_text()), signal.SIGTERM)
        daemon.wait_for_log("daemon stopped")
        assert peers.processes_with(made) == []
