"""kill -9 under load: what got its 250 arrives, whatever the daemon's processes were doing.

`RELAY_KILLS` is the number of rounds for each case; `make crash` plays 200.
"""

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import crashes
import daemons
from spool import postgres_server

import certs
from interop import peers

ROUNDS = int(os.environ.get("RELAY_KILLS", "3"))


# Short, so that what a dead process had claimed is soon another's.
LEASE = "2s"


@pytest.fixture(params=["sqlite", "postgresql"])
def queue(request: pytest.FixtureRequest) -> Iterator[str]:
    """The lines that name the queue."""
    if request.param == "sqlite":
        yield ""
        return
    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.running() as server:
        yield f"queue = postgresql://post@127.0.0.1:{server.port}/postgres\nqueue_lease = {LEASE}"


@contextlib.contextmanager
def started(directory: Path, workers: int, port: int, queue: str) -> Iterator[daemons.Daemon]:
    main = f"smtp_accept_max = 100\nworker_processes = {workers}\n{queue}"
    text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[], main=main)
    with daemons.running(directory, text, port) as relay:
        yield relay


@pytest.mark.slow
@pytest.mark.parametrize(("victims", "workers"), [("the daemon", 1), ("worker", 2), ("parent", 2), ("all", 2)])
def test_no_message_that_got_250_is_lost(tmp_path: Path, queue: str, victims: str, workers: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source, port = random.Random(seed), peers.free_port()
    with crashes.Load(port, source) as load:
        kills = 0
        while kills < ROUNDS:
            with started(tmp_path, workers, port, queue) as relay:
                kills += kill_under_load(relay, load, victims, source, ROUNDS - kills)
    with started(tmp_path, workers, port, queue) as relay:
        print(crashes.judge(relay, load.answers, ROUNDS))
        assert not list((relay.spool / "queue").glob("*.broken"))


def kill_under_load(
    relay: daemons.Daemon, load: crashes.Load, victims: str, source: random.Random, most: int
) -> int:
    """Kills until the daemon as a whole is gone, at most so many times; how many times."""
    for number in range(1, most + 1):
        load.wait_for_more(source.randrange(3, 40))
        parent, workers = relay.pid(), relay.workers()
        match victims:
            case "worker":
                crashes.kill(source.choice(sorted(workers)))
                peers.wait_until("its successor", lambda: len(relay.workers()) == 2, 30)
                continue
            case "parent":
                crashes.kill(parent)
                peers.wait_until("the workers to end", lambda gone=workers: not any(map(crashes.is_there, gone)), 60)
            case _:
                crashes.kill(parent, *workers)
        return number
    return most
