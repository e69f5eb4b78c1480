"""The wiki page's laptop lines against servers that want the message without being the relay.

Each of them records every octet that it gets. What must hold: no sender, no recipient and no octet of the message ever
leaves in clear or into the wrong hands, and the message waits.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

SECRET = b"a secret for the relay alone"
MESSAGE = b"From: <me@laptop.test>\nTo: <you@example.org>\nSubject: x\n\n" + SECRET + b"\n"


@dataclass
class Thief:
    """A server that plays `script` to every client and keeps what it hears, decrypted where it shook hands."""

    script: "Callable[[Thief, socket.socket], None]"
    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    connections: int = 0

    def read_line(self, connection: socket.socket) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            octet = connection.recv(1)
            if not octet:
                break
            line += octet
        self.heard += line
        return line

    def drain(self, connection: socket.socket) -> None:
        """Answers everything with 250 and keeps it, until the client goes."""
        while line := self.read_line(connection):
            connection.sendall(b"354 go on\r\n" if line.strip().upper() == b"DATA" else b"250 OK\r\n")


@contextlib.contextmanager
def serving(script: Callable[[Thief, socket.socket], None]) -> Iterator[Thief]:
    thief = Thief(script)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thief.port = listener.getsockname()[1]
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                thief.connections += 1
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(20)
                    connection.sendall(b"220 relay.test ESMTP\r\n")
                    thief.script(thief, connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield thief
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def strips_starttls(thief: Thief, connection: socket.socket) -> None:
    thief.read_line(connection)
    connection.sendall(b"250-relay.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
    thief.drain(connection)


def knows_no_ehlo(thief: Thief, connection: socket.socket) -> None:
    thief.read_line(connection)
    connection.sendall(b"502 what?\r\n")
    thief.drain(connection)


def refuses(reply: bytes) -> Callable[[Thief, socket.socket], None]:
    def script(thief: Thief, connection: socket.socket) -> None:
        thief.read_line(connection)
        connection.sendall(b"250-relay.test\r\n250 STARTTLS\r\n")
        thief.read_line(connection)
        connection.sendall(reply)
        thief.drain(connection)

    return script


def shakes_hands(context: ssl.SSLContext) -> Callable[[Thief, socket.socket], None]:
    def script(thief: Thief, connection: socket.socket) -> None:
        thief.read_line(connection)
        connection.sendall(b"250-relay.test\r\n250 STARTTLS\r\n")
        thief.read_line(connection)
        connection.sendall(b"220 go ahead\r\n")
        with context.wrap_socket(connection, server_side=True) as secure:
            thief.read_line(secure)
            secure.sendall(b"250-relay.test\r\n250 PIPELINING\r\n")
            thief.drain(secure)

    return script


def injects_replies(thief: Thief, connection: socket.socket) -> None:
    thief.read_line(connection)
    connection.sendall(b"250-relay.test\r\n250 STARTTLS\r\n")
    thief.read_line(connection)
    connection.sendall(b"220 go ahead\r\n250-relay.test\r\n250 PIPELINING\r\n250 OK\r\n250 OK\r\n354 go on\r\n")
    thief.drain(connection)


def impostor(tmp_path: Path) -> Callable[[Thief, socket.socket], None]:
    """Another self-signed certificate for the relay's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    fake = certs.self_signed("127.0.0.1", sans=["127.0.0.1", "relay.test"])
    context.load_cert_chain(*fake.write(tmp_path, "fake"))
    return shakes_hands(context)


def minted_by_the_relays_certificate(tmp_path: Path) -> Callable[[Thief, socket.socket], None]:
    """A server that holds a certificate without its key: it shows the relay's own and can't prove it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.stranger().write(tmp_path, "stranger"))
    return shakes_hands(context)


SCRIPTS: dict[str, Callable[[Path], Callable[[Thief, socket.socket], None]]] = {
    "STARTTLS stripped": lambda _: strips_starttls,
    "EHLO refused": lambda _: knows_no_ehlo,
    "STARTTLS refused with 5xx": lambda _: refuses(b"502 not here\r\n"),
    "STARTTLS refused with 4xx": lambda _: refuses(b"454 later\r\n"),
    "220 and no handshake": lambda _: refuses(b"220 go ahead\r\n"),
    "replies behind the 220": lambda _: injects_replies,
    "a certificate for the same name": impostor,
    "a stranger's certificate": minted_by_the_relays_certificate,
}


@pytest.mark.parametrize("tempfail_tryclear", [True, False], ids=["tryclear", "no tryclear"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_octet_of_the_message_leaves(name: str, tempfail_tryclear: bool, tmp_path: Path) -> None:
    anchor = tmp_path / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    lines = f"hosts_require_tls =\n  tls_verify_certificates = {anchor}"
    if not tempfail_tryclear:
        lines += "\n  tls_tempfail_tryclear = false"
    with serving(SCRIPTS[name](tmp_path)) as thief:
        port = peers.free_port()
        configuration = daemons.laptop_configuration(tmp_path, port, certs.laptop(), thief.port, lines)
        with daemons.running(tmp_path, configuration, port) as laptop:
            assert laptop.sendmail("-i", "-f", "me@laptop.test", "you@example.org", message=MESSAGE).returncode == 0
            laptop.wait_for_log("== you@example.org")
            assert laptop.waiting() == 1
            assert thief.connections >= 1
        heard = bytes(thief.heard)
    assert SECRET not in heard
    assert b"MAIL FROM" not in heard.upper()
    assert b"example.org" not in heard


def test_the_true_relay_gets_it(tmp_path: Path) -> None:
    """The same laptop lines let the message go where it belongs; without this the tests above would prove nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs.relay().write(tmp_path, "relay"))
    anchor = tmp_path / "relay.pem"
    anchor.write_bytes(certs.relay().cert_pem)
    with serving(shakes_hands(context)) as relay:
        port = peers.free_port()
        configuration = daemons.laptop_configuration(
            tmp_path, port, certs.laptop(), relay.port, f"hosts_require_tls =\n  tls_verify_certificates = {anchor}"
        )
        with daemons.running(tmp_path, configuration, port) as laptop:
            laptop.sendmail("-i", "-f", "me@laptop.test", "you@example.org", message=MESSAGE)
            peers.wait_until("the message at the relay", lambda: SECRET in relay.heard)
