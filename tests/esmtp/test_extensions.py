"""The table of extensions: parameters by what was offered, and a server's EHLO reply."""

import pytest

from relay.esmtp.extensions import EXTENSIONS, Offers, declared_body, declared_size, read_offers
from relay.mail.envelope import BodyType, Parameters
from relay.mail.reply import Reply

ALL = Offers(tuple((keyword, "") for keyword in EXTENSIONS))


def wrong(offers: Offers, command: str, *items: tuple[str, str]) -> Reply | None:
    check = offers.wrong_mail_parameter if command == "MAIL" else offers.wrong_rcpt_parameter
    return check(Parameters(items))


@pytest.mark.parametrize(
    "command, keyword, value",
    [
        ("MAIL", "SIZE", "0"),
        ("MAIL", "SIZE", "12345678901234567890"),
        ("MAIL", "BODY", "7BIT"),
        ("MAIL", "BODY", "8bitmime"),
        ("MAIL", "BODY", "BINARYMIME"),
        ("MAIL", "SMTPUTF8", ""),
        ("MAIL", "RET", "hdrs"),
        ("MAIL", "ENVID", "a+2Bb"),
        ("RCPT", "NOTIFY", "SUCCESS,delay"),
        ("RCPT", "ORCPT", "rfc822;a@b"),
        ("MAIL", "AUTH", "<>"),
        ("MAIL", "HOLDUNTIL", "2026-11-21T10:00:00Z"),
    ],
)
def test_a_parameter_needs_its_extension(command: str, keyword: str, value: str) -> None:
    assert wrong(ALL, command, (keyword, value)) is None
    refused = wrong(Offers(), command, (keyword, value))
    assert refused is not None
    assert refused.code == 555
    other = wrong(ALL, "RCPT" if command == "MAIL" else "MAIL", (keyword, value))
    assert other is not None
    assert other.code == 555


@pytest.mark.parametrize(
    "command, keyword, value",
    [
        ("MAIL", "SIZE", ""),
        ("MAIL", "SIZE", "-1"),
        ("MAIL", "SIZE", "1k"),
        ("MAIL", "SIZE", "9" * 21),
        ("MAIL", "BODY", "9BIT"),
        ("MAIL", "SMTPUTF8", "yes"),
        ("RCPT", "NOTIFY", "NEVER,DELAY"),
        ("RCPT", "ORCPT", "a@b"),
        ("MAIL", "ENVID", "a+2"),
    ],
)
def test_a_parameter_of_the_wrong_form(command: str, keyword: str, value: str) -> None:
    refused = wrong(ALL, command, (keyword, value))
    assert refused is not None
    assert (refused.code, refused.text) == (501, f"invalid data for {keyword}")


def test_binary_bodies_need_more_than_8bitmime() -> None:
    assert wrong(Offers((("8BITMIME", ""),)), "MAIL", ("BODY", "BINARYMIME")) is not None


def test_offers_as_lines_in_order() -> None:
    offers = Offers((("SIZE", "1000"), ("PIPELINING", ""), ("STARTTLS", "")))
    assert offers.lines() == ("SIZE 1000", "PIPELINING", "STARTTLS")
    assert "STARTTLS" in offers
    assert "STARTTLS" not in offers.without("STARTTLS")
    assert offers == Offers(offers.items)


def test_declared_size_and_body() -> None:
    parameters = Parameters((("SIZE", "12"), ("BODY", "8bitmime")))
    assert declared_size(parameters) == 12
    assert declared_body(parameters) is BodyType.EIGHTBITMIME
    assert declared_size(Parameters()) == 0
    assert declared_body(Parameters()) is BodyType.SEVENBIT


def test_a_servers_ehlo_reply() -> None:
    lines = ("relay Hello PIPELINING", "SIZE 1000", "pipelining", "AUTH=LOGIN", "AUTH PLAIN LOGIN", "", "?x")
    assert read_offers(lines) == {"SIZE": "1000", "PIPELINING": "", "AUTH": "PLAIN LOGIN"}
    assert read_offers(("hello", "AUTH=LOGIN PLAIN")) == {"AUTH": "LOGIN PLAIN"}
    assert read_offers(()) == {}
