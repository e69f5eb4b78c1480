"""What is found wrong in a header, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.acl_world import message
from relay.esmtp.header_addresses import Mailbox
from relay.mail.address import address_from_text
from relay.mail.header import Field
from relay.policy.header_checks import bad_field_name, bad_syntax, header_senders, is_blind


def fields(header: str) -> tuple[Field, ...]:
    return message(header).header


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Subject: @@@\n",
        "From: Anna <anna@x.test>\n",
        "To: friends: a@x.test, b@x.test;, c@x.test\n",
        "To: undisclosed-recipients:;\n",
        "Cc: (nobody)\n",
        "Reply-To: \n",
    ],
)
def test_good_syntax(header: str) -> None:
    assert bad_syntax(fields(header)) == ""


@pytest.mark.parametrize(
    "header, start, end",
    [
        ("To: a@@b\n", "", 'failing address in "To:" header is: a@@b'),
        ("From: a@x.test, anna@\n", "", 'failing address in "From:" header is: anna@'),
        ("bcc: b\n", "unqualified address not permitted", 'failing address in "bcc:" header is: b'),
        ("From: <>\n", "missing or malformed local part", 'failing address in "From:" header is: <>'),
        ("Sender: <anna\n", "", 'failing address in "Sender:" header is: <anna'),
        (f"To: {'@' * 3000}\n", "", f'failing address in "To:" header begins: {"@" * 1024}'),
    ],
)
def test_bad_syntax(header: str, start: str, end: str) -> None:
    complaint = bad_syntax(fields(header))
    assert complaint.startswith(start)
    assert complaint.endswith(end)


def test_local_callers_need_no_domain() -> None:
    assert bad_syntax(fields("To: bert\n"), allow_unqualified=True) == ""


@given(st.text(max_size=60))
def test_a_complaint_is_one_printable_line(text: str) -> None:
    raw = b"To: " + text.encode("utf-8", "surrogatepass").replace(b"\n", b"?").replace(b"\r", b"?") + b"\r\n"
    complaint = bad_syntax((Field("To", raw),))
    assert complaint.isascii()
    assert complaint.isprintable()


def test_names_of_fields() -> None:
    assert bad_field_name(fields("Subject: \xff\n")) == ""
    strange = (Field("Subj\xe4kt", "Subj\xe4kt: x\r\n".encode()),)
    assert bad_field_name(strange) == 'Invalid character in header "Subj\\303\\244kt" found'


@pytest.mark.parametrize(
    "header, recipient, caseless, blind",
    [
        ("To: Bert <bert@far.test>\n", "bert@far.test", False, False),
        ("Cc: a@x.test, bert@FAR.test\n", "bert@far.test", False, False),
        ("To: team: bert@far.test;\n", "bert@far.test", False, False),
        ("To: Bert@far.test\n", "bert@far.test", False, True),
        ("To: Bert@far.test\n", "bert@far.test", True, False),
        ("Bcc: bert@far.test\n", "bert@far.test", False, True),
        ("Subject: bert@far.test\n", "bert@far.test", False, True),
        ("To: bert\n", "bert@far.test", False, True),
        ("To: @@, bert@far.test\n", "bert@far.test", False, False),
        ("To: xbert@far.test\n", "bert@far.test", False, True),
        ("To: bert@far.test.example\n", "bert@far.test", False, True),
    ],
)
def test_blind_recipients(header: str, recipient: str, caseless: bool, blind: bool) -> None:
    assert is_blind(fields(header), address_from_text(recipient), caseless=caseless) is blind


def test_senders_come_in_the_order_of_their_worth() -> None:
    header = "From: f@x.test\nReply-To: r@x.test, q@x.test\nSender: s@x.test\n"
    found = [(name, str(each.address)) for name, each, _ in header_senders(fields(header)) if isinstance(each, Mailbox)]
    assert found == [
        ("Sender", "s@x.test"),
        ("Reply-To", "r@x.test"),
        ("Reply-To", "q@x.test"),
        ("From", "f@x.test"),
    ]
