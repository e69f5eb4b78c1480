"""What a message costs here and in the C servers: python -m bench.beside [MESSAGES [ROUNDS]]

Fingerpost and, where they are installed (`make peers`, root), real Postfix and Exim take the same messages from the
same client over mutual TLS and deliver them into a Maildir. A figure is the CPU time, user and system, of all processes
of a server, those that have ended meanwhile included, divided by the messages. Rounds alternate between the servers,
since shared machines drift; the median of the rounds is what to compare.
"""

import contextlib
import ctypes
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import daemons
from bench.__main__ import new_connection, open_session
from bench.client import BODY, TICK, Client, client_context

import certs
from interop import exim, peers, postfix

WARM_UP = 20
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 120.0

Way = Callable[[Client, int], None]


def ten_sessions(client: Client, count: int) -> None:
    """Ten clients at once, each with all its messages in one session."""
    clients = [Client(client.port, client.context) for _ in range(10)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(open_session, each, count // len(clients)) for each in clients]:
            done.result()


WAYS: tuple[tuple[str, Way], ...] = (
    ("a new connection for each, mutual TLS", new_connection),
    ("one TLS session for all", open_session),
    ("ten TLS sessions at once", ten_sessions),
)


@dataclass(frozen=True)
class Server:
    """A running one: where it listens, and where its messages arrive."""

    port: int
    arrived: Callable[[], int]


@contextlib.contextmanager
def fingerpost(directory: Path) -> Iterator[Server]:
    port = peers.free_port()
    configuration = daemons.relay_configuration(
        directory, port, certs.relay(), [certs.laptop()], trusted=[certs.laptop()]
    ).replace("begin acl", "smtp_accept_max_per_connection = 0\n\nbegin acl", 1)
    with daemons.running(directory, configuration, port, from_scratch=True) as daemon:
        yield Server(daemon.port, lambda: _files(directory))


@contextlib.contextmanager
def real_postfix(directory: Path) -> Iterator[Server]:
    with postfix.relay(server=certs.relay(), trusted=[certs.laptop()]) as server:
        yield Server(server.port, lambda: _files(server.maildir))


@contextlib.contextmanager
def real_exim(directory: Path) -> Iterator[Server]:
    # Without the last option it would only queue from the eleventh message of a connection on.
    main = "smtp_accept_max_per_connection = 0\nsmtp_accept_queue_per_connection = 0"
    with exim.relay(server=certs.relay(), trusted=[certs.laptop()], main=main) as server:
        yield Server(server.port, lambda: _files(server.maildir))


SERVERS = {"Fingerpost": fingerpost, "Postfix": real_postfix, "Exim": real_exim}


def _files(directory: Path) -> int:
    return sum(1 for path in directory.rglob("new/*"))


def cost(name: str, way: Way, count: int) -> float:
    """CPU seconds that a server spends on so many messages."""
    ours, theirs = multiprocessing.Pipe()
    run = multiprocessing.get_context("fork").Process(target=_measure, args=(name, way, count, theirs))
    run.start()
    seconds = float(ours.recv())
    run.join()
    return seconds


def _measure(name: str, way: Way, count: int, answer: Connection) -> None:
    """In a process of its own: what a server starts and leaves behind becomes its child, and is counted."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    spent = [0.0]
    with peers.directory("bench") as directory:
        context = client_context(certs.relay().cert_pem, *certs.laptop().write(directory, "laptop"))
        with SERVERS[name](directory / "server") as server:
            client = Client(server.port, context)
            for number in (WARM_UP, count):
                all_of_them = server.arrived() + number
                way(client, number)
                _wait_for(server, all_of_them)
                time.sleep(1)  # what follows a delivery: settlements, logs, processes that end
                spent.append(_all_below(os.getpid()))
    answer.send(spent[-1] - spent[-2])


def _all_below(ancestor: int) -> float:
    """CPU seconds of all descendants, those that have ended included."""
    below, ticks = {ancestor}, 0
    rows: dict[int, tuple[int, list[int]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, rest = path.read_text().split(" ", 1)
            fields = rest.rpartition(")")[2].split()
            rows[int(number)] = (int(fields[1]), [int(each) for each in fields[11:15]])
    while more := {each for each, (parent, _) in rows.items() if parent in below and each not in below}:
        below |= more
    for each in below:
        own = rows[each][1]
        ticks += sum(own[2:] if each == ancestor else own)
    return ticks / TICK


def _wait_for(server: Server, number: int) -> None:
    end = time.monotonic() + _PATIENCE
    while server.arrived() < number:
        if time.monotonic() > end:
            raise SystemExit("the messages did not arrive")
        time.sleep(0.1)


def main(count: int, rounds: int) -> None:
    """Prints a table, a row for each way and a column for each server that is there."""
    missing = {"Postfix": postfix.missing(), "Exim": exim.missing()}
    for name, why in missing.items():
        if why:
            print(f"without {name}: {why}")
    names = [name for name in SERVERS if not missing.get(name)]
    print(f"CPU a message of {len(BODY)} octets, received over TLS and delivered to a Maildir, in ms")
    print(f"{count} messages, {rounds} rounds: median (least to most)\n")
    print(f"{'':40}" + "".join(f"{name:>26}" for name in names))
    for title, way in WAYS:
        costs: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                costs[name].append(cost(name, way, count) / count * 1000)
        cells = (f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in costs.values())
        print(f"{title:40}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:3]]
    main(*given, *(500, 3)[len(given) :])
