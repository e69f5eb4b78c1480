"""Somebody sets the clock while the daemon runs, by years: nothing is lost and nothing waits for years.

libfaketime stands between the daemon and the wall clock; the clocks that nobody can set are left alone.
"""

import contextlib
import random
import smtplib
import socket
import time
from pathlib import Path

import pytest

import crashes
import daemons

import certs
from interop import peers

pytestmark = pytest.mark.slow
YEAR = 365 * 86400


class WallClock:
    """What a daemon takes for the time: the machine's, and so many seconds more."""

    def __init__(self, path: Path) -> None:
        library = next((peers.PEERS / "faketime").glob("usr/lib/*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            pytest.skip("libfaketime is not installed (make peers)")
        self._path = path
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set_ahead(0)

    def set_ahead(self, seconds: int) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)


def is_year(relay: daemons.Daemon, ahead: int) -> bool:
    """The last line of the log was written in that year."""
    return relay.log_text().splitlines()[-1].startswith(time.strftime("%Y-", time.localtime(time.time() + ahead)))


def test_a_clock_that_jumps_under_load_loses_nothing(tmp_path: Path) -> None:
    clock, port = WallClock(tmp_path / "clock"), peers.free_port()
    text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[], main="smtp_accept_max = 100")
    with (
        crashes.Load(port, random.Random(3)) as load,
        daemons.running(tmp_path, text, port, environment=clock.environment) as relay,
    ):
        load.wait_for_more(10)
        for years in (2, -2, 0, 5, 0):
            clock.set_ahead(years * YEAR)
            load.wait_for_more(20)
            assert is_year(relay, years * YEAR)
        load.stop()
        print(crashes.judge(relay, load.answers, 0))
        answers = load.answers
        assert not answers.refused | answers.deferred | answers.unknown, "nobody was cut off"


def test_a_message_that_failed_while_the_clock_was_ahead_does_not_wait_for_years(tmp_path: Path) -> None:
    clock, port, far = WallClock(tmp_path / "clock"), peers.free_port(), peers.free_port()
    clock.set_ahead(3 * YEAR)
    (tmp_path / "relay").mkdir()
    text = daemons.laptop_configuration(tmp_path, port, None, far, "hosts_avoid_tls = *")
    with contextlib.ExitStack() as stack:
        laptop = stack.enter_context(daemons.running(tmp_path, text, port, environment=clock.environment))
        with smtplib.SMTP("127.0.0.1", port, local_hostname="me.test") as smtp:
            smtp.sendmail("me@laptop.test", ["you@relay.test"], "Subject: patience\r\n\r\nSoon.\r\n")
        laptop.wait_for_log("== you@relay.test")
        text = daemons.relay_configuration(tmp_path / "relay", far, certs.relay(), [], trusted=[])
        relay = stack.enter_context(daemons.running(tmp_path / "relay", text, far))
        # Not before somebody listens: it is tried the moment that the step is noticed, and then not for a minute.
        clock.set_ahead(0)
        peers.wait_until("the message", relay.messages, 60)
        peers.wait_until("an empty queue", lambda: laptop.waiting() == 0)


def test_deadlines_are_kept_by_a_clock_that_was_set_back(tmp_path: Path) -> None:
    clock, port = WallClock(tmp_path / "clock"), peers.free_port()
    main = "smtp_receive_timeout = 5s"
    text = daemons.relay_configuration(tmp_path, port, certs.relay(), [], trusted=[], main=main)
    with (
        daemons.running(tmp_path, text, port, environment=clock.environment),
        socket.create_connection(("127.0.0.1", port), timeout=60) as silent,
    ):
        assert silent.recv(512).startswith(b"220 ")
        clock.set_ahead(-3 * YEAR)
        assert silent.recv(512).startswith(b"421 ")
