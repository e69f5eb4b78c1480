"""Bounces, read back by Python's email package as any program would read them."""

from __future__ import annotations

from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from delivery import reports
from delivery.post import BODY, HEADER, NOW, make_message, make_recipient
from delivery.reports import blocks, read, text_of, words
from relay.delivery.bounce import make_bounce, status_code, to_report
from relay.delivery.report import Report, ReportSettings, references, wanted_of_body
from relay.delivery.settle import GivenUp, Result, expired
from relay.mail.address import address_from_text
from relay.mail.envelope import BodyType
from relay.mail.outcome import Deferred, ErrorClass, Failed, RemoteHost
from relay.mail.queue import QueuedMessage
from relay.mail.reply import Reply
from relay.mail.text import from_wire

SETTINGS = ReportSettings("relay.test", "example.org")
HUB = RemoteHost("hub.test", "192.0.2.7", 25)
REFUSED = Failed("no such user here: 550 no such user", Reply(550, "5.1.1", ("no such user", "really")), HUB)


def given_up(
    failed: Failed, recipient: Any = "bert@far.test", last: Deferred | None = None, transport: str = "smtp"
) -> GivenUp:
    row = make_recipient(recipient) if isinstance(recipient, str) else recipient
    return GivenUp(Result(row, failed, "smarthost", transport), failed, last)


def late(error: ErrorClass, reason: str = "it did not work", reply: Reply | None = None) -> GivenUp:
    last = Deferred(reason, error, reply, HUB)
    return given_up(expired(last), last=last)


def bounce_of(
    message: QueuedMessage, *reported: GivenUp, body: bytes = BODY, settings: ReportSettings = SETTINGS
) -> Report:
    needed = body if wanted_of_body(message, settings) else b""
    return make_bounce(message, reported or (given_up(REFUSED),), needed, settings, "1ZZZZZ-YYYYYY-XX", NOW)


def parts(bounce: Report) -> tuple[EmailMessage, EmailMessage, EmailMessage]:
    human, machine, original = reports.parts(bounce)
    assert machine.get_content_type() == "message/delivery-status"
    return human, machine, original


def test_the_envelope_and_header_of_a_bounce() -> None:
    bounce = bounce_of(make_message())
    new = bounce.message
    assert new.sender.is_null
    assert [str(each.address) for each in new.recipients] == ["anna@laptop.test"]
    assert (new.body_size, new.due, new.message_id) == (len(bounce.body), None, "1ZZZZZ-YYYYYY-XX")
    assert new.facts.session.caller is not None
    report = read(bounce)
    assert report["From"] == "Mail Delivery System <Mailer-Daemon@example.org>"
    assert report["To"] == "anna@laptop.test"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["X-Failed-Recipients"] == "bert@far.test"
    assert report["References"] == "<one@laptop.test>"
    assert report["Subject"] == "Mail delivery failed: returning message to sender"
    assert report["Date"].datetime.timestamp() == NOW
    assert report["Received"].startswith("from fingerpost by relay.test with local (Fingerpost)")
    assert "for anna@laptop.test;" in report["Received"]


def test_of_too_many_references_the_first_and_the_last_stay() -> None:
    ids = [f"<{number}{'x' * 200}@a.test>" for number in range(6)]
    (field,) = references(f"References: {' '.join(ids)}\r\nMessage-ID: <own@a.test>\r\n\r\n".encode())
    found = field.split()[1:]
    assert found[0] == ids[0]
    assert found[-2:] == [ids[-1], "<own@a.test>"]
    assert len(field) <= 998


def test_what_people_read() -> None:
    text = text_of(parts(bounce_of(make_message()))[0])
    opening, about = text.split("failed:\n\n")
    assert opening.startswith("This message was created automatically by mail delivery software.\n\nA message that you")
    assert about == "  bert@far.test\n    host hub.test [192.0.2.7]\n    no such user here: 550 no such user\n"


def test_somebody_else_reads_whose_message_it_was() -> None:
    to = address_from_text("owner@lists.test")
    bounce = make_bounce(make_message(), (given_up(REFUSED),), BODY, SETTINGS, "1ZZZZZ-YYYYYY-XX", NOW, to=to)
    assert "A message sent by <anna@laptop.test> could not be delivered" in words(parts(bounce)[0])
    assert read(bounce)["Subject"] == "Mail delivery failed"


def test_the_lines_of_a_server_stay_lines() -> None:
    said = "SMTP error from remote mail server after RCPT TO:<bert@far.test>: 550-not here\\n550 nor there"
    human, machine, _ = parts(bounce_of(make_message(), given_up(replace(REFUSED, reason=said))))
    assert text_of(human).endswith(
        "    SMTP error from remote mail server after RCPT TO:<bert@far.test>:\n    550-not here\n    550 nor there\n"
    )
    assert blocks(machine)[1]["Diagnostic-Code"] == "smtp; 550-not here 550 nor there"


@pytest.mark.parametrize("length, shown", [(254, "x" * 254), (300, "x" * 255 + "[truncated]")])
def test_a_long_line_of_a_server_is_cut(length: int, shown: str) -> None:
    said = rf"SMTP error from remote mail server after RCPT TO:<bert@far.test>: {'x' * length}\n550 no"
    human, *_ = parts(bounce_of(make_message(), given_up(replace(REFUSED, reason=said))))
    assert text_of(human).endswith(f"<bert@far.test>:\n    {shown}\n    550 no\n")


def test_a_long_diagnostic_is_cut() -> None:
    said = rf"SMTP error from remote mail server after RCPT TO:<bert@far.test>: 550-no\n550 {'x' * 980}"
    _, machine, _ = parts(bounce_of(make_message(), given_up(replace(REFUSED, reason=said))))
    assert blocks(machine)[1]["Diagnostic-Code"] == f"smtp; 550-no 550 {'x' * 916}[truncated]"


def test_what_went_wrong_here_is_for_the_log() -> None:
    text = text_of(parts(bounce_of(make_message(), given_up(Failed("disk /var/mail/x is gone"))))[0])
    assert text.endswith("failed:\n\n  bert@far.test\n")
    text = text_of(parts(bounce_of(make_message(), given_up(Failed("/bin/x died", told="it did not work"))))[0])
    assert text.endswith("  bert@far.test\n    it did not work\n")


def made(address: str, top: str, **more: Any) -> GivenUp:
    """An address that was made of another."""
    found = given_up(Failed("no", told="no"), address)
    return replace_result(found, original=address_from_text(top), **more)


def replace_result(found: GivenUp, **more: Any) -> GivenUp:
    return replace(found, result=replace(found.result, **more))


@pytest.mark.parametrize(
    "reported, lines, failed, final",
    [
        (made("b@far.test", "a@far.test"), ["b@far.test", "(generated from a@far.test)", "no"], "b", "a"),
        (
            made("b@far.test", "a@far.test", is_distant=True),
            ["b@far.test", "(ultimately generated from a@far.test)", "no"],
            "b",
            "a",
        ),
        (made("a@far.test", "a@far.test", shown="|/x"), ["pipe to |/x", "generated by a@far.test", "no"], "a", "a"),
        (
            replace_result(given_up(Failed("no", told="no"), "a@far.test"), shown="/x", is_hidden=True),
            ["an undisclosed address", "(generated from a@far.test)"],
            None,
            "a",
        ),
        (made("a@far.test", "a@far.test", shown="/x"), ["save to /x", "generated by a@far.test", "no"], "a", "a"),
        (
            made("b@far.test", "a@far.test", is_hidden=True),
            ["an undisclosed address", "(generated from a@far.test)"],
            None,
            "a",
        ),
    ],
)
def test_what_a_recipient_was_made_of(reported: GivenUp, lines: list[str], failed: str | None, final: str) -> None:
    bounce = bounce_of(make_message(), reported)
    human, machine, _ = parts(bounce)
    assert [line.strip() for line in text_of(human).partition("failed:\n\n")[2].splitlines()] == lines
    assert read(bounce)["X-Failed-Recipients"] == (failed and f"{failed}@far.test")
    assert blocks(machine)[1]["Final-Recipient"] == f"rfc822;{final}@far.test"


def test_many_failures_take_several_fields() -> None:
    rows = [f"r{number}@far.test" for number in range(51)]
    header = bounce_of(make_message(*rows), *(given_up(REFUSED, each) for each in rows)).message.header
    assert header.count(b"X-Failed-Recipients: ") == 2
    assert b"X-Failed-Recipients: r50@far.test,\r\n  r49@far.test,\r\n" in header
    assert b"X-Failed-Recipients: r0@far.test\r\n" in header


def test_a_file_that_must_not_be_is_for_the_log() -> None:
    reported = replace_result(given_up(Failed("delivery to file forbidden"), transport=""), shown="/x")
    text = text_of(parts(bounce_of(make_message(), reported))[0])
    assert text.endswith("  save to /x\n    generated by bert@far.test\n")


def test_what_a_command_wrote() -> None:
    reported = replace(given_up(Failed("died", told="local delivery failed", output="oh\n\tno\x1b\n")))
    text = text_of(parts(bounce_of(make_message(), reported))[0])
    heading = "The following text was generated during the delivery attempt:\n\n------ bert@far.test ------"
    assert text.endswith(f"\n{heading}\n\noh\n\tno\\033\n")


def test_the_part_for_programs() -> None:
    _, machine, _ = parts(
        bounce_of(make_message("a@far.test", "b@far.test"), given_up(REFUSED), given_up(REFUSED, "b@far.test"))
    )
    about, first, second = blocks(machine)
    assert about["Reporting-MTA"] == "dns; relay.test"
    assert first["Final-Recipient"] == "rfc822;bert@far.test"
    assert second["Final-Recipient"] == "rfc822;b@far.test"
    assert first["Action"] == "failed"
    assert first["Status"] == "5.1.1"
    assert first["Remote-MTA"] == "dns; hub.test"
    assert first["Diagnostic-Code"] == "smtp; 550 no such user"


def test_a_failure_here_names_no_remote_server() -> None:
    _, machine, _ = parts(bounce_of(make_message(), given_up(Failed("Unrouteable address"), transport="")))
    _, block = blocks(machine)
    assert "Remote-MTA" not in block
    assert "Diagnostic-Code" not in block
    assert block["Status"] == "5.0.0"


def test_what_the_sender_asked_for_is_repeated() -> None:
    row = make_recipient("bert@far.test", parameters={"ORCPT": "rfc822;b+2Bert@old.test"})
    message = make_message(row, parameters={"ENVID": "QQ+3D1"})
    _, machine, _ = parts(bounce_of(message, given_up(REFUSED, row)))
    about, block = blocks(machine)
    assert about["Original-Envelope-Id"] == "QQ=1"
    assert block["Original-Recipient"] == "rfc822;b+ert@old.test"


@pytest.mark.parametrize(
    "reported, status",
    [
        (given_up(Failed("x", Reply(550, "", ("x",)))), "5.0.0"),
        (given_up(Failed("x", Reply(552, "5.2.2", ("x",)))), "5.2.2"),
        (given_up(Failed("x", Reply(550, "9.9.9", ("x",)))), "5.0.0"),
        (given_up(Failed("x")), "5.0.0"),
        (late(ErrorClass.RCPT_4XX, reply=Reply(450, "4.2.1", ("busy",))), "5.0.0"),
        (late(ErrorClass.OTHER), "5.0.0"),
        (late(ErrorClass.TLS_FAILED), "5.7.5"),
    ],
)
def test_status_codes(reported: GivenUp, status: str) -> None:
    assert status_code(reported) == status


@pytest.mark.parametrize("error", [ErrorClass.TLS_REQUIRED, ErrorClass.TLS_FAILED])
def test_tls_failures_are_told_in_plain_words(error: ErrorClass) -> None:
    human, _, _ = parts(bounce_of(make_message(), late(error, "certificate verify failed")))
    text = words(human)
    assert "private (encrypted) connection to the server hub.test" in text
    assert "no part of it was sent" in text
    assert "certificate verify failed" not in text
    assert max(map(len, human.get_content().splitlines())) <= 78


@pytest.mark.parametrize("error", list(ErrorClass))
def test_every_delay_that_lasted_too_long_is_explained(error: ErrorClass) -> None:
    human, _, _ = parts(bounce_of(make_message(), late(error)))
    assert "retry timeout exceeded" in words(human)


def test_a_small_message_goes_back_whole() -> None:
    _, _, original = parts(bounce_of(make_message()))
    assert original.get_content_type() == "message/rfc822"
    (inner,) = original.get_payload()
    assert inner["Subject"] == "hello"
    assert inner.get_payload().splitlines() == ["one", "two"]


def test_a_large_message_is_represented_by_its_header() -> None:
    body = b"x" * 70 + b"\r\n"
    body *= 2000
    message = make_message(body=body)
    assert wanted_of_body(message, SETTINGS) == 0
    bounce = bounce_of(message, body=body)
    _, _, original = parts(bounce)
    assert original.get_content_type() == "text/rfc822-headers"
    path, header = original.get_content().split("\r\n", 1)
    assert path == "Return-path: <anna@laptop.test>"
    assert header.startswith(HEADER.decode())
    assert "X-Exim-DSN-Information: " in header.removeprefix(HEADER.decode())
    assert len(bounce.body) < 5000


def test_the_sender_may_ask_for_the_header_only() -> None:
    _, _, original = parts(bounce_of(make_message(parameters={"RET": "HDRS"})))
    assert original.get_content_type() == "text/rfc822-headers"


def test_a_huge_header_is_cut_between_fields() -> None:
    header = HEADER + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(1000))
    bounce = bounce_of(make_message(header=header))
    _, _, original = parts(bounce)
    assert len(bounce.body) < SETTINGS.return_size_limit + 5000
    assert original.get_content().count("yyy\r\n") > 100


@pytest.mark.parametrize("body", [b"a\0b\r\n", b"z" * 1200 + b"\r\n"])
def test_a_body_that_no_line_may_carry_is_left_out(body: bytes) -> None:
    _, _, original = parts(bounce_of(make_message(body=body), body=body))
    assert original.get_content_type() == "text/rfc822-headers"


def test_eight_bits_are_declared() -> None:
    header = HEADER + "X-Name: Jürgen\r\n".encode() + b"X-Latin: \xe4\r\n"
    bounce = bounce_of(make_message(header=header))
    assert bounce.message.body_type is BodyType.EIGHTBITMIME
    report = read(bounce)
    assert report["Content-Transfer-Encoding"] == "8bit"
    _, _, original = parts(bounce)
    assert original["Content-Transfer-Encoding"] == "8bit"
    assert b"X-Latin: \xe4\r\n" in bounce.body
    assert bounce_of(make_message()).message.body_type is BodyType.SEVENBIT


def test_a_boundary_in_the_original_does_not_end_the_part() -> None:
    boundary = str(read(bounce_of(make_message())).get_boundary()).encode()
    body = b"--" + boundary + b"--\r\nforged\r\n"
    _, _, original = parts(bounce_of(make_message(body=body), body=body))
    (inner,) = original.get_payload()
    assert "forged" in inner.get_payload()


def test_nobody_answers_a_bounce() -> None:
    message = make_message(sender="")
    assert to_report(message, [given_up(REFUSED)]) == {}
    with pytest.raises(ValueError):
        bounce_of(message)


@pytest.mark.parametrize("notify, told", [(None, True), ("NEVER", False), ("DELAY", False), ("success,FAILURE", True)])
def test_notify_is_obeyed(notify: str | None, told: bool) -> None:
    row = make_recipient("bert@far.test", parameters={} if notify is None else {"NOTIFY": notify})
    assert bool(to_report(make_message(row), [given_up(REFUSED, row)])) is told


@hypothesis.given(st.binary(max_size=120).map(from_wire), st.binary(max_size=300))
@hypothesis.settings(max_examples=60)
@hypothesis.example("a\r\nBcc: eve@x.test", b"")
@hypothesis.example("\n\n--1790000000-eximdsn-1", b"--1790000000-eximdsn-1\r\n")
def test_text_from_a_peer_forges_nothing(text: str, header: bytes) -> None:
    host = RemoteHost(text, "192.0.2.7", 25)
    refused = Failed(text, Reply(550, "5.1.1", (text, text)), host)
    clean = b"X-Odd: " + header.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
    bounce = bounce_of(make_message(header=HEADER + clean), given_up(refused, text + "@far.test"))
    report = read(bounce)
    assert report["Bcc"] is None
    _, machine, _ = parts(bounce)
    assert len(blocks(machine)) == 2
    assert all("Bcc" not in block for block in blocks(machine))
    assert bounce.message.header.isascii()
    assert all(len(line) <= 998 for line in (bounce.message.header + bounce.body).split(b"\r\n"))
