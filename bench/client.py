"""A plain SMTP client, and what /proc tells of a process: what the benchmarks share."""

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

BODY = b"Subject: benchmark\r\n\r\n" + (b"x" * 70 + b"\r\n") * 28
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Client:
    """A plain SMTP client: no library between us and the figures."""

    port: int
    context: ssl.SSLContext

    def connect(self) -> None:
        """A new TCP connection, greeted."""
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reply()
        self.say(b"EHLO laptop.test\r\n")

    def up(self) -> None:
        """STARTTLS with our certificate."""
        self.say(b"STARTTLS\r\n")
        self.socket = self.context.wrap_socket(self.socket)
        self.say(b"EHLO laptop.test\r\n")

    def down(self) -> None:
        """close_notify both ways, then clear text."""
        assert isinstance(self.socket, ssl.SSLSocket)
        self.socket = self.socket.unwrap()
        self.say(b"EHLO laptop.test\r\n")

    def send(self) -> None:
        """One message in two round trips."""
        self.socket.sendall(b"MAIL FROM:<me@laptop.test>\r\nRCPT TO:<you@example.org>\r\nDATA\r\n")
        for _ in range(3):
            self.reply()
        self.say(BODY + b".\r\n")

    def quit(self) -> None:
        """QUIT and close."""
        self.say(b"QUIT\r\n")
        self.socket.close()

    def say(self, data: bytes) -> None:
        """Sends and reads one reply."""
        self.socket.sendall(data)
        self.reply()

    def reply(self) -> None:
        """Reads one reply; anything but 2xx and 354 ends the run."""
        self._rest: bytes = getattr(self, "_rest", b"")
        while True:
            while b"\r\n" not in self._rest:
                self._rest += self.socket.recv(65536)
            line, _, self._rest = self._rest.partition(b"\r\n")
            if line[3:4] == b" ":
                if line[:1] not in (b"2", b"3"):
                    raise SystemExit(line.decode())
                return


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def client_context(server_pem: bytes, certificate: str | Path, key: str | Path) -> ssl.SSLContext:
    """For a server that is known by its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=server_pem.decode())
    context.load_cert_chain(certificate, key)
    return context
