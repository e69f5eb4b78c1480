"""BDAT at the server: RFC 3030 as playbooks, in step whatever happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmtp.server_driver import ServerSettings, Session, codes, joined, willing
from relay.esmtp.commands import State
from relay.esmtp.extensions import Offers
from relay.esmtp.questions import (
    BodyPiece,
    DataAsked,
    MessageEnded,
    MessageSpoiled,
    RecipientGiven,
    SenderGiven,
    TransactionReset,
    Transfer,
)
from relay.esmtp.server import ServerSettings as Settings
from relay.mail import reply

OFFERS = Offers((("PIPELINING", ""), ("CHUNKING", ""), ("8BITMIME", ""), ("BINARYMIME", "")))
GROUP = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"


def open_session(limits: Settings | None = None, offers: Offers = OFFERS) -> Session:
    session = Session(limits, offers=offers)
    session.send(b"EHLO laptop\r\n")
    return session


def bodies(session: Session) -> list[bytes]:
    return [event.data for event in joined(session.events) if isinstance(event, BodyPiece)]


def chunk(data: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n%s" % (len(data), b" LAST" if last else b"", data)


def test_one_chunk() -> None:
    session = open_session()
    got = session.send(GROUP + chunk(b"Subject: x\r\n\r\n..\r\n.\r\n", True))
    assert got == b"250 OK\r\n250 Accepted\r\n250- 21 byte chunk, total 21\r\n250 OK\r\n"
    assert joined(session.events)[-3:] == [
        DataAsked(Transfer.CHUNKS),
        BodyPiece(b"Subject: x\r\n\r\n..\r\n.\r\n"),
        MessageEnded(21),
    ]
    assert session.server.state is State.READY


def test_chunks_pipelined_and_an_empty_last_one() -> None:
    session = open_session()
    got = session.send(GROUP + chunk(b"a: b\r") + chunk(b"\n\r\nx") + chunk(b"", True) + b"NOOP\r\n")
    assert got == (
        b"250 OK\r\n250 Accepted\r\n250 5 byte chunk received\r\n250 4 byte chunk received\r\n"
        b"250- 0 byte chunk, total 9\r\n250 OK\r\n250 OK\r\n"
    )
    assert bodies(session) == [b"a: b\r\n\r\nx\r\n"]


def test_a_message_that_is_only_an_empty_chunk() -> None:
    session = open_session()
    assert codes(session.send(GROUP + b"BDAT 0 LAST\r\n")) == [250, 250, 250]
    assert session.events[-1] == MessageEnded(0)
    assert bodies(session) == []


def test_the_next_message_may_come_by_data() -> None:
    session = open_session()
    assert codes(session.send(GROUP + chunk(b"x\r\n", True) + GROUP + b"DATA\r\ny\r\n.\r\n")) == (
        [250, 250, 250, 250, 250, 354, 250]
    )
    assert bodies(session) == [b"x\r\n", b"y\r\n"]


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\n", b"\r\n.\n", b"\r"])
def test_bare_line_ends_are_refused_at_the_end_of_the_chunk(bare: bytes) -> None:
    session = open_session()
    assert codes(session.send(GROUP + chunk(bare, True) + b"NOOP\r\n")) == [250, 250, 554, 250]
    assert session.events[-1] == MessageSpoiled(reply.BARE_LINE_END_IN_DATA)
    assert session.server.state is State.READY


def test_what_follows_a_refused_chunk_is_thrown_away() -> None:
    session = open_session()
    forged = b"RSET\r\nMAIL FROM:<evil@b>\r\n"
    got = session.send(GROUP + chunk(b"a\nb") + chunk(forged) + chunk(forged, True) + GROUP + chunk(b"z\r\n", True))
    assert codes(got) == [250, 250, 554, 503, 503, 250, 250, 250]
    assert [event.sender.local_part for event in session.events if isinstance(event, SenderGiven)] == ["a", "a"]
    assert bodies(session) == [b"z\r\n"]
    assert session.violations == ["bare CR or LF in message data"]


@pytest.mark.parametrize("reset", [b"RSET", b"EHLO x"])
def test_after_a_refused_chunk_only_a_reset_is_heard(reset: bytes) -> None:
    session = open_session()
    assert codes(session.send(GROUP + chunk(b"a\nb") + b"NOOP\r\n" + reset + b"\r\n" + GROUP)) == (
        [250, 250, 554, 503, 250, 250, 250]
    )


def test_a_binary_body_is_taken_as_it_is() -> None:
    session = open_session()
    body = b"Content-Type: x/y\r\n\r\n\n\r\0.\r\n.\r\n"
    got = session.send(
        b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\n"
        + chunk(body[:9])
        + chunk(body[9:], True)
    )
    assert codes(got) == [250, 250, 250, 250]
    assert bodies(session) == [body]


def test_a_binary_message_does_not_come_by_data() -> None:
    session = open_session()
    assert codes(session.send(b"MAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\nDATA\r\n")) == [250, 250, 503]
    assert codes(session.send(chunk(b"\r\nx", True))) == [250]


def test_no_recipient_no_message_and_still_in_step() -> None:
    session = open_session()
    got = session.send(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\n" + chunk(b"RSET\r\n") + chunk(b"QUIT\r\n", True) + b"NOOP\r\n"
    )
    assert got == (
        b"250 OK\r\n550 relay not permitted\r\n"
        b"503-All RCPT commands were rejected with this error:\r\n503-relay not permitted\r\n"
        b"503 Valid RCPT command must precede BDAT\r\n"
        b"503-All RCPT commands were rejected with this error:\r\n503-relay not permitted\r\n"
        b"503 Valid RCPT command must precede BDAT\r\n250 OK\r\n"
    )
    assert session.violations == []


def test_bdat_without_mail_is_an_error_in_step() -> None:
    session = open_session()
    assert codes(session.send(chunk(b"RSET\r\n", True) + b"NOOP\r\n")) == [503, 250]
    assert session.violations == ["valid RCPT command must precede BDAT"]


def test_between_chunks_only_chunks() -> None:
    session = open_session()
    assert codes(session.send(GROUP + chunk(b"x\r\n") + b"NOOP\r\nDATA\r\nMAIL FROM:<x@y>\r\nRSET\r\n")) == (
        [250, 250, 250, 250, 503, 503, 250]
    )
    assert b"503 only BDAT permissible after non-LAST BDAT\r\n503 only RSET accepted now\r\n" in session.sent
    assert MessageEnded(3) not in session.events


def test_a_reset_between_chunks() -> None:
    session = open_session()
    assert codes(session.send(GROUP + chunk(b"x\r\n") + b"RSET\r\n" + GROUP + chunk(b"y\r\n", True))) == (
        [250, 250, 250, 250, 250, 250, 250]
    )
    assert TransactionReset() in session.events
    assert [event for event in session.events if isinstance(event, MessageEnded)] == [MessageEnded(3)]


def test_an_empty_chunk_is_no_progress() -> None:
    session = open_session()
    assert codes(session.send(GROUP + b"BDAT 0\r\nBDAT 0\r\nBDAT 3 LAST\r\nx\r\n")) == [250, 250, 250, 504, 503]


@pytest.mark.parametrize("argument", [b"", b"x", b"-5", b"99999999999999999999 LAST"])
def test_a_chunk_of_unknown_size_ends_the_session(argument: bytes) -> None:
    session = open_session()
    assert codes(session.send(GROUP + b"BDAT " + argument + b"\r\nRSET\r\nMAIL FROM:<evil@b>\r\n")) == [250, 250, 501]
    assert session.hung_up == "BDAT without a size"


def test_a_word_that_is_not_last() -> None:
    session = open_session()
    assert codes(session.send(GROUP + b"BDAT 6 FIRST\r\nRSET\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n")) == (
        [250, 250, 501, 503, 250]
    )
    assert not any(isinstance(event, DataAsked) for event in session.events)


def test_too_big_is_told_at_the_end_of_the_chunk() -> None:
    session = open_session(ServerSettings(size_limit=10))
    assert codes(session.send(GROUP + chunk(b"x" * 8) + chunk(b"RSET\r\n") + chunk(b"\r\n", True) + b"NOOP\r\n")) == (
        [250, 250, 250, 552, 503, 250]
    )
    assert MessageSpoiled(reply.MESSAGE_TOO_BIG) in session.events


def test_much_too_big_is_not_waited_for() -> None:
    session = open_session(ServerSettings(size_limit=10, wasted_limit=100))
    assert codes(session.send(GROUP + b"BDAT 111\r\n")) == [250, 250, 552]
    assert session.hung_up == "message not read to its end"
    session = open_session(ServerSettings(size_limit=10, wasted_limit=100))
    assert codes(session.send(b"BDAT 101\r\n")) == [503]
    assert session.hung_up == "message not read to its end"


@pytest.mark.parametrize("last", [True, False])
def test_the_session_says_no_to_the_first_chunk(last: bool) -> None:
    session = open_session()
    session.answer = lambda q: reply.LOCAL_PROBLEM if isinstance(q, DataAsked) else willing(q)
    assert codes(session.send(GROUP + chunk(b"RSET\r\n", last))) == [250, 250, 451]
    session.answer = willing
    # What lost its beginning is no message; what was refused whole may be tried again.
    assert codes(session.send(chunk(b"rest\r\n", True))) == [250 if last else 503]
    assert any(isinstance(event, MessageEnded) for event in session.events) is last


def test_no_reply_before_the_chunk_has_come() -> None:
    session = open_session()
    session.send(GROUP)
    assert session.send(b"BDAT 5\r\nabc") == b""
    assert session.send(b"de") == b"250 5 byte chunk received\r\n"


def test_a_chunk_that_stops_times_out() -> None:
    session = open_session(ServerSettings(data_timeout=20, command_timeout=50))
    session.send(GROUP + b"BDAT 5\r\nabc")
    assert session.server.deadline() == 21.0
    session.send(b"de")
    assert session.server.deadline() == 51.0


def test_without_pipelining_a_chunk_waits_for_its_reply() -> None:
    session = open_session(Settings(), Offers((("CHUNKING", ""),)))
    for line in GROUP.splitlines(True):
        session.send(line)
    assert codes(session.send(chunk(b"x\r\n") + chunk(b"y\r\n", True))) == [554]
    assert session.hung_up == "synchronization error"


PIECES = st.lists(
    st.sampled_from(
        [
            GROUP,
            b"RCPT TO:<no@d>\r\n",
            chunk(b"RSET\r\nQUIT\r\n"),
            chunk(b"x\r\n", True),
            chunk(b"a\nb"),
            chunk(b"c\r"),
            chunk(b"\n", True),
            chunk(b"", True),
            b"BDAT 0\r\n",
            b"BDAT 3 X\r\nabc",
            chunk(b"z" * 40),
            b"RSET\r\n",
            b"NOOP\r\n",
            b"DATA\r\nx\r\n.\r\n",
            b"EHLO x\r\n",
        ]
    ),
    max_size=10,
)


@settings(max_examples=200)
@given(PIECES, st.lists(st.integers(1, 300), max_size=6))
def test_every_split_is_the_same(pieces: list[bytes], places: list[int]) -> None:
    limits = ServerSettings(size_limit=60, max_syntax_errors=6)
    whole, parted = open_session(limits), open_session(limits)
    dialog = b"".join(pieces)
    whole.send(dialog)
    start = 0
    for place in [*sorted(places), len(dialog)]:
        parted.send(dialog[start:place])
        start = max(start, place)
    assert joined(whole.events) == joined(parted.events)
    assert whole.sent == parted.sent


@settings(max_examples=200)
@given(PIECES)
def test_no_octet_of_a_chunk_is_a_command(pieces: list[bytes]) -> None:
    session = open_session(ServerSettings(max_syntax_errors=999, max_unknown=999, max_nonmail=999, size_limit=60))
    session.send(b"".join(pieces))
    assert session.hung_up is None
    senders = [event for event in session.events if isinstance(event, SenderGiven | RecipientGiven)]
    assert len(senders) <= sum(2 * (piece == GROUP) + (piece[:4] == b"RCPT") for piece in pieces)
