"""The disk of the queue is full for a while: senders are put off, nothing promised is lost, then all goes on."""

import contextlib
import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import crashes
import daemons
from spool import postgres_server

import certs
from interop import peers

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """A file system of its own on that directory."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(filler: Path) -> None:
    """Takes all the room that there is."""
    with filler.open("ab", buffering=0) as file:
        for piece in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * piece):
                    pass


def is_full(directory: Path) -> bool:
    try:
        with (directory / "probe").open("wb", buffering=0) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        (directory / "probe").unlink(missing_ok=True)
    return False


def daemon(tmp_path: Path, port: int, lines: str) -> contextlib.AbstractContextManager[daemons.Daemon]:
    # No reserve: what is tested is what happens when there is really nothing left.
    main = f"check_spool_space = 0\ncheck_log_space = 0\nsmtp_accept_max = 100\n{lines}"
    text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[], main=main)
    return daemons.running(tmp_path, text, port)


def put_off(load: crashes.Load, number: int) -> None:
    """Returns when so many further messages have got a 4xx."""
    wanted = len(load.answers.deferred) + number
    peers.wait_until(f"{number} messages to be put off", lambda: len(load.answers.deferred) >= wanted, 60)


@pytest.mark.parametrize("killed", [False, True])
def test_a_full_disk_puts_senders_off_and_loses_nothing(tmp_path: Path, killed: bool) -> None:
    spool, port = tmp_path / "spool", peers.free_port()
    with small_disk(spool, "8m"), crashes.Load(port, random.Random(7)) as load:
        with daemon(tmp_path, port, "") as relay:
            load.wait_for_more(20)
            fill(spool / "filler")
            put_off(load, 20)
            assert is_full(spool), "the load did not make room for itself"
            if killed:
                crashes.kill(relay.pid())
            else:
                (spool / "filler").unlink()
                load.wait_for_more(20)
        if killed:
            (spool / "filler").unlink()
        with daemon(tmp_path, port, "") as relay:
            load.wait_for_more(20)
            load.stop()
            print(crashes.judge(relay, load.answers, 1 if killed else 0))
        assert not load.answers.refused


def test_a_full_disk_of_the_database_puts_senders_off_and_loses_nothing(tmp_path: Path) -> None:
    port = peers.free_port()
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(peers.directory("full-disk"))
        stack.enter_context(small_disk(disk, "160m"))
        server = stack.enter_context(postgres_server.running(parent=disk))
        lines = f"queue = postgresql://post@127.0.0.1:{server.port}/postgres\nqueue_lease = 2s\nworker_processes = 1"
        load = stack.enter_context(crashes.Load(port, random.Random(7)))
        relay = stack.enter_context(daemon(tmp_path, port, lines))
        load.wait_for_more(20)
        fill(disk / "filler")
        put_off(load, 20)
        (disk / "filler").unlink()
        # A server that could not write its log has ended itself; who runs it starts it again.
        server.start_again_if_it_ended()
        load.wait_for_more(20)
        load.stop()
        print(crashes.judge(relay, load.answers, 0))
        assert not load.answers.refused
