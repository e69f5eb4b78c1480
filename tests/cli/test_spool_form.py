"""Queued messages in the shape of Exim's spool files."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.post import NOW, make_message, make_recipient
from relay.cli.spool_form import header_file, unix_lines
from relay.mail.address import NULL_SENDER, Address, address_from_text
from relay.mail.facts import Authentication, DroppedField, Endpoint, Hello, LocalCaller, MessageFacts, SessionFacts
from relay.mail.glance import BodyGlance
from relay.mail.queue import QueuedMessage, RecipientState

OWN = LocalCaller("exim", 77, 78)
HEADER = b"Received: from x\r\nFrom: <a@b>\r\nTo: <c@d>,\r\n <e@f>\r\nX-A: \xff\r\nResent-Cc: g@h\r\n"


def lines(message: QueuedMessage, *, anybody_sets_sender: bool = False) -> list[str]:
    glance = BodyGlance(10)
    glance.look(b"one\r\ntwo and more than any field has\r\n\0")
    text = header_file(message, glance, "relay.test", OWN, anybody_sets_sender=anybody_sets_sender)
    return text.decode("latin-1").split("\n")


def test_a_message_of_the_network() -> None:
    session = SessionFacts(
        peer=Endpoint("192.0.2.1", 4000),
        local=Endpoint("192.0.2.2", 25),
        peer_host="laptop.test",
        hello=Hello("my laptop\n", True),
        authentication=Authentication("plain", "me", mechanism="PLAIN"),
    )
    message = replace(
        make_message("c@d", header=HEADER), facts=MessageFacts(session, NOW + 0.25, {"acl_c0": "x\ny", "acl_m_a": ""})
    )
    assert lines(message) == [
        "1AAAAA-BBBBBB-CC-H",
        "exim 77 78",
        "<anna@laptop.test>",
        "1790000000 0",
        "-received_time_usec .250000",
        "-received_time_complete 1790000000.250000",
        "--helo_name my laptop\\n",
        "-host_address [192.0.2.1]:4000",
        "--host_name laptop.test",
        "-host_auth plain",
        "-host_auth_pubname PLAIN",
        "-interface_address [192.0.2.2]:25",
        "-received_protocol esmtpa",
        "-aclc 0 3",
        "x",
        "y",
        "-aclm a 0",
        "",
        "-body_linecount 2",
        "-max_received_linelength 31",
        "-body_zerocount 1",
        "--auth_id me",
        "-deliver_firsttime",
        "XX",
        "1",
        "c@d",
        "",
        "017P Received: from x",
        "012F From: <a@b>",
        "018T To: <c@d>,",
        " <e@f>",
        "007  X-A: \xff",
        "015C Resent-Cc: g@h",
        "",
    ]


def test_a_message_of_a_local_caller() -> None:
    session = SessionFacts(caller=LocalCaller("anna", 1000, 1001))
    message = replace(make_message("c@d", sender="anna@x"), facts=MessageFacts(session, NOW), frozen=True, attempts=2)
    shown = lines(replace(message, warnings=3))
    assert shown[3] == f"{int(NOW)} 3"
    assert shown[1] == "anna 1000 1001"
    assert "-auth_sender anna@relay.test" in shown
    assert "-local" in shown
    assert "-sender_set_untrusted" not in shown
    assert "-deliver_firsttime" not in shown
    other = replace(message, sender=address_from_text("bert@x"))
    assert "-sender_set_untrusted" not in lines(other)
    assert "-sender_set_untrusted" in lines(other, anybody_sets_sender=True)
    assert "-sender_set_untrusted" in lines(replace(message, sender=NULL_SENDER))
    assert any(line.startswith("-frozen ") for line in shown)


@pytest.mark.parametrize(
    "done, tree",
    [
        ((), ["XX"]),
        (("a@x",), ["NN a@x"]),
        (("a@x", "b@x"), ["NY a@x", "NN b@x"]),
        (("a@x", "b@x", "c@x"), ["YY b@x", "NN a@x", "NN c@x"]),
    ],
)
def test_what_is_done_is_a_tree(done: tuple[str, ...], tree: list[str]) -> None:
    first = replace(make_recipient("z@x"), done=done)
    shown = lines(make_message(first))
    start = shown.index("-deliver_firsttime") + 1
    assert shown[start : start + len(tree) + 2] == [*tree, "1", "z@x"]


def test_who_has_it_is_done_and_wishes_for_reports_are_kept() -> None:
    first = replace(make_recipient("a@x"), state=RecipientState.DELIVERED)
    wishes = make_recipient("b@x", 1, parameters={"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;b@x"})
    made = make_recipient("c@x", 2)
    owner, parent = Address("owner", "x"), first.recipient.address
    made = replace(made, recipient=replace(made.recipient, original=parent, errors_to=owner))
    shown = lines(make_message(first, wishes, made))
    assert "NN a@x" in shown
    assert "b@x rfc822;b@x 10,20  0,-1#3" in shown
    assert "c@x  0,0 owner@x 7,0#3" in shown


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b""]), max_size=8))
def test_line_ends_are_exims_wherever_a_piece_ends(pieces: list[bytes]) -> None:
    assert b"".join(unix_lines(pieces)) == b"".join(pieces).replace(b"\r\n", b"\n")


def test_fields_that_were_taken_out_have_a_star() -> None:
    message = make_message("c@d", header=b"Received: from x\r\nTo: c@d\r\nDate: now\r\n")
    gone = DroppedField(2, b"From: a\r\n"), DroppedField(1, b"Bcc: b,\r\n c\r\n"), DroppedField(0, b"X: y\r\n")
    shown = lines(replace(message, facts=replace(message.facts, dropped=gone)))
    assert shown[shown.index("") + 1 :] == [
        "017P Received: from x",
        "008* From: a",
        "008T To: c@d",
        "011* Bcc: b,",
        " c",
        "010  Date: now",
        "005* X: y",
        "",
    ]
