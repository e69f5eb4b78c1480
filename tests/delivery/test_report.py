"""What all reports have in common: the options of operators, and addresses outside of US-ASCII."""

from __future__ import annotations

from dataclasses import replace

import pytest

from delivery.post import BODY, NOW, make_message, make_recipient
from delivery.reports import parts, read, text_of
from relay.delivery.bounce import make_bounce
from relay.delivery.report import OUR_WORDING, Report, ReportSettings, Wording, wanted_of_body
from relay.delivery.settle import GivenUp, Result
from relay.mail.address import address_from_text
from relay.mail.envelope import BodyType
from relay.mail.facts import Authentication
from relay.mail.outcome import Failed
from relay.mail.queue import QueuedMessage

SETTINGS = ReportSettings("relay.test", "example.org")
REFUSED = Failed("no such user here")
UTF8_HEADER = "Subject: grüße\r\nMessage-ID: <a@b>\r\n".encode()


def bounce_of(
    message: QueuedMessage, settings: ReportSettings = SETTINGS, body: bytes = BODY, wording: Wording = OUR_WORDING
) -> Report:
    needed = body if wanted_of_body(message, settings) else b""
    given_up = tuple(GivenUp(Result(each, REFUSED, "r", "t"), REFUSED) for each in message.recipients)
    return make_bounce(message, given_up, needed, settings, "1ZZZZZ-YYYYYY-XX", NOW, wording=wording)


def test_nothing_is_returned_where_nothing_is_to_be() -> None:
    settings = ReportSettings("relay.test", "example.org", returns_message=False)
    assert wanted_of_body(make_message(), settings) == 0
    found = parts(bounce_of(make_message(), settings))
    assert len(found) == 2


def test_the_body_may_be_kept_back() -> None:
    settings = ReportSettings("relay.test", "example.org", returns_body=False)
    assert wanted_of_body(make_message(), settings) == 0
    assert parts(bounce_of(make_message(), settings))[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize("limit, kind", [(40, "message/rfc822"), (39, "text/rfc822-headers"), (2000, "message/rfc822")])
def test_long_lines_keep_the_body_back(limit: int, kind: str) -> None:
    body = b"x" * 40 + b"\r\n"
    header = b"Subject: a\r\n"
    settings = ReportSettings("relay.test", "example.org", return_line_limit=limit)
    assert parts(bounce_of(make_message(header=header, body=body), settings, body))[2].get_content_type() == kind


@pytest.mark.parametrize("longest, kind", [(10, "message/rfc822"), (41, "text/rfc822-headers")])
def test_what_was_put_in_front_here_keeps_no_body_back(longest: int, kind: str) -> None:
    body, header = b"x" * 40 + b"\r\n", b"Received: " + b"y" * 60 + b"\r\nSubject: a\r\n"
    message = make_message(header=header, body=body)
    message = replace(message, facts=replace(message.facts, longest_header_line=longest))
    settings = ReportSettings("relay.test", "example.org", return_line_limit=40)
    assert parts(bounce_of(message, settings, body))[2].get_content_type() == kind


def test_without_a_limit_everything_goes_back() -> None:
    body = b"x" * 70 + b"\r\n"
    body *= 4000
    settings = ReportSettings("relay.test", "example.org", return_size_limit=0)
    assert parts(bounce_of(make_message(body=body), settings, body))[2].get_content_type() == "message/rfc822"


def test_a_small_limit_leaves_a_small_header_whole() -> None:
    settings = ReportSettings("relay.test", "example.org", return_size_limit=10)
    body = b"x" * 70 + b"\r\n"
    original = parts(bounce_of(make_message(body=body * 200), settings, body * 200))[2]
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: hello" in original.get_content()


def test_the_operators_fields() -> None:
    settings = ReportSettings("relay.test", "example.org", reply_to="help@example.org")
    wording = Wording(sender="The Post <post@example.org>")
    report = read(bounce_of(make_message(), settings, wording=wording))
    assert (report["From"], report["Reply-To"]) == ("The Post <post@example.org>", "help@example.org")


@pytest.mark.parametrize("sender, login", [("daemon@example.org", "fingerpost"), ("", None)])
def test_whom_a_server_is_told_of_that_gets_a_report(sender: str, login: str | None) -> None:
    """Exim: bounce_sender_authentication."""
    settings = ReportSettings("relay.test", "example.org", authenticated_sender=sender)
    found = bounce_of(make_message(), settings).message.facts.session.authentication
    assert found == (None if login is None else Authentication("", login, sender))


def test_the_operators_words() -> None:
    wording = Wording(texts=("Subject: Oh no\nX-Care: a\n b\nno field\n\n", "Dear sender,\nsorry.\n"))
    report = bounce_of(make_message(), wording=wording)
    assert read(report)["Subject"] == "Oh no"
    assert read(report)["X-Care"] == "a b"
    assert b"no field" not in report.message.header
    human = text_of(parts(report)[0])
    assert human.startswith("Dear sender,\nsorry.\n\n  bert@far.test\n")
    assert "created automatically" not in human


def test_the_operators_words_forge_no_header() -> None:
    wording = Wording(
        sender="a <a@b>\r\nX-Forged: yes", texts=("Subject: a\r\n\r\nX-Forged: \x07\u202e", "x\x1b[2J\n--=\n")
    )
    report = bounce_of(make_message(), wording=wording)
    assert read(report)["X-Forged"] == "\\007\\342\\200\\256"
    assert b"\x1b" not in report.body


def test_copies_go_to_others_without_being_named() -> None:
    report = bounce_of(make_message(), wording=Wording(copies=(address_from_text("post@example.org"),)))
    assert [str(each.address) for each in report.message.recipients] == ["anna@laptop.test", "post@example.org"]
    assert read(report)["To"] == "anna@laptop.test"
    assert b"post@" not in report.message.header + report.body


def test_an_international_message_is_reported_on_as_such() -> None:
    row = make_recipient("jürgen@fern.test")
    message = make_message(row, sender="änna@laptop.test", header=UTF8_HEADER, parameters={"SMTPUTF8": ""})
    report = bounce_of(message)
    assert report.message.parameters.get("SMTPUTF8") is not None
    assert report.message.body_type is BodyType.EIGHTBITMIME
    human, machine, original = parts(report)
    assert machine.get_content_type() == "message/global-delivery-status"
    assert original.get_content_type() == "message/global"
    assert "jürgen@fern.test" in human.get_content()
    assert "Final-Recipient: utf-8;jürgen@fern.test".encode() in report.body
    assert "To: änna@laptop.test".encode() in report.message.header


def test_a_sender_in_ascii_needs_no_international_server() -> None:
    message = make_message(make_recipient("jürgen@fern.test"), header=UTF8_HEADER, parameters={"SMTPUTF8": ""})
    report = bounce_of(message)
    assert report.message.parameters.get("SMTPUTF8") is None
    assert report.message.header.isascii()


def test_the_header_of_an_international_message() -> None:
    message = make_message(header=UTF8_HEADER, parameters={"SMTPUTF8": "", "RET": "HDRS"})
    assert parts(bounce_of(message))[2].get_content_type() == "message/global-headers"


def test_without_smtputf8_nobody_has_to_read_it() -> None:
    report = bounce_of(make_message("jürgen@fern.test"))
    assert b"Final-Recipient: rfc822;j\\303\\274rgen@fern.test" in report.body
    assert parts(report)[1].get_content_type() == "message/delivery-status"
