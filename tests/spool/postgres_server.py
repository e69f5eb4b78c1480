"""A PostgreSQL of the tests' own: Debian's programs, a directory of its own, an unprivileged user, a free port.

Nothing of a server that may be installed and running is touched. `fsync` stays on: what is tested is what survives.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import psycopg
except ImportError:
    psycopg = None  # type: ignore[assignment]

from interop.peers import PEERS, free_port, wait_until

USER = "nobody"
START_SECONDS = 60.0


def program(name: str) -> Path | None:
    """One of the server's programs, the newest where there are several."""
    found = shutil.which(name)
    if found:
        # A link to the program does not say where the others are, and initdb looks beside itself.
        return Path(found).resolve()
    for root in (Path("/"), PEERS / "postgresql"):
        paths = (root / "usr/lib/postgresql").glob(f"*/bin/{name}")
        newest = max(paths, key=lambda path: int(path.parts[-3]), default=None)
        if newest is not None:
            return newest
    return None


def missing() -> str:
    """Why no server can be started here; empty if it can."""
    if psycopg is None:
        return "psycopg is not installed (pip install fingerpost[postgresql])"
    if program("initdb") is None or program("postgres") is None:
        return "postgresql is not installed (make peers)"
    return ""


class Server:
    """A server that may be stopped, in any way, and started again."""

    def __init__(self, directory: Path) -> None:
        self._home = directory
        self._data = directory / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = USER if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(directory, account.pw_uid, account.pw_gid)

    def make(self) -> None:
        self._call("initdb", "--auth=trust", "--username=post", "--encoding=UTF8", "--locale=C", "-D", str(self._data))

    def url(self, schema: str = "public", extra: str = "") -> str:
        """The connection string of a queue of its own; made where it does not exist."""
        with self.connect() as connection:
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        return f"postgresql://post@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}{extra}"

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(f"host={self._home} port={self.port} user=post dbname=postgres", autocommit=True)

    def start(self, *options: str) -> None:
        postgres = program("postgres")
        assert postgres is not None
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._home,
            "fsync": "on", "log_min_messages": "fatal",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [postgres, "-D", str(self._data), *words, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={"PATH": "/usr/bin:/bin"}, **self._as_user(),
            )  # fmt: skip
        self._wait()

    def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: no checkpoint, no good-bye; the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def end_sessions(self, purpose: str = "") -> int:
        """Cuts every connection of a store's (`purpose`: writer, reader, lease); how many there were."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'fingerpost %%' AND application_name LIKE %s",
                (f"% {purpose}%",),
            ).fetchall()
        return len(rows)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        process = self._process
        wait_until("PostgreSQL to answer", lambda: process.poll() is not None or self._answers(), START_SECONDS)
        assert process.poll() is None, (self._home / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _call(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, check=False, cwd="/",
            env={"PATH": "/usr/bin:/bin"}, **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for as long as the block."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="fingerpost-postgresql-"))
    directory.chmod(0o755)
    server = Server(directory)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop_at_once()
        shutil.rmtree(directory, ignore_errors=True)
