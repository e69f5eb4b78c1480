"""Several daemons with one PostgreSQL: any accepts, any delivers, and the death of one loses nothing."""

import contextlib
import os
import re
import signal
import smtplib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import daemons
from relay.spool.database_link import DatabaseLink
from spool import postgres_server
from spool.postgres_server import Server

import certs
from interop import peers
from system import namespaces

LEASE = 3
pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    with postgres_server.running() as started:
        yield started


def shared(server: Server, more: str = "") -> str:
    """The lines that make a daemon a node of the cluster."""
    lease = "" if "queue_lease" in more else f"queue_lease = {LEASE}s\n"
    # Unless told otherwise the process that the pid file names is all of the node.
    workers = "" if "worker_processes" in more else "worker_processes = 1\n"
    return f"queue = postgresql://post@127.0.0.1:{server.port}/postgres\n{lease}{workers}{more}"


@contextlib.contextmanager
def nodes(tmp_path: Path, server: Server, count: int, more: str = "") -> Iterator[list[daemons.Daemon]]:
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(count):
            directory, port = tmp_path / f"node{number}", peers.free_port()
            directory.mkdir()
            lines = shared(server, more)
            text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[], main=lines)
            started.append(stack.enter_context(daemons.running(directory, text, port)))
        yield started


def pid_of(node: daemons.Daemon) -> int:
    return int((node.spool / "daemon.pid").read_text())


class Sender(threading.Thread):
    """Sends numbered messages to one node until it is told to stop or the node is gone; what was put off, or broken
    off, is sent again, as a mail server would."""

    def __init__(self, node: daemons.Daemon, name: str, network: str = "") -> None:
        super().__init__(name=name)
        self._port = node.port
        self._network = network
        self.promised: list[str] = []
        self.tried: set[str] = set()
        self.broken_off: set[str] = set()
        self.put_off = 0
        self.is_over = False

    def run(self) -> None:
        if self._network:
            namespaces.enter(self._network)
        number = 0
        while not self.is_over:
            try:
                with smtplib.SMTP("127.0.0.1", self._port, local_hostname="laptop.test", timeout=60) as smtp:
                    while not self.is_over:
                        self._send(smtp, f"{self.name}-{number}", number % 5 * 40000)
                        number += 1
            except smtplib.SMTPServerDisconnected:
                self.broken_off.add(f"{self.name}-{number}")
            except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
                self.put_off += 1
                time.sleep(0.05)  # as a client does between two tries
            except OSError:
                return

    def _send(self, smtp: smtplib.SMTP, mark: str, size: int) -> None:
        self.tried.add(mark)
        smtp.sendmail("me@laptop.test", ["you@relay.test"], f"Subject: {mark}\r\n\r\n{'x' * size}\r\n")
        self.promised.append(mark)


def load(senders: list[Sender], more: int) -> None:
    """Waits until each of them has got so many further promises."""
    before = [len(each.promised) for each in senders]
    wanted = [(each, number + more) for each, number in zip(senders, before, strict=True)]
    peers.wait_until("messages to be accepted", lambda: all(len(each.promised) >= most for each, most in wanted), 120)


def start(started: list[daemons.Daemon], networks: Sequence[str] = ("", "", "")) -> list[Sender]:
    senders = [
        Sender(node, f"n{number}s{each}", network)
        for number, (node, network) in enumerate(zip(started, networks, strict=False))
        for each in range(2)
    ]
    for sender in senders:
        sender.start()
    return senders


def stop(senders: list[Sender]) -> set[str]:
    """What was promised."""
    for sender in senders:
        sender.is_over = True
    for sender in senders:
        sender.join()
    return {mark for sender in senders for mark in sender.promised}


def arrived(started: list[daemons.Daemon]) -> Counter[str]:
    found: Counter[str] = Counter()
    for node in started:
        for text in node.messages():
            header = text.split(b"\n\n", 1)[0].decode()
            found[next(line[9:] for line in header.splitlines() if line.startswith("Subject: "))] += 1
    return found


def queued(server: Server) -> int:
    with server.connect() as connection:
        row = connection.execute("SELECT count(*) FROM message").fetchone()
    assert row is not None
    return int(str(row[0]))


def taken_over(node: daemons.Daemon) -> int:
    """From how many dead ones it has taken over."""
    return sum(map(int, re.findall(r"took over from (\d+) dead", node.log_text())))


def test_the_death_of_one_loses_nothing_and_the_others_go_on(tmp_path: Path, server: Server) -> None:
    with nodes(tmp_path, server, 3) as started:
        senders = start(started)
        load(senders, 15)
        os.kill(pid_of(started[1]), signal.SIGKILL)
        load([each for each in senders if not each.name.startswith("n1")], 10)
        promised = stop(senders)

        peers.wait_until("everything promised to arrive", lambda: promised <= set(arrived(started)), 30)
        peers.wait_until("an empty queue", lambda: queued(server) == 0)
        # Where nothing was left to be taken over, the queue is empty before the lease of the dead one is over.
        peers.wait_until("one of the others to take over", lambda: taken_over(started[0]) + taken_over(started[2]))
        assert taken_over(started[0]) + taken_over(started[2]) == 1
        found = arrived(started)
        assert set(found) <= {mark for sender in senders for mark in sender.tried}
        twice = {mark for mark, number in found.items() if number > 1}
        # Only what was in flight in the dead one may come twice.
        assert all(mark.startswith("n1") for mark in twice), twice
        assert len(twice) <= 20


def test_who_is_cut_off_loses_nothing_whether_it_is_killed_or_comes_back(tmp_path: Path) -> None:
    """Three daemons in networks of their own, two cables cut: one daemon is killed, the other's cable is mended."""
    with contextlib.ExitStack() as stack:
        networks = stack.enter_context(namespaces.made(3))
        server = stack.enter_context(postgres_server.running(networks.hub))
        started = []
        for number, name in enumerate(networks.names):
            directory, port = tmp_path / f"node{number}", peers.free_port()
            lines = shared(server).replace("127.0.0.1", networks.address(number))
            directory.mkdir()
            text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[], main=lines)
            started.append(stack.enter_context(daemons.running(directory, text, port, name)))
        senders = start(started, networks.names)
        load(senders, 15)

        networks.cut(1)
        networks.cut(2)
        load([each for each in senders if each.name.startswith("n0")], 10)
        peers.wait_until("the first to take over from both", lambda: taken_over(started[0]) == 2, 60)
        cut_off = [each for each in senders if not each.name.startswith("n0")]
        before = sum(each.put_off for each in cut_off)
        peers.wait_until("those who are cut off to say 451", lambda: sum(each.put_off for each in cut_off) > before, 60)
        os.kill(pid_of(started[1]), signal.SIGKILL)
        networks.join(2)
        load([each for each in senders if not each.name.startswith("n1")], 10)
        promised = stop(senders)

        peers.wait_until("everything promised to arrive", lambda: promised <= set(arrived(started)), 60)
        peers.wait_until("an empty queue", lambda: queued(server) == 0, 60)
        found = arrived(started)
        assert set(found) <= {mark for sender in senders for mark in sender.tried}
        twice = {mark for mark, number in found.items() if number > 1}
        assert all(not mark.startswith("n0") for mark in twice), twice


@pytest.mark.parametrize("begun", [b"", b"P\0\0\0\x10\0SELECT 1\0\0\0", b"P\0\0\xff\xff\0INSERT"])
def test_who_is_cut_off_holds_no_lock_for_longer_than_its_lease(begun: bytes) -> None:
    """Between two statements, between the pieces of one (the server has Parse and waits for Bind), and within one."""
    with contextlib.ExitStack() as stack:
        networks = stack.enter_context(namespaces.made(1))
        server = stack.enter_context(postgres_server.running(networks.hub))
        place = f"postgresql://post@{networks.address(0)}:{server.port}/postgres"
        link = DatabaseLink(place, "writer", LEASE, time.monotonic)

        def lock() -> None:
            namespaces.enter(networks.names[0])
            execute = link.executor(link.get())
            execute("BEGIN")
            execute("SELECT pg_advisory_xact_lock(1)")
            os.write(link.get().fileno(), begun)

        in_its_network(lock)
        stack.callback(link.give_up)
        with server.connect() as other:
            networks.cut(0)
            other.execute(f"SET lock_timeout = {8 * LEASE * 1000}")
            other.execute("SELECT pg_advisory_lock(1)")


def in_its_network(work: Callable[[], None]) -> None:
    """Runs it in a thread of its own, which may enter a namespace and never comes back from there."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_a_dead_workers_messages_do_not_wait_for_its_lease(tmp_path: Path, server: Server) -> None:
    """The lease is longer than the test."""
    more = "queue_lease = 1h\nworker_processes = 2"
    with nodes(tmp_path, server, 1, more) as started:
        [node] = started
        senders = start(started)
        load(senders, 10)
        os.kill(min(node.workers()), signal.SIGKILL)
        load(senders, 10)
        promised = stop(senders)
        peers.wait_until("everything promised to arrive", lambda: promised <= set(arrived(started)), 60)
        peers.wait_until("an empty queue", lambda: queued(server) == 0)
        node.wait_for_log("took over from 1 dead process(es)")


def test_while_the_database_is_away_senders_are_put_off(tmp_path: Path, server: Server) -> None:
    """`pg_ctl stop -m immediate` under load, twice."""
    with nodes(tmp_path, server, 2) as started:
        senders = start(started)
        for _ in range(2):
            load(senders, 10)
            before = sum(each.put_off for each in senders)
            server.stop_at_once()
            peers.wait_until("a 451", lambda before=before: sum(each.put_off for each in senders) > before, 60)
            server.start()
        load(senders, 10)
        promised = stop(senders)

        peers.wait_until("everything promised to arrive", lambda: promised <= set(arrived(started)), 60)
        peers.wait_until("an empty queue", lambda: queued(server) == 0, 60)
        broken_off = {mark for sender in senders for mark in sender.broken_off}
        twice = [mark for mark, number in arrived(started).items() if number > 1 and mark not in broken_off]
        told = sum(len(re.findall("may (?:arrive|get it) twice", node.log_text())) for node in started)
        assert len(twice) <= told, "what may come twice is in the log"


class SlowSink:
    """A server that says 354 only when it is let, and notes what it got whole."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = [threading.Event(), threading.Event()]
        """The first and the second DATA have come."""
        self.let = [threading.Event(), threading.Event()]
        self.over = [threading.Event(), threading.Event()]
        self.whole: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        number = None
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"220 sink.test\r\n")
            lines = connection.makefile("rb")
            while line := lines.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    number = 1 if self.asked[0].is_set() else 0
                    self.asked[number].set()
                    self.let[number].wait(60)
                    connection.sendall(b"354 go\r\n")
                    while (line := lines.readline()) not in (b".\r\n", b""):
                        pass
                    if line:
                        self.whole.append(number)
                connection.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
        if number is not None:
            self.over[number].set()

    def close(self) -> None:
        self._listener.close()


def test_who_was_stopped_for_longer_than_its_lease_sends_no_dot(tmp_path: Path, server: Server) -> None:
    """The first node stands still in the middle of a delivery, the second delivers, the first wakes: it must not."""
    sink = SlowSink()
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(2):
            directory, port = tmp_path / f"node{number}", peers.free_port()
            directory.mkdir()
            text = daemons.laptop_configuration(directory, port, None, sink.port, "hosts_avoid_tls = *")
            text = text.replace("\nbegin acl", f"{shared(server)}\nbegin acl", 1)
            started.append(stack.enter_context(daemons.running(directory, text, port)))
        first, second = started
        with smtplib.SMTP("127.0.0.1", first.port, local_hostname="laptop.test") as smtp:
            smtp.sendmail("me@laptop.test", ["you@far.test"], "Subject: once\r\n\r\nonly once\r\n")
        assert sink.asked[0].wait(30)

        os.kill(pid_of(first), signal.SIGSTOP)
        try:
            sink.let[1].set()
            second.wait_for_log("took over from 1 dead process(es): 1 message(s) due again")
            assert sink.asked[1].wait(30)
            peers.wait_until("the second one's delivery", lambda: sink.whole == [1])
        finally:
            os.kill(pid_of(first), signal.SIGCONT)
        sink.let[0].set()
        assert sink.over[0].wait(30)
        first.wait_for_log("the claim of this process is over")

        assert sink.whole == [1]
        peers.wait_until("an empty queue", lambda: queued(server) == 0)
        # It is a member again, and delivers what it gets from now on.
        sink.asked[0].clear()
        with smtplib.SMTP("127.0.0.1", first.port, local_hostname="laptop.test") as smtp:
            smtp.sendmail("me@laptop.test", ["you@far.test"], "Subject: again\r\n\r\nagain\r\n")
        peers.wait_until("the first one's next delivery", lambda: sink.whole == [1, 0])
    sink.close()
