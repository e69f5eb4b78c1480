"""LMTP with a socket and with a command: a report for each recipient, whatever the server does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from delivery.lmtp_box import GREETING, OFFERS, OK, Box
from relay.delivery.jobs import LMTPJob, Report, Verdict, decode, decode_job, encode
from relay.delivery.lmtp_dialog import LMTPRun
from relay.mail.outcome import ErrorClass

MESSAGE = b"Subject: x\r\n\r\nhello\r\n.dot\r\n"
def job(path: Path | str = "", *recipients: str, **more: object) -> LMTPJob:
    given = {"transport": "l", "hostname": "relay.test", "sender": "ann@far.test", "timeout": 3, **more}
    made = LMTPJob(socket=str(path), recipients=recipients or ("bert@here.test",), **given)  # type: ignore[arg-type]
    again = decode_job(encode(made))
    assert again == made
    return made


def sent(tmp_path: Path, answers: Sequence[bytes], *recipients: str, **more: object) -> tuple[Report, list[bytes]]:
    box = Box(tmp_path / "box", answers, hangs=bool(more.pop("hangs", False)))
    try:
        report = LMTPRun(job(box.path, *recipients, **more), time.monotonic).finish((MESSAGE[:20], MESSAGE[20:]))
    finally:
        box.close()
    assert decode(Report, encode(report)) == report
    return report, box.heard


def test_each_recipient_has_its_own_reply(tmp_path: Path) -> None:
    names = ("a@here.test", "b@here.test", "c@here.test", "d@here.test")
    answers = [
        GREETING, OFFERS, OK, OK, b"550 5.1.1 who?\r\n", OK, OK, b"354 go on\r\n",
        b"250 2.0.0 in a's box\r\n452 4.2.2 c is full\r\n552 5.2.2 d is full\r\n", b"221 bye\r\n",
    ]  # fmt: skip
    report, heard = sent(tmp_path, answers, *names)
    assert [(each.verdict, each.text) for each in report.each] == [
        (Verdict.DELIVERED, "250 2.0.0 in a's box"),
        (Verdict.FAILED, "LMTP error after RCPT TO:<b@here.test>: 550 5.1.1 who?"),
        (Verdict.DEFERRED, "LMTP error after end of data: 452 4.2.2 c is full"),
        (Verdict.FAILED, "LMTP error after end of data: 552 5.2.2 d is full"),
    ]
    assert report.each[2].error is ErrorClass.DATA_4XX
    assert heard[:2] == [b"LHLO relay.test", b"MAIL FROM:<ann@far.test> BODY=8BITMIME"]
    assert heard[-7:] == [b"DATA", b"Subject: x", b"", b"hello", b"..dot", b".", b"QUIT"]


@pytest.mark.parametrize("wanted", [True, False])
def test_ignore_quota(wanted: bool, tmp_path: Path) -> None:
    answers = [GREETING, OFFERS, OK, OK, b"354 go on\r\n", OK, b"221 bye\r\n"]
    report, heard = sent(tmp_path, answers, ignore_quota=wanted)
    assert report.each == (Report(Verdict.DELIVERED, "250 2.0.0 OK"),)
    assert heard[2] == b"RCPT TO:<bert@here.test>" + (b" IGNOREQUOTA" if wanted else b"")


@pytest.mark.parametrize(
    "answers, verdict, text",
    [
        ([b"554 go away\r\n"], Verdict.FAILED, "LMTP error after initial connection: 554 go away"),
        ([b"421 later\r\n"], Verdict.DEFERRED, "LMTP error after initial connection: 421 later"),
        ([b"hello\r\n"], Verdict.DEFERRED, "Malformed LMTP response"),
        ([GREETING], Verdict.DEFERRED, "LMTP connection closed after LHLO relay.test"),
        ([GREETING, b"500 what?\r\n"], Verdict.FAILED, "LMTP error after LHLO relay.test: 500 what?"),
    ],
)
def test_a_server_that_does_not_begin(answers: list[bytes], verdict: Verdict, text: str, tmp_path: Path) -> None:
    report, _ = sent(tmp_path, answers)
    assert (report.verdict, report.each) == (verdict, ())
    assert report.text.startswith(text)


def test_a_connection_that_is_lost_between_the_replies(tmp_path: Path) -> None:
    """Who has been answered has the message; the others wait."""
    answers = [GREETING, OFFERS, OK, OK, OK, b"354 go on\r\n", b"250 first\r\n"]
    report, _ = sent(tmp_path, answers, "a@here.test", "b@here.test")
    assert [each.verdict for each in report.each] == [Verdict.DELIVERED, Verdict.DEFERRED]
    assert report.each[1].text == "LMTP connection closed after end of data"


@pytest.mark.parametrize("place", [0, 1, 3, 4, 5])
def test_a_server_that_says_nothing(place: int, tmp_path: Path) -> None:
    answers = [GREETING, OFFERS, OK, OK, b"354 go on\r\n", OK][:place] + [b""] * (6 - place)
    report, _ = sent(tmp_path, answers, timeout=1, hangs=True)
    found = report.each[0] if report.each else report
    assert (found.verdict, found.error) == (Verdict.DEFERRED, ErrorClass.OTHER)
    assert found.text.startswith("LMTP timeout after ")


def test_nobody_listens(tmp_path: Path) -> None:
    report = LMTPRun(job(tmp_path / "box"), time.monotonic).finish((MESSAGE,))
    assert report.verdict is Verdict.DEFERRED
    assert report.text == f"Failed to connect to socket {tmp_path}/box for l transport: No such file or directory"
    report = LMTPRun(job("/" + "x" * 200), time.monotonic).finish((MESSAGE,))
    assert "Failed to connect to socket" in report.text


SERVER = r"""
import sys
def say(text): sys.stdout.write(text + "\r\n"); sys.stdout.flush()
say("220 box.test")
for line in sys.stdin:
    word = line.split()[0].upper()
    if word == "DATA":
        say("354 go on")
        text = ""
        while (line := sys.stdin.readline()) and line.rstrip() != ".":
            text += line
        open(sys.argv[1], "w").write(text if line else "cut")
    say("221 bye" if word == "QUIT" else "250 OK")
    if word == "QUIT":
        break
"""


@pytest.fixture
def server(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return (sys.executable, str(path), str(tmp_path / "got"))


def test_a_command(server: tuple[str, ...], tmp_path: Path) -> None:
    run = LMTPRun(job("", arguments=server, environment=("PATH=/bin:/usr/bin",)), time.monotonic)
    report = run.finish((MESSAGE, b"x" * 200_000 + b"\r\n"))
    assert report.each == (Report(Verdict.DELIVERED, "250 OK"),)
    assert (tmp_path / "got").read_text().startswith("Subject: x\n\nhello\n..dot\nxxx")


def test_what_is_abandoned_has_no_final_dot(server: tuple[str, ...], tmp_path: Path) -> None:
    run = LMTPRun(job("", arguments=server), time.monotonic)
    run.write((MESSAGE,))
    process = run._process
    assert process is not None
    run.abandon()
    assert process.poll() is not None
    assert not (tmp_path / "got").exists() or (tmp_path / "got").read_text() in ("", "cut")


@pytest.mark.parametrize("arguments", [("/no/such/program",), ("/bin/true",), ("/bin/cat",)])
def test_a_command_that_is_no_server(arguments: tuple[str, ...]) -> None:
    report = LMTPRun(job("", arguments=arguments, timeout=1), time.monotonic).finish((MESSAGE,))
    assert (report.verdict, report.each) == (Verdict.DEFERRED, ())


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    test_a_command_that_is_no_server(("/bin/true",))
    assert len(os.listdir("/proc/self/fd")) == before
