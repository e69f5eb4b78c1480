"""Callouts where a user meets them: a relay that asks another daemon about addresses before it takes them."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons

from interop import peers


def here(directory: Path, port: int, far_port: int) -> str:
    return f"""
{daemons.head(directory, port, "relay.test")}
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
    deny  domains = asked.test
         !verify = recipient/callout=5s
    deny  domains = down.test
         !verify = recipient/callout=5s,defer_ok
    deny  domains = down.test
         !verify = recipient/callout=5s
    deny  senders = *@asked.test
         !verify = sender/callout=5s
    accept

begin routers

down:
  driver = manualroute
  domains = down.test
  route_list = * 127.0.0.1::{peers.free_port()}
  transport = smtp
  self = send

far:
  driver = manualroute
  route_list = * 127.0.0.1
  transport = smtp
  self = send

begin transports

smtp:
  driver = smtp
  port = {far_port}

begin retry
*  *  F,1h,1h
"""


def far(directory: Path, port: int) -> str:
    return f"""
{daemons.head(directory, port, "far.test")}
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
    accept local_parts = bert : dora
    deny   message = nobody of that name

begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = {directory}/mail
  maildir_format

begin retry
*  *  F,1h,1h
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[daemons.Daemon, daemons.Daemon]]:
    """A relay that asks, and the server that is asked."""
    directory, port, far_port = tmp_path_factory.mktemp("callouts"), peers.free_port(), peers.free_port()
    asking, asked = directory / "here", directory / "far"
    with (
        daemons.running(asked, far(asked, far_port), far_port) as server,
        daemons.running(asking, here(asking, port, far_port), port) as relay,
    ):
        yield relay, server


def say(daemon: daemons.Daemon, sender: str, recipient: str) -> tuple[int, bytes]:
    """The answer to RCPT."""
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=20) as client:
        client.helo("client.test")
        client.mail(sender)
        return client.rcpt(recipient)


def test_recipients_are_those_of_the_next_server(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    assert say(relay, "anna@client.test", "bert@asked.test")[0] == 250
    code, text = say(relay, "anna@client.test", "carl@asked.test")
    assert (code, text) == (550, b"Callout verification failed:\n550 5.7.1 nobody of that name")
    relay.wait_for_log(
        "rejected RCPT <carl@asked.test>: 127.0.0.1 [127.0.0.1] : SMTP error from remote mail server after "
        "RCPT TO:<carl@asked.test>: 550 5.7.1 nobody of that name"
    )


def test_what_was_answered_is_remembered(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, server = pair
    for _ in range(2):
        assert say(relay, "anna@client.test", "dora@asked.test")[0] == 250
        assert say(relay, "anna@client.test", "emil@asked.test")[0] == 550
    assert server.log_text().count("<emil@asked.test>") == 1


def test_senders_are_asked_about(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    assert say(relay, "bert@asked.test", "bert@far.test")[0] == 250
    code, text = say(relay, "frida@asked.test", "bert@far.test")
    assert code == 550
    assert text.startswith(b"Verification failed for <frida@asked.test>\nCalled:   127.0.0.1\n")
    assert text.endswith(b"\nSender verify failed")


def test_a_server_that_is_down_leaves_it_open(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    code, text = say(relay, "anna@client.test", "bert@down.test")
    assert (code, text) == (451, b"Could not complete recipient verify callout")


def test_a_played_session_asks_only_where_it_is_to(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, server = pair
    dialog = b"EHLO me\nMAIL FROM:<a@client.test>\nRCPT TO:<gustav@asked.test>\nQUIT\n"
    played = relay.sendmail("-bh", "192.0.2.1", message=dialog)
    assert b"callout omitted by default" in played.stderr
    assert b"250 2.1.5 Accepted" in played.stdout
    assert "gustav" not in server.log_text()
    played = relay.sendmail("-bhc", "192.0.2.1", message=dialog)
    assert b"550 5.7.1 550 5.7.1 nobody of that name" in played.stdout
    assert "gustav" in server.log_text()
