"""CPU of the daemon per 2 kB message: python -m bench [MESSAGES]

A relay runs as a child process with a durable queue, ACLs and logs; a client in this process sends messages in four
ways. What is printed is the child's own user and system time from /proc, divided by the messages, and messages a second
as the client saw them. Machines differ and are shared: compare figures of one run with each other, or with another
server measured on the same machine in the same hour.
"""

import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import daemons

import certs
from interop import peers

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


def new_connection(client: Client, count: int) -> None:
    """A connection with a mutual handshake for each message."""
    for _ in range(count):
        client.connect()
        client.up()
        client.send()
        client.quit()


def open_session(client: Client, count: int) -> None:
    """All messages in one TLS session."""
    client.connect()
    client.up()
    for _ in range(count):
        client.send()
    client.quit()


def handshake_anew(client: Client, count: int) -> None:
    """One connection, TLS down and up again for each message."""
    client.connect()
    for _ in range(count):
        client.up()
        client.send()
        client.down()
    client.quit()


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(name: str, run: Callable[[Client, int], None], client: Client, process: int, count: int) -> None:
    """Runs one way of sending, after a warm-up, and prints its row."""
    run(client, 20)
    before, began = cpu_seconds(process), time.monotonic()
    run(client, count)
    elapsed, used = time.monotonic() - began, cpu_seconds(process) - before
    print(f"{name:42} {used / count * 1000:6.2f} ms CPU a message   {count / elapsed:7.0f} messages/s", flush=True)


def main(count: int) -> None:
    """Reception alone (the queue keeps what comes), then with delivery into a Maildir."""
    ways = (("received and queued", "queue_only = true"), ("received and delivered to a Maildir", ""))
    for title, main_lines in ways:
        with tempfile.TemporaryDirectory() as place:
            directory, port = Path(place), peers.free_port()
            configuration = daemons.relay_configuration(
                directory, port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()], main=main_lines
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(cadata=certs.relay().cert_pem.decode())
            context.load_cert_chain(*certs.laptop().write(directory, "laptop"))
            with daemons.running(directory, configuration, port) as daemon:
                process = int((directory / "spool" / "daemon.pid").read_text())
                client = Client(daemon.port, context)
                print(f"\n{title}, {count} messages of {len(BODY)} octets")
                measure("a new connection for each, mutual TLS", new_connection, client, process, count)
                measure("one TLS session for all", open_session, client, process, count)
                measure("one connection, a handshake for each", handshake_anew, client, process, count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
