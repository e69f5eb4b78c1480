"""The wiki page's laptop lines against servers that want the message without being the relay.

Each of them records every octet that it gets. What must hold: no sender, no recipient and no octet of the message ever
leaves in clear or into the wrong hands, and the message waits.
"""

import contextlib
import smtplib
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
        """Answers every command, and the end of data, with 250 and keeps all, until the client goes."""
        while line := self.read_line(connection):
            if line.strip().upper() == b"DATA":
                connection.sendall(b"354 go on\r\n")
                while self.read_line(connection) not in (b".\r\n", b""):
                    pass
            connection.sendall(b"250 OK\r\n")


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


@dataclass(frozen=True)
class Laptop:
    """A laptop that has one of the impostors for its smarthost, by the domain of the recipient."""

    daemon: daemons.Daemon
    thieves: dict[str, Thief]

    @staticmethod
    def recipient(name: str) -> str:
        return f"you@{list(SCRIPTS).index(name)}.example.org"


@pytest.fixture(scope="module")
def laptop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """With `tls_tempfail_tryclear` as the parameter has it. Behind its end nobody has heard anything more."""
    directory, port = tmp_path_factory.mktemp("laptop"), peers.free_port()
    anchor = directory / "relay.crt"
    anchor.write_bytes(certs.relay().cert_pem)
    lines = f"hosts_require_tls =\n  tls_verify_certificates = {anchor}"
    if not request.param:
        lines += "\n  tls_tempfail_tryclear = false"
    with contextlib.ExitStack() as stack:
        thieves = {name: stack.enter_context(serving(script(directory))) for name, script in SCRIPTS.items()}
        text = daemons.laptop_configuration(directory, port, certs.laptop(), 0, lines)
        routes = " ; ".join(
            f"{Laptop.recipient(name).partition('@')[2]} 127.0.0.1::{thief.port}" for name, thief in thieves.items()
        )
        everything = "route_list = * 127.0.0.1::0"
        assert everything in text
        text = text.replace(everything, f"route_list = <; {routes}")
        with daemons.running(directory, text, port) as daemon:
            yield Laptop(daemon, thieves)
        for thief in thieves.values():
            assert_nothing_was_heard(thief)


def assert_nothing_was_heard(thief: Thief) -> None:
    heard = bytes(thief.heard)
    assert SECRET not in heard
    assert b"MAIL FROM" not in heard.upper()
    assert b"example.org" not in heard


@pytest.mark.parametrize("laptop", [True, False], ids=["tryclear", "no tryclear"], indirect=True)
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_octet_of_the_message_leaves(name: str, laptop: Laptop) -> None:
    thief, recipient = laptop.thieves[name], laptop.recipient(name)
    with smtplib.SMTP("127.0.0.1", laptop.daemon.port, local_hostname="me.test", timeout=20) as client:
        assert client.sendmail("me@laptop.test", [recipient], MESSAGE.replace(b"\n", b"\r\n")) == {}
    laptop.daemon.wait_for_log(f"== {recipient} ")
    assert f"{recipient}\n" in laptop.daemon.sendmail("-bp").stdout.decode()
    assert thief.connections >= 1
    assert_nothing_was_heard(thief)


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
