"""How many processes a daemon is."""

import os
from pathlib import Path

import pytest

from relay.daemon.plan import MOST_WORKERS, read_plan

SQLITE = "queue = sqlite:{}/queue"
POSTGRESQL = "queue = postgresql://fingerpost@127.0.0.1/fingerpost"


@pytest.mark.parametrize(
    ("queue", "option", "cores", "processes"),
    [
        ("", "", 4, 1),
        (SQLITE, "", 4, 1),
        (SQLITE, "worker_processes = 0", 4, 1),
        (SQLITE, "worker_processes = 3", 4, 3),
        (POSTGRESQL, "", 1, 1),
        (POSTGRESQL, "", 4, 4),
        (POSTGRESQL, "worker_processes = 0", 4, 4),
        (POSTGRESQL, "", 64, MOST_WORKERS),
        (POSTGRESQL, "worker_processes = 1", 4, 1),
        (POSTGRESQL, "worker_processes = 12", 4, 12),
    ],
)
def test_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str, option: str, cores: int, processes: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    path = tmp_path / "conf"
    lines = (f"spool_directory = {tmp_path}", f"log_file_path = {tmp_path}/%slog", queue.format(tmp_path), option)
    path.write_text("\n".join(lines) + "\n")
    assert read_plan(str(path), {}).workers == processes
