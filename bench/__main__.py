"""CPU of the daemon per 2 kB message: python -m bench [MESSAGES]

A relay runs as a child process with a durable queue, ACLs and logs; a client in this process sends messages in four
ways. What is printed is the child's own user and system time from /proc, divided by the messages, and messages a second
as the client saw them. Machines differ and are shared: compare figures of one run with each other, or with another
server measured on the same machine in the same hour.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import daemons
from bench.client import BODY, Client, client_context, cpu_seconds

import certs
from interop import peers


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
            context = client_context(certs.relay().cert_pem, *certs.laptop().write(directory, "laptop"))
            with daemons.running(directory, configuration, port, from_scratch=True) as daemon:
                process = daemon.pid()
                client = Client(daemon.port, context)
                print(f"\n{title}, {count} messages of {len(BODY)} octets")
                measure("a new connection for each, mutual TLS", new_connection, client, process, count)
                measure("one TLS session for all", open_session, client, process, count)
                measure("one connection, a handshake for each", handshake_anew, client, process, count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
