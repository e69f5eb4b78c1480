"""What a delivery writes is the same however the body is cut, and no line is left that a reader would mistake."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.content import Form, MessageText, batched_end, batched_smtp
from relay.mail.address import Address

MAILBOX = Form(check=b"From ", escape=b">From ", ends_line=True)
BATCHED = Form(check=b".", escape=b"..", escape_header=True, ends_line=True)

pieces = st.lists(st.sampled_from([b"From ", b"Fro", b"m ", b"\r\n", b"\r", b"\n", b".", b"x", b"", b" "]), max_size=14)


def written(form: Form, *body: bytes, header: bytes = b"") -> bytes:
    text = MessageText(form)
    start = text.header(header) if header else b""
    return start + b"".join([*map(text.body, body), text.end()])


def test_from_lines_are_escaped() -> None:
    assert written(MAILBOX, b"From a\r\nx\r\nFrom b\r\n From c\r\n") == b">From a\nx\n>From b\n From c\n"


def test_a_header_is_escaped_in_batched_smtp_only() -> None:
    header = b"Subject: x\r\n.odd\r\n\r\n"
    assert written(BATCHED, b".\r\n", header=header) == b"Subject: x\n..odd\n\n..\n"
    assert written(MAILBOX, header=b"From x\r\n\r\n") == b"From x\n\n"


def test_a_last_line_gets_its_end_where_something_follows() -> None:
    assert written(MAILBOX, b"one") == b"one\n"
    assert written(Form(), b"one") == b"one"
    assert written(MAILBOX, b"Fro") == b"Fro\n"


def test_lines_end_with_crlf_where_that_is_asked_for() -> None:
    form = Form(check=b".", escape=b"..", use_crlf=True, ends_line=True)
    assert written(form, b"one\r\n.two\nthree") == b"one\r\n..two\r\nthree\r\n"


@given(pieces)
def test_cuts_make_no_difference(body: list[bytes]) -> None:
    for form in (MAILBOX, BATCHED, Form(), Form(use_crlf=True)):
        assert written(form, *body) == written(form, b"".join(body))


@given(pieces)
def test_nothing_that_is_escaped_is_left(body: list[bytes]) -> None:
    assert not re.search(rb"(?m)^From ", written(MAILBOX, *body))
    assert not re.search(rb"(?m)^\.$", written(BATCHED, *body))


@given(pieces)
def test_escaping_can_be_taken_back(body: list[bytes]) -> None:
    plain = b"".join(body).replace(b"\r\n", b"\n")
    undone = re.sub(rb"(?m)^\.\.", b".", written(Form(check=b".", escape=b".."), *body))
    assert undone == plain


def test_batched_commands() -> None:
    recipients = [Address("a", "x.test"), Address("b c", "x.test")]
    commands = batched_smtp(Address("", ""), recipients, use_crlf=True)
    assert commands == b'MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<"b c"@x.test>\r\nDATA\r\n'
    assert batched_end(use_crlf=False) == b".\n"
