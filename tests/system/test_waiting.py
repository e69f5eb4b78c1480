"""The daemon tells senders: that a message waits, that it was delivered, and nobody of what nobody asked for."""

import email
import re
import smtplib
from email import policy
from email.message import EmailMessage
from pathlib import Path

import daemons

import certs
from interop import peers

MESSAGE = b"From: <me@relay.test>\nTo: <you@away.test>\nSubject: to you\n\nAre you there?\n"


def configuration(directory: Path, port: int, main: str) -> str:
    """A relay that sends what is for away.test to a port where nobody listens."""
    text = daemons.relay_configuration(directory, port, certs.relay(), [], trusted=[], main=main)
    router = (
        "begin routers\n\naway:\n  driver = manualroute\n  domains = away.test\n  transport = remote\n"
        f"  route_list = * 127.0.0.1::{peers.free_port()}\n  self = send\n"
    )
    text = text.replace("begin routers\n", router).replace("* * F,1h,1m", "* * F,1h,1s")
    return text.replace("begin transports\n", "begin transports\n\nremote:\n  driver = smtp\n")


def parts_of(raw: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    report = email.message_from_bytes(raw, policy=policy.default)
    return report, list(report.iter_parts())  # type: ignore[attr-defined, return-value]


def test_the_sender_is_told_that_a_message_waits(tmp_path: Path) -> None:
    port = peers.free_port()
    main = "delay_warning = 1s\nerrors_reply_to = help@relay.test"
    with daemons.running(tmp_path, configuration(tmp_path, port, main), port) as relay:
        assert relay.sendmail("-i", "-f", "me@relay.test", "you@away.test", message=MESSAGE).returncode == 0
        peers.wait_until("the notice", relay.messages)
        report, (human, machine, original) = parts_of(relay.messages()[0])
        log = relay.log_text()
        assert relay.waiting() >= 1
    assert str(report["Subject"]).startswith("Warning: message ")
    assert (report["Auto-Submitted"], report["Return-Path"], report["Reply-To"]) == (
        "auto-replied",
        "<>",
        "help@relay.test",
    )
    told = " ".join(human.get_content().split())
    assert "has not yet been delivered" in told
    assert "you@away.test" in told
    assert machine.get_payload()[1]["Action"] == "delayed"  # type: ignore[index, call-overload]
    assert "Subject: to you" in original.get_content()
    assert "== you@away.test R=away T=remote defer (111): Connection refused" in log
    assert "** you@away.test" not in log


def test_who_asked_for_it_is_told_of_a_delivery(tmp_path: Path) -> None:
    port = peers.free_port()
    with daemons.running(tmp_path, configuration(tmp_path, port, "dsn_advertise_hosts = *"), port) as relay:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.ehlo("laptop.test")
            options = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;you@old.test"]
            message = MESSAGE.replace(b"\n", b"\r\n")
            client.sendmail("me@relay.test", ["you@relay.test"], message, ["ENVID=QQ1", "RET=FULL"], options)
        peers.wait_until("message and report", lambda: len(relay.messages()) == 2)
        (raw,) = (each for each in relay.messages() if b"multipart/report" in each)
    report, (human, machine, original) = parts_of(raw)
    assert (report["Subject"], report["Auto-Submitted"]) == ("Delivery Status Notification", "auto-generated")
    assert "had successful delivery notifications -----\n<you@relay.test>" in human.get_content()
    about, block = machine.get_payload()
    assert about["Original-Envelope-Id"] == "QQ1"  # type: ignore[index, call-overload]
    assert block["Action"] == "delivered"  # type: ignore[index, call-overload]
    assert block["Original-Recipient"] == "rfc822;you@old.test"  # type: ignore[index, call-overload]
    assert original.get_content_type() == "text/rfc822-headers"


def given_up_by_a_run(relay: daemons.Daemon) -> bool:
    relay.sendmail("-q")
    return "cancelled by timeout_frozen_after" in relay.log_text()


def test_an_old_frozen_message_is_given_up_by_a_queue_run(tmp_path: Path) -> None:
    port = peers.free_port()
    text = configuration(tmp_path, port, "timeout_frozen_after = 1s")
    text = text.replace("self = send", "self = freeze")
    text = re.sub(r"route_list = \* 127\.0\.0\.1::\d+", f"route_list = * 127.0.0.1::{port}", text)
    with daemons.running(tmp_path, text, port) as relay:
        relay.sendmail("-i", "-f", "me@relay.test", "you@away.test", message=MESSAGE)
        relay.wait_for_log("Frozen")
        peers.wait_until("its end", lambda: given_up_by_a_run(relay))
        peers.wait_until("the report", relay.messages)
        log = relay.log_text()
    _, (human, *_) = parts_of(relay.messages()[0])
    assert "delivery cancelled; message timed out" in human.get_content()
    assert "** you@away.test" not in log
    assert " <= <> R=" in log
