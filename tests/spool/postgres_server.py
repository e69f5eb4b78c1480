"""A PostgreSQL of the tests' own: Debian's programs, a directory of its own, an unprivileged user, a free port.

Nothing of a server that may be installed and running is touched. `fsync` stays on: what is tested is what survives.
"""

import atexit
import contextlib
import functools
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
    """A server that may be stopped, in any way, and started again.

    In a network namespace of the test's own (`network`) it listens on every address that is there.
    """

    def __init__(self, directory: Path, network: str = "") -> None:
        self._network = network
        self._home = directory
        self._data = directory / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(directory, USER, pwd.getpwnam(USER).pw_gid)

    def make(self) -> None:
        subprocess.run(["cp", "-a", _new_cluster(), self._data], check=True)
        if self._network:
            with (self._data / "pg_hba.conf").open("a") as file:
                file.write("host all all 192.0.2.0/24 trust\n")

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
            "listen_addresses": "*" if self._network else "127.0.0.1", "port": self.port,
            "unix_socket_directories": self._home, "fsync": "on", "log_min_messages": "fatal",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            command, user = [str(postgres), "-D", str(self._data), *words, *options], _as_user()
            if self._network:
                # Only root enters a namespace: the programs before the server's name step down, in this order.
                step_down = ["setpriv", f"--reuid={USER}", f"--regid={user['group']}", "--clear-groups"]
                command, user = ["ip", "netns", "exec", self._network, *step_down, *command], {}
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, **user,
            )  # fmt: skip
        self._wait()

    def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: no checkpoint, no good-bye; the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def start_again_if_it_ended(self) -> None:
        """As whoever runs a server does after a panic."""
        if self._process is None or self._process.poll() is not None:
            self.start()

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


def _as_user() -> dict[str, Any]:
    """Whose the processes are: PostgreSQL refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    return {"user": USER, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []}


@functools.cache
def _new_cluster() -> Path:
    """The files of a server that has never run, made once for all that are to have a copy.

    They are not synced: no test turns the machine off, and what a server writes later it syncs itself.
    """
    place = Path(tempfile.mkdtemp(prefix="fingerpost-postgresql-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    if os.geteuid() == 0:
        shutil.chown(place, USER)
    path = program("initdb")
    assert path is not None
    words = ["--auth=trust", "--username=post", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", place / "data"]
    done = subprocess.run(
        [path, *words], capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/usr/bin:/bin"},
        **_as_user(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "data"


@contextlib.contextmanager
def running(network: str = "", parent: Path | None = None) -> Iterator[Server]:
    """A server for as long as the block; in that network namespace where one is named, its files under `parent`."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="fingerpost-postgresql-", dir=parent))
    directory.chmod(0o755)
    server = Server(directory, network)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop_at_once()
        shutil.rmtree(directory, ignore_errors=True)
