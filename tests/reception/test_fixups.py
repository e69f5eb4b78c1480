"""What is added to the header of a local message, and what is taken out."""

from dataclasses import replace
from email.header import decode_header, make_header

import pytest

from relay.mail.address import Address
from relay.mail.header import join_fields, split_header
from relay.reception.fixups import Fixing, FromAffixes, HeaderNeeds, fix_header, phrase

NEEDS = HeaderNeeds(
    fixing=Fixing.COMPLETE_AND_CHECK_FROM,
    message_id="1xUfyz-0002Cc-2k",
    id_domain="relay_1.example",
    now=1795255200.0,
    sender=Address("anne", "example.org"),
    originator=Address("anne", "example.org"),
    full_name="Anne",
    name_in_from=True,
    drop_sender_field=True,
    drop_bcc=False,
)
WHOLE = b"Message-ID: <a@b>\r\nDate: d\r\n"


def fixed(header: bytes, **changes: object) -> str:
    needs = replace(NEEDS, **changes)
    return join_fields(fix_header(split_header(header)[0], needs).fields).decode()


def test_nothing_is_added_to_a_whole_header() -> None:
    header = WHOLE + b"From: Anne <anne@example.org>\r\n"
    assert fixed(header) == header.decode()


def test_the_id_is_made_of_ours_and_a_clean_domain() -> None:
    assert "Message-Id: <E1xUfyz-0002Cc-2k@relay-1.example>\r\n" in fixed(b"From: anne@example.org\r\n")


@pytest.mark.parametrize(
    ("author", "sender"),
    [
        ("anne@example.org", ""),
        ("Somebody <ANNE@Example.Org>", ""),
        ("anne@other.example", "Sender: Anne <anne@example.org>"),
        ("anne@example.org, bob@example.org", "Sender: Anne <anne@example.org>"),
        ("(no address", "Sender: Anne <anne@example.org>"),
    ],
)
def test_a_from_of_somebody_else_gets_a_sender(author: str, sender: str) -> None:
    made = fixed(WHOLE + f"From: {author}\r\n".encode())
    assert made.endswith(f"{sender}\r\n" if sender else f"From: {author}\r\n")


def test_a_sender_of_the_program_is_not_believed() -> None:
    header = WHOLE + b"From: anne@example.org\r\nSender: boss@example.org\r\n"
    assert "boss" not in fixed(header)
    assert "boss" in fixed(header, drop_sender_field=False)


def test_a_trusted_caller_may_write_any_from() -> None:
    header = WHOLE + b"From: boss@example.org\r\n"
    assert fixed(header, fixing=Fixing.COMPLETE) == header.decode()


def test_the_bare_login_becomes_a_whole_from() -> None:
    assert fixed(WHOLE + b"From: anne\r\n") == WHOLE.decode() + "From: Anne <anne@example.org>\r\n"


def test_without_fixing_only_fields_of_deliveries_go() -> None:
    header = b"Return-Path: <x@y>\r\nEnvelope-To: x\r\nDelivery-Date: d\r\nSubject: s\r\n"
    assert fixed(header, fixing=Fixing.NONE) == "Subject: s\r\n"


def test_what_the_log_wants() -> None:
    found = fix_header(split_header(WHOLE + b"Subject: a\r\n b\r\n")[0], NEEDS)
    assert (found.given_message_id, found.subject) == ("<a@b>", "a\n b")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Anne O'Neil", "Anne O'Neil"),
        ("A. Person", '"A. Person"'),
        ('the "boss" \\', '"the \\"boss\\" \\\\"'),
        ("two\r\nlines: x", '"two lines: x"'),
        ("", ""),
    ],
)
def test_a_name_before_an_address(name: str, written: str) -> None:
    assert phrase(name) == written


def test_a_name_in_other_letters_is_an_encoded_word() -> None:
    name = "Änne " * 30
    written = phrase(name)
    assert written.isascii()
    assert all(line.startswith(" ") for line in written.split("\r\n")[1:])
    assert str(make_header(decode_header(written))) == name.strip()
    assert "\n" not in phrase("\udcff\udcfe\n").replace("\r\n ", "")


@pytest.mark.parametrize(
    ("author", "own"),
    [
        ("page+anne", True),
        ("a.b-anne", True),
        ("anne=list", True),
        ("anne&page", True),
        ("page+anne&page", True),
        ("call+anne", False),
        ("anne&call", False),
        ("page+bert", False),
        ("anne", True),
    ],
)
def test_a_prefix_or_suffix_may_stand_in_from(author: str, own: bool) -> None:
    affixes = FromAffixes(("page+", "*-"), ("=*", "&page"))
    header = f"From: {author}@example.org\r\n".encode()
    assert ("Sender: " not in fixed(header, from_affixes=affixes)) is own
    assert ("Sender: " not in fixed(header)) is (author == "anne")


def test_fields_of_deliveries_may_be_left() -> None:
    header = b"Return-Path: <x@y>\r\nEnvelope-To: x\r\nSubject: s\r\n"
    kept = fixed(header, fixing=Fixing.NONE, delivery_fields=frozenset({"envelope-to"}))
    assert kept == "Return-Path: <x@y>\r\nSubject: s\r\n"


def test_of_a_message_that_is_sent_again_date_and_id_stand_on_top() -> None:
    made = fixed(WHOLE + b"Resent-To: x@y\r\nResent-From: boss@example.org\r\n")
    names = [line.partition(":")[0] for line in made.splitlines()]
    assert names == [
        "Resent-Date", "Resent-Message-Id", "Message-ID", "Date", "Resent-To", "Resent-From", "Resent-Sender",
    ]  # fmt: skip


def test_encoded_words_of_a_subject_are_read_for_the_log() -> None:
    found = fix_header(split_header(WHOLE + b"Subject: =?iso-8859-1?Q?M=FCll?= out\r\n")[0], NEEDS)
    assert found.subject == "M\udcfcll out"
