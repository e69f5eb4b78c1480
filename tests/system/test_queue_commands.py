"""The queue's commands as programs, with a daemon that runs and without one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons

import certs
import nursery
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <you@relay.test>\nSubject: alone\n\nGood morning.\n"


@pytest.fixture
def installation(tmp_path: Path) -> daemons.Daemon:
    """A configuration with nobody running."""
    port = peers.free_port()
    for name in ("spool", "log"):
        (tmp_path / name).mkdir()
    path = tmp_path / "fingerpost.conf"
    path.write_text(daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[]))
    return daemons.Daemon(tmp_path, path, port)


@pytest.fixture(params=["alone", "daemon"])
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[daemons.Daemon]:
    """One that is down, and one that is up: the same words do the same."""
    if request.param == "alone":
        yield request.getfixturevalue("installation")
        return
    port = peers.free_port()
    configuration = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[])
    with daemons.running(tmp_path, configuration, port) as daemon:
        yield daemon


def program(
    daemon: daemons.Daemon, module: str, *words: str, message: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Beside a daemon that is down a program loads its modules itself, beside one that is up it is given them."""
    if (daemon.spool / "daemon.pid").exists():
        return nursery.run(module, words, source=message)
    return subprocess.run(
        [sys.executable, "-m", module, *words], input=message, capture_output=True, timeout=60, check=False
    )


def queue(daemon: daemons.Daemon, command: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """`relay queue COMMAND -C … WORDS`."""
    return program(daemon, "relay", "queue", command, "-C", str(daemon.configuration), *words)


def sendmail(daemon: daemons.Daemon, *words: str, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return program(daemon, "relay.cli.sendmail", "-C", str(daemon.configuration), *words, message=message)


def queued(daemon: daemons.Daemon, *recipients: str) -> str:
    """A message that waits for a queue run; its id."""
    done = sendmail(daemon, "-odq", "-v", "-i", *(recipients or ("you@relay.test",)), message=MESSAGE)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"accepted as ")
    return done.stderr.decode().split()[-1]


def ids(daemon: daemons.Daemon) -> list[str]:
    return act(daemon, "-bpi")[1].split()


def act(daemon: daemons.Daemon, *words: str) -> tuple[int, str]:
    done = sendmail(daemon, *words)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_exims_actions_say_what_exim_says(relay: daemons.Daemon) -> None:
    one = queued(relay)
    assert act(relay, "-Mf", one) == (0, f"Message {one} is now frozen\n")
    assert act(relay, "-Mf", one) == (1, f"Message {one} is already frozen\n")
    assert " *** frozen ***" in act(relay, "-bp")[1]
    assert act(relay, "-Mt", one) == (0, f"Message {one} is no longer frozen\n")
    relay.wait_for_log(f"{one} unfrozen by ")
    assert f"{one} frozen by " in relay.log_text()


def test_messages_are_removed_and_edited(relay: daemons.Daemon) -> None:
    one, two = queued(relay), queued(relay)
    assert act(relay, "-Mar", one, "they@relay.test") == (0, f"Message {one} has been modified\n")
    assert act(relay, "-Mmd", one, "you@relay.test") == (0, f"Message {one} has been modified\n")
    assert act(relay, "-Mes", one, "other@relay.test") == (0, f"Message {one} has been modified\n")
    listed = act(relay, "-bp", one)[1].splitlines()
    assert listed[0].split()[2:4] == [one, "<other@relay.test>"]
    assert listed[1:] == ["        D you@relay.test", "          they@relay.test", ""]
    assert act(relay, "-Mrm", one, two)[0] == 0
    assert act(relay, "-bpc") == (0, "0\n")
    missing = f"Spool data file for {two} does not exist\n"
    assert act(relay, "-Mf", two) == (1, missing)
    relay.wait_for_log(f"{two} removed by ")
    relay.wait_for_log(f"{two} Completed")


def test_a_message_is_delivered_and_given_up_by_hand(relay: daemons.Daemon) -> None:
    one = queued(relay)
    assert act(relay, "-Mf", one)[0] == 0
    assert act(relay, "-M", one) == (0, "")
    assert len(relay.messages()) == 1
    assert f"{one} Unfrozen by forced delivery" in relay.log_text()
    two = queued(relay)
    assert act(relay, "-Mg", two) == (0, "")
    relay.wait_for_log(f"{two} cancelled by ")
    relay.wait_for_log(f"R={two} ")
    peers.wait_until("an empty queue", lambda: relay.waiting() == 0)


def test_a_message_is_shown(relay: daemons.Daemon) -> None:
    one = queued(relay)
    header = act(relay, "-Mvh", one)[1].splitlines()
    assert header[0] == f"{one}-H"
    assert "-received_protocol local" in header
    assert "you@relay.test" in header
    assert "015  Subject: alone" in header
    assert act(relay, "-Mvb", one) == (0, f"{one}-D\nGood morning.\n")
    assert act(relay, "-Mvc", one)[1].endswith("\n\nGood morning.\n")
    own_log = relay.directory / "spool/msglog" / one
    assert act(relay, "-Mvl", one) == (0, own_log.read_text())
    own_log.unlink()
    assert " <= " in act(relay, "-Mvl", one)[1], "what the main log has"
    assert act(relay, "-be", "-Mset", one, "$h_subject: $message_body") == (0, "alone Good morning. \n")
    gone = "1aaaaa-aaaaaaaaaaa-0001"
    assert act(relay, "-Mvh", gone) == (
        1,
        f"Failed to open input file for {gone}-H: No such file or directory\n",
    )


def test_runs_for_some_addresses(installation: daemons.Daemon) -> None:
    queued(installation, "you@relay.test")
    other = queued(installation, "they@relay.test")
    assert act(installation, "-R", "YOU@") == (0, "")
    assert ids(installation) == [other]
    assert act(installation, "-Sr", "^nobody") == (0, "")
    assert ids(installation) == [other]
    assert act(installation, "-Rr", "^they@.*test$") == (0, "")
    assert ids(installation) == []


def test_relay_queue_changes_what_it_is_told_to(relay: daemons.Daemon) -> None:
    one = queued(relay)
    done = queue(relay, "hold", one)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{one}: is now frozen\n", b"")
    assert json.loads(queue(relay, "list", "--frozen", "--json").stdout)[0]["message_id"] == one
    done = queue(relay, "hold", one, "1aaaaa-aaaaaaaaaaa-0001")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"relay: {one}: is already frozen",
        "relay: 1aaaaa-aaaaaaaaaaa-0001: no such message in the queue (see: relay queue list)",
    ]
    assert queue(relay, "edit", one, "--add", "they@relay.test", "--sender", "a@relay.test").returncode == 0
    shown = json.loads(queue(relay, "show", "--json", "--body", one).stdout)
    assert (shown["sender"], shown["frozen"], shown["body"]) == ("a@relay.test", True, "Good morning.\r\n")
    assert [each["address"] for each in shown["recipients"]] == ["you@relay.test", "they@relay.test"]
    assert shown["reception"]["protocol"] == "local"
    assert any(" <= " in line for line in shown["log"])
    assert queue(relay, "check").returncode == 0
    assert queue(relay, "remove", one).returncode == 0
    assert json.loads(queue(relay, "list", "--json").stdout) == []


def test_relay_queue_runs_the_queue(relay: daemons.Daemon) -> None:
    one, two = queued(relay), queued(relay)
    assert queue(relay, "hold", two).returncode == 0
    done = queue(relay, "run", one)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[-1] == "2 messages looked at, 1 tried"
    assert len(relay.messages()) == 1
    assert json.loads(queue(relay, "run", "--json", "--frozen", "--domain", "relay.test").stdout)["tried"] == 1
    assert len(relay.messages()) == 2


def test_a_bounce_by_hand_reaches_the_sender(installation: daemons.Daemon) -> None:
    one = queued(installation)
    assert queue(installation, "edit", one, "--sender", "me@relay.test").returncode == 0
    done = queue(installation, "bounce", one)
    assert (done.returncode, done.stdout.decode()) == (0, f"{one}: was given up\n")
    assert b"you@relay.test" in installation.messages()[0]


def test_what_is_due_now_is_tried_by_the_daemon(tmp_path: Path) -> None:
    port = peers.free_port()
    configuration = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[])
    with daemons.running(tmp_path, configuration, port) as daemon:
        one = queued(daemon)
        assert queue(daemon, "retry-now", one).returncode == 0
        peers.wait_until("the message", daemon.messages)


def test_a_terminal_sees_a_bar(installation: daemons.Daemon) -> None:
    queued(installation)
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "relay", "queue", "run", "-C", str(installation.configuration)],
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=60,
        check=True,
    )
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert b"delivering" in shown
    assert b"100%" in shown
    assert done.stdout == b"1 message looked at, 1 tried\n"
