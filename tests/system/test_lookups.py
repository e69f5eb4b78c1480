"""Lookups and list files where a user meets them: an ACL of a running daemon, `relay expand`, `relay-sendmail -be`."""

import smtplib
import subprocess
import sys
from pathlib import Path

import daemons

from interop import peers


def configuration(directory: Path, port: int) -> str:
    return f"""
{daemons.head(directory, port, "relay.test")}
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
    deny    senders = {directory}/refused
            message = not you
    accept  domains = lsearch;{directory}/domains
            condition = ${{if eq{{${{lookup{{$domain}}lsearch{{{directory}/domains}}}}}}{{yes}}}}
    deny    message = relay not permitted

begin routers

everything:
  driver = accept
  transport = maildir

begin transports

maildir:
  driver = appendfile
  directory = {directory}/mail
  maildir_format
"""


def code_of(port: int, sender: str, recipient: str) -> int:
    """The reply's code to RCPT."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("client.test")
        client.mail(sender)
        return client.rcpt(recipient)[0]


def test_an_acl_decides_by_files_as_they_stand_now(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("ours.test: yes\nhalf.test: no\n")
    refused = tmp_path / "refused"
    refused.write_text("bad@client.test  # a reason\n")
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port), port):
        assert code_of(port, "me@client.test", "you@Ours.test") == 250
        assert code_of(port, "me@client.test", "you@half.test") == 550
        assert code_of(port, "me@client.test", "you@other.test") == 550
        assert code_of(port, "bad@client.test", "you@ours.test") == 550
        refused.unlink()
        peers.wait_until(
            "the list that is gone to be noticed", lambda: code_of(port, "me@client.test", "you@ours.test") == 451
        )


def test_commands_that_expand(tmp_path: Path) -> None:
    """With no daemon and no configuration."""
    (tmp_path / "table").write_text("key: value\n")
    asked = [
        f"${{lookup{{key}}lsearch{{{tmp_path}/table}}{{[$value]}}{{none}}}}",
        f"${{lookup{{key}}lsearch{{{tmp_path}/absent}}{{[$value]}}{{none}}}}",
    ]
    failure = f"Failed: failed to open {tmp_path}/absent for linear search: No such file or directory"
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for command in (["relay.cli.sendmail", "-be"], ["relay", "expand"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, *asked],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        assert (done.stdout + done.stderr).splitlines() == ["[value]", failure]
