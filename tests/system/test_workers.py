"""A daemon of several processes: they share the ports, and the death of one costs nothing."""

import contextlib
import os
import signal
import smtplib
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

import crashes
import daemons

import certs
from interop import peers


def configuration(directory: Path, port: int, main: str = "", workers: int = 2) -> str:
    return daemons.relay_configuration(
        directory, port, certs.relay(), [], trusted=[], main=f"worker_processes = {workers}\n{main}"
    )


def send(port: int, mark: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20) as smtp:
        smtp.sendmail("me@laptop.test", ["you@relay.test"], f"From: <me@laptop.test>\r\nSubject: {mark}\r\n\r\nx\r\n")


def has_arrived(relay: daemons.Daemon, mark: str) -> bool:
    return any(f"Subject: {mark}\n".encode() in text for text in relay.messages())


def hand_over(relay: daemons.Daemon, mark: str) -> None:
    """As a local program does it."""
    answer = relay.sendmail("-f", "me@laptop.test", "you@relay.test", message=f"Subject: {mark}\n\nx\n".encode())
    assert answer.returncode == 0


def arrives(relay: daemons.Daemon, mark: str) -> None:
    peers.wait_until(f"{mark} to arrive", lambda: has_arrived(relay, mark), 30)


def counted(port: int, name: str) -> float:
    """The sum of a counter's series, as Prometheus would read it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"fingerpost_{name}_total"))


@pytest.mark.parametrize("workers", [1, 2])
def test_counters_are_one_page(tmp_path: Path, workers: int) -> None:
    port, page = peers.free_port(), peers.free_port()
    text = configuration(tmp_path, port, f"metrics_address = 127.0.0.1:{page}", workers)
    with daemons.running(tmp_path, text, port) as relay:
        for number in range(4):
            send(port, f"n{number}")
            arrives(relay, f"n{number}")
        peers.wait_until("four to be counted", lambda: counted(page, "messages_received") == 4)
        for each in relay.workers() if workers > 1 else ():
            os.kill(each, signal.SIGTERM)
        if workers > 1:
            # What a worker had counted is not forgotten with it.
            peers.wait_until("their successors", lambda: relay.log_text().count("another is started") == 2)
        assert counted(page, "messages_received") == 4


def test_a_dead_worker_is_replaced_and_its_messages_are_taken_over(tmp_path: Path) -> None:
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port), port) as relay:
        workers = relay.workers()
        assert len(workers) == 2
        send(port, "before")
        arrives(relay, "before")
        dead = min(workers)
        os.kill(dead, signal.SIGKILL)
        send(port, "meanwhile")
        arrives(relay, "meanwhile")
        relay.wait_for_log(f"(pid {dead}) was ended by signal 9: its messages are taken over, another is started")
        peers.wait_until("another worker", lambda: len(relay.workers()) == 2 and dead not in relay.workers(), 30)
        hand_over(relay, "by hand")
        arrives(relay, "by hand")
        pid = relay.pid()
        last = relay.workers()
    peers.wait_until("all to end", lambda: not any(map(crashes.is_there, {pid, *last})))
    assert "daemon stopped" in relay.log_text()
    assert not (relay.spool / "submit.sock").exists()


def test_without_their_parent_workers_end(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port)
    with daemons.running(tmp_path, text, port) as relay:
        workers = relay.workers()
        send(port, "one")
        os.kill(relay.pid(), signal.SIGKILL)
        peers.wait_until("the workers to end", lambda: not any(map(crashes.is_there, workers)), 30)
    with daemons.running(tmp_path, text, port) as relay:
        arrives(relay, "one")
        send(port, "two")
        arrives(relay, "two")


def test_connections_are_counted_over_all_workers(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "smtp_accept_max = 8\nsmtp_accept_max_per_host = 4")
    with daemons.running(tmp_path, text, port), contextlib.ExitStack() as stack:

        def greeting() -> bytes:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            return connection.recv(4096)

        assert [greeting()[:3] for _ in range(6)] == [b"220"] * 4 + [b"421"] * 2


def test_sighup_reads_the_configuration_anew(tmp_path: Path) -> None:
    port, other = peers.free_port(), peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port), port) as relay:
        pid, before = relay.pid(), relay.workers()
        # One with a mistake changes nothing.
        good = relay.configuration.read_text()
        relay.configuration.write_text(good + "\nbegin nonsense\n")
        os.kill(pid, signal.SIGHUP)
        relay.wait_for_log("SIGHUP: the configuration before this stays in force")
        assert relay.workers() == before
        send(port, "still")
        arrives(relay, "still")
        # A good one is taken, with another port beside the first.
        relay.configuration.write_text(
            good.replace(f"daemon_smtp_ports = {port}", f"daemon_smtp_ports = {port} : {other}")
        )
        os.kill(pid, signal.SIGHUP)
        relay.wait_for_log("SIGHUP: 2 workers with the configuration as it is now", 60)
        send(other, "by the new port")
        arrives(relay, "by the new port")
        send(port, "by the old one")
        arrives(relay, "by the old one")
        peers.wait_until("the old workers to end", lambda: not any(map(crashes.is_there, before)), 40)
        assert len(relay.workers()) == 2
        hand_over(relay, "by hand")
        arrives(relay, "by hand")
        assert not list((relay.spool / "maildrop").glob("new.*"))


def test_workers_and_those_after_them_show_one_certificate(tmp_path: Path) -> None:
    """Where none is named, the parent makes it, once."""
    port = peers.free_port()
    text = "".join(
        line
        for line in configuration(tmp_path, port).splitlines(True)
        if not line.startswith("tls_certificate =") and not line.startswith("tls_privatekey =")
    )
    unverified = ssl._create_unverified_context()

    def shown() -> bytes | None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.test", timeout=20) as smtp:
            smtp.starttls(context=unverified)
            assert isinstance(smtp.sock, ssl.SSLSocket)
            return smtp.sock.getpeercert(binary_form=True)

    with daemons.running(tmp_path, text, port) as relay:
        first = shown()
        assert first is not None
        before = relay.workers()
        for each in before:
            os.kill(each, signal.SIGKILL)
        peers.wait_until("their successors", lambda: len(relay.workers() - before) == 2, 30)
        assert {shown() for _ in range(8)} == {first}
        os.kill(relay.pid(), signal.SIGHUP)
        relay.wait_for_log("SIGHUP: 2 workers with the configuration as it is now", 60)
        peers.wait_until("the old workers to end", lambda: len(relay.workers()) == 2, 40)
        assert {shown() for _ in range(8)} == {first}
