"""Who runs as whom: root's daemon becomes its own user, and what an ordinary user may ask of it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <you@relay.test>\nSubject: who\n\nGood morning.\n"
NOBODY = pwd.getpwnam("nobody")
SYSTEM_PYTHON = "/usr/bin/python3"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else"),
    pytest.mark.interop("setpriv"),
]


def configuration(directory: Path, port: int) -> str:
    text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[])
    return text.replace("spool_directory =", f"exim_user = {NOBODY.pw_name}\nspool_directory =")


def give_away(directory: Path) -> None:
    """Everything that the daemon must write, and the key that it must read."""
    for path in (directory, *directory.glob("**/*")):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)


def test_the_daemon_becomes_its_user() -> None:
    with peers.directory("privileges") as directory:
        port = peers.free_port()
        for name in ("spool", "log", "mail"):
            (directory / name).mkdir()
        text = configuration(directory, port)
        give_away(directory)
        with daemons.running(directory, text, port) as relay:
            process = relay.pid()
            status = Path(f"/proc/{process}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            assert set(uids) == {str(NOBODY.pw_uid)}
            relay.sendmail("-i", "you@relay.test", message=MESSAGE)
            peers.wait_until("the message", relay.messages)
            assert (relay.spool / "queue" / "queue.sqlite").stat().st_mode & 0o077 == 0


def test_workers_become_the_user_and_so_do_their_successors() -> None:
    with peers.directory("privileges") as directory:
        port = peers.free_port()
        for name in ("spool", "log", "mail"):
            (directory / name).mkdir()
        text = configuration(directory, port).replace("exim_user", "worker_processes = 2\nexim_user")
        give_away(directory)
        with daemons.running(directory, text, port) as relay:
            assert effective_users(relay.pid(), *relay.workers()) == {NOBODY.pw_uid}
            relay.sendmail("-i", "you@relay.test", message=MESSAGE)
            # A message that is not written off yet when its worker dies is rightly delivered once more.
            relay.wait_for_log("Completed")
            dead = min(relay.workers())
            os.kill(dead, signal.SIGKILL)
            relay.wait_for_log("another is started")
            peers.wait_until("another worker", lambda: len(relay.workers() - {dead}) == 2, 30)
            successors = relay.workers()
            peers.wait_until("it to be the user", lambda: effective_users(*successors) == {NOBODY.pw_uid}, 30)
            relay.sendmail("-i", "you@relay.test", message=MESSAGE)
            peers.wait_until("the next message", lambda: len(relay.messages()) == 2)


def effective_users(*processes: int) -> set[int]:
    lines = (Path(f"/proc/{process}/status").read_text().splitlines() for process in processes)
    return {int(next(line for line in each if line.startswith("Uid:")).split()[2]) for each in lines}


def test_a_key_that_its_user_cannot_read_is_said_at_the_start() -> None:
    with peers.directory("privileges") as directory:
        port = peers.free_port()
        for name in ("spool", "log", "mail"):
            (directory / name).mkdir()
        text = configuration(directory, port)
        give_away(directory)
        os.chown(directory / "server.key", 0, 0)
        (directory / "fingerpost.conf").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "relay", "run", "-C", str(directory / "fingerpost.conf")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert f"{directory}/server.key" in done.stderr
        assert "Traceback" not in done.stderr


def as_nobody(configuration: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """relay-sendmail as another user, with the system's own Python: its path of handing over needs nothing else."""
    copy = configuration.parent / "code"
    if not copy.exists():
        import relay

        shutil.copytree(Path(relay.__file__).parent, copy / "relay", ignore=shutil.ignore_patterns("__pycache__"))
        for path in (copy, *copy.glob("**/*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    who = [f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    return subprocess.run(
        ["setpriv", *who, SYSTEM_PYTHON, "-m", "relay.cli.sendmail", "-C", str(configuration), *arguments],
        input=MESSAGE,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def system_python_is_new_enough() -> bool:
    question = [SYSTEM_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return Path(SYSTEM_PYTHON).exists() and subprocess.run(question, check=False).returncode == 0


@pytest.mark.skipif(not system_python_is_new_enough(), reason="the system's own Python is missing or older than 3.11")
def test_an_ordinary_user_hands_over_and_does_not_choose_the_sender() -> None:
    with peers.directory("privileges") as directory:
        port = peers.free_port()
        text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[])
        with daemons.running(directory, text, port) as relay:
            done = as_nobody(relay.configuration, "-i", "-f", "boss@relay.test", "you@relay.test")
            assert done.returncode == 0, done.stderr
            peers.wait_until("the message", relay.messages)
            assert "<= nobody@relay.test U=nobody" in relay.log_text()
            assert b"Sender: nobody <nobody@relay.test>\n" in relay.messages()[0]
            # The queue is not theirs to read.
            listed = as_nobody(relay.configuration, "-bp")
            assert listed.returncode == 1
        # The daemon is down: the maildrop takes it, and nobody else can read it there.
        done = as_nobody(relay.configuration, "-i", "you@relay.test")
        assert done.returncode == 0, done.stderr
        assert len(list((relay.spool / "maildrop").glob("new.*"))) == 1
        (relay.configuration.parent / "mail" / "new").mkdir(exist_ok=True)
        with daemons.running(directory, text, port) as relay:
            peers.wait_until("both messages", lambda: len(relay.messages()) == 2)
            assert relay.log_text().count("U=nobody") == 2
