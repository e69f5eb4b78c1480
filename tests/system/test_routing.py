"""Routing where a user meets it: aliases, circles and copies in a running daemon, and `-bt` beside it."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

import daemons

from interop import peers

MESSAGE = b"From: <me@client.test>\r\nSubject: hello\r\n\r\nGood morning.\r\n"
ALIASES = """\
team: anna, bert, carl@far.test
chiefs: team, anna
round: round2
round2: round
no: :fail: nobody of that name any more
hole: :blackhole:
"""


def configuration(directory: Path, port: int, far_port: int) -> str:
    return f"""
{daemons.head(directory, port, "relay.test")}
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl

acl_check_rcpt:
    require verify = recipient
    accept

begin routers

aliases:
  driver = redirect
  domains = relay.test
  data = ${{lookup{{$local_part}}lsearch{{{directory}/aliases}}}}
  allow_fail

archive:
  driver = accept
  domains = relay.test
  local_parts = anna
  transport = archive
  unseen

mailboxes:
  driver = accept
  domains = relay.test
  local_parts = anna : bert
  transport = maildir

far:
  driver = manualroute
  domains = far.test
  route_list = * 127.0.0.1
  transport = smtp

begin transports

maildir:
  driver = appendfile
  directory = {directory}/mail/$local_part_data
  maildir_format

archive:
  driver = appendfile
  directory = {directory}/mail/archive
  maildir_format

smtp:
  driver = smtp
  port = {far_port}

begin retry
*  *  F,1h,1h
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[daemons.Daemon, daemons.Daemon]]:
    """A relay with aliases, and the server of another domain."""
    directory, port, far_port = tmp_path_factory.mktemp("routing"), peers.free_port(), peers.free_port()
    here, far = directory / "here", directory / "far"
    here.mkdir()
    (here / "aliases").write_text(ALIASES)
    far_configuration = f"""
{daemons.head(far, far_port, "far.test")}
tls_advertise_hosts =
acl_smtp_rcpt = accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {far}/mail
  maildir_format
"""
    with (
        daemons.running(far, far_configuration, far_port) as other,
        daemons.running(here, configuration(here, port, far_port), port) as relay,
    ):
        yield relay, other


def box(relay: daemons.Daemon, name: str) -> int:
    return len(list((relay.directory / "mail" / name).glob("new/*")))


def test_an_alias_reaches_two_mailboxes_a_host_and_the_archive(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, far = pair
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.sendmail("me@client.test", ["chiefs@relay.test", "bert@relay.test"], MESSAGE)
    relay.wait_for_log("Completed")
    assert relay.waiting() == 0
    assert (box(relay, "anna"), box(relay, "bert"), box(relay, "archive")) == (1, 1, 1)
    peers.wait_until("the other server to have it", lambda: len(far.messages()) == 1)
    log = relay.log_text()
    assert "=> anna <chiefs@relay.test> R=mailboxes T=maildir" in log
    assert "=> anna <chiefs@relay.test> R=archive T=archive" in log
    assert "=> carl@far.test <chiefs@relay.test> R=far T=smtp H=127.0.0.1 [127.0.0.1]" in log
    assert log.count("Completed") == 1


@pytest.mark.parametrize(
    ("recipient", "code", "words"),
    [
        ("no", 550, b"nobody of that name any more"),
        ("round", 550, b"Unrouteable address"),
        ("nobody", 550, b"Unrouteable address"),
        ("hole", 250, b"Accepted"),
    ],
)
def test_what_a_recipient_is_verified_as(
    pair: tuple[daemons.Daemon, daemons.Daemon], recipient: str, code: int, words: bytes
) -> None:
    relay, _ = pair
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.ehlo("client.test")
        client.mail("me@client.test")
        given, text = client.rcpt(f"{recipient}@relay.test")
    assert (given, words in text) == (code, True), text


def test_a_message_for_nobody_is_done(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.sendmail("me@client.test", ["hole@relay.test"], MESSAGE)
    relay.wait_for_log("=> :blackhole: <hole@relay.test> R=aliases")
    peers.wait_until("the message to be gone", lambda: relay.waiting() == 0)


def test_addresses_are_tested_beside_the_daemon(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    done = relay.sendmail("-bt", "team@relay.test", "no@relay.test", "hole@relay.test")
    assert done.stdout.decode().splitlines() == [
        "bert@relay.test",
        "    <-- team@relay.test",
        "  router = mailboxes, transport = maildir",
        "anna@relay.test",
        "    <-- anna@relay.test",
        "    <-- team@relay.test",
        "  router = mailboxes, transport = maildir",
        "anna@relay.test",
        "    <-- anna@relay.test",
        "    <-- team@relay.test",
        "  router = archive, transport = archive",
        "carl@far.test",
        "    <-- team@relay.test",
        "  router = far, transport = smtp",
        "  host 127.0.0.1 [127.0.0.1]",
        "no@relay.test is undeliverable: nobody of that name any more",
        "mail to hole@relay.test is discarded",
    ]
    assert done.returncode == 2


def test_addresses_are_verified_beside_the_daemon(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    done = relay.sendmail("-bv", "team@relay.test", "anna")
    assert (done.stdout, done.returncode) == (b"team@relay.test verified\nanna@relay.test verified\n", 0)
    assert relay.sendmail("-bvs", "nobody@relay.test").returncode == 2


def test_the_retry_rule_is_shown(pair: tuple[daemons.Daemon, daemons.Daemon]) -> None:
    relay, _ = pair
    assert relay.sendmail("-brt", "carl@far.test", "refused").stdout == b"Retry rule: *  *  F,1h,1h; \n"
