"""Resumed TLS sessions at a running daemon: what a ticket is worth, where, and for how long."""

import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

SENDER, OUTSIDE = "me@laptop.test", "you@example.org"


@dataclass
class Seen:
    """What became of a session that was offered, or of a full handshake."""

    resumed: bool
    relays: bool
    session: ssl.SSLSession | None


class Laptop:
    """A client with a certificate that keeps what it is given."""

    def __init__(self, version: ssl.TLSVersion, certificate: tuple[Path, Path]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.minimum_version = self.context.maximum_version = version
        self.context.load_cert_chain(*certificate)

    def visit(self, port: int, session: ssl.SSLSession | None = None, name: str = "relay.test") -> Seen:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20) as smtp:
            smtp.ehlo()
            assert smtp.docmd("STARTTLS")[0] == 220
            secure = self.context.wrap_socket(smtp.sock, server_hostname=name, session=session)
            smtp.sock, smtp.file = secure, None
            smtp.ehlo()
            smtp.mail(SENDER)
            relays = smtp.rcpt(OUTSIDE)[0] == 250
            return Seen(bool(secure.session_reused), relays, secure.session)


@dataclass
class Relay:
    daemon: daemons.Daemon
    ports: tuple[int, int]
    anchor: Path


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    directory = tmp_path_factory.mktemp("relay")
    ports = peers.free_port(), peers.free_port()
    text = daemons.relay_configuration(
        directory, ports[0], certs.relay(), [certs.laptop()], trusted=[certs.laptop()], main="tls_resumption_hosts = *"
    )
    text = text.replace(f"daemon_smtp_ports = {ports[0]}", f"daemon_smtp_ports = {ports[0]} : {ports[1]}")
    with daemons.running(directory, text, ports[0]) as daemon:
        yield Relay(daemon, ports, directory / "anchors" / "0.pem")


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def laptop(request: pytest.FixtureRequest, tmp_path: Path) -> Laptop:
    return Laptop(request.param, certs.laptop().write(tmp_path, "laptop"))


def test_a_ticket_where_it_was_given_and_nowhere_else(relay: Relay, laptop: Laptop) -> None:
    """Another listener, another name, no name: each is a full handshake, and the certificate is judged there."""
    first, second = relay.ports
    given = laptop.visit(first)
    assert (given.resumed, given.relays) == (False, True)
    again = laptop.visit(first, given.session)
    assert (again.resumed, again.relays) == (True, True)
    for port, name in ((second, "relay.test"), (first, "other.test")):
        elsewhere = laptop.visit(port, given.session, name)
        assert (elsewhere.resumed, elsewhere.relays) == (False, True), (port, name)


def test_a_certificate_that_is_not_trusted_any_more_makes_its_tickets_worthless(relay: Relay, laptop: Laptop) -> None:
    (port, _), kept = relay.ports, relay.anchor.read_bytes()
    given = laptop.visit(port)
    assert laptop.visit(port, given.session).resumed
    relay.anchor.unlink()
    try:
        peers.wait_until("the rights to be gone", lambda: not laptop.visit(port, given.session).relays)
        seen = laptop.visit(port, given.session)
        assert (seen.resumed, seen.relays) == (False, False)
    finally:
        relay.anchor.write_bytes(kept)
    peers.wait_until("the rights to be back", lambda: laptop.visit(port).relays)


def test_another_certificate_makes_nothing_of_a_session(relay: Relay, laptop: Laptop, tmp_path: Path) -> None:
    """Who resumes is who shook hands: with the laptop's certificate loaded a ticket stays the stranger's."""
    port = relay.ports[0]
    given = laptop.visit(port)
    assert given.relays
    version = laptop.context.minimum_version
    stranger = Laptop(version, certs.stranger().write(tmp_path, "stranger"))
    theirs = stranger.visit(port)
    assert not theirs.relays
    stranger.context.load_cert_chain(*certs.laptop().write(tmp_path, "laptop"))
    seen = stranger.visit(port, theirs.session)
    assert seen.relays is not seen.resumed, "resumed as the stranger, or a new handshake as the laptop"
