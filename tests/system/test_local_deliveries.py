"""Mailbox files, commands and batches through a running daemon: as the right users, and told in the log."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import daemons

from interop import peers

MESSAGE = b"From: <me@relay.test>\nSubject: hello\n\nGood morning.\nFrom the hills.\n"
NOBODY = pwd.getpwnam("nobody")
IS_ROOT = os.geteuid() == 0

ROUTERS = """
begin routers

by_name:
  driver = accept
  local_parts = box : piped : broken : batch : slow : readonly
  transport = ${lookup{$local_part}lsearch{TABLE}{$value}fail}

batches:
  driver = accept
  domains = batch.test
  transport = batch

lmtp:
  driver = accept
  domains = lmtp.test
  transport = lmtp
  headers_add = X-Router: here

begin transports

lmtp:
  driver = lmtp
  command = /bin/sh HOME/server.sh HOME/got
  batch_max = 10
  ignore_quota
  return_path_add
  headers_add = X-Transport: there
  headers_remove = x-*
  USER

box:
  driver = appendfile
  file = HOME/box
  envelope_to_add
  headers_add = X-Delivered: here
  headers_remove = message-id
  USER

piped:
  driver = pipe
  command = /bin/sh -c "cat > HOME/piped; id -un >> HOME/piped"
  USER

broken:
  driver = pipe
  command = /bin/sh -c "echo no room; exit 1"
  return_fail_output
  log_output
  USER

batch:
  driver = appendfile
  file = HOME/batch
  use_bsmtp
  batch_max = 10
  USER

begin retry
* * F,1h,1m
"""


@contextmanager
def relay(name: str, *, user: str = "") -> Iterator[tuple[daemons.Daemon, Path]]:
    """A daemon; as root it becomes `nobody`, and delivers as `user`."""
    with peers.directory(name) as directory:
        port = peers.free_port()
        home = directory / "home"
        for each in (home, directory / "spool", directory / "log"):
            each.mkdir()
        (directory / "table").write_text("box: box\npiped: piped\nbroken: broken\n")
        home.chmod(0o777)
        text = daemons.head(directory, port, "relay.test") + "tls_advertise_hosts =\nacl_smtp_rcpt = accept\n"
        if IS_ROOT:
            text += "exim_user = nobody\n"
            for path in (directory, directory / "spool", directory / "log"):
                os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        routers = ROUTERS.replace("TABLE", f"{directory}/table").replace("HOME", str(home))
        text += routers.replace("USER", f"user = {user}" if user else "")
        with daemons.running(directory, text, port) as daemon:
            yield daemon, home


def test_a_mailbox_file_and_a_command() -> None:
    with relay("mailbox") as (daemon, home):
        for _ in range(2):
            daemon.sendmail("-i", "-f", "me@relay.test", "box@relay.test", message=MESSAGE)
        peers.wait_until("two messages", lambda: daemon.log_text().count("Completed") == 2)
        text = (home / "box").read_bytes()
        assert text.count(b"\nFrom me@relay.test ") + text.startswith(b"From me@relay.test ") == 2
        assert text.count(b"\nEnvelope-to: box@relay.test\n") == 2
        assert text.count(b"\nX-Delivered: here\n\nGood morning.\n>From the hills.\n\n") == 2
        assert b"essage-Id" not in text
        assert (home / "box").stat().st_mode & 0o777 == 0o600
        daemon.sendmail("-i", "piped@relay.test", message=MESSAGE)
        peers.wait_until("the command", lambda: daemon.log_text().count("Completed") == 3)
        lines = (home / "piped").read_text().splitlines()
        assert lines[0].startswith("From ")
        assert lines[-1] == (NOBODY.pw_name if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name)
        assert sorted(os.listdir(home)) == ["box", "piped"]


def test_a_command_that_fails_is_returned() -> None:
    with relay("broken") as (daemon, home):
        daemon.sendmail("-i", "-f", "box@relay.test", "broken@relay.test", message=MESSAGE)
        peers.wait_until("the bounce", lambda: daemon.log_text().count("Completed") == 2)
        log = daemon.log_text()
        assert "<broken@relay.test>: broken transport output: no room" in log
        assert 'Child process of broken transport returned 1 from command: /bin/sh' in log
        bounce = (home / "box").read_text()
        assert bounce.startswith("From MAILER-DAEMON ")
        assert "\n    local delivery failed\n" in bounce.replace("\r\n", "\n")
        assert "\nno room\n" in bounce
        assert "Child process" not in bounce


def test_a_batch() -> None:
    with relay("batch") as (daemon, home):
        recipients = [f"{name}@batch.test" for name in ("a", "b", "c")]
        daemon.sendmail("-i", "-f", "me@relay.test", *recipients, message=MESSAGE)
        peers.wait_until("the batch", lambda: "Completed" in daemon.log_text())
        lines = (home / "batch").read_text().splitlines()
        assert lines[0] == "MAIL FROM:<me@relay.test>"
        assert sorted(lines[1:4]) == [f"RCPT TO:<{each}>" for each in recipients]
        assert lines[4] == "DATA"
        assert lines[-1] == "."
        assert daemon.log_text().count(" => ") == 1
        assert daemon.log_text().count(" -> ") == 2


def test_a_full_mailbox_is_tried_again_later() -> None:
    with relay("locked") as (daemon, home):
        (home / "box").write_bytes(b"")
        (home / "box").chmod(0o600)
        if IS_ROOT:
            os.chown(home / "box", NOBODY.pw_uid, NOBODY.pw_gid)
        os.link(home / "box", home / "other")
        daemon.sendmail("-i", "box@relay.test", message=MESSAGE)
        daemon.wait_for_log("has too many links (2)")
        assert daemon.waiting() == 1
        assert (home / "box").read_bytes() == b""


@pytest.mark.skipif(not IS_ROOT, reason="only root may become somebody else")
def test_a_delivery_as_another_user() -> None:
    with relay("as-games", user="games") as (daemon, home):
        for name in ("box", "piped"):
            daemon.sendmail("-i", f"{name}@relay.test", message=MESSAGE)
        peers.wait_until("both", lambda: daemon.log_text().count("Completed") == 2)
        status = (home / "box").stat()
        assert pwd.getpwuid(status.st_uid).pw_name == "games"
        assert grp.getgrgid(status.st_gid).gr_name == "games"
        assert (home / "piped").read_text().splitlines()[-1] == "games"


def test_a_user_who_is_none_is_found_before_the_start() -> None:
    with peers.directory("no-user") as directory:
        text = daemons.head(directory, 25, "relay.test") + ROUTERS.replace("USER", "user = no-such-user")
        (directory / "conf").write_text(text)
        command = [sys.executable, "-m", "relay", "check", "-C", str(directory / "conf")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert 'there is no user "no-such-user"' in done.stdout + done.stderr


LMTP_SERVER = r"""
end=$(printf '\r')
say() { printf '%s\r\n' "$@"; }
say '220 box LMTP'
while IFS= read -r line; do
  case ${line%"$end"} in
    LHLO*) say 250-box '250 IGNOREQUOTA' ;;
    RCPT*nobody*) say '550 5.1.1 nobody here' ;;
    RCPT*) echo "${line%"$end"}" >> "$1"; say '250 OK' ;;
    DATA)
      say '354 go on'
      while IFS= read -r line && [ "$line" != ".$end" ]; do echo "${line%"$end"}" >> "$1"; done
      say "250 2.1.5 in $1" '452 4.2.2 full' ;;
    QUIT) say '221 bye'; exit ;;
    *) say '250 OK' ;;
  esac
done
"""


def test_lmtp_with_a_command() -> None:
    """Three recipients in one dialog, each with its own fate."""
    with relay("lmtp") as (daemon, home):
        (home / "server.sh").write_text(LMTP_SERVER)
        names = [f"{name}@lmtp.test" for name in ("a", "full", "nobody")]
        assert daemon.sendmail("-i", "-f", "me@relay.test", *names, message=MESSAGE).returncode == 0
        daemon.wait_for_log("** nobody@lmtp.test R=lmtp T=lmtp : LMTP error after RCPT TO:<nobody@lmtp.test>")
        daemon.wait_for_log(f'=> a <a@lmtp.test> R=lmtp T=lmtp C="250 2.1.5 in {home}/got"')
        daemon.wait_for_log(
            "== full@lmtp.test R=lmtp T=lmtp defer (-46): LMTP error after end of data: 452 4.2.2 full"
        )
        lines = (home / "got").read_text().splitlines()
        assert lines[:3] == [*(f"RCPT TO:<{name}> IGNOREQUOTA" for name in names[:2]), "Return-path: <me@relay.test>"]
        assert lines[lines.index("X-Router: here") + 1] == "X-Transport: there"
        assert lines[-2:] == ["Good morning.", "From the hills."]
